//! `relaywatch reports list`: which reports were taken in.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use clap::Args;
use serde_json::{Value, json};

use super::journal::{self, Held};
use crate::{
    cli::{
        Exit, Format, open,
        text::{Safe, count},
    },
    config::Config,
    model::Timestamp,
    sources::reports::Report,
    store::EntryRecord,
};

#[derive(Debug, Args)]
pub(super) struct List {
    /// Not before: 2026-08-09T06:00:00Z, 2026-08-09, or how long ago (2h, 7d).
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: String,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl List {
    pub(super) async fn run(&self, config: &Config, now: Timestamp, out: &mut impl Write) -> anyhow::Result<Exit> {
        let since = super::since(&self.since, now)?;
        let (store, _) = open::reader(config).await?;
        let (mut lines, mut seen) = (Vec::new(), BTreeSet::new());
        let listed = journal::each(&store, since, now, |entry, held| {
            let is_first = match &held {
                Held::Report(report) => seen.insert(report.identity()),
                Held::Broken(_) | Held::Gone => true,
            };
            if is_first {
                lines.push((people(entry, &held), machine(entry, &held)));
            }
        });
        let listed = listed.await;
        store.close().await;
        listed?;
        for (text, value) in &lines {
            match self.format {
                Format::Json => {
                    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
                    writeln!(out)?;
                }
                Format::Text => writeln!(out, "{}", Safe(text))?,
            }
        }
        if lines.is_empty() && self.format == Format::Text {
            writeln!(out, "no reports since {since}")?;
        }
        Ok(Exit::Success)
    }
}

pub(super) fn people(entry: &EntryRecord, held: &Held) -> String {
    match held {
        Held::Report(report) => of(report),
        Held::Broken(fault) => format!("{}  {}: not read: {fault}", entry.key.at, told(entry)),
        Held::Gone => format!("{}  {}: not kept", entry.key.at, told(entry)),
    }
}

fn of(report: &Report) -> String {
    let policy = report.policy.as_ref().map_or_else(String::new, |policy| format!(", p={policy}"));
    let left_out = match report.left_out {
        0 => String::new(),
        number => format!(", {} left out", count(number, "broken record")),
    };
    format!(
        "{}  {} on {}: {} in {}{policy}{left_out}",
        report.end,
        report.organisation,
        report.domain,
        count(report.messages(), "message"),
        count(report.records.len() as u64, "record"),
    )
}

/// Who sent what, as the mail that brought it says.
fn told(entry: &EntryRecord) -> String {
    let text = |key: &str| entry.body["says"][key].as_str().unwrap_or("unknown").to_owned();
    format!("{} on {}", text("submitter"), text("domain"))
}

pub(super) fn machine(entry: &EntryRecord, held: &Held) -> Value {
    let Held::Report(report) = held else {
        let fault = if let Held::Broken(fault) = held { fault.as_str() } else { "not kept" };
        let says = &entry.body["says"];
        return json!({ "end": entry.key.at.to_string(), "organisation": says["submitter"], "domain": says["domain"], "fault": fault });
    };
    json!({
        "begin": report.begin.to_string(),
        "end": report.end.to_string(),
        "organisation": report.organisation,
        "report_id": report.report_id,
        "domain": report.domain,
        "policy": report.policy,
        "records": report.records.len(),
        "left_out": report.left_out,
        "messages": report.messages(),
        "fault": null,
    })
}
