//! Rules and phrases that never decide, since earlier rules hold wherever they do.
//!
//! Who received, whom the reply names and who reports are gone through case by case, so that several earlier rules together
//! are seen to cover a later one. Codes and labels are compared as they are listed, so that nothing is called dead that might
//! decide.

use std::collections::{BTreeSet, HashSet};

use super::{
    super::{
        Facts, Rule, Rules,
        matcher::{EDGES, Seen},
    },
    LintProblem,
};
use crate::{
    classify::{Receiver, template::Head},
    model::{AddressRole, Destination, MxFamily, Provider, ReplyContext},
};

/// What of a rule a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Rule,
    /// The n-th phrase of its wording, from zero.
    Wording(usize),
    /// The n-th phrase of its `not`.
    Not(usize),
}

/// What is known beside words, codes and label.
struct Case {
    role: AddressRole,
    context: ReplyContext,
}

impl Case {
    fn receiver(&self) -> Receiver {
        Receiver::of(&self.context)
    }

    fn is_apple(&self) -> bool {
        self.facts("", None).is_apple()
    }

    /// The facts of a text in this case.
    fn facts<'a>(&'a self, text: &'a str, label: Option<&'a str>) -> Facts<'a> {
        let head = Head::read(text);
        Facts { text, head, role: self.role, receiver: self.receiver(), context: &self.context, label }
    }
}

/// The phrase of the later rule that is asked about, with all that every text has that holds it there.
struct Text<'a> {
    rule: &'a Rule,
    phrase: Option<usize>,
    /// What the phrase and those of `all` hold.
    seen: Vec<Seen>,
}

impl Text<'_> {
    fn holds(&self, phrase: usize) -> bool {
        self.seen.iter().any(|seen| seen.holds(phrase, false))
    }
}

/// How an earlier rule takes a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Whatever else it says.
    Always,
    /// Unless it says more.
    Alone,
}

impl Rules {
    /// Rules and phrases that never decide, and overlaps; `shown` are the phrases of which a sample shows that they do.
    pub(super) fn words(&self, at: usize, shown: &HashSet<usize>) -> Vec<(Place, LintProblem)> {
        let (Some(rule), Some(earlier)) = (self.ordered.get(at), self.ordered.get(..at)) else { return Vec::new() };
        let mut found = Vec::new();
        for (n, phrase) in rule.not.iter().enumerate() {
            if let Some(first) = rule.not.iter().position(|other| other == phrase).filter(|first| *first < n) {
                found.push((Place::Not(n), self.redundant(&rule.not, n, first)));
            }
        }
        let cases: Vec<Case> = self.cases().filter(|case| rule.admits(case)).collect();
        let contradicts = rule.all.iter().any(|all| rule.not.iter().any(|not| self.phrase(*all).holds(*not, false)));
        if cases.is_empty() || contradicts {
            found.push((Place::Rule, LintProblem::Impossible));
            return found;
        }
        if rule.is_wordless() {
            if let Some(by) = self.takers(&self.text(rule, None), earlier, &cases, Takes::Always) {
                found.push((Place::Rule, LintProblem::Unreachable(names(&by))));
            }
            return found;
        }
        let redundant = self.held_by_another(rule);
        let (mut dead, mut takers) = (0, BTreeSet::new());
        let mut of_phrases = Vec::new();
        for (n, &phrase) in rule.wording.iter().enumerate() {
            let words = self.phrases.text(phrase).unwrap_or_default().to_owned();
            let text = self.text(rule, Some(phrase));
            if let Some(not) = rule.not.iter().find(|not| self.phrase(phrase).holds(**not, false)) {
                dead += 1;
                let not = self.phrases.text(*not).unwrap_or_default().to_owned();
                of_phrases.push((Place::Wording(n), LintProblem::Contradicted(words, not)));
            } else if let Some(by) = self.takers(&text, earlier, &cases, Takes::Always) {
                dead += 1;
                of_phrases.push((Place::Wording(n), LintProblem::DeadPhrase(words, names(&by))));
                takers.extend(by.into_iter().map(|rule| rule.id.as_str()));
            } else if let Some((_, short)) = redundant.iter().find(|(at, _)| *at == n) {
                of_phrases.push((Place::Wording(n), self.redundant(&rule.wording, n, *short)));
            } else if !shown.contains(&phrase)
                && let Some(by) = self.takers(&text, earlier, &cases, Takes::Alone)
                && by.iter().any(|other| other.raw.cause != rule.raw.cause)
                && !self.is_left_something(at, &words, &by, &cases)
            {
                of_phrases.push((Place::Wording(n), LintProblem::Overlaps(names(&by), words)));
            }
        }
        if dead == rule.wording.len() && !takers.is_empty() {
            let by = takers.into_iter().collect::<Vec<_>>().join(" or ");
            found.push((Place::Rule, LintProblem::Unreachable(by)));
        } else {
            found.extend(of_phrases);
        }
        found
    }

    /// Whether an exception of the rules that take a phrase leaves the text to the rule at hand: then it is meant so.
    fn is_left_something(&self, at: usize, phrase: &str, takers: &[&Rule], cases: &[Case]) -> bool {
        let Some(rule) = self.ordered.get(at) else { return false };
        let all: Vec<&str> = rule.all.iter().filter_map(|all| self.phrases.text(*all)).collect();
        let all = all.join(" ");
        let mut told = Vec::new();
        // One case of each kind will do: this looks for one that speaks for the rule.
        let cases: Vec<&Case> = cases
            .iter()
            .filter(|case| {
                let kind = (case.role, case.receiver());
                let new = !told.contains(&kind);
                told.push(kind);
                new
            })
            .collect();
        let exceptions = takers.iter().flat_map(|taker| &taker.not).filter_map(|not| self.phrases.text(*not));
        exceptions.into_iter().any(|exception| {
            let text = format!("{}{phrase} {exception} {all}", rule.raw.codes());
            cases.iter().any(|case| {
                let facts = case.facts(&text, rule.raw.label.first().map(String::as_str));
                self.winner(&facts).is_some_and(|(winner, _)| winner == at)
            })
        })
    }

    fn redundant(&self, list: &[usize], long: usize, short: usize) -> LintProblem {
        let text = |n: usize| list.get(n).and_then(|id| self.phrases.text(*id)).unwrap_or_default().to_owned();
        LintProblem::Redundant(text(long), text(short))
    }

    /// The phrases that a phrase holds.
    fn phrase(&self, phrase: usize) -> Seen {
        let context = ReplyContext::default();
        self.phrases.find(&Facts { text: self.phrases.text(phrase).unwrap_or_default(), ..Facts::read("", &context) })
    }

    fn text<'a>(&self, rule: &'a Rule, phrase: Option<usize>) -> Text<'a> {
        let seen = phrase.iter().chain(&rule.all).map(|phrase| self.phrase(*phrase)).collect();
        Text { rule, phrase, seen }
    }

    /// The earlier rules that take the text: one or another of them in every case. `None` where in some case none does.
    fn takers<'a>(&self, text: &Text<'_>, earlier: &'a [Rule], cases: &[Case], takes: Takes) -> Option<Vec<&'a Rule>> {
        let able: Vec<&Rule> = earlier.iter().filter(|rule| self.takes(rule, text, takes)).collect();
        let mut by: Vec<&Rule> = Vec::new();
        for case in cases {
            let first =
                able.iter().find(|rule| rule.admits(case) && (!case.is_apple() || rule.knows_codes_of(text.rule)))?;
            if !by.iter().any(|rule| rule.id == first.id) {
                by.push(first);
            }
        }
        Some(by)
    }

    /// Whether the earlier rule holds for every such text in the cases that it admits.
    fn takes(&self, earlier: &Rule, text: &Text<'_>, takes: Takes) -> bool {
        let (a, b) = (&earlier.raw, &text.rule.raw);
        let worded = if earlier.whole {
            text.rule.whole && text.phrase.is_some_and(|phrase| earlier.wording.contains(&phrase))
        } else {
            earlier.wording.is_empty() || earlier.wording.iter().any(|phrase| text.holds(*phrase))
        };
        let barred = |not: &usize| {
            // A text that has it has one of the later rule's own `not` too.
            let both = text.rule.not.iter().any(|own| self.phrase(*not).holds(*own, false));
            !both && (takes == Takes::Always && !(text.rule.whole && self.is_beyond(*not, text)) || text.holds(*not))
        };
        let wider = |wide: bool, narrow: bool, listed: bool| wide || !narrow && listed;
        worded
            && earlier.all.iter().all(|phrase| text.holds(*phrase))
            && !earlier.not.iter().any(barred)
            && wider(
                a.enhanced.is_empty(),
                b.enhanced.is_empty(),
                b.enhanced.iter().all(|code| a.enhanced.iter().any(|wide| wide.is_wider(*code))),
            )
            && wider(
                a.code.is_empty(),
                b.code.is_empty(),
                b.code.iter().all(|code| a.code.iter().any(|wide| wide.is_wider(*code))),
            )
            && wider(a.label.is_empty(), b.label.is_empty(), b.label.iter().all(|label| a.label.contains(label)))
    }

    /// Whether a phrase can't be in a text that is as a whole the phrase that is asked about, but for codes and points.
    fn is_beyond(&self, phrase: usize, text: &Text<'_>) -> bool {
        let (Some(whole), Some(phrase)) = (text.phrase.and_then(|id| self.phrases.text(id)), self.phrases.text(phrase))
        else {
            return false;
        };
        !phrase.bytes().any(|b| b.is_ascii_digit()) && !whole.contains(phrase.trim_matches(EDGES))
    }

    /// The phrases of the wording that hold another one of it, and thus add nothing: places of the longer and the shorter. Of
    /// two that are the same it is the later.
    fn held_by_another(&self, rule: &Rule) -> Vec<(usize, usize)> {
        let list = &rule.wording;
        let held = |(at, long): (usize, &usize)| {
            let seen = self.phrase(*long);
            let short = list.iter().enumerate().position(|(other, short)| {
                let same = long == short;
                other != at && if same { other < at } else { !rule.whole && seen.holds(*short, false) }
            });
            short.map(|short| (at, short))
        };
        list.iter().enumerate().filter_map(held).collect()
    }

    /// All that can be told apart by the rules' conditions beside words, codes and label.
    fn cases(&self) -> impl Iterator<Item = Case> {
        let told: Vec<Provider> =
            self.ordered.iter().flat_map(|rule| rule.raw.provider.iter().filter_map(|provider| provider.0)).collect();
        let other = Provider::ALL.iter().find(|provider| !told.contains(provider)).copied();
        let distinct = Provider::ALL.iter().copied().filter(|provider| told.contains(provider));
        let providers: Vec<Option<Provider>> = distinct.chain(other).map(Some).chain([None]).collect();
        let contexts: Vec<ReplyContext> = Destination::ALL
            .iter()
            .flat_map(|destination| MxFamily::ALL.iter().map(|mx| (*destination, *mx)))
            .flat_map(|(destination, mx)| {
                providers.iter().map(move |provider| ReplyContext { provider: *provider, destination, mx })
            })
            .collect();
        contexts.into_iter().flat_map(|context| AddressRole::ALL.iter().map(move |role| Case { role: *role, context }))
    }
}

impl Rule {
    /// Whether the rule's conditions beside words, codes and label hold: a case has no codes, and they are asked for last.
    fn admits(&self, case: &Case) -> bool {
        let failed = self.first_failed(&case.facts("", None));
        !matches!(failed, Some("role" | "receiver" | "mx" | "destination" | "provider"))
    }

    /// Whether at Apple no code bars this rule that does not bar the other.
    fn knows_codes_of(&self, other: &Self) -> bool {
        self.raw.foreign_to_apple.iter().all(|code| other.raw.foreign_to_apple.contains(code))
    }
}

/// Names of rules, the first ones of many.
fn names(rules: &[&Rule]) -> String {
    const NAMED: usize = 3;
    let named: Vec<&str> = rules.iter().take(NAMED).map(|rule| rule.id.as_str()).collect();
    let more = if rules.len() > NAMED { " or others" } else { "" };
    format!("{}{more}", named.join(" or "))
}
