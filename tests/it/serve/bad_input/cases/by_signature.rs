//! Feeds whose bodies are signed: one's own format, Customer.io, Klaviyo, Scaleway.

use relaywatch::{
    ingest::http::{
        customerio as customerio_feed, generic as generic_feed, klaviyo as klaviyo_feed,
        sns::{self, MessageType, SignatureVersion},
    },
    model::Timestamp,
};
use serde_json::{Value, json};

use super::{Bad, Headers, canary, of_every_feed, of_every_signed_feed, with};
use crate::support::{
    daemon::{CUSTOMERIO_KEY, GENERIC_KEY, Home, KLAVIYO_KEY, SCALEWAY_TOPIC, now},
    payload,
};

const DAY: i64 = 86_400_000;
const FORGED: (u16, &str) = (401, "bad-signature");
const ABSENT: (u16, &str) = (401, "unauthenticated");
const STALE: (u16, &str) = (503, "stale");

pub(in super::super) fn generic_body(at: &Value) -> String {
    json!({ "id": "y1", "type": "delivered", "at": at, "recipient": canary() }).to_string()
}

pub(in super::super) fn customerio_body(at: &Value) -> String {
    let data = json!({ "recipient": canary(), "delivery_id": "d1" });
    json!({ "event_id": "c1", "object_type": "email", "metric": "delivered", "timestamp": at, "data": data })
        .to_string()
}

pub(in super::super) fn klaviyo_body(at: &Value) -> String {
    let attributes = json!({ "timestamp": at, "event_properties": { "email_address": canary() } });
    let payload = json!({ "data": { "type": "event", "attributes": attributes } });
    let event = json!({ "topic": "event:klaviyo.received_email", "external_id": "k1", "payload": payload });
    json!({ "data": [event] }).to_string()
}

pub(in super::super) fn klaviyo_headers(key: &str, at: Timestamp, body: &[u8]) -> Headers {
    klaviyo_feed::signing::headers(key, &payload::rfc3339(at.as_millis()), body)
}

pub(in super::super) fn scaleway_body(at: &Value) -> String {
    json!({ "id": "w1", "type": "email_delivered", "created_at": at, "email_id": "m1", "email_to": canary() })
        .to_string()
}

/// An envelope of Scaleway's, signed by the home's own key.
pub(in super::super) fn scaleway_envelope(home: &Home, message: &str) -> String {
    envelope(&home.sns, SCALEWAY_TOPIC, now(), message)
}

fn envelope(signer: &sns::signing::Signer, topic: &str, at: Timestamp, message: &str) -> String {
    let draft = sns::signing::Draft {
        kind: MessageType::Notification,
        topic,
        message_id: "00000000-0000-4000-8000-000000000001",
        message,
        subject: None,
        at,
        version: SignatureVersion::V1,
    };
    signer.envelope(&draft).expect("signed")
}

/// What holds where a time and the raw body are signed under a shared key.
fn of_a_signed_time(
    path: &'static str,
    key: &str,
    sign: fn(&str, Timestamp, &[u8]) -> Headers,
    good: &str,
    window: i64,
) -> Vec<Bad> {
    let mut all = of_every_signed_feed(path, &|body| sign(key, now(), body), good, 400);
    let bad = |what: &str, headers: &[(&'static str, String)], expected| Bad::new(what, path, headers, good, expected);
    let at = |millis: i64| sign(key, now().plus_millis(millis), good.as_bytes());
    let other = |name: &str, value: &str| {
        let mut headers = at(0);
        headers.iter_mut().filter(|(known, _)| known.ends_with(name)).for_each(|(_, held)| value.clone_into(held));
        headers
    };
    let twice = good.replacen('{', "{\"data\":1,\"data\":2,\"id\":1,\"id\":2,", 1);
    let signed_twice = sign(key, now(), twice.as_bytes());
    all.extend([
        bad("no signature", &[], ABSENT),
        bad("a signature that is none", &other("signature", "yesterday"), ABSENT),
        bad("a time that is none", &other("timestamp", "yesterday"), ABSENT),
        bad("a foreign key", &sign("another-key", now(), good.as_bytes()), FORGED),
        bad("another timestamp", &other("timestamp", "1754805600"), FORGED),
        Bad::new("another body", path, &at(0), good.replace("canary", "canarx"), FORGED),
        Bad::new("a line end after it", path, &at(0), format!("{good}\r\n"), FORGED),
        bad("too old", &at(-window - 60_000), STALE),
        bad("ahead of the clock", &at(DAY), STALE),
        Bad::new("a key twice", path, &signed_twice, twice, (400, "malformed")),
    ]);
    all
}

pub(in super::super) fn generic() -> Vec<Bad> {
    let good = generic_body(&json!(now().as_seconds()));
    of_a_signed_time("/in/generic", GENERIC_KEY, generic_feed::signing::headers, &good, generic_feed::WINDOW_MILLIS)
}

pub(in super::super) fn customerio() -> Vec<Bad> {
    let (good, window) = (customerio_body(&json!(now().as_seconds())), customerio_feed::WINDOW_MILLIS);
    of_a_signed_time("/in/customerio", CUSTOMERIO_KEY, customerio_feed::signing::headers, &good, window)
}

pub(in super::super) fn klaviyo() -> Vec<Bad> {
    const PATH: &str = "/in/klaviyo";
    let good = klaviyo_body(&json!(now().as_seconds()));
    let window = klaviyo_feed::WINDOW_MILLIS;
    let mut all = of_a_signed_time(PATH, KLAVIYO_KEY, klaviyo_headers, &good, window);
    let of_another = json!({ "data": [], "meta": { "klaviyo_webhook_id": "w1" } }).to_string();
    let mut headers = klaviyo_headers(KLAVIYO_KEY, now(), of_another.as_bytes());
    headers.push((klaviyo_feed::WEBHOOK_HEADER, "w2".to_owned()));
    all.push(Bad::new("another webhook", PATH, &headers, of_another, (400, "foreign")));
    all
}

pub(in super::super) fn scaleway(home: &Home) -> Vec<Bad> {
    const PATH: &str = "/in/scaleway";
    let message = scaleway_body(&json!(payload::rfc3339(now().as_millis())));
    let good = scaleway_envelope(home, &message);
    let parsed: Value = serde_json::from_str(&good).expect("JSON");
    let mut all = of_every_feed(PATH, &[], &good, 400);
    let bad = |what: &str, body: String, expected| Bad::new(what, PATH, &[], body, expected);
    let stranger = sns::signing::Signer::generate().expect("a key");
    let other_topic = SCALEWAY_TOPIC.replace("mail-events", "other");
    let amazons = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";
    let aside = "https://messaging.s3.fr-par.scw.cloud.evil.example/cert.pem";
    all.extend([
        bad("a foreign key", envelope(&stranger, SCALEWAY_TOPIC, now(), &message), (403, "bad-signature")),
        bad("another message", with(parsed.clone(), "Message", "{}".into()).to_string(), (403, "bad-signature")),
        bad("a foreign topic", envelope(&home.sns, &other_topic, now(), &message), (403, "foreign")),
        bad("a topic of Amazon's", home.notification(&message), (403, "foreign")),
        bad("an old message", envelope(&home.sns, SCALEWAY_TOPIC, now().plus_millis(-DAY), &message), STALE),
        bad("no signature", with(parsed.clone(), "Signature", Value::Null).to_string(), (403, "unauthenticated")),
        bad(
            "the certificate address of Amazon",
            with(parsed.clone(), "SigningCertURL", amazons.into()).to_string(),
            (403, "bad-signature"),
        ),
        bad(
            "the certificate address of a stranger",
            with(parsed, "SigningCertURL", aside.into()).to_string(),
            (403, "bad-signature"),
        ),
        bad("a message that is none of Scaleway's", scaleway_envelope(home, "canary7f3a"), (400, "malformed")),
        bad("a member twice", good.replacen('{', "{\"Message\":\"{}\",", 1), (400, "malformed")),
    ]);
    all
}
