//! Tests of the feed of Elastic Email's notifications.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ingest::http::{
    RejectionReason,
    testing::{any_json, assert_none_is_taken, delivery, read_fixtures},
};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn feed() -> ElasticEmail {
    let login = Login { username: "watch".to_owned(), password: "s3cret".into() };
    let tokens = vec!["elastic-before".into(), "elastic-token".into()];
    ElasticEmail::new(&Settings { logins: vec![login], tokens }).expect("feed")
}

fn asked(method: Method, query: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    feed().receive(&Delivery { method, query: query.to_owned(), ..delivery(headers, body) })
}

fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
    asked(Method::POST, "token=elastic-token", &[], body)
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("elasticemail", receive) {
        insta::assert_snapshot!(name, read);
    }
}

#[test]
fn a_query_a_form_and_json_are_the_same() {
    let form = "to=a%40b.example&from=hello%40mail.example.com&date=8%2F9%2F2025+6%3A00%3A01+AM&status=Error&category=NoMailbox&messageid=m1";
    let query = format!("{form}&token=elastic-token");
    let by_query = asked(Method::GET, &query, &[], "").expect("a GET");
    assert_eq!(by_query.events.len(), 1, "{by_query:?}");
    assert_eq!(asked(Method::POST, &query, &[], "").expect("a POST of its query"), by_query);
    assert_eq!(asked(Method::POST, "token=elastic-token", &[FORM], form).expect("a form"), by_query);
    let json = json!({
        "to": "a@b.example", "from": "hello@mail.example.com", "date": "8/9/2025 6:00:01 AM", "status": "Error",
        "category": "NoMailbox", "messageid": "m1",
    });
    assert_eq!(receive(json.to_string()).expect("JSON"), by_query);
}

#[test]
fn elastic_email_may_look_whether_somebody_is_there() {
    let there = Report { ignored: vec!["validation"], ..Report::default() };
    assert_eq!(asked(Method::GET, "token=elastic-token", &[], ""), Ok(there.clone()));
    assert_eq!(<ElasticEmail as SetUp>::ASKS_BY, [Method::HEAD], "answered before anything is read");
    assert_eq!(asked(Method::GET, "", &[], "").expect_err("no token").reason, RejectionReason::Unauthenticated);
}

#[test]
fn a_token_in_the_address_or_a_login_opens_and_nothing_else_does() {
    let body = "{\"status\":\"Opened\"}";
    let outcome = |query: &str, headers: &[(&str, &str)]| {
        asked(Method::POST, query, headers, body).map(drop).map_err(|e| (e.status.as_u16(), e.reason))
    };
    assert_eq!(outcome("token=elastic-before", &[]), Ok(()));
    assert_eq!(outcome("", &[("authorization", "Basic d2F0Y2g6czNjcmV0")]), Ok(()));
    assert_eq!(outcome("", &[]), Err((401, RejectionReason::Unauthenticated)));
    assert_eq!(outcome("token=other", &[]), Err((401, RejectionReason::BadCredentials)));
    assert_eq!(outcome("token=elastic-token&token=elastic-token", &[]), Err((401, RejectionReason::BadCredentials)));
    assert_eq!(ElasticEmail::new(&Settings::default()).expect_err("none"), SecretError::Missing);
}

#[test]
fn bodies_that_are_no_notification_are_refused() {
    assert_none_is_taken(receive, MAX_BODY_BYTES, &["{} {}", "{\"to\":\"a\",\"to\":\"b\"}"]);
    let twice = asked(Method::GET, "token=elastic-token&to=a&to=b", &[], "").expect_err("twice");
    assert_eq!(twice.reason, RejectionReason::Malformed);
}

#[test]
fn both_spellings_may_stand_together_and_a_wrapped_reply_is_unwrapped() {
    let of = json!({
        "status": "", "EventType": "Bounce", "to": "a@b.example", "To": "c@d.example", "date": "2025-08-09T06:00:00Z",
        "Message": "bounced (550 5.1.1 x)",
    });
    let event = receive(of.to_string()).expect("taken").events.pop().expect("event");
    assert_eq!(event.recipient.expose(), "a@b.example");
    assert_eq!(event.reply.and_then(|reply| reply.code), Some(550));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_is_taken_set_aside_or_refused(value in any_json(), text in "\\PC{0,80}") {
        let event = json!({"status": "Error", "to": "a@b.example", "date": value, "category": value});
        for outcome in [
            receive(value.to_string()),
            receive(event.to_string()),
            asked(Method::POST, "token=elastic-token", &[FORM], text.as_str()),
            asked(Method::GET, &format!("token=elastic-token&{text}"), &[], ""),
        ] {
            if let Err(rejection) = outcome {
                prop_assert!(rejection.status.is_client_error());
            }
        }
    }
}
