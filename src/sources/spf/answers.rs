//! Answers that are there already.

use std::collections::HashMap;

use crate::sources::answer::{Answer, Kind, Question};

use super::record::Selection;

/// Where a check finds what DNS said. What it gives for a question must stay the same while the check goes on.
pub trait Answers {
    /// The answer, where it is known.
    fn answer(&self, question: &Question) -> Option<&Answer>;

    /// The answer to a question for texts, with what it holds of SPF. Whoever keeps answers can keep that beside them.
    fn published(&self, question: &Question) -> Option<(&Answer, Selection)> {
        self.answer(question).map(|answer| (answer, Selection::of(answer)))
    }
}

/// Answers in memory, with their SPF records read once.
#[derive(Debug, Clone, Default)]
pub struct Known(HashMap<Question, (Answer, Selection)>);

impl Known {
    /// Keeps an answer, in place of an earlier one to the same question.
    pub fn insert(&mut self, question: Question, answer: Answer) {
        let selection = if question.kind == Kind::Txt { Selection::of(&answer) } else { Selection::None };
        self.0.insert(question, (answer, selection));
    }

    /// How many answers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Answers for Known {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question).map(|(answer, _)| answer)
    }

    fn published(&self, question: &Question) -> Option<(&Answer, Selection)> {
        self.0.get(question).map(|(answer, selection)| (answer, selection.clone()))
    }
}

impl FromIterator<(Question, Answer)> for Known {
    fn from_iter<T: IntoIterator<Item = (Question, Answer)>>(answers: T) -> Self {
        let mut known = Self::default();
        for (question, answer) in answers {
            known.insert(question, answer);
        }
        known
    }
}
