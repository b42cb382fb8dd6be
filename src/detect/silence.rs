//! When a feed is silent beyond what its own history allows.

use std::collections::BTreeMap;

/// Hours of a week.
const WEEK: i64 = 7 * 24;
/// So many weeks before must have brought reports in the same hours of the week …
const WEEKS: i64 = 3;
/// … at least so many each.
const LEAST_EVENTS: i64 = 20;

/// The hour from which on a feed is silent where it never is: `None` while its silence proves nothing.
///
/// `hours` are the events of each hour of event time, counted from the epoch; `watched_from` is the first whole hour in which
/// somebody looked all the time. Judged are the whole hours without an event up to `now` (not included), a week at most: if in
/// each of the three weeks before, the same hours of the week brought at least 20 events together, the feed is silent. A feed
/// that brings less than that in a week is never judged, nor is one that is younger than three weeks.
#[must_use]
pub fn silent_since(hours: &BTreeMap<i64, i64>, watched_from: i64, now: i64) -> Option<i64> {
    let (&last, _) = hours.range(..=now).rev().find(|(_, events)| **events > 0)?;
    let from = watched_from.max(last + 1).max(now - WEEK);
    let usual = |weeks: i64| {
        let same = from - weeks * WEEK..now - weeks * WEEK;
        hours.range(same).map(|(_, events)| events).sum::<i64>() >= LEAST_EVENTS
    };
    (from < now && (1..=WEEKS).all(usual)).then_some(last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 500_000;

    /// Four weeks up to `until`, in which each hour of the day brings what `of` says.
    fn weeks(until: i64, of: impl Fn(i64) -> i64) -> BTreeMap<i64, i64> {
        (NOW - 4 * WEEK..until).map(|hour| (hour, of(hour.rem_euclid(24)))).filter(|(_, events)| *events > 0).collect()
    }

    #[test]
    fn a_steady_feed_is_silent_after_a_whole_hour() {
        let steady = |until| weeks(until, |_| 30);
        assert_eq!(silent_since(&steady(NOW + 1), NOW - 99, NOW), None, "it reports");
        assert_eq!(silent_since(&steady(NOW), NOW - 99, NOW), None, "the hour is not over");
        assert_eq!(silent_since(&steady(NOW - 1), NOW - 99, NOW), Some(NOW - 1));
        assert_eq!(silent_since(&steady(NOW - 50), NOW - 99, NOW), Some(NOW - 50));
        assert_eq!(silent_since(&steady(NOW - 50), NOW, NOW), None, "nobody looked: that is our outage");
    }

    #[test]
    fn nights_weekends_and_sparse_feeds_are_no_silence() {
        let by_day = |hour: i64| if (8..20).contains(&hour) { 40 } else { 0 };
        let evening = NOW - NOW.rem_euclid(24) + 20;
        let mut feed = weeks(evening, by_day);
        assert_eq!(silent_since(&feed, evening - 99, evening + 11), None, "it is night");
        assert_eq!(silent_since(&feed, evening - 99, evening + 13), Some(evening), "morning brought nothing");
        feed.retain(|hour, _| !(evening + 12 - WEEK..evening + 13 - WEEK).contains(hour));
        assert_eq!(silent_since(&feed, evening - 99, evening + 13), None, "nor did it a week ago");
        let sparse: BTreeMap<i64, i64> = (0..8).map(|week| (NOW - 300 - week * 84, 19)).collect();
        assert_eq!(silent_since(&sparse, NOW - 999, NOW), None);
        let young: BTreeMap<i64, i64> = (NOW - 2 * WEEK..NOW - 5).map(|hour| (hour, 100)).collect();
        assert_eq!(silent_since(&young, NOW - 99, NOW), None, "two weeks are no history");
        assert_eq!(silent_since(&BTreeMap::new(), NOW - 99, NOW), None);
    }

    proptest! {
        #[test]
        fn a_report_in_the_last_hour_ends_every_silence(feed in prop::collection::btree_map(NOW - 4 * WEEK..NOW, 0_i64..90, 0..400)) {
            let mut feed = feed;
            feed.insert(NOW - 1, 1);
            prop_assert_eq!(silent_since(&feed, NOW - 999, NOW), None);
        }
    }
}
