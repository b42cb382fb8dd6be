//! What a domain's record asks of DNS whoever sends: the count over all that it includes, and by which include it comes
//! (`email-auth.md` section 3.3).

use std::sync::Arc;

use crate::sources::answer::{Kind, Name, Question, Seen};

use super::{
    Answers, MAX_AT_ONCE,
    record::{DomainSpec, Mechanism, Policy, Selection, TermKind},
};

/// How many records one survey looks at; far more than ten look-ups can reach.
pub const MAX_RECORDS: u32 = 64;

/// How far a survey is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SurveyStep {
    /// It is done.
    Done(Box<Survey>),
    /// These are to be answered: at least one, at most [`MAX_AT_ONCE`].
    Need(Vec<Question>),
}

/// One record with all that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Whose record.
    pub domain: Name,
    /// What came of the question for it.
    pub seen: Seen,
    /// What the domain publishes.
    pub published: Selection,
    /// The terms that count towards the limit of ten, here and below, as though every one of them were reached.
    pub lookups: u32,
    /// The records that its `include` and `redirect` terms lead to, with the term's place in [`Policy::terms()`].
    pub below: Vec<(usize, Below)>,
}

/// Where a term leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Below {
    /// To a record.
    Record(Survey),
    /// Back to a record that it stands in, which ends in a permerror when it is reached.
    Loop(Name),
    /// To a name that macros make, which depends on the message.
    Macros,
    /// To no name that DNS can be asked for.
    NoName,
    /// To more records than are looked at.
    TooMany,
}

/// Counts what a domain's record asks of DNS. Needs its record and those that it leads to.
#[must_use]
pub fn survey(domain: &Name, answers: &impl Answers) -> SurveyStep {
    let mut walk = Walk { answers, needed: Vec::new(), records: 0, path: Vec::new() };
    let survey = walk.record(domain);
    match survey {
        Some(survey) if walk.needed.is_empty() => SurveyStep::Done(Box::new(survey)),
        _ => SurveyStep::Need(walk.needed),
    }
}

struct Walk<'a, A> {
    answers: &'a A,
    needed: Vec<Question>,
    records: u32,
    /// The domains from the first to the one at hand.
    path: Vec<Name>,
}

impl<A: Answers> Walk<'_, A> {
    /// `None` where the record is not known yet.
    fn record(&mut self, domain: &Name) -> Option<Survey> {
        self.records += 1;
        let question = Question::new(domain.clone(), Kind::Txt);
        let Some((answer, published)) = self.answers.published(&question) else {
            if self.needed.len() < MAX_AT_ONCE && !self.needed.contains(&question) {
                self.needed.push(question);
            }
            return None;
        };
        let seen = answer.outcome.seen();
        let mut survey = Survey { domain: domain.clone(), seen, published, lookups: 0, below: Vec::new() };
        if let Selection::One(policy) = &survey.published {
            let policy = Arc::clone(policy);
            self.path.push(domain.clone());
            self.terms(&policy, &mut survey);
            self.path.pop();
        }
        Some(survey)
    }

    fn terms(&mut self, policy: &Policy, survey: &mut Survey) {
        let mut ended = false;
        for (index, term) in policy.terms.iter().enumerate() {
            let target = match &term.kind {
                // What stands behind `all` is never reached, and `redirect` is ignored beside it.
                TermKind::Directive(_, Mechanism::All) => {
                    ended = true;
                    continue;
                }
                TermKind::Directive(..) if ended => continue,
                TermKind::Redirect(_) if policy.redirect != Some(index) => continue,
                TermKind::Directive(_, Mechanism::Include(target)) | TermKind::Redirect(target) => Some(target),
                _ => None,
            };
            survey.lookups += u32::from(term.kind.counts());
            if let Some(below) = target.and_then(|target| self.below(target)) {
                if let Below::Record(record) = &below {
                    survey.lookups = survey.lookups.saturating_add(record.lookups);
                }
                survey.below.push((index, below));
            }
        }
    }

    fn below(&mut self, target: &DomainSpec) -> Option<Below> {
        let Some(name) = target.fixed() else {
            return Some(if target.has_macros() { Below::Macros } else { Below::NoName });
        };
        if self.path.contains(name) {
            return Some(Below::Loop(name.clone()));
        }
        if self.records >= MAX_RECORDS {
            return Some(Below::TooMany);
        }
        self.record(name).map(Below::Record)
    }
}
