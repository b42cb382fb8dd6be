//! Tests of the feed of Brevo's events.

use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        testing::{
            assert_a_final_reply_refuses, assert_all_that_was_said_counts, assert_any_json_is_answered,
            assert_elements_are_accounted_for, assert_keys_have_no_order, assert_none_is_taken, delivery, only_event,
            read_fixtures,
        },
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const BEARER: (&str, &str) = ("authorization", "Bearer tok-1");
const TWICE: &str = "{\"event\":\"opened\",\"event\":\"click\"}";

fn feed() -> Brevo {
    let tokens = vec!["tok-1".into(), "tok-2".into()];
    Brevo::new(&Credentials { tokens, ..Credentials::default() }).expect("feed")
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&delivery(&[BEARER], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("brevo", receive) {
        insta::assert_snapshot!(name, read);
    }
}

fn event(record: &Value) -> Event {
    only_event(receive(record.to_string()))
}

#[test]
fn bodies_that_are_none_are_refused() {
    assert_none_is_taken(receive, MAX_BODY_BYTES, &[TWICE]);
}

#[test]
fn without_the_secret_brevo_shall_come_again() {
    let status = |feed: &Brevo, headers: &[(&str, &str)]| {
        feed.receive(&delivery(headers, "[]")).map_err(|error| (error.status.as_u16(), error.reason, error.challenge))
    };
    assert!(status(&feed(), &[BEARER]).is_ok());
    assert!(status(&feed(), &[("authorization", "Bearer tok-2")]).is_ok());
    // Brevo discards on 401.
    assert_eq!(status(&feed(), &[]), Err((429, RejectionReason::Unauthenticated, None)));
    let wrong = [("authorization", "Bearer tok-3")];
    assert_eq!(status(&feed(), &wrong), Err((429, RejectionReason::BadCredentials, None)));
    let own =
        Credentials { tokens: vec!["tok-1".into()], header: Some("X-Token".to_owned()), ..Credentials::default() };
    let own = Brevo::new(&own).expect("feed");
    assert!(status(&own, &[("x-token", "tok-1")]).is_ok());
    assert_eq!(status(&own, &[BEARER]), Err((429, RejectionReason::Unauthenticated, None)));
    assert_eq!(Brevo::new(&Credentials::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn a_final_reply_is_a_refusal_whatever_the_event_says() {
    let of = |word: &str, reason: Value| {
        let event =
            event(&json!({"event": word, "email": "a@b.example", "ts_epoch": 1_754_719_200_000_i64, "reason": reason}));
        (event.kind, event.failure_class())
    };
    for reason in ["550 5.1.1 x", " 550 5.1.1 x", " RecipientError: 550 5.1.1 x"] {
        assert_eq!(of("deferred", json!(reason)), (EventKind::Refused, Permanent), "{reason}");
        assert_eq!(of("soft_bounce", json!(reason)), (EventKind::Refused, Permanent), "{reason}");
        assert_eq!(of("blocked", json!(reason)), (EventKind::Refused, Permanent), "{reason}");
    }
    assert_eq!(of("deferred", Value::Null), (EventKind::Deferred, Transient));
    assert_eq!(of("hard_bounce", json!("451 4.7.1 x")), (EventKind::Refused, Transient));
    assert_eq!(of("blocked", json!("5.1.1 of our own")), (EventKind::SuppressedByProvider, Unknown));
    assert_eq!(of("error", json!("5.5.0 no sender")), (EventKind::Refused, Unknown));
}

#[test]
fn the_clock_is_utc_and_in_milliseconds() {
    let at = |fields: Value| {
        let mut record =
            json!({"event": "delivered", "email": "a@b.example", "ts": 1_754_726_400, "ts_event": 1_754_726_400});
        record.as_object_mut().expect("object").extend(fields.as_object().expect("object").clone());
        receive(record.to_string()).expect("taken").events.first().map(|event| event.at.as_millis())
    };
    assert_eq!(at(json!({"ts_epoch": 1_754_719_200_007_i64})), Some(1_754_719_200_007));
    assert_eq!(at(json!({"s_epoch": "1754719200007"})), Some(1_754_719_200_007));
    assert_eq!(at(json!({})), None, "the account's time zone is not known");
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    assert_a_final_reply_refuses(|said| {
        let of =
            json!({"event": "deferred", "ts_epoch": 1_754_719_200_000_i64, "email": "a@b.example", "reason": said});
        event(&of).kind
    });
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    assert_all_that_was_said_counts(|said| {
        event(
            &json!({"event": "soft_bounce", "ts_epoch": 1_754_719_200_000_i64, "email": "a@b.example", "reason": said}),
        )
        .dedupe
    });
}

#[test]
fn what_can_be_taken_later_is_answered_by_what_brevo_comes_again_on() {
    for status in [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE] {
        let rejection = Rejection::new(status, RejectionReason::TooLarge, "");
        assert_eq!(<Brevo as SetUp>::refusal(rejection).status, StatusCode::TOO_MANY_REQUESTS, "{status}");
    }
    let malformed = Rejection::new(StatusCode::BAD_REQUEST, RejectionReason::Malformed, "");
    assert_eq!(<Brevo as SetUp>::refusal(malformed.clone()), malformed);
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body])], receive);
}

#[test]
fn every_element_is_accounted_for() {
    let keys = &["email", "ts_epoch", "s_epoch", "message-id", "reason", "tag", "tags", "ts"];
    let kinds = &["request", "hard_bounce", "deferred", "blocked", "click", "new"];
    assert_elements_are_accounted_for(keys, "event", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("brevo", "every_event", receive);
}
