//! Tests of the feed of Customer.io's reports.

use serde_json::json;

use super::*;
use crate::ingest::http::{
    RejectionReason,
    testing::{
        NOW, assert_a_final_reply_refuses, assert_any_json_is_answered, assert_none_is_taken, delivery, no_objects,
        read_fixtures,
    },
};

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
    for (name, read) in read_fixtures("customerio", receive) {
        insta::assert_snapshot!(name, read);
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
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["{} {}", "{\"metric\":\"a\",\"metric\":\"b\"}"]);
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    assert_a_final_reply_refuses(|said| {
        let report = json!({
            "object_type": "email", "metric": "deferred", "timestamp": 1_754_719_200,
            "data": {"recipient": "a@b.example", "failure_message": said},
        });
        let report = receive(report.to_string()).expect("taken");
        report.events.first().expect("event").kind
    });
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
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

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(
        |data| {
            let report =
                |metric| json!({"object_type": "email", "metric": metric, "timestamp": 1_754_719_200, "data": data});
            vec![data.clone(), report("bounced"), json!(["bounced", "sent", "dropped", "new"].map(report))]
        },
        receive,
    );
}
