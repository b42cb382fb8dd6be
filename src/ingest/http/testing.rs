//! What the tests of the feeds share.

use std::{fmt::Write as _, path::PathBuf};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::Delivery;
use crate::{
    ingest::Report,
    model::{Address, Notice, Timestamp},
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
