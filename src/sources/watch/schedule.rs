//! When a question is asked again, and how many may be asked.

use super::super::answer::Question;
use crate::model::{FNV1A_BASIS, MINUTE_MILLIS, Timestamp, fnv1a};

/// No question is asked more often in ordinary times, whatever its TTL, zero included.
pub const FLOOR_MILLIS: i64 = 5 * MINUTE_MILLIS;
/// No question is asked less often, however long its TTL.
pub const CEILING_MILLIS: i64 = 30 * MINUTE_MILLIS;
/// An absence is asked for again after this time at the latest: a record that comes back ends trouble.
pub const NEGATIVE_CEILING_MILLIS: i64 = 15 * MINUTE_MILLIS;
/// After a look that leaves something open it is looked again after this time.
pub(super) const AGAIN_MILLIS: i64 = MINUTE_MILLIS;
/// By how much a time may be shifted so that questions spread, in thousandths of it, either way.
const JITTER: u64 = 100;
/// A question that waits so long goes before those that can cost fitness, so that none waits for ever.
const OVERDUE_MILLIS: i64 = 60 * MINUTE_MILLIS;

/// How long after a look the next one comes, by the TTL in seconds.
///
/// The shift is a function of the question and the look: two daemons and two runs of a test ask at the same times, and a thousand
/// questions with one TTL do not come all at once.
#[must_use]
pub fn interval_millis(question: &Question, ttl: Option<u32>, absent: bool, look: u64) -> i64 {
    let ceiling = if absent { NEGATIVE_CEILING_MILLIS } else { CEILING_MILLIS };
    // A second more, so that the resolver's cache has let it go.
    let wanted = ttl.map_or(ceiling, |seconds| (i64::from(seconds) + 1).saturating_mul(1_000));
    let interval = wanted.clamp(FLOOR_MILLIS, ceiling);
    let digest = fnv1a(fnv1a(FNV1A_BASIS, question.to_string().as_bytes()), &look.to_le_bytes());
    // The low bits of the digest of short texts vary little.
    let shift = i64::try_from((digest >> 17) % (2 * JITTER + 1)).unwrap_or_default()
        - i64::try_from(JITTER).unwrap_or_default();
    interval + interval * shift / 1_000
}

/// Whether what stands at a question can cost fitness: anything but DMARC, on which Apple's rule does not depend.
#[must_use]
pub fn can_be_fatal(question: &Question) -> bool {
    !question.name.labels().any(|label| matches!(label.as_ref(), b"_dmarc" | b"_report"))
}

/// In which order questions that are due are asked: what waits for too long, then what can cost fitness, then by time.
pub(super) fn rank(question: &Question, due: Timestamp, now: Timestamp) -> (bool, bool, Timestamp) {
    (now.millis_since(due) < OVERDUE_MILLIS, !can_be_fatal(question), due)
}

/// How many queries may leave: a bucket that fills evenly and holds those of one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    per_minute: u32,
    /// In thousandths of a query, so that nothing is lost in rounding.
    left: i64,
    at: Option<Timestamp>,
}

impl Budget {
    /// A full bucket.
    #[must_use]
    pub const fn new(per_minute: u32) -> Self {
        Self { per_minute, left: per_minute as i64 * 1_000, at: None }
    }

    /// The same at another rate.
    #[must_use]
    pub fn at_rate(self, per_minute: u32) -> Self {
        Self { per_minute, left: self.left.min(i64::from(per_minute) * 1_000), ..self }
    }

    /// Takes so many queries out, where there is one at least: a look that needs more than the bucket holds empties it below zero,
    /// so that every look has its turn and the rate still holds over time.
    pub fn take(&mut self, queries: u32, now: Timestamp) -> bool {
        let full = i64::from(self.per_minute) * 1_000;
        if let Some(at) = self.at {
            let since = now.millis_since(at).clamp(0, 60 * MINUTE_MILLIS);
            self.left = (self.left + since * i64::from(self.per_minute) * 1_000 / MINUTE_MILLIS).min(full);
        }
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        let may = self.left >= 1_000;
        if may {
            self.left -= i64::from(queries) * 1_000;
        }
        may
    }

    /// Takes out what a look has used beyond what was taken for it.
    pub fn owe(&mut self, queries: u32) {
        self.left -= i64::from(queries) * 1_000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::answer::Kind;
    use crate::sources::testing::name;

    fn question(text: &str) -> Question {
        Question::new(name(text), Kind::Txt)
    }

    #[test]
    fn times_follow_the_ttl_between_floor_and_ceiling() {
        let around = |ttl, absent, expected: i64| {
            let found = interval_millis(&question("example.com"), ttl, absent, 1);
            assert!((found - expected).abs() <= expected / 10, "{ttl:?}: {found}, not about {expected}");
        };
        around(Some(0), false, FLOOR_MILLIS);
        around(Some(600), false, 601_000);
        around(Some(u32::MAX), false, CEILING_MILLIS);
        around(None, false, CEILING_MILLIS);
        around(Some(86_400), true, NEGATIVE_CEILING_MILLIS);
    }

    #[test]
    fn questions_with_one_ttl_spread_and_repeat() {
        let all: std::collections::BTreeSet<i64> =
            (0..100).map(|n| interval_millis(&question(&format!("n{n}.example.com")), Some(600), false, 0)).collect();
        assert!(all.len() > 50, "{}", all.len());
        let one = || interval_millis(&question("example.com"), Some(600), false, 7);
        assert_eq!(one(), one());
    }

    #[test]
    fn what_can_cost_fitness_goes_first_and_nothing_waits_for_ever() {
        let (now, at) =
            (Timestamp::from_seconds(100_000), |minutes: i64| Timestamp::from_seconds(100_000 - minutes * 60));
        let (spf, dmarc) = (question("example.com"), question("_dmarc.example.com"));
        assert!(rank(&spf, at(1), now) < rank(&dmarc, at(30), now));
        assert!(rank(&dmarc, at(61), now) < rank(&spf, at(59), now));
        assert!(rank(&spf, at(2), now) < rank(&spf, at(1), now));
    }

    #[test]
    fn the_budget_holds_over_time_whatever_a_look_costs() {
        let mut budget = Budget::new(60);
        let mut taken = 0;
        for second in 0..600 {
            while budget.take(7, Timestamp::from_seconds(second)) {
                taken += 7;
            }
        }
        assert!((600..=667).contains(&taken), "{taken}");
        assert!(!Budget::new(0).take(1, Timestamp::EPOCH));
    }
}
