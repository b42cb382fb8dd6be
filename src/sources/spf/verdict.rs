//! What came of a check: the result, and the tree of what was looked up by which term.

use std::{fmt, ops::Range, sync::Arc};

use crate::sources::answer::{Name, Question, Seen};

use super::{
    mistake::{MistakeKind, NoExplanation},
    record::{Policy, Qualifier},
};

/// The results of RFC 7208 section 2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpfResult {
    /// There is no record, or no domain to look one up for.
    None,
    /// The domain makes no assertion.
    Neutral,
    /// The address may send for the domain.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// DNS did not answer; another try may say more.
    TempError,
    /// What is published cannot be understood.
    PermError,
}

impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}

impl serde::Serialize for SpfResult {
    /// The word of the RFC.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Qualifier> for SpfResult {
    fn from(qualifier: Qualifier) -> Self {
        match qualifier {
            Qualifier::Pass => Self::Pass,
            Qualifier::Fail => Self::Fail,
            Qualifier::SoftFail => Self::SoftFail,
            Qualifier::Neutral => Self::Neutral,
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The result.
    pub result: SpfResult,
    /// What the domain says about a `fail` (section 6.2), printable US-ASCII; it is the domain's word, not ours. `None`
    /// elsewhere and where the domain gives none.
    pub explanation: Option<String>,
    /// Why an `exp` gave no explanation.
    pub no_explanation: Option<NoExplanation>,
    /// What went wrong, in a temperror, a permerror and, where there is no domain to ask for, a none.
    pub fault: Option<Fault>,
    /// The terms that counted towards the limit of ten.
    pub lookups: u32,
    /// The terms whose question found nothing, which may be two.
    pub voids: u32,
    /// What was looked up; `None` where nothing was.
    pub tree: Option<Visit>,
}

/// One record that was evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Whose record.
    pub domain: Name,
    /// What came of the question for it.
    pub seen: Seen,
    /// The record; `None` where there is none or there are several.
    pub policy: Option<Arc<Policy>>,
    /// The terms that asked DNS, and the one that decided, in order. Terms that ask nothing and do not match are left out, so that
    /// the tree is as small as its look-ups, whatever a record holds.
    pub tried: Vec<Tried>,
    /// What came of it.
    pub result: SpfResult,
}

impl Visit {
    /// The record whose directive decided, through redirects.
    #[must_use]
    pub fn decider(&self) -> &Self {
        match self.tried.last() {
            Some(Tried { child: Some(child), outcome: TermOutcome::Redirected, .. }) => child.decider(),
            _ => self,
        }
    }
}

/// One term that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Its place in [`Policy::terms()`].
    pub term: usize,
    /// The domain that it asked for, its macros expanded; `None` where it asks for none or no name came of them.
    pub target: Option<Name>,
    /// What it asked.
    pub looked: Vec<Looked>,
    /// Whether it counts towards the limit of ten.
    pub counts: bool,
    /// Whether its question found nothing: no data or no such domain (section 4.6.4).
    pub void: bool,
    /// The look-ups that counted, its own and those of the record below it.
    pub lookups: u32,
    /// The void ones among them.
    pub voids: u32,
    /// What came of it.
    pub outcome: TermOutcome,
    /// The record that it led to.
    pub child: Option<Box<Visit>>,
}

/// What came of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TermOutcome {
    /// It matched, and so decided.
    Matched,
    /// It did not match.
    NotMatched,
    /// Another record decided in place of this one.
    Redirected,
    /// It ended the check with an error.
    Error,
}

/// One question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The question.
    pub question: Question,
    /// What came of it.
    pub seen: Seen,
}

/// What went wrong, and where exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The domain whose record it is.
    pub domain: Option<Name>,
    /// The record, where there is one.
    pub policy: Option<Arc<Policy>>,
    /// The bytes of the record, where it lies in one.
    pub span: Option<Range<usize>>,
    /// What.
    pub reason: Reason,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The sender's domain is none that DNS can be asked for, or has one label only (section 4.3).
    NoDomain,
    /// The first mistake in the record's syntax.
    Mistake(MistakeKind),
    /// So many records at one name (section 4.5).
    SeveralRecords(usize),
    /// `include` or `redirect` leads to a domain without a record.
    NoRecord(Name),
    /// `include` or `redirect` leads to what is no domain name.
    NoTarget,
    /// More terms than ten that ask DNS.
    TooManyLookups,
    /// More terms than two that found nothing.
    TooManyVoids,
    /// More mail exchanges than ten: so many.
    TooManyExchanges(usize),
    /// DNS did not answer.
    Dns(Question, Seen),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDomain => f.write_str("there is no domain to look up a record for"),
            Self::Mistake(kind) => kind.fmt(f),
            Self::SeveralRecords(records) => write!(f, "{records} SPF records at one name; there may be one"),
            Self::NoRecord(name) => write!(f, "{name} has no SPF record"),
            Self::NoTarget => f.write_str("it leads to what is no domain name"),
            Self::TooManyLookups => write!(f, "more than {} terms that ask DNS", super::MAX_LOOKUPS),
            Self::TooManyVoids => write!(f, "more than {} terms whose question found nothing", super::MAX_VOIDS),
            Self::TooManyExchanges(exchanges) => {
                write!(f, "{exchanges} mail exchanges; {} may be looked up", super::MAX_HOSTS)
            }
            Self::Dns(question, seen) => write!(f, "{question}: {seen}"),
        }
    }
}
