//! Tests of the feed of Postmark's records.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        auth::Login,
        testing::{any_json, any_object, delivery, fixture, fixtures, render, reordered},
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
    let report = receive(record.to_string()).expect("record");
    assert!(report.set_aside.is_empty(), "{report:?}");
    report.events.into_iter().next().expect("event")
}

fn bounce(extra: &Value) -> Event {
    let mut record = json!({ "RecordType": "Bounce", "Email": "a@b.example", "BouncedAt": "2025-08-09T06:00:00Z" });
    record.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
    event(&record)
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, body) in fixtures("postmark") {
        insta::assert_snapshot!(format!("postmark_{name}"), render(&receive(body).expect("records")));
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
    for body in ["", "{", "null", "17", "a=b", "{} {}", "\"text\"", twice] {
        let rejection = receive(body).expect_err("refused");
        assert_eq!(
            (rejection.status, rejection.reason),
            (StatusCode::BAD_REQUEST, RejectionReason::Malformed),
            "{body}"
        );
    }
    assert_eq!(receive(b"{\"Tag\":\"\xff\"}".to_vec()).expect_err("UTF-8").reason, RejectionReason::Malformed);
    let large = receive(vec![b' '; MAX_BODY_BYTES + 1]).expect_err("large");
    assert_eq!((large.status, large.reason), (StatusCode::PAYLOAD_TOO_LARGE, RejectionReason::TooLarge));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_json_is_taken_set_aside_or_refused(body in any_json(), text in "\\PC{0,60}") {
        for body in [body.to_string(), json!([body]).to_string(), text] {
            if let Err(rejection) = receive(body) {
                prop_assert_eq!(rejection.status, StatusCode::BAD_REQUEST);
            }
        }
    }

    #[test]
    fn every_record_is_accounted_for(
        mut record in any_object(&[
            "ID", "MessageID", "Type", "TypeCode", "Email", "Recipient", "From", "BouncedAt", "DeliveredAt", "ChangedAt",
            "Details", "Tag", "Inactive", "SuppressSending", "SuppressionReason", "Origin",
        ]),
        kind in prop::sample::select(vec!["Bounce", "Delivery", "SpamComplaint", "SubscriptionChange", "Open", "New"]),
    ) {
        record.as_object_mut().expect("object").insert("RecordType".to_owned(), kind.into());
        let report = receive(record.to_string()).expect("record");
        prop_assert_eq!(report.events.len() + report.set_aside.len() + report.ignored.len(), 1);
    }

    #[test]
    fn the_order_of_keys_does_not_matter(seed in any::<u64>()) {
        let text = fixture("postmark", "hard_bounce");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(receive(reordered(&value, seed)), receive(text));
    }
}
