//! Tests of the feed of Mailjet's events.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        auth::Login,
        testing::{any_json, any_object, delivery, fixture, fixtures, render, reordered},
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
    for (name, body) in fixtures("mailjet") {
        insta::assert_snapshot!(format!("mailjet_{name}"), render(&receive(body).expect("taken")));
    }
}

fn event(record: &Value) -> Event {
    let report = receive(record.to_string()).expect("taken");
    assert!(report.set_aside.is_empty(), "{report:?}");
    report.events.into_iter().next().expect("event")
}

#[test]
fn bodies_that_are_none_are_refused() {
    let many = format!("[{}{{}}]", "{},".repeat(wire::MAX_ELEMENTS));
    for body in ["", "{", "null", "17", "a=b", "{} {", "\"text\"", TWICE, &many] {
        let rejection = receive(body).expect_err("refused");
        let is = (rejection.status, rejection.reason);
        assert_eq!(is, (StatusCode::BAD_REQUEST, RejectionReason::Malformed), "{body}");
        assert!(!rejection.detail.contains("text"), "{rejection}");
    }
    assert_eq!(receive(b"{\"a\":\"\xff\"}".to_vec()).expect_err("UTF-8").reason, RejectionReason::Malformed);
    let large = receive(vec![b' '; MAX_BODY_BYTES + 1]).expect_err("large");
    assert_eq!((large.status, large.reason), (StatusCode::PAYLOAD_TOO_LARGE, RejectionReason::TooLarge));
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
    let key = |said: &str| {
        event(&json!({"event": "bounce", "time": 1_754_719_200, "email": "a@b.example", "comment": said})).dedupe
    };
    let long = format!("550 5.1.1 {}", "x".repeat(crate::model::MAX_REPLY_BYTES));
    assert_eq!(key(&long), key(&long));
    assert_ne!(key(&long), key(&format!("{long}y")), "beyond what is kept");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_json_is_taken_set_aside_or_refused(body in any_json(), text in "\\PC{0,60}") {
        for body in [body.to_string(), json!([body]).to_string(), text] {
            if let Err(rejection) = receive(body) {
                prop_assert_eq!(rejection.status, StatusCode::BAD_REQUEST);
            }
        }
    }

    #[test]
    fn every_element_is_accounted_for(
        mut record in any_object(&["time", "email", "MessageID", "hard_bounce", "error_related_to", "error", "comment", "customcampaign"]),
        kind in prop::sample::select(vec!["sent", "bounce", "blocked", "spam", "open", "new"]),
    ) {
        record.as_object_mut().expect("object").insert("event".to_owned(), kind.into());
        let report = receive(record.to_string()).expect("taken");
        prop_assert_eq!(report.events.len() + report.set_aside.len() + report.ignored.len(), 1);
    }

    #[test]
    fn the_order_of_keys_does_not_matter(seed in any::<u64>()) {
        let text = fixture("mailjet", "every_event");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(receive(reordered(&value, seed)), receive(text));
    }
}
