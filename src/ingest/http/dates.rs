//! Times that say no offset, or say it in another way than RFC 3339.

use jiff::{civil::DateTime, fmt::rfc2822, tz::TimeZone};

use super::wire::{self, Aside, Scalar};
use crate::{
    ingest::{SetAsideReason, plausible},
    model::Timestamp,
};

/// What American clocks write; .NET's default for `en-US`.
const AMERICAN: &str = "%m/%d/%Y %I:%M:%S %p";

/// A time by [`Scalar::time`], else with its offset after a blank, else without one, which is taken for UTC, else as RFC 5322 and
/// HTTP write it, else as Americans do.
pub(super) fn parse(field: Scalar<'_>) -> Option<Timestamp> {
    field.time().or_else(|| parse_text(&field.text()?))
}

/// The same of a text that is no number.
pub(super) fn parse_text(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    if let Some(stamp) = Timestamp::from_rfc3339(text) {
        return Some(stamp);
    }
    // `2025-08-09 06:00:00 +00:00`
    if let Some((time, offset)) = text.rsplit_once(' ')
        && offset.starts_with(['+', '-'])
        && let Some(stamp) = Timestamp::from_rfc3339(&format!("{time}{offset}"))
    {
        return Some(stamp);
    }
    let civil = text.parse::<DateTime>().ok().or_else(|| DateTime::strptime(AMERICAN, text).ok());
    let stamp = match civil {
        Some(civil) => TimeZone::UTC.to_timestamp(civil).ok()?,
        None => rfc2822::parse(text).ok()?.timestamp(),
    };
    Some(Timestamp::from_millis(stamp.as_millisecond()))
}

/// The time of an event of type `kind`, at face value; [`wire::event_time`] for those whose times are of many forms.
pub(super) fn event_time(field: Option<Scalar<'_>>, now: Timestamp, kind: &str) -> Result<Timestamp, Aside> {
    let field = field.filter(|field| field.text().is_some());
    let field = field.ok_or_else(|| Aside::new(SetAsideReason::Malformed, kind))?;
    parse(field).filter(|at| plausible(*at, now)).ok_or_else(|| Aside::new(SetAsideReason::ImplausibleTime, kind))
}

/// What is set aside for a type that nobody knows, with the time that it tells.
pub(super) fn unknown_type(word: &str, time: Option<Scalar<'_>>, now: Timestamp) -> Aside {
    let aside = wire::unknown_type(word, None, now);
    match time.and_then(parse).filter(|at| plausible(*at, now)) {
        Some(at) => aside.at(at),
        None => aside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let at = Some(Timestamp::from_seconds(1_754_719_200));
        for text in [
            "2025-08-09T06:00:00Z",
            "2025-08-09T08:00:00+02:00",
            "2025-08-09 06:00:00 +00:00",
            "2025-08-09 06:00:00",
            "2025-08-09T06:00:00.000",
            "Sat, 09 Aug 2025 06:00:00 GMT",
            "Sat, 9 Aug 2025 08:00:00 +0200",
            "8/9/2025 6:00:00 AM",
            "08/09/2025 06:00:00 am",
            " 2025-08-09T06:00:00Z ",
        ] {
            assert_eq!(parse_text(text), at, "{text}");
        }
        for text in ["", "yesterday", "06:00", "31/12/2025 6:00:00 AM", "2025-13-01", "NaN"] {
            assert_eq!(parse_text(text), None, "{text}");
        }
        assert_eq!(parse_text(&"2".repeat(100)), None);
    }
}
