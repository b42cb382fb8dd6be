//! One look at a question, from both vantage points, and what it says together.

use super::{
    super::answer::{Answer, Outcome, Seen},
    Fact,
};
use crate::model::words;

words! {
    /// From where it is looked.
    pub enum Vantage {
        /// A resolver, which sees what receivers see and keeps answers for their TTL.
        Recursive = 1, "recursive";
        /// The zone's own servers, which know what is published now.
        Authoritative = 2, "authoritative";
    }
}

/// What came back of one look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// What the resolvers said; `None` where they were not asked.
    pub recursive: Option<Answer>,
    /// What each of the zone's servers said, in whatever order; `None` where they were not asked, empty where none was found.
    pub authoritative: Option<Vec<Answer>>,
}

/// What one vantage point says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It was not asked.
    Nothing,
    /// Its servers are in trouble, or cannot be reached.
    Trouble(Seen),
    /// Its servers contradict each other.
    Split,
    /// This.
    Fact(Fact),
}

impl Said {
    /// What one server said.
    pub(super) fn by_one(answer: Option<&Answer>) -> Self {
        let Some(answer) = answer else { return Self::Nothing };
        Fact::of(answer).map_or_else(|| Self::Trouble(answer.outcome.seen()), Self::Fact)
    }

    /// What several said together: servers in trouble count for nothing as long as another one answers. The order of the answers
    /// makes no difference.
    pub(super) fn by_all(answers: Option<&[Answer]>) -> Self {
        let Some(answers) = answers else { return Self::Nothing };
        let mut facts = answers.iter().filter_map(Fact::of);
        match facts.next() {
            Some(first) if facts.all(|other| other == first) => Self::Fact(first),
            Some(_) => Self::Split,
            None => Self::Trouble(worst(answers)),
        }
    }

    pub(super) const fn fact(&self) -> Option<&Fact> {
        if let Self::Fact(fact) = self { Some(fact) } else { None }
    }
}

/// Of several troubles the one that says most: bogus, then a server's failure, then silence.
fn worst(answers: &[Answer]) -> Seen {
    let has = |outcome: &Outcome| answers.iter().any(|answer| answer.outcome == *outcome);
    if has(&Outcome::Bogus) {
        Seen::Bogus
    } else if has(&Outcome::ServerFailure) {
        Seen::ServerFailure
    } else {
        Seen::TimedOut
    }
}

/// What a look claims to hold, and how sure it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) fact: Fact,
    /// Whether the zone's own servers say so, and, of an absence, the resolvers too.
    pub(super) confirmed: bool,
}

impl Look {
    pub(super) fn said(&self) -> (Said, Said) {
        (Said::by_one(self.recursive.as_ref()), Said::by_all(self.authoritative.as_deref()))
    }

    /// What both vantage points together claim; `None` where nothing follows.
    ///
    /// - A value counts where the zone's servers agree on it: a resolver that says otherwise has an older answer in its cache, or
    ///   lies.
    /// - An absence counts only where both say so. The zone's servers alone may be the wrong ones, the resolver alone may lie.
    /// - What the resolvers alone say is a claim of its own, unconfirmed, where the zone's servers cannot be asked.
    pub(super) fn claim(&self) -> Option<Claim> {
        let claim = |fact: &Fact, confirmed| Some(Claim { fact: fact.clone(), confirmed });
        match self.said() {
            (_, Said::Fact(zone)) if !zone.is_absence() => claim(&zone, true),
            (Said::Fact(resolver), Said::Fact(zone)) if resolver.is_absence() => claim(&zone, true),
            (Said::Fact(resolver), Said::Nothing | Said::Trouble(_)) => claim(&resolver, false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Answer {
        Answer::texts([text])
    }

    fn look(recursive: Answer, authoritative: &[Answer]) -> Look {
        Look { recursive: Some(recursive), authoritative: Some(authoritative.to_vec()) }
    }

    fn claimed(look: &Look) -> Option<(Option<Fact>, bool)> {
        look.claim().map(|claim| (Some(claim.fact), claim.confirmed))
    }

    #[test]
    fn an_absence_needs_both_vantage_points_and_a_value_the_zone() {
        let (old, new, gone) = (value("old"), value("new"), Answer::of(Outcome::NoSuchDomain));
        let (failed, silent) = (Answer::of(Outcome::ServerFailure), Answer::of(Outcome::TimedOut));
        let confirmed = |answer: &Answer| Some((Fact::of(answer), true));
        let alone = |answer: &Answer| Some((Fact::of(answer), false));
        for (resolver, zone, expected) in [
            (&gone, vec![gone.clone()], confirmed(&gone)),
            (&old, vec![new.clone(), new.clone()], confirmed(&new)),
            // The resolver lies, or the zone's servers have not been told yet.
            (&gone, vec![old.clone()], confirmed(&old)),
            (&new, vec![old.clone(), silent.clone()], confirmed(&old)),
            // The resolver has it in its cache.
            (&old, vec![gone.clone()], None),
            (&failed, vec![gone.clone()], None),
            (&failed, vec![old.clone()], confirmed(&old)),
            (&gone, vec![failed.clone()], alone(&gone)),
            (&new, Vec::new(), alone(&new)),
            (&new, vec![old.clone(), new.clone()], None),
            (&failed, vec![silent.clone()], None),
        ] {
            assert_eq!(claimed(&look(resolver.clone(), &zone)), expected, "{resolver:?} {zone:?}");
        }
        assert_eq!(claimed(&Look { recursive: Some(new.clone()), authoritative: None }), alone(&new));
        assert_eq!(Look::default().claim(), None);
    }
}
