//! Tests of the feed of MailerSend's events.

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
    for (name, body) in fixtures("mailersend") {
        insta::assert_snapshot!(format!("mailersend_{name}"), render(&receive(body).expect("taken")));
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
    for (said, kind) in [("550 5.1.1 x: unauthorized sender", EventKind::Refused), ("450 4.2.1 x", EventKind::Deferred)]
    {
        let of = json!({"type": "activity.deferred", "created_at": "2025-08-09T06:00:03Z", "data": {
            "recipient": "a@b.example", "meta": {"bounce_reason": said},
        }});
        assert_eq!(event(&of).kind, kind, "{said}");
    }
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in [json!([]), Value::Null, json!("x"), json!(17)] {
        let of = json!({"type": "activity.hard_bounced", "created_at": "2025-08-09T06:00:03Z", "data": {
            "email": odd, "morph": odd, "recipient": "a@b.example", "meta": {"bounce_reason": "550 5.1.1 x"},
        }});
        assert_eq!(event(&of).reply.and_then(|reply| reply.code), Some(550), "{odd}");
    }
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    let key = |said: &str| {
        event(&json!({"type": "activity.hard_bounced", "created_at": "2025-08-09T06:00:03Z", "data": {
            "recipient": "a@b.example", "meta": {"bounce_reason": said},
        }}))
        .dedupe
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
        mut record in any_object(&["created_at", "data"]),
        kind in prop::sample::select(vec!["activity.sent", "activity.hard_bounced", "activity.opened", "activity.new"]),
    ) {
        record.as_object_mut().expect("object").insert("type".to_owned(), kind.into());
        let report = receive(record.to_string()).expect("taken");
        prop_assert_eq!(report.events.len() + report.set_aside.len() + report.ignored.len(), 1);
    }

    #[test]
    fn the_order_of_keys_does_not_matter(seed in any::<u64>()) {
        let text = fixture("mailersend", "first_version");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(receive(reordered(&value, seed)), receive(text));
    }
}
