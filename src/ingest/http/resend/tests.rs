//! Tests of the feed of Resend's events.

use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        svix::signing,
        testing::{
            NOW, assert_any_json_is_answered, assert_elements_are_accounted_for, assert_keys_have_no_order,
            assert_none_is_taken, delivery, no_objects, only_event, read_fixtures,
        },
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const SECRET: &str = "whsec_cmVsYXl3YXRjaC1yZXNlbmQ=";
const TWICE: &str = "{\"type\":\"email.opened\",\"type\":\"email.clicked\"}";

fn feed() -> Resend {
    Resend::new(&Settings { signing_secrets: vec![SECRET.into()] }).expect("feed")
}

fn signed(id: &str, body: &[u8]) -> Delivery {
    let at = NOW.as_seconds().to_string();
    let signature = signing::signature(SECRET, id, &at, body).expect("signed");
    delivery(&[("svix-id", id), ("svix-timestamp", &at), ("svix-signature", &signature)], body)
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&signed("msg_1", &body.into()))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("resend", receive) {
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

fn bounced(bounce: &Value) -> Event {
    let data = json!({"to": ["a@b.example"], "bounce": bounce});
    event(&json!({"type": "email.bounced", "created_at": "2025-08-09T06:00:00Z", "data": data}))
}

#[test]
fn the_signature_comes_first() {
    let mut delivery = signed("msg_1", b"{}");
    delivery.body = "no JSON".into();
    let rejection = feed().receive(&delivery).expect_err("refused");
    assert_eq!((rejection.status.as_u16(), rejection.reason), (401, RejectionReason::BadSignature));
    assert_eq!(Resend::new(&Settings::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn the_code_counts_before_sess_verdict_and_a_sentence_is_no_reply() {
    let class =
        |kind: &str, diagnostic: Value| bounced(&json!({"type": kind, "diagnosticCode": diagnostic})).failure_class();
    assert_eq!(class("Transient", json!(["smtp; 550 5.1.1 x"])), Permanent);
    assert_eq!(class("Permanent", json!(["451 4.7.1 x"])), Transient);
    assert_eq!(class("Permanent", Value::Null), Permanent);
    assert_eq!(class("PERMANENT", Value::Null), Permanent);
    assert_eq!(class("Undetermined", json!([])), Unknown);
    let message = |text: &str| bounced(&json!({"type": "Permanent", "message": text})).reply;
    assert_eq!(message("The recipient's address is not known."), None);
    assert_eq!(message("550 5.1.1 x").and_then(|reply| reply.code), Some(550));
}

#[test]
fn a_diagnostic_belongs_to_the_address_that_it_names_and_no_part_of_one() {
    let of = |to: Value, diagnostics: Value| {
        let data = json!({"to": to, "bounce": {"type": "Permanent", "diagnosticCode": diagnostics}});
        let body = json!({"type": "email.bounced", "created_at": "2025-08-09T06:00:00Z", "data": data});
        let report = receive(body.to_string()).expect("taken");
        report.events.iter().map(|event| event.recipient.expose().to_owned()).collect::<Vec<_>>()
    };
    let two = json!(["ann@b.example", "joann@b.example"]);
    assert_eq!(of(two.clone(), json!(["550 5.1.1 <JoAnn@b.example>: x"])), ["joann@b.example"]);
    assert_eq!(of(two.clone(), json!(["550 5.1.1 no ann@b.example."])), ["ann@b.example"]);
    assert_eq!(
        of(json!(["ann@b.example", "ann@b.example.org"]), json!(["550 ann@b.example.org: x"])),
        ["ann@b.example.org"]
    );
    let none: [&str; 0] = [];
    assert_eq!(of(two.clone(), json!(["550 ann@b.example and joann@b.example"])), none, "of whom?");
    assert_eq!(of(two.clone(), json!(["550 ann@b.example", "551 ann@b.example"])), none, "which one?");
    assert_eq!(of(two, json!(["550 ann@b.example", "550 x"])), none, "of whom is the other?");
}

#[test]
fn a_delivery_is_known_by_its_id() {
    let body =
        br#"{"type":"email.sent","created_at":"2025-08-09T06:00:00Z","data":{"to":["a@b.example","c@d.example"]}}"#;
    let keys = |id: &str| -> Vec<_> {
        let report = feed().receive(&signed(id, body)).expect("taken");
        report.events.into_iter().map(|event| event.dedupe).collect()
    };
    assert_eq!(keys("msg_1"), keys("msg_1"));
    let (one, other) = (keys("msg_1"), keys("msg_2"));
    assert!(one.iter().all(|key| !other.contains(key)));
    assert_ne!(one.first(), one.last(), "each recipient has its own");
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({"type": "email.bounced", "created_at": "2025-08-09T06:00:00Z", "data": {
            "to": ["a@b.example"], "bounce": odd, "failed": odd, "suppressed": odd,
        }});
        assert_eq!(event(&of).kind, EventKind::Refused, "{odd}");
    }
}

#[test]
fn more_recipients_than_a_message_can_have_are_told_of() {
    let to = vec!["a@privaterelay.appleid.com"; MAX_RECIPIENTS + 1];
    let sent = json!({"type": "email.sent", "created_at": "2025-08-09T06:00:00Z", "data": {"to": to}});
    let report = receive(sent.to_string()).expect("taken");
    let reasons: Vec<_> = report.set_aside.iter().map(|part| part.reason).collect();
    assert_eq!((report.events.len(), reasons), (0, vec![SetAsideReason::Malformed]), "kept whole");
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body])], receive);
}

#[test]
fn every_element_is_accounted_for() {
    let keys = &["created_at", "data"];
    let kinds = &["email.opened", "email.new", "contact.created", "email.bounced"];
    assert_elements_are_accounted_for(keys, "type", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("resend", "every_type", receive);
}
