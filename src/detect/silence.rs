//! When a feed is silent beyond what its own history allows.

use std::collections::BTreeMap;

/// Hours of a week.
const WEEK: i64 = 7 * 24;
/// So many weeks before must have brought reports in the same hours of the week …
const WEEKS: i64 = 3;
/// … at least so many each …
const LEAST_EVENTS: i64 = 20;
/// … and at least so many times what the longest pause of those weeks left out.
const PAUSES: i64 = 2;
/// The hours of a silence are all empty by chance at most so often, by how often the feed misses an hour that it keeps …
const BY_CHANCE: f64 = 0.002;
/// … or, where it keeps no hours, in each week so many of them brought reports.
const LEAST_HOURS: i64 = 12;

/// A feed's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silent {
    /// The first hour without a report, counted from the epoch.
    pub since: i64,
    /// Whether it has lasted by the feed's own rhythm: after the hours that showed it, as much again did not come; or nothing
    /// came for a whole week.
    pub lasts: bool,
}

/// The events of four weeks, summed so that any stretch of hours costs nothing.
struct Sums {
    first: i64,
    /// Events in all hours before the one at `first` + index.
    before: Vec<i64>,
}

impl Sums {
    fn new(first: i64, end: i64, of: impl Fn(i64) -> i64) -> Self {
        let mut before = vec![0];
        let mut sum: i64 = 0;
        for hour in first..end {
            sum = sum.saturating_add(of(hour));
            before.push(sum);
        }
        Self { first, before }
    }

    /// Of events by hour.
    fn of_events(hours: &BTreeMap<i64, i64>, first: i64, end: i64) -> Self {
        let mut all = vec![0; usize::try_from(end - first).unwrap_or(0)];
        for (hour, events) in hours.range(first..end) {
            if let Some(of_hour) = usize::try_from(hour - first).ok().and_then(|index| all.get_mut(index)) {
                *of_hour = (*events).max(0);
            }
        }
        let of = |hour: i64| usize::try_from(hour - first).ok().and_then(|index| all.get(index)).copied().unwrap_or(0);
        Self::new(first, end, of)
    }

    /// What came from `from` to `to`, not included; what lies outside counts nothing.
    fn between(&self, from: i64, to: i64) -> i64 {
        let at = |hour: i64| {
            let index = usize::try_from(hour - self.first).unwrap_or(0).min(self.before.len() - 1);
            self.before.get(index).copied().unwrap_or(0)
        };
        (at(to) - at(from)).max(0)
    }

    /// What the least of these weeks brought in the same hours of the week.
    fn least(&self, from: i64, to: i64, weeks: impl Iterator<Item = i64>) -> Option<i64> {
        weeks.map(|weeks| self.between(from + weeks * WEEK, to + weeks * WEEK)).min()
    }
}

/// The last four weeks of a feed.
struct Weeks {
    events: Sums,
    /// Hours with events.
    busy: Sums,
    /// Hours that were busy in each of the three weeks before, as were the hours on both sides: what keeps local time moves by an
    /// hour when clocks are changed.
    regular: Sums,
    /// How often an hour was empty that was busy in both other weeks, of the three before.
    missed: f64,
}

impl Weeks {
    fn new(hours: &BTreeMap<i64, i64>, first: i64, now: i64) -> Self {
        let events = Sums::of_events(hours, first, now + 1);
        let is_busy = |hour: i64| events.between(hour, hour + 1) > 0;
        let busy_weeks = |hour: i64| (1..=WEEKS).filter(|weeks| is_busy(hour - weeks * WEEK)).count();
        let (mut missed, mut kept) = (0_u32, 0_u32);
        for hour in now - WEEK..now {
            match busy_weeks(hour) {
                3 => kept += 3,
                2 => missed += 1,
                _ => {}
            }
        }
        // After Jeffreys: what was never missed is missed at times all the same.
        let missed = (f64::from(missed) + 0.5) / (f64::from(kept + missed) + 1.0);
        let busy = Sums::new(first, now + 1, |hour| i64::from(is_busy(hour)));
        let is_kept = |hour: i64| (hour - 1..=hour + 1).all(|hour| busy_weeks(hour) == 3);
        let regular = Sums::new(now - WEEK, now, |hour| i64::from(is_kept(hour)));
        Self { events, busy, regular, missed }
    }

    /// Whether it shows a silence that nothing comes from `from` to `to`, not included, where `enough` events are.
    fn show(&self, from: i64, to: i64, enough: i64) -> bool {
        let before = || (1..=WEEKS).map(|weeks| -weeks);
        let least = |sums: &Sums| sums.least(from, to, before()).unwrap_or(0);
        let regular = i32::try_from(self.regular.between(from, to)).unwrap_or(i32::MAX);
        least(&self.events) >= enough && (self.missed.powi(regular) <= BY_CHANCE || least(&self.busy) >= LEAST_HOURS)
    }
}

/// How a feed is silent that never is in these hours: `None` while its silence proves nothing.
///
/// `hours` are the events of each hour of event time, counted from the epoch; `watched_from` is the first whole hour in which
/// somebody looked all the time. Judged are the whole hours without an event up to `now` (not included), a week at most: the feed
/// is silent if in each of the three weeks before the same hours of the week brought enough.
///
/// Enough are 20 events, and twice what its longest pause of the last three weeks left out, by the other weeks; what is `excused`
/// (hours from and to, not included) was no pause of its own. Since reports come in heaps, events alone are no evidence: either
/// the hours are ones that the feed keeps (also an hour earlier and later, since clocks are changed), so that all of them are empty by chance once in 500 times at most; or they were 12
/// hours with reports in each week. A feed that brings less than that in a week is never judged, nor is one that is younger
/// than three weeks.
#[must_use]
pub fn silent_since(hours: &BTreeMap<i64, i64>, excused: &[(i64, i64)], watched_from: i64, now: i64) -> Option<Silent> {
    let (&last, _) = hours.range(..=now).rev().find(|(_, events)| **events > 0)?;
    let from = watched_from.max(last + 1).max(now - WEEK);
    if from >= now {
        return None;
    }
    let too_few = |weeks: i64| {
        let same = hours.range(from - weeks * WEEK..now - weeks * WEEK);
        same.map(|(_, events)| events).sum::<i64>() < LEAST_EVENTS
    };
    if (1..=WEEKS).any(too_few) {
        return None;
    }
    let weeks = Weeks::new(hours, (now - (WEEKS + 1) * WEEK).min(last - WEEKS * WEEK), now);
    if !weeks.show(from, now, LEAST_EVENTS) {
        return None;
    }
    let enough = LEAST_EVENTS.max(PAUSES.saturating_mul(longest_pause(&weeks.events, excused, last)));
    let shown = (from + 1..=now).find(|to| weeks.show(from, *to, enough))?;
    let lasts = weeks.show(shown, now, enough) || now - from >= WEEK;
    Some(Silent { since: last + 1, lasts })
}

/// What the longest pause of the three weeks up to the last report left out: the least that the other weeks of that time brought
/// in the same hours of the week.
fn longest_pause(sums: &Sums, excused: &[(i64, i64)], last: i64) -> i64 {
    let (first, mut longest) = (last - WEEKS * WEEK, 0);
    let mut since = None;
    for hour in first..=last {
        if sums.between(hour, hour + 1) == 0 {
            continue;
        }
        // Where the first pause began is not known.
        let Some(from) = since.replace(hour + 1) else { continue };
        let to = hour;
        if from == to || excused.iter().any(|(begin, end)| *begin < to && *end > from) {
            continue;
        }
        let within = |weeks: &i64| from + weeks * WEEK >= first && to + weeks * WEEK <= last;
        let others = (-WEEKS..=WEEKS).filter(|weeks| *weeks != 0).filter(within);
        longest = longest.max(sums.least(from, to, others).unwrap_or(0));
    }
    longest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    const NOW: i64 = 500_000;

    fn since(hours: &BTreeMap<i64, i64>, watched_from: i64, now: i64) -> Option<i64> {
        silent_since(hours, &[], watched_from, now).map(|silent| silent.since)
    }

    /// Four weeks up to `until`, in which each hour of the day brings what `of` says.
    fn weeks(until: i64, of: impl Fn(i64) -> i64) -> BTreeMap<i64, i64> {
        (NOW - 4 * WEEK..until).map(|hour| (hour, of(hour.rem_euclid(24)))).filter(|(_, events)| *events > 0).collect()
    }

    #[test]
    fn a_steady_feed_is_silent_after_a_whole_hour() {
        let steady = |until| weeks(until, |_| 30);
        assert_eq!(since(&steady(NOW + 1), NOW - 99, NOW), None, "it reports");
        assert_eq!(since(&steady(NOW), NOW - 99, NOW), None, "the hour is not over");
        assert_eq!(since(&steady(NOW - 1), NOW - 99, NOW), Some(NOW - 1));
        assert_eq!(since(&steady(NOW - 50), NOW - 99, NOW), Some(NOW - 50));
        assert_eq!(since(&steady(NOW - 50), NOW, NOW), None, "nobody looked: that is our outage");
    }

    #[test]
    fn it_lasts_once_as_much_again_did_not_come() {
        let steady = |until| weeks(until, |_| 30);
        let lasts = |feed: &BTreeMap<i64, i64>, now| silent_since(feed, &[], NOW - 2 * WEEK, now).map(|s| s.lasts);
        assert_eq!(lasts(&steady(NOW - 1), NOW), Some(false), "it has just shown");
        assert_eq!(lasts(&steady(NOW - 2), NOW), Some(true), "an hour later");
        // Five a day: four days show it, and a second four days would be more than a week.
        let sparse = |until: i64| weeks(until, |hour| i64::from(hour % 5 == 0));
        let first = (1..=WEEK).find(|hours| lasts(&sparse(NOW - hours), NOW).is_some());
        assert!(first.is_some_and(|hours| (90..=100).contains(&hours)), "{first:?}");
        let later = (1..=2 * WEEK).find(|hours| lasts(&sparse(NOW - hours), NOW) == Some(true));
        assert!(later.is_some_and(|hours| (WEEK - 9..=WEEK + 9).contains(&hours)), "{later:?}");
    }

    #[test]
    fn nights_weekends_and_sparse_feeds_are_no_silence() {
        let by_day = |hour: i64| if (8..20).contains(&hour) { 40 } else { 0 };
        let evening = NOW - NOW.rem_euclid(24) + 20;
        let mut feed = weeks(evening, by_day);
        assert_eq!(since(&feed, evening - 99, evening + 11), None, "it is night");
        assert_eq!(since(&feed, evening - 99, evening + 13), None, "clocks may have been changed");
        assert_eq!(since(&feed, evening - 99, evening + 14), Some(evening), "morning brought nothing");
        feed.retain(|hour, _| !(evening + 13 - WEEK..evening + 14 - WEEK).contains(hour));
        assert_eq!(since(&feed, evening - 99, evening + 14), None, "nor did it a week ago");
        let sparse: BTreeMap<i64, i64> = (0..8).map(|week| (NOW - 300 - week * 84, 19)).collect();
        assert_eq!(since(&sparse, NOW - 999, NOW), None);
        let young: BTreeMap<i64, i64> = (NOW - 2 * WEEK..NOW - 5).map(|hour| (hour, 100)).collect();
        assert_eq!(since(&young, NOW - 99, NOW), None, "two weeks are no history");
        assert_eq!(since(&BTreeMap::new(), NOW - 99, NOW), None);
    }

    #[test]
    fn a_weekly_mailing_that_is_left_out_once_is_no_silence() {
        let last = NOW - WEEK - 9;
        let feed: BTreeMap<i64, i64> = (0..5).map(|week| (last - week * WEEK, 900)).collect();
        for hour in last..last + 2 * WEEK {
            assert_eq!(silent_since(&feed, &[], last - 4 * WEEK, hour), None, "{hour}");
        }
    }

    #[test]
    fn a_pause_that_was_none_of_its_own_teaches_nothing() {
        let mut feed = weeks(NOW - 3, |_| 30);
        let away = NOW - WEEK - 100;
        feed.retain(|hour, _| !(away..away + 10).contains(hour));
        assert_eq!(since(&feed, NOW - 99, NOW), None, "it was silent for ten hours before");
        let excused = [(away, away + 10)];
        assert!(silent_since(&feed, &excused, NOW - 99, NOW).is_some(), "which was an outage");
    }

    fn poisson(rng: &mut StdRng, mean: f64) -> i64 {
        let (limit, mut product, mut count) = ((-mean).exp(), rng.random::<f64>(), 0);
        while product > limit {
            product *= rng.random::<f64>();
            count += 1;
        }
        count
    }

    /// How often a feed that always works is called silent, and how often that lasts, in so many hours.
    fn false_silences(hours: i64, mut of: impl FnMut(i64) -> i64) -> (u32, u32) {
        let (mut feed, mut windows, mut tickets) = (BTreeMap::new(), 0, 0);
        let (mut open, mut told): (Option<i64>, bool) = (None, false);
        let mut excused: Vec<(i64, i64)> = Vec::new();
        for hour in 0..hours {
            if let Some(silent) = silent_since(&feed, &excused, 0, hour) {
                windows += u32::from(open.is_none());
                open.get_or_insert(silent.since);
                tickets += u32::from(silent.lasts && !told);
                told |= silent.lasts;
            } else {
                excused.extend(open.take().map(|from| (from, hour)));
                told = false;
            }
            let events = of(hour);
            if events > 0 {
                feed.insert(hour, events);
            }
            feed.remove(&(hour - 5 * WEEK));
        }
        (windows, tickets)
    }

    const YEAR: i64 = 52 * WEEK;

    #[test]
    fn a_feed_that_works_is_next_to_never_called_silent() {
        // Reports that come one by one, at the rhythm of the weeks before: by day, on working days, from two a day to 40 an hour.
        let mut rng = StdRng::seed_from_u64(20_260_801);
        for per_hour in [0.08, 0.2, 0.5, 1.0, 3.0, 10.0, 40.0] {
            for _ in 0..2 {
                let told = false_silences(YEAR, |hour| {
                    let (day, clock) = (hour.div_euclid(24).rem_euclid(7), hour.rem_euclid(24));
                    let by_day = if (7..21).contains(&clock) { 1.6 } else { 0.1 };
                    let by_week = if day < 5 { 1.2 } else { 0.4 };
                    poisson(&mut rng, per_hour * by_day * by_week)
                });
                assert_eq!(told, (0, 0), "{per_hour} an hour");
            }
        }
        // Heaps of 50 at any time, a few a week: the hardest, since four heaps are 200 reports and no more evidence than four.
        let (mut windows, mut tickets, mut years) = (0, 0, 0);
        for heaps_a_week in [2.0, 4.0, 8.0, 20.0] {
            for _ in 0..5 {
                let told = false_silences(YEAR, |_| 50 * poisson(&mut rng, heaps_a_week / 168.0));
                (windows, tickets, years) = (windows + told.0, tickets + told.1, years + 1);
            }
        }
        assert!(windows * 20 <= years && tickets == 0, "{windows} windows, {tickets} tickets in {years} years");
        // A batch in every hour, of which one in 20 is left out: two in a row are left out once in two weeks and more.
        let (mut windows, mut tickets) = (0, 0);
        for _ in 0..5 {
            let told = false_silences(YEAR, |_| if rng.random::<f64>() < 0.05 { 0 } else { 50 });
            (windows, tickets) = (windows + told.0, tickets + told.1);
        }
        assert!(windows <= 30 && tickets == 0, "{windows} windows, {tickets} tickets in 5 years");
    }

    #[test]
    fn a_feed_that_keeps_local_time_is_not_silent_when_clocks_are_changed() {
        for (before, after) in [(2, 1), (1, 2)] {
            for change in (5 * WEEK..6 * WEEK).step_by(5) {
                let told = false_silences(10 * WEEK, |hour| {
                    let clock = (hour + if hour < change { before } else { after }).rem_euclid(24);
                    if (8..20).contains(&clock) { 40 } else { 0 }
                });
                assert_eq!(told, (0, 0), "{change}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_report_in_the_last_hour_ends_every_silence(feed in prop::collection::btree_map(NOW - 4 * WEEK..NOW, 0_i64..90, 0..400)) {
            let mut feed = feed;
            feed.insert(NOW - 1, 1);
            prop_assert_eq!(silent_since(&feed, &[], NOW - 999, NOW), None);
        }
    }
}
