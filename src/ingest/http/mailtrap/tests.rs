//! Tests of the feed of Mailtrap's events.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        testing::{any_json, any_object, delivery, fixture, fixtures, render, reordered},
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const SECRET: &str = "signing-secret-1";

fn feed() -> Mailtrap {
    Mailtrap::new(&Settings { signing_secrets: vec![SECRET.into(), "signing-secret-0".into()] }).expect("feed")
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    let body = body.into();
    let tag = signing::signature(SECRET, &body);
    feed().receive(&delivery(&[(SIGNATURE_HEADER, &tag)], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, body) in fixtures("mailtrap") {
        insta::assert_snapshot!(format!("mailtrap_{name}"), render(&receive(body).expect("taken")));
    }
}

fn event(record: &Value) -> Event {
    let report = receive(json!({"events": [record]}).to_string()).expect("taken");
    assert!(report.set_aside.is_empty(), "{report:?}");
    report.events.into_iter().next().expect("event")
}

#[test]
fn bodies_that_are_no_batch_are_refused() {
    let many = format!("{{\"events\":[{}{{}}]}}", "{},".repeat(wire::MAX_ELEMENTS));
    for body in ["", "{", "null", "17", "[]", "{}", "{\"events\":17}", "{\"events\":[],\"events\":[]}", &many] {
        let rejection = receive(body).expect_err("refused");
        let is = (rejection.status, rejection.reason);
        assert_eq!(is, (StatusCode::BAD_REQUEST, RejectionReason::Malformed), "{body}");
    }
    let large = receive(vec![b' '; MAX_BODY_BYTES + 1]).expect_err("large");
    assert_eq!((large.status, large.reason), (StatusCode::PAYLOAD_TOO_LARGE, RejectionReason::TooLarge));
    assert_eq!(receive("{\"events\":[]}"), Ok(Report::default()));
}

#[test]
fn json_lines_are_read_as_json_is() {
    let event = |id: u8| json!({"event": "bounce", "event_id": id, "timestamp": 1_754_719_200, "email": "a@b.example"});
    let batch = receive(json!({"events": [event(1), event(2)]}).to_string()).expect("JSON");
    assert_eq!(receive(format!("{}\n{}\n", event(1), event(2))).expect("lines"), batch);
    assert_eq!(receive(event(1).to_string()).expect("a line").events.first(), batch.events.first());
    let odd = receive(format!("{}\n17\n{}", event(1), event(2))).expect("lines");
    assert_eq!((odd.events.len(), odd.set_aside.len()), (2, 1), "an odd line spoils none of its neighbours");
    assert_eq!(receive(format!("{}\n{{", event(1))).expect_err("cut off").reason, RejectionReason::Malformed);
}

#[test]
fn the_body_is_signed() {
    // Made by Python: hmac.new(secret, body, sha256).
    let (tag, body) =
        ("29674e3536fd4776e9657c3f86689528d36aa02a7cd0fb029359794de834257f", "{\"events\":[{\"event\":\"open\"}]}");
    let with = |headers: &[(&str, &str)], body: &str| {
        feed().receive(&delivery(headers, body)).map_err(|error| (error.status.as_u16(), error.reason))
    };
    assert_eq!(with(&[("Mailtrap-Signature", tag)], body).expect("verified").ignored, ["open"]);
    assert_eq!(with(&[("Mailtrap-Signature", tag)], "{}"), Err((401, RejectionReason::BadSignature)));
    assert_eq!(with(&[("Signature", tag)], body), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(Mailtrap::new(&Settings::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn the_code_counts_before_mailtraps_own_verdict() {
    let of = |word: &str, response: Value, code: Value| {
        let event = event(&json!({
            "event": word, "timestamp": 1_754_719_200, "email": "a@b.example", "response": response, "response_code": code,
        }));
        (event.kind, event.failure_class())
    };
    assert_eq!(of("soft bounce", json!("soft bounce (550 5.1.1 x)"), Value::Null), (EventKind::Refused, Permanent));
    assert_eq!(of("soft bounce", Value::Null, json!(550)), (EventKind::Refused, Permanent));
    assert_eq!(of("soft bounce", Value::Null, Value::Null), (EventKind::Deferred, Transient));
    assert_eq!(of("bounce", json!("bounced (451 4.7.1 x)"), json!(451)), (EventKind::Refused, Transient));
    assert_eq!(of("bounce", Value::Null, Value::Null), (EventKind::Refused, Permanent));
    assert_eq!(of("reject", json!("550 x"), json!(550)), (EventKind::Refused, Unknown), "nobody was asked");
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    for (said, kind) in [("550 5.1.1 x: unauthorized sender", EventKind::Refused), ("450 4.2.1 x", EventKind::Deferred)]
    {
        let of = json!({"event": "soft bounce", "timestamp": 1_754_719_200, "email": "a@b.example", "response": said});
        assert_eq!(event(&of).kind, kind, "{said}");
    }
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    let key = |said: &str| {
        event(&json!({"event": "bounce", "timestamp": 1_754_719_200, "email": "a@b.example", "response": said})).dedupe
    };
    let long = format!("550 5.1.1 {}", "x".repeat(crate::model::MAX_REPLY_BYTES));
    assert_eq!(key(&long), key(&long));
    assert_ne!(key(&long), key(&format!("{long}y")), "beyond what is kept");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_json_is_taken_set_aside_or_refused(body in any_json(), text in "\\PC{0,60}") {
        for body in [body.to_string(), json!({"events": body}).to_string(), json!({"events": [body]}).to_string(), text] {
            if let Err(rejection) = receive(body) {
                prop_assert_eq!(rejection.status, StatusCode::BAD_REQUEST);
            }
        }
    }

    #[test]
    fn every_element_is_accounted_for(
        mut record in any_object(&["event_id", "message_id", "timestamp", "email", "category", "reason", "response", "response_code", "bounce_category"]),
        kind in prop::sample::select(vec!["delivery", "bounce", "soft bounce", "reject", "open", "new"]),
    ) {
        record.as_object_mut().expect("object").insert("event".to_owned(), kind.into());
        let report = receive(json!({"events": [record]}).to_string()).expect("taken");
        prop_assert_eq!(report.events.len() + report.set_aside.len() + report.ignored.len(), 1);
    }

    #[test]
    fn the_order_of_keys_does_not_matter(seed in any::<u64>()) {
        let text = fixture("mailtrap", "every_event");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(receive(reordered(&value, seed)), receive(text));
    }
}
