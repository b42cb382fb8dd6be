//! The times of signing: how they are written, and the window outside of which they are refused.

use axum::http::StatusCode;

use super::{Rejection, RejectionReason};
use crate::model::{HOUR_MILLIS, MINUTE_MILLIS, Timestamp};

/// How far ahead of the clock a signed time may be.
pub(super) const MAX_AHEAD_MILLIS: i64 = 5 * MINUTE_MILLIS;

/// A signed time of ten digits and nothing else, so that no byte can move between it and what is signed beside it.
pub(super) fn seconds(text: &str) -> Option<Timestamp> {
    let is_whole = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| text.parse().ok()).flatten().map(Timestamp::from_seconds)
}

/// Checks that a signed time is at most `window_millis` old and no more than [`MAX_AHEAD_MILLIS`] ahead.
///
/// # Errors
/// 503: the signature verifies, so that this machine's clock may be what is wrong, and the delivery is worth sending again.
pub(super) fn within_window(at: Timestamp, now: Timestamp, window_millis: i64) -> Result<(), Rejection> {
    within(at, now, window_millis, MAX_AHEAD_MILLIS)
}

/// The same, with how far ahead of the clock the time may be.
///
/// # Errors
/// As [`within_window`].
pub(super) fn within(at: Timestamp, now: Timestamp, window_millis: i64, ahead_millis: i64) -> Result<(), Rejection> {
    let stale = |detail: String| {
        Err(Rejection::new(StatusCode::SERVICE_UNAVAILABLE, RejectionReason::Stale, detail).conclusive())
    };
    let age = now.millis_since(at);
    if age > window_millis {
        return stale(format!(
            "the signed time is older than {}, after which this provider sends nothing again: a replay, or this machine's \
             clock may be wrong (ahead); check it",
            span(window_millis)
        ));
    }
    if age < -ahead_millis {
        return stale(format!(
            "the signed time is more than {} ahead: this machine's clock may be wrong (behind); check it",
            span(ahead_millis)
        ));
    }
    Ok(())
}

fn span(millis: i64) -> String {
    match millis {
        whole if whole % HOUR_MILLIS == 0 => format!("{} hours", whole / HOUR_MILLIS),
        other => format!("{} minutes", other / MINUTE_MILLIS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::http::testing::NOW;

    #[test]
    fn a_signed_time_has_ten_digits_and_nothing_else() {
        assert_eq!(seconds("1754719200"), Some(Timestamp::from_seconds(1_754_719_200)));
        for text in
            ["", "175471920", "17547192000", "+754719200", " 754719200", "1754719200 ", "175471920x", "-754719200"]
        {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_window_is_wide_behind_and_narrow_ahead() {
        let outcome = |millis: i64| within_window(NOW.plus_millis(millis), NOW, 600_000).map_err(|error| error.status);
        assert_eq!(outcome(-600_000), Ok(()));
        assert_eq!(outcome(300_000), Ok(()));
        assert_eq!(outcome(-600_001), Err(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(outcome(300_001), Err(StatusCode::SERVICE_UNAVAILABLE));
    }
}
