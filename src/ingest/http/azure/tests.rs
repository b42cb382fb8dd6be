//! Tests of the feed of Azure's reports.

use serde_json::json;

use super::*;
use crate::ingest::http::testing::{
    assert_any_json_is_answered, assert_none_is_taken, delivery, fixture, no_objects, read_fixtures,
};

fn feed() -> Azure {
    let tokens = vec!["azure-before".into(), "azure-token".into()];
    Azure::new(&Settings { tokens, header: None }).expect("feed")
}

fn asked(method: Method, query: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&Delivery { method, query: query.to_owned(), ..delivery(headers, body) })
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    asked(Method::POST, "token=azure-token", &[], body)
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("azure", receive) {
        insta::assert_snapshot!(name, read);
    }
}

#[test]
fn both_handshakes_are_answered() {
    let headers = [("aeg-event-type", "SubscriptionValidation")];
    let body = fixture("azure", "handshake");
    let answer =
        asked(Method::POST, "token=azure-token", &headers, body.as_str()).expect("taken").answer.expect("an answer");
    assert_eq!(
        answer,
        Answer::of("application/json", "{\"validationResponse\":\"512d38b6-c7b8-40c8-89fe-f46f9e9622b6\"}".to_owned())
    );
    let wrong = asked(Method::POST, "token=other", &headers, body.as_str()).expect_err("another token");
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "nothing is lost by it");

    let origin =
        [("WebHook-Request-Origin", "eventgrid.azure.net"), ("WebHook-Request-Callback", "https://evil.example/")];
    let answer = asked(Method::OPTIONS, "token=azure-token", &origin, "").expect("taken").answer.expect("an answer");
    let value = |name: &str| answer.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!(value("webhook-allowed-origin"), Some(HeaderValue::from_static("eventgrid.azure.net")));
    assert_eq!(value("webhook-allowed-rate"), Some(HeaderValue::from_static("*")));
    assert_eq!(asked(Method::OPTIONS, "", &origin, "").expect_err("no token").status, StatusCode::UNAUTHORIZED);
    for odd in [&[][..], &[("webhook-request-origin", "a, b")], &[("webhook-request-origin", "")]] {
        let refused = asked(Method::OPTIONS, "token=azure-token", odd, "").expect_err("no origin");
        assert_eq!(refused.reason, RejectionReason::Malformed);
    }
    let long = json!([{"eventType": VALIDATION, "data": {"validationCode": "x".repeat(MAX_ECHO_BYTES + 1)}}]);
    assert_eq!(receive(long.to_string()).expect("set aside").answer, None);
}

#[test]
fn an_error_of_ours_is_never_answered_with_what_ends_the_retries() {
    let outcome = |query: &str, headers: &[(&str, &str)]| {
        asked(Method::POST, query, headers, "[]").map(drop).map_err(|e| (e.status.as_u16(), e.reason))
    };
    assert_eq!(outcome("token=azure-before", &[]), Ok(()));
    assert_eq!(outcome("", &[("x-relaywatch-token", "azure-token")]), Ok(()));
    assert_eq!(outcome("", &[]), Err((503, RejectionReason::Unauthenticated)));
    assert_eq!(outcome("token=other", &[]), Err((503, RejectionReason::BadCredentials)));
    assert_eq!(outcome("", &[("x-relaywatch-token", "other")]), Err((503, RejectionReason::BadCredentials)));
    let large = Azure::refusal(receive(" ".repeat(MAX_BODY_BYTES + 1)).expect_err("large"));
    assert_eq!((large.status.as_u16(), large.reason), (503, RejectionReason::TooLarge));
    assert_eq!(Azure::new(&Settings::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn bodies_that_are_no_batch_are_refused() {
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["{\"id\":\"a\",\"id\":\"b\"}"]);
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({"eventType": REPORT, "eventTime": "2025-08-09T06:00:00Z", "data": {
            "recipient": "a@b.example", "status": "Bounced", "deliveryStatusDetails": odd,
        }});
        assert_eq!(receive(of.to_string()).expect("taken").events.len(), 1, "{odd}");
    }
}

#[test]
fn both_spellings_may_stand_together_and_a_wrapped_reply_is_unwrapped() {
    let of = json!({
        "eventType": REPORT, "type": REPORT, "eventTime": "", "time": "2025-08-09T06:00:00Z", "data": {
            "recipient": "a@b.example", "status": "Bounced", "deliveryAttemptTimeStamp": " ",
            "deliveryAttemptTimestamp": "2025-08-09T06:00:03Z",
            "deliveryStatusDetails": {"statusMessage": "RecipientError: 550 5.1.1 x"},
        },
    });
    let event = receive(of.to_string()).expect("taken").events.pop().expect("event");
    assert_eq!(event.at, Timestamp::from_seconds(1_754_719_203));
    assert_eq!(event.reply.and_then(|reply| reply.code), Some(550));
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(
        |data| {
            let event = |kind| json!({"type": kind, "time": "2025-08-09T06:00:00Z", "data": data});
            vec![data.clone(), event(REPORT), json!([event(REPORT), event(VALIDATION), event("new")])]
        },
        receive,
    );
}
