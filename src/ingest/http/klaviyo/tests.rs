//! Tests of the feed of Klaviyo's events.

use serde_json::json;

use super::*;
use crate::ingest::http::testing::{
    NOW, assert_any_json_is_answered, assert_none_is_taken, delivery, no_objects, read_fixtures,
};

const KEY: &str = "klaviyo-key-0123456789";
const AT: &str = "Sun, 10 Aug 2025 06:00:00 GMT";

fn feed() -> Klaviyo {
    Klaviyo::new(&Settings { secret_keys: vec!["klaviyo-key-before".into(), KEY.into()] }).expect("feed")
}

fn signed(key: &str, timestamp: &str, body: impl Into<Vec<u8>>) -> Delivery {
    let body = body.into();
    let headers = signing::headers(key, timestamp, &body);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    delivery(&headers, body)
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&signed(KEY, AT, body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("klaviyo", receive) {
        insta::assert_snapshot!(name, read);
    }
}

/// The answer is by `printf '%s%s' "$body" "$timestamp" | openssl dgst -sha256 -hmac klaviyo-key-0123456789`.
#[test]
fn a_signature_by_openssl_is_taken() {
    let body = r#"{"data":[],"meta":{"timestamp":"2025-08-10T06:00:00+00:00","klaviyo_webhook_id":"w1"}}"#;
    let signature = "f65988d302431bea8ed09df72bd7344423dae737b637e4e3c1c8404609caec53";
    let headers = [("Klaviyo-Timestamp", AT), ("Klaviyo-Signature", signature), ("Klaviyo-Webhook-Id", "w1")];
    assert_eq!(feed().receive(&delivery(&headers, body)), Ok(Report::default()));
    let other = [("Klaviyo-Timestamp", AT), ("Klaviyo-Signature", signature), ("Klaviyo-Webhook-Id", "w2")];
    assert_eq!(feed().receive(&delivery(&other, body)).expect_err("another").reason, RejectionReason::Foreign);
}

#[test]
fn the_age_goes_by_the_time_in_the_body() {
    let outcome = |timestamp: &str, body: &str| {
        feed().receive(&signed(KEY, timestamp, body)).map(drop).map_err(|e| (e.status.as_u16(), e.reason))
    };
    let stale = Err((503, RejectionReason::Stale));
    let absent = Err((401, RejectionReason::Unauthenticated));
    let at = |seconds: i64| format!("{{\"data\":[],\"meta\":{{\"timestamp\":{seconds}}}}}");
    let now = NOW.as_seconds();
    // Klaviyo was seen to write the header five hours ahead.
    for header in
        [AT, "Sun, 10 Aug 2025 11:00:00 GMT", "2025-08-10T06:00:00", "2025-08-10T06:00:00+00:00", "1754805600"]
    {
        assert_eq!(outcome(header, &at(now)), Ok(()), "{header}");
    }
    assert_eq!(outcome(AT, &at(now - WINDOW_MILLIS / 1_000)), Ok(()));
    assert_eq!(outcome(AT, &at(now - WINDOW_MILLIS / 1_000 - 1)), stale);
    assert_eq!(outcome(AT, &at(now + 301)), stale);
    assert_eq!(outcome(AT, "{\"data\":[]}"), Ok(()), "the header stands in");
    assert_eq!(outcome("1754700000", "{\"data\":[]}"), stale);
    for header in ["1754805600.123456", "1754805600123", "Sun, 10 Aug 2025 11:00:00 GMT", "2025-08-10T20:00:00Z"] {
        assert_eq!(outcome(header, "{\"data\":[]}"), Ok(()), "{header}");
    }
    assert_eq!(outcome("2025-08-10T20:00:01Z", "{\"data\":[]}"), stale);
    for odd in ["", "yesterday", "11754805600", "1754805600.", "1754805600.1x", "1754805600.1234567890"] {
        assert_eq!(outcome(odd, "{\"data\":[]}"), absent, "{odd}");
    }
}

#[test]
fn what_is_not_signed_so_is_refused() {
    let body = "{\"data\":[]}";
    let outcome = |delivery: &Delivery| feed().receive(delivery).map(drop).map_err(|e| (e.status.as_u16(), e.reason));
    let forged = Err((401, RejectionReason::BadSignature));
    assert_eq!(outcome(&signed("klaviyo-key-before", AT, body)), Ok(()));
    assert_eq!(outcome(&signed("another", AT, body)), forged);
    let good = signed(KEY, AT, body);
    assert_eq!(outcome(&Delivery { body: "{\"data\":[ ]}".into(), ..good.clone() }), forged);
    let mut moved = good.clone();
    moved.headers.insert(TIMESTAMP_HEADER, "Sun, 10 Aug 2025 06:00:01 GMT".parse().expect("header"));
    assert_eq!(outcome(&moved), forged);
    assert_eq!(outcome(&delivery(&[], body)), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(Klaviyo::new(&Settings::default()).expect_err("no key"), SecretError::Missing);
}

#[test]
fn bodies_that_are_no_batch_are_refused() {
    assert_none_is_taken(
        receive,
        MAX_BODY_BYTES,
        &["{}", "[[],{}]", "{\"data\":17}", "{\"data\":[],\"data\":[]}", "{\"data\":[}"],
    );
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({"data": [{"topic": format!("{PREFIX}bounced_email"), "payload": {
            "data": {"attributes": {"timestamp": 1_754_719_200, "event_properties": odd}},
            "included": [odd, {"type": "profile", "attributes": {"email": "a@b.example"}}],
        }}], "meta": odd});
        assert_eq!(receive(of.to_string()).expect("taken").events.len(), 1, "{odd}");
    }
}

#[test]
fn the_profile_is_looked_for_among_what_an_event_can_include() {
    let event = |others: usize| {
        let mut included = vec![serde_json::json!({}); others];
        included.push(serde_json::json!({"type": "profile", "attributes": {"email": "a@b.example"}}));
        let attributes = serde_json::json!({"timestamp": NOW.as_seconds()});
        let payload = serde_json::json!({"data": {"id": "1", "attributes": attributes}, "included": included});
        let data = serde_json::json!([{"topic": "event:klaviyo.bounced_email", "payload": payload}]);
        receive(serde_json::json!({"data": data, "meta": {"timestamp": NOW.as_seconds()}}).to_string()).expect("taken")
    };
    assert_eq!(event(MAX_INCLUDED - 1).events.len(), 1);
    let many = event(MAX_INCLUDED);
    assert_eq!((many.events.len(), many.set_aside.len()), (0, 1), "set aside, and never held");
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(
        |data| {
            let element = json!({"topic": "event:klaviyo.bounced_email", "payload": {"data": {"attributes": data}}});
            vec![data.clone(), json!({"data": data}), json!({"data": [element]})]
        },
        receive,
    );
}
