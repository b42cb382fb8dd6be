//! Times on the command line.

use jiff::{Span, SpanRelativeTo, Unit};

use crate::model::Timestamp;

/// Reads a time: RFC 3339, a date (midnight UTC), `now`, or how long ago (`30m`, `2h`, `7d`).
///
/// # Errors
/// Says what can be written.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Some(at) = Timestamp::from_rfc3339(text).or_else(|| Timestamp::from_date(text)) {
        return Ok(at);
    }
    let span: Option<Span> = text.parse().ok();
    let millis = span.and_then(|span| span.total((Unit::Millisecond, SpanRelativeTo::days_are_24_hours())).ok());
    match millis {
        #[expect(clippy::cast_possible_truncation, reason = "a span has at most some thousand years")]
        Some(millis) if millis >= 0.0 => Ok(now.plus_millis(-(millis.round() as i64))),
        _ => Err(format!("{text:?} is no time; write 2026-08-09T06:00:00Z, 2026-08-09, or how long ago: 30m, 2h, 7d")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn points_dates_and_spans_are_times() {
        let now = Timestamp::from_rfc3339("2026-08-09T12:00:00Z").expect("a time");
        let read = |text: &str| parse(text, now).map(|at| at.to_string());
        assert_eq!(read("2026-08-09T08:00:00+02:00").as_deref(), Ok("2026-08-09T06:00:00Z"));
        assert_eq!(read("2026-08-09").as_deref(), Ok("2026-08-09T00:00:00Z"));
        assert_eq!(read("now").as_deref(), Ok("2026-08-09T12:00:00Z"));
        assert_eq!(read("30m").as_deref(), Ok("2026-08-09T11:30:00Z"));
        assert_eq!(read("2h").as_deref(), Ok("2026-08-09T10:00:00Z"));
        assert_eq!(read("7d").as_deref(), Ok("2026-08-02T12:00:00Z"));
        assert_eq!(read("1w 1d").as_deref(), Ok("2026-08-01T12:00:00Z"));
        for wrong in ["", "yesterday", "7", "2026-13-01", "2026-08-09T06:00:00", "-2h", "1 month"] {
            assert!(read(wrong).is_err(), "{wrong:?} is no time");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let now = Timestamp::from_millis(1_700_000_000_000);
            if let Ok(at) = parse(&text, now) {
                prop_assert!(at <= now || text.contains(['-', ':']));
            }
        }
    }
}
