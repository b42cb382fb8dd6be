//! What must be refused, feed by feed, and the good event of each that it is made from.

mod brevo;
pub(super) mod by_secret;
pub(super) mod by_signature;
mod kumomta;
mod mailersend;
mod mailjet;
mod mailtrap;
mod mandrill;
mod postal;
mod resend;
pub(super) mod ses_ways;
mod unisender;

use std::io::Write;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};
use relaywatch::{
    ingest::http::{apple, mailgun as mailgun_feed, sendgrid as sendgrid_feed, sns},
    model::Timestamp,
};
use serde_json::{Value, json};

use super::{CANARY, CAP};
use crate::support::{
    daemon::{BACKEND_TOKEN, BRAZE_TOKEN, Home, MAILGUN_KEY, POSTMARK_TOKEN, SPARKPOST_TOKEN, TOPIC, now},
    payload,
    webhooks::{self, Headers},
};

/// A feed that is told by one file: what is refused, and what is taken.
pub(super) struct Webhook {
    /// The last part of its path.
    pub(super) feed: &'static str,
    /// An event of this type, by the provider's word, at this time, about the canary.
    pub(super) event: fn(&str, &Value) -> Value,
    /// The word for a delivery.
    pub(super) delivered: &'static str,
    /// What a good body is refused for.
    pub(super) refused: fn() -> Vec<Bad>,
    /// What it says without its secret, or with another.
    pub(super) by_authentication: &'static [&'static str],
}

/// All of them. What they have in common stands here, all else in their files.
pub(super) const WEBHOOKS: [Webhook; 9] = [
    mandrill::WEBHOOK,
    mailjet::WEBHOOK,
    brevo::WEBHOOK,
    resend::WEBHOOK,
    mailersend::WEBHOOK,
    postal::WEBHOOK,
    kumomta::WEBHOOK,
    unisender::WEBHOOK,
    mailtrap::WEBHOOK,
];

impl Webhook {
    /// A body with an event of this type, and the headers under which it's taken.
    pub(super) fn post(&self, word: &str, time: &Value) -> (Headers, String) {
        let body = webhooks::body(self.feed, &(self.event)(word, time).to_string());
        (webhooks::headers(self.feed, body.as_bytes()), body)
    }
}

/// What holds for a webhook's every body, and a key twice.
fn of_every_webhook(path: &'static str, good: &str, twice: &str) -> Vec<Bad> {
    let feed = path.trim_start_matches("/in/");
    let sign = |body: &[u8]| webhooks::headers(feed, body);
    let mut all = of_every_signed_feed(path, &sign, good, 400);
    all.push(Bad::new("a key twice", path, &sign(twice.as_bytes()), twice, (400, "malformed")));
    all
}

/// One post that must be refused.
pub(super) struct Bad {
    pub(super) what: String,
    pub(super) path: &'static str,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

impl Bad {
    fn new(
        what: &str,
        path: &'static str,
        headers: &[(&'static str, String)],
        body: impl Into<Vec<u8>>,
        (status, reason): (u16, &'static str),
    ) -> Self {
        Self { what: what.to_owned(), path, headers: headers.to_vec(), body: body.into(), status, reason }
    }

    pub(super) fn feed(&self) -> &'static str {
        self.path.strip_prefix("/in/").expect("a feed")
    }
}

pub(super) fn bearer(token: &str) -> Headers {
    vec![("authorization", format!("Bearer {token}"))]
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("packed");
    encoder.finish().expect("packed")
}

/// The canary as an address.
fn canary() -> String {
    format!("{CANARY}@privaterelay.appleid.com")
}

/// A good event of each provider about the canary's address.
fn ses_message() -> String {
    payload::ses(1, now().as_millis(), true).replace(&payload::relay_address(1), &canary())
}

fn sparkpost_body() -> String {
    let element = payload::sparkpost(1, now().as_millis(), true).replace(&payload::relay_address(1), &canary());
    payload::sparkpost_batch([element])
}

pub(super) fn braze_body(time: &Value) -> String {
    let event = json!({
        "event_type": "users.messages.email.Delivery", "id": "b1", "time": time, "email_address": canary(),
    });
    json!({ "events": [event] }).to_string()
}

pub(super) fn mailgun_event(timestamp: &Value) -> String {
    json!({ "event": "delivered", "id": "m1", "timestamp": timestamp, "recipient": canary() }).to_string()
}

pub(super) fn sendgrid_body(timestamp: &Value) -> String {
    json!([{ "event": "delivered", "sg_event_id": "g1", "timestamp": timestamp, "email": canary() }]).to_string()
}

pub(super) fn postmark_body(delivered_at: &Value) -> String {
    json!({ "RecordType": "Delivery", "MessageID": "p1", "Recipient": canary(), "DeliveredAt": delivered_at })
        .to_string()
}

pub(super) fn postmark_token(token: &str) -> Headers {
    vec![("x-relaywatch-token", token.to_owned())]
}

pub(super) fn claims(at: Timestamp) -> Value {
    let event = json!({
        "type": "email-disabled", "sub": CANARY, "email": canary(), "is_private_email": "true",
        "event_time": at.as_millis(),
    });
    json!({
        "iss": apple::ISSUER, "aud": "com.example.app", "iat": at.as_seconds(), "exp": at.as_seconds() + 86_400,
        "jti": "j1", "events": event.to_string(),
    })
}

pub(super) fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

/// What holds for every feed, whose every body passes its authentication under these headers.
fn of_every_feed(path: &'static str, headers: &[(&'static str, String)], good: &str, malformed: u16) -> Vec<Bad> {
    of_every_signed_feed(path, &|_| headers.to_vec(), good, malformed)
}

/// The same where the headers that authenticate a body depend on it.
fn of_every_signed_feed(path: &'static str, sign: &dyn Fn(&[u8]) -> Headers, good: &str, malformed: u16) -> Vec<Bad> {
    let coded = |what: &str, coding: &str, body: Vec<u8>, expected| {
        let headers = [sign(&body), vec![("content-encoding", coding.to_owned())]].concat();
        Bad::new(what, path, &headers, body, expected)
    };
    let bad = |what: &str, body: Vec<u8>, expected| Bad::new(what, path, &sign(&body), body, expected);
    let (cut, _) = good.split_at(good.len() / 2);
    let invalid = [good.as_bytes(), &[0xff, 0xfe]].concat();
    let is_malformed = (malformed, "malformed");
    vec![
        bad("cut off", cut.into(), is_malformed),
        bad("no JSON", format!("canary={CANARY}").into(), is_malformed),
        bad("empty", Vec::new(), is_malformed),
        bad("a number", "12345678901234567890123".into(), is_malformed),
        bad("deeply nested", "[".repeat(50_000).into(), is_malformed),
        bad("invalid UTF-8", invalid, is_malformed),
        bad("NUL bytes", vec![0; 64], is_malformed),
        coded("a compressed bomb", "gzip", gzip(&vec![b' '; 20_000_000]), (413, "too-large")),
        coded("broken gzip", "gzip", good.into(), (400, "malformed")),
        coded("an unknown coding", "br", good.into(), (415, "unsupported")),
        coded("two codings", "gzip, gzip", gzip(&gzip(good.as_bytes())), (415, "unsupported")),
        bad("more than the cap", [good.as_bytes(), &vec![b' '; CAP]].concat(), (413, "too-large")),
    ]
}

pub(super) fn ses(home: &Home) -> Vec<Bad> {
    let message = ses_message();
    let good = home.notification(&message);
    let envelope: Value = serde_json::from_str(&good).expect("JSON");
    let foreign_key = sns::signing::Signer::generate().expect("a key");
    let draft = |topic: &'static str, at: Timestamp| sns::signing::Draft {
        kind: sns::MessageType::Notification,
        topic,
        message_id: "00000000-0000-4000-8000-000000000001",
        message: &message,
        subject: None,
        at,
        version: sns::SignatureVersion::V2,
    };
    let signed = |draft: &sns::signing::Draft<'_>| home.sns.envelope(draft).expect("signed");
    let without = |key: &str| {
        let mut envelope = envelope.clone();
        envelope.as_object_mut().expect("an object").remove(key);
        envelope.to_string()
    };
    let other_topic = "arn:aws:sns:eu-west-1:999999999999:ses-events";
    let twice = good.replacen('{', "{\"Message\":\"{}\",", 1);
    let bad = |what: &str, body: String, expected| Bad::new(what, "/in/ses", &[], body, expected);
    let forged_address = |url: &str| with(envelope.clone(), "SigningCertURL", url.into()).to_string();
    let mut all = of_every_feed("/in/ses", &[], &good, 400);
    all.extend([
        bad(
            "a wrong signature",
            with(envelope.clone(), "Signature", "AAAA".into()).to_string(),
            (403, "bad-signature"),
        ),
        bad("another message", with(envelope.clone(), "Message", "{}".into()).to_string(), (403, "bad-signature")),
        bad("no signature", without("Signature"), (403, "unauthenticated")),
        bad("a foreign key", foreign_key.envelope(&draft(TOPIC, now())).expect("signed"), (403, "bad-signature")),
        bad("a foreign topic", signed(&draft(other_topic, now())), (403, "foreign")),
        bad("an old message", signed(&draft(TOPIC, now().plus_millis(-7_200_000))), (503, "stale")),
        bad("a message of tomorrow", signed(&draft(TOPIC, now().plus_millis(7_200_000))), (503, "stale")),
        bad("a member twice", twice, (400, "malformed")),
        bad(
            "year 1",
            with(envelope.clone(), "Timestamp", "0001-01-01T00:00:00.000Z".into()).to_string(),
            (403, "bad-signature"),
        ),
        bad(
            "year 9999",
            with(envelope.clone(), "Timestamp", "9999-12-31T23:59:59.999Z".into()).to_string(),
            (400, "malformed"),
        ),
        bad("no time", with(envelope.clone(), "Timestamp", "yesterday".into()).to_string(), (400, "malformed")),
        Bad::new(
            "raw delivery",
            "/in/ses",
            &[("x-amz-sns-rawdelivery", "true".to_owned())],
            message.clone(),
            (400, "malformed"),
        ),
        bad("a message that is none of SES's", home.notification(&format!("canary {CANARY}")), (400, "malformed")),
    ]);
    for url in [
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://evil.s3.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "file:///etc/passwd",
    ] {
        all.push(bad(&format!("the certificate address {url}"), forged_address(url), (403, "bad-signature")));
    }
    all
}

pub(super) fn sparkpost_and_braze() -> Vec<Bad> {
    let mut all = Vec::new();
    for (path, token, good) in [
        ("/in/sparkpost", SPARKPOST_TOKEN, sparkpost_body()),
        ("/in/braze", BRAZE_TOKEN, braze_body(&json!(now().as_seconds()))),
    ] {
        all.extend(of_every_feed(path, &bearer(token), &good, 400));
        let bad = |what: &str, headers: &[(&'static str, String)], expected| {
            Bad::new(what, path, headers, good.clone(), expected)
        };
        let twice = [bearer(token), bearer(token)].concat();
        all.extend([
            bad("no secret", &[], (401, "unauthenticated")),
            bad("a wrong secret", &bearer(&format!("wrong-{CANARY}")), (401, "bad-credentials")),
            bad("the secret with something after it", &bearer(&format!("{token}x")), (401, "bad-credentials")),
            bad("an empty secret", &bearer(""), (401, "unauthenticated")),
            bad("two secrets", &twice, (401, "unauthenticated")),
        ]);
    }
    // In a batch only the element is spoilt; where the body is one element, it is the body.
    let twice = sparkpost_body().trim_matches(['[', ']']).replacen("{\"msys\":", "{\"msys\":{},\"msys\":", 1);
    all.push(Bad::new("a key twice", "/in/sparkpost", &bearer(SPARKPOST_TOKEN), twice, (400, "malformed")));
    all.push(Bad::new(
        "a key twice",
        "/in/braze",
        &bearer(BRAZE_TOKEN),
        "{\"events\":[],\"events\":[]}",
        (400, "malformed"),
    ));
    all
}

pub(super) fn mailgun() -> Vec<Bad> {
    let event = mailgun_event(&json!(now().as_seconds()));
    let body = |key: &str, at: Timestamp, token: &str| mailgun_feed::signing::body(key, at, token, &event).to_vec();
    let text = |body: Vec<u8>| String::from_utf8(body).expect("text");
    let good = text(body(MAILGUN_KEY, now(), "token-1"));
    let bad = |what: &str, body: Vec<u8>, expected| Bad::new(what, "/in/mailgun", &[], body, expected);
    let mut all = of_every_feed("/in/mailgun", &[], &good, 406);
    let day = 86_400_000;
    let year_1 = Timestamp::from_seconds(-62_135_596_800);
    let year_9999 = Timestamp::from_seconds(253_402_300_799);
    all.extend([
        bad("a foreign key", body("another-key", now(), "token-2"), (401, "bad-signature")),
        bad("no signature", format!("{{\"event-data\":{event}}}").into(), (406, "malformed")),
        bad(
            "an empty signature",
            good.replace("\"token\":\"token-1\"", "\"token\":\"\"").into(),
            (401, "unauthenticated"),
        ),
        bad("another token", good.replace("token-1", "token-3").into(), (401, "bad-signature")),
        bad("too old", body(MAILGUN_KEY, now().plus_millis(-2 * day), "token-4"), (503, "stale")),
        bad("ahead of the clock", body(MAILGUN_KEY, now().plus_millis(day), "token-5"), (503, "stale")),
        bad("year 1", body(MAILGUN_KEY, year_1, "token-6"), (406, "stale")),
        bad("year 9999", body(MAILGUN_KEY, year_9999, "token-7"), (406, "stale")),
        bad("a key twice", good.replacen('{', "{\"event-data\":{},", 1).into(), (406, "malformed")),
    ]);
    all
}

pub(super) fn sendgrid(home: &Home) -> Vec<Bad> {
    const PATH: &str = "/in/sendgrid";
    let good = sendgrid_body(&json!(now().as_seconds()));
    let mut all = of_every_signed_feed(PATH, &|body| home.sendgrid_headers(now(), body), &good, 400);
    let other = sendgrid_feed::signing::Signer::generate().expect("a key");
    let at = now().as_seconds().to_string();
    let headers = |at: &str, signature: &str| {
        vec![(sendgrid_feed::TIMESTAMP_HEADER, at.to_owned()), (sendgrid_feed::SIGNATURE_HEADER, signature.to_owned())]
    };
    let signed = |millis: i64| home.sendgrid_headers(now().plus_millis(millis), good.as_bytes());
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let forged = (401, "bad-signature");
    let absent = (401, "unauthenticated");
    let signature = |at: &str| home.sendgrid.signature(at, good.as_bytes()).expect("signed");
    let foreign = other.signature(&at, good.as_bytes()).expect("signed");
    let twice = good.trim_matches(['[', ']']).replacen('{', "{\"event\":\"open\",", 1);
    let twice_headers = home.sendgrid_headers(now(), twice.as_bytes());
    all.extend([
        bad("no signature", &[], absent),
        bad("a timestamp alone", &headers(&at, ""), absent),
        bad("a foreign key", &headers(&at, &foreign), forged),
        bad("another timestamp", &headers("1754805600", &signature(&at)), forged),
        Bad::new("another body", PATH, &signed(0), good.replace("delivered", "processed"), forged),
        Bad::new("a line end after it", PATH, &signed(0), format!("{good}\r\n"), forged),
        bad("too old", &signed(-26 * 3_600_000), (503, "stale")),
        bad("ahead of the clock", &signed(3_600_000), (503, "stale")),
        bad("year 1", &headers("-62135596800", &signature("-62135596800")), absent),
        bad("year 9999", &headers("253402300799", &signature("253402300799")), absent),
        Bad::new("a key twice", PATH, &twice_headers, twice, (400, "malformed")),
    ]);
    all
}

/// Nothing of it is answered with 403, on which Postmark stops.
pub(super) fn postmark() -> Vec<Bad> {
    const PATH: &str = "/in/postmark";
    let good = postmark_body(&json!(payload::rfc3339(now().as_millis())));
    let token = postmark_token(POSTMARK_TOKEN);
    let mut all = of_every_feed(PATH, &token, &good, 400);
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let absent = (401, "unauthenticated");
    let wrong = (401, "bad-credentials");
    all.extend([
        bad("no secret", &[], absent),
        bad("the secret as a bearer token", &bearer(POSTMARK_TOKEN), absent),
        bad("two secrets", &[token.clone(), token.clone()].concat(), absent),
        bad("a wrong secret", &postmark_token(&format!("wrong-{CANARY}")), wrong),
        bad("the secret with something after it", &postmark_token(&format!("{POSTMARK_TOKEN}x")), wrong),
        bad("an empty secret", &postmark_token(""), wrong),
        Bad::new("a key twice", PATH, &token, "{\"Tag\":\"a\",\"Tag\":\"b\"}", (400, "malformed")),
    ]);
    all
}

pub(super) fn apple_feeds(home: &Home) -> Vec<Bad> {
    let signer = &home.apple;
    let other = apple::signing::Signer::generate("K1").expect("a key");
    let unknown = apple::signing::Signer::generate("K9").expect("a key");
    let claims = claims(now());
    let jwt = |claims: &Value| signer.jwt(claims).expect("signed");
    let post = |jwt: &str| apple::signing::body(jwt).to_vec();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = part(&claims);
    let confused = |secret: &[u8]| {
        let message = format!("{}.{payload}", part(&json!({ "kid": "K1", "alg": "HS256" })));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let none = format!("{}.{payload}.", part(&json!({ "kid": "K1", "alg": "none" })));
    let forged = (401, "bad-signature");
    let good = String::from_utf8(post(&jwt(&claims))).expect("text");

    let bad = |what: &str, jwt: &str, expected| Bad::new(what, "/in/apple/direct", &[], post(jwt), expected);
    let mut all = of_every_feed("/in/apple/direct", &[], &good, 400);
    all.extend([
        bad("alg none", &none, forged),
        bad("a foreign key under a known id", &other.jwt(&claims).expect("signed"), forged),
        bad("an unknown key", &unknown.jwt(&claims).expect("signed"), forged),
        bad("key confusion by the JWK set", &confused(&signer.jwks()), forged),
        bad("key confusion by the public key", &confused(&signer.public_key_der()), forged),
        bad("expired", &jwt(&with(claims.clone(), "exp", (now().as_seconds() - 3_600).into())), (503, "stale")),
        bad("another issuer", &jwt(&with(claims.clone(), "iss", "https://evil.example".into())), (403, "foreign")),
        bad("another app", &jwt(&with(claims.clone(), "aud", "com.example.other".into())), (403, "foreign")),
        bad("no JWT", CANARY, forged),
        Bad::new("a key twice", "/in/apple/direct", &[], "{\"payload\":\"a\",\"payload\":\"b\"}", (400, "malformed")),
        Bad::new("no secret", "/in/apple/backend", &[], good.clone(), (401, "unauthenticated")),
        Bad::new("a wrong secret", "/in/apple/backend", &bearer("wrong"), good.clone(), (401, "bad-credentials")),
        Bad::new("a forged notice", "/in/apple/backend", &bearer(BACKEND_TOKEN), post(&none), forged),
    ]);
    all
}
