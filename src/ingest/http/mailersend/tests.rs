//! Tests of the feed of MailerSend's events.

use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        testing::{
            assert_a_final_reply_refuses, assert_all_that_was_said_counts, assert_any_json_is_answered,
            assert_elements_are_accounted_for, assert_keys_have_no_order, assert_none_is_taken, delivery, no_objects,
            only_event, read_fixtures,
        },
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const SECRET: &str = "signing-secret-1";
const TWICE: &str = "{\"type\":\"activity.opened\",\"type\":\"activity.clicked\"}";

fn feed() -> MailerSend {
    MailerSend::new(&Settings { signing_secrets: vec!["signing-secret-0".into(), SECRET.into()] }).expect("feed")
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    let body = body.into();
    let tag = signing::signature(SECRET, &body);
    feed().receive(&delivery(&[(SIGNATURE_HEADER, &tag)], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("mailersend", receive) {
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
fn the_body_is_signed() {
    // Made by Python: hmac.new(secret, body, sha256).
    let (tag, body) =
        ("d2512ab595565fb1158d56d8b1c2766a4d1e3c14c3de72d6e1d9807d8aaa0a5b", "{\"type\":\"activity.opened\"}");
    let with = |headers: &[(&str, &str)], body: &str| {
        feed().receive(&delivery(headers, body)).map_err(|error| (error.status.as_u16(), error.reason))
    };
    assert_eq!(with(&[("Signature", tag)], body).expect("verified").ignored, ["open"]);
    assert_eq!(with(&[("Signature", tag)], "{}"), Err((401, RejectionReason::BadSignature)));
    assert_eq!(with(&[], body), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(MailerSend::new(&Settings::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn no_cause_is_made_of_mailersends_own_words() {
    let reply = |morph: Value, meta: Value| {
        let data = json!({"recipient": "a@b.example", "morph": morph, "meta": meta});
        event(&json!({"type": "activity.hard_bounced", "created_at": "2025-08-09T06:00:00Z", "data": data}))
    };
    let withheld = reply(json!({"reason": "550 user unknown"}), json!([]));
    assert_eq!((withheld.reply.as_ref(), withheld.failure_class()), (None, Permanent));
    assert_eq!(reply(Value::Null, json!({"bounce_reason": "user unknown"})).reply, None);
    let told = reply(Value::Null, json!({"bounce_reason": "try later", "bounce_code": 451}));
    assert_eq!(told.failure_class(), Transient);
    assert_eq!(reply(Value::Null, json!({"bounce_reason": "x", "bounce_code": "no code"})).reply, None);
    let suppressed = json!({"recipient": "a@b.example", "meta": {"suppression_reason": "550 5.1.1 before"}});
    let suppressed =
        event(&json!({"type": "activity.suppressed", "created_at": "2025-08-09T06:00:00Z", "data": suppressed}));
    assert_eq!(suppressed.failure_class(), Unknown);
}

#[test]
fn an_event_is_known_by_its_id() {
    let key = |id: Value, kind: &str| {
        let data = json!({"id": id, "recipient": "a@b.example"});
        event(&json!({"type": kind, "created_at": "2025-08-09T06:00:00Z", "data": data})).dedupe
    };
    assert_eq!(key(json!("e1"), "activity.sent"), key(json!("e1"), "activity.delivered"));
    assert_ne!(key(json!("e1"), "activity.sent"), key(json!("e2"), "activity.sent"));
    assert_ne!(key(Value::Null, "activity.sent"), key(Value::Null, "activity.delivered"));
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    assert_a_final_reply_refuses(|said| {
        let of = json!({"type": "activity.deferred", "created_at": "2025-08-09T06:00:03Z", "data": {
            "recipient": "a@b.example", "meta": {"bounce_reason": said},
        }});
        event(&of).kind
    });
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({"type": "activity.hard_bounced", "created_at": "2025-08-09T06:00:03Z", "data": {
            "email": odd, "morph": odd, "recipient": "a@b.example", "meta": {"bounce_reason": "550 5.1.1 x"},
        }});
        assert_eq!(event(&of).reply.and_then(|reply| reply.code), Some(550), "{odd}");
    }
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    assert_all_that_was_said_counts(|said| {
        event(&json!({"type": "activity.hard_bounced", "created_at": "2025-08-09T06:00:03Z", "data": {
            "recipient": "a@b.example", "meta": {"bounce_reason": said},
        }}))
        .dedupe
    });
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body])], receive);
}

#[test]
fn every_element_is_accounted_for() {
    let keys = &["created_at", "data"];
    let kinds = &["activity.sent", "activity.hard_bounced", "activity.opened", "activity.new"];
    assert_elements_are_accounted_for(keys, "type", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("mailersend", "first_version", receive);
}
