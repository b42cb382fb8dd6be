//! Tests of the feed of KumoMTA's log records.

use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::{
        RejectionReason,
        auth::Login,
        testing::{
            assert_any_json_is_answered, assert_elements_are_accounted_for, assert_keys_have_no_order,
            assert_none_is_taken, delivery, no_objects, only_event, read_fixtures,
        },
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const BASIC: (&str, &str) = ("authorization", "Basic a3VtbzpzM2NyZXQ=");
const TWICE: &str = "{\"type\":\"Rejection\",\"type\":\"Delay\"}";

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    let logins = vec![Login { username: "kumo".to_owned(), password: "s3cret".into() }];
    let feed = KumoMta::new(&Credentials { logins, ..Credentials::default() }).expect("feed");
    feed.receive(&delivery(&[BASIC], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("kumomta", receive) {
        insta::assert_snapshot!(name, read);
    }
}

fn event(record: &Value) -> Event {
    only_event(receive(record.to_string()))
}

#[test]
fn bodies_that_are_none_are_refused() {
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["{\"type\":\"Delay\"}\n{", TWICE]);
}

#[test]
fn login_token_or_a_header_of_ones_own_opens() {
    let status = |credentials: &Credentials, headers: &[(&str, &str)]| {
        let feed = KumoMta::new(credentials).expect("feed");
        feed.receive(&delivery(headers, "{}")).map(|_| ()).map_err(|error| (error.status.as_u16(), error.reason))
    };
    let bearer = Credentials { tokens: vec!["tok-1".into()], ..Credentials::default() };
    assert_eq!(status(&bearer, &[("authorization", "Bearer tok-1")]), Ok(()));
    assert_eq!(status(&bearer, &[("authorization", "Bearer tok-2")]), Err((401, RejectionReason::BadCredentials)));
    let own = Credentials { header: Some("X-Token".to_owned()), ..bearer };
    assert_eq!(status(&own, &[("x-token", "tok-1")]), Ok(()));
    assert_eq!(status(&own, &[]), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(KumoMta::new(&Credentials::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn records_come_alone_in_lines_and_in_an_array() {
    let line = |id: u8| {
        format!("{{\"type\":\"Delivery\",\"id\":\"{id}\",\"recipient\":\"a@b.example\",\"timestamp\":1754719200}}")
    };
    let ids = |body: String| -> Vec<_> {
        receive(body).expect("taken").events.into_iter().filter_map(|event| event.message_id).collect()
    };
    assert_eq!(ids(line(1)), ["1"]);
    assert_eq!(ids(format!("{}\n{}\n", line(1), line(2))), ["1", "2"]);
    assert_eq!(ids(format!("[{},{}]", line(1), line(2))), ["1", "2"]);
    let report = receive(format!("{}\n{{\"type\":17,\"type\":18}}\n{}", line(1), line(2))).expect("taken");
    assert_eq!((report.events.len(), report.set_aside.len()), (2, 1), "an odd line spoils none of its neighbours");
}

#[test]
fn the_true_codes_count_and_kumomtas_own_do_not() {
    let of = |kind: &str, response: Value| {
        let event = event(&json!({
            "type": kind, "recipient": "a@b.example", "timestamp": 1_754_719_200, "response": response,
        }));
        (event.kind, event.failure_class())
    };
    let refused = json!({"code": 550, "enhanced_code": {"class": 5, "subject": 1, "detail": 1}, "content": "x"});
    assert_eq!(of("Bounce", refused.clone()), (EventKind::Refused, Permanent));
    assert_eq!(of("OOB", refused.clone()), (EventKind::Refused, Permanent));
    assert_eq!(of("OOB", Value::Null), (EventKind::Refused, Unknown));
    assert_eq!(of("Expiration", refused.clone()), (EventKind::Refused, Transient));
    assert_eq!(of("AdminBounce", refused), (EventKind::Refused, Unknown));
    assert_eq!(of("TransientFailure", json!({"code": 451})), (EventKind::Deferred, Transient));
}

#[test]
fn a_bounce_mail_lends_neither_its_id_nor_its_time_nor_kumomtas_code() {
    let of = |content: &str| {
        event(&json!({
            "type": "OOB", "id": "of-the-mail", "recipient": "a@b.example", "timestamp": 1_754_719_200, "created": 1_754_719_200,
            "response": {"code": 550, "enhanced_code": {"class": 5, "subject": 0, "detail": 0}, "content": content},
        }))
    };
    let silent = of("");
    assert_eq!((silent.message_id, silent.sent_at), (None, None));
    let reply = silent.reply.expect("the status");
    assert_eq!((reply.code, reply.enhanced), (None, EnhancedCode::parse("5.0.0")));
    assert_eq!(of("5.1.1 user not found").reply.and_then(|reply| reply.code), Some(550));
}

#[test]
fn each_attempt_and_each_recipient_is_an_event_of_its_own() {
    let keys = |attempt: u8, recipient: Value| -> Vec<_> {
        let record = json!({
            "type": "TransientFailure", "id": "x", "nodeid": "n", "num_attempts": attempt, "recipient": recipient,
            "timestamp": 1_754_719_200,
        });
        receive(record.to_string()).expect("taken").events.into_iter().map(|event| event.dedupe).collect()
    };
    assert_eq!(keys(1, json!("a@b.example")), keys(1, json!(["A@b.example"])));
    assert_ne!(keys(1, json!("a@b.example")), keys(2, json!("a@b.example")));
    let two = keys(1, json!(["a@b.example", "c@d.example"]));
    assert_eq!(two.len(), 2);
    assert_ne!(two.first(), two.last());
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({
            "type": "Bounce", "recipient": "a@b.example", "timestamp": 1_754_719_200, "headers": odd, "meta": odd, "peer_address": odd,
            "feedback_report": odd, "response": {"code": 550, "enhanced_code": odd, "content": "x"},
        });
        assert_eq!(event(&of).reply.and_then(|reply| reply.code), Some(550), "{odd}");
    }
}

#[test]
fn several_spellings_of_a_header_may_stand_together() {
    let of = json!({
        "type": "Bounce", "recipient": "a@b.example", "timestamp": 1_754_719_200, "event_time": "",
        "headers": {"From": " ", "from": "x@mail.example.com", "FROM": "y@other.example"},
    });
    assert_eq!(event(&of).from_domain.as_deref(), Some("mail.example.com"));
}

#[test]
fn more_recipients_than_a_record_can_have_are_told_of() {
    let record = |count: usize| {
        let recipients: Vec<String> = (0..count).map(|number| format!("r{number}@privaterelay.appleid.com")).collect();
        json!({"type": "Delivery", "timestamp": 1_754_719_200, "recipient": recipients}).to_string()
    };
    assert_eq!(receive(record(MAX_RECIPIENTS)).expect("taken").events.len(), MAX_RECIPIENTS);
    let report = receive(record(MAX_RECIPIENTS + 1)).expect("taken");
    let reasons: Vec<_> = report.set_aside.iter().map(|part| part.reason).collect();
    assert_eq!((report.events.len(), reasons), (0, vec![SetAsideReason::Malformed]), "kept whole");
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body])], receive);
}

#[test]
fn every_element_is_accounted_for() {
    let keys =
        &["id", "nodeid", "sender", "timestamp", "event_time", "created", "num_attempts", "bounce_classification"];
    let kinds = &["Reception", "Bounce", "Feedback", "Delay", "New"];
    assert_elements_are_accounted_for(keys, "type", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("kumomta", "every_type", receive);
}
