//! Tests of the feed of SES's events through EventBridge.

use super::*;
use crate::ingest::http::{
    auth::Login,
    testing::{delivery, fixture, fixtures},
};

const KEY: (&str, &str) = ("x-relaywatch-token", "eventbridge-key");

fn settings() -> Settings {
    let login = Login { username: "watch".to_owned(), password: "s3cret".into() };
    let tokens = vec!["eventbridge-before".into(), "eventbridge-key".into()];
    let header = Some("X-Relaywatch-Token".to_owned());
    Settings { credentials: Credentials { logins: vec![login], tokens, header }, campaign_tag: None }
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    SesEventBridge::new(&settings()).expect("feed").receive(&delivery(&[KEY], body))
}

#[test]
fn an_event_is_the_same_with_its_wrapper_without_it_and_by_sns() {
    let wrapped = fixture("ses", "eventbridge-bounce");
    let value: serde_json::Value = serde_json::from_str(&wrapped).expect("JSON");
    let report = receive(wrapped).expect("taken");
    assert!(!report.events.is_empty());
    assert_eq!(receive(value["detail"].to_string()).expect("taken"), report);
    let now = delivery(&[], "").received_at;
    assert_eq!(ses::decode(&value["detail"].to_string(), None, now).expect("as SNS brings it"), report);
}

#[test]
fn all_that_ses_publishes_is_taken() {
    for (name, body) in fixtures("ses").into_iter().filter(|(_, body)| body.starts_with('{')) {
        assert!(receive(body).is_ok(), "{name}");
    }
}

#[test]
fn a_key_or_a_login_opens_and_nothing_else_does() {
    let feed = SesEventBridge::new(&settings()).expect("feed");
    let outcome = |headers: &[(&str, &str)]| {
        feed.receive(&delivery(headers, "{\"eventType\":\"Open\"}"))
            .map(drop)
            .map_err(|e| (e.status.as_u16(), e.reason))
    };
    assert_eq!(outcome(&[KEY]), Ok(()));
    assert_eq!(outcome(&[("x-relaywatch-token", "eventbridge-before")]), Ok(()));
    assert_eq!(outcome(&[("authorization", "Basic d2F0Y2g6czNjcmV0")]), Ok(()));
    assert_eq!(outcome(&[]), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(outcome(&[("x-relaywatch-token", "other")]), Err((401, RejectionReason::BadCredentials)));
    assert_eq!(SesEventBridge::new(&Settings::default()).expect_err("none"), SecretError::Missing);
    let mut odd = settings();
    odd.credentials.header = Some("a b".to_owned());
    assert_eq!(SesEventBridge::new(&odd).expect_err("no name"), SecretError::Header);
}

#[test]
fn what_is_no_event_is_refused_and_a_cap_of_ours_loses_nothing() {
    for body in ["", "{", "a=b", "17", "[]", "{} {}"] {
        let rejection = receive(body).expect_err("refused");
        assert_eq!((rejection.status.as_u16(), rejection.reason), (400, RejectionReason::Malformed), "{body}");
    }
    let large = SesEventBridge::refusal(receive(vec![b' '; MAX_BODY_BYTES + 1]).expect_err("large"));
    assert_eq!((large.status.as_u16(), large.reason), (503, RejectionReason::TooLarge));
}
