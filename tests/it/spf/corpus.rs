//! Reads the published suite.

use std::{net::IpAddr, path::PathBuf};

use relaywatch::sources::answer::Text;
use saphyr::{LoadableYamlNode as _, Yaml};

use super::zone::{Entry, Zone, name};

/// One set of records with the cases that run on it.
pub(super) struct Scenario {
    pub(super) cases: Vec<Case>,
    pub(super) zone: Zone,
}

/// One case.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) ip: IpAddr,
    pub(super) helo: String,
    pub(super) mail_from: String,
    /// Any of these is right.
    pub(super) results: Vec<String>,
    /// `DEFAULT` where the receiver's own is to be used.
    pub(super) explanation: Option<String>,
}

/// All scenarios, or `None` with a line that names the test.
pub(super) fn load(test: &str) -> Option<Vec<Scenario>> {
    let Some(folder) = std::env::var_os("RELAYWATCH_CORPORA") else {
        assert!(std::env::var("CI").is_err(), "RELAYWATCH_CORPORA is not set; run scripts/test");
        eprintln!("skipped: {test} (RELAYWATCH_CORPORA is not set)");
        return None;
    };
    let path = PathBuf::from(folder).join("spf/rfc7208-tests.yml");
    if !path.exists() {
        assert!(std::env::var("CI").is_err(), "RELAYWATCH_CORPORA has no {}", path.display());
        eprintln!("skipped: {test} ({} is absent)", path.display());
        return None;
    }
    let suite = std::fs::read_to_string(path).expect("the suite");
    let documents = Yaml::load_from_str(&suite).expect("YAML");
    Some(documents.iter().filter(|document| document.as_mapping().is_some()).map(scenario).collect())
}

fn text(value: &Yaml<'_>) -> String {
    match value {
        Yaml::Value(saphyr::Scalar::Integer(number)) => number.to_string(),
        Yaml::Value(saphyr::Scalar::FloatingPoint(number)) => number.to_string(),
        Yaml::Value(saphyr::Scalar::Null) => String::new(),
        other => other.as_str().unwrap_or_else(|| panic!("no text: {other:?}")).to_owned(),
    }
}

fn texts(value: &Yaml<'_>) -> Vec<String> {
    value.as_sequence().map_or_else(|| vec![text(value)], |values| values.iter().map(text).collect())
}

/// YAML's `\xNN` are characters; the suite means bytes.
fn bytes(text: &str) -> Box<[u8]> {
    text.chars().map(|one| u8::try_from(u32::from(one)).expect("a byte")).collect()
}

fn scenario(document: &Yaml<'_>) -> Scenario {
    let part = |key: &str| document.as_mapping_get(key).and_then(Yaml::as_mapping).expect("a mapping");
    let cases = part("tests").iter().map(|(name, case)| read_case(text(name), case)).collect();
    let mut zone = Zone::default();
    for (owner, entries) in part("zonedata") {
        let owner = name(&text(owner));
        let entries: Vec<(String, Option<&Yaml<'_>>)> = entries
            .as_sequence()
            .expect("a list")
            .iter()
            .map(|entry| match entry.as_mapping().and_then(|entry| entry.iter().next()) {
                Some((kind, value)) => (text(kind), Some(value)),
                None => (text(entry), None),
            })
            .collect();
        // A record of the old type SPF stands for a TXT record as well, unless the name has its own.
        let own_texts = entries.iter().any(|(kind, _)| kind == "TXT");
        zone.declare(owner.clone());
        for (kind, value) in entries {
            let Some(entry) = entry(&kind, value, own_texts) else { continue };
            zone.add(owner.clone(), entry);
        }
    }
    Scenario { cases, zone }
}

fn read_case(name: String, case: &Yaml<'_>) -> Case {
    let field = |key: &str| case.as_mapping_get(key).map(text);
    Case {
        name,
        ip: field("host").expect("host").parse().expect("an address"),
        helo: field("helo").expect("helo"),
        mail_from: field("mailfrom").expect("mailfrom"),
        results: texts(case.as_mapping_get("result").expect("result")),
        explanation: field("explanation"),
    }
}

fn entry(kind: &str, value: Option<&Yaml<'_>>, own_texts: bool) -> Option<Entry> {
    let Some(value) = value else {
        assert_eq!(kind, "TIMEOUT");
        return Some(Entry::Silence);
    };
    Some(match kind {
        "SPF" if own_texts => return None,
        "TXT" | "SPF" => {
            let strings = texts(value);
            if strings == ["NONE"] {
                return None;
            }
            Entry::Txt(Text::new(strings.iter().map(|text| bytes(text))))
        }
        "A" => Entry::A(text(value).parse().expect("an IPv4 address")),
        "AAAA" => Entry::Aaaa(text(value).parse().expect("an IPv6 address")),
        "PTR" => Entry::Ptr(name(&text(value))),
        "CNAME" => Entry::Cname(name(&text(value))),
        "MX" => {
            let parts = texts(value);
            Entry::Mx(parts[0].parse().expect("a preference"), name(&parts[1]))
        }
        other => panic!("{other} is no kind of record"),
    })
}
