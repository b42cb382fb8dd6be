//! `relaywatch events entries`: what the journal holds beside outcomes and notices.

use std::io::{self, Write};

use clap::{Args, builder::TypedValueParser};
use serde_json::{Value, json};

use super::{
    Format,
    text::{Safe, count},
};
use crate::{
    clock::Clock,
    model::{DAY_MILLIS, Timestamp},
    monitor::{blind::Window, facts::relay_mail},
    sources::{canary::Record, watch::Observation},
    store::{EntryKind, EntryRecord, Store},
};

/// Kinds that are listed: notices are about people, see `address show`.
const LISTED: [EntryKind; 8] = [
    EntryKind::BlindWindow,
    EntryKind::Settings,
    EntryKind::Action,
    EntryKind::Note,
    EntryKind::DmarcReport,
    EntryKind::RelayNotification,
    EntryKind::CanaryResult,
    EntryKind::DnsObservation,
];

/// Letters of a record that people see.
const SHOWN_RECORD: usize = 100;

/// What is said of a canary.
fn canary(body: &serde_json::Value) -> Option<String> {
    let record = Record::from_body(body)?;
    let phase = body.get("phase").and_then(serde_json::Value::as_str)?;
    Some(format!(
        "{} ({}), canary {}: {phase}; not for {}",
        record.path, record.kind, record.canary, record.not_represented
    ))
}

/// Changes of a relabelling that people see; machines see more.
const CHANGES: usize = 3;

/// What is asked for.
#[derive(Debug, Args)]
pub(super) struct Entries {
    /// Only of this kind: several with commas.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds())]
    kind: Vec<EntryKind>,
    /// Not before: 2026-08-09T06:00:00Z, 2026-08-09, or how long ago (30m, 2h, 7d).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// How many at most, of each kind.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn kinds() -> impl TypedValueParser<Value = EntryKind> {
    clap::builder::PossibleValuesParser::new(LISTED.iter().map(|kind| kind.as_str()))
        .try_map(|text| EntryKind::from_name(&text).ok_or("no such kind"))
}

impl Entries {
    pub(super) fn since(&self, now: Timestamp) -> anyhow::Result<Option<Timestamp>> {
        let read = self.since.as_ref().map(|text| super::time::parse(text, now)).transpose();
        read.map_err(|error| anyhow::anyhow!("--since: {error}"))
    }

    pub(super) async fn run(
        &self,
        store: &Store,
        since: Option<Timestamp>,
        clock: &Clock,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let kinds: &[EntryKind] = if self.kind.is_empty() { &LISTED } else { &self.kind };
        // A clock that was set back hides nothing.
        let to = clock.now().plus_millis(DAY_MILLIS);
        let mut entries: Vec<EntryRecord> = Vec::new();
        for kind in kinds {
            entries.extend(store.entries_of_kind(*kind, to, self.limit).await?);
        }
        entries.retain(|entry| since.is_none_or(|since| entry.key.at >= since));
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.key));
        for entry in &entries {
            match self.format {
                Format::Json => {
                    serde_json::to_writer(&mut *out, &machine(entry)).map_err(io::Error::from)?;
                    writeln!(out)?;
                }
                Format::Text => {
                    writeln!(out, "{}  {:<18}  {}", entry.key.at, entry.kind, people(entry))?;
                    for change in changes(&entry.body) {
                        writeln!(out, "    {}", Safe(&change))?;
                    }
                }
            }
        }
        if entries.is_empty() && self.format == Format::Text {
            writeln!(out, "no entries")?;
        }
        Ok(out.flush()?)
    }
}

fn machine(entry: &EntryRecord) -> Value {
    json!({ "at": entry.key.at.to_string(), "kind": entry.kind, "body": entry.body })
}

fn people(entry: &EntryRecord) -> String {
    let text = match entry.kind {
        EntryKind::BlindWindow => Window::read(entry).map(|window| {
            let until = window.until.map_or_else(|| "not ended by then".to_owned(), |until| format!("until {until}"));
            let why = window.reason.map_or("", crate::explain::BlindReason::says);
            format!("{}, {until}: {why}", window.watched)
        }),
        EntryKind::Settings => entry.body.get("version").map(|version| {
            let rules = entry.body.pointer("/settings/rules").cloned().unwrap_or_default();
            format!("version {version}, rules {rules}; --format json shows all of them")
        }),
        EntryKind::Action => action(&entry.body),
        EntryKind::DmarcReport => report(&entry.body),
        EntryKind::DnsObservation => observation(&entry.body),
        EntryKind::RelayNotification => relay_mail(entry).map(|mail| format!("Apple's mail says: {}", mail.tells())),
        EntryKind::CanaryResult => canary(&entry.body),
        _ => None,
    };
    text.unwrap_or_else(|| entry.body.to_string()).replace(char::is_control, " ")
}

/// What was observed in DNS.
fn observation(body: &Value) -> Option<String> {
    Some(match serde_json::from_value(body.clone()).ok()? {
        Observation::Record(record) => {
            let grade = record.grade.map_or_else(|| "first seen".to_owned(), |grade| grade.to_string());
            format!("{grade}: {}", record.says(SHOWN_RECORD))
        }
        Observation::Standing { standing, gone: true } => format!("{} is watched no more", standing.subject),
        Observation::Standing { standing, .. } => {
            format!("{} is {} by {}", standing.subject, standing.fitness, standing.path)
        }
        Observation::Trouble(trouble) if trouble.over => format!("mail from {} is fit again", trouble.domain),
        Observation::Trouble(trouble) => format!("mail from {} is no longer fit", trouble.domain),
        Observation::Condition(condition) if condition.over => format!("over: {}", condition.finding().what),
        Observation::Condition(condition) => condition.finding().what,
    })
}

/// Whose aggregate report came on which domain.
fn report(body: &Value) -> Option<String> {
    let says = body.get("says")?;
    let text = |key: &str| says.get(key).and_then(Value::as_str).unwrap_or("unknown");
    let bytes = says.get("bytes").and_then(Value::as_u64)?;
    let kept = if body.get("part").is_some() { "kept whole" } else { "too large to be kept" };
    Some(format!("on {} by {}: {}, {kept}", text("domain"), text("submitter"), count(bytes, "byte")))
}

/// What somebody did, in words; nothing where it was not written by this version's kind.
fn action(body: &Value) -> Option<String> {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let number = |key: &str| body.get(key).and_then(Value::as_i64);
    let incident = || number("incident").map(|id| format!("incident {id}"));
    let done = match text("action")? {
        "label" => format!("{} is labelled {}", incident()?, text("label")?),
        "accept-normal" => format!("{} is accepted as normal", incident()?),
        "close" => format!("{} is closed", incident()?),
        "recovery-list" => {
            let (listed, unknown) = (number("listed")?.unsigned_abs(), number("unknown_listed").unwrap_or(0));
            let listed = count(listed, "address");
            format!("{}: a list of {listed} to win back was made, and of {unknown} to ask first", incident()?)
        }
        "address-forget" => match number("accounts") {
            Some(accounts) => format!("an address is forgotten, with {}", count(accounts.unsigned_abs(), "account")),
            None => "an account and its address are forgotten".to_owned(),
        },
        "keys-rotate" => format!("the keys are rotated: key {} seals", number("key")?),
        "keys-forget-old" => {
            format!("{} dropped", count(number("dropped")?.unsigned_abs(), "old key"))
        }
        "keys-forget-old-failed" => {
            format!("dropping failed: {} stayed", count(number("kept")?.unsigned_abs(), "old key"))
        }
        "aside-show" => format!("part {} of what was set aside was looked at", number("part")?),
        "rebuild" => {
            format!("ledger and cells are made again from {}", count(number("events")?.unsigned_abs(), "outcome"))
        }
        "relabel" => {
            let (rules, fingerprint) = (number("rules")?, text("rules_fingerprint")?);
            format!("giving stored replies the verdicts of rules version {rules} ({fingerprint}) is begun")
        }
        "relabelled" => {
            let replies = number("replies")?.unsigned_abs();
            let noun = if replies == 1 { "stored reply has" } else { "stored replies have" };
            let of = number("rules").zip(text("rules_fingerprint"));
            let rules = of.map_or_else(
                || "rules that are not known".to_owned(),
                |(version, fingerprint)| format!("rules version {version} ({fingerprint})"),
            );
            let stopped = if body["interrupted"] == true { "; stopped half-way, and other rules went on" } else { "" };
            format!("{replies} {noun} the verdicts of {rules}{stopped}")
        }
        _ => return None,
    };
    // Before they had one word for it, some actions named who did it by another, and some not at all.
    let by = text("operator").or_else(|| text("by")).map_or_else(String::new, |by| format!(", by {by}"));
    let why = text("reason").map_or_else(String::new, |why| format!(": {why}"));
    Some(format!("{done}{by}{why}"))
}

/// What a relabelling has changed, the most frequent first; nothing of any other entry.
fn changes(body: &Value) -> Vec<String> {
    let replies = |change: &Value| change.get("replies").and_then(Value::as_u64).unwrap_or(0);
    let count = |number: u64| format!("{number} {}", if number == 1 { "reply" } else { "replies" });
    let mut named: Vec<&Value> = body.get("changes").and_then(Value::as_array).into_iter().flatten().collect();
    named.sort_by_key(|change| std::cmp::Reverse(replies(change)));
    let line = |change: &&Value| {
        let text = |key: &str| change.get(key).and_then(Value::as_str).unwrap_or("unknown");
        format!(
            "{}: {} ({}) is now {} ({})",
            count(replies(change)),
            text("from_cause"),
            text("from_rule"),
            text("to_cause"),
            text("to_rule")
        )
    };
    let mut lines: Vec<String> = named.iter().take(CHANGES).map(line).collect();
    let others = body.get("others").and_then(Value::as_u64).unwrap_or(0);
    let rest = named.iter().skip(CHANGES).map(|change| replies(change)).sum::<u64>().saturating_add(others);
    if rest > 0 {
        lines.push(format!("and {} by other changes; --format json names more of them", count(rest)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{EventKey, Position};

    #[test]
    fn entries_for_people() {
        let entry = |kind, body| EntryRecord {
            position: Position::START,
            key: EventKey { at: Timestamp::from_seconds(1_754_719_200), hash: [0; 16] },
            kind,
            account: None,
            address: None,
            body,
        };
        let from = 1_754_719_200_000_i64;
        let window = json!({ "watched": "ses/eu", "reason": "silent", "from": from, "until": from + 3_600_000 });
        let lasting = json!({ "watched": "apple", "reason": "refused", "from": from, "until": null });
        let settings = json!({ "version": 3, "settings": { "rules": 7 } });
        let action = json!({ "action": "close", "incident": 7, "operator": "Jo", "reason": "over\u{1b}" });
        let lines: Vec<String> = [
            entry(EntryKind::BlindWindow, window),
            entry(EntryKind::BlindWindow, lasting),
            entry(EntryKind::Settings, settings),
            entry(EntryKind::Action, action),
            entry(EntryKind::Action, json!({ "action": "label", "incident": 7, "label": "real", "operator": "Jo" })),
            entry(EntryKind::Action, json!({ "action": "accept-normal", "incident": 7 })),
            entry(
                EntryKind::Action,
                json!({ "action": "recovery-list", "incident": 7, "operator": "Jo", "reason": "win back", "listed": 3,
                    "unknown_listed": 0 }),
            ),
            entry(
                EntryKind::Action,
                json!({ "action": "address-forget", "by": "Jo", "reason": "4711", "accounts": 1 }),
            ),
            entry(
                EntryKind::Action,
                json!({ "action": "address-forget", "by": "relaywatch", "reason": "account-deleted notice" }),
            ),
            entry(EntryKind::Action, json!({ "action": "keys-rotate", "operator": "Jo", "key": 2 })),
            entry(EntryKind::Action, json!({ "action": "keys-forget-old", "operator": "Jo", "dropped": 1 })),
            entry(EntryKind::Action, json!({ "action": "keys-forget-old-failed", "operator": "Jo", "kept": 1 })),
            entry(EntryKind::Action, json!({ "action": "aside-show", "operator": "Jo", "part": 17 })),
            entry(EntryKind::Action, json!({ "action": "rebuild", "operator": "Jo", "events": 5 })),
            entry(
                EntryKind::Action,
                json!({ "action": "relabel", "operator": "Jo", "rules": 7, "rules_fingerprint": "00ff" }),
            ),
            entry(
                EntryKind::Action,
                json!({ "action": "relabelled", "operator": "Jo", "rules": 7, "rules_fingerprint": "00ff", "replies": 3,
                    "changes": [], "others": 0 }),
            ),
            entry(
                EntryKind::Action,
                json!({ "action": "relabelled", "operator": null, "rules": null, "rules_fingerprint": null, "replies": 1,
                    "changes": [], "others": 0, "interrupted": true }),
            ),
            entry(EntryKind::Action, json!({ "action": "of another version", "n": 1 })),
            entry(
                EntryKind::DmarcReport,
                json!({ "feed": "mail", "part": "x", "says": { "domain": "example.com", "submitter": "receiver.example",
                    "media_type": "application/gzip", "bytes": 12_345, "left_out": false } }),
            ),
            entry(
                EntryKind::DmarcReport,
                json!({ "feed": "mail", "says": { "domain": null, "submitter": null, "bytes": 2_000_000 } }),
            ),
            entry(
                EntryKind::RelayNotification,
                json!({ "feed": "mail", "part": "x", "says": { "says": "source-not-registered",
                    "domains": ["mail.example.com"], "authenticated": true } }),
            ),
            entry(EntryKind::RelayNotification, json!({ "feed": "mail", "says": { "says": "other", "domains": [] } })),
        ]
        .iter()
        .map(people)
        .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn the_changes_of_a_relabelling_are_named() {
        let change = |from: &str, to: &str, replies: u64| json!({ "from_cause": from, "from_rule": "none/undetermined", "to_cause": to, "to_rule": "ours/off@1\u{1b}", "replies": replies });
        let one = vec![change("undetermined", "mailbox_disabled", 1)];
        let named = changes(&json!({ "action": "relabelled", "changes": one, "others": 0 }));
        assert_eq!(named.len(), 1);
        assert!(named[0].starts_with("1 reply: undetermined (none/undetermined) is now mailbox_disabled (ours/off@1"));
        let five: Vec<Value> = (1..=5).map(|number| change("undetermined", &format!("to_{number}"), number)).collect();
        let named = changes(&json!({ "action": "relabelled", "changes": five, "others": 4 }));
        let begins: Vec<&str> = named.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(begins[..3], ["5 replies", "4 replies", "3 replies"]);
        assert_eq!(named[3], "and 7 replies by other changes; --format json names more of them");
        assert_eq!(changes(&json!({ "action": "close" })), Vec::<String>::new());
    }
}
