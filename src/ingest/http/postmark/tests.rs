//! Tests of the feed of Postmark's records.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        auth::Login,
        testing::{
            assert_any_json_is_answered, assert_elements_are_accounted_for, assert_keys_have_no_order,
            assert_none_is_taken, delivery, fixture, only_event, read_fixtures,
        },
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const BASIC: (&str, &str) = ("authorization", "Basic d2F0Y2g6czNjcmV0");

fn settings() -> Credentials {
    let login = Login { username: "watch".to_owned(), password: "s3cret".into() };
    Credentials { logins: vec![login], ..Credentials::default() }
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    Postmark::new(&settings()).expect("feed").receive(&delivery(&[BASIC], body))
}

fn event(record: &Value) -> Event {
    only_event(receive(record.to_string()))
}

fn bounce(extra: &Value) -> Event {
    let mut record = json!({ "RecordType": "Bounce", "Email": "a@b.example", "BouncedAt": "2025-08-09T06:00:00Z" });
    record.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
    event(&record)
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("postmark", receive) {
        insta::assert_snapshot!(name, read);
    }
}

#[test]
fn a_login_or_a_header_of_ones_own_opens_and_nothing_else_does() {
    let tokens = vec!["tok-1".into(), "tok-2".into()];
    let header = Some("X-Relaywatch-Token".to_owned());
    let feed = Postmark::new(&Credentials { tokens, header, ..settings() }).expect("feed");
    let body = fixture("postmark", "hard_bounce");
    let status = |headers: &[(&str, &str)]| {
        feed.receive(&delivery(headers, body.as_str())).map(|_| ()).map_err(|error| {
            assert_eq!(error.status, StatusCode::UNAUTHORIZED, "Postmark stops on 403");
            error.reason
        })
    };
    assert_eq!(status(&[BASIC]), Ok(()));
    assert_eq!(status(&[("x-relaywatch-token", "tok-1")]), Ok(()));
    assert_eq!(status(&[("X-Relaywatch-Token", "tok-2")]), Ok(()));
    let (absent, wrong) = (Err(RejectionReason::Unauthenticated), Err(RejectionReason::BadCredentials));
    assert_eq!(status(&[]), absent);
    assert_eq!(status(&[("authorization", "Bearer tok-1")]), absent, "the token has a header of its own");
    assert_eq!(status(&[("x-relaywatch-token", "tok-1"), ("x-relaywatch-token", "tok-1")]), absent);
    assert_eq!(status(&[("x-relaywatch-token", "tok-3")]), wrong);
    assert_eq!(status(&[("x-relaywatch-token", "")]), wrong);
    assert_eq!(status(&[("x-relaywatch-token", "tok-3"), BASIC]), wrong, "a wrong token is no reason to look further");
    assert_eq!(status(&[("authorization", "Basic d2F0Y2g6d3Jvbmc=")]), wrong);
}

#[test]
fn settings_are_checked() {
    assert_eq!(Postmark::new(&Credentials::default()).expect_err("none"), SecretError::Missing);
    for name in ["", "X Token", "X-Tök", "a:b"] {
        let header = Some(name.to_owned());
        let settings = Credentials { tokens: vec!["tok-1".into()], header, ..Credentials::default() };
        assert_eq!(Postmark::new(&settings).expect_err("no name"), SecretError::Header, "{name}");
    }
}

#[test]
fn bodies_that_are_no_record_are_refused_and_never_with_403() {
    let twice = "{\"RecordType\":\"Open\",\"RecordType\":\"Click\"}";
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["{} {}", twice]);
}

#[test]
fn the_code_counts_before_postmarks_own_verdict() {
    let class = |kind: &str, details: Value| bounce(&json!({"Type": kind, "Details": details})).failure_class();
    assert_eq!(class("SoftBounce", json!("smtp;550 5.1.1 x")), Permanent);
    assert_eq!(class("HardBounce", json!("smtp; 451 4.7.1 try later")), Transient);
    assert_eq!(class("HardBounce", Value::Null), Permanent);
    assert_eq!(class("SoftBounce", json!("no code")), Transient);
    assert_eq!(class("Blocked", Value::Null), Unknown);
}

#[test]
fn postmarks_sentence_about_a_type_is_no_reply() {
    let event =
        bounce(&json!({"Type": "HardBounce", "Description": "(ex: unknown user, mailbox not found)", "Details": ""}));
    assert_eq!(event.reply, None);
    let own = bounce(&json!({"Type": "SMTPApiError", "Details": "5.5.0 no sender"}));
    assert_eq!((own.kind, own.failure_class()), (EventKind::Refused, Unknown));
}

#[test]
fn a_final_reply_is_a_refusal_whatever_the_type_says() {
    for kind in ["AutoResponder", "ChallengeVerification", "Transient", "BadEmailAddress"] {
        let event = bounce(&json!({"Type": kind, "Details": "smtp;550 5.1.1 unauthorized sender"}));
        assert_eq!((event.kind, event.failure_class()), (EventKind::Refused, Permanent), "{kind}");
    }
    let own = bounce(&json!({"Type": "ManuallyDeactivated", "Details": "550 5.1.1 deactivated"}));
    assert_eq!((own.kind, own.failure_class()), (EventKind::SuppressedByProvider, Unknown));
}

#[test]
fn a_type_is_known_by_its_code_too() {
    for code in [json!(1), json!("1"), json!(" 1 ")] {
        assert_eq!(bounce(&json!({"TypeCode": code})).provider_verdict.as_deref(), Some("HardBounce"), "{code}");
    }
    let named = bounce(&json!({"Type": "SoftBounce", "TypeCode": 1, "Inactive": true}));
    assert_eq!(named.provider_verdict.as_deref(), Some("SoftBounce, inactive"), "the name goes first");
}

#[test]
fn a_bounce_is_known_by_its_id_and_all_else_by_its_content() {
    let key = |extra: Value| bounce(&extra).dedupe;
    let one = key(json!({"Type": "HardBounce", "ID": 4_323_372_036_854_775_807_u64}));
    assert_eq!(one, key(json!({"Type": "SoftBounce", "ID": "4323372036854775807", "Details": "x"})));
    assert_ne!(one, key(json!({"Type": "HardBounce", "ID": 4_323_372_036_854_775_806_u64})));
    let delivered = |message: &str, at: &str| {
        event(&json!({"RecordType": "Delivery", "MessageID": message, "Recipient": "a@b.example", "DeliveredAt": at}))
            .dedupe
    };
    let at = "2025-08-09T06:00:00.1234567Z";
    assert_eq!(delivered("m", at), delivered("m", "2025-08-09T02:00:00.123-04:00"));
    assert_ne!(delivered("m", at), delivered("n", at));
    assert_ne!(delivered("m", at), delivered("m", "2025-08-09T06:00:01Z"));
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body])], receive);
}

#[test]
fn every_record_is_accounted_for() {
    let keys = &[
        "ID",
        "MessageID",
        "Type",
        "TypeCode",
        "Email",
        "Recipient",
        "From",
        "BouncedAt",
        "DeliveredAt",
        "ChangedAt",
        "Details",
        "Tag",
        "Inactive",
        "SuppressSending",
        "SuppressionReason",
        "Origin",
    ];
    let kinds = &["Bounce", "Delivery", "SpamComplaint", "SubscriptionChange", "Open", "New"];
    assert_elements_are_accounted_for(keys, "RecordType", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("postmark", "hard_bounce", receive);
}
