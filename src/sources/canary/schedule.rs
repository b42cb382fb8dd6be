//! When a canary is due, and whether the budget of its address allows it.

use super::Kind;
use crate::model::{DAY_MILLIS, FNV1A_BASIS, Timestamp, fnv1a};

/// The interval is stretched or shortened by up to this part of it, so that paths do not go out together for ever.
const JITTER_PART: i64 = 10;

/// What one path is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The path's name; of a control, the mailbox's.
    pub name: String,
    /// What its canaries are for.
    pub kind: Kind,
    /// Milliseconds from one to the next.
    pub interval: i64,
    /// Milliseconds after which one that has not come counts as missed.
    pub patience: i64,
}

impl Plan {
    /// When the next one is due: at once where none was ever sent, else an interval after the last, give or take a tenth. The same
    /// path and last send have the same jitter, so that a restart moves nothing.
    #[must_use]
    pub fn due(&self, last: Option<Timestamp>) -> Timestamp {
        let Some(last) = last else { return Timestamp::EPOCH };
        let spread = self.interval / JITTER_PART;
        let hash = fnv1a(fnv1a(FNV1A_BASIS, self.name.as_bytes()), &last.as_millis().to_le_bytes());
        let width = u64::try_from(2 * spread + 1).unwrap_or(1);
        let jitter = i64::try_from(hash % width).unwrap_or(0) - spread;
        last.plus_millis(self.interval + jitter)
    }
}

/// How many mails one address may be sent in any 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(pub u32);

impl Budget {
    /// Whether one more may be sent now.
    ///
    /// # Errors
    /// When it may again, where the 24 hours before now have used it up. Whatever day Apple counts by, none has more.
    pub fn allows(self, sent: impl IntoIterator<Item = Timestamp>, now: Timestamp) -> Result<(), Timestamp> {
        let mut recent: Vec<Timestamp> = sent.into_iter().filter(|at| now.millis_since(*at) < DAY_MILLIS).collect();
        recent.sort_unstable();
        let most = usize::try_from(self.0).unwrap_or(usize::MAX);
        match recent.len().checked_sub(most) {
            None => Ok(()),
            // As many as are too many have to grow a day old, and one more.
            Some(over) => Err(recent.get(over).map_or(now, |at| at.plus_millis(DAY_MILLIS))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{HOUR_MILLIS, MINUTE_MILLIS};

    fn plan(name: &str) -> Plan {
        Plan { name: name.to_owned(), kind: Kind::Relay, interval: HOUR_MILLIS, patience: HOUR_MILLIS }
    }

    #[test]
    fn the_first_is_due_at_once_and_the_next_after_about_an_interval() {
        let last = Timestamp::from_millis(1_000 * HOUR_MILLIS);
        assert_eq!(plan("a").due(None), Timestamp::EPOCH);
        let waits: Vec<i64> = ["a", "b", "c"].map(|name| plan(name).due(Some(last)).millis_since(last)).to_vec();
        assert!(waits.iter().all(|wait| (54 * MINUTE_MILLIS..=66 * MINUTE_MILLIS).contains(wait)), "{waits:?}");
        assert!(waits[0] != waits[1] && waits[1] != waits[2], "{waits:?}");
        assert_eq!(plan("a").due(Some(last)), plan("a").due(Some(last)));
    }

    proptest! {
        #[test]
        fn no_24_hours_ever_hold_more_than_the_budget(
            asked in proptest::collection::vec(0_i64..4 * HOUR_MILLIS, 1..200),
            budget in 1_u32..12,
        ) {
            let (mut now, mut sent) = (Timestamp::from_millis(1_000 * DAY_MILLIS), Vec::<Timestamp>::new());
            for wait in asked {
                now = now.plus_millis(wait);
                match Budget(budget).allows(sent.iter().copied(), now) {
                    Ok(()) => sent.push(now),
                    Err(free) => {
                        prop_assert!(free > now);
                        prop_assert_eq!(Budget(budget).allows(sent.iter().copied(), free), Ok(()));
                        let before = free.plus_millis(-1);
                        prop_assert!(Budget(budget).allows(sent.iter().copied(), before.max(now)).is_err());
                    }
                }
            }
            for at in &sent {
                let within = sent.iter().filter(|other| (0..DAY_MILLIS).contains(&other.millis_since(*at))).count();
                prop_assert!(within <= budget as usize);
            }
        }
    }
}
