//! Tests of the feed of Iterable's events.

use serde_json::json;

use super::*;
use crate::ingest::http::{
    RejectionReason,
    auth::Login,
    testing::{assert_any_json_is_answered, assert_none_is_taken, delivery, no_objects, read_fixtures},
};

const TOKEN: (&str, &str) = ("x-relaywatch-token", "iterable-token");

fn settings() -> Credentials {
    let login = Login { username: "watch".to_owned(), password: "s3cret".into() };
    let tokens = vec!["iterable-before".into(), "iterable-token".into()];
    Credentials { logins: vec![login], tokens, header: Some("X-Relaywatch-Token".to_owned()) }
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    Iterable::new(&settings()).expect("feed").receive(&delivery(&[TOKEN], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("iterable", receive) {
        insta::assert_snapshot!(name, read);
    }
}

#[test]
fn a_login_or_a_header_opens_and_nothing_else_does() {
    let feed = Iterable::new(&settings()).expect("feed");
    let outcome = |headers: &[(&str, &str)]| {
        feed.receive(&delivery(headers, "{\"eventName\":\"emailOpen\"}"))
            .map(drop)
            .map_err(|e| (e.status.as_u16(), e.reason))
    };
    assert_eq!(outcome(&[TOKEN]), Ok(()));
    assert_eq!(outcome(&[("x-relaywatch-token", "iterable-before")]), Ok(()));
    assert_eq!(outcome(&[("authorization", "Basic d2F0Y2g6czNjcmV0")]), Ok(()));
    assert_eq!(outcome(&[]), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(outcome(&[("x-relaywatch-token", "other")]), Err((401, RejectionReason::BadCredentials)));
    assert_eq!(Iterable::new(&Credentials::default()).expect_err("none"), SecretError::Missing);
    let odd = Credentials { header: Some("a b".to_owned()), ..settings() };
    assert_eq!(Iterable::new(&odd).expect_err("no name"), SecretError::Header);
}

#[test]
fn bodies_that_are_no_event_are_refused() {
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["{} {}", "{\"email\":\"a\",\"email\":\"b\"}"]);
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({"email": "a@b.example", "eventName": "emailBounce", "dataFields": odd});
        let report = receive(of.to_string()).expect("taken");
        assert_eq!(report.set_aside.first().map(|aside| aside.label.as_str()), Some("emailBounce"), "{odd}");
    }
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(
        |data| {
            let event = json!({"eventName": "emailBounce", "email": "a@b.example", "dataFields": data});
            vec![data.clone(), json!([event]), event]
        },
        receive,
    );
}
