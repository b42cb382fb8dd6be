//! The audit: is each stream carried by a registered source, by which path, and what is wrong.
//!
//! Pure and without I/O. [`audit`] judges on what is known; while something is missing it gives the questions, all that can be
//! asked at once, and is called again with their answers:
//!
//! ```
//! use relaywatch::{
//!     model::{Provider, Timestamp},
//!     sources::{
//!         answer::{Answer, Outcome},
//!         audit::{Setup, Step, Stream, audit},
//!         spf::Known,
//!     },
//! };
//!
//! let setup = Setup { teams: Vec::new(), streams: vec![Stream::new(Provider::Mailgun, "news.example.com")] };
//! let mut known = Known::default();
//! let audit = loop {
//!     match audit(&setup, Timestamp::EPOCH, &known) {
//!         Step::Done(audit) => break audit,
//!         // Here somebody asks DNS.
//!         Step::Need(questions) => {
//!             for question in questions {
//!                 known.insert(question, Answer::of(Outcome::NoData));
//!             }
//!         }
//!     }
//! };
//! assert_eq!(audit.streams.len(), 1);
//! ```
//!
//! For a command: [`Setup`] says what is declared and observed, [`Audit::findings`] lists what to tell, worst first, each with its
//! fix; [`Audit::worst`] is for the exit code; [`StreamVerdict`] and [`SourceVerdict`] are the tables. All of them serialise.
//!
//! A resolver's trouble makes a verdict "unknown" and is a finding of its own, never "deleted". Left out: DNSSEC beyond bogus
//! answers, MTA-STS, TLS-RPT, BIMI; Apple's rule asks for none of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::Timestamp;

use super::{
    answer::Question,
    apple_rule::{Inventory, Registered},
    asking::Asking,
    finding::{DnsRecord, Finding, FindingCode, Grade},
    spf::Answers,
};

mod addresses;
mod inventory;
mod setup;
mod spf_view;
mod stream;

pub use inventory::SourceVerdict;
pub use setup::{Selector, Setup, Stream};
pub use spf_view::{Checked, SpfView};
pub use stream::{Carrier, DmarcVerdict, Path, StreamVerdict};

/// The most steps that need something. The longest way: the provider's tree of includes to its end, then the check of the last
/// sampled address through ten look-ups of two questions each, then what a missing record asks for, then the records that may be
/// offered, each like a check.
pub const MAX_STEPS: usize = 128;

/// How far an audit is.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It is done.
    Done(Audit),
    /// These are to be answered, each once, at least one.
    Need(Vec<Question>),
}

/// What came of an audit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// One verdict a stream, in the order of the set-up.
    pub streams: Vec<StreamVerdict>,
    /// One a registered name, by name.
    pub sources: Vec<SourceVerdict>,
    /// What is wrong with the inventory and its sources, beside the findings of the streams.
    pub own_findings: Vec<Finding>,
}

impl Audit {
    /// All findings, of streams and sources: the worst first, each once at the worst grade that it has anywhere.
    #[must_use]
    pub fn findings(&self) -> Vec<&Finding> {
        let mut merged: BTreeMap<(FindingCode, &str, &str), &Finding> = BTreeMap::new();
        for finding in self.streams.iter().flat_map(|stream| &stream.findings).chain(&self.own_findings) {
            let key = (finding.code, finding.about.as_str(), finding.what.as_str());
            let kept = merged.entry(key).or_insert(finding);
            let rank = |one: &Finding| (one.grade, one.fix.record.is_some());
            if rank(finding) > rank(kept) {
                *kept = finding;
            }
        }
        let mut all: Vec<&Finding> = merged.into_values().collect();
        all.sort_by_key(|finding| (std::cmp::Reverse(finding.grade), finding.code));
        all
    }

    /// The worst grade of all findings; `None` without any.
    #[must_use]
    pub fn worst(&self) -> Option<Grade> {
        self.streams.iter().flat_map(|stream| &stream.findings).chain(&self.own_findings).map(|one| one.grade).max()
    }
}

/// Audits what is declared and observed, given what DNS said.
#[must_use]
pub fn audit(setup: &Setup, now: Timestamp, answers: &impl Answers) -> Step {
    let asking = Asking::new(answers);
    let inventory = Inventory::new(setup.teams.clone(), now);
    let peers = stream::Peers::new(&setup.streams);
    let streams: Vec<Option<StreamVerdict>> =
        setup.streams.iter().map(|stream| stream::judge(stream, &peers, &inventory, &asking)).collect();
    let streams: Option<Vec<StreamVerdict>> = streams.into_iter().collect();
    // The sources' questions are told together with those of the streams.
    let sources = inventory::judge(&inventory, streams.as_deref(), &asking);
    let needed = asking.into_needed();
    match (streams, sources) {
        (Some(mut streams), Some((sources, mut own_findings))) if needed.is_empty() => {
            let findings = streams.iter_mut().flat_map(|stream| &mut stream.findings).chain(&mut own_findings);
            one_record_a_name(findings.collect());
            Step::Done(Audit { streams, sources, own_findings })
        }
        _ => Step::Need(needed),
    }
}

/// Leaves each name one record of a kind to publish, at the worst of its findings; none where they differ, since one would undo
/// what another mends.
fn one_record_a_name(mut findings: Vec<&mut Finding>) {
    // The first of the worst keeps the record.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.grade));
    let mut first: BTreeMap<(String, &'static str), (DnsRecord, FindingCode, String)> = BTreeMap::new();
    let mut differ = BTreeSet::new();
    for finding in &findings {
        let Some(record) = &finding.fix.record else { continue };
        let key = (record.name.clone(), record.kind);
        match first.get(&key) {
            Some((kept, ..)) if kept != record => {
                differ.insert(key);
            }
            Some(_) => {}
            None => {
                first.insert(key, (record.clone(), finding.code, finding.about.clone()));
            }
        }
    }
    let mut given = BTreeSet::new();
    for finding in findings {
        let Some(record) = finding.fix.record.take() else { continue };
        let key = (record.name.clone(), record.kind);
        if differ.contains(&key) {
            finding.fix.step = format!(
                "Several findings ask for different {} records at {}: make one record that does what all of them say.",
                record.kind, record.name
            );
        } else if given.insert(key.clone()) {
            finding.fix.record = Some(record);
        } else if let Some((_, code, about)) = first.get(&key) {
            finding.fix.step = format!("Publish the record that {code} of {about} gives; it mends this too.");
        }
    }
}

/// The text of a name that was given, short and printable, where it is none.
fn quoted(text: &str) -> String {
    super::finding::shown(text.as_bytes(), 60)
}

/// Reads a sender: a domain or an address.
fn sender(text: &str) -> Option<Registered> {
    Registered::parse(text)
}

#[cfg(test)]
mod tests;
