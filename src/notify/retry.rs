//! When something that did not leave is tried again, and when nobody tries any more. Pure: time comes in, and chance is a
//! hash of the key.

use aws_lc_rs::digest;

use super::answer::Failure;
use crate::{
    model::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, Timestamp},
    store::{OutboxFailure, OutboxItem, Route},
};

/// Attempts that are made even where the daemon was down for longer than the horizon.
const FEWEST_ATTEMPTS: i32 = 8;
/// The longest wait that a receiver can ask for: a page that comes days later is no page.
const LONGEST_ASKED: i64 = HOUR_MILLIS;

/// How the gaps between attempts grow, and for how long.
struct Schedule {
    first: i64,
    factor: i64,
    longest: i64,
    horizon: i64,
}

const fn schedule(route: Route, refused: bool) -> Schedule {
    let horizon = match route {
        Route::Slack | Route::Webhook => DAY_MILLIS,
        Route::Forward => 3 * DAY_MILLIS,
    };
    if refused {
        // It will not go through before somebody changes a setting: few attempts, over the same time.
        Schedule { first: MINUTE_MILLIS, factor: 3, longest: 6 * HOUR_MILLIS, horizon }
    } else {
        let longest = match route {
            Route::Slack | Route::Webhook => 15 * MINUTE_MILLIS,
            Route::Forward => HOUR_MILLIS,
        };
        Schedule { first: 5_000, factor: 2, longest, horizon }
    }
}

/// What becomes of an item after this failure.
pub(super) fn plan(item: &OutboxItem, failure: &Failure, now: Timestamp) -> OutboxFailure {
    let schedule = schedule(item.route, failure.refused);
    let wait = if let Some(asked) = failure.retry_after {
        // Never earlier than asked, and not all at once.
        let asked = i64::try_from(asked.as_millis()).unwrap_or(i64::MAX).clamp(1_000, LONGEST_ASKED);
        asked + asked / 1_000 * i64::from(chance(item)) / 10
    } else {
        let mut gap = schedule.first;
        for _ in 1..item.attempts {
            gap = gap.saturating_mul(schedule.factor).min(schedule.longest);
            if gap == schedule.longest {
                break;
            }
        }
        gap * (750 + i64::from(chance(item)) / 2) / 1_000
    };
    let last = item.created_at.plus_millis(schedule.horizon);
    let retry_at = if now < last {
        Some(now.plus_millis(wait).min(last))
    } else {
        (item.attempts < FEWEST_ATTEMPTS).then(|| now.plus_millis(wait))
    };
    OutboxFailure {
        error: failure.reason.clone(),
        retry_at,
        may_have_arrived: failure.may_have_arrived,
        // What is refused for its own content must not keep back the rest of its incident for a day.
        lets_pass: failure.refused,
    }
}

/// 0 to 999, the same for the same attempt at the same thing.
fn chance(item: &OutboxItem) -> u16 {
    let input = format!("{}/{}/{}", item.route, item.key, item.attempts);
    let hash = digest::digest(&digest::SHA256, input.as_bytes());
    hash.as_ref().first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes) % 1_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn item(route: Route, attempts: i32) -> OutboxItem {
        OutboxItem {
            id: 1,
            key: "inc-7/opened/1".to_owned(),
            route,
            target: "inc-7".to_owned(),
            paced: false,
            created_at: Timestamp::EPOCH,
            attempts,
            possible_repeat: false,
            body: None,
        }
    }

    /// Runs until it is given up; gives the times of the attempts.
    fn attempts(route: Route, failure: &Failure) -> Vec<i64> {
        let mut times = vec![0];
        while let Some(next) = plan(
            &item(route, i32::try_from(times.len()).expect("few")),
            failure,
            Timestamp::from_millis(*times.last().expect("one")),
        )
        .retry_at
        {
            assert!(times.len() < 1_000, "bounded");
            times.push(next.as_millis());
        }
        times
    }

    #[test]
    fn pages_are_tried_for_a_day_and_notices_for_three() {
        let down = Failure::transient("down", None);
        let refused = Failure::refused("the receiver answered 404");
        for (route, days) in [(Route::Slack, 1), (Route::Webhook, 1), (Route::Forward, 3)] {
            let tries = attempts(route, &down);
            assert_eq!(tries.last(), Some(&(days * DAY_MILLIS)), "the last one at the very end");
            assert!((50..200).contains(&tries.len()), "{} tries", tries.len());
            let tries = attempts(route, &refused);
            assert_eq!(tries.last(), Some(&(days * DAY_MILLIS)));
            assert!((8..25).contains(&tries.len()), "{} tries of what is refused", tries.len());
        }
        let gaps: Vec<i64> = attempts(Route::Slack, &down).windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((3_750..=6_250).contains(&gaps[0]), "{}", gaps[0]);
        assert!(gaps[6] > 30 * gaps[0], "they grow: {gaps:?}");
    }

    #[test]
    fn after_a_long_outage_of_ours_there_are_still_several_attempts() {
        let late = Timestamp::from_millis(9 * DAY_MILLIS);
        let down = Failure::transient("down", None);
        assert!(plan(&item(Route::Slack, 1), &down, late).retry_at.is_some());
        assert_eq!(plan(&item(Route::Slack, FEWEST_ATTEMPTS), &down, late).retry_at, None);
    }

    proptest! {
        #[test]
        fn nobody_is_asked_again_before_the_time_that_he_asked_for(seconds in 0_u64..1_000_000, attempts in 1..100_i32) {
            let failure = Failure::transient("busy", Some(Duration::from_secs(seconds)));
            let now = Timestamp::from_millis(1_000);
            let retry = plan(&item(Route::Slack, attempts), &failure, now).retry_at.expect("again");
            let waited = retry.millis_since(now);
            let asked = i64::try_from(seconds).expect("small").saturating_mul(1_000).min(HOUR_MILLIS);
            prop_assert!(waited >= asked && waited <= asked.max(1_000) * 11 / 10, "{waited} for {asked}");
        }
    }
}
