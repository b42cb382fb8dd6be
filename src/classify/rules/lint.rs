//! What can be wrong with rules that load: a rule that rots unseen.

use super::{Facts, Rule, Rules, file::Sample};
use crate::{
    classify::{Parties, context, template},
    model::{Address, RelayDomains},
};

/// One thing that is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFinding {
    /// The rule, as `file/name`.
    pub rule: String,
    /// What is wrong.
    pub problem: LintProblem,
}

/// What can be wrong with a rule that loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LintProblem {
    /// It names no source.
    NoSource,
    /// It ships no sample that it must match.
    NoSamples,
    /// It ships no near miss that it must not match.
    NoNearMisses,
    /// Another rule of the same file has its name.
    DuplicateName,
    /// It does not match its own sample (the number counts from 1).
    SampleNotMatched(usize),
    /// An earlier rule takes its sample (the number counts from 1).
    SampleTaken(usize, String),
    /// It matches its near miss (the number counts from 1).
    NearMissMatched(usize),
    /// A sample has an address that can't be read (the number counts from 1, near misses after samples).
    SampleUnreadable(usize),
    /// An earlier rule holds wherever this one does.
    Unreachable(String),
    /// One of its phrases is in another one of its own, which therefore adds nothing: the longer, the shorter.
    Redundant(String, String),
    /// An earlier rule with another cause has one of its phrases, and nothing tells the two apart but their order.
    Overlaps(String, String),
}

impl std::fmt::Display for LintFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rule, problem } = self;
        match problem {
            LintProblem::NoSource => write!(f, "{rule}: say in `doc` where the text comes from"),
            LintProblem::NoSamples => write!(f, "{rule}: add a sample that the rule must match"),
            LintProblem::NoNearMisses => write!(f, "{rule}: add a near miss that the rule must not match"),
            LintProblem::DuplicateName => write!(f, "{rule}: two rules have this name; rename one"),
            LintProblem::SampleNotMatched(n) => write!(f, "{rule}: does not match its own sample {n}"),
            LintProblem::SampleTaken(n, by) => write!(f, "{rule}: sample {n} is taken by {by}, which is asked earlier"),
            LintProblem::NearMissMatched(n) => write!(f, "{rule}: matches its near miss {n}"),
            LintProblem::SampleUnreadable(n) => write!(f, "{rule}: sample {n} has an address that can't be read"),
            LintProblem::Unreachable(by) => write!(f, "{rule}: can't be reached, since {by} holds wherever it does"),
            LintProblem::Redundant(long, short) => {
                write!(f, "{rule}: remove the phrase {long:?}, which holds {short:?} of the same rule")
            }
            LintProblem::Overlaps(by, phrase) => write!(
                f,
                "{rule}: the phrase {phrase:?} is also that of {by}, which is asked earlier and has another cause; remove it from one, or tell them apart by a condition"
            ),
        }
    }
}

impl Rules {
    /// Looks for rules that rot unseen: samples that their rule does not win, near misses that it does match, names used
    /// twice, rules that an earlier one covers.
    #[must_use]
    pub fn lint(&self) -> Vec<LintFinding> {
        let mut findings = Vec::new();
        let relay = RelayDomains::default();
        for (at, rule) in self.ordered.iter().enumerate() {
            let mut found = |problem| findings.push(LintFinding { rule: rule.id.clone(), problem });
            let earlier = self.ordered.get(..at).unwrap_or_default();
            if earlier.iter().any(|other| other.id == rule.id) {
                found(LintProblem::DuplicateName);
            }
            if let Some(other) = earlier.iter().find(|other| other.covers(rule)) {
                found(LintProblem::Unreachable(other.id.clone()));
            }
            if let Some((long, short)) = rule.redundant() {
                found(LintProblem::Redundant(long.to_owned(), short.to_owned()));
            }
            for other in earlier.iter().filter(|other| other.raw.cause != rule.raw.cause) {
                if let Some(phrase) = rule.overlap(other) {
                    found(LintProblem::Overlaps(other.id.clone(), phrase.to_owned()));
                }
            }
            if rule.raw.doc.trim().is_empty() {
                found(LintProblem::NoSource);
            }
            if rule.raw.samples.is_empty() {
                found(LintProblem::NoSamples);
            }
            if rule.raw.near_misses.is_empty() {
                found(LintProblem::NoNearMisses);
            }
            for (n, sample) in rule.raw.samples.iter().enumerate() {
                let problem = match self.try_sample(at, sample, &relay) {
                    None => LintProblem::SampleUnreadable(n + 1),
                    Some((true, winner)) if winner == Some(at) => continue,
                    Some((true, winner)) => {
                        let by = winner.and_then(|winner| self.ordered.get(winner));
                        LintProblem::SampleTaken(n + 1, by.map(|by| by.id.clone()).unwrap_or_default())
                    }
                    Some((false, _)) => LintProblem::SampleNotMatched(n + 1),
                };
                found(problem);
            }
            for (n, sample) in rule.raw.near_misses.iter().enumerate() {
                match self.try_sample(at, sample, &relay) {
                    None => found(LintProblem::SampleUnreadable(rule.raw.samples.len() + n + 1)),
                    Some((true, _)) => found(LintProblem::NearMissMatched(n + 1)),
                    Some((false, _)) => {}
                }
            }
        }
        findings
    }

    /// Whether the rule by itself holds for the sample, and which rule wins; `None` where an address can't be read.
    fn try_sample(&self, at: usize, sample: &Sample, relay: &RelayDomains) -> Option<(bool, Option<usize>)> {
        let read = |text: &Option<String>| text.as_deref().map(Address::parse).transpose().ok();
        let (recipient, sender) = (read(&sample.recipient)?, read(&sample.sender)?);
        let parties =
            Parties { recipient: recipient.as_ref(), envelope_sender: sender.as_ref(), ..Parties::unknown(relay) };
        let template = template(&sample.text, &parties);
        let context = context(sample.provider, recipient.as_ref(), sample.mx.as_deref(), relay);
        let label = sample.label.as_deref();
        let facts = Facts { label, ..Facts::read(template.as_str(), &context) };
        let seen = self.phrases.find(&facts);
        let holds = self.ordered.get(at).is_some_and(|rule| rule.holds(&facts) && rule.says(&seen));
        Some((holds, self.winner(&facts).map(|(winner, _)| winner)))
    }
}

impl Rule {
    /// A phrase of the wording that holds another one of it: the longer and the shorter.
    fn redundant(&self) -> Option<(&str, &str)> {
        if self.whole {
            return None;
        }
        let wording = &self.raw.wording;
        wording.iter().enumerate().find_map(|(at, long)| {
            let short = wording.iter().enumerate().find(|(other, short)| *other != at && contains_words(long, short));
            short.map(|(_, short)| (long.as_str(), short.as_str()))
        })
    }

    /// A phrase of the wording that an earlier rule has too, where the conditions of both can hold of the same reply and
    /// neither has further words to tell them apart.
    fn overlap(&self, earlier: &Self) -> Option<&str> {
        fn meet<T: PartialEq>(a: &[T], b: &[T]) -> bool {
            a.is_empty() || b.is_empty() || a.iter().any(|item| b.contains(item))
        }
        /// Whether the earlier one is the more special of the two: then their order is meant.
        fn special<T: PartialEq>(later: &[T], earlier: &[T]) -> bool {
            !earlier.is_empty() && (later.is_empty() || later.iter().any(|item| !earlier.contains(item)))
        }
        let (a, b) = (&self.raw, &earlier.raw);
        if special(&a.role, &b.role)
            || special(&a.receiver, &b.receiver)
            || special(&a.mx, &b.mx)
            || special(&a.destination, &b.destination)
            || special(&a.provider, &b.provider)
        {
            return None;
        }
        let words = |rule: &Self| !rule.raw.all.is_empty() || !rule.raw.not.is_empty() || rule.whole;
        let together = meet(&a.role, &b.role)
            && meet(&a.receiver, &b.receiver)
            && meet(&a.mx, &b.mx)
            && meet(&a.destination, &b.destination)
            && meet(&a.provider, &b.provider)
            && (a.enhanced.is_empty() == b.enhanced.is_empty())
            && (a.code.is_empty() == b.code.is_empty())
            && !words(earlier);
        if !together {
            return None;
        }
        a.wording.iter().find(|phrase| b.wording.iter().any(|short| contains_words(phrase, short))).map(String::as_str)
    }

    /// Whether this rule holds wherever the other does.
    fn covers(&self, other: &Self) -> bool {
        fn wider<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
            wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|item| wide.contains(item)))
        }
        let (a, b) = (&self.raw, &other.raw);
        let worded = a.wording.is_empty()
            || !b.wording.is_empty()
                && b.wording.iter().all(|narrow| {
                    a.wording
                        .iter()
                        .any(|wide| if a.whole { b.whole && wide == narrow } else { contains_words(narrow, wide) })
                });
        let all = a.all.iter().all(|phrase| b.all.iter().any(|narrow| contains_words(narrow, phrase)));
        worded
            && all
            && a.not.is_empty()
            && wider(&a.role, &b.role)
            && wider(&a.receiver, &b.receiver)
            && wider(&a.mx, &b.mx)
            && wider(&a.destination, &b.destination)
            && wider(&a.provider, &b.provider)
            && wider(&a.enhanced, &b.enhanced)
            && wider(&a.code, &b.code)
            && wider(&a.label, &b.label)
    }
}

/// Whether a phrase holds another one as words of its own.
fn contains_words(text: &str, phrase: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(phrase).any(|(at, found)| {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + found.len()..).unwrap_or_default());
        let starts_inside = part(before.chars().next_back()) && part(found.chars().next());
        let ends_inside = part(after.chars().next()) && part(found.chars().next_back());
        !starts_inside && !ends_inside
    })
}
