//! Why a reply has the verdict that it has: every rule whose words it holds, and what kept each from winning.

use super::{Facts, Rule, Rules, matcher::Seen};
use crate::model::{Cause, ReplyContext, Verdict};

/// A rule that was asked about a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    /// The rule, as `file/name`.
    pub rule: String,
    /// What it would have said.
    pub cause: Cause,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of asking a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is the first that holds, and decided.
    Won,
    /// It holds too; the winner is asked before it.
    Later,
    /// It does not hold: the condition that failed, as its key in the rule file, and what the reply has.
    Failed {
        /// `role`, `receiver`, `mx`, `destination`, `provider`, `enhanced`, `code`, `label`, `wording`, `whole`, `all`, `not`.
        condition: &'static str,
        /// What was found instead, for people.
        found: String,
    },
}

/// A verdict with the rules that were considered, in the order in which they are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The verdict, the same as [`Rules::classify_labelled`] gives.
    pub verdict: Verdict,
    /// The rules whose wording the reply has, or that have none and hold; in order.
    pub considered: Vec<Considered>,
}

impl Rules {
    /// What a reply means, with every rule that was considered.
    #[must_use]
    pub fn explain<T: AsRef<str>>(&self, template: T, context: &ReplyContext, label: Option<&str>) -> Explanation {
        let facts = Facts { label, ..Facts::read(template.as_ref(), context) };
        let seen = self.phrases.find(&facts);
        let winner = self.winner(&facts).map(|(at, _)| at);
        let mut considered = Vec::new();
        for (at, rule) in self.ordered.iter().enumerate() {
            // A number in the text says nothing of a rule whose whole text is a number.
            let word = |phrase: usize| self.phrases.text(phrase).is_some_and(|text| text.parse::<u32>().is_err());
            let worded = rule.wording.iter().any(|phrase| seen.holds(*phrase, rule.whole && !word(*phrase)));
            let holds = rule.holds(&facts) && rule.says(&seen);
            if !(worded || rule.is_wordless() && holds) {
                continue;
            }
            let outcome = if winner == Some(at) {
                Outcome::Won
            } else if holds {
                Outcome::Later
            } else {
                let (condition, found) = self.failed(rule, &facts, &seen);
                Outcome::Failed { condition, found }
            };
            considered.push(Considered { rule: rule.id.clone(), cause: rule.raw.cause, outcome });
        }
        Explanation { verdict: self.classify_labelled(template, context, label), considered }
    }

    /// The first condition of a rule that does not hold.
    pub(super) fn failed(&self, rule: &Rule, facts: &Facts<'_>, seen: &Seen) -> (&'static str, String) {
        let phrase = |id: usize| format!("{:?}", self.phrases.text(id).unwrap_or_default());
        if let Some(failed) = rule.fails(facts) {
            return failed;
        }
        if rule.phrase(seen).is_none() && !rule.is_wordless() {
            let none = !rule.wording.iter().any(|phrase| seen.holds(*phrase, false));
            return if none {
                ("wording", "none of its phrases is there as words of their own".to_owned())
            } else {
                ("whole", "there are more words".to_owned())
            };
        }
        if let Some(missing) = rule.all.iter().find(|id| !seen.holds(**id, false)) {
            return ("all", format!("{} is not there", phrase(*missing)));
        }
        let there = rule.not.iter().find(|id| seen.holds(**id, false));
        ("not", there.map_or_else(String::new, |id| format!("{} is there", phrase(*id))))
    }
}
