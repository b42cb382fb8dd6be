//! What a verifier takes and refuses.

mod mistakes;

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    signing::{Draft, Signer, certificate_url, message_id},
    *,
};
use crate::model::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS};

const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:ses-events";
const OTHER_TOPIC: &str = "arn:aws:sns:us-west-2:999999999999:theirs";
const HOST: &str = "sns.us-west-2.amazonaws.com";
const NOW: Timestamp = Timestamp::from_millis(1_754_719_200_000);
const ALL_TYPES: [MessageType; 3] =
    [MessageType::Notification, MessageType::SubscriptionConfirmation, MessageType::UnsubscribeConfirmation];

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));
static STRANGER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));

fn certificate(signer: &Signer) -> Vec<u8> {
    let (from, until) = (NOW.plus_millis(-30 * DAY_MILLIS), NOW.plus_millis(365 * DAY_MILLIS));
    signer.certificate("sns.amazonaws.com", from, until).expect("a certificate").into_bytes()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/ses/{name}", env!("CARGO_MANIFEST_DIR"))).expect("the fixture")
}

fn settings() -> SnsSettings {
    SnsSettings { topics: vec![TOPIC.to_owned()], ..SnsSettings::default() }
}

fn pinned() -> Verifier {
    Verifier::new(&SnsSettings { signing_certificates: vec![certificate(&SIGNER)], ..settings() }).expect("settings")
}

/// Serves one answer to every request, and counts them.
struct Shelf {
    answer: std::sync::Mutex<Result<Bytes, FetchError>>,
    requests: AtomicUsize,
}

impl Shelf {
    fn with(answer: Result<Vec<u8>, FetchError>) -> Arc<Self> {
        Arc::new(Self { answer: std::sync::Mutex::new(answer.map(Bytes::from)), requests: AtomicUsize::new(0) })
    }

    fn change(&self, answer: Result<Vec<u8>, FetchError>) {
        *self.answer.lock().expect("lock") = answer.map(Bytes::from);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl FetchCertificate for Shelf {
    fn fetch<'a>(&'a self, _url: &'a str) -> Fetching<'a> {
        Box::pin(async {
            self.requests.fetch_add(1, Ordering::SeqCst);
            // Gives every other request the chance to come before the answer.
            tokio::task::yield_now().await;
            self.answer.lock().expect("lock").clone()
        })
    }
}

fn fetching(shelf: &Arc<Shelf>) -> Verifier {
    Verifier::with_fetcher(&settings(), Arc::clone(shelf) as Arc<dyn FetchCertificate>).expect("settings")
}

/// A server that gives the same answer to everybody: its address, and how often it was asked.
async fn serve(answer: String) -> (String, Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/SimpleNotificationService-0a.pem", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                // The client may hang up before the end of an answer that is too large.
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    (url, asked)
}

fn draft(kind: MessageType, version: SignatureVersion) -> Draft<'static> {
    Draft {
        kind,
        topic: TOPIC,
        message_id: "00000000-0000-4000-8000-000000000001",
        message: "{\"a\":\"line\\nbreak, \u{fc}\u{1f34e}\"}\n",
        subject: (kind == MessageType::Notification).then_some("Amazon SES Email Event Notification"),
        at: NOW,
        version,
    }
}

fn signed(signer: &Signer, draft: &Draft<'_>) -> Value {
    serde_json::from_str(&signer.envelope(draft).expect("signs")).expect("JSON")
}

fn notification() -> Value {
    signed(&SIGNER, &draft(MessageType::Notification, SignatureVersion::V2))
}

fn with(mut envelope: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        envelope[*name] = value.clone();
    }
    envelope
}

fn without(mut envelope: Value, name: &str) -> Value {
    envelope.as_object_mut().expect("an object").remove(name);
    envelope
}

fn delivery(body: impl Into<Vec<u8>>) -> Delivery {
    Delivery { received_at: NOW, ..super::super::testing::delivery(&[], body.into()) }
}

fn header(mut delivery: Delivery, name: &'static str, value: &'static str) -> Delivery {
    delivery.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    delivery
}

/// Status, reason and detail of the refusal.
async fn refused(verifier: &Verifier, body: impl ToString) -> (u16, RejectionReason, String) {
    let delivery = delivery(body.to_string());
    let rejection = verifier.verify(&delivery).await.expect_err("refused");
    (rejection.status.as_u16(), rejection.reason, rejection.detail)
}

async fn reason(verifier: &Verifier, body: impl ToString) -> RejectionReason {
    refused(verifier, body).await.1
}

#[tokio::test]
async fn both_versions_and_all_types_verify() {
    let verifier = pinned();
    for kind in ALL_TYPES {
        for version in [SignatureVersion::V1, SignatureVersion::V2] {
            let delivery = delivery(signed(&SIGNER, &draft(kind, version)).to_string());
            let message = verifier.verify(&delivery).await.expect("verifies");
            assert_eq!((message.kind, message.topic, message.at), (kind, TOPIC, NOW));
            assert_eq!(message.message, "{\"a\":\"line\\nbreak, \u{fc}\u{1f34e}\"}\n");
            assert_eq!(message.subscribe_url.is_some(), kind == MessageType::SubscriptionConfirmation);
        }
    }
}

#[tokio::test]
async fn a_notification_without_subject_verifies() {
    let verifier = pinned();
    let plain = Draft { subject: None, ..draft(MessageType::Notification, SignatureVersion::V2) };
    for body in [signed(&SIGNER, &plain), with(signed(&SIGNER, &plain), &[("Subject", Value::Null)])] {
        assert!(verifier.verify(&delivery(body.to_string())).await.is_ok());
    }
}

#[tokio::test]
async fn any_change_of_a_signed_member_is_noticed() {
    let verifier = pinned();
    for (name, value) in [
        ("Message", json!("other")),
        ("MessageId", json!(message_id(2))),
        ("Subject", json!("other")),
        ("Timestamp", json!("2025-08-09T06:00:01.000Z")),
        ("SignatureVersion", json!("1")),
        ("Signature", json!("AAAA")),
        ("Signature", json!("not base64!")),
        ("Signature", json!("A".repeat(100_000))),
    ] {
        let body = with(notification(), &[(name, value)]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::BadSignature, "{name}");
    }
    assert_eq!(reason(&verifier, without(notification(), "Subject")).await, RejectionReason::BadSignature);
}

#[tokio::test]
async fn version_1_can_be_refused() {
    let settings = SnsSettings {
        signing_certificates: vec![certificate(&SIGNER)],
        refuse_signature_version_1: true,
        ..settings()
    };
    let verifier = Verifier::new(&settings).expect("settings");
    let old = signed(&SIGNER, &draft(MessageType::Notification, SignatureVersion::V1));
    let (status, reason, detail) = refused(&verifier, old).await;
    assert_eq!((status, reason), (403, RejectionReason::BadSignature));
    assert!(detail.contains("SignatureVersion to 2"), "{detail}");
    assert!(verifier.verify(&delivery(notification().to_string())).await.is_ok());
}

#[tokio::test]
async fn any_pinned_key_is_good_while_its_certificate_holds() {
    let old = SIGNER
        .certificate("whatever.example", NOW.plus_millis(-20 * DAY_MILLIS), NOW.plus_millis(-10 * DAY_MILLIS))
        .expect("a certificate")
        .into_bytes();
    let both = [certificate(&STRANGER), certificate(&SIGNER)].concat();
    let verifier = |certificates: Vec<Vec<u8>>| {
        Verifier::new(&SnsSettings { signing_certificates: certificates, ..settings() }).expect("settings")
    };
    let body = notification();
    assert!(verifier(vec![both]).verify(&delivery(body.to_string())).await.is_ok(), "two in one text");
    let expired = verifier(vec![old.clone()]);
    assert_eq!(refused(&expired, &body).await.0, 503);
    assert_eq!(reason(&expired, &body).await, RejectionReason::KeysUnavailable);
    let rotated = verifier(vec![old, certificate(&STRANGER)]);
    assert_eq!(reason(&rotated, &body).await, RejectionReason::BadSignature, "an expired pin verifies nothing");
}

#[test]
fn bad_settings_say_which_entry_is_wrong() {
    let message = |settings: SnsSettings| Verifier::new(&settings).expect_err("refused").to_string();
    assert!(message(SnsSettings::default()).contains("topics is empty"));
    let two = vec![TOPIC.to_owned(), "ses-events".to_owned()];
    assert!(
        message(SnsSettings { topics: two, ..settings() }).starts_with("topics, entry 2: write the topic's whole ARN")
    );
    let pins = |pem: &[u8]| SnsSettings { signing_certificates: vec![pem.to_vec()], ..settings() };
    assert!(message(pins(b"no PEM")).contains("no PEM block CERTIFICATE"));
    assert!(message(pins(b"")).contains("no PEM block CERTIFICATE"));
    assert!(message(pins(&fixture("rsa1024.pem"))).contains("fewer than 2048 bits"));
    assert!(message(pins(&fixture("p256.pem"))).contains("no RSA key"));
    let mut cut = certificate(&SIGNER);
    cut.truncate(600);
    assert!(message(pins(&cut)).contains("entry 1"));
    assert!(message(SnsSettings { tolerance_millis: -1, ..settings() }).contains("negative"));
}

#[tokio::test]
async fn a_certificate_is_fetched_once_a_day_and_once_for_all_who_wait() {
    let shelf = Shelf::with(Ok(certificate(&SIGNER)));
    let verifier = Arc::new(fetching(&shelf));
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..20 {
        let verifier = Arc::clone(&verifier);
        let id = message_id(number);
        let body =
            signed(&SIGNER, &Draft { message_id: &id, ..draft(MessageType::Notification, SignatureVersion::V2) });
        waiting.spawn(async move { verifier.verify(&delivery(body.to_string())).await.is_ok() });
    }
    assert!(waiting.join_all().await.into_iter().all(|ok| ok));
    assert_eq!(shelf.requests(), 1, "one flight for all");

    let later = |millis| {
        let at = NOW.plus_millis(millis);
        let body = signed(&SIGNER, &Draft { at, ..draft(MessageType::Notification, SignatureVersion::V2) });
        Delivery { received_at: at, ..delivery(body.to_string()) }
    };
    assert!(verifier.verify(&later(23 * HOUR_MILLIS)).await.is_ok());
    assert_eq!(shelf.requests(), 1);
    assert!(verifier.verify(&later(24 * HOUR_MILLIS)).await.is_ok());
    assert_eq!(shelf.requests(), 2);

    shelf.change(Err(FetchError::Unreachable));
    assert!(verifier.verify(&later(49 * HOUR_MILLIS)).await.is_ok(), "an outage of the host alone loses nothing");
    assert!(verifier.verify(&later(49 * HOUR_MILLIS)).await.is_ok());
    assert_eq!(shelf.requests(), 3, "the failure is remembered");
    let stale = verifier.verify(&later(9 * DAY_MILLIS)).await.expect_err("too old");
    assert_eq!((stale.status.as_u16(), stale.reason), (503, RejectionReason::KeysUnavailable));
}

#[tokio::test]
async fn a_withdrawn_certificate_is_used_no_more() {
    let shelf = Shelf::with(Ok(certificate(&SIGNER)));
    let verifier = fetching(&shelf);
    assert!(verifier.verify(&delivery(notification().to_string())).await.is_ok());
    shelf.change(Err(FetchError::NotFound));
    let at = NOW.plus_millis(25 * HOUR_MILLIS);
    let body = signed(&SIGNER, &Draft { at, ..draft(MessageType::Notification, SignatureVersion::V2) });
    let late = Delivery { received_at: at, ..delivery(body.to_string()) };
    assert_eq!(verifier.verify(&late).await.expect_err("refused").reason, RejectionReason::BadSignature);
}

#[tokio::test]
async fn an_unreachable_host_makes_sns_come_again_and_is_not_pestered() {
    let shelf = Shelf::with(Err(FetchError::Unreachable));
    let verifier = fetching(&shelf);
    for _ in 0..3 {
        let (status, reason, detail) = refused(&verifier, notification()).await;
        assert_eq!((status, reason), (503, RejectionReason::KeysUnavailable));
        assert!(detail.contains("signing_certificates"), "{detail}");
    }
    assert_eq!(shelf.requests(), 1);
    shelf.change(Ok(certificate(&SIGNER)));
    // SNS comes again after 20 s.
    let later = Delivery { received_at: NOW.plus_millis(20_000), ..delivery(notification().to_string()) };
    assert!(verifier.verify(&later).await.is_ok());
    assert_eq!(shelf.requests(), 2);
}

#[tokio::test]
async fn a_bad_certificate_is_remembered_for_a_minute() {
    let shelf = Shelf::with(Err(FetchError::NotFound));
    let verifier = fetching(&shelf);
    for (millis, requests) in [(0, 1), (20_000, 1), (MINUTE_MILLIS - 1, 1), (MINUTE_MILLIS, 2)] {
        let late = Delivery { received_at: NOW.plus_millis(millis), ..delivery(notification().to_string()) };
        assert_eq!(verifier.verify(&late).await.expect_err("refused").reason, RejectionReason::BadSignature);
        assert_eq!(shelf.requests(), requests, "after {millis} ms");
    }
}

#[tokio::test]
async fn what_is_fetched_must_be_the_certificate_of_sns() {
    let (from, until) = (NOW.plus_millis(-DAY_MILLIS), NOW.plus_millis(DAY_MILLIS));
    let issued =
        |subject: &str, from, until| Ok(SIGNER.certificate(subject, from, until).expect("a certificate").into_bytes());
    for (answer, good) in [
        (issued("sns.amazonaws.com", from, until), true),
        (issued(HOST, from, until), true),
        (Ok([certificate(&SIGNER), fixture("p256.pem")].concat()), true),
        (issued("sns.eu-west-1.amazonaws.com", from, until), false),
        (issued("evil.example", from, until), false),
        (issued("sns.amazonaws.com.evil.example", from, until), false),
        (Ok(certificate(&STRANGER)), false),
        (Ok(b"<html>".to_vec()), false),
        (Ok(vec![b'A'; 64 * 1024 + 1]), false),
        (Err(FetchError::NotFound), false),
        (Err(FetchError::TooLarge), false),
    ] {
        let verifier = fetching(&Shelf::with(answer));
        let delivery = delivery(notification().to_string());
        match verifier.verify(&delivery).await {
            Ok(_) => assert!(good),
            Err(rejection) => {
                assert!(!good, "{rejection}");
                assert_eq!((rejection.status.as_u16(), rejection.reason), (403, RejectionReason::BadSignature));
            }
        }
    }
    // SNS's own certificate that does not hold by this machine's clock: SNS shall come again when the clock is right.
    for (from, until) in [(from, NOW.plus_millis(-1_000)), (NOW.plus_millis(1_000), until)] {
        let verifier = fetching(&Shelf::with(issued("sns.amazonaws.com", from, until)));
        let rejection = verifier.verify(&delivery(notification().to_string())).await.expect_err("does not hold");
        assert_eq!((rejection.status.as_u16(), rejection.reason), (503, RejectionReason::KeysUnavailable));
        assert!(rejection.detail.contains("clock may be wrong") && !rejection.conclusive, "{rejection}");
    }
}

#[tokio::test]
async fn the_fetcher_takes_a_small_answer_of_status_200_only() {
    let fetcher = HttpsFetcher::new().expect("a client");
    let sized = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{}", "A".repeat(length))
    };
    for (answer, expected) in [
        (sized("200 OK", 64 * 1024), Ok(64 * 1024)),
        (sized("200 OK", 64 * 1024 + 1), Err(FetchError::TooLarge)),
        // Without an announced length.
        (format!("HTTP/1.1 200 OK\r\n\r\n{}", "A".repeat(1_000_000)), Err(FetchError::TooLarge)),
        (sized("404 Not Found", 10), Err(FetchError::NotFound)),
        (sized("403 Forbidden", 10), Err(FetchError::Unreachable)),
        (sized("500 Internal Server Error", 10), Err(FetchError::Unreachable)),
        ("what".to_owned(), Err(FetchError::Unreachable)),
    ] {
        let (url, _) = serve(answer).await;
        assert_eq!(fetcher.fetch(&url).await.map(|body| body.len()), expected);
    }
    assert_eq!(fetcher.fetch("http://127.0.0.1:1/").await, Err(FetchError::Unreachable));
}

#[tokio::test]
async fn forged_addresses_cannot_start_fetches_without_end() {
    struct Never(AtomicUsize);
    impl FetchCertificate for Never {
        fn fetch<'a>(&'a self, _url: &'a str) -> Fetching<'a> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::pending())
        }
    }
    let never = Arc::new(Never(AtomicUsize::new(0)));
    let verifier = Arc::new(
        Verifier::with_fetcher(&settings(), Arc::clone(&never) as Arc<dyn FetchCertificate>).expect("settings"),
    );
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..50 {
        let url = format!("https://{HOST}/SimpleNotificationService-{number:032x}.pem");
        let body = with(notification(), &[("SigningCertURL", json!(url))]);
        let verifier = Arc::clone(&verifier);
        waiting.spawn(async move { verifier.verify(&delivery(body.to_string())).await.map(|_| ()) });
    }
    for _ in 0..46 {
        let answer = waiting.join_next().await.expect("an answer").expect("no panic").expect_err("refused");
        assert_eq!(answer.reason, RejectionReason::KeysUnavailable);
    }
    assert_eq!(never.0.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn what_is_no_envelope_is_refused_by_name() {
    let verifier = pinned();
    let text = notification().to_string();
    let twice = text.replacen('{', "{\"Message\":\"first\",", 1);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many: Vec<String> = (0..64).map(|n| format!("\"x{n}\":1")).collect();
    let deep_member = text.replacen('{', &format!("{{\"x\":{deep},"), 1);
    for (name, body) in [
        ("empty", String::new()),
        ("no JSON", "hello".to_owned()),
        ("an array", "[]".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("cut off", text.chars().take(200).collect()),
        ("a repeated member", twice),
        ("a repeated member by another spelling of its name", text.replacen('{', "{\"Mess\\u0061ge\":\"first\",", 1)),
        ("a repeated unknown member", text.replacen('{', "{\"X\":1,\"X\":2,", 1)),
        ("too many members", format!("{{{},{}", many.join(","), text.trim_start_matches('{'))),
        ("a list of the members", "[\"Notification\",\"x\"]".to_owned()),
        ("deep", deep),
        ("a number for a text", with(notification(), &[("Message", json!(1))]).to_string()),
        ("no message", without(notification(), "Message").to_string()),
        ("no topic", without(notification(), "TopicArn").to_string()),
        ("no certificate", without(notification(), "SigningCertURL").to_string()),
        (
            "no token",
            without(signed(&SIGNER, &draft(MessageType::SubscriptionConfirmation, SignatureVersion::V2)), "Token")
                .to_string(),
        ),
    ] {
        let (status, reason, detail) = refused(&verifier, &body).await;
        assert_eq!((status, reason), (400, RejectionReason::Malformed), "{name}");
        assert!(!detail.contains("line") && detail.len() < 200, "{name}: {detail}");
    }
    assert!(verifier.verify(&delivery(deep_member)).await.is_ok(), "a foreign member is skipped, however deep");
    let invalid = Delivery { body: Bytes::from_static(b"{\"Type\":\"\xff\"}"), ..delivery("") };
    assert_eq!(verifier.verify(&invalid).await.expect_err("refused").reason, RejectionReason::Malformed);
    let other = header(delivery(text), "x-amz-sns-message-type", "SubscriptionConfirmation");
    assert_eq!(verifier.verify(&other).await.expect_err("refused").reason, RejectionReason::Malformed);
}

#[tokio::test]
async fn raw_message_delivery_is_refused_with_advice() {
    let verifier = pinned();
    let raw = r#"{"eventType":"Bounce","mail":{}}"#;
    let old = r#"{"notificationType":"Bounce","mail":{}}"#;
    for delivery in [
        delivery(raw),
        delivery(old),
        header(delivery(raw), "x-amz-sns-rawdelivery", "true"),
        header(delivery(notification().to_string()), "x-amz-sns-rawdelivery", "true"),
    ] {
        let rejection = verifier.verify(&delivery).await.expect_err("refused");
        assert_eq!((rejection.status.as_u16(), rejection.reason), (400, RejectionReason::Malformed));
        assert!(rejection.detail.contains("switch raw message delivery off"), "{rejection}");
    }
}

#[tokio::test]
async fn a_refusal_never_repeats_the_payload() {
    let verifier = pinned();
    let secret = "zhzkndneko@privaterelay.appleid.com";
    for name in ["Message", "MessageId", "Timestamp", "TopicArn", "Subject", "Type", "SigningCertURL", "Signature"] {
        let (_, _, detail) = refused(&verifier, with(notification(), &[(name, json!(secret))])).await;
        assert!(!detail.contains("zhzkndneko"), "{name}: {detail}");
    }
}

#[test]
fn a_generated_certificate_is_one_that_others_can_read() {
    let pem = SIGNER.certificate("sns.amazonaws.com", NOW, Timestamp::from_seconds(4_102_444_800)).expect("signs");
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("X.509");
    assert_eq!(certificate.subject().to_string(), "CN=sns.amazonaws.com");
    assert_eq!(certificate.issuer().to_string(), "CN=sns.amazonaws.com");
    assert_eq!(certificate.validity().not_before.timestamp(), NOW.as_seconds());
    assert_eq!(certificate.validity().not_after.timestamp(), 4_102_444_800);
    let far = SIGNER.certificate("x", NOW, Timestamp::from_seconds(2_524_608_000)).expect("signs");
    let (_, far) = x509_parser::pem::parse_x509_pem(far.as_bytes()).expect("PEM");
    let until = far.parse_x509().expect("X.509").validity().not_after;
    assert!(until.is_generalizedtime(), "from 2050 on the year has four digits");
    assert_eq!(until.timestamp(), 2_524_608_000);
    assert!(certificate_url(HOST).starts_with("https://sns.us-west-2.amazonaws.com/SimpleNotificationService-"));
}
