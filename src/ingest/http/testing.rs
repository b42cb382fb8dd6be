//! What the tests of the feeds share.

use std::{fmt::Write as _, path::PathBuf};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Delivery, Rejection, RejectionReason, wire::MAX_ELEMENTS};
use crate::{
    ingest::Report,
    model::{Address, DedupeMaterial, Event, EventKind, MAX_REPLY_BYTES, Notice, Timestamp},
};

/// When the tests' deliveries arrive: a day after the purge of 9 August 2025.
pub(in crate::ingest) const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

/// A delivery that arrives at [`NOW`].
pub(super) fn delivery(headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Delivery {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("header name");
        map.append(name, HeaderValue::from_str(value).expect("header value"));
    }
    Delivery {
        method: Method::POST,
        query: String::new(),
        headers: map,
        body: Bytes::from(body.into()),
        received_at: NOW,
    }
}

/// Every fixture of a feed, by name.
pub(in crate::ingest) fn fixtures(feed: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(feed);
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .expect("fixtures")
        .map(|entry| {
            let path = entry.expect("entry").path();
            let name = path.file_stem().expect("name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).expect("fixture"))
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// One fixture of a feed.
pub(in crate::ingest) fn fixture(feed: &str, name: &str) -> String {
    let found = fixtures(feed).into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no fixture {feed}/{name}")).1
}

/// A report for a snapshot, with the addresses in the clear.
pub(in crate::ingest) fn render(report: &Report) -> String {
    let mut out = String::new();
    for event in &report.events {
        writeln!(out, "event {} at {}, to {}", event.kind, event.at, event.recipient.expose()).expect("text");
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                writeln!(out, "    {name}: {value}").expect("text");
            }
        };
        line("sent at", event.sent_at.map(|at| at.to_string()));
        line("message", event.message_id.clone());
        line("from domain", event.from_domain.clone());
        line("envelope sender", event.envelope_sender.as_ref().map(|address| address.expose().to_owned()));
        line("envelope domain", event.envelope_domain.clone());
        line("campaign", event.campaign.clone());
        line(
            "reply",
            event.reply.as_ref().map(|reply| {
                let enhanced = reply.enhanced.map_or_else(|| "-".to_owned(), |code| code.to_string());
                format!(
                    "{} {enhanced} {:?}",
                    reply.code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
                    reply.text
                )
            }),
        );
        line("remote mta", event.remote_mta.clone());
        line("provider says", event.provider_verdict.clone());
        line("provider class", Some(event.provider_class.to_string()));
        line("failure class", Some(event.failure_class().to_string()));
    }
    for notice in &report.notices {
        let Notice { kind, audience, team, subject, email, is_private_email, at, issued_at, jwt_id } = notice;
        writeln!(out, "notice {kind} at {at}, issued at {issued_at}, to {audience} of {team}").expect("text");
        let email = email.as_ref().map(Address::expose);
        writeln!(out, "    sub {subject}, email {email:?}, private {is_private_email:?}, jti {jwt_id:?}")
            .expect("text");
    }
    for aside in &report.set_aside {
        let at = aside.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        writeln!(
            out,
            "set aside: {} {:?} at {at}: {}",
            aside.reason,
            aside.label,
            String::from_utf8_lossy(&aside.body)
        )
        .expect("text");
    }
    for word in &report.ignored {
        writeln!(out, "ignored: {word}").expect("text");
    }
    out
}

/// Any JSON, shallow enough to be quick.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::from("a@privaterelay.appleid.com")),
        Just(Value::from("1754719200")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Any object that has some of the `keys`, with any values under them.
pub(super) fn any_object(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(keys), any_json(), 0..keys.len())
        .prop_map(|map| Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
}

/// The same JSON with the keys of every object in another order, which `seed` picks.
pub(super) fn reordered(value: &Value, seed: u64) -> String {
    match value {
        Value::Object(map) => {
            let mut parts: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), reordered(value, seed)))
                .collect();
            let mut state = seed | 1;
            for end in (1..parts.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let pick = usize::try_from(state >> 33).expect("31 bits") % (end + 1);
                parts.swap(end, pick);
            }
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(|value| reordered(value, seed)).collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// What a feed makes of a delivery.
pub(super) type Taken = Result<Report, Rejection>;

/// The fixtures of a feed as it reads them, for snapshots: names and reports.
pub(super) fn read_fixtures(feed: &str, receive: impl Fn(String) -> Taken) -> Vec<(String, String)> {
    let read = |(name, body)| (format!("{feed}_{name}"), render(&receive(body).expect("taken")));
    fixtures(feed).into_iter().map(read).collect()
}

/// The event of a delivery of which nothing is set aside.
pub(super) fn only_event(taken: Taken) -> Event {
    let report = taken.expect("taken");
    assert!(report.set_aside.is_empty(), "{report:?}");
    report.events.into_iter().next().expect("event")
}

/// Values in the place of an object.
pub(super) fn no_objects() -> [Value; 4] {
    [json!([]), Value::Null, json!("x"), json!(17)]
}

/// Checks that a body which holds nothing that a JSON feed takes, or one of `own`, or more than `most` bytes, is refused as that.
pub(super) fn assert_none_is_taken(receive: impl Fn(Vec<u8>) -> Taken, most: usize, own: &[&str]) {
    let refusal = |body: &[u8]| receive(body.to_vec()).expect_err("refused");
    let many = format!("[{}{{}}]", "{},".repeat(MAX_ELEMENTS));
    for body in ["", "{", "null", "17", "a=b", "{} {", "\"text\"", &many].iter().chain(own) {
        let rejection = refusal(body.as_bytes());
        assert_eq!((rejection.status.as_u16(), rejection.reason), (400, RejectionReason::Malformed), "{body}");
        assert!(!rejection.detail.contains("text"), "{rejection}");
    }
    assert_eq!(refusal(b"{\"a\":\"\xff\"}").reason, RejectionReason::Malformed, "no UTF-8");
    let large = refusal(&vec![b' '; most + 1]);
    assert_eq!((large.status.as_u16(), large.reason), (413, RejectionReason::TooLarge));
}

/// Checks that what the provider calls a deferral is a refusal where the reply is final: `kind` is that of an event with this reply.
pub(super) fn assert_a_final_reply_refuses(kind: impl Fn(&str) -> EventKind) {
    assert_eq!(kind("550 5.1.1 x: unauthorized sender"), EventKind::Refused);
    assert_eq!(kind("450 4.2.1 x"), EventKind::Deferred);
}

/// Checks that events are told apart by all that was said, beyond what is kept of it: `key` is that of an event with this reply.
pub(super) fn assert_all_that_was_said_counts(key: impl Fn(&str) -> DedupeMaterial) {
    let long = format!("550 5.1.1 {}", "x".repeat(MAX_REPLY_BYTES));
    assert_eq!(key(&long), key(&long));
    assert_ne!(key(&long), key(&format!("{long}y")), "beyond what is kept");
}

/// Checks that any text, and any JSON in the `dress` of the provider, is taken, set aside, or refused as what it is.
pub(super) fn assert_any_json_is_answered(dress: impl Fn(&Value) -> Vec<Value>, receive: impl Fn(String) -> Taken) {
    proptest!(ProptestConfig::with_cases(128), |(value in any_json(), text in "\\PC{0,60}")| {
        let dressed = dress(&value).into_iter().map(|body| body.to_string());
        for body in dressed.chain([text]) {
            if let Err(rejection) = receive(body) {
                prop_assert_eq!(rejection.status, StatusCode::BAD_REQUEST);
            }
        }
    });
}

/// Checks that an element with one of the `kinds` under `key`, and anything under some of the `keys`, becomes an event, or is set aside
/// or ignored.
pub(super) fn assert_elements_are_accounted_for(
    keys: &'static [&'static str],
    key: &str,
    kinds: &'static [&'static str],
    receive: impl Fn(Value) -> Taken,
) {
    proptest!(ProptestConfig::with_cases(128), |(element in any_object(keys), kind in prop::sample::select(kinds))| {
        let mut element = element;
        element.as_object_mut().expect("object").insert(key.to_owned(), kind.into());
        let report = receive(element).expect("taken");
        prop_assert_eq!(report.events.len() + report.set_aside.len() + report.ignored.len(), 1);
    });
}

/// Checks that a fixture says the same with the keys of its objects in any other order.
pub(super) fn assert_keys_have_no_order(feed: &str, name: &str, receive: impl Fn(String) -> Taken) {
    let text = fixture(feed, name);
    let value: Value = serde_json::from_str(&text).expect("JSON");
    proptest!(ProptestConfig::with_cases(128), |(seed in any::<u64>())| {
        prop_assert_eq!(receive(reordered(&value, seed)), receive(text.clone()));
    });
}
