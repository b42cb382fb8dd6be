//! When mail is sent, and to whom: transactional mail by the hour of the day and the day of the week, and campaigns.

use std::sync::Arc;

use rand::Rng;

use super::chance::{exponential, float, happens, index, lognormal, millis, poisson, rate, uniform, unit, whole};
use crate::model::{BIN_MILLIS, DAY_MILLIS, Day, HOUR_MILLIS, Timestamp};

/// A campaign is sent over so many bins at most.
const CAMPAIGN_BINS: i64 = 24;
/// The mean of the exponential decay with which a campaign goes out, in seconds.
const DECAY_SECONDS: f64 = 1_800.0;
/// The share of campaigns that are refused three times as often as usual, with nothing wrong.
const BENIGN_SHARE: f64 = 0.05;

/// What is ordinary for a sender.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ordinary {
    /// The mean refusal rate.
    pub(super) rate: f64,
    /// The dispersion between clusters.
    pub(super) rho: f64,
}

impl Ordinary {
    /// A lognormal rate around .5 %, from .1 to 2 %; a dispersion from .0005 to .01.
    pub(super) fn draw(rng: &mut dyn Rng) -> Self {
        Self { rate: lognormal(rng, 0.005, 0.4).clamp(0.001, 0.02), rho: uniform(rng, 0.0005, 0.01) }
    }

    fn cluster(&self, rng: &mut dyn Rng) -> f64 {
        rate(rng, self.rate, self.rho)
    }
}

/// One mail that is to be sent.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    pub(super) at: Timestamp,
    /// The user's place in the list.
    pub(super) user: usize,
    pub(super) campaign: Option<Arc<str>>,
    /// The refusal rate of its cluster.
    pub(super) rate: f64,
}

/// Transactional mail of some days: about `a_day`, by day a third less on Saturdays and Sundays.
pub(super) fn transactional(
    rng: &mut dyn Rng,
    (from, until): (Timestamp, Timestamp),
    (a_day, users): (f64, usize),
    ordinary: &Ordinary,
) -> Vec<Mail> {
    let mut mails = Vec::new();
    let mut day = from.day();
    while day.start() < until {
        let weekend = is_weekend(day);
        let count = poisson(rng, if weekend { a_day * 0.7 } else { a_day });
        let rate = ordinary.cluster(rng);
        for _ in 0..count {
            let at = day.start().plus_millis(time_of_day(rng));
            let user = index(rng, users);
            if at >= from && at < until {
                mails.push(Mail { at, user, campaign: None, rate });
            }
        }
        day = day.next();
    }
    mails
}

/// 1970-01-01 was a Thursday.
fn is_weekend(day: Day) -> bool {
    matches!(day.0.rem_euclid(7), 2 | 3)
}

/// Milliseconds into the day: most at 14:00 UTC, a quarter of that at 02:00.
fn time_of_day(rng: &mut dyn Rng) -> i64 {
    loop {
        let hour = uniform(rng, 0.0, 24.0);
        let weight = (1.0 + 0.6 * ((hour - 14.0) / 24.0 * std::f64::consts::TAU).cos()) / 1.6;
        if unit(rng) < weight {
            return millis(hour * 3_600.0).min(DAY_MILLIS - 1);
        }
    }
}

/// Three campaigns a week, at working hours, of lognormal size; some of them benignly bad.
pub(super) fn campaigns(
    rng: &mut dyn Rng,
    (from, until): (Timestamp, Timestamp),
    (median, users): (f64, usize),
    ordinary: &Ordinary,
) -> Vec<Mail> {
    let mut mails = Vec::new();
    let mut day = from.day();
    while day.start() < until {
        let start = day.start().plus_millis(millis(uniform(rng, 8.0, 17.0) * 3_600.0));
        let size = whole(lognormal(rng, median, 0.6)).min(users);
        // Mondays, Wednesdays and Fridays.
        if matches!(day.0.rem_euclid(7), 4 | 6 | 1) && start >= from && start.plus_millis(3 * HOUR_MILLIS) < until {
            let name: Arc<str> =
                format!("news-{}", day.start().to_string().chars().take(10).collect::<String>()).into();
            let factor = if happens(rng, BENIGN_SHARE) { 3.0 } else { 1.0 };
            let rate = (ordinary.cluster(rng) * factor).min(1.0);
            mails.extend(campaign(rng, start, &name, float(size) / float(users.max(1)), users, rate));
        }
        day = day.next();
    }
    mails
}

/// One campaign to a share of the users, each at most once: an exponential decay over two hours.
pub(super) fn campaign(
    rng: &mut dyn Rng,
    start: Timestamp,
    name: &Arc<str>,
    share: f64,
    users: usize,
    rate: f64,
) -> Vec<Mail> {
    let chosen: Vec<usize> = (0..users).filter(|_| happens(rng, share)).collect();
    chosen
        .into_iter()
        .map(|user| {
            let lag = millis(exponential(rng, DECAY_SECONDS)).rem_euclid(CAMPAIGN_BINS * BIN_MILLIS);
            Mail { at: start.plus_millis(lag), user, campaign: Some(Arc::clone(name)), rate }
        })
        .collect()
}
