//! Times in every dress, and which of them are taken.

use super::{Aside, Scalar};
use crate::{
    ingest::{SetAsideReason, plausible},
    model::Timestamp,
};

/// Numbers above it, the end of the year 9999 in seconds since the epoch, are milliseconds.
const MILLIS_FROM: i64 = 253_402_300_799;

impl Scalar<'_> {
    /// A point in time: whole or fractional seconds, milliseconds, or RFC 3339.
    pub(in crate::ingest::http) fn time(self) -> Option<Timestamp> {
        let text = self.text()?;
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return Some(match number {
                n if n > MILLIS_FROM => Timestamp::from_millis(n),
                n => Timestamp::from_seconds(n),
            });
        }
        if let Some(stamp) = Timestamp::from_rfc3339(text) {
            return Some(stamp);
        }
        Timestamp::from_seconds_f64(text.parse().ok()?)
    }
}

/// The time of an event of type `kind`, at face value.
pub(in crate::ingest::http) fn event_time(
    field: Option<Scalar<'_>>,
    now: Timestamp,
    kind: &str,
) -> Result<Timestamp, Aside> {
    let field = field.ok_or_else(|| Aside::new(SetAsideReason::Malformed, kind))?;
    // A time that no calendar holds is as implausible as one that nobody lives in.
    field.time().filter(|at| plausible(*at, now)).ok_or_else(|| Aside::new(SetAsideReason::ImplausibleTime, kind))
}

/// A send time is a help, no condition: one that makes no sense is as good as none.
pub(in crate::ingest::http) fn send_time(field: Option<Scalar<'_>>, now: Timestamp) -> Option<Timestamp> {
    field?.time().filter(|at| plausible(*at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(json: &str) -> Scalar<'_> {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn times_come_in_every_dress() {
        let at = Some(Timestamp::from_millis(1_754_719_200_000));
        for dress in [
            "1754719200",
            "\"1754719200\"",
            "1754719200000",
            "\"1754719200000\"",
            "\"2025-08-09T06:00:00Z\"",
            "1754719200.0",
            "1.7547192e9",
        ] {
            assert_eq!(scalar(dress).time(), at, "{dress}");
        }
        for none in ["\"yesterday\"", "true", "[]", "1e300", "\"NaN\"", "\"2025-08-09T06:00:00\""] {
            assert_eq!(scalar(none).time(), None, "{none}");
        }
    }

    #[test]
    fn seconds_are_seconds_to_the_end_of_the_calendar() {
        assert_eq!(scalar("253402300799").time(), Some(Timestamp::from_seconds(253_402_300_799)));
        assert_eq!(scalar("100000000001").time(), Some(Timestamp::from_seconds(100_000_000_001)));
    }

    #[test]
    fn absurd_times_are_set_aside() {
        let now = Timestamp::from_seconds(1_754_719_200);
        let reason = |json| event_time(Some(scalar(json)), now, "bounce").map_err(|aside| aside.reason);
        for absurd in [
            "\"0001-01-01T00:00:00Z\"",
            "\"9999-12-31T23:59:59Z\"",
            "253402300799",
            "-62135596800",
            "0",
            "9223372036854775807",
            "1e308",
            "-1e308",
            "\"253402300799.5\"",
            "\"NaN\"",
            "\"-inf\"",
            "true",
            "92356927693813856789012345678901",
        ] {
            assert_eq!(reason(absurd), Err(SetAsideReason::ImplausibleTime), "{absurd}");
        }
        assert_eq!(reason("1754719200"), Ok(now));
        assert_eq!(event_time(None, now, "bounce").map_err(|aside| aside.reason), Err(SetAsideReason::Malformed));
    }
}
