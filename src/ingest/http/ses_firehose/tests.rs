//! Tests of the feed of SES's events through Firehose.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ingest::http::testing::{NOW, any_json, delivery, fixture};

const KEY: (&str, &str) = (ACCESS_KEY_HEADER, "firehose-key");
const ID: &str = "ed4acda5-034f-9f42-bba1-f29aea6d7d8f";

fn feed() -> SesFirehose {
    let access_keys = vec!["firehose-before".into(), "firehose-key".into()];
    SesFirehose::new(&Settings { access_keys, campaign_tag: None }).expect("feed")
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&delivery(&[KEY, (REQUEST_HEADER, ID)], body))
}

fn batch(records: &[&str]) -> String {
    let records: Vec<_> = records.iter().map(|data| json!({"data": BASE64_STANDARD.encode(data)})).collect();
    json!({"requestId": ID, "timestamp": NOW.as_millis(), "records": records}).to_string()
}

/// One line, as SES gives it to Firehose.
fn line(name: &str) -> String {
    let value: Value = serde_json::from_str(&fixture("ses", name)).expect("JSON");
    format!("{value}\n")
}

#[test]
fn records_hold_the_events_that_sns_brings_one_or_several_a_record() {
    let (bounce, delivery) = (line("bounce-unauthorized-sender"), line("delivery"));
    let apart = receive(batch(&[&bounce, &delivery])).expect("taken");
    assert_eq!(receive(batch(&[&format!("{bounce}{delivery}")])).expect("taken"), apart);
    let by_sns = |text: &str| ses::decode(text, None, NOW).expect("an event").events;
    assert_eq!(apart.events, [by_sns(&bounce), by_sns(&delivery)].concat());
    assert!(apart.events.len() >= 2);
}

#[test]
fn the_answer_repeats_the_request_and_tells_the_time() {
    let answer = receive(batch(&[])).expect("taken").answer.expect("an answer");
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(body, json!({"requestId": ID, "timestamp": NOW.as_millis()}));
    assert_eq!(answer.headers, Answer::of("application/json", String::new()).headers);

    let rejection = feed().receive(&delivery(&[(REQUEST_HEADER, ID)], batch(&[]))).expect_err("no key");
    let headers = delivery(&[(REQUEST_HEADER, ID)], "").headers;
    let shaped = SesFirehose::shaped_refusal(&headers, &rejection, NOW).expect("an answer");
    let body: Value = serde_json::from_str(&shaped.body).expect("JSON");
    assert_eq!((&body["requestId"], &body["timestamp"]), (&json!(ID), &json!(NOW.as_millis())));
    assert!(body["errorMessage"].as_str().is_some_and(|text| text.starts_with("unauthenticated: ")), "{body}");
}

#[test]
fn a_record_that_cannot_be_read_spoils_no_other() {
    let body = json!({"requestId": ID, "records": [
        {"data": BASE64_STANDARD.encode(line("delivery"))}, {"data": "***"}, {}, 17,
        {"data": BASE64_STANDARD.encode("no JSON")}, {"data": BASE64_STANDARD.encode(b"\xff")},
    ]});
    let report = receive(body.to_string()).expect("taken");
    assert!(!report.events.is_empty());
    let labels: Vec<_> = report.set_aside.iter().map(|aside| aside.label.as_str()).collect();
    assert_eq!(labels, ["no base64", "no data", "unreadable", "no JSON", "not UTF-8"]);
}

#[test]
fn a_broken_line_takes_none_of_those_before_it_along() {
    let (bounce, delivery) = (line("bounce-unauthorized-sender"), line("delivery"));
    let whole = receive(batch(&[&bounce])).expect("taken");
    let report = receive(batch(&[&format!("{bounce}{{\"eventType\":\n{delivery}")])).expect("taken");
    assert_eq!(report.events, whole.events);
    let [rest] = report.set_aside.as_slice() else { panic!("{report:?}") };
    assert_eq!(rest.label, "no JSON");
    assert_eq!(String::from_utf8_lossy(&rest.body), format!("{{\"eventType\":\n{delivery}"));
}

#[test]
fn either_access_key_opens_and_nothing_else_does() {
    let outcome = |headers: &[(&str, &str)]| {
        feed().receive(&delivery(headers, batch(&[]))).map(drop).map_err(|e| (e.status.as_u16(), e.reason))
    };
    assert_eq!(outcome(&[KEY]), Ok(()));
    assert_eq!(outcome(&[(ACCESS_KEY_HEADER, "firehose-before")]), Ok(()));
    assert_eq!(outcome(&[]), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(outcome(&[("authorization", "Bearer firehose-key")]), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(outcome(&[(ACCESS_KEY_HEADER, "other")]), Err((401, RejectionReason::BadCredentials)));
    assert_eq!(outcome(&[KEY, (REQUEST_HEADER, "another")]), Err((400, RejectionReason::Malformed)));
    assert_eq!(SesFirehose::new(&Settings::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn what_is_no_batch_is_refused_and_a_cap_of_ours_loses_nothing() {
    let no_id = "{\"records\":[]}";
    let twice = "{\"requestId\":\"a\",\"requestId\":\"b\",\"records\":[]}";
    for body in ["", "{", "{}", "null", "17", "a=b", "{\"requestId\":\"a\",\"records\":17}", no_id, twice] {
        let rejection = receive(body).expect_err("refused");
        assert_eq!((rejection.status.as_u16(), rejection.reason), (400, RejectionReason::Malformed), "{body}");
    }
    let large = SesFirehose::refusal(receive(vec![b' '; MAX_BODY_BYTES + 1]).expect_err("large"));
    assert_eq!((large.status.as_u16(), large.reason), (503, RejectionReason::TooLarge));
}

#[test]
fn all_records_together_hold_so_many_events() {
    let opens = "{\"eventType\":\"Open\",\"mail\":{\"timestamp\":\"2025-08-09T06:00:00Z\"}}".repeat(MAX_ELEMENTS / 2);
    let report = receive(batch(&[&opens, &opens, &line("delivery"), &opens])).expect("taken");
    assert_eq!(report.ignored.len() + report.events.len(), MAX_ELEMENTS);
    let labels: Vec<&str> = report.set_aside.iter().map(|part| part.label.as_str()).collect();
    assert_eq!(labels, ["too many elements"; 2], "each record is kept whole");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_json_is_taken_set_aside_or_refused(value in any_json()) {
        let record = json!({"requestId": ID, "records": value});
        for body in [value.to_string(), record.to_string(), batch(&[&value.to_string()])] {
            if let Err(rejection) = receive(body) {
                prop_assert_eq!(rejection.status.as_u16(), 400);
            }
        }
    }
}
