//! What the watch says: entries of the journal, as JSON with stable names, and what a page is made of.

use serde::{Deserialize, Serialize};

use super::{
    super::{
        answer::Question,
        finding::{Finding, FindingCode, Fix, Grade},
    },
    Fact, Growth, Standing, Vantage,
};
use crate::model::Timestamp;

/// A record as it was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The question, as `TXT of example.com`.
    pub question: String,
    /// Which vantage point decided: the zone's own servers, or the resolvers alone.
    pub vantage: Vantage,
    /// What was known; nothing with the first observation.
    pub before: Option<Fact>,
    /// What is known; its state is the outcome.
    pub after: Fact,
    /// How much the change costs, together with those that were found with it; nothing with the first observation.
    pub grade: Option<Grade>,
    /// The From and envelope domains of the streams that depend on it.
    pub domains: Vec<String>,
    /// Where SPF asks more of DNS since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub growth: Vec<Growth>,
    /// Whether it turns back and forth.
    #[serde(default)]
    pub unstable: bool,
}

impl Record {
    /// Whether it changed what was known.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        self.before.is_some()
    }

    /// What happened, for people, in one line.
    #[must_use]
    pub fn says(&self, max: usize) -> String {
        let before = self.before.as_ref().map_or_else(|| "not known".to_owned(), |fact| fact.shown(max));
        format!("{}: {before} → {}", self.question, self.after.shown(max))
    }
}

/// Fitness that was lost by changes of DNS, told as one page a From domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The From domain, or the name that the finding is about where no stream is lost.
    pub domain: String,
    /// Since when.
    pub since: Timestamp,
    /// The streams that are lost, by their names.
    pub streams: Vec<String>,
    /// The fatal findings, each as `code name`.
    pub findings: Vec<String>,
    /// When the last page about it was made, which makes that page the same one.
    pub told_at: Timestamp,
    /// Whether it is over.
    #[serde(default)]
    pub over: bool,
}

/// What is wrong with how DNS answers a question, beside what the audit finds in its answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What it is.
    pub code: FindingCode,
    /// The question, as `TXT of example.com`.
    pub question: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether it is over.
    #[serde(default)]
    pub over: bool,
}

impl Condition {
    /// The same as a finding.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let (question, since) = (&self.question, self.since);
        let name = question.split_once(" of ").map_or(question.as_str(), |(_, name)| name);
        let (what, step) = match self.code {
            FindingCode::DnsUnstable => (
                format!("{question} turns back and forth since {since}"),
                "Look who else writes to the zone, and whether all its servers have one version.",
            ),
            FindingCode::DnsServersDisagree => (
                format!("the zone's name servers contradict each other about {question} since {since}"),
                "Compare the serial numbers of the zone's servers; one of them is not updated.",
            ),
            FindingCode::DnsResolverDiffers => (
                format!("the resolver says otherwise of {question} than the zone's own servers since {since}"),
                "Ask another resolver; if that one agrees with the zone, mend or replace this one.",
            ),
            _ => (
                format!("{question} is bogus by DNSSEC since {since}"),
                "Mend DNSSEC of the zone: its signatures or the DS record of its parent.",
            ),
        };
        Finding::new(self.code, name, what, Fix::step(step))
    }
}

/// One entry of the journal. In an order for replays: what a later one says of the same [`Observation::about`] counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Observation {
    /// A record, first seen or changed.
    Record(Record),
    /// How a source or stream stands.
    Standing {
        /// How it stands now.
        #[serde(flatten)]
        standing: Standing,
        /// Whether it is watched no more.
        #[serde(default)]
        gone: bool,
    },
    /// Fitness that was lost, or has come back.
    Trouble(Trouble),
    /// What is wrong with how DNS answers, or no longer is.
    Condition(Condition),
}

impl Observation {
    /// What it is about: the projection keeps the last of each.
    #[must_use]
    pub fn about(&self) -> String {
        match self {
            Self::Record(record) => format!("record {}", record.question),
            Self::Standing { standing, .. } => standing.subject.to_string(),
            Self::Trouble(trouble) => format!("trouble {}", trouble.domain),
            Self::Condition(condition) => format!("condition {} {}", condition.code, condition.question),
        }
    }

    /// The question of a record.
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        if let Self::Record(record) = self { Question::of_text(&record.question) } else { None }
    }
}

/// What somebody is to be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The trouble as it is known now.
    pub trouble: Trouble,
    /// What changed; nothing where it is over.
    pub changes: Vec<Record>,
    /// What is wrong, the worst first, with what to publish.
    pub findings: Vec<Finding>,
}
