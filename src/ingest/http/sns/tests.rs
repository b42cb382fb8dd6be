//! What a verifier takes and refuses. The tests named `mistake_…` are the list of `webhooks.md` section 24.4, one by one.

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
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
    Delivery { headers: HeaderMap::new(), body: Bytes::from(body.into()), received_at: NOW }
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
            let verified = verifier.verify(&delivery).await.expect("verifies");
            assert_eq!((verified.kind, verified.topic, verified.at), (kind, TOPIC, NOW));
            assert_eq!(verified.message, "{\"a\":\"line\\nbreak, \u{fc}\u{1f34e}\"}\n");
            assert_eq!(verified.subscribe_url.is_some(), kind == MessageType::SubscriptionConfirmation);
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
    let fixture = |name: &str| {
        std::fs::read(format!("{}/tests/fixtures/ses/{name}", env!("CARGO_MANIFEST_DIR"))).expect("the fixture")
    };
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
    let later = Delivery { received_at: NOW.plus_millis(MINUTE_MILLIS), ..delivery(notification().to_string()) };
    assert!(verifier.verify(&later).await.is_ok());
    assert_eq!(shelf.requests(), 2);
}

#[tokio::test]
async fn what_is_fetched_must_be_the_certificate_of_sns() {
    let (from, until) = (NOW.plus_millis(-DAY_MILLIS), NOW.plus_millis(DAY_MILLIS));
    let issued =
        |subject: &str, from, until| Ok(SIGNER.certificate(subject, from, until).expect("a certificate").into_bytes());
    for (answer, good) in [
        (issued("sns.amazonaws.com", from, until), true),
        (issued(HOST, from, until), true),
        (issued("sns.eu-west-1.amazonaws.com", from, until), false),
        (issued("evil.example", from, until), false),
        (issued("sns.amazonaws.com.evil.example", from, until), false),
        (issued("sns.amazonaws.com", from, NOW.plus_millis(-1_000)), false),
        (issued("sns.amazonaws.com", NOW.plus_millis(1_000), until), false),
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
    let deep_member = text.replacen('{', &format!("{{\"x\":{deep},"), 1);
    for (name, body) in [
        ("empty", String::new()),
        ("no JSON", "hello".to_owned()),
        ("an array", "[]".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("cut off", text.chars().take(200).collect()),
        ("a repeated member", twice),
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

/// Each address is refused, and nothing is asked of anybody.
async fn never_fetched(urls: &[&str]) {
    let shelf = Shelf::with(Ok(certificate(&SIGNER)));
    let verifier = fetching(&shelf);
    for url in urls {
        let body = with(notification(), &[("SigningCertURL", json!(url))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::BadSignature, "{url}");
    }
    assert_eq!(shelf.requests(), 0);
    assert!(verifier.verify(&delivery(notification().to_string())).await.is_ok(), "only the address was wrong");
}

#[tokio::test]
async fn mistake_01_certificate_address_of_the_payload_trusted() {
    never_fetched(&["https://evil.example/SimpleNotificationService-0a.pem", "https://evil.example/x.pem", ""]).await;
}

#[tokio::test]
async fn mistake_02_pattern_that_matches_s3_hosts_of_a_bucket_named_sns() {
    never_fetched(&[
        "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.s3-accelerate.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.s3-external-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem",
    ])
    .await;
}

#[tokio::test]
async fn mistake_03_self_signed_certificate_in_such_a_bucket() {
    let shelf = Shelf::with(Ok(certificate(&STRANGER)));
    let verifier = fetching(&shelf);
    let forged = signed(&STRANGER, &draft(MessageType::Notification, SignatureVersion::V2));
    for url in ["https://sns.s3-us-west-2.amazonaws.com/x.pem", "https://sns.s3.amazonaws.com/x.pem"] {
        let body = with(forged.clone(), &[("SigningCertURL", json!(url))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::BadSignature);
    }
    assert_eq!(shelf.requests(), 0);
}

#[tokio::test]
async fn mistake_04_s3_host_allowed() {
    never_fetched(&[
        "https://s3.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://s3.amazonaws.com/sns/SimpleNotificationService-0a.pem",
        "https://s3.us-west-2.amazonaws.com/SimpleNotificationService-0a.pem",
    ])
    .await;
}

#[tokio::test]
async fn mistake_05_prefix_and_suffix_of_the_host_compared() {
    never_fetched(&[
        "https://sns.s3.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.evil.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.us-west-2.evil.amazonaws.com/SimpleNotificationService-0a.pem",
    ])
    .await;
}

#[tokio::test]
async fn mistake_06_subscribe_url_visited_unchecked() {
    let verifier = pinned();
    let genuine = signed(&SIGNER, &draft(MessageType::SubscriptionConfirmation, SignatureVersion::V2));
    for url in [
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "|touch /tmp/x".to_owned(),
        format!("https://evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}"),
        format!("https://{HOST}/?Action=ConfirmSubscription&TopicArn={OTHER_TOPIC}"),
        format!("https://{HOST}/?Action=Unsubscribe&TopicArn={TOPIC}"),
        format!("https://{HOST}@evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}"),
    ] {
        let body = with(genuine.clone(), &[("SubscribeURL", json!(url))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Foreign, "{url}");
    }
    // A right address that Amazon did not sign.
    let unsigned = with(genuine, &[("SubscribeURL", json!(format!("https://{HOST}/?Action=ConfirmSubscription")))]);
    assert_eq!(reason(&verifier, unsigned).await, RejectionReason::BadSignature);
}

#[tokio::test]
async fn mistake_07_topic_compared_and_signature_not_checked() {
    let verifier = pinned();
    for body in [without(notification(), "Signature"), with(notification(), &[("Signature", json!(""))])] {
        let (status, reason, _) = refused(&verifier, body).await;
        assert_eq!((status, reason), (403, RejectionReason::Unauthenticated));
    }
    for version in [SignatureVersion::V1, SignatureVersion::V2] {
        let body = signed(&STRANGER, &draft(MessageType::Notification, version));
        let (status, reason, _) = refused(&verifier, body).await;
        assert_eq!((status, reason), (403, RejectionReason::BadSignature));
    }
}

#[tokio::test]
async fn mistake_08_valid_signature_of_a_foreign_topic() {
    let shelf = Shelf::with(Ok(certificate(&SIGNER)));
    let verifier = fetching(&shelf);
    for kind in ALL_TYPES {
        let body = signed(&SIGNER, &Draft { topic: OTHER_TOPIC, ..draft(kind, SignatureVersion::V2) });
        let (status, reason, detail) = refused(&verifier, body).await;
        assert_eq!((status, reason), (403, RejectionReason::Foreign));
        assert!(!detail.contains("999999999999"), "{detail}");
    }
    for near in [TOPIC.to_uppercase(), format!("{TOPIC} "), format!("{TOPIC}:sub"), TOPIC.replace("events", "event")] {
        let body = with(notification(), &[("TopicArn", json!(near))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Foreign);
    }
    assert_eq!(shelf.requests(), 0);
}

#[tokio::test]
async fn mistake_09_unsubscribe_confirmation_read_with_the_members_of_a_notification() {
    let verifier = pinned();
    let genuine = signed(&SIGNER, &draft(MessageType::UnsubscribeConfirmation, SignatureVersion::V1));
    assert!(verifier.verify(&delivery(genuine.to_string())).await.is_ok());
    let other = with(genuine, &[("Token", json!("another"))]);
    assert_eq!(reason(&verifier, other).await, RejectionReason::BadSignature, "the token is signed");
}

#[tokio::test]
async fn mistake_10_redirects_followed_when_the_certificate_is_fetched() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let target = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn({
        let target = Arc::clone(&target);
        async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.expect("a request");
                let first = String::from_utf8_lossy(request.get(..length).unwrap_or_default()).into_owned();
                if first.starts_with("GET /target") {
                    target.fetch_add(1, Ordering::SeqCst);
                }
                let answer = format!(
                    "HTTP/1.1 302 Found\r\nlocation: http://{address}/target\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.expect("an answer");
            }
        }
    });
    let fetcher = HttpsFetcher::new().expect("a client");
    let url = format!("http://{address}/SimpleNotificationService-0a.pem");
    assert_eq!(fetcher.fetch(&url).await, Err(FetchError::Unreachable));
    assert_eq!(target.load(Ordering::SeqCst), 0, "nobody went where the redirect pointed");
    server.abort();
}

#[tokio::test]
async fn mistake_11_all_members_signed_whatever_the_type() {
    let verifier = pinned();
    // A notification with a token: the token is not part of what was signed, so that it can't carry anything.
    let extra = with(notification(), &[("Token", json!("x")), ("SubscribeURL", json!("https://evil.example/"))]);
    let delivery = delivery(extra.to_string());
    assert_eq!(verifier.verify(&delivery).await.expect("verifies").subscribe_url, None);
    for kind in ["notification", "Notification ", "Confirmation", ""] {
        let body = with(notification(), &[("Type", json!(kind))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Malformed, "{kind:?}");
    }
}

#[tokio::test]
async fn mistake_12_any_version_but_1_taken_for_sha_256() {
    let verifier = pinned();
    for version in ["3", "0", "02", "2 ", ""] {
        let body = with(notification(), &[("SignatureVersion", json!(version))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Malformed, "{version:?}");
    }
}

#[tokio::test]
async fn mistake_13_time_not_checked() {
    let verifier = pinned();
    let at = |at| signed(&SIGNER, &Draft { at, ..draft(MessageType::Notification, SignatureVersion::V2) });
    let edge = DEFAULT_TOLERANCE_MILLIS + LEEWAY_MILLIS;
    for millis in [-edge, edge] {
        assert!(verifier.verify(&delivery(at(NOW.plus_millis(millis)).to_string())).await.is_ok());
        let beyond = at(NOW.plus_millis(millis + millis.signum()));
        let (status, reason, _) = refused(&verifier, beyond).await;
        assert_eq!((status, reason), (403, RejectionReason::Stale));
    }
    let year_2001 = Timestamp::from_seconds(1_000_000_000);
    assert_eq!(reason(&verifier, at(year_2001)).await, RejectionReason::Stale);
    let year_1 = with(notification(), &[("Timestamp", json!("0001-01-01T00:00:00Z"))]);
    assert_eq!(reason(&verifier, year_1).await, RejectionReason::Stale);
}

#[tokio::test]
async fn mistake_14_members_that_run_into_each_other() {
    let verifier = pinned();
    let id = message_id(1);
    for (name, value) in [
        ("MessageId", json!(format!("{id}\nSubject\nx"))),
        ("MessageId", json!("not-a-uuid")),
        ("MessageId", json!("")),
        ("Timestamp", json!("2025-08-09T06:00:00.000Z\n")),
        ("Timestamp", json!("2025-08-09 06:00:00Z")),
        ("Timestamp", json!("2025-08-09T06:00:00")),
        ("Timestamp", json!("2025-08-09T06:00:00Z[UTC]")),
        ("Timestamp", json!("1754719200")),
        ("Subject", json!("x\nTimestamp\n2025-08-09T06:00:00.000Z")),
    ] {
        let body = with(notification(), &[(name, value.clone())]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Malformed, "{name} {value}");
    }
    // The end of a signed message moved into the next members: the text is the same, the reading is not.
    let inner = format!("a\nMessageId\n{id}\nSubject\nb");
    let genuine = signed(
        &SIGNER,
        &Draft { message: &inner, subject: None, ..draft(MessageType::Notification, SignatureVersion::V2) },
    );
    let subject = format!("b\nMessageId\n{id}");
    let split = with(genuine, &[("Message", json!("a")), ("Subject", json!(subject))]);
    assert_eq!(reason(&verifier, split).await, RejectionReason::Malformed);
}

#[tokio::test]
async fn mistake_15_headers_believed_instead_of_the_signature() {
    let verifier = pinned();
    let unsigned = without(notification(), "Signature").to_string();
    let dressed = header(
        header(delivery(unsigned), "x-amz-sns-message-type", "Notification"),
        "x-amz-sns-topic-arn",
        "arn:aws:sns:us-west-2:123456789012:ses-events",
    );
    assert_eq!(verifier.verify(&dressed).await.expect_err("refused").reason, RejectionReason::Unauthenticated);
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
    assert!(certificate_url(HOST).starts_with("https://sns.us-west-2.amazonaws.com/SimpleNotificationService-"));
}
