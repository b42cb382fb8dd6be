//! `relaywatch reports show`: who sends in a domain's name, and how it fares.

use std::io::{self, Write};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::journal::{self, Held};
use crate::{
    cli::{
        Exit, Format,
        check::told::told_finding,
        open,
        text::{Safe, count},
    },
    config::Config,
    model::{Timestamp, normalise_domain},
    sources::{
        Finding, Grade,
        answer::Name,
        audit::Setup,
        declared,
        reports::{Counts, DomainReport, Sender, Tally, judge},
    },
};

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Only this From domain and those below it.
    #[arg(value_name = "DOMAIN")]
    domain: Option<String>,
    /// Only reports that end not before: 2026-08-09T06:00:00Z, 2026-08-09, or how long ago (2h, 7d).
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: String,
    /// How many addresses of each domain are shown to people, those with the most messages first.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// All that is shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) since: Option<Timestamp>,
    pub(super) tally: Tally,
    /// Reports of the journal that can't be read.
    pub(super) broken: u64,
    /// Reports that are not kept any more.
    pub(super) gone: u64,
    /// Whether there are more than were looked at.
    pub(super) cut: bool,
}

impl Show {
    pub(super) async fn run(&self, config: &Config, now: Timestamp, out: &mut impl Write) -> anyhow::Result<Exit> {
        let since = super::since(&self.since, now)?;
        let domain = self.domain.as_deref().map(read_domain).transpose()?;
        let (store, _) = open::reader(config).await?;
        let mut shown = Shown { since: Some(since), ..Shown::default() };
        let read = journal::each(&store, since, now, |_, held| match held {
            Held::Report(report) => {
                shown.tally.add(&report);
            }
            Held::Broken(_) => shown.broken += 1,
            Held::Gone => shown.gone += 1,
        });
        let read = read.await;
        store.close().await;
        shown.cut = !read?;
        let domains = shown.domains(&declared::setup(config), domain.as_deref());
        let findings = findings(&domains);
        match self.format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, &shown.json(&domains, &findings)).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Text => shown.text(&domains, &findings, self.limit, out)?,
        }
        let is_wrong = findings.iter().any(|finding| finding.grade >= Grade::AtRisk);
        Ok(if is_wrong { Exit::Finding } else { Exit::Success })
    }
}

fn read_domain(text: &str) -> anyhow::Result<String> {
    let name = Name::parse(text).ok().with_context(|| format!("{text:?} is no domain"))?;
    Ok(normalise_domain(name.as_str()))
}

/// All findings, the worst first.
pub(super) fn findings(domains: &[DomainReport]) -> Vec<Finding> {
    let mut all: Vec<Finding> = domains.iter().flat_map(judge).collect();
    all.sort_by_key(|finding| (std::cmp::Reverse(finding.grade), finding.code));
    all
}

impl Shown {
    /// The domains, or only one and those below it.
    pub(super) fn domains(&self, setup: &Setup, only: Option<&str>) -> Vec<DomainReport> {
        let mut domains = self.tally.domains(setup);
        domains.retain(|one| {
            only.is_none_or(|only| {
                one.domain.strip_suffix(only).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
        });
        domains
    }

    pub(super) fn json(&self, domains: &[DomainReport], findings: &[Finding]) -> Value {
        json!({
            "since": self.since.map(|since| since.to_string()),
            "reports": self.tally.reports(),
            "broken": self.broken,
            "not_kept": self.gone,
            "cut": self.cut,
            "domains": domains,
            "others": self.tally.others(),
            "findings": findings,
        })
    }

    pub(super) fn text(
        &self,
        domains: &[DomainReport],
        findings: &[Finding],
        limit: usize,
        out: &mut impl Write,
    ) -> io::Result<()> {
        write!(out, "{}", count(self.tally.reports() as u64, "report"))?;
        if let Some(since) = self.since {
            write!(out, " since {since}")?;
        }
        if self.broken > 0 {
            write!(out, ", {} that can't be read (`relaywatch reports list` says why)", self.broken)?;
        }
        if self.gone > 0 {
            write!(out, ", {} not kept", self.gone)?;
        }
        writeln!(out)?;
        if self.cut {
            writeln!(out, "older ones are left out: only the latest {} are looked at", journal::MAX_ENTRIES)?;
        }
        if domains.is_empty() {
            return writeln!(out, "no mail with such a From domain");
        }
        writeln!(out)?;
        for domain in domains {
            told_domain(domain, limit, out)?;
        }
        let others = self.tally.others();
        if others.messages > 0 {
            writeln!(out, "{} of further domains and addresses\n", count(others.messages, "message"))?;
        }
        if findings.is_empty() {
            return writeln!(out, "Nothing is wrong.");
        }
        writeln!(out, "{}, the worst first\n", count(findings.len() as u64, "finding"))?;
        for (number, finding) in findings.iter().enumerate() {
            told_finding(number + 1, finding, out)?;
        }
        Ok(())
    }
}

fn told_domain(domain: &DomainReport, limit: usize, out: &mut impl Write) -> io::Result<()> {
    let sources = match domain.sources.as_slice() {
        [] => "no declared source".to_owned(),
        // The local part of an address is nobody's business here.
        names => match names.iter().filter(|name| name.contains('@')).count() {
            0 => "a declared source".to_owned(),
            number if number == names.len() => format!("{} of it declared as sources", count(number as u64, "address")),
            _ => "a declared source, with addresses of it".to_owned(),
        },
    };
    writeln!(out, "{}: {sources}", Safe(&domain.domain))?;
    writeln!(
        out,
        "  {:<24}  {:<12}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  done",
        "address", "known as", "messages", "by SPF", "by DKIM", "by both", "by none"
    )?;
    for row in domain.senders.iter().take(limit) {
        let known = match &row.sender {
            Sender::Declared(provider) => provider.as_str(),
            Sender::Authorised => "by its SPF",
            Sender::Unknown => "unknown",
        };
        told_row(&row.address.to_string(), known, &row.counts, out)?;
    }
    let rest = domain.senders.iter().skip(limit);
    let more = rest.clone().count() as u64;
    if more > 0 {
        let messages = rest.fold(0, |sum: u64, row| sum.saturating_add(row.counts.messages));
        let (addresses, messages) = (count(more, "more address"), count(messages, "message"));
        writeln!(out, "  {addresses} with {messages} (--limit shows them)")?;
    }
    told_row("all", "", &domain.counts, out)?;
    writeln!(out)
}

fn told_row(address: &str, known: &str, counts: &Counts, out: &mut impl Write) -> io::Result<()> {
    let mut done: Vec<String> =
        counts.dispositions.iter().map(|(disposition, number)| format!("{disposition} {number}")).collect();
    done.extend(counts.overrides.iter().map(|(why, number)| format!("{why} {number}")));
    if counts.unknown > 0 {
        done.push(format!("not told {}", counts.unknown));
    }
    writeln!(
        out,
        "  {:<24}  {:<12}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {}",
        address,
        known,
        counts.messages,
        counts.spf,
        counts.dkim,
        counts.both,
        counts.none,
        done.join(", ")
    )
}
