//! The false-alarm mass of 1, shared out among all streams.

use std::collections::{BTreeMap, BTreeSet};

use super::{BudgetParameters, stats::count};
use crate::model::{Bin, StreamKey, StreamLevel};

/// A stream and how much it sends, by which its share is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamVolume {
    /// The stream.
    pub stream: StreamKey,
    /// Relay messages in the baseline's window. As the baseline it comes only from bins older than 48 hours.
    pub sends: u64,
}

/// The mass `pi` of every stream. Their sum, with all that the reserve can ever give, is at most 1, so that the whole fleet
/// raises at most T/A false alarms in T days, whatever the dependence between streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    shares: BTreeMap<StreamKey, f64>,
    reserve: f64,
}

/// The coarse levels, each of which gets an equal part of the coarse half.
const COARSE: [StreamLevel; 3] = [StreamLevel::Fleet, StreamLevel::Provider, StreamLevel::Domain];

/// The sum of `1 / (k ln² k)` over k = 2, 3, … is 2.10974…; rounded up, so that the grants stay below the reserve.
const GRANTS_SUM: f64 = 2.11;

impl Budget {
    /// Shares the mass out: half of it to the coarse streams (all relay mail, providers, domains; each level alike, and
    /// each stream of a level alike), a reserve to streams that appear later, the rest to the other streams by the square
    /// root of their volume. A stream named twice counts once, with its larger volume.
    ///
    /// It is worked out anew when baselines are, and holds for all streams from the same bin on.
    #[must_use]
    pub fn assign(streams: &[StreamVolume], parameters: &BudgetParameters) -> Self {
        let coarse_mass = parameters.coarse.clamp(0.0, 1.0);
        let reserve = parameters.reserve.clamp(0.0, 1.0 - coarse_mass);
        let fine_mass = 1.0 - coarse_mass - reserve;
        let mut volumes: BTreeMap<&StreamKey, u64> = BTreeMap::new();
        for stream in streams {
            let volume = volumes.entry(&stream.stream).or_default();
            *volume = (*volume).max(stream.sends);
        }
        let of_level = |level: StreamLevel| volumes.keys().filter(|key| key.level == level).count();
        let levels = COARSE.iter().filter(|level| of_level(**level) > 0).count();
        let per_level: BTreeMap<StreamLevel, f64> = COARSE
            .iter()
            .map(|level| (*level, coarse_mass / count(levels.max(1) as u64) / count(of_level(*level).max(1) as u64)))
            .collect();
        // A stream that has not sent yet weighs as one message: a mass of nil could never raise an alarm.
        let weight = |sends: u64| count(sends.max(1)).sqrt();
        let is_fine = |key: &StreamKey| !COARSE.contains(&key.level);
        let all: f64 = volumes.iter().filter(|(key, _)| is_fine(key)).map(|(_, sends)| weight(*sends)).sum();
        let shares = volumes
            .iter()
            .map(|(key, sends)| {
                let share = per_level.get(&key.level).copied().filter(|_| !is_fine(key));
                ((*key).clone(), share.unwrap_or_else(|| fine_mass * weight(*sends) / all))
            })
            .collect();
        Self { shares, reserve }
    }

    /// The mass of a stream that was there when the budget was made.
    #[must_use]
    pub fn share(&self, stream: &StreamKey) -> Option<f64> {
        self.shares.get(stream).copied()
    }

    /// The mass of streams that appeared since, out of the reserve: the first ones get more than the later ones, and no number
    /// of them exhausts it.
    ///
    /// Streams rank by the first bin that they sent in, so that the grants are the same in whatever order the streams are
    /// found, and one that appears later takes nothing from those before it.
    #[must_use]
    pub fn grants(&self, appeared: &BTreeSet<(Bin, StreamKey)>) -> BTreeMap<StreamKey, f64> {
        let mut grants = BTreeMap::new();
        for (_, stream) in appeared {
            if self.shares.contains_key(stream) || grants.contains_key(stream) {
                continue;
            }
            let rank = count(grants.len() as u64 + 2);
            grants.insert(stream.clone(), self.reserve / (GRANTS_SUM * rank * rank.ln().powi(2)));
        }
        grants
    }

    /// The sum of the shares, without the reserve.
    #[must_use]
    pub fn spent(&self) -> f64 {
        self.shares.values().sum()
    }

    /// What is kept for streams that appear later.
    #[must_use]
    pub const fn reserve(&self) -> f64 {
        self.reserve
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Provider;

    fn campaign(number: usize) -> StreamKey {
        StreamKey::finest(Provider::Ses, Some(format!("d{}.example", number % 3)), None, Some(format!("c{number}")))
    }

    fn family(volumes: &[u64]) -> Vec<StreamVolume> {
        let mut all = Vec::new();
        for (number, sends) in volumes.iter().enumerate() {
            let stream = campaign(number);
            all.extend(stream.parents().into_iter().map(|stream| StreamVolume { stream, sends: *sends }));
            all.push(StreamVolume { stream, sends: *sends });
        }
        all
    }

    #[test]
    fn coarse_streams_have_half_and_fine_ones_go_by_the_root_of_their_volume() {
        let budget = Budget::assign(&family(&[100, 400, 100]), &BudgetParameters::default());
        let share = |key: &StreamKey| budget.share(key).expect("has a share");
        assert!((share(&StreamKey::fleet()) - 0.5 / 3.0).abs() < 1e-12);
        let domain = campaign(0).at(StreamLevel::Domain).expect("a domain");
        assert!((share(&domain) - 0.5 / 9.0).abs() < 1e-12, "three domains share a third of the half");
        assert!((share(&campaign(1)) / share(&campaign(0)) - 2.0).abs() < 1e-9);
        assert!((budget.spent() - 0.9).abs() < 1e-12 && (budget.reserve() - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_lone_fleet_has_the_coarse_half_for_itself() {
        let fleet = StreamVolume { stream: StreamKey::fleet(), sends: 0 };
        let budget = Budget::assign(&[fleet], &BudgetParameters::default());
        assert_eq!(budget.share(&StreamKey::fleet()), Some(0.5));
    }

    proptest! {
        #[test]
        fn the_mass_is_never_more_than_one(
            volumes in prop::collection::vec(0_u64..10_000_000, 0..60),
            later in prop::collection::btree_set((0_i64..1_000, 0_usize..5_000), 0..400),
            coarse in 0.0_f64..1.2,
            reserve in 0.0_f64..1.2,
        ) {
            let budget = Budget::assign(&family(&volumes), &BudgetParameters { coarse, reserve });
            let appeared: BTreeSet<_> = later.iter().map(|(bin, number)| (Bin(*bin), campaign(*number))).collect();
            let grants = budget.grants(&appeared);
            let all = budget.spent() + grants.values().sum::<f64>();
            prop_assert!(all <= 1.0 + 1e-9, "{all}");
            prop_assert!(grants.values().sum::<f64>() <= budget.reserve() + 1e-12);

            // Whoever appears after all others takes nothing from them.
            let mut more = appeared;
            more.insert((Bin(2_000), campaign(9_999)));
            let again = budget.grants(&more);
            prop_assert!(grants.iter().all(|(key, grant)| again.get(key) == Some(grant)));
        }
    }
}
