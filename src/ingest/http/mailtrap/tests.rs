//! Tests of the feed of Mailtrap's events.

use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        testing::{
            assert_a_final_reply_refuses, assert_all_that_was_said_counts, assert_any_json_is_answered,
            assert_elements_are_accounted_for, assert_keys_have_no_order, assert_none_is_taken, delivery, only_event,
            read_fixtures,
        },
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
    for (name, read) in read_fixtures("mailtrap", receive) {
        insta::assert_snapshot!(name, read);
    }
}

fn event(record: &Value) -> Event {
    only_event(receive(json!({"events": [record]}).to_string()))
}

#[test]
fn bodies_that_are_no_batch_are_refused() {
    let many = format!("{{\"events\":[{}{{}}]}}", "{},".repeat(wire::MAX_ELEMENTS));
    assert_none_is_taken(
        receive,
        MAX_BODY_BYTES,
        &["[]", "{}", "{\"events\":17}", "{\"events\":[],\"events\":[]}", &many],
    );
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
    assert_a_final_reply_refuses(|said| {
        let of = json!({"event": "soft bounce", "timestamp": 1_754_719_200, "email": "a@b.example", "response": said});
        event(&of).kind
    });
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    assert_all_that_was_said_counts(|said| {
        event(&json!({"event": "bounce", "timestamp": 1_754_719_200, "email": "a@b.example", "response": said})).dedupe
    });
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!({"events": body}), json!({"events": [body]})], receive);
}

#[test]
fn every_element_is_accounted_for() {
    let keys = &[
        "event_id",
        "message_id",
        "timestamp",
        "email",
        "category",
        "reason",
        "response",
        "response_code",
        "bounce_category",
    ];
    let kinds = &["delivery", "bounce", "soft bounce", "reject", "open", "new"];
    assert_elements_are_accounted_for(keys, "event", kinds, |element| {
        receive(json!({"events": [element]}).to_string())
    });
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("mailtrap", "every_event", receive);
}
