//! Tests of the feed of Postal's events.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{signing::Signer, *};
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
    for (name, read) in read_fixtures("postal", receive) {
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
    assert_a_final_reply_refuses(|said| {
        let of = json!({"event": "MessageDelayed", "timestamp": 1_754_719_200, "payload": {
            "message": {"to": "a@b.example"}, "status": "SoftFail", "output": said,
        }});
        event(&of).kind
    });
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({"event": "MessageDeliveryFailed", "timestamp": 1_754_719_200, "payload": {
            "message": odd, "original_message": {"to": "a@b.example"}, "status": "HardFail", "output": "550 5.1.1 x",
        }});
        assert_eq!(event(&of).reply.and_then(|reply| reply.code), Some(550), "{odd}");
    }
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    assert_all_that_was_said_counts(|said| {
        event(&json!({"event": "MessageDeliveryFailed", "timestamp": 1_754_719_200, "payload": {
            "message": {"to": "a@b.example"}, "status": "HardFail", "output": said,
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
    let keys = &["timestamp", "uuid", "payload"];
    let kinds = &["MessageSent", "MessageHeld", "MessageLoaded", "SendLimitExceeded", "New"];
    assert_elements_are_accounted_for(keys, "event", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("postal", "every_event", receive);
}
