//! Tests of the feed of one's own events.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ingest::http::{
    RejectionReason,
    testing::{NOW, any_object, assert_any_json_is_answered, assert_none_is_taken, delivery, read_fixtures},
};

const KEY: &str = "generic-key-0123456789";

fn feed() -> Generic {
    Generic::new(&Settings { signing_keys: vec!["generic-key-before".into(), KEY.into()] }).expect("feed")
}

fn signed(key: &str, at: Timestamp, body: impl Into<Vec<u8>>) -> Delivery {
    let body = body.into();
    let headers = signing::headers(key, at, &body);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    delivery(&headers, body)
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&signed(KEY, NOW, body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("generic", receive) {
        insta::assert_snapshot!(name, read);
    }
}

/// The answer is by `printf 'v1:1754805600:%s' "$body" | openssl dgst -sha256 -hmac generic-key-0123456789`.
#[test]
fn a_signature_by_openssl_is_taken() {
    let body = r#"{"id":"evt-1","type":"delivered","at":1754719200,"recipient":"a@b.example"}"#;
    let signature = "v1=279a2ed2af550eb4369fae2ba075b94252007925b7741e36db9694a958ea30f3";
    let headers = [(TIMESTAMP_HEADER, "1754805600"), (SIGNATURE_HEADER, signature)];
    assert_eq!(feed().receive(&delivery(&headers, body)).expect("taken").events.len(), 1);
    assert_eq!(signing::headers(KEY, NOW, body.as_bytes()).last().map(|(_, value)| value.as_str()), Some(signature));
}

#[test]
fn what_is_not_signed_so_is_refused() {
    let body = r#"{"type":"delivered","at":1754719200,"recipient":"a@b.example"}"#;
    let outcome = |delivery: &Delivery| feed().receive(delivery).map(drop).map_err(|e| (e.status.as_u16(), e.reason));
    let forged = Err((401, RejectionReason::BadSignature));
    let absent = Err((401, RejectionReason::Unauthenticated));
    let stale = Err((503, RejectionReason::Stale));
    assert_eq!(outcome(&signed("generic-key-before", NOW, body)), Ok(()));
    assert_eq!(outcome(&signed("another", NOW, body)), forged);
    let good = signed(KEY, NOW, body);
    assert_eq!(outcome(&Delivery { body: body.replace("delivered", "refused").into(), ..good.clone() }), forged);
    assert_eq!(outcome(&Delivery { body: format!("{body}\n").into(), ..good.clone() }), forged);
    assert_eq!(outcome(&signed(KEY, NOW.plus_millis(-WINDOW_MILLIS), body)), Ok(()));
    assert_eq!(outcome(&signed(KEY, NOW.plus_millis(-WINDOW_MILLIS - 1_000), body)), stale);
    assert_eq!(outcome(&signed(KEY, NOW.plus_millis(301_000), body)), stale);
    let with = |name: &'static str, value: &'static str| {
        let mut delivery = good.clone();
        delivery.headers.insert(name, value.parse().expect("header"));
        outcome(&delivery)
    };
    assert_eq!(with(TIMESTAMP_HEADER, "1754805601"), forged);
    for odd in ["", "01754805600", "1754805600.0", "-754805600"] {
        assert_eq!(with(TIMESTAMP_HEADER, odd), absent, "{odd}");
    }
    for odd in ["", "v1=", "v1=00", "v2=279a2ed2af550eb4369fae2ba075b94252007925b7741e36db9694a958ea30f3"] {
        let expected = if odd == "v1=" || odd == "v1=00" { forged } else { absent };
        assert_eq!(with(SIGNATURE_HEADER, odd), expected, "{odd}");
    }
    assert_eq!(outcome(&delivery(&[], body)), absent);
    assert_eq!(Generic::new(&Settings::default()).expect_err("no key"), SecretError::Missing);
}

#[test]
fn bodies_without_events_are_refused_whole() {
    let twice = "{\"type\":\"sent\",\"type\":\"sent\"}";
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["\n", twice, "{\"type\":\"sent\"}\n{"]);
}

#[test]
fn an_array_lines_and_single_events_are_the_same() {
    let event = |number: u8| json!({"id": format!("e{number}"), "type": "delivered", "at": 1_754_719_200, "recipient": "a@b.example"});
    let array = receive(json!([event(1), event(2)]).to_string()).expect("an array");
    let lines = receive(format!("{}\n{}\n", event(1), event(2))).expect("lines");
    assert_eq!(array, lines);
    assert_eq!(receive(event(1).to_string()).expect("one").events.first(), array.events.first());
}

#[test]
fn an_id_or_all_of_the_content_makes_the_same_event() {
    let key = |extra: serde_json::Value| {
        let mut event = json!({"type": "refused", "at": 1_754_719_200, "recipient": "a@b.example"});
        event.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
        receive(event.to_string()).expect("taken").events.pop().expect("event").dedupe
    };
    assert_eq!(key(json!({"id": "1"})), key(json!({"id": 1, "at": 1_754_719_300})));
    assert_ne!(key(json!({"id": 9_007_199_254_740_992_u64})), key(json!({"id": 9_007_199_254_740_993_u64})));
    assert_eq!(key(json!({"reply": "550 x"})), key(json!({"reply": "550 x"})));
    assert_ne!(key(json!({"reply": "550 x"})), key(json!({"reply": "550 y"})));
    for (field, one, other) in [
        ("smtp_code", json!(550), json!(551)),
        ("enhanced_code", json!("5.1.1"), json!("5.7.1")),
        ("remote_mta", json!("a.example"), json!("b.example")),
        ("verdict", json!("hard"), json!("soft")),
        ("final", json!(true), json!(false)),
    ] {
        assert_ne!(key(json!({ field: one })), key(json!({ field: other })), "{field}");
    }
}

#[test]
fn final_is_a_flag_in_every_dress() {
    let class = |is_final: serde_json::Value| {
        let event = json!({"type": "refused", "at": 1_754_719_200, "recipient": "a@b.example", "final": is_final});
        receive(event.to_string()).expect("taken").events.pop().expect("event").provider_class
    };
    for (yes, no) in [(json!(true), json!(false)), (json!("True"), json!("False")), (json!(1), json!(0))] {
        assert_eq!((class(yes), class(no)), (FailureClass::Permanent, FailureClass::Transient));
    }
    assert_eq!(class(json!("perhaps")), FailureClass::Unknown);
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body])], receive);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_element_is_accounted_for(list in prop::collection::vec(any_object(&[
        "id", "at", "sent_at", "recipient", "message_id", "from", "envelope_sender", "reply", "smtp_code", "final",
    ]), 2..5), kind in prop::sample::select(vec!["sent", "refused", "delivered", "new"])) {
        let lines: Vec<_> = list.iter().map(|event| {
            let mut event = event.clone();
            event.as_object_mut().expect("object").insert("type".to_owned(), kind.into());
            event.to_string()
        }).collect();
        let report = receive(lines.join("\n")).expect("lines");
        prop_assert_eq!(report.events.len() + report.set_aside.len(), list.len());
    }
}
