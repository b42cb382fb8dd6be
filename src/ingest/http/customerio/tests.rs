//! Tests of the feed of Customer.io's reports.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ingest::http::testing::{NOW, any_json, delivery, fixtures, render};

const KEY: &str = "cio-key-0123456789";

fn feed() -> CustomerIo {
    CustomerIo::new(&Settings { signing_keys: vec!["cio-key-before".into(), KEY.into()] }).expect("feed")
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
    for (name, body) in fixtures("customerio") {
        insta::assert_snapshot!(format!("customerio_{name}"), render(&receive(body).expect("reports")));
    }
}

/// The answer is by `printf 'v0:1754805600:%s' "$body" | openssl dgst -sha256 -hmac cio-key-0123456789`.
#[test]
fn a_signature_by_openssl_is_taken() {
    let body = r#"{"event_id":"e1","object_type":"email","metric":"delivered","timestamp":1754719200,"data":{"recipient":"a@b.example"}}"#;
    let signature = "cdeed57b586f24de619d4905cc9185c82bf82710d3ddc163dad7e6777bc1e48e";
    let headers = [("X-CIO-Timestamp", "1754805600"), ("X-CIO-Signature", signature)];
    assert_eq!(feed().receive(&delivery(&headers, body)).expect("taken").events.len(), 1);
}

#[test]
fn what_is_not_signed_so_is_refused() {
    let body = "{\"object_type\":\"email\",\"metric\":\"opened\"}";
    let outcome = |delivery: &Delivery| feed().receive(delivery).map(drop).map_err(|e| (e.status.as_u16(), e.reason));
    let forged = Err((401, RejectionReason::BadSignature));
    let absent = Err((401, RejectionReason::Unauthenticated));
    let stale = Err((503, RejectionReason::Stale));
    assert_eq!(outcome(&signed("cio-key-before", NOW, body)), Ok(()));
    assert_eq!(outcome(&signed("another", NOW, body)), forged);
    let good = signed(KEY, NOW, body);
    assert_eq!(outcome(&Delivery { body: body.replace("opened", "sent").into(), ..good.clone() }), forged);
    assert_eq!(outcome(&signed(KEY, NOW.plus_millis(-WINDOW_MILLIS), body)), Ok(()), "a last retry, after seven days");
    assert_eq!(outcome(&signed(KEY, NOW.plus_millis(-WINDOW_MILLIS - 1_000), body)), stale);
    assert_eq!(outcome(&signed(KEY, NOW.plus_millis(301_000), body)), stale);
    let mut moved = good.clone();
    moved.headers.insert(TIMESTAMP_HEADER, "1754805601".parse().expect("header"));
    assert_eq!(outcome(&moved), forged);
    moved.headers.insert(TIMESTAMP_HEADER, "yesterday".parse().expect("header"));
    assert_eq!(outcome(&moved), absent);
    assert_eq!(outcome(&delivery(&[], body)), absent);
    assert_eq!(CustomerIo::new(&Settings::default()).expect_err("no key"), SecretError::Missing);
}

#[test]
fn bodies_that_are_no_report_are_refused() {
    for body in ["", "{", "null", "17", "a=b", "{} {}", "{\"metric\":\"a\",\"metric\":\"b\"}"] {
        let rejection = receive(body).expect_err("refused");
        assert_eq!((rejection.status.as_u16(), rejection.reason), (400, RejectionReason::Malformed), "{body}");
    }
    let large = receive(vec![b' '; MAX_BODY_BYTES + 1]).expect_err("large");
    assert_eq!((large.status.as_u16(), large.reason), (413, RejectionReason::TooLarge));
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    for (said, kind) in [("550 5.1.1 x: unauthorized sender", EventKind::Refused), ("450 4.2.1 x", EventKind::Deferred)]
    {
        let report = json!({
            "object_type": "email", "metric": "deferred", "timestamp": 1_754_719_200,
            "data": {"recipient": "a@b.example", "failure_message": said},
        });
        let report = receive(report.to_string()).expect("taken");
        assert_eq!(report.events.first().map(|event| event.kind), Some(kind), "{said}");
    }
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in [json!([]), serde_json::Value::Null, json!("x"), json!(17)] {
        let of = json!({"object_type": "email", "metric": "bounced", "timestamp": 1_754_719_200, "data": odd});
        let report = receive(of.to_string()).expect("taken");
        let aside: Vec<_> = report.set_aside.iter().map(|aside| (aside.label.as_str(), aside.at)).collect();
        assert_eq!(aside, [("bounced", Some(Timestamp::from_seconds(1_754_719_200)))], "{odd}");
    }
}

#[test]
fn a_blank_recipient_hides_no_address_and_a_wrapped_reply_is_unwrapped() {
    let of = json!({
        "object_type": "email", "metric": "bounced", "timestamp": 1_754_719_200,
        "data": {"recipient": " ", "email_address": "a@b.example", "failure_message": "bounced (550 5.1.1 x)"},
    });
    let event = receive(of.to_string()).expect("taken").events.pop().expect("event");
    assert_eq!(event.recipient.expose(), "a@b.example");
    assert_eq!(event.reply.and_then(|reply| reply.code), Some(550));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_json_is_taken_set_aside_or_refused(data in any_json(), metric in prop::sample::select(vec!["bounced", "sent", "dropped", "new"])) {
        let report = json!({"object_type": "email", "metric": metric, "timestamp": 1_754_719_200, "data": data});
        for body in [data.to_string(), report.to_string(), json!([report]).to_string()] {
            if let Err(rejection) = receive(body) {
                prop_assert_eq!(rejection.status.as_u16(), 400);
            }
        }
    }
}
