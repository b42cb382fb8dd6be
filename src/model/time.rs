//! Points in time as the store keeps them: milliseconds since 1970-01-01T00:00:00Z.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A minute in milliseconds.
pub const MINUTE_MILLIS: i64 = 60_000;
/// An hour in milliseconds.
pub const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
/// A day in milliseconds; UTC has no leap seconds here, as in POSIX time.
pub const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;
/// The width of a detector's bin: five minutes of send time.
pub const BIN_MILLIS: i64 = 5 * MINUTE_MILLIS;

/// A point in time, in milliseconds since the epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch; saturates at the ends of the range.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// From fractional seconds since the epoch, rounded to the nearest millisecond.
    ///
    /// Returns `None` for what is no finite number and for what lies outside the years 1 to 9999.
    #[must_use]
    pub fn from_seconds_f64(seconds: f64) -> Option<Self> {
        const LIMIT: f64 = 253_402_300_800.0;
        if !seconds.is_finite() || seconds.abs() >= LIMIT {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded by LIMIT just above")]
        Some(Self((seconds * 1_000.0).round() as i64))
    }

    /// From an RFC 3339 text; a missing offset is an error.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let stamp: jiff::Timestamp = text.trim().parse().ok()?;
        Some(Self(stamp.as_millisecond()))
    }

    /// Midnight UTC of a date such as `2026-08-09`.
    #[must_use]
    pub fn from_date(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = (text.len() == 10).then(|| text.parse().ok()).flatten()?;
        Self::from_rfc3339(&format!("{date}T00:00:00Z"))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The day that holds this point; the first or last day that can be named where it lies beyond.
    #[must_use]
    pub const fn day(self) -> Day {
        let day = self.0.div_euclid(DAY_MILLIS);
        #[expect(clippy::cast_possible_truncation, reason = "in range by the two tests before it")]
        if day > i32::MAX as i64 {
            Day(i32::MAX)
        } else if day < i32::MIN as i64 {
            Day(i32::MIN)
        } else {
            Day(day as i32)
        }
    }

    /// The five-minute bin that holds this point.
    #[must_use]
    pub const fn bin(self) -> Bin {
        Bin(self.0.div_euclid(BIN_MILLIS))
    }

    /// This point moved by so many milliseconds, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this point; negative where `earlier` is later. Saturates.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds where there are any; the bare number where no calendar reaches.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(stamp) => f.pad(&stamp.to_string()),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A UTC day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub i32);

impl Day {
    /// The first point of the day.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        Timestamp(self.0 as i64 * DAY_MILLIS)
    }

    /// The day after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A five-minute bin, counted from the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bin(pub i64);

impl Bin {
    /// The first point of the bin.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(BIN_MILLIS))
    }

    /// The first point after the bin.
    #[must_use]
    pub const fn end(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1).saturating_mul(BIN_MILLIS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_bins_round_down_also_before_the_epoch() {
        assert_eq!(Timestamp::from_millis(-1).day(), Day(-1));
        assert_eq!(Timestamp::from_millis(-1).bin(), Bin(-1));
        assert_eq!(Timestamp::from_millis(DAY_MILLIS).day(), Day(1));
        assert_eq!(Day(1).start(), Timestamp::from_millis(DAY_MILLIS));
        assert_eq!(Timestamp::from_millis(i64::MAX).day(), Day(i32::MAX));
        assert_eq!(Timestamp::from_millis(i64::MIN).day(), Day(i32::MIN));
        let bin = Timestamp::from_millis(299_999).bin();
        assert_eq!((bin.start(), bin.end()), (Timestamp::EPOCH, Timestamp::from_millis(300_000)));
    }

    #[test]
    fn texts_and_fractions_become_milliseconds() {
        assert_eq!(
            Timestamp::from_rfc3339("2025-08-09T06:00:00.123Z"),
            Some(Timestamp::from_millis(1_754_719_200_123))
        );
        assert_eq!(
            Timestamp::from_rfc3339("2025-08-09T08:00:00.123+02:00"),
            Some(Timestamp::from_millis(1_754_719_200_123))
        );
        assert_eq!(Timestamp::from_rfc3339("2025-08-09T06:00:00"), None, "no offset, no point in time");
        assert_eq!(Timestamp::from_seconds_f64(1_521_472_262.908_181), Some(Timestamp::from_millis(1_521_472_262_908)));
        assert_eq!(Timestamp::from_seconds_f64(f64::NAN), None);
        assert_eq!(Timestamp::from_seconds_f64(1e300), None);
        assert_eq!(Timestamp::from_millis(1_754_719_200_123).to_string(), "2025-08-09T06:00:00.123Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), format!("{} ms", i64::MAX));
    }
}
