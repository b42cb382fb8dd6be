//! Tests of the feed of Mailgun's webhooks.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ingest::{
    SetAsideReason,
    http::testing::{
        NOW, any_json, any_object, assert_a_final_reply_refuses, delivery, fixture, no_objects, only_event,
        read_fixtures, reordered,
    },
};

const KEY: &str = "key-0123456789abcdef";
const TOKEN: &str = "9c8f1a7b6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f";

fn feed() -> Mailgun {
    let signing_keys = vec!["key-old".into(), KEY.into()];
    Mailgun::new(&Settings { signing_keys, window_millis: DEFAULT_WINDOW_MILLIS }).expect("feed")
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&delivery(&[("content-type", "application/json")], body))
}

fn signed(event_data: &str) -> Vec<u8> {
    signing::body(KEY, NOW, TOKEN, event_data).to_vec()
}

fn outcome(result: Result<Report, Rejection>) -> (u16, RejectionReason) {
    let rejection = result.expect_err("refused");
    assert!(!rejection.detail.contains("privaterelay") && !rejection.detail.contains(TOKEN), "{rejection}");
    (rejection.status.as_u16(), rejection.reason)
}

fn event(event_data: &Value) -> Event {
    only_event(receive(signed(&event_data.to_string())))
}

fn failed(extra: &Value) -> Value {
    let mut event = json!({
        "event": "failed", "severity": "permanent", "id": "x", "timestamp": 1_754_719_200.5, "recipient": "a@b.example",
    });
    let fields = event.as_object_mut().expect("object");
    fields.extend(extra.as_object().expect("object").clone());
    event
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("mailgun", |event_data| receive(signed(&event_data))) {
        insta::assert_snapshot!(name, read);
    }
}

#[test]
fn a_signature_verifies_with_either_key_and_no_other() {
    let data = fixture("mailgun", "delivered");
    assert!(receive(signing::body("key-old", NOW, TOKEN, &data)).is_ok());
    assert!(receive(signing::body(KEY, NOW, TOKEN, &data)).is_ok());
    assert_eq!(outcome(receive(signing::body("key-other", NOW, TOKEN, &data))), (401, RejectionReason::BadSignature));
    let good = signing::signature(KEY, NOW, TOKEN);
    let with = |timestamp: Value, token: &str, signature: Value| {
        let body = json!({
            "signature": {"timestamp": timestamp, "token": token, "signature": signature}, "event-data": {"event": "opened"},
        });
        receive(body.to_string())
    };
    let seconds = NOW.as_seconds();
    assert!(with(json!(seconds.to_string()), TOKEN, json!(good)).is_ok());
    assert!(with(json!(seconds), TOKEN, json!(good)).is_ok(), "a number is signed by its digits");
    assert!(with(json!(seconds), TOKEN, json!(good.to_uppercase())).is_ok());
    let bad = (401, RejectionReason::BadSignature);
    assert_eq!(outcome(with(json!(seconds + 1), TOKEN, json!(good))), bad);
    assert_eq!(outcome(with(json!(seconds), "another", json!(good))), bad);
    assert_eq!(outcome(with(json!(seconds), TOKEN, json!("00"))), bad);
    let absent = (401, RejectionReason::Unauthenticated);
    assert_eq!(outcome(with(json!(seconds), TOKEN, Value::Null)), absent);
    assert_eq!(outcome(with(json!(seconds), TOKEN, json!(""))), absent);
    assert_eq!(outcome(with(json!(seconds), TOKEN, json!("no hex"))), absent);
    assert_eq!(outcome(with(json!(seconds), "", json!(good))), absent);
    assert_eq!(outcome(with(json!(seconds), &"t".repeat(300), json!(good))), absent);
    assert_eq!(outcome(with(json!({}), TOKEN, json!(good))), absent);
}

#[test]
fn the_token_is_bound_to_the_body() {
    let token = |data: &str| receive(signed(data)).expect("verified").token.expect("token");
    let one = token("{\"event\":\"opened\"}");
    assert_eq!(one.token, TOKEN);
    assert_eq!(one, token("{\"event\":\"opened\"}"), "a retry");
    let forged = token("{\"event\":\"clicked\"}");
    assert_eq!(forged.token, one.token);
    assert_ne!(forged.body_digest, one.body_digest, "the same token with another body");
    assert_eq!(one.expires_at.millis_since(NOW), DEFAULT_WINDOW_MILLIS + MAX_AHEAD_MILLIS);
}

#[test]
fn no_character_moves_from_the_token_into_the_timestamp() {
    for token in ["123abc", "e0abc", ".5abc", "0abc", " abc"] {
        let signature = signing::signature(KEY, NOW, token);
        let body = |timestamp: &str, token: &str| {
            let signature = json!({"timestamp": timestamp, "token": token, "signature": signature});
            receive(json!({"signature": signature, "event-data": {"event": "opened"}}).to_string())
        };
        let all = format!("{}{token}", NOW.as_seconds());
        for split in 1..all.len() {
            let (timestamp, token) = all.split_at(split);
            assert_eq!(body(timestamp, token).is_ok(), split == 10, "{timestamp} {token}");
        }
    }
}

#[test]
fn the_time_window_holds_every_retry_and_no_replay() {
    let at = |millis: i64| receive(signing::body(KEY, NOW.plus_millis(millis), TOKEN, "{\"event\":\"opened\"}"));
    assert!(at(0).is_ok());
    assert!(at(-RETRY_HORIZON_MILLIS).is_ok());
    assert!(at(-DEFAULT_WINDOW_MILLIS).is_ok());
    assert!(at(MAX_AHEAD_MILLIS).is_ok());
    for off in [-DEFAULT_WINDOW_MILLIS - 1_000, MAX_AHEAD_MILLIS + 1_000] {
        let rejection = at(off).expect_err("outside");
        assert!(rejection.conclusive && rejection.detail.contains("clock may be wrong"), "{rejection}");
        assert_eq!(outcome(Err(rejection)), (503, RejectionReason::Stale), "signed: it shall come again");
    }
    for absurd in [-62_135_596_800, 0, i64::MAX / 1_000_000] {
        let body = signing::body(KEY, Timestamp::from_seconds(absurd), TOKEN, "{}");
        assert_eq!(outcome(receive(body)).1, RejectionReason::Stale, "{absurd}");
    }
}

#[test]
fn bodies_that_are_no_webhook_are_refused_for_good() {
    let malformed = (406, RejectionReason::Malformed);
    let twice = r#"{"signature":{},"signature":{},"event-data":{}}"#;
    for body in ["", "{", "[]", "null", "{}", "{\"signature\":{}}", "{\"event-data\":{}}", twice] {
        assert_eq!(outcome(receive(body)), malformed, "{body}");
    }
    assert_eq!(outcome(receive(b"{\"signature\":\"\xff\"}".to_vec())), malformed);
    assert_eq!(outcome(receive(vec![b' '; MAX_BODY_BYTES + 1])), (413, RejectionReason::TooLarge));
    for media in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "Multipart/Form-Data"] {
        let form = feed().receive(&delivery(&[("content-type", media)], "event=delivered"));
        assert_eq!(outcome(form), (406, RejectionReason::Unsupported));
    }
}

#[test]
fn what_is_signed_and_makes_no_sense_is_set_aside() {
    for data in
        ["17", "{\"event\":\"failed\",\"event\":\"delivered\"}", "{\"event\":\"failed\",\"delivery-status\":\"x\"}"]
    {
        let report = receive(signed(data)).expect("verified");
        assert!(report.events.is_empty() && report.token.is_some());
        let [aside] = report.set_aside.as_slice() else { panic!("one set aside") };
        assert_eq!((aside.reason, aside.body.as_slice()), (SetAsideReason::Malformed, data.as_bytes()));
    }
}

#[test]
fn what_mailgun_did_not_try_is_no_refusal() {
    for extra in [
        json!({"reason": "suppress-bounce", "delivery-status": {"code": 605, "description": "Not delivering to previously bounced address"}}),
        json!({"reason": "suppress-complaint"}),
        json!({"reason": "generic", "delivery-status": {"code": "607"}}),
        json!({"severity": "temporary", "delivery-status": {"code": 606}}),
    ] {
        let event = event(&failed(&extra));
        assert_eq!(event.kind, EventKind::SuppressedByProvider, "{extra}");
        assert_eq!(
            event.failure_class(),
            FailureClass::Unknown,
            "Mailgun's own codes are none of the receiving side's"
        );
    }
}

#[test]
fn the_code_counts_before_mailguns_own_verdict() {
    let class = |extra: &Value| event(&failed(extra)).failure_class();
    let soft_550 = json!({"reason": "bounce", "delivery-status": {"code": 550, "bounce-type": "soft", "message": "x"}});
    assert_eq!(class(&soft_550), FailureClass::Permanent);
    assert_eq!(class(&json!({"reason": "bounce", "delivery-status": {"code": 499}})), FailureClass::Unknown);
    assert_eq!(
        class(&json!({"reason": "old", "delivery-status": {"code": 602, "message": "Too old"}})),
        FailureClass::Transient
    );
    assert_eq!(class(&json!({"reason": "bounce"})), FailureClass::Permanent);
    assert_eq!(class(&json!({"delivery-status": {"bounce-type": "soft"}})), FailureClass::Transient);
    assert_eq!(class(&json!({"severity": "temporary"})), FailureClass::Transient);
}

#[test]
fn an_envelope_sender_that_is_the_from_address_is_not_taken_for_the_return_path() {
    let sender = |sender: &str, from: &str| {
        event(&failed(&json!({"envelope": {"sender": sender}, "message": {"headers": {"from": from}}}))).envelope_sender
    };
    assert_eq!(sender("news@mail.example.com", "Example <News@mail.example.com>"), None);
    let other = sender("bounce+1@mg.example.com", "Example <news@mail.example.com>").expect("return-path");
    assert_eq!(other.expose(), "bounce+1@mg.example.com");
    assert_eq!(sender("bounce+1@mg.example.com", "nobody"), None, "nothing to compare it with");
}

#[test]
fn ids_are_known_together_with_their_time() {
    let key = |extra: Value| event(&failed(&extra)).dedupe;
    let one = key(json!({}));
    assert_eq!(one, key(json!({"timestamp": "1754719200.5", "severity": "temporary"})));
    assert_eq!(one, key(json!({"timestamp": 1_754_719_200_500_i64})));
    assert_ne!(one, key(json!({"timestamp": 1_754_805_600.5})), "the id of another day");
    assert_ne!(one, key(json!({"id": "y"})));
    assert_ne!(key(json!({"id": 9_007_199_254_740_992_u64})), key(json!({"id": 9_007_199_254_740_993_u64})));
    assert_eq!(key(json!({"id": null})), key(json!({"id": ""})), "by content");
    assert_ne!(key(json!({"id": null})), key(json!({"id": null, "recipient": "c@b.example"})));
}

#[test]
fn campaigns_and_tags_come_in_several_shapes() {
    let campaign = |extra: Value| event(&failed(&extra)).campaign;
    assert_eq!(campaign(json!({"tags": ["welcome", "b"]})).as_deref(), Some("welcome"));
    assert_eq!(campaign(json!({"tags": "welcome"})).as_deref(), Some("welcome"));
    assert_eq!(
        campaign(json!({"campaigns": [{"id": "c1", "name": "Summer"}], "tags": ["b"]})).as_deref(),
        Some("Summer")
    );
    assert_eq!(campaign(json!({"campaigns": [{"id": 17}]})).as_deref(), Some("17"));
    assert_eq!(campaign(json!({"campaigns": [], "tags": []})), None);
    assert_eq!(campaign(json!({"campaigns": null, "tags": {}})), None);
}

#[test]
fn settings_are_checked() {
    let error = |keys: &[&str], window_millis| {
        let signing_keys = keys.iter().map(|key| (*key).into()).collect();
        Mailgun::new(&Settings { signing_keys, window_millis }).expect_err("wrong settings")
    };
    assert_eq!(error(&[], DEFAULT_WINDOW_MILLIS), SecretError::Missing.into());
    assert_eq!(error(&["a", "b", "c"], DEFAULT_WINDOW_MILLIS), SecretError::TooMany.into());
    assert_eq!(error(&["a\n"], DEFAULT_WINDOW_MILLIS), SecretError::Unusable.into());
    assert_eq!(error(&["a"], RETRY_HORIZON_MILLIS - 1), SettingsError::Window);
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    assert_a_final_reply_refuses(|said| {
        let of = failed(&json!({"severity": "temporary", "delivery-status": {"bounce-type": "soft", "message": said}}));
        event(&of).kind
    });
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = failed(
            &json!({"message": odd, "envelope": odd, "reject": odd, "delivery-status": {"code": 550, "message": "x"}}),
        );
        assert_eq!(event(&of).reply.and_then(|reply| reply.code), Some(550), "{odd}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_json_is_taken_set_aside_or_refused(body in any_json(), text in "\\PC{0,60}") {
        for body in [body.to_string().into_bytes(), signed(&body.to_string()), text.into_bytes()] {
            if let Err(rejection) = receive(body) {
                prop_assert!(rejection.status.is_client_error());
            }
        }
    }

    #[test]
    fn every_event_is_accounted_for(
        mut event in any_object(&[
            "id", "timestamp", "recipient", "severity", "reason", "campaigns", "tags", "user-variables", "message",
            "envelope", "delivery-status",
        ]),
        status in any_object(&["code", "enhanced-code", "message", "description", "bounce-type", "mx-host"]),
        kind in prop::sample::select(vec!["failed", "delivered", "accepted", "rejected", "new"]),
    ) {
        let fields = event.as_object_mut().expect("object");
        fields.insert("event".to_owned(), kind.into());
        fields.insert("delivery-status".to_owned(), status);
        let report = receive(signed(&event.to_string())).expect("verified");
        prop_assert_eq!(report.events.len() + report.set_aside.len(), 1);
    }

    #[test]
    fn the_order_of_keys_does_not_matter(seed in any::<u64>()) {
        let text = fixture("mailgun", "unauthorized_sender");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let events = |data: &str| receive(signed(data)).expect("verified").events;
        prop_assert_eq!(events(&reordered(&value, seed)), events(&text));
    }
}
