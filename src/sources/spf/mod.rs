//! SPF (RFC 7208, with RFC 8616 for addresses in other scripts), our own evaluator: pure, given answers.
//!
//! [`check`] runs on what is known and says either what came of it or what it needs to know, as many questions as can be asked
//! at once; whoever calls it asks them, keeps the answers and calls again. An answer that is not needed in the end changes
//! nothing: terms are judged in order, so that the result is that of asking one after the other.
//!
//! What the RFC leaves open is decided so:
//! - Void look-ups count terms (section 4.6.4 speaks of "terms"): the question of the term itself, not those for the hosts of
//!   an `mx` or a `ptr`. Otherwise a host with IPv4 only would be a permerror for clients with IPv6.
//! - A target that DNS cannot be asked for (an empty or a long label) does not match; for `include` and `redirect` it is a
//!   permerror (sections 4.3, 5.2, 6.1).
//! - More than ten mail exchanges are a permerror even where one of the first ten would match, so that the order of an answer
//!   decides nothing. Exchanges are tried by preference, then by name.
//! - `%{p}` counts with the term that it stands in. Of several validated names the domain itself is taken, then the least of
//!   those below it, then the least (section 7.3 leaves it open).
//! - Limits are met when a term is reached, not by the record as published; [`survey()`] counts the latter, [`lint()`] what one
//!   record has by itself.

mod answers;
mod evaluate;
mod lint;
mod macros;
mod mistake;
mod parse;
mod record;
mod suggest;
mod survey;
mod verdict;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::{model::Timestamp, sources::answer::Question};

pub use answers::{Answers, Known};
pub use lint::{Finding, FindingKind, Lint, Severity, lint};
pub use mistake::{Mistake, MistakeKind, NoExplanation};
pub use record::{DomainSpec, Hosts, Mechanism, Policy, Qualifier, Selection, Term, TermKind, is_record};
pub use survey::{Below, MAX_RECORDS, Survey, SurveyStep, survey};
pub use verdict::{Fault, Looked, Reason, SpfResult, TermOutcome, Tried, Verdict, Visit};

/// How many terms of one check may ask DNS (RFC 7208 section 4.6.4).
pub const MAX_LOOKUPS: u32 = 10;
/// How many of them may find nothing (the same section).
pub const MAX_VOIDS: u32 = 2;
/// How many hosts of one `mx`, `ptr` or `%{p}` are looked up (the same section).
pub const MAX_HOSTS: usize = 10;
/// The most questions that one step names: those of one term, and a little more.
pub const MAX_AT_ONCE: usize = 12;
/// The most steps that need something: the record; two for each term that counts, as for `%{p}`; the explanation. Whoever has
/// answered so often and is asked again may give up; it cannot happen.
pub const MAX_STEPS: u32 = 1 + 2 * MAX_LOOKUPS + 2 + 1;

/// Who sends what: the parameters of `check_host()` (section 4.1) and those of macros.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The client's address; an IPv4 address in IPv6's clothes is one of IPv4 (section 5).
    pub ip: IpAddr,
    /// The envelope sender; where it is empty, `postmaster` at the HELO name is checked (section 2.4).
    pub mail_from: &'a str,
    /// The HELO or EHLO name.
    pub helo: &'a str,
    /// The host that checks, for `%{r}`; may be empty.
    pub receiver: &'a str,
    /// The time for `%{t}`.
    pub at: Option<Timestamp>,
}

/// How far a check is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is done.
    Done(Box<Verdict>),
    /// These are to be answered, the first of them certainly, the others unless an earlier answer decides: at least one, at most
    /// [`MAX_AT_ONCE`], each once.
    Need(Vec<Question>),
}

/// Checks whether a client may send for a domain.
///
/// Needs at most [`MAX_STEPS`] steps where each step's questions are answered before the next.
#[must_use]
pub fn check(query: &Query<'_>, answers: &impl Answers) -> Step {
    evaluate::check(query, answers)
}
