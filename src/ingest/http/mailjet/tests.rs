//! Tests of the feed of Mailjet's events.

use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        auth::Login,
        testing::{
            assert_all_that_was_said_counts, assert_any_json_is_answered, assert_elements_are_accounted_for,
            assert_keys_have_no_order, assert_none_is_taken, delivery, only_event, read_fixtures,
        },
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const BASIC: (&str, &str) = ("authorization", "Basic bWFpbGpldDpzM2NyZXQ=");
const TWICE: &str = "{\"event\":\"open\",\"event\":\"click\"}";

fn feed() -> Mailjet {
    let logins = vec![Login { username: "mailjet".to_owned(), password: "s3cret".into() }];
    Mailjet::new(&Credentials { logins, ..Credentials::default() }).expect("feed")
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&delivery(&[BASIC], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("mailjet", receive) {
        insta::assert_snapshot!(name, read);
    }
}

fn event(record: &Value) -> Event {
    only_event(receive(record.to_string()))
}

#[test]
fn bodies_that_are_none_are_refused() {
    assert_none_is_taken(receive, MAX_BODY_BYTES, &[TWICE]);
}

#[test]
fn only_the_login_opens() {
    let status = |headers: &[(&str, &str)]| {
        feed().receive(&delivery(headers, "[]")).map_err(|error| (error.status.as_u16(), error.reason))
    };
    assert!(status(&[BASIC]).is_ok());
    assert_eq!(status(&[]), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(status(&[("authorization", "Basic bWFpbGpldDp3cm9uZw==")]), Err((401, RejectionReason::BadCredentials)));
    assert_eq!(Mailjet::new(&Credentials::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn the_code_counts_before_mailjets_own_verdict() {
    let class = |hard: bool, comment: Value| {
        let event = event(&json!({
            "event": "bounce", "time": 1_754_719_200, "email": "a@b.example", "hard_bounce": hard, "comment": comment,
        }));
        event.failure_class()
    };
    assert_eq!(class(false, json!("550 5.1.1 x")), Permanent);
    assert_eq!(class(true, json!("soft bounce (451 4.7.1 x)")), Transient);
    assert_eq!(class(true, Value::Null), Permanent);
    assert_eq!(class(false, json!("a word")), Transient);
    let own = event(&json!({
        "event": "blocked", "time": 1_754_719_200, "email": "a@b.example", "error": "preblocked", "comment": "550 5.1.1 of before",
    }));
    assert_eq!((own.kind, own.failure_class()), (EventKind::SuppressedByProvider, Unknown));
}

#[test]
fn message_ids_beyond_doubles_stay_apart() {
    let id = |id: Value| {
        event(&json!({"event": "sent", "time": 1_754_719_200, "email": "a@b.example", "MessageID": id})).message_id
    };
    assert_eq!(id(json!(9_007_199_254_740_993_i64)).as_deref(), Some("9007199254740993"));
    assert_eq!(id(json!(9_007_199_254_740_993_i64)), id(json!("9007199254740993")));
    assert_ne!(id(json!(9_007_199_254_740_993_i64)), id(json!(9_007_199_254_740_992_i64)));
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    assert_all_that_was_said_counts(|said| {
        event(&json!({"event": "bounce", "time": 1_754_719_200, "email": "a@b.example", "comment": said})).dedupe
    });
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body])], receive);
}

#[test]
fn every_element_is_accounted_for() {
    let keys = &["time", "email", "MessageID", "hard_bounce", "error_related_to", "error", "comment", "customcampaign"];
    let kinds = &["sent", "bounce", "blocked", "spam", "open", "new"];
    assert_elements_are_accounted_for(keys, "event", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("mailjet", "every_event", receive);
}
