//! Tests of the feed of Apple's notices, with keys of our own: no public vectors exist.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{LazyLock, Mutex, atomic::AtomicUsize, atomic::Ordering},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    signing::{Signer, body},
    *,
};
use crate::ingest::http::testing::{NOW, any_json, any_object, delivery, fixture, fixtures, render, reordered};

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate("K1").expect("key"));
static OTHER: LazyLock<Signer> = LazyLock::new(|| Signer::generate("K2").expect("key"));
const SUB: &str = "000123.9f2c41d8a7b34e6fb0c1d2e3f4a5b6c7.0417";

fn apps() -> Vec<App> {
    let app = |client_id: &str| App { client_id: client_id.to_owned(), team: "A1B2C3D4E5".to_owned() };
    vec![app("com.example.app"), app("com.example.web")]
}

fn feed(mode: Mode, keys: KeySource) -> Apple {
    Apple::new(Settings { apps: apps(), mode, keys }).expect("feed")
}

fn pinned() -> Apple {
    feed(Mode::Direct { forward_to: None }, KeySource::Pinned(SIGNER.jwks()))
}

/// Without a runtime's timers: what is pinned awaits nothing.
fn receive(feed: &Apple, body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(feed.receive(&delivery(&[], body)))
}

fn outcome(result: Result<Report, Rejection>) -> (u16, RejectionReason) {
    let rejection = result.expect_err("refused");
    assert!(!rejection.detail.contains("zhzkndneko") && !rejection.detail.contains(SUB), "{rejection}");
    (rejection.status.as_u16(), rejection.reason)
}

fn claims() -> Value {
    serde_json::from_str(&fixture("apple", "email_disabled_observed")).expect("claims")
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("object").insert(name.to_owned(), value);
    claims
}

fn signed(claims: &Value) -> Vec<u8> {
    body(&SIGNER.jwt(claims).expect("signed")).to_vec()
}

#[test]
fn every_dress_of_a_notice_is_read() {
    for (name, claims) in fixtures("apple") {
        // The fixture's own bytes are signed: a `Value` would lose keys that come twice.
        let header = URL_SAFE_NO_PAD.encode(r#"{"kid":"K1","alg":"RS256"}"#);
        let jwt = SIGNER.sign(&format!("{header}.{}", URL_SAFE_NO_PAD.encode(&claims))).expect("signed");
        let report = receive(&pinned(), body(&jwt)).expect("verified");
        insta::assert_snapshot!(format!("apple_{name}"), render(&report));
    }
}

#[test]
fn a_notice_that_is_issued_at_a_time_that_cannot_be_is_kept_without_it() {
    assert!(!receive(&pinned(), signed(&claims())).expect("verified").misdated);
    for iat in [json!(4_102_444_800_i64), json!(0), json!("soon")] {
        let report = receive(&pinned(), signed(&with("iat", iat.clone()))).expect("verified");
        let notice = report.notices.first().expect("kept");
        assert!(report.misdated && report.set_aside.is_empty(), "{iat}: {report:?}");
        assert_eq!(notice.issued_at, notice.at, "{iat}: the event's time stands for it");
    }
}

#[test]
fn dresses_of_one_notice_are_one_notice() {
    let report = |claims: &Value| receive(&pinned(), signed(claims)).expect("verified");
    let event = json!({"type": "consent-revoked", "sub": SUB, "event_time": 1_754_721_599_000_i64});
    let text = report(&with("events", event.to_string().into()));
    let list = report(&with("events", json!([event])));
    let seconds = report(&with("events", json!({"event_time": "1754721599", "sub": SUB, "type": "consent-revoked"})));
    let mut again = with("events", event);
    again.as_object_mut().expect("object").insert("jti".to_owned(), "another".into());
    let again = report(&again);
    let key = |report: &Report| report.notices.first().expect("notice").dedupe();
    assert_eq!(text, list);
    assert_eq!(text, seconds);
    assert_eq!(key(&text), key(&again), "another token about the same event");
    let web = report(&with("aud", "com.example.web".into()));
    let app = report(&claims());
    assert_ne!(key(&web), key(&app), "consent is given and revoked app by app");
}

#[test]
fn the_signer_signs_what_apple_sends() {
    let notice = Notice {
        kind: NoticeKind::EmailDisabled,
        audience: "com.example.app".to_owned(),
        team: "A1B2C3D4E5".to_owned(),
        subject: SUB.to_owned(),
        email: Some(Address::parse("zhzkndneko@privaterelay.appleid.com").expect("address")),
        is_private_email: Some(true),
        at: NOW.plus_millis(-700),
        issued_at: NOW,
        jwt_id: "j1".to_owned(),
    };
    let report = receive(&pinned(), SIGNER.notice(&notice).expect("signed")).expect("verified");
    assert_eq!(report.notices, [notice]);
}

#[test]
fn forgeries_are_refused() {
    let refused = (401, RejectionReason::BadSignature);
    let forged = |jwt: String| outcome(receive(&pinned(), body(&jwt)));
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = claims();
    let payload = part(&claims.to_string());
    let good = SIGNER.jwt(&claims).expect("signed");

    assert_eq!(forged(OTHER.jwt(&claims).expect("signed")), refused, "an unknown key");
    let foreign_key = OTHER.jwt_with_header(&json!({"kid": "K1", "alg": "RS256"}), &claims).expect("signed");
    assert_eq!(forged(foreign_key), refused, "a foreign key under a known id");
    for alg in ["none", "None", "NONE", ""] {
        let header = part(&json!({"kid": "K1", "alg": alg}).to_string());
        assert_eq!(forged(format!("{header}.{payload}.")), refused, "alg {alg}");
        let signature = good.rsplit('.').next().expect("signature");
        assert_eq!(forged(format!("{header}.{payload}.{signature}")), refused, "alg {alg}, with a signature");
    }
    for secret in [SIGNER.jwks().to_vec(), SIGNER.public_key_der(), b"".to_vec()] {
        let message = format!("{}.{payload}", part(r#"{"kid":"K1","alg":"HS256"}"#));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        assert_eq!(forged(format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))), refused, "key confusion");
    }
    for header in [
        json!({"kid": "K1", "alg": "ES256"}),
        json!({"kid": "K1", "alg": "PS256"}),
        json!({"kid": "K1", "alg": "RS512"}),
        json!({"kid": "K1"}),
        json!({"alg": "RS256"}),
        json!({"kid": null, "alg": "RS256"}),
        json!({"kid": "", "alg": "RS256"}),
        json!({"kid": "K1", "alg": "RS256", "crit": ["exp"], "exp": 1}),
    ] {
        assert_eq!(forged(SIGNER.jwt_with_header(&header, &claims).expect("signed")), refused, "{header}");
    }
    let embedded: Value = serde_json::from_slice(&OTHER.jwks()).expect("JWKS");
    let header = json!({"kid": "K2", "alg": "RS256", "jwk": embedded.pointer("/keys/0")});
    assert_eq!(forged(OTHER.jwt_with_header(&header, &claims).expect("signed")), refused, "a key that it brings along");

    let other_claims = part(&with("aud", "com.example.web".into()).to_string());
    let mut parts = good.split('.');
    let (header, signature) = (parts.next().expect("header"), parts.nth(1).expect("signature"));
    assert_eq!(forged(format!("{header}.{other_claims}.{signature}")), refused, "other claims");
    for text in [format!("{header}.{payload}"), format!("{good}.{signature}"), format!("{good}="), "..".to_owned()] {
        assert_eq!(forged(text), refused);
    }
    assert!(receive(&pinned(), body(&good)).is_ok());
}

/// Apple rotates its keys: whoever has pinned them must learn that from the refusal.
#[test]
fn a_key_outside_a_pinned_file_is_explained() {
    let unknown = OTHER.jwt(&claims()).expect("signed");
    let refused = receive(&pinned(), body(&unknown)).expect_err("an unknown key");
    assert!(refused.detail.contains("not in the pinned jwks_file"), "{}", refused.detail);
    assert!(refused.detail.contains(KEYS_URL), "it says where the keys are: {}", refused.detail);
    let known = OTHER.jwt_with_header(&json!({"kid": "K1", "alg": "RS256"}), &claims()).expect("signed");
    let forged = receive(&pinned(), body(&known)).expect_err("a forgery");
    assert!(!forged.detail.contains("jwks_file"), "a forgery is no rotation: {}", forged.detail);
}

#[test]
fn claims_that_are_not_for_us_are_refused() {
    let refused = |claims: &Value| outcome(receive(&pinned(), signed(claims)));
    let foreign = (403, RejectionReason::Foreign);
    assert_eq!(refused(&with("iss", "https://appleid.example.com".into())), foreign);
    assert_eq!(refused(&with("iss", json!(["https://appleid.apple.com"]))), foreign);
    assert_eq!(refused(&with("iss", Value::Null)), foreign);
    assert_eq!(refused(&with("aud", Value::Null)), foreign);
    assert_eq!(refused(&with("aud", json!([]))), foreign);
    let other = receive(&pinned(), signed(&with("aud", "com.example.other".into()))).expect_err("foreign");
    assert_eq!((other.status.as_u16(), other.reason), foreign);
    assert!(other.detail.contains("com.example.other") && other.detail.contains("[[team.app]]"), "{other}");
}

#[test]
fn expiry_is_enforced_where_apple_posts_itself() {
    let at = |exp: Value| receive(&pinned(), signed(&with("exp", exp)));
    let now = NOW.as_seconds();
    assert!(at(json!(now + 60)).is_ok());
    assert!(at(json!(now - 300)).is_ok(), "within the leeway");
    assert!(at(json!((now + 60).to_string())).is_ok());
    assert!(at(Value::Null).is_ok(), "optional");
    let late = at(json!(now - 301)).expect_err("expired");
    assert!(late.conclusive && late.detail.contains("clock"), "{late}");
    assert_eq!(outcome(Err(late)), (503, RejectionReason::Stale), "Apple signed it: it shall come again");
    let stale = (400, RejectionReason::Stale);
    assert_eq!(outcome(at(json!("soon"))), stale);
    assert_eq!(outcome(at(json!({}))), stale);
}

#[test]
fn bodies_that_are_no_notice_are_refused() {
    let refused = |body: &[u8]| outcome(receive(&pinned(), body));
    let malformed = (400, RejectionReason::Malformed);
    for body in ["", "{", "[]", "null", "{\"payload\":", "{}", "{\"payload\":\"a\",\"payload\":\"b\"}", "payload=abc"] {
        assert_eq!(refused(body.as_bytes()), malformed, "{body}");
    }
    assert_eq!(refused(b"{\"payload\":\"\xff\xfe\"}"), malformed);
    for body in ["{\"payload\":\"\"}", "{\"payload\":17}", "{\"payload\":{}}", "{\"payload\":\"a.b.c\"}"] {
        assert_eq!(refused(body.as_bytes()), (401, RejectionReason::BadSignature), "{body}");
    }
    assert_eq!(refused(&vec![b' '; MAX_BODY_BYTES + 1]), (413, RejectionReason::TooLarge));
    let header = URL_SAFE_NO_PAD.encode(r#"{"kid":"K1","alg":"RS256"}"#);
    let twice = URL_SAFE_NO_PAD.encode(r#"{"iss":"https://appleid.apple.com","iss":"https://appleid.apple.com"}"#);
    let jwt = SIGNER.sign(&format!("{header}.{twice}")).expect("signed");
    assert_eq!(refused(&body(&jwt)), malformed, "a claim twice");
}

#[test]
fn what_is_verified_is_passed_on_unchanged() {
    let url = "https://auth.example.com/apple/notices".to_owned();
    let feed = feed(Mode::Direct { forward_to: Some(url) }, KeySource::Pinned(SIGNER.jwks()));
    for claims in
        [claims(), with("events", "unreadable".into()), with("events", json!({"type": "new", "event_time": 1}))]
    {
        let body = signed(&claims);
        let forward = receive(&feed, body.clone()).expect("verified").forward.expect("forwarded");
        assert!(!format!("{forward:?}").contains("payload"));
        assert_eq!(forward, Forward(body.into()));
    }
    let forged = OTHER.jwt_with_header(&json!({"kid": "K1", "alg": "RS256"}), &claims()).expect("signed");
    assert_eq!(outcome(receive(&feed, body(&forged))), (401, RejectionReason::BadSignature));
}

#[test]
fn notices_of_apps_that_are_not_configured_are_passed_on_and_nothing_else_is() {
    let url = "https://auth.example.com/apple/notices".to_owned();
    let feed = feed(Mode::Direct { forward_to: Some(url) }, KeySource::Pinned(SIGNER.jwks()));
    for (aud, named) in
        [(json!("com.example.other"), "com.example.other"), (json!(["a@b.example"]), "?"), (json!([]), "")]
    {
        let body = signed(&with("aud", aud));
        let report = receive(&feed, body.clone()).expect("passed on");
        assert_eq!(report.forward, Some(Forward(body.into())));
        assert_eq!(report.unconfigured_app.as_deref(), Some(named));
        assert!(report.notices.is_empty() && report.set_aside.is_empty());
        assert_eq!(report.ignored, ["unconfigured-app"], "the metric counts it");
    }
    let issuer = receive(&feed, signed(&with("iss", "https://evil.example".into())));
    assert_eq!(outcome(issuer), (403, RejectionReason::Foreign));
    let forged = body(&OTHER.jwt(&with("aud", "com.example.other".into())).expect("signed"));
    assert_eq!(outcome(receive(&feed, forged)), (401, RejectionReason::BadSignature));
}

#[tokio::test]
async fn a_backends_copy_needs_the_secret_and_the_signature_but_no_haste() {
    let mode =
        Mode::Forwarded { secrets: vec!["old-secret".into(), "new-secret".into()], archived_keys: vec![OTHER.jwks()] };
    let feed = feed(mode, KeySource::Pinned(SIGNER.jwks()));
    let late = with("exp", json!(NOW.as_seconds() - 1_000_000));
    let post = async |authorization: Option<&str>, body: Vec<u8>| {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        feed.receive(&delivery(&headers, body)).await
    };
    let secret = Some("Bearer new-secret");
    assert_eq!(post(secret, signed(&late)).await.expect("late").notices.len(), 1);
    assert_eq!(post(Some("Bearer old-secret"), signed(&late)).await.expect("late").notices.len(), 1);
    let archived = body(&OTHER.jwt(&late).expect("signed")).to_vec();
    assert_eq!(post(secret, archived.clone()).await.expect("archived key").notices.len(), 1);
    assert_eq!(outcome(post(None, signed(&late)).await), (401, RejectionReason::Unauthenticated));
    assert_eq!(outcome(post(Some("Bearer wrong"), signed(&late)).await), (401, RejectionReason::BadCredentials));
    let forged = OTHER.jwt_with_header(&json!({"kid": "K1", "alg": "RS256"}), &late).expect("signed");
    assert_eq!(outcome(post(secret, body(&forged).to_vec()).await), (401, RejectionReason::BadSignature));
    assert_eq!(
        outcome(pinned().receive(&delivery(&[], archived)).await),
        (401, RejectionReason::BadSignature),
        "direct: no archived keys"
    );
}

/// A key server that gives the answers one after the other, and counts.
struct Server {
    answers: Mutex<VecDeque<Result<Bytes, FetchError>>>,
    asked: AtomicUsize,
}

impl Server {
    fn new(answers: Vec<Result<Bytes, FetchError>>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into()), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl FetchKeys for Server {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send + '_>> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.answers.lock().expect("answers").pop_front().unwrap_or(Err(FetchError::Status(500)))
        })
    }
}

async fn post_at(feed: &Apple, jwt: String, seconds: i64) -> Result<usize, (u16, RejectionReason)> {
    let mut delivery = delivery(&[], body(&jwt));
    delivery.received_at = NOW.plus_millis(seconds * 1_000);
    match feed.receive(&delivery).await {
        Ok(report) => Ok(report.notices.len()),
        refused => Err(outcome(refused)),
    }
}

#[tokio::test]
async fn published_keys_are_fetched_once_cached_and_kept_through_failures() {
    let unknown = Err((401, RejectionReason::BadSignature));
    let unavailable = Err((503, RejectionReason::KeysUnavailable));
    let server = Server::new(vec![
        Err(FetchError::Status(502)),
        Ok(SIGNER.jwks()),
        Ok(Bytes::from_static(b"<html>")),
        Ok(OTHER.jwks()),
    ]);
    let feed = feed(Mode::Direct { forward_to: None }, KeySource::Published(server.clone()));
    let claims = with("exp", Value::Null);
    let one = || SIGNER.jwt(&claims).expect("signed");
    let two = || OTHER.jwt(&claims).expect("signed");

    assert_eq!(post_at(&feed, one(), 0).await, unavailable, "no keys at all");
    assert_eq!(post_at(&feed, one(), 59).await, unavailable, "no second fetch within a minute");
    assert_eq!(server.asked(), 1);
    assert_eq!(post_at(&feed, one(), 60).await, Ok(1));
    assert_eq!(post_at(&feed, two(), 61).await, unknown, "fetched a second ago, and it wasn't there");
    assert_eq!(server.asked(), 2);
    assert_eq!(post_at(&feed, two(), 120).await, unavailable, "the fetch failed, it may be a new key");
    assert_eq!(server.asked(), 3);
    assert_eq!(post_at(&feed, one(), 121).await, Ok(1), "the old key stays in use");
    assert_eq!(post_at(&feed, two(), 180).await, Ok(1), "a new key is found");
    assert_eq!(server.asked(), 4);
    assert_eq!(post_at(&feed, one(), 181).await, unknown, "a withdrawn key is no longer one");
    assert_eq!(post_at(&feed, two(), 180 + 86_401).await, Ok(1), "an old set is fetched anew; failing, it stays");
    assert_eq!(server.asked(), 5);
}

#[tokio::test]
async fn many_notices_at_once_make_one_fetch() {
    let server = Server::new(vec![Ok(SIGNER.jwks())]);
    let feed = Arc::new(feed(Mode::Direct { forward_to: None }, KeySource::Published(server.clone())));
    let jwt = SIGNER.jwt(&claims()).expect("signed");
    let posts: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let (feed, jwt) = (Arc::clone(&feed), jwt.clone());
                async move { post_at(&feed, jwt, 0).await }
            })
        })
        .collect();
    for post in posts {
        assert_eq!(post.await.expect("post"), Ok(1));
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_fetch() {
    let server = Server::new(vec![Ok(SIGNER.jwks())]);
    let feed = feed(Mode::Direct { forward_to: None }, KeySource::Published(server.clone()));
    {
        let jwt = OTHER.jwt(&claims()).expect("signed");
        let mut post = std::pin::pin!(post_at(&feed, jwt, 0));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(post.as_mut().poll(context))).await;
        assert!(polled.is_pending(), "it waits for the keys, and is dropped");
    }
    assert_eq!(post_at(&feed, SIGNER.jwt(&claims()).expect("signed"), 1).await, Ok(1));
    assert_eq!(server.asked(), 1);
}

#[test]
fn settings_are_checked() {
    let error = |settings| Apple::new(settings).expect_err("wrong settings");
    let direct = || Mode::Direct { forward_to: None };
    let keys = || KeySource::Pinned(SIGNER.jwks());
    assert_eq!(error(Settings { apps: Vec::new(), mode: direct(), keys: keys() }), SettingsError::NoApps);
    let mut two = apps();
    two.push(App { client_id: "com.example.app".to_owned(), team: "ZZZZZZZZZZ".to_owned() });
    let two_teams = SettingsError::TwoTeams { client_id: "com.example.app".to_owned() };
    assert_eq!(error(Settings { apps: two, mode: direct(), keys: keys() }), two_teams);
    let empty = KeySource::Pinned(Bytes::from_static(b"{\"keys\":[]}"));
    assert_eq!(error(Settings { apps: apps(), mode: direct(), keys: empty }), KeySetError::NoUsableKey.into());
    for url in ["", "auth.example.com", "ftp://auth.example.com/", "unix:/run/x", "mailto:a@example.com"] {
        let mode = Mode::Direct { forward_to: Some(url.to_owned()) };
        assert_eq!(error(Settings { apps: apps(), mode, keys: keys() }), SettingsError::ForwardTo, "{url}");
    }
    let mode = Mode::Forwarded { secrets: Vec::new(), archived_keys: Vec::new() };
    assert_eq!(error(Settings { apps: apps(), mode, keys: keys() }), SecretError::Missing.into());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn signed_claims_of_any_shape_do_not_panic(
        claims in any_object(&["iss", "aud", "iat", "exp", "jti", "events"]),
        events in prop_oneof![any_json(), any_object(&["type", "sub", "email", "is_private_email", "event_time"])],
    ) {
        let refused_or_read = |result: Result<Report, Rejection>| match result {
            Ok(report) => report.notices.len() + report.set_aside.len() > 0,
            Err(rejection) => rejection.status.is_client_error(),
        };
        prop_assert!(refused_or_read(receive(&pinned(), signed(&claims))));
        let many = events.as_array().is_some_and(Vec::is_empty);
        prop_assert!(many || refused_or_read(receive(&pinned(), signed(&with("events", events)))));
    }

    #[test]
    fn any_body_is_refused_without_a_signature(body in any_json(), text in "\\PC{0,40}") {
        prop_assert!(receive(&pinned(), body.to_string()).is_err());
        prop_assert!(receive(&pinned(), text.clone()).is_err());
        let enveloped = json!({"payload": text}).to_string();
        prop_assert!(receive(&pinned(), enveloped).is_err());
    }

    #[test]
    fn the_order_of_keys_does_not_matter(seed in any::<u64>()) {
        let original = claims();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"K1"}"#);
        let jwt = SIGNER.sign(&format!("{header}.{}", URL_SAFE_NO_PAD.encode(reordered(&original, seed)))).expect("signed");
        prop_assert_eq!(receive(&pinned(), body(&jwt)), receive(&pinned(), signed(&original)));
    }
}
