//! When something that did not leave is tried again. Nothing is given up: a page may be the only one that was told of an
//! incident, and a notice was acknowledged to Apple. Pure: time comes in, and chance is a hash of the key.

use aws_lc_rs::digest;

use super::answer::Failure;
use crate::{
    model::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, Timestamp},
    store::{OutboxFailure, OutboxItem, Route},
};

/// The longest wait that a receiver can ask for: a page that comes days later is no page.
const LONGEST_ASKED: i64 = HOUR_MILLIS;

/// How the gaps between attempts grow.
struct Schedule {
    first: i64,
    factor: i64,
    longest: i64,
}

/// For how long something is tried often; past that it is an error in the log, and tried seldom.
pub(super) const fn patience(route: Route) -> i64 {
    match route {
        Route::Slack | Route::Webhook => DAY_MILLIS,
        Route::Forward => 3 * DAY_MILLIS,
    }
}

const fn schedule(route: Route, refused: bool, waited: i64) -> Schedule {
    if refused {
        // It will not go through before somebody changes a setting, which brings it back at once.
        return Schedule { first: MINUTE_MILLIS, factor: 3, longest: 6 * HOUR_MILLIS };
    }
    let impatient = waited < patience(route);
    let longest = match route {
        Route::Slack | Route::Webhook if impatient => 15 * MINUTE_MILLIS,
        Route::Forward if !impatient => 6 * HOUR_MILLIS,
        _ => HOUR_MILLIS,
    };
    Schedule { first: 5_000, factor: 2, longest }
}

/// What becomes of an item after this failure.
pub(super) fn plan(item: &OutboxItem, failure: &Failure, now: Timestamp) -> OutboxFailure {
    let schedule = schedule(item.route, failure.refused, now.millis_since(item.created_at));
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
    OutboxFailure {
        error: failure.reason.clone(),
        retry_at: Some(now.plus_millis(wait)),
        may_have_arrived: failure.may_have_arrived,
        // What is refused for its own content must not keep back the rest of its incident.
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

    /// The times of the attempts within so many days.
    fn attempts(route: Route, failure: &Failure, days: i64) -> Vec<i64> {
        let mut times = vec![0];
        loop {
            let last = Timestamp::from_millis(*times.last().expect("one"));
            let plan = plan(&item(route, i32::try_from(times.len()).expect("few")), failure, last);
            let next = plan.retry_at.expect("never given up").as_millis();
            if next > days * DAY_MILLIS {
                return times;
            }
            assert!(times.len() < 2_000, "bounded");
            times.push(next);
        }
    }

    #[test]
    fn pages_and_notices_are_tried_often_at_first_and_for_ever() {
        let down = Failure::transient("down", None);
        let refused = Failure::refused("the receiver answered 404");
        for (route, days, longest) in
            [(Route::Slack, 1, HOUR_MILLIS), (Route::Webhook, 1, HOUR_MILLIS), (Route::Forward, 3, 6 * HOUR_MILLIS)]
        {
            let often = attempts(route, &down, days).len();
            assert!((50..200).contains(&often), "{often} tries at first");
            let after: Vec<i64> = attempts(route, &down, 60).into_iter().filter(|at| *at > days * DAY_MILLIS).collect();
            assert!(after.last().is_some_and(|last| *last > 59 * DAY_MILLIS), "after two months still");
            let gaps: Vec<i64> = after.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| (longest * 3 / 4..=longest * 5 / 4).contains(gap)), "{gaps:?}");
            let tries = attempts(route, &refused, 60);
            assert!(tries.last().is_some_and(|last| *last > 59 * DAY_MILLIS));
            assert!((200..350).contains(&tries.len()), "{} tries of what is refused", tries.len());
        }
        let gaps: Vec<i64> = attempts(Route::Slack, &down, 1).windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((3_750..=6_250).contains(&gaps[0]), "{}", gaps[0]);
        assert!(gaps[6] > 30 * gaps[0], "they grow: {gaps:?}");
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
