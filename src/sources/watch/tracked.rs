//! One question over time: what is known of it, and what a look does to that.

use std::collections::VecDeque;

use super::{
    super::answer::{Answer, Question, Seen},
    Fact, Look,
    look::{Claim, Said},
    schedule::{AGAIN_MILLIS, FLOOR_MILLIS, interval_millis},
};
use crate::model::{HOUR_MILLIS, MINUTE_MILLIS, Timestamp};

/// A change that both vantage points confirm counts once it was seen for so long, in two looks at least.
pub const SETTLE_MILLIS: i64 = 5 * MINUTE_MILLIS;
/// A change of a value that only the resolvers tell, since the zone's servers cannot be asked, counts once it was seen for so long.
pub const SETTLE_ALONE_MILLIS: i64 = 30 * MINUTE_MILLIS;
/// So many turns back and forth …
pub const UNSTABLE_TURNS: usize = 3;
/// … within this time make a question unstable; it is no longer once it has been calm for as long.
pub const UNSTABLE_MILLIS: i64 = HOUR_MILLIS;
/// A change at an unstable question counts once it was seen for so long.
pub const SETTLE_UNSTABLE_MILLIS: i64 = 30 * MINUTE_MILLIS;
/// The zone's servers are asked at least so often, though the resolvers say nothing new.
pub const ZONE_EVERY_MILLIS: i64 = HOUR_MILLIS;
/// Servers of a zone that contradict each other for less time are still telling each other of an edit.
pub const SPLIT_MILLIS: i64 = HOUR_MILLIS;
/// A question that gets no answer for so long, in two looks at least, is blind.
pub const BLIND_MILLIS: i64 = MINUTE_MILLIS;
/// Looks at a question in trouble come after a minute, then ever later up to this time.
const TROUBLE_CEILING_MILLIS: i64 = 10 * MINUTE_MILLIS;

/// What may become a change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    fact: Fact,
    since: Timestamp,
    /// Since when the zone's servers say so too.
    confirmed: Option<Timestamp>,
    looks: u32,
}

/// A time in which a question got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blind {
    /// From when.
    pub since: Timestamp,
    /// In how many looks.
    pub looks: u32,
    /// What came last.
    pub seen: Seen,
}

/// A change of what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was known; `None` before the first look that told something.
    pub before: Option<Fact>,
    /// What is known.
    pub after: Fact,
    /// Whether the zone's own servers say so.
    pub confirmed: bool,
}

/// One question over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    fact: Option<Fact>,
    confirmed: bool,
    candidate: Option<Candidate>,
    /// When it last turned back or forth, the latest last.
    turns: VecDeque<Timestamp>,
    blind: Option<Blind>,
    split: Option<Timestamp>,
    contradicted: Option<Timestamp>,
    looks: u64,
    looked_at: Option<Timestamp>,
    zone_asked: Option<Timestamp>,
    due: Timestamp,
}

impl Tracked {
    /// A question of which nothing is known, due now.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            fact: None,
            confirmed: false,
            candidate: None,
            turns: VecDeque::new(),
            blind: None,
            split: None,
            contradicted: None,
            looks: 0,
            looked_at: None,
            zone_asked: None,
            due: now,
        }
    }

    /// A question that is not looked at, since there are too many.
    #[must_use]
    pub fn given_up(now: Timestamp) -> Self {
        Self { looked_at: Some(now), due: Timestamp::from_millis(i64::MAX), ..Self::new(now) }
    }

    /// A question of which this was known when the process last ran.
    #[must_use]
    pub fn restored(fact: Fact, confirmed: bool, now: Timestamp) -> Self {
        Self { fact: Some(fact), confirmed, ..Self::new(now) }
    }

    /// What is known.
    #[must_use]
    pub const fn fact(&self) -> Option<&Fact> {
        self.fact.as_ref()
    }

    /// Whether the zone's servers have confirmed it.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// When it is to be looked at next.
    #[must_use]
    pub const fn due(&self) -> Timestamp {
        self.due
    }

    /// When it was last looked at.
    #[must_use]
    pub const fn looked_at(&self) -> Option<Timestamp> {
        self.looked_at
    }

    /// Whether it was looked at since it is watched.
    #[must_use]
    pub const fn is_looked_at(&self) -> bool {
        self.looked_at.is_some()
    }

    /// The time in which it gets no answer, once it lasts.
    #[must_use]
    pub fn blind(&self) -> Option<Blind> {
        let lasts = |blind: &Blind| {
            blind.looks > 1 && self.looked_at.is_some_and(|at| at.millis_since(blind.since) >= BLIND_MILLIS)
        };
        self.blind.filter(lasts)
    }

    /// What trouble the last look ended in, if it did.
    #[must_use]
    pub fn trouble(&self) -> Option<Seen> {
        self.blind.map(|blind| blind.seen)
    }

    /// Since when the zone's servers contradict each other, once it lasts.
    #[must_use]
    pub fn split(&self) -> Option<Timestamp> {
        self.lasting(self.split)
    }

    /// Since when the resolvers say something else than the zone's servers, which have not changed; once it lasts.
    #[must_use]
    pub fn contradicted(&self) -> Option<Timestamp> {
        self.lasting(self.contradicted)
    }

    fn lasting(&self, since: Option<Timestamp>) -> Option<Timestamp> {
        since.filter(|since| self.looked_at.is_some_and(|at| at.millis_since(*since) >= SPLIT_MILLIS))
    }

    /// Since when it turns back and forth, by its first turn; `None` where it is calm.
    #[must_use]
    pub fn unstable(&self) -> Option<Timestamp> {
        self.turns.front().copied().filter(|_| self.turns.len() >= UNSTABLE_TURNS)
    }

    /// Whether the zone's servers are to be asked too, after what the resolvers said.
    #[must_use]
    pub fn wants_zone(&self, recursive: &Answer, now: Timestamp) -> bool {
        let asked_lately = self.zone_asked.is_some_and(|at| now.millis_since(at) < ZONE_EVERY_MILLIS);
        let says_as_known = match Said::by_one(Some(recursive)) {
            Said::Fact(fact) => self.fact.as_ref() == Some(&fact),
            // An absence could not be confirmed anyway, and a value would be kept.
            _ => self.fact.is_some(),
        };
        !asked_lately
            || !says_as_known
            || self.candidate.is_some()
            || self.split.is_some()
            || self.contradicted.is_some()
    }

    /// Takes a look; gives the change that it brings, if it does.
    pub fn hear(&mut self, question: &Question, look: &Look, now: Timestamp) -> Option<Change> {
        let (resolver, zone) = look.said();
        self.looks += 1;
        self.looked_at = Some(now);
        if look.authoritative.is_some() {
            self.zone_asked = Some(now);
        }
        while self.turns.front().is_some_and(|turn| now.millis_since(*turn) >= UNSTABLE_MILLIS) {
            self.turns.pop_front();
        }
        self.blind = match resolver {
            Said::Trouble(seen) => {
                let before = self.blind.unwrap_or(Blind { since: now, looks: 0, seen });
                Some(Blind { looks: before.looks + 1, seen, ..before })
            }
            Said::Nothing | Said::Split => self.blind,
            Said::Fact(_) => None,
        };
        self.split = match zone {
            Said::Split => self.split.or(Some(now)),
            Said::Fact(_) => None,
            Said::Nothing | Said::Trouble(_) => self.split,
        };
        self.contradicted = match (resolver.fact(), zone.fact()) {
            (Some(resolver), Some(zone)) if resolver != zone && self.fact.as_ref() == Some(zone) => {
                self.contradicted.or(Some(now))
            }
            (_, Some(_)) => None,
            _ => self.contradicted,
        };
        let change = look.claim().and_then(|claim| self.weigh(claim, now));
        self.due = now.plus_millis(self.wait_millis(question, look));
        change
    }

    /// What a claim does to what is known.
    fn weigh(&mut self, claim: Claim, now: Timestamp) -> Option<Change> {
        if self.fact.as_ref() == Some(&claim.fact) {
            // What the resolvers still have in their cache undoes nothing that the zone said.
            let undone = self.candidate.as_ref().is_some_and(|one| claim.confirmed || one.confirmed.is_none());
            if undone {
                self.candidate = None;
                self.turned(now);
            }
            self.confirmed |= claim.confirmed;
            return None;
        }
        match &mut self.candidate {
            Some(candidate) if candidate.fact == claim.fact => {
                candidate.looks += 1;
                if claim.confirmed {
                    candidate.confirmed.get_or_insert(now);
                }
            }
            Some(candidate) if candidate.confirmed.is_some() && !claim.confirmed => return None,
            other => {
                let replaces = other.is_some();
                let confirmed = claim.confirmed.then_some(now);
                *other = Some(Candidate { fact: claim.fact, since: now, confirmed, looks: 1 });
                if replaces {
                    self.turned(now);
                }
            }
        }
        let taken =
            self.candidate.take_if(|candidate| settled(candidate, self.fact.is_none(), self.turns.len(), now))?;
        let before = self.fact.replace(taken.fact.clone());
        self.confirmed = taken.confirmed.is_some();
        if before.is_some() {
            self.turned(now);
        }
        Some(Change { before, after: taken.fact, confirmed: self.confirmed })
    }

    fn turned(&mut self, now: Timestamp) {
        if self.turns.len() > UNSTABLE_TURNS {
            self.turns.pop_front();
        }
        self.turns.push_back(now);
    }

    /// How long it waits for the next look.
    fn wait_millis(&self, question: &Question, look: &Look) -> i64 {
        if let Some(blind) = self.blind {
            let doubled = AGAIN_MILLIS << blind.looks.saturating_sub(1).min(10);
            return doubled.min(TROUBLE_CEILING_MILLIS);
        }
        if self.candidate.is_some() {
            // As long as it turns back and forth, no more often than in ordinary times.
            return if self.unstable().is_some() { FLOOR_MILLIS } else { AGAIN_MILLIS };
        }
        let ttl = look.recursive.as_ref().and_then(|answer| answer.ttl);
        interval_millis(question, ttl, self.fact.as_ref().is_some_and(Fact::is_absence), self.looks)
    }
}

/// Whether a candidate counts. The first that is known needs no time: nothing changes by it. An absence counts only where both
/// vantage points have told it.
fn settled(candidate: &Candidate, first: bool, turns: usize, now: Timestamp) -> bool {
    let seen_for = |since: Timestamp, millis: i64| now.millis_since(since) >= millis && candidate.looks > 1;
    match candidate.confirmed {
        Some(_) if first => true,
        Some(since) if turns >= UNSTABLE_TURNS => seen_for(since, SETTLE_UNSTABLE_MILLIS),
        Some(since) => seen_for(since, SETTLE_MILLIS),
        None if first && !candidate.fact.is_absence() => true,
        // Without the zone's servers it is never said to be deleted; before anything was known it may be said to be absent.
        None if candidate.fact.is_absence() && !first => false,
        None => seen_for(candidate.since, SETTLE_ALONE_MILLIS),
    }
}
