//! What can be wrong with rules that load: a rule that rots unseen.

mod shapes;
mod words;

use std::collections::HashSet;

use serde::{Deserialize, de::IgnoredAny};
use toml::Spanned;

use super::{BUILT_IN, Facts, Rule, Rules, file::Sample, sources};
use crate::{
    classify::{Parties, context, template},
    model::{Address, RelayDomains},
};

/// One thing that is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFinding {
    /// The rule, as `file/name`.
    pub rule: String,
    /// Whether its file is a built-in one.
    pub built_in: bool,
    /// The line in its file, from 1: that of the phrase or sample where it is about one, else that where the rule begins.
    pub line: usize,
    /// What is wrong.
    pub problem: LintProblem,
    /// Whether nothing is wrong: a rule of the operator's own decides before a built-in one, as own rules are meant to.
    pub note: bool,
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
    /// It does not match its own sample (the number counts from 1): why not, and the sample's template.
    SampleNotMatched(usize, String, String),
    /// An earlier rule takes its sample (the number counts from 1).
    SampleTaken(usize, String),
    /// Its sample (the number counts from 1) stands above already: in which rule.
    SampleRepeated(usize, String),
    /// It matches its near miss (the number counts from 1): by which phrase, and the near miss's template.
    NearMissMatched(usize, Option<String>, String),
    /// A sample has an address that can't be read (the number counts from 1, near misses after samples).
    SampleUnreadable(usize),
    /// No template holds one of its phrases: the phrase, and what a template has in its place.
    NeverInTemplate(String, String),
    /// One of its phrases has a placeholder that is none: the phrase, the placeholder, the one that was meant.
    NoPlaceholder(String, String, Option<&'static str>),
    /// Its conditions contradict each other.
    Impossible,
    /// Earlier rules hold wherever this one does.
    Unreachable(String),
    /// One of its phrases never decides, since earlier rules hold wherever it stands: the phrase, the rules.
    DeadPhrase(String, String),
    /// One of its phrases never decides, since it holds one of the rule's own `not`: the phrase, that of `not`.
    Contradicted(String, String),
    /// One of its phrases is in another one of its own, which therefore adds nothing: the longer, the shorter.
    Redundant(String, String),
    /// Where a text has one of its phrases and nothing more, earlier rules with another cause take it, and none of its
    /// samples shows what it is for: the rules, the phrase.
    Overlaps(String, String),
}

impl LintFinding {
    /// The file's name, without `.toml`.
    #[must_use]
    pub fn file(&self) -> &str {
        self.rule.split_once('/').map_or(self.rule.as_str(), |(file, _)| file)
    }
}

impl LintProblem {
    /// The rules that decide in this one's place, in one text.
    fn by(&self) -> Option<&str> {
        match self {
            Self::SampleTaken(_, by) | Self::Unreachable(by) | Self::DeadPhrase(_, by) | Self::Overlaps(by, _) => {
                Some(by)
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for LintFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rule, built_in, line, problem, note } = self;
        let note = if *note { "note: an own rule overrides " } else { "" };
        let built_in = if *built_in { "built-in " } else { "" };
        write!(f, "{note}{built_in}{}.toml, line {line}: {rule} {problem}", self.file())
    }
}

impl std::fmt::Display for LintProblem {
    /// What is said of the rule after its name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSource => write!(f, "has no source: say in `doc` where the text comes from"),
            Self::NoSamples => write!(f, "has no sample: add one that it must match"),
            Self::NoNearMisses => write!(f, "has no near miss: add one that it must not match"),
            Self::SampleNotMatched(n, why, template) => {
                write!(f, "does not match its own sample {n}: {why}; its template is {template:?}")
            }
            Self::SampleTaken(n, by) => {
                write!(f, "does not win its sample {n}: {by} takes it, which is asked earlier")
            }
            Self::SampleRepeated(n, of) => write!(f, "repeats a sample of {of} as its sample {n}: remove one"),
            Self::NearMissMatched(n, Some(phrase), template) => {
                write!(f, "matches its near miss {n}, by {phrase:?}; its template is {template:?}")
            }
            Self::NearMissMatched(n, None, template) => {
                write!(f, "matches its near miss {n}; its template is {template:?}")
            }
            Self::SampleUnreadable(n) => write!(f, "has an address in its sample {n} that can't be read"),
            Self::NeverInTemplate(phrase, becomes) => {
                write!(f, "has a phrase that no template holds, {phrase:?}: there it is {becomes:?}; write it so")
            }
            Self::NoPlaceholder(phrase, placeholder, meant) => {
                write!(f, "has a phrase that no template holds, {phrase:?}: no placeholder is called {placeholder}")?;
                match meant {
                    Some(meant) => write!(f, "; did you mean {meant}?"),
                    None => write!(f, "; write one of {}", template::ROLES.join(" ")),
                }
            }
            Self::Impossible => write!(f, "can't hold: its conditions contradict each other"),
            Self::Unreachable(by) => {
                write!(f, "can't be reached: wherever it holds, so does {by}, asked earlier")
            }
            Self::DeadPhrase(phrase, by) => {
                write!(f, "has a phrase that never decides, {phrase:?}: wherever it stands, {by} holds, asked earlier")
            }
            Self::Contradicted(phrase, not) => {
                write!(f, "has a phrase that never decides, {phrase:?}: it holds {not:?}, which the rule has in `not`")
            }
            Self::Redundant(long, short) => {
                write!(f, "has a phrase that adds nothing, {long:?}: it holds {short:?} of the same list; remove it")
            }
            Self::Overlaps(by, phrase) => write!(
                f,
                "overlaps with {by}, which is asked earlier and has another cause, in {phrase:?}: remove it from one, tell \
                 them apart by a condition, or add a sample that shows what the phrase decides"
            ),
        }
    }
}

/// Where a rule and what it lists stand in its file: offsets, later lines.
#[derive(Debug, Deserialize)]
struct Places {
    #[serde(default)]
    wording: Vec<Spanned<IgnoredAny>>,
    #[serde(default)]
    all: Vec<Spanned<IgnoredAny>>,
    #[serde(default)]
    not: Vec<Spanned<IgnoredAny>>,
    #[serde(default)]
    samples: Vec<Spanned<IgnoredAny>>,
    #[serde(default)]
    near_misses: Vec<Spanned<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
struct PlacedFile {
    #[serde(default)]
    rule: Vec<Spanned<Places>>,
}

/// The lines of a rule.
struct Lines {
    rule: usize,
    wording: Vec<usize>,
    all: Vec<usize>,
    not: Vec<usize>,
    samples: Vec<usize>,
    near_misses: Vec<usize>,
}

impl Lines {
    /// Of the n-th of a list, from zero; of the rule where that is not known.
    fn of(&self, list: &[usize], n: usize) -> usize {
        list.get(n).copied().unwrap_or(self.rule)
    }
}

/// The lines of every rule of a file, in order.
fn lines(text: &str) -> Vec<Lines> {
    let Ok(PlacedFile { rule }) = toml::from_str(text) else { return Vec::new() };
    let line = |offset: usize| text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
    let lines = |list: &[Spanned<IgnoredAny>]| list.iter().map(|item| line(item.span().start)).collect();
    rule.iter()
        .map(|placed| {
            let Places { wording, all, not, samples, near_misses } = placed.get_ref();
            Lines {
                rule: line(placed.span().start),
                wording: lines(wording),
                all: lines(all),
                not: lines(not),
                samples: lines(samples),
                near_misses: lines(near_misses),
            }
        })
        .collect()
}

impl Rules {
    /// Looks for rules that rot unseen: samples that their rule does not win, near misses that it does match, rules and
    /// phrases that earlier ones cover, and overlaps that no sample decides.
    #[must_use]
    pub fn lint(&self) -> Vec<LintFinding> {
        self.findings(false)
    }

    /// The same for the operator's own rules alone.
    #[must_use]
    pub fn lint_own(&self) -> Vec<LintFinding> {
        self.findings(true)
    }

    fn findings(&self, own: bool) -> Vec<LintFinding> {
        let mut findings = Vec::new();
        let relay = RelayDomains::default();
        let lines: Vec<Lines> = sources(&self.own).flat_map(|(_, text)| lines(text)).collect();
        let mut samples: Vec<(&Sample, &str)> = Vec::new();
        for (at, (rule, lines)) in self.ordered.iter().zip(&lines).enumerate() {
            let built_in = is_built_in(&rule.id);
            if own && built_in {
                // They come last.
                break;
            }
            let mut found = |line, problem: LintProblem| {
                let note = built_in && problem.by().is_some_and(|by| by.split(" or ").any(|by| !is_built_in(by)));
                findings.push(LintFinding { rule: rule.id.clone(), built_in, line, problem, note });
            };
            let mut shown = HashSet::new();
            for (n, sample) in rule.raw.samples.iter().enumerate() {
                let line = lines.of(&lines.samples, n);
                // Whoever overrides a built-in rule may show its samples again.
                let again = samples.iter().find(|(other, of)| *other == sample && is_built_in(of) == built_in);
                if let Some((_, of)) = again {
                    found(line, LintProblem::SampleRepeated(n + 1, (*of).to_owned()));
                }
                samples.push((sample, &rule.id));
                match self.try_sample(at, sample, &relay) {
                    None => found(line, LintProblem::SampleUnreadable(n + 1)),
                    Some(Tried { failed: Some(why), template, .. }) => {
                        found(line, LintProblem::SampleNotMatched(n + 1, why, template));
                    }
                    Some(tried) if tried.winner == Some(at) => shown.extend(tried.phrases),
                    Some(tried) => {
                        let by = tried.winner.and_then(|winner| self.ordered.get(winner));
                        found(line, LintProblem::SampleTaken(n + 1, by.map(|by| by.id.clone()).unwrap_or_default()));
                    }
                }
            }
            for (n, sample) in rule.raw.near_misses.iter().enumerate() {
                let line = lines.of(&lines.near_misses, n);
                match self.try_sample(at, sample, &relay) {
                    None => found(line, LintProblem::SampleUnreadable(rule.raw.samples.len() + n + 1)),
                    Some(Tried { failed: None, template, phrases, .. }) => {
                        let phrase = phrases.first().and_then(|phrase| self.phrases.text(*phrase));
                        found(line, LintProblem::NearMissMatched(n + 1, phrase.map(ToOwned::to_owned), template));
                    }
                    Some(_) => {}
                }
            }
            let of_lists =
                [(&rule.raw.wording, &lines.wording), (&rule.raw.all, &lines.all), (&rule.raw.not, &lines.not)];
            for (phrases, places) in of_lists {
                for (n, phrase) in phrases.iter().enumerate() {
                    if let Some(problem) = shapes::never_in_template(phrase, &relay) {
                        found(lines.of(places, n), problem);
                    }
                }
            }
            if rule.raw.doc.trim().is_empty() {
                found(lines.rule, LintProblem::NoSource);
            }
            if rule.raw.samples.is_empty() {
                found(lines.rule, LintProblem::NoSamples);
            }
            if rule.raw.near_misses.is_empty() {
                found(lines.rule, LintProblem::NoNearMisses);
            }
            for (place, problem) in self.words(at, &shown) {
                let line = match place {
                    words::Place::Rule => lines.rule,
                    words::Place::Wording(n) => lines.of(&lines.wording, n),
                    words::Place::Not(n) => lines.of(&lines.not, n),
                };
                found(line, problem);
            }
        }
        findings
    }

    /// What comes of a sample; `None` where an address can't be read.
    fn try_sample(&self, at: usize, sample: &Sample, relay: &RelayDomains) -> Option<Tried> {
        let read = |text: &Option<String>| text.as_deref().map(Address::parse).transpose().ok();
        let (recipient, sender) = (read(&sample.recipient)?, read(&sample.sender)?);
        let parties =
            Parties { recipient: recipient.as_ref(), envelope_sender: sender.as_ref(), ..Parties::unknown(relay) };
        let template = template(&sample.text, &parties);
        let context = context(sample.provider, recipient.as_ref(), sample.mx.as_deref(), relay);
        let label = sample.label.as_deref();
        let facts = Facts { label, ..Facts::read(template.as_str(), &context) };
        let seen = self.phrases.find(&facts);
        let rule: &Rule = self.ordered.get(at)?;
        let failed = (!rule.holds(&facts) || !rule.says(&seen)).then(|| {
            let (condition, found) = self.failed(rule, &facts, &seen);
            let words = matches!(condition, "wording" | "whole" | "all" | "not");
            format!("`{condition}` does not hold: {}{found}", if words { "" } else { "it is " })
        });
        let phrases = rule.wording.iter().copied().filter(|phrase| seen.holds(*phrase, rule.whole)).collect();
        let winner = self.winner(&facts).map(|(winner, _)| winner);
        Some(Tried { failed, winner, phrases, template: template.into_string() })
    }
}

/// What came of a sample.
struct Tried {
    /// Why the rule by itself does not hold, where it doesn't.
    failed: Option<String>,
    /// The rule that decides.
    winner: Option<usize>,
    /// The phrases of the rule's wording that the sample has.
    phrases: Vec<usize>,
    template: String,
}

fn is_built_in(rule: &str) -> bool {
    BUILT_IN.iter().any(|(file, _)| rule.split('/').next() == Some(file))
}

#[cfg(test)]
mod tests;
