//! The low-evidence count alarm for streams without exposure.
//!
//! Where a feed reports nothing but refusals there is no rate and no false-alarm bound. What can be seen is that an hour
//! refused far more addresses than any hour of the week before; that is worth a ticket, never a page.

use std::collections::BTreeMap;

use super::{Parameters, stats::count};

/// An hour in which far more addresses were refused than in any hour before. A ticket without rate or bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountTicket {
    /// Different addresses refused in the hour.
    pub addresses: u64,
    /// The highest hour of the days before, in different addresses.
    pub highest_before: u64,
}

/// Judges one hour of send time: `addresses` are the different addresses refused in it, `highest_before` the most in any
/// hour of the seven days before it.
///
/// The hour that fills may be judged at any time, since its count only rises. A week in which the feed was down or not yet
/// connected has no highest hour: the caller then does not ask.
#[must_use]
pub fn judge_hour(addresses: u64, highest_before: u64, parameters: &Parameters) -> Option<CountTicket> {
    let parameters = &parameters.count;
    let enough = addresses >= parameters.least_addresses;
    let unusual = count(addresses) >= parameters.least_ratio * count(highest_before);
    (enough && unusual).then_some(CountTicket { addresses, highest_before })
}

/// Hours that follow each other in which far more addresses were refused than in the week before the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Episode {
    /// Its first hour, counted from the epoch.
    pub onset: i64,
    /// The last hour so far that was unusual.
    pub last: i64,
    /// Its highest hour, beside the highest of the week before the onset.
    pub peak: CountTicket,
    /// Whether as much time has passed since without an unusual hour as the closing rule asks for.
    pub over: bool,
}

/// Finds the episodes in a stream's hours (different addresses refused, by hour of send time), oldest first: a function of the
/// counts, whatever the order in which they came.
///
/// `known_since` is the hour of the stream's first report, `is_blind` tells of an hour whether it and the week before it were
/// watched too little to compare; neither kind of hour begins an episode. All hours of an episode are measured against the
/// week before its onset, so that its own hours do not hide that it goes on.
#[must_use]
pub fn episodes(
    hours: &BTreeMap<i64, u64>,
    known_since: i64,
    is_blind: impl Fn(i64) -> bool,
    now: i64,
    parameters: &Parameters,
) -> Vec<Episode> {
    let week = i64::from(parameters.count.days) * 24;
    let closing = i64::from(parameters.closing.hours);
    let mut found: Vec<Episode> = Vec::new();
    for (&hour, &addresses) in hours.range(..=now) {
        if let Some(open) = found.last_mut().filter(|open| hour - open.last <= closing) {
            if judge_hour(addresses, open.peak.highest_before, parameters).is_some() {
                open.last = hour;
                open.peak.addresses = open.peak.addresses.max(addresses);
            }
            continue;
        }
        if hour - known_since < week || is_blind(hour) {
            continue;
        }
        let highest = hours.range(hour - week..hour).map(|(_, addresses)| *addresses).max().unwrap_or(0);
        if let Some(peak) = judge_hour(addresses, highest, parameters) {
            found.push(Episode { onset: hour, last: hour, peak, over: false });
        }
    }
    for episode in &mut found {
        episode.over = now - episode.last > closing;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_must_be_both_large_and_unusual() {
        let parameters = Parameters::default();
        assert_eq!(judge_hour(9, 0, &parameters), None, "too few");
        assert_eq!(judge_hour(10, 0, &parameters), Some(CountTicket { addresses: 10, highest_before: 0 }));
        assert_eq!(judge_hour(49, 10, &parameters), None, "not five times the highest");
        assert!(judge_hour(50, 10, &parameters).is_some());
    }

    /// Two weeks of two or three refusals an hour.
    fn calm() -> BTreeMap<i64, u64> {
        (0_i64..336).map(|hour| (hour, 2 + u64::from(hour % 3 == 0))).collect()
    }

    fn found(hours: &BTreeMap<i64, u64>, now: i64) -> Vec<Episode> {
        episodes(hours, 0, |_| false, now, &Parameters::default())
    }

    #[test]
    fn a_jump_opens_an_episode_that_its_own_hours_do_not_hide() {
        assert_eq!(found(&calm(), 336), []);
        let mut hours = calm();
        hours.extend([(300, 40), (301, 60), (310, 30)]);
        let peak = CountTicket { addresses: 60, highest_before: 3 };
        assert_eq!(found(&hours, 312), [Episode { onset: 300, last: 310, peak, over: false }]);
        assert!(found(&hours, 335)[0].over, "a day later it is over");
    }

    #[test]
    fn where_nothing_was_watched_nothing_is_compared() {
        let mut hours = calm();
        hours.insert(300, 40);
        let parameters = Parameters::default();
        assert_eq!(episodes(&hours, 200, |_| false, 301, &parameters), [], "connected four days ago");
        assert_eq!(episodes(&hours, 0, |hour| hour == 300, 301, &parameters), [], "a blind week");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

        /// Episodes are a function of the counts: hours that become known backwards end in the same ones, and what is found
        /// stays found when time passes.
        #[test]
        fn episodes_do_not_depend_on_when_hours_became_known(
            jumps in proptest::collection::btree_map(200_i64..330, 0_u64..90, 0..12), later in 0_i64..200,
        ) {
            let mut hours = calm();
            hours.extend(&jumps);
            let backwards: BTreeMap<i64, u64> = hours.iter().rev().map(|(hour, addresses)| (*hour, *addresses)).collect();
            let once = found(&hours, 336);
            proptest::prop_assert_eq!(found(&backwards, 336), once.clone());
            let shape = |all: &[Episode]| all.iter().map(|one| (one.onset, one.last, one.peak)).collect::<Vec<_>>();
            proptest::prop_assert_eq!(shape(&found(&hours, 336 + later)), shape(&once));
        }
    }
}
