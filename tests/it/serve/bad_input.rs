//! What strangers, attackers and broken senders post: a clear answer, a metric, nothing stored, no crash, nothing leaked.

use std::{
    cell::Cell,
    io::{Read, Write},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};
use relaywatch::{
    ingest::http::{apple, mailgun as mailgun_feed, sns},
    model::Timestamp,
};
use serde_json::{Value, json};

use crate::support::{
    Engine,
    daemon::{BACKEND_TOKEN, BRAZE_TOKEN, Client, Daemon, Home, MAILGUN_KEY, SPARKPOST_TOKEN, TOPIC, head, now},
    journal_rows, payload,
};

/// Stands in every payload and must come out nowhere.
const CANARY: &str = "canary7f3a";
/// The cap in this test's configuration.
const CAP: usize = 65_536;

/// One post that must be refused.
struct Bad {
    what: String,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    reason: &'static str,
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

    fn feed(&self) -> &'static str {
        self.path.strip_prefix("/in/").expect("a feed")
    }
}

fn bearer(token: &str) -> Vec<(&'static str, String)> {
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

fn braze_body(time: &Value) -> String {
    let event = json!({
        "event_type": "users.messages.email.Delivery", "id": "b1", "time": time, "email_address": canary(),
    });
    json!({ "events": [event] }).to_string()
}

fn mailgun_event(timestamp: &Value) -> String {
    json!({ "event": "delivered", "id": "m1", "timestamp": timestamp, "recipient": canary() }).to_string()
}

fn claims(at: Timestamp) -> Value {
    let event = json!({
        "type": "email-disabled", "sub": CANARY, "email": canary(), "is_private_email": "true",
        "event_time": at.as_millis(),
    });
    json!({
        "iss": apple::ISSUER, "aud": "com.example.app", "iat": at.as_seconds(), "exp": at.as_seconds() + 86_400,
        "jti": "j1", "events": event.to_string(),
    })
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

/// What holds for every feed: `good` passes its authentication under `headers`.
fn of_every_feed(path: &'static str, headers: &[(&'static str, String)], good: &str, malformed: u16) -> Vec<Bad> {
    let bad = |what: &str, headers: &[(&'static str, String)], body: Vec<u8>, expected| {
        Bad::new(what, path, headers, body, expected)
    };
    let coded = |coding: &str| [headers, &[("content-encoding", coding.to_owned())]].concat();
    let (cut, _) = good.split_at(good.len() / 2);
    let invalid = [good.as_bytes(), &[0xff, 0xfe]].concat();
    let is_malformed = (malformed, "malformed");
    vec![
        bad("cut off", headers, cut.into(), is_malformed),
        bad("no JSON", headers, format!("canary={CANARY}").into(), is_malformed),
        bad("empty", headers, Vec::new(), is_malformed),
        bad("a number", headers, "12345678901234567890123".into(), is_malformed),
        bad("deeply nested", headers, "[".repeat(50_000).into(), is_malformed),
        bad("invalid UTF-8", headers, invalid, is_malformed),
        bad("NUL bytes", headers, vec![0; 64], is_malformed),
        bad("a compressed bomb", &coded("gzip"), gzip(&vec![b' '; 20_000_000]), (413, "too-large")),
        bad("broken gzip", &coded("gzip"), good.into(), (400, "malformed")),
        bad("an unknown coding", &coded("br"), good.into(), (415, "unsupported")),
        bad("two codings", &coded("gzip, gzip"), gzip(&gzip(good.as_bytes())), (415, "unsupported")),
        bad("more than the cap", headers, [good.as_bytes(), &vec![b' '; CAP]].concat(), (413, "too-large")),
    ]
}

fn ses(home: &Home) -> Vec<Bad> {
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

fn sparkpost_and_braze() -> Vec<Bad> {
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

fn mailgun() -> Vec<Bad> {
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

fn apple_feeds(home: &Home) -> Vec<Bad> {
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

fn assert_clean(what: &str, text: &str) {
    for secret in [CANARY, SPARKPOST_TOKEN, BRAZE_TOKEN, MAILGUN_KEY, BACKEND_TOKEN] {
        assert!(!text.contains(secret), "{what}: {secret} comes out:\n{text}");
    }
}

async fn start() -> (Home, Daemon) {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    home.configure(&format!("[limits]\nbody_bytes = {CAP}\n[log]\nlevel = \"debug\"\n{}", Home::feeds()));
    let daemon = home.start();
    (home, daemon)
}

/// Which of the cases every feed is held to; the rest depends on how a feed authenticates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_feed_goes_without_a_case() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let all: Vec<Bad> =
        [ses(&home), sparkpost_and_braze(), mailgun(), apple_feeds(&home)].into_iter().flatten().collect();
    let has = |feed: &str, what: &str| all.iter().any(|bad| bad.feed() == feed && bad.what.contains(what));
    for feed in ["ses", "sparkpost", "braze", "mailgun", "apple/direct"] {
        for what in ["no JSON", "cut off", "invalid UTF-8", "a compressed bomb", "more than the cap", "twice"] {
            assert!(has(feed, what), "{feed}: {what}");
        }
    }
    let by_authentication: &[(&str, &[&str])] = &[
        ("ses", &["no signature", "a wrong signature", "a foreign topic", "a foreign key", "the certificate address"]),
        ("sparkpost", &["no secret", "a wrong secret"]),
        ("braze", &["no secret", "a wrong secret"]),
        ("mailgun", &["no signature", "a foreign key", "another token", "too old", "year 1", "year 9999"]),
        ("apple/direct", &["expired", "a foreign key", "alg none", "key confusion", "another app", "another issuer"]),
        ("apple/backend", &["no secret", "a wrong secret", "a forged notice"]),
    ];
    for (feed, cases) in by_authentication {
        for what in *cases {
            assert!(has(feed, what), "{feed}: {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_counted_and_forgotten() {
    let (home, daemon) = start().await;
    let store = home.store().await;
    let before = journal_rows(&store).await;
    for bad in [ses(&home), sparkpost_and_braze(), mailgun(), apple_feeds(&home)].into_iter().flatten() {
        let what = format!("{} to {}", bad.what, bad.path);
        let series = format!("relaywatch_feed_rejections_total{{feed=\"{}\",reason=\"{}\"}}", bad.feed(), bad.reason);
        let counted = daemon.metric(&series);
        let headers: Vec<_> = bad.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = daemon.post(bad.path, &headers, &bad.body);
        let text = answer.text();
        assert_eq!(answer.status, bad.status, "{what}: {text}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        // Only these are authenticated by a header.
        let by_header = ["/in/sparkpost", "/in/braze", "/in/apple/backend"].contains(&bad.path);
        let challenged = by_header && ["bad-credentials", "unauthenticated"].contains(&bad.reason);
        assert_eq!(answer.header("www-authenticate").is_some(), challenged, "{what}: {text}");
        let problem: Value = serde_json::from_str(&text).expect("a problem");
        assert_eq!(problem["reason"], bad.reason, "{what}: {text}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{what}: {text}");
        assert_clean(&what, &text);
        assert_eq!(daemon.metric(&series), counted + 1, "{what} is counted");
    }
    assert_eq!(journal_rows(&store).await, before, "nothing is stored");
    assert_eq!(daemon.get("/readyz").status, 200);
    assert_clean("/metrics", &daemon.get("/metrics").text());
    assert_clean("stderr", &daemon.stop());
}

/// Authenticated, and yet not to be believed: acknowledged, kept sealed for a look, and no outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_times_and_huge_numbers_are_set_aside_or_survive() {
    let (home, daemon) = start().await;
    let (year_1, year_9999) = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
    let now = now();
    let sent = Cell::new(0);
    let post = |path: &str, headers: &[(&'static str, String)], body: &[u8]| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = daemon.post(path, &headers, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        sent.set(sent.get() + 1);
    };
    let good = payload::rfc3339(now.as_millis());
    let huge = json!(9_007_199_254_740_993_u64);
    let beyond: Value = serde_json::from_str("1e300").expect("a number");
    let absurd = [
        json!(year_1),
        json!(year_9999),
        json!("9999-01-01T00:00:00Z"),
        json!(-62_135_596_800_i64),
        json!(253_402_300_799_i64),
        json!("253402300799"),
        json!("253402300799.5"),
        json!(-1),
        json!(0),
        json!("-0.5"),
        json!("1e300"),
        json!("NaN"),
        json!("-inf"),
        json!(true),
        huge,
        beyond,
    ];
    for time in &absurd {
        let message = payload::ses(1, now.as_millis(), true).replace(&format!("\"{good}\""), &time.to_string());
        assert!(!message.contains(&good));
        post("/in/ses", &[], home.notification(&message).as_bytes());
        let seconds = now.as_seconds().to_string();
        let element = payload::sparkpost(1, now.as_millis(), true);
        let batch = payload::sparkpost_batch([element.replace(&format!("\"{seconds}\""), &time.to_string())]);
        assert!(!batch.contains(&seconds));
        post("/in/sparkpost", &bearer(SPARKPOST_TOKEN), batch.as_bytes());
        post("/in/braze", &bearer(BRAZE_TOKEN), braze_body(time).as_bytes());
        let token = format!("token-{time}");
        let body = mailgun_feed::signing::body(MAILGUN_KEY, now, &token, &mailgun_event(time));
        post("/in/mailgun", &[], &body);
        let event = json!({ "type": "consent-revoked", "sub": CANARY, "event_time": time });
        let jwt = home.apple.jwt(&with(claims(now), "events", event.to_string().into())).expect("signed");
        post("/in/apple/direct", &[], &apple::signing::body(&jwt));
    }
    for feed in ["ses", "sparkpost", "braze", "mailgun", "apple/direct"] {
        let of = |reason: &str| {
            daemon.metric(&format!("relaywatch_feed_set_aside_total{{feed=\"{feed}\",reason=\"{reason}\"}}"))
        };
        // A text that is no time at all may count as malformed; each is counted under one reason.
        assert_eq!(of("implausible-time") + of("malformed"), absurd.len() as u64, "{feed}");
        assert!(of("implausible-time") >= 12, "{feed}: {}", of("implausible-time"));
    }
    let store = home.store().await;
    let rows = |counts: &[(&'static str, i64)], table: &str| {
        counts.iter().find(|(name, _)| *name == table).expect("a counted table").1
    };
    let counts = store.row_counts().await.expect("counts");
    // The one entry holds the settings of the start.
    assert_eq!((rows(&counts, "event"), rows(&counts, "entry")), (0, 1), "no time of these is believed");
    assert_eq!(rows(&counts, "set_aside"), sent.get());

    // Numbers that a JSON reader with doubles would merge stay apart.
    for id in [9_007_199_254_740_992_u64, 9_007_199_254_740_993] {
        let element = payload::sparkpost(1, now.as_millis(), false);
        let batch = payload::sparkpost_batch([element.replace("\"92356000000000001\"", &id.to_string())]);
        assert!(batch.contains(&id.to_string()));
        post("/in/sparkpost", &bearer(SPARKPOST_TOKEN), batch.as_bytes());
    }
    assert_eq!(rows(&store.row_counts().await.expect("counts"), "event"), 2);
    assert_clean("/metrics", &daemon.get("/metrics").text());
    assert_clean("stderr", &daemon.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_another_body_is_a_forgery_and_with_the_same_a_retry() {
    let (home, daemon) = start().await;
    let (at, event) = (now(), mailgun_event(&json!(now().as_seconds())));
    let good = mailgun_feed::signing::body(MAILGUN_KEY, at, "token-1", &event);
    assert_eq!(daemon.post("/in/mailgun", &[], &good).status, 200);
    assert_eq!(daemon.post("/in/mailgun", &[], &good).status, 200);
    let store = home.store().await;
    let before = journal_rows(&store).await;
    let forged = mailgun_feed::signing::body(MAILGUN_KEY, at, "token-1", &event.replace("m1", "m2"));
    let answer = daemon.post("/in/mailgun", &[], &forged);
    assert_eq!(answer.status, 406);
    assert!(answer.text().contains("token-reused"), "{}", answer.text());
    assert_clean("the answer", &answer.text());
    assert_eq!(daemon.metric("relaywatch_feed_rejections_total{feed=\"mailgun\",reason=\"token-reused\"}"), 1);
    assert_eq!(journal_rows(&store).await, before);
    assert_clean("stderr", &daemon.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_are_refused_before_they_are_read() {
    const HUGE: usize = 100_000_000;
    let (_home, daemon) = start().await;
    let authorization = format!("Bearer {SPARKPOST_TOKEN}");
    let mut client = Client::new(daemon.public).expect("connected");
    let mut pen = client.stream.try_clone().expect("cloned");
    let head = head("POST", "/in/sparkpost", &[("authorization", &authorization)], HUGE);
    let writing = std::thread::spawn(move || {
        let chunk = vec![b' '; 65_536];
        let mut written = 0;
        // It ends when the daemon closes the connection.
        while written < HUGE && pen.write_all(if written == 0 { head.as_bytes() } else { &chunk }).is_ok() {
            written += chunk.len();
        }
        written
    });
    assert_eq!(client.answer().expect("an answer").status, 413);
    let mut rest = Vec::new();
    // Either end of the connection is fine: closed, or reset with bytes of ours unread.
    drop(client.stream.read_to_end(&mut rest));
    let written = writing.join().expect("a count");
    assert!(written < HUGE / 2, "{written} bytes went through");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(kib < 150 * 1_024, "{kib} KiB at the peak");
    assert_eq!(daemon.get("/readyz").status, 200);
    daemon.stop();
}
