//! Whether feeds report what their declared exposure says.
//!
//! A denominator comes from what is declared and arrives, never from bounces: a feed that declares exposure and has only ever
//! reported refusals is treated as one without.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{DAY_MILLIS, Exposure, HOUR_MILLIS, IMPORTED_PREFIX, Provider, Timestamp, words},
    monitor::settings::feeds_since,
    store::{FeedCounts, FeedHour, Store, StoreError, WordKind},
};

/// How many hours of event time are looked at …
const RECENT_HOURS: i64 = 24;
/// … and for a feed that reports only refusals.
const LONG_HOURS: i64 = 7 * 24;
/// Fewer reports than this show nothing.
const LEAST: i64 = 20;
/// A feed of outcomes that has brought nothing for so long since it was configured is never heard …
const UNHEARD_MILLIS: i64 = DAY_MILLIS;
/// … and one of notices, which are rare.
const UNHEARD_NOTICES_MILLIS: i64 = 7 * DAY_MILLIS;
/// Feeds that are named where many are told of together.
const SHOWN: usize = 20;
/// Outcomes may lack their send in this share: reports cross each other on their way.
const UNSENT_SHARE: f64 = 0.1;

words! {
    /// How a feed reports otherwise than it declares.
    pub enum Mismatch {
        /// It declares sends and reports none.
        NoSends = 1, "no-sends";
        /// It declares sends, and many of its outcomes lack theirs.
        SendsMissing = 2, "sends-missing";
        /// It reports sends and does not declare them.
        SendsUndeclared = 3, "sends-undeclared";
        /// It reports deliveries and declares nothing.
        OutcomesUndeclared = 4, "outcomes-undeclared";
        /// It declares outcomes and reports refusals only.
        OnlyRefusals = 5, "only-refusals";
        /// It has brought nothing since it was configured.
        NeverHeard = 6, "never-heard";
    }
}

/// A feed that reports otherwise than it declares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The feed: `ses/eu`.
    pub feed: String,
    /// What it declares.
    pub declared: Exposure,
    /// What is wrong.
    pub mismatch: Mismatch,
}

impl Finding {
    /// What it is, and what to change in the configuration or at the provider.
    #[must_use]
    pub fn advice(&self) -> String {
        let Self { feed, declared, mismatch } = self;
        match mismatch {
            Mismatch::NoSends => format!(
                "The feed {feed} declares exposure = \"{declared}\" and reports no sends, so that none of its refusals has a rate. \
                 Let the provider report sends too; or, if it reports every delivery, set exposure = \"outcomes\" in its table."
            ),
            Mismatch::SendsMissing => format!(
                "The feed {feed} declares exposure = \"{declared}\", and more than a tenth of its outcomes lack their send; those \
                 count nothing. Let the provider report the sends of all mail; or, if it reports every delivery, set \
                 exposure = \"outcomes\" in its table."
            ),
            Mismatch::SendsUndeclared => format!(
                "The feed {feed} reports sends and declares exposure = \"{declared}\", so that they are not counted. Set \
                 exposure = \"sends\" in its table, if it reports the sends of all mail."
            ),
            Mismatch::OutcomesUndeclared => format!(
                "The feed {feed} reports deliveries and declares exposure = \"{declared}\", so that they are not counted. Set \
                 exposure = \"outcomes\" in its table, if it reports every delivery."
            ),
            Mismatch::OnlyRefusals => format!(
                "The feed {feed} declares exposure = \"{declared}\" and reports refusals only: either nothing is accepted, or \
                 deliveries are not reported. Nothing of it is judged by its rate. Let the provider report deliveries too; or set \
                 exposure = \"none\" in its table."
            ),
            Mismatch::NeverHeard => {
                let feeds = std::slice::from_ref(feed);
                format!("{} {}", never_heard_headline(feeds), never_heard_advice(feeds))
            }
        }
    }
}

/// What all of them are, a sentence or two each, and what to change: the feeds that were never heard are told together.
#[must_use]
pub fn advice(findings: &[Finding]) -> Vec<String> {
    let unheard = never_heard_of(findings);
    let others = findings.iter().filter(|finding| finding.mismatch != Mismatch::NeverHeard).map(Finding::advice);
    let unheard =
        (!unheard.is_empty()).then(|| format!("{} {}", never_heard_headline(&unheard), never_heard_advice(&unheard)));
    others.chain(unheard).collect()
}

/// The names of the feeds among them that were never heard.
pub(super) fn never_heard_of(findings: &[Finding]) -> Vec<String> {
    let unheard = findings.iter().filter(|finding| finding.mismatch == Mismatch::NeverHeard);
    unheard.map(|finding| finding.feed.clone()).collect()
}

/// Which feeds have brought nothing, in a sentence.
pub(super) fn never_heard_headline(feeds: &[String]) -> String {
    match feeds {
        [feed] => format!("The feed {feed} has brought nothing since it was configured."),
        feeds => {
            let shown: Vec<&str> = feeds.iter().take(SHOWN).map(String::as_str).collect();
            let more = feeds.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let (count, shown) = (feeds.len(), shown.join(", "));
            format!("{count} feeds have brought nothing since they were configured: {shown}{more}.")
        }
    }
}

/// What to do about feeds that have brought nothing.
pub(super) fn never_heard_advice(feeds: &[String]) -> String {
    let (of, its, unused) = match feeds {
        [_] => ("it", "its URL", "If it is not in use, remove its table."),
        _ => ("them", "for each its URL", "Of what is not in use, remove the table."),
    };
    format!(
        "Either the provider was not told of {of}, or nothing that comes is taken: `relaywatch doctor` shows {its}, what to set in the \
         provider's console, and the last rejection with its reason. {unused}"
    )
}

/// What a feed reported under the exposure that it declared last: of late, and in a longer time.
struct Reported {
    declared: Exposure,
    recent: FeedCounts,
    long: FeedCounts,
}

/// The exposure that each feed declared in its newest hour: the one in force.
fn newest(hours: &[(FeedHour, FeedCounts)]) -> BTreeMap<i32, Exposure> {
    let mut newest: BTreeMap<i32, (i64, Exposure)> = BTreeMap::new();
    for (of, _) in hours.iter().filter(|(_, counts)| counts.events > 0) {
        let known = newest.entry(of.feed).or_insert((of.hour, of.exposure));
        *known = (*known).max((of.hour, of.exposure));
    }
    newest.into_iter().map(|(feed, (_, exposure))| (feed, exposure)).collect()
}

/// Compares what feeds declare with what they reported up to the hour `now`: a function of the counts.
fn findings(hours: &[(FeedHour, FeedCounts)], names: &BTreeMap<i32, String>, now: i64) -> Vec<Finding> {
    let newest = newest(hours);
    let mut reported: BTreeMap<i32, Reported> = BTreeMap::new();
    for (of, counts) in hours {
        let Some(declared) = newest.get(&of.feed).filter(|declared| **declared == of.exposure) else { continue };
        let fresh = || Reported { declared: *declared, recent: FeedCounts::default(), long: FeedCounts::default() };
        let sums = reported.entry(of.feed).or_insert_with(fresh);
        // In the hour that fills, sends may still be on their way.
        if of.hour >= now - RECENT_HOURS && of.hour < now {
            sums.recent.add(counts);
        }
        if of.hour >= now - LONG_HOURS {
            sums.long.add(counts);
        }
    }
    let mut found: Vec<Finding> = reported
        .iter()
        .filter_map(|(feed, reported)| {
            let (feed, declared) = (names.get(feed)?.clone(), reported.declared);
            // What an import declares stands in no configuration, and is of that import alone.
            if feed.starts_with(IMPORTED_PREFIX) {
                return None;
            }
            Some(Finding { feed, declared, mismatch: mismatch(reported)? })
        })
        .collect();
    found.sort_unstable();
    found
}

fn mismatch(Reported { declared, recent, long }: &Reported) -> Option<Mismatch> {
    match declared {
        Exposure::Sends if recent.outcomes() < LEAST => None,
        Exposure::Sends if recent.sent == 0 => Some(Mismatch::NoSends),
        Exposure::Sends => {
            #[expect(clippy::cast_precision_loss, reason = "counts of a day")]
            let many = recent.unsent as f64 > UNSENT_SHARE * recent.outcomes() as f64;
            many.then_some(Mismatch::SendsMissing)
        }
        _ if recent.sent >= LEAST => Some(Mismatch::SendsUndeclared),
        Exposure::None => (recent.delivered >= LEAST).then_some(Mismatch::OutcomesUndeclared),
        Exposure::Outcomes => (long.refused >= LEAST && long.delivered == 0).then_some(Mismatch::OnlyRefusals),
    }
}

/// The feeds that report otherwise than they declare.
///
/// # Errors
/// Where the store is away.
pub async fn check(store: &Store, now: Timestamp) -> Result<Vec<Finding>, StoreError> {
    let hour = now.as_millis().div_euclid(HOUR_MILLIS);
    let hours = store.feed_hours(hour - LONG_HOURS).await?;
    let names: BTreeMap<i32, String> = store.words_of(WordKind::Feed).await?.into_iter().collect();
    let mut found = findings(&hours, &names, hour);
    let heard: BTreeSet<&str> = names.values().map(String::as_str).collect();
    found.extend(never_heard(&feeds_since(store, now).await?, &heard, now));
    found.sort_unstable();
    Ok(found)
}

/// The feeds that have brought nothing at all since they were configured, long enough ago: of whatever comes, the store knows the
/// feed's name.
fn never_heard(
    feeds: &BTreeMap<String, (Option<Exposure>, Timestamp)>,
    heard: &BTreeSet<&str>,
    now: Timestamp,
) -> Vec<Finding> {
    let patience = |declared: &Option<Exposure>| match declared {
        Some(_) => UNHEARD_MILLIS,
        None => UNHEARD_NOTICES_MILLIS,
    };
    feeds
        .iter()
        .filter(|(feed, _)| !heard.contains(feed.as_str()))
        .filter(|(_, (declared, since))| now.millis_since(*since) >= patience(declared))
        .map(|(feed, (declared, _))| Finding {
            feed: feed.clone(),
            declared: declared.unwrap_or(Exposure::None),
            mismatch: Mismatch::NeverHeard,
        })
        .collect()
}

/// Each feed's provider, the exposure that it declared last, and all that it reported in the hours given.
fn by_feed(
    hours: &[(FeedHour, FeedCounts)],
    names: &BTreeMap<i32, String>,
) -> impl Iterator<Item = (Provider, Exposure, FeedCounts)> {
    let newest = newest(hours);
    let mut sums: BTreeMap<i32, FeedCounts> = BTreeMap::new();
    for (of, counts) in hours {
        sums.entry(of.feed).or_default().add(counts);
    }
    sums.into_iter()
        .filter_map(move |(feed, counts)| Some((Provider::of_feed(names.get(&feed)?)?, *newest.get(&feed)?, counts)))
}

/// Providers whose feeds declare outcomes, and none of which has ever reported anything but refusals in the hours given:
/// what they count is no denominator. `accepts` are those of whose mail others were seen to take some.
pub(super) fn only_refusals(
    hours: &[(FeedHour, FeedCounts)],
    names: &BTreeMap<i32, String>,
    accepts: &BTreeSet<Provider>,
) -> BTreeSet<Provider> {
    let mut bare: BTreeMap<Provider, bool> = BTreeMap::new();
    for (provider, declared, counts) in by_feed(hours, names) {
        let only = match declared {
            Exposure::Outcomes if counts.outcomes() > 0 => Some(counts.delivered == 0),
            Exposure::Sends if counts.sent > 0 => Some(false),
            _ => None,
        };
        if let Some(only) = only {
            *bare.entry(provider).or_insert(true) &= only;
        }
    }
    let bare = bare.into_iter().filter(|(provider, bare)| *bare && !accepts.contains(provider));
    bare.map(|(provider, _)| provider).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 500_000;

    fn found(exposure: Exposure, counts: FeedCounts) -> Option<Mismatch> {
        let hours = [(FeedHour { feed: 1, exposure, hour: NOW - 3 }, FeedCounts { events: 1, ..counts })];
        let names = BTreeMap::from([(1, "ses/eu".to_owned())]);
        findings(&hours, &names, NOW).first().map(|finding| finding.mismatch)
    }

    #[test]
    fn what_arrives_is_held_against_what_is_declared() {
        let none = FeedCounts::default();
        let outcomes = FeedCounts { delivered: 90, refused: 10, ..none };
        assert_eq!(found(Exposure::Outcomes, outcomes), None);
        assert_eq!(found(Exposure::Outcomes, FeedCounts { sent: 100, ..outcomes }), Some(Mismatch::SendsUndeclared));
        assert_eq!(found(Exposure::Outcomes, FeedCounts { refused: 20, ..none }), Some(Mismatch::OnlyRefusals));
        assert_eq!(found(Exposure::Outcomes, FeedCounts { refused: 19, ..none }), None, "too few to tell");
        assert_eq!(found(Exposure::Sends, outcomes), Some(Mismatch::NoSends));
        assert_eq!(found(Exposure::Sends, FeedCounts { sent: 100, ..outcomes }), None);
        assert_eq!(
            found(Exposure::Sends, FeedCounts { sent: 80, unsent: 20, ..outcomes }),
            Some(Mismatch::SendsMissing)
        );
        assert_eq!(found(Exposure::None, FeedCounts { refused: 500, ..none }), None, "that is what it declares");
        assert_eq!(found(Exposure::None, outcomes), Some(Mismatch::OutcomesUndeclared));
    }

    #[test]
    fn once_the_configuration_is_mended_the_finding_is_gone() {
        let hour = |exposure, hour, sent| {
            let counts = FeedCounts { events: 200, sent, delivered: 90, refused: 10, unsent: 0 };
            (FeedHour { feed: 1, exposure, hour }, counts)
        };
        let names = BTreeMap::from([(1, "ses".to_owned())]);
        let mut hours = vec![hour(Exposure::Sends, NOW - 9, 0)];
        assert_eq!(findings(&hours, &names, NOW).len(), 1);
        hours.push(hour(Exposure::Outcomes, NOW - 2, 0));
        assert_eq!(findings(&hours, &names, NOW), []);
        hours.reverse();
        assert_eq!(findings(&hours, &names, NOW), [], "in whatever order");
    }

    #[test]
    fn each_finding_says_what_to_change() {
        for mismatch in Mismatch::ALL {
            let finding = Finding { feed: "ses/eu".to_owned(), declared: Exposure::Outcomes, mismatch: *mismatch };
            let advice = finding.advice();
            assert!(advice.contains("ses/eu") && advice.contains("its table"), "{advice}");
            assert!(advice.contains("exposure = ") || *mismatch == Mismatch::NeverHeard, "{advice}");
        }
    }

    #[test]
    fn feeds_that_were_never_heard_are_told_of_together() {
        let finding = |feed: &str, mismatch| Finding { feed: feed.to_owned(), declared: Exposure::Outcomes, mismatch };
        let never = |feed| finding(feed, Mismatch::NeverHeard);
        let advice = advice(&[never("braze"), finding("ses", Mismatch::NoSends), never("mailgun/eu")]);
        assert_eq!(advice.len(), 2, "{advice:?}");
        assert!(advice[0].contains("The feed ses declares"), "{advice:?}");
        assert_eq!(
            advice[1],
            "2 feeds have brought nothing since they were configured: braze, mailgun/eu. Either the provider was not told of them, \
             or nothing that comes is taken: `relaywatch doctor` shows for each its URL, what to set in the provider's console, and \
             the last rejection with its reason. Of what is not in use, remove the table."
        );
        assert_eq!(super::advice(&[never("braze")]), [never("braze").advice()], "one alone is told as one");
        let many: Vec<String> = (0..30).map(|number| format!("ses/{number}")).collect();
        assert!(never_heard_headline(&many).ends_with("ses/19 and 10 more."), "{}", never_heard_headline(&many));
    }

    #[test]
    fn a_feed_that_was_never_heard_is_found_after_a_day_and_one_of_notices_after_a_week() {
        let at = |days: i64| Timestamp::from_millis(days * DAY_MILLIS);
        let feeds = BTreeMap::from([
            ("apple".to_owned(), (None, at(0))),
            ("ses".to_owned(), (Some(Exposure::Outcomes), at(0))),
            ("ses/eu".to_owned(), (Some(Exposure::Sends), at(3))),
        ]);
        let found = |heard: &[&str], now| {
            let found = never_heard(&feeds, &heard.iter().copied().collect(), now);
            found.into_iter().map(|finding| finding.feed).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found(&[], at(1).plus_millis(-1)), "");
        assert_eq!(found(&[], at(1)), "ses");
        assert_eq!(found(&["ses"], at(7)), "apple ses/eu");
        assert_eq!(found(&["ses", "ses/eu", "apple"], at(99)), "");
    }

    #[test]
    fn a_provider_that_only_ever_refuses_gives_no_denominator() {
        let hour = |exposure, delivered| {
            let counts = FeedCounts { events: 30, refused: 30, delivered, ..FeedCounts::default() };
            (FeedHour { feed: 1, exposure, hour: NOW }, counts)
        };
        let names = BTreeMap::from([(1, "ses/eu".to_owned())]);
        let of = |hours: &[_], accepts: &BTreeSet<Provider>| only_refusals(hours, &names, accepts);
        let nobody = BTreeSet::new();
        assert_eq!(of(&[hour(Exposure::Outcomes, 0)], &nobody), BTreeSet::from([Provider::Ses]));
        assert!(of(&[hour(Exposure::Outcomes, 1)], &nobody).is_empty());
        assert!(of(&[hour(Exposure::Sends, 0)], &nobody).is_empty(), "what lacks its send is not counted anyway");
        assert!(of(&[hour(Exposure::Outcomes, 0)], &BTreeSet::from([Provider::Ses])).is_empty(), "others are accepted");
    }
}
