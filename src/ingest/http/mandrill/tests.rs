//! Tests of the feed of Mandrill's events.

use serde_json::{Value, json};

use super::*;
use crate::{
    ingest::http::testing::{
        assert_a_final_reply_refuses, assert_any_json_is_answered, assert_elements_are_accounted_for,
        assert_keys_have_no_order, delivery, only_event, read_fixtures,
    },
    model::FailureClass::{Permanent, Transient, Unknown},
};

const URL: &str = "https://relaywatch.example.com/in/mandrill?from=mandrill";
const KEY: &str = "mandrill-key-1";

fn feed() -> Mandrill {
    Mandrill::new(&Settings { url: URL.to_owned(), keys: vec![KEY.into(), "mandrill-key-0".into()] }).expect("feed")
}

fn signed(form: &str) -> Delivery {
    delivery(&[(SIGNATURE_HEADER, &signing::signature(KEY, URL, form.as_bytes()))], form)
}

fn receive(events: impl Into<String>) -> Result<Report, Rejection> {
    feed().receive(&signed(&signing::form(&events.into())))
}

#[test]
fn fixtures_are_read_as_documented() {
    for (name, read) in read_fixtures("mandrill", receive) {
        insta::assert_snapshot!(name, read);
    }
}

fn event(record: &Value) -> Event {
    only_event(receive(record.to_string()))
}

fn outcome(result: Result<Report, Rejection>) -> (u16, RejectionReason) {
    let rejection = result.expect_err("refused");
    assert!(!rejection.detail.contains(KEY), "{rejection}");
    (rejection.status.as_u16(), rejection.reason)
}

#[test]
fn url_and_fields_are_signed() {
    // Made by Python: hmac.new(key, url + "mandrill_events" + events, sha1), and with another field "a" before it.
    let form = "mandrill_events=%5B%7B%22event%22%3A%22open%22%7D%5D";
    let with = |signature: &str, form: &str| feed().receive(&delivery(&[(SIGNATURE_HEADER, signature)], form));
    let good = "1yEqXHEGnOvVwt4WAhiM7l8h9CQ=";
    assert_eq!(with(good, form).expect("verified").ignored, ["open"]);
    for fields in [format!("{form}&a=b+c"), format!("a=b%20c&{form}")] {
        assert!(with("GobYK/e6LYb/ywCsUs5gwagl+bw=", &fields).is_ok(), "sorted by name");
    }
    let bad = (401, RejectionReason::BadSignature);
    assert_eq!(outcome(with(good, &form.replace("open", "send"))), bad);
    assert_eq!(outcome(with(good, &format!("{form}&a="))), bad);
    assert_eq!(outcome(with("AAAA", form)), bad);
    let other = |url: &str, key: &str| outcome(with(&signing::signature(key, url, form.as_bytes()), form));
    assert_eq!(other("https://relaywatch.example.com/in/mandrill/?from=mandrill", KEY), bad, "another URL");
    assert_eq!(other(URL, "mandrill-key-2"), bad);
    assert!(with(&signing::signature("mandrill-key-0", URL, form.as_bytes()), form).is_ok(), "the key before");
    for absent in ["", " ", "no base64"] {
        assert_eq!(outcome(with(absent, form)), (401, RejectionReason::Unauthenticated), "{absent}");
    }
    assert_eq!(outcome(feed().receive(&delivery(&[], form))), (401, RejectionReason::Unauthenticated));
}

#[test]
fn an_empty_list_asks_whether_anybody_is_here() {
    let form = signing::form("[]");
    for headers in [vec![], vec![(SIGNATURE_HEADER, "AAAA")]] {
        let report = feed().receive(&delivery(&headers, form.as_str())).expect("answered");
        assert_eq!(report, Report { is_question: true, ..Report::default() });
    }
    assert_eq!(feed().receive(&signed(&form)), Ok(Report::default()), "signed, it is a sign of life");
    assert!(feed().receive(&delivery(&[], signing::form("[{}]"))).is_err());
}

#[test]
fn settings_are_checked() {
    assert_eq!(Mandrill::new(&Settings::default()).expect_err("no key"), SecretError::Missing.into());
    let keys = vec![KEY.into()];
    assert_eq!(Mandrill::new(&Settings { keys, ..Settings::default() }).expect_err("no URL"), SettingsError::Url);
}

#[test]
fn bodies_that_are_no_form_are_refused() {
    let malformed = (400, RejectionReason::Malformed);
    let fields = format!("mandrill_events=[]{}", "&a=b".repeat(MAX_FIELDS));
    for form in
        ["", "a=b", "[]", "mandrill_events=[]&mandrill_events=[]", "mandrill_events=", "mandrill_events={", &fields]
    {
        assert_eq!(outcome(feed().receive(&signed(form))), malformed, "{form}");
    }
    assert_eq!(outcome(feed().receive(&delivery(&[], b"mandrill_events=\xff".to_vec()))), malformed);
    let large = feed().receive(&delivery(&[], vec![b' '; MAX_BODY_BYTES + 1]));
    assert_eq!(outcome(large), (413, RejectionReason::TooLarge));
}

#[test]
fn the_code_counts_before_mandrills_own_verdict() {
    let class = |kind: &str, diag: Value| {
        event(&json!({"event": kind, "ts": 1_754_719_200, "msg": {"email": "a@b.example", "diag": diag}}))
            .failure_class()
    };
    assert_eq!(class("soft_bounce", json!("smtp;550 5.1.1 x")), Permanent);
    assert_eq!(class("hard_bounce", json!("smtp; 451 4.7.1 x")), Transient);
    assert_eq!(class("hard_bounce", Value::Null), Permanent);
    assert_eq!(class("reject", json!("550 5.1.1 of long ago")), Unknown, "nobody was asked");
}

#[test]
fn an_event_is_known_by_its_content() {
    let key = |kind: &str, at: i64, diag: &str| {
        let msg = json!({"email": "a@b.example", "diag": diag});
        event(&json!({"event": kind, "_id": "m", "ts": at, "msg": msg})).dedupe
    };
    let one = key("soft_bounce", 1_754_719_200, "550 a");
    assert_eq!(one, key("soft_bounce", 1_754_719_200, "550 a"));
    assert_ne!(one, key("soft_bounce", 1_754_719_201, "550 a"));
    assert_ne!(one, key("hard_bounce", 1_754_719_200, "550 a"));
    assert_ne!(one, key("soft_bounce", 1_754_719_200, "550 b"));
}

#[test]
fn a_deferral_with_a_final_reply_is_a_refusal() {
    assert_a_final_reply_refuses(|said| {
        let of = json!({"event": "deferral", "ts": 1_754_719_200, "msg": {"email": "a@b.example", "diag": said}});
        event(&of).kind
    });
}

#[test]
fn any_json_is_taken_set_aside_or_refused() {
    assert_any_json_is_answered(|body| vec![body.clone(), json!([body, {}])], receive);
}

#[test]
fn every_element_is_accounted_for() {
    let keys = &["_id", "ts", "msg", "reject", "action"];
    let kinds = &["send", "hard_bounce", "reject", "open", "blacklist", "new"];
    assert_elements_are_accounted_for(keys, "event", kinds, |element| receive(element.to_string()));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_keys_have_no_order("mandrill", "every_event", receive);
}
