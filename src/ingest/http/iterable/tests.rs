//! Tests of the feed of Iterable's events.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ingest::http::{
    RejectionReason,
    auth::Login,
    testing::{any_json, delivery, fixtures, render},
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
    for (name, body) in fixtures("iterable") {
        insta::assert_snapshot!(format!("iterable_{name}"), render(&receive(body).expect("events")));
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
    for body in ["", "{", "null", "17", "a=b", "{} {}", "{\"email\":\"a\",\"email\":\"b\"}"] {
        let rejection = receive(body).expect_err("refused");
        assert_eq!((rejection.status.as_u16(), rejection.reason), (400, RejectionReason::Malformed), "{body}");
    }
    let large = receive(vec![b' '; MAX_BODY_BYTES + 1]).expect_err("large");
    assert_eq!((large.status.as_u16(), large.reason), (413, RejectionReason::TooLarge));
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in [json!([]), serde_json::Value::Null, json!("x"), json!(17)] {
        let of = json!({"email": "a@b.example", "eventName": "emailBounce", "dataFields": odd});
        let report = receive(of.to_string()).expect("taken");
        assert_eq!(report.set_aside.first().map(|aside| aside.label.as_str()), Some("emailBounce"), "{odd}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_json_is_taken_set_aside_or_refused(data in any_json()) {
        let event = json!({"eventName": "emailBounce", "email": "a@b.example", "dataFields": data});
        for body in [data.to_string(), event.to_string(), json!([event]).to_string()] {
            if let Err(rejection) = receive(body) {
                prop_assert_eq!(rejection.status.as_u16(), 400);
            }
        }
    }
}
