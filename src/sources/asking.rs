//! Judging on what is known, and noting what is not.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    answer::{Answer, Kind, Name, Outcome, Question},
    finding::{Finding, FindingCode, Fix},
    spf::Answers,
};

/// Looks answers up and keeps the questions that have none yet. Whoever judges goes on where it can, so that all questions of
/// one step are told at once.
pub(super) struct Asking<'a, A> {
    answers: &'a A,
    needed: RefCell<BTreeSet<Question>>,
}

impl<'a, A: Answers> Asking<'a, A> {
    pub(super) fn new(answers: &'a A) -> Self {
        Self { answers, needed: RefCell::default() }
    }

    /// What DNS said; `None` where that is not known yet, which is noted.
    pub(super) fn ask(&self, name: &Name, kind: Kind) -> Option<&'a Answer> {
        let question = Question::new(name.clone(), kind);
        let answer = self.answers.answer(&question);
        if answer.is_none() {
            self.needed.borrow_mut().insert(question);
        }
        answer
    }

    /// Notes questions of somebody else.
    pub(super) fn need(&self, questions: impl IntoIterator<Item = Question>) {
        self.needed.borrow_mut().extend(questions);
    }

    /// The answers themselves.
    pub(super) const fn answers(&self) -> &'a A {
        self.answers
    }

    /// What is still to be asked, each question once.
    pub(super) fn into_needed(self) -> Vec<Question> {
        self.needed.into_inner().into_iter().collect()
    }
}

/// The finding of a question that found trouble in place of an answer. `None` for answers and absences.
pub(super) fn trouble(name: &Name, kind: Kind, outcome: &Outcome) -> Option<Finding> {
    if !outcome.is_trouble() {
        return None;
    }
    let what = format!("the question for {kind} records of {name} ended in: {}", outcome.seen());
    Some(if *outcome == Outcome::Bogus {
        let step = format!("Mend DNSSEC of the zone of {name}: its signatures or the DS record of its parent.");
        Finding::new(FindingCode::DnssecBogus, name, what, Fix::step(step))
    } else {
        let step = format!("Ask again; if it stays, look at the name servers of {name} and at the resolver.");
        Finding::new(FindingCode::DnsTrouble, name, what, Fix::step(step))
    })
}
