//! Tests of the feed of Postal's events.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{signing::Signer, *};
use crate::{
    ingest::http::testing::{any_json, any_object, delivery, fixture, fixtures, render, reordered},
    model::FailureClass::{Permanent, Transient, Unknown},
};

/// Made by OpenSSL, as Postal of old makes its keys: 1024 bits.
const OLD_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQD1OfT/4G4Eti7hIA2poSHYwLX7
cYTvZdFYpYYC5Vib0zB6T0XUq7ZjwWS5bYG2WoC4hs1pIO/IHAxXOdT4JGDdLP3u
nNT7DfZIFczAFtTPG+Lna4n+JAuyXhWPLAZg6vBa/7HCBiCmT2VegROfKO6K7weN
tOo+6EyNFN2S8S7wQQIDAQAB
-----END PUBLIC KEY-----
";
const TWICE: &str = "{\"event\":\"MessageLoaded\",\"event\":\"MessageLinkClicked\"}";

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));
static FEED: LazyLock<Postal> = LazyLock::new(|| {
    let public_keys = vec![SIGNER.public_key().expect("a key").into(), OLD_KEY.into()];
    Postal::new(&Settings { public_keys }).expect("feed")
});

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    let body = body.into();
    let signature = SIGNER.signature(&body).expect("signed");
    FEED.receive(&delivery(&[("x-postal-signature-256", &signature)], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, body) in fixtures("postal") {
        insta::assert_snapshot!(format!("postal_{name}"), render(&receive(body).expect("taken")));
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
fn either_signature_verifies_and_the_better_one_decides() {
    // Made by OpenSSL: `openssl dgst -sha1 -sign`, `openssl dgst -sha256 -sign`.
    const BODY: &str = "{\"event\":\"MessageLoaded\",\"timestamp\":1754719200.5,\"payload\":{},\"uuid\":\"u-1\"}";
    const SHA1: &str = "6GkP//sOfO8OZJEhwbt1nHgL0gv+wDMlunAEdC5e+GX6Elv+L2+fbnemLSqBgwiGMw071qsAPF371ay5FVvcIvq210VV6liHztL9QTZGS+I2w1kqZN909rAdwiw+14FOuZ6YbozNfDTxdSke2UZCcScwqNbW65cIUxG6mXvRCUg=";
    const SHA256: &str = "4ZsNQcR85N0Du57Axuq9PZhWbxCZ/gG3leClZ6YIDZUPzbr2NBrS2EHQy13Su3hvqT6Xn1Eh/9b9TUmBiEoPUBNbsDUa2d104NH00EZykVLQgCEOrOP5GFfqFNDRAvsAGSl2g7fQCRBaI4Xp10szdLeGZ52hMczbz5oCyBe7Zbo=";
    let with = |headers: &[(&str, &str)], body: &str| {
        FEED.receive(&delivery(headers, body))
            .map(|report| report.ignored)
            .map_err(|error| (error.status.as_u16(), error.reason))
    };
    let open = Ok(vec!["open"]);
    assert_eq!(with(&[("X-Postal-Signature", SHA1)], BODY), open);
    assert_eq!(with(&[("X-Postal-Signature-256", SHA256)], BODY), open);
    assert_eq!(with(&[("x-postal-signature-256", SHA256), ("x-postal-signature", "AAAA")], BODY), open);
    let forged = Err((401, RejectionReason::BadSignature));
    assert_eq!(with(&[("x-postal-signature-256", "AAAA"), ("x-postal-signature", SHA1)], BODY), forged, "no way down");
    assert_eq!(with(&[("x-postal-signature-256", SHA1)], BODY), forged);
    assert_eq!(with(&[("x-postal-signature", SHA256)], BODY), forged);
    assert_eq!(with(&[("x-postal-signature-256", SHA256)], &BODY.replace("u-1", "u-2")), forged);
    let absent = Err((401, RejectionReason::Unauthenticated));
    assert_eq!(with(&[], BODY), absent);
    assert_eq!(with(&[("x-postal-signature-256", "no base64")], BODY), absent);
    assert_eq!(with(&[("x-postal-signature-256", SHA256), ("x-postal-signature-256", SHA256)], BODY), absent);
}

#[test]
fn keys_come_in_every_dress() {
    let new = |key: &str| Postal::new(&Settings { public_keys: vec![key.into()] }).map(|_| ());
    let base64 = SIGNER.public_key().expect("a key");
    for key in [OLD_KEY, &base64, &format!("v=DKIM1; t=s; h=sha256; p={base64};"), &format!(" p={base64}\n")] {
        assert_eq!(new(key), Ok(()), "{key}");
    }
    for key in ["", "no base64", "AAAA", "v=DKIM1; p=;"] {
        assert_eq!(new(key), Err(SettingsError::Key), "{key}");
    }
    assert_eq!(Postal::new(&Settings::default()).expect_err("none"), SecretError::Missing.into());
    let many = Settings { public_keys: vec![OLD_KEY.into(); 3] };
    assert_eq!(Postal::new(&many).expect_err("three"), SecretError::TooMany.into());
    assert_eq!(format!("{:?}", *FEED), "Postal(2 keys)");
}

#[test]
fn the_code_counts_before_postals_own_verdict() {
    let class = |status: &str, output: Value| {
        let payload =
            json!({"message": {"to": "a@b.example"}, "status": status, "output": output, "details": "550 of our own"});
        event(&json!({"event": "MessageDeliveryFailed", "timestamp": 1_754_719_200.5, "payload": payload}))
            .failure_class()
    };
    assert_eq!(class("SoftFail", json!("550 5.1.1 x")), Permanent);
    assert_eq!(class("HardFail", json!("451 4.7.1 x")), Transient);
    assert_eq!(class("HardFail", Value::Null), Permanent);
    assert_eq!(class("New", json!("no code")), Unknown);
}

#[test]
fn an_event_is_known_by_its_uuid() {
    let key = |uuid: Value, word: &str| {
        let payload = json!({"message": {"to": "a@b.example"}});
        event(&json!({"event": word, "uuid": uuid, "timestamp": 1_754_719_200, "payload": payload})).dedupe
    };
    assert_eq!(key(json!("u"), "MessageSent"), key(json!("u"), "MessageDelayed"));
    assert_ne!(key(json!("u"), "MessageSent"), key(json!("v"), "MessageSent"));
    assert_ne!(key(Value::Null, "MessageSent"), key(Value::Null, "MessageDelayed"));
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    for (said, kind) in [("550 5.1.1 x: unauthorized sender", EventKind::Refused), ("450 4.2.1 x", EventKind::Deferred)]
    {
        let of = json!({"event": "MessageDelayed", "timestamp": 1_754_719_200, "payload": {
            "message": {"to": "a@b.example"}, "status": "SoftFail", "output": said,
        }});
        assert_eq!(event(&of).kind, kind, "{said}");
    }
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in [json!([]), Value::Null, json!("x"), json!(17)] {
        let of = json!({"event": "MessageDeliveryFailed", "timestamp": 1_754_719_200, "payload": {
            "message": odd, "original_message": {"to": "a@b.example"}, "status": "HardFail", "output": "550 5.1.1 x",
        }});
        assert_eq!(event(&of).reply.and_then(|reply| reply.code), Some(550), "{odd}");
    }
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    let key = |said: &str| {
        event(&json!({"event": "MessageDeliveryFailed", "timestamp": 1_754_719_200, "payload": {
            "message": {"to": "a@b.example"}, "status": "HardFail", "output": said,
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
        mut record in any_object(&["timestamp", "uuid", "payload"]),
        kind in prop::sample::select(vec!["MessageSent", "MessageHeld", "MessageLoaded", "SendLimitExceeded", "New"]),
    ) {
        record.as_object_mut().expect("object").insert("event".to_owned(), kind.into());
        let report = receive(record.to_string()).expect("taken");
        prop_assert_eq!(report.events.len() + report.set_aside.len() + report.ignored.len(), 1);
    }

    #[test]
    fn the_order_of_keys_does_not_matter(seed in any::<u64>()) {
        let text = fixture("postal", "every_event");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(receive(reordered(&value, seed)), receive(text));
    }
}
