//! Tests of the feed of SocketLabs' events.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ingest::http::testing::{
    any_json, assert_a_final_reply_refuses, assert_none_is_taken, delivery, fixtures, no_objects, read_fixtures,
};

const KEY: &str = "socketlabs-secret-key";

fn settings() -> Settings {
    let secret_keys = vec!["socketlabs-before".into(), KEY.into()];
    Settings { secret_keys, validation_key: Some("socketlabs-validation".into()) }
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    SocketLabs::new(&settings()).expect("feed").receive(&delivery(&[], body))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("socketlabs", receive) {
        insta::assert_snapshot!(name, read);
    }
}

#[test]
fn every_delivery_with_the_secret_is_answered_with_the_validation_key() {
    let report = receive(json!({"Type": "Validation", "SecretKey": KEY}).to_string()).expect("taken");
    let answer = report.answer.clone().expect("an answer");
    assert_eq!(answer.body, "socketlabs-validation");
    assert!(!format!("{report:?}").contains("socketlabs"), "{report:?}");
}

#[test]
fn without_the_secret_nothing_is_taken_or_answered() {
    let outcome = |body: String| receive(body).map(drop).map_err(|e| (e.status.as_u16(), e.reason));
    let (absent, wrong) = (Err((401, RejectionReason::Unauthenticated)), Err((401, RejectionReason::BadCredentials)));
    let event = |key: Value| json!({"Type": "Tracking", "SecretKey": key});
    assert_eq!(outcome(event(json!("socketlabs-before")).to_string()), Ok(()));
    assert_eq!(outcome(event(json!("other")).to_string()), wrong);
    assert_eq!(outcome(event(json!(format!("{KEY} "))).to_string()), wrong);
    assert_eq!(outcome(event(Value::Null).to_string()), absent);
    assert_eq!(outcome(event(json!([KEY])).to_string()), absent);
    assert_eq!(outcome("{\"Type\":\"Tracking\"}".to_owned()), absent);
    assert_eq!(outcome(json!([event(json!(KEY)), event(json!("other"))]).to_string()), wrong, "each of several");
    assert_eq!(outcome("[]".to_owned()), wrong);
    let flood = format!("[{}{{}}]", "{},".repeat(wire::MAX_ELEMENTS));
    assert_eq!(outcome(flood), Err((400, RejectionReason::Malformed)), "no more are read before anybody is known");
    let new = |settings: Settings| SocketLabs::new(&settings).expect_err("settings");
    assert_eq!(new(Settings { secret_keys: vec![], ..settings() }), SecretError::Missing.into());
    assert_eq!(new(Settings { validation_key: None, ..settings() }), SettingsError::Validation);
    assert!(!format!("{:?}", SocketLabs::new(&settings())).contains("socketlabs"));
}

#[test]
fn the_secret_is_not_in_what_is_set_aside() {
    let report = receive(fixtures("socketlabs").into_iter().next().expect("a fixture").1).expect("taken");
    assert!(report.set_aside.len() >= 3);
    for aside in &report.set_aside {
        assert!(!String::from_utf8_lossy(&aside.body).contains(KEY));
        assert!(String::from_utf8_lossy(&aside.body).contains("\"Type\""), "the rest is kept");
    }
}

#[test]
fn a_form_is_read_as_json_is() {
    let form = "Type=Failed&DateTime=2025-08-09T06%3A00%3A03Z&Address=a%40b.example&SecretKey=socketlabs-secret-key\
                &FailureType=Permanent&DiagnosticCode=550+5.1.1+x";
    let media = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let feed = SocketLabs::new(&settings()).expect("feed");
    let from_form = feed.receive(&delivery(&media, form)).expect("a form");
    let json = json!({
        "Type": "Failed", "DateTime": "2025-08-09T06:00:03Z", "Address": "a@b.example", "SecretKey": KEY,
        "FailureType": "Permanent", "DiagnosticCode": "550 5.1.1 x",
    });
    assert_eq!(from_form, receive(json.to_string()).expect("JSON"));
    assert_eq!(feed.receive(&delivery(&media, "Type=a&Type=b")).expect_err("twice").reason, RejectionReason::Malformed);
}

#[test]
fn bodies_that_are_no_event_are_refused() {
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["{} {}", "{\"SecretKey\":\"a\",\"SecretKey\":\"b\"}"]);
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    assert_a_final_reply_refuses(|said| {
        let event = json!({
            "Type": "Deferred", "SecretKey": KEY, "DateTime": "2025-08-09T06:00:03Z", "Address": "a@b.example", "DiagnosticCode": said,
        });
        let report = receive(event.to_string()).expect("taken");
        report.events.first().expect("event").kind
    });
}

#[test]
fn a_nested_object_of_another_shape_spoils_nothing_beside_it() {
    for odd in no_objects() {
        let of = json!({
            "Type": "Failed", "SecretKey": KEY, "DateTime": "2025-08-09T06:00:03Z", "Address": "a@b.example", "Data": odd,
        });
        assert_eq!(receive(of.to_string()).expect("taken").events.len(), 1, "{odd}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_json_is_taken_set_aside_or_refused(value in any_json(), kind in prop::sample::select(vec!["Failed", "Queued", "New"])) {
        let event = json!({"SecretKey": KEY, "Type": kind, "DateTime": 1_754_719_200, "Address": value, "DiagnosticCode": value});
        for body in [value.to_string(), event.to_string(), json!([event]).to_string()] {
            if let Err(rejection) = receive(body) {
                prop_assert!(rejection.status.is_client_error());
            }
        }
    }
}
