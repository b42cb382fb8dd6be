//! Tests of the feed of Unisender Go's events.

use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::testing::{
        assert_a_final_reply_refuses, assert_all_that_was_said_counts, assert_any_json_is_answered,
        assert_elements_are_accounted_for, assert_keys_have_no_order, delivery, no_objects, only_event, read_fixtures,
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const KEY: &str = "api-key-1";

fn feed() -> Unisender {
    Unisender::new(&Settings { api_keys: vec!["api_key".into(), KEY.into()] }).expect("feed")
}

/// Signs an object, or sends any other text as it is.
fn receive(object: impl Into<String>) -> Result<Report, Rejection> {
    let object = object.into();
    let inner = object.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let body = inner.map_or_else(|| object.clone(), |inner| signing::body(KEY, inner));
    feed().receive(&delivery(&[], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("unisender", receive) {
        insta::assert_snapshot!(name, read);
    }
}

fn event(record: &Value) -> Event {
    only_event(receive(record.to_string()))
}

#[test]
fn the_digest_holds_the_key_in_its_place() {
    let with = |body: &str| {
        feed().receive(&delivery(&[], body)).map(|_| ()).map_err(|error| {
            assert!(!error.detail.contains(KEY), "{error}");
            (error.status.as_u16(), error.reason)
        })
    };
    // The vector of a public client's tests (django-anymail): md5 of {"auth":"api_key","key":"value"}.
    assert_eq!(with("{\"auth\":\"8c64386327f53722434f44021a7a0d40\",\"key\":\"value\"}"), Ok(()));
    let forged = Err((401, RejectionReason::BadSignature));
    assert_eq!(with("{\"auth\":\"8c64386327f53722434f44021a7a0d40\",\"key\":\"other\"}"), forged);
    assert_eq!(with("{\"auth\": \"8c64386327f53722434f44021a7a0d40\",\"key\":\"value\"}"), forged, "as it came");
    assert_eq!(with(&signing::body("another", "\"key\":1")), forged);
    let absent = Err((401, RejectionReason::Unauthenticated));
    for auth in ["17", "\"\"", "\"no hex\"", "\"8c64\"", "null", "{}", "\"8c64386327f53722434f44021a7a0d4\\u0030\""] {
        assert_eq!(with(&format!("{{\"auth\":{auth},\"key\":\"value\"}}")), absent, "{auth}");
    }
    assert_eq!(with("{\"key\":\"value\"}"), absent);
}

#[test]
fn settings_are_checked() {
    let error = |keys: &[&str]| {
        let api_keys = keys.iter().map(|key| (*key).into()).collect();
        Unisender::new(&Settings { api_keys }).expect_err("wrong settings")
    };
    assert_eq!(error(&[]), SecretError::Missing);
    assert_eq!(error(&["a", "b", "c"]), SecretError::TooMany);
    assert_eq!(error(&["a\n"]), SecretError::Unusable);
    assert_eq!(error(&[""]), SecretError::Unusable);
}

#[test]
fn bodies_that_are_none_are_refused() {
    let twice = "{\"events_by_user\":[],\"events_by_user\":[]}";
    for body in ["", "{", "null", "17", "a=b", "{} {}", "[]", twice, "{\"events_by_user\":17}"] {
        let rejection = receive(body).expect_err("refused");
        let is = (rejection.status, rejection.reason);
        assert_eq!(is, (StatusCode::BAD_REQUEST, RejectionReason::Malformed), "{body}");
    }
    let large = feed().receive(&delivery(&[], vec![b' '; MAX_BODY_BYTES + 1])).expect_err("large");
    assert_eq!((large.status, large.reason), (StatusCode::PAYLOAD_TOO_LARGE, RejectionReason::TooLarge));
}

#[test]
fn the_code_counts_before_unisenders_own_verdict() {
    let of = |status: &str, error: &str, response: Value| {
        let info = json!({"delivery_status": error, "destination_response": response});
        let event = event(&json!({
            "status": status, "email": "a@b.example", "event_time": "2025-08-09 06:00:00", "delivery_info": info,
        }));
        (event.kind, event.failure_class())
    };
    assert_eq!(of("soft_bounced", "err_will_retry", json!("550 5.1.1 x")), (EventKind::Refused, Permanent));
    assert_eq!(of("soft_bounced", "err_will_retry", Value::Null), (EventKind::Deferred, Transient));
    assert_eq!(of("soft_bounced", "err_mailbox_full", Value::Null), (EventKind::Refused, Transient));
    assert_eq!(of("hard_bounced", "err_user_unknown", json!("451 4.7.1 x")), (EventKind::Refused, Transient));
    assert_eq!(of("hard_bounced", "err_user_unknown", Value::Null), (EventKind::Refused, Permanent));
    assert_eq!(of("hard_bounced", "err_unsubscribed", json!("550 x")), (EventKind::SuppressedByProvider, Unknown));
}

#[test]
fn times_are_in_utc() {
    let at = |time: &str| event(&json!({"status": "sent", "email": "a@b.example", "event_time": time})).at.as_millis();
    assert_eq!(at("2025-08-09 06:00:00"), 1_754_719_200_000);
    assert_eq!(at("2025-08-09T08:00:00+02:00"), 1_754_719_200_000);
}

#[test]
fn what_is_set_aside_keeps_its_time() {
    let of = json!({"status": "of_tomorrow", "event_time": "2025-08-09 06:00:00", "email": "a@b.example"});
    let report = receive(of.to_string()).expect("taken");
    assert_eq!(report.set_aside.first().map(|aside| aside.at), Some(Some(Timestamp::from_seconds(1_754_719_200))));
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    assert_a_final_reply_refuses(|said| {
        let of = json!({"status": "soft_bounced", "event_time": "2025-08-09 06:00:00", "email": "a@b.example", "delivery_info": {
            "delivery_status": "err_will_retry", "destination_response": said,
        }});
        event(&of).kind
    });
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({
            "event_name": "transactional_email_status",
            "event_data": {
                "status": "hard_bounced", "event_time": "2025-08-09 06:00:00", "email": "a@b.example", "delivery_info": odd,
            },
        });
        assert_eq!(event(&of).reply, None, "{odd}");
    }
}

#[test]
fn without_an_id_the_whole_of_what_was_said_makes_the_same_event() {
    assert_all_that_was_said_counts(|said| {
        event(&json!({"status": "hard_bounced", "event_time": "2025-08-09 06:00:00", "email": "a@b.example", "delivery_info": {
        "destination_response": said,
    }})).dedupe
    });
}

#[test]
fn all_users_together_have_so_many_events() {
    let list = format!("[{}{{}}]", "{},".repeat(MAX_ELEMENTS / 2 - 1));
    let user = format!("{{\"events\":{list}}}");
    let report = receive(format!("{{\"events_by_user\":[{user},{user},{user}]}}")).expect("taken");
    assert_eq!(report.set_aside.len(), MAX_ELEMENTS + 1);
    assert_eq!(report.set_aside.last().map(|part| part.label.as_str()), Some("too many elements"));
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(
        |body| vec![json!({"events_by_user": body}), json!({"events_by_user": [{"events": body}]})],
        receive,
    );
}

#[test]
fn every_element_is_accounted_for() {
    let keys = &["job_id", "email", "event_time", "delivery_info"];
    let kinds = &["sent", "hard_bounced", "opened", "new"];
    assert_elements_are_accounted_for(keys, "status", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("unisender", "flat", receive);
}
