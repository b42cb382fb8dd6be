//! What a change costs: the audit of what was known beside the audit of what is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::{
    answer::{Kind, Name, Question},
    apple_rule::{PathVerdict, UnknownReason},
    audit::{Audit, Path, StreamVerdict},
    finding::{Finding, FindingCode, Grade},
    spf::{Answers, SurveyStep, survey},
};

/// How a domain's SPF has come to ask more of DNS, and by which records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// Whose record.
    pub domain: String,
    /// The look-ups before, those of all terms together.
    pub before: u32,
    /// The look-ups now; ten are allowed (RFC 7208 section 4.6.4).
    pub after: u32,
    /// The changed records that ask more than before: name, look-ups before and now, its own and those below it.
    pub by: Vec<(String, u32, u32)>,
}

/// What changes of DNS have cost, or mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// How much they cost: what is worst.
    pub grade: Grade,
    /// The streams that were taken by Apple's rule and are not any more, by their place in the set-up.
    pub lost: Vec<usize>,
    /// What is wrong now and was not, or not so badly.
    pub appeared: Vec<Finding>,
    /// What was wrong and no longer is.
    pub gone: Vec<Finding>,
    /// Where SPF asks more of DNS.
    pub growth: Vec<Growth>,
}

/// What is the same finding before and after a change: its texts may tell numbers that differ.
pub(super) type Key = (FindingCode, String);

pub(super) fn key(finding: &Finding) -> Key {
    (finding.code, finding.about.clone())
}

/// The findings of an audit, each once at the worst grade that it has anywhere.
pub(super) fn by_key<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> BTreeMap<Key, &'a Finding> {
    let mut all: BTreeMap<Key, &Finding> = BTreeMap::new();
    for finding in findings {
        let kept = all.entry(key(finding)).or_insert(finding);
        if finding.grade > kept.grade {
            *kept = finding;
        }
    }
    all
}

impl Drift {
    /// Compares two audits of the same set-up at the same time, one of what was known and one of what is, and the answers behind
    /// them at the questions that changed.
    pub(super) fn between(
        before: (&Audit, &impl Answers),
        after: (&Audit, &impl Answers),
        changed: &[&Question],
    ) -> Self {
        let (old, new) = (before.0.findings(), after.0.findings());
        let (old, new) = (by_key(old), by_key(new));
        let worse = |(key, finding): &(&Key, &&Finding)| old.get(*key).is_none_or(|known| known.grade < finding.grade);
        let appeared: Vec<Finding> = new.iter().filter(worse).map(|(_, finding)| (*finding).clone()).collect();
        let gone =
            old.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(_, finding)| (*finding).clone()).collect();
        let pairs = || before.0.streams.iter().zip(&after.0.streams);
        let lost: Vec<usize> =
            pairs().enumerate().filter(|(_, (old, new))| is_lost(old, new)).map(|(index, _)| index).collect();
        let weaker = pairs().any(|(old, new)| strength(new.path) < strength(old.path));
        let mut grade = appeared.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Notable);
        if weaker {
            grade = grade.max(Grade::AtRisk);
        }
        if !lost.is_empty() {
            grade = Grade::Fatal;
        }
        Self { grade, lost, appeared, gone, growth: growth(before, after, changed) }
    }
}

/// Whether Apple's rule took a stream and no longer does: a path that carried it fails, and no other is known to carry it. What
/// DNS has not told yet may still carry it.
fn is_lost(before: &StreamVerdict, after: &StreamVerdict) -> bool {
    let paths = [(before.apple.spf, after.apple.spf), (before.apple.dkim, after.apple.dkim)];
    let failed = paths.iter().any(|(then, now)| *then == PathVerdict::Pass && matches!(now, PathVerdict::Fail(_)));
    let open = paths.iter().any(|(_, now)| *now == PathVerdict::Unknown(UnknownReason::Dns));
    before.apple.overall == PathVerdict::Pass && after.apple.overall != PathVerdict::Pass && failed && !open
}

/// How many paths carry a stream.
const fn strength(path: Path) -> u8 {
    match path {
        Path::None | Path::Unknown => 0,
        Path::Spf | Path::Dkim => 1,
        Path::Both => 2,
    }
}

/// The streams' domains whose SPF asks more than before, each once.
fn growth(
    (before, old): (&Audit, &impl Answers),
    (after, new): (&Audit, &impl Answers),
    changed: &[&Question],
) -> Vec<Growth> {
    let mut all: BTreeMap<&Name, Growth> = BTreeMap::new();
    for (then, now) in before.streams.iter().zip(&after.streams) {
        let (Some(then), Some(now)) = (&then.spf, &now.spf) else { continue };
        if now.static_lookups <= then.static_lookups || all.contains_key(&now.domain) {
            continue;
        }
        let mut by: Vec<(String, u32, u32)> = changed
            .iter()
            .filter(|question| question.kind == Kind::Txt)
            .filter_map(|question| {
                let (then, now) = (lookups(&question.name, old)?, lookups(&question.name, new)?);
                (now > then).then(|| (question.name.to_string(), then, now))
            })
            .collect();
        by.sort_unstable_by_key(|(_, then, now)| std::cmp::Reverse(now - then));
        let growth =
            Growth { domain: now.domain.to_string(), before: then.static_lookups, after: now.static_lookups, by };
        all.insert(&now.domain, growth);
    }
    all.into_values().collect()
}

/// What a record and those below it ask of DNS; `None` where not all of them are known.
fn lookups(domain: &Name, answers: &impl Answers) -> Option<u32> {
    match survey(domain, answers) {
        SurveyStep::Done(survey) => Some(survey.lookups),
        SurveyStep::Need(_) => None,
    }
}
