//! Tests of the feed of SendGrid's events.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{signing::Signer, *};
use crate::{
    ingest::{
        SetAsideReason,
        http::{
            signed::MAX_AHEAD_MILLIS,
            testing::{
                NOW, any_object, assert_a_final_reply_refuses, assert_any_json_is_answered, assert_keys_have_no_order,
                assert_none_is_taken, delivery, fixture, read_fixtures,
            },
        },
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

static OLD: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));
static NEW: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));

fn key(signer: &Signer) -> SecretString {
    signer.verification_key().expect("a key").into()
}

fn settings() -> Settings {
    Settings {
        verification_keys: vec![key(&NEW), key(&OLD)],
        from_argument: Some("from_domain".to_owned()),
        envelope_argument: Some("return_path".to_owned()),
        ..Settings::default()
    }
}

static FEED: LazyLock<SendGrid> = LazyLock::new(|| SendGrid::new(&settings()).expect("feed"));

fn signed_by(signer: &Signer, at: Timestamp, body: impl Into<Vec<u8>>) -> Delivery {
    let (body, at) = (body.into(), at.as_seconds().to_string());
    let signature = signer.signature(&at, &body).expect("signed");
    delivery(&[(TIMESTAMP_HEADER, &at), (SIGNATURE_HEADER, &signature)], body)
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    FEED.receive(&signed_by(&NEW, NOW, body))
}

fn outcome(result: Result<Report, Rejection>) -> (u16, RejectionReason) {
    let rejection = result.expect_err("refused");
    assert!(!rejection.detail.contains("privaterelay"), "{rejection}");
    (rejection.status.as_u16(), rejection.reason)
}

fn events(list: &Value) -> Vec<Event> {
    let report = receive(list.to_string()).expect("batch");
    assert!(report.set_aside.is_empty(), "{report:?}");
    report.events
}

fn event(extra: &Value) -> Event {
    let mut event = json!({ "event": "bounce", "timestamp": 1_754_719_200, "email": "a@b.example" });
    event.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
    events(&json!([event])).into_iter().next().expect("event")
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("sendgrid", receive) {
        insta::assert_snapshot!(name, read);
    }
}

#[test]
fn a_signature_verifies_with_either_key_and_no_other() {
    let body = fixture("sendgrid", "purge_batch");
    assert!(FEED.receive(&signed_by(&NEW, NOW, body.as_str())).is_ok());
    assert!(FEED.receive(&signed_by(&OLD, NOW, body.as_str())).is_ok());
    let bad = (401, RejectionReason::BadSignature);
    let other = Signer::generate().expect("a key");
    assert_eq!(outcome(FEED.receive(&signed_by(&other, NOW, body.as_str()))), bad);
    let at = NOW.as_seconds().to_string();
    let good = NEW.signature(&at, body.as_bytes()).expect("signed");
    let with = |timestamp: &str, signature: &str, body: &str| {
        outcome(FEED.receive(&delivery(&[(TIMESTAMP_HEADER, timestamp), (SIGNATURE_HEADER, signature)], body)))
    };
    assert_eq!(with(&at, &good, &body.replace("user not found", "user not there")), bad, "another body");
    assert_eq!(with(&(NOW.as_seconds() + 1).to_string(), &good, &body), bad, "another time");
    assert_eq!(with(&at, "AAAA", &body), bad);
    let absent = (401, RejectionReason::Unauthenticated);
    for (timestamp, signature) in [(at.as_str(), ""), (&at, "no base64"), ("", &good), ("yesterday", &good)] {
        assert_eq!(with(timestamp, signature, &body), absent, "{timestamp:?} {signature:?}");
    }
    let (first, rest) = at.split_at(9);
    assert_eq!(with(first, &good, &format!("{rest}{body}")), absent, "a digit moved into the body");
    assert_eq!(outcome(FEED.receive(&delivery(&[], body.as_str()))), absent);
    let twice = [(TIMESTAMP_HEADER, at.as_str()), (SIGNATURE_HEADER, &good), (SIGNATURE_HEADER, &good)];
    assert_eq!(outcome(FEED.receive(&delivery(&twice, body))), absent);
}

#[test]
fn the_line_end_after_the_body_is_signed() {
    // Made by OpenSSL: `printf '1754805600[{"event":"open"}]\r\n' | openssl dgst -sha256 -sign`.
    const KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECd/bp1ebIR7wkbQ3pclEsmEykjn7WDgQjnKoeFet029Ndc+uC2BNpgj7+ioDK9OOa1t904cbIqCjd0A6X8DCbA==";
    const SIGNATURE: &str =
        "MEQCIA1Z0O+tMT0RtlGxtR2/RZSVK/mf5iQRk1Ue0DkLE8dCAiB4NM9ebuNDIh6AP290l1lD9e18S9rUSjUgF3ogBniECg==";
    let feed = SendGrid::new(&Settings { verification_keys: vec![KEY.into()], ..Settings::default() }).expect("feed");
    let with = |body: &str| {
        let headers = [(TIMESTAMP_HEADER, "1754805600"), (SIGNATURE_HEADER, SIGNATURE)];
        feed.receive(&delivery(&headers, body)).map(|report| report.ignored)
    };
    assert_eq!(with("[{\"event\":\"open\"}]\r\n"), Ok(vec!["open"]));
    assert!(with("[{\"event\":\"open\"}]").is_err());
    assert!(with("[{\"event\":\"open\"}]\n").is_err());
}

#[test]
fn the_time_window_holds_every_retry_and_no_old_replay() {
    let at = |millis: i64| FEED.receive(&signed_by(&NEW, NOW.plus_millis(millis), "[{\"event\":\"open\"}]"));
    for millis in [0, -24 * HOUR_MILLIS, -WINDOW_MILLIS, MAX_AHEAD_MILLIS] {
        assert!(at(millis).is_ok(), "{millis}");
    }
    for off in [-WINDOW_MILLIS - 1_000, MAX_AHEAD_MILLIS + 1_000] {
        let rejection = at(off).expect_err("outside");
        assert!(rejection.conclusive && rejection.detail.contains("clock may be wrong"), "{rejection}");
        assert_eq!(outcome(Err(rejection)), (503, RejectionReason::Stale), "signed: it shall come again");
    }
}

#[test]
fn credentials_take_the_place_of_the_signature_or_come_on_top() {
    let login = Login { username: "watch".to_owned(), password: "s3cret".into() };
    let basic = ("authorization", "Basic d2F0Y2g6czNjcmV0");
    let alone = Settings { logins: vec![login.clone()], tokens: vec!["tok-1".into()], ..Settings::default() };
    let feed = SendGrid::new(&alone).expect("feed");
    let status = |headers: &[(&str, &str)]| feed.receive(&delivery(headers, "[]")).map_err(|error| error.reason);
    assert!(status(&[basic]).is_ok());
    assert!(status(&[("authorization", "Bearer tok-1")]).is_ok());
    assert_eq!(status(&[("authorization", "Bearer tok-2")]), Err(RejectionReason::BadCredentials));
    assert_eq!(status(&[]), Err(RejectionReason::Unauthenticated));

    let both = SendGrid::new(&Settings { logins: vec![login], ..settings() }).expect("feed");
    assert_eq!(both.receive(&delivery(&[basic], "[]")).map_err(|e| e.reason), Err(RejectionReason::Unauthenticated));
    let mut signed = signed_by(&NEW, NOW, "[]");
    assert_eq!(both.receive(&signed).map_err(|e| e.reason), Err(RejectionReason::Unauthenticated));
    signed.headers.insert("authorization", basic.1.parse().expect("header"));
    assert!(both.receive(&signed).is_ok());
}

#[test]
fn settings_are_checked() {
    let error = |keys: &[&str]| {
        let verification_keys = keys.iter().map(|key| (*key).into()).collect();
        SendGrid::new(&Settings { verification_keys, ..Settings::default() }).expect_err("wrong settings")
    };
    assert_eq!(error(&[]), SecretError::Missing.into());
    let good = NEW.verification_key().expect("a key");
    assert_eq!(error(&[&good, &good, &good]), SecretError::TooMany.into());
    let (cut, _) = good.split_at(40);
    for bad in ["", "no base64", "AAAA", cut, &format!("{good}AAAA")] {
        assert_eq!(error(&[bad]), SettingsError::Key, "{bad}");
    }
}

#[test]
fn bodies_that_are_no_batch_are_refused() {
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["[", "[{}", "[{}] []", "{\"event\":\"open\",\"event\":\"open\"}"]);
    assert_eq!(receive("[]"), Ok(Report::default()));
}

#[test]
fn only_drops_for_the_address_are_suppressions() {
    let dropped = |reason: Value| event(&json!({"event": "dropped", "status": "5.1.1", "reason": reason}));
    for reason in ["Bounced Address", "unsubscribed address ", "Spam Reporting Address", "Invalid"] {
        let event = dropped(json!(reason));
        assert_eq!((event.kind, event.failure_class()), (EventKind::SuppressedByProvider, Unknown), "{reason}");
    }
    for reason in [json!("Spam Content"), json!("Invalid SMTPAPI header"), json!("550 5.1.1 what is new"), Value::Null]
    {
        let event = dropped(reason.clone());
        assert_eq!((event.kind, event.failure_class()), (EventKind::Refused, Unknown), "{reason}");
    }
}

#[test]
fn the_code_counts_before_sendgrids_own_verdict() {
    let class = |kind: &str, status: Value, reason: Value| {
        event(&json!({"type": kind, "status": status, "reason": reason})).failure_class()
    };
    assert_eq!(class("blocked", json!("5.1.1"), json!("550 5.1.1 x")), Permanent);
    assert_eq!(class("bounce", Value::Null, json!("451 4.7.1 try later")), Transient);
    assert_eq!(class("bounce", Value::Null, json!("no code at all")), Permanent);
    assert_eq!(class("bounce", json!("4.2.2"), Value::Null), Transient);
    assert_eq!(class("blocked", Value::Null, Value::Null), Transient);
    assert_eq!(class("expired", json!(""), json!("")), Transient);
    assert_eq!(class("new", Value::Null, Value::Null), Unknown);
}

#[test]
fn events_of_one_message_share_its_id_and_each_has_its_own_key() {
    let one = event(&json!({"sg_message_id": "abc.recvd-1-2", "sg_event_id": "e1"}));
    let two = event(&json!({"sg_message_id": "abc.filter0001.1.0", "sg_event_id": "e2", "smtp-id": "<x@y>"}));
    assert_eq!((one.message_id.as_deref(), two.message_id.as_deref()), (Some("abc"), Some("abc")));
    assert_ne!(one.dedupe, two.dedupe);
    assert_eq!(one.dedupe, event(&json!({"sg_event_id": "e1", "event": "delivered"})).dedupe, "the id alone");
    let content = |extra: Value| event(&extra).dedupe;
    assert_eq!(content(json!({"smtp-id": "<x@y>"})), content(json!({"smtp-id": "x@y", "sg_event_id": ""})));
    assert_ne!(content(json!({"reason": "550 a"})), content(json!({"reason": "550 b"})));
}

#[test]
fn custom_arguments_tell_from_and_return_path() {
    let from = |value: Value| event(&json!({"from_domain": value})).from_domain;
    assert_eq!(from(json!("Mail.Example.com")).as_deref(), Some("mail.example.com"));
    assert_eq!(from(json!("Example <news@mail.example.com>")).as_deref(), Some("mail.example.com"));
    for none in [Value::Null, json!(17), json!(["mail.example.com"]), json!("")] {
        assert_eq!(from(none.clone()), None, "{none}");
    }
    let envelope = |value: &str| {
        let event = event(&json!({"return_path": value}));
        (event.envelope_sender.map(|address| address.expose().to_owned()), event.envelope_domain)
    };
    let domain = Some("em.example.com".to_owned());
    assert_eq!(envelope("em.example.com"), (None, domain.clone()));
    assert_eq!(envelope("<bounce+1@em.example.com>"), (Some("bounce+1@em.example.com".to_owned()), domain));
    let unnamed = SendGrid::new(&Settings { verification_keys: vec![key(&NEW)], ..Settings::default() }).expect("feed");
    let body = fixture("sendgrid", "purge_batch");
    let events = unnamed.receive(&signed_by(&NEW, NOW, body)).expect("batch").events;
    assert!(events.iter().all(|event| event.from_domain.is_none() && event.envelope_domain.is_none()));
}

#[test]
fn one_odd_element_spoils_none_of_its_neighbours() {
    let body = "[{\"event\":\"open\"},{\"event\":\"open\",\"event\":\"click\"},{\"event\":\"click\"}]";
    let report = receive(body).expect("batch");
    assert_eq!(report.ignored, ["open", "click"]);
    let [aside] = report.set_aside.as_slice() else { panic!("one set aside") };
    assert_eq!(aside.reason, SetAsideReason::Malformed);
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    assert_a_final_reply_refuses(|said| event(&json!({"event": "deferred", "response": said})).kind);
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body])], receive);
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("sendgrid", "purge_batch", receive);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_element_is_accounted_for(list in prop::collection::vec(any_object(&[
        "sg_event_id", "timestamp", "sg_message_id", "smtp-id", "email", "type", "bounce_classification", "status", "reason",
        "response", "category", "marketing_campaign_name", "from_domain", "return_path",
    ]), 1..5), kind in prop::sample::select(vec!["bounce", "delivered", "processed", "dropped", "deferred", "new"])) {
        let count = list.len();
        let batch: Vec<_> = list.into_iter().map(|mut event| {
            event.as_object_mut().expect("object").insert("event".to_owned(), kind.into());
            event
        }).collect();
        let report = receive(Value::from(batch).to_string()).expect("batch");
        prop_assert_eq!(report.events.len() + report.set_aside.len(), count);
    }
}
