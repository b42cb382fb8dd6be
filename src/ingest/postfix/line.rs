//! One line of a log: who wrote it where and when, and what it says.
//!
//! | form | looks like | source |
//! |---|---|---|
//! | traditional | `Aug  9 06:00:02 mx1 postfix/smtp[1234]: …` | RFC 3164 section 4.1; no year, no zone |
//! | postlogd's and journald's `short` | `Aug 09 06:00:02 …`, `Aug 09 06:00:02.123456 …` | Postfix's MAILLOG_README; journalctl(1) |
//! | high precision | `2025-08-09T06:00:02.123456+02:00 mx1 …` | RFC 3339, as rsyslog writes it |
//! | journald's `short-iso` | `2025-08-09T06:00:02+0200 mx1 …`, with a colon in the offset since systemd 255 | journalctl(1) |
//! | journald's `short-full` | `Sat 2025-08-09 06:00:02 CEST mx1 …` | journalctl(1) |
//! | journald's `short-unix` | `1754719202.123456 mx1 …` | journalctl(1) |
//! | journald's `json` | one object a line | journalctl(1), systemd.journal-fields(7) |

use std::borrow::Cow;

use jiff::{
    civil::{Date, DateTime, Time},
    tz::{Offset, TimeZone},
};
use serde::Deserialize;

use crate::{ingest::MAX_AHEAD_MILLIS, model::Timestamp};

/// How many years back a date is looked for that not every year has: 29 February, across a century without a leap day.
const YEARS_BACK: i16 = 8;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A line of one of Postfix's programs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// When, in whole seconds: one line is one line by whichever transport, and not all of them have more.
    pub(super) at: Timestamp,
    /// The host that wrote it.
    pub(super) host: Cow<'a, str>,
    /// The program without the instance's name: `smtp`, `qmgr`.
    pub(super) program: Cow<'a, str>,
    /// What it says.
    pub(super) text: Cow<'a, str>,
}

/// What a text is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// A line of Postfix's.
    Postfix(Line<'a>),
    /// A line of another program's.
    Foreign,
    /// No line of a log, or one without a time.
    Unreadable,
}

/// Reads a line. What it doesn't say of its time is taken from `zone`, and the year is the latest in which it is not more than a
/// day after `reference`.
pub(super) fn read<'a>(text: &'a str, reference: Timestamp, zone: &TimeZone) -> Read<'a> {
    if text.starts_with('{') {
        return read_json(text).unwrap_or(Read::Unreadable);
    }
    // The priority (RFC 3164 section 4.1.1), where a file is written of packets as they came.
    let text = match text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((priority, rest)) if priority.len() <= 3 && priority.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => text,
    };
    let Some((when, rest)) = When::read(text) else { return Read::Unreadable };
    let Some((host, rest)) = rest.trim_start_matches(' ').split_once(' ') else { return Read::Unreadable };
    let rest = rest.trim_start_matches(' ');
    let (tag, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let Some(program) = tag.strip_suffix(':').and_then(program_of) else { return Read::Foreign };
    // Only now: most lines of a common log are other programs', and civil time costs most.
    let Some(at) = when.at(reference, zone) else { return Read::Unreadable };
    Read::Postfix(Line { at, host: host.into(), program: program.into(), text: without_id(text.trim_start()).into() })
}

/// The last part of `postfix/smtp[1234]`, `postfix-out/smtp`, `postfix/relay/smtp[1234]`. Instances and services name themselves
/// freely (`syslog_name`), so that the program decides whether it's Postfix's.
fn program_of(tag: &str) -> Option<&str> {
    let name = match tag.split_once('[') {
        Some((name, pid)) if pid.ends_with(']') => name,
        Some(_) => return None,
        None => tag,
    };
    let (instance, program) = name.rsplit_once('/')?;
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (!instance.is_empty() && !program.is_empty() && program.bytes().all(named)).then_some(program)
}

/// Without the message's id and priority that Solaris puts first: `[ID 197553 mail.info] …`.
fn without_id(text: &str) -> &str {
    text.strip_prefix("[ID ").and_then(|rest| rest.split_once("] ")).map_or(text, |(_, rest)| rest)
}

/// An entry of the journal as `--output=json` has it. A field with bytes that are no text is an array of numbers.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, rename = "__REALTIME_TIMESTAMP")]
    received: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_SOURCE_REALTIME_TIMESTAMP")]
    written: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_HOSTNAME")]
    host: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "SYSLOG_IDENTIFIER")]
    tag: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "MESSAGE")]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Bytes(Vec<u8>),
}

fn read_json(text: &str) -> Option<Read<'_>> {
    let Entry { received, written, host, tag, message } = serde_json::from_str(text).ok()?;
    let Some(program) = tag.as_deref().and_then(program_of) else { return Some(Read::Foreign) };
    let micros: i64 = written.or(received)?.parse().ok()?;
    let text = match message? {
        Message::Text(text) => text,
        Message::Bytes(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    };
    Some(Read::Postfix(Line {
        at: Timestamp::from_seconds(micros.div_euclid(1_000_000)),
        host: host?.into_owned().into(),
        program: program.to_owned().into(),
        text,
    }))
}

/// A time as a line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When<'a> {
    /// Seconds since the epoch.
    Epoch(i64),
    /// Civil time at an offset in seconds.
    At(DateTime, i32),
    /// Civil time by a zone's abbreviation, which names no zone for certain.
    Named(DateTime, &'a str),
    /// Month, day and time.
    Yearless(i8, i8, Time),
}

impl<'a> When<'a> {
    /// Reads a time at the start of a text; gives the rest.
    fn read(text: &'a str) -> Option<(Self, &'a str)> {
        let first = *text.as_bytes().first()?;
        if first.is_ascii_digit() {
            let (word, rest) = text.split_once(' ')?;
            return Some((Self::numeric(word)?, rest));
        }
        let (word, rest) = text.split_once(' ')?;
        if let Some(month) = MONTHS.iter().position(|month| *month == word) {
            let (day, rest) = rest.trim_start_matches(' ').split_once(' ')?;
            let (time, rest) = rest.trim_start_matches(' ').split_once(' ')?;
            let day = number(day, 1, 2)?;
            return Some((Self::Yearless(i8::try_from(month + 1).ok()?, i8::try_from(day).ok()?, clock(time)?), rest));
        }
        // A day of the week, and all the rest: `Sat 2025-08-09 06:00:02 CEST`.
        let (date, rest) = rest.split_once(' ')?;
        let (time, rest) = rest.split_once(' ')?;
        let (zone, rest) = rest.split_once(' ')?;
        let at = calendar(date)?.to_datetime(clock(time)?);
        let when = match zone {
            "UTC" | "GMT" | "Z" => Self::At(at, 0),
            _ if zone.starts_with(['+', '-']) => Self::At(at, offset(zone)?),
            _ => Self::Named(at, zone),
        };
        Some((when, rest))
    }

    /// RFC 3339 with or without the colon in its offset, or seconds since the epoch.
    fn numeric(word: &str) -> Option<Self> {
        let Some((date, rest)) = word.split_once('T') else {
            let (seconds, _) = word.split_once('.')?;
            return (seconds.len() <= 12).then(|| seconds.parse().ok().map(Self::Epoch)).flatten();
        };
        let end = rest.find(['Z', '+', '-'])?;
        let (time, zone) = rest.split_at_checked(end)?;
        Some(Self::At(calendar(date)?.to_datetime(clock(time)?), offset(zone)?))
    }

    fn at(self, reference: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let stamp = match self {
            Self::Epoch(seconds) => return Some(Timestamp::from_seconds(seconds)),
            Self::At(at, offset) => Offset::from_seconds(offset).ok()?.to_timestamp(at).ok()?,
            Self::Named(at, name) => {
                let ambiguous = zone.to_ambiguous_timestamp(at);
                let early = ambiguous.earlier().ok()?;
                let late = ambiguous.later().ok()?;
                // In the hour that comes twice, the abbreviation tells which it is.
                let is_late = zone.to_offset_info(late).abbreviation() == name;
                if is_late && zone.to_offset_info(early).abbreviation() != name { late } else { early }
            }
            Self::Yearless(month, day, time) => {
                let latest =
                    jiff::Timestamp::from_millisecond(reference.plus_millis(MAX_AHEAD_MILLIS).as_millis()).ok()?;
                let year = zone.to_datetime(latest).year();
                (0..=YEARS_BACK).find_map(|back| {
                    let date = Date::new(year.checked_sub(back)?, month, day).ok()?;
                    let stamp = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()?;
                    (stamp <= latest).then_some(stamp)
                })?
            }
        };
        Some(Timestamp::from_seconds(stamp.as_second()))
    }
}

/// So many digits as a number, and nothing else.
fn number(text: &str, least: usize, most: usize) -> Option<i16> {
    let digits = (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// `2025-08-09`.
fn calendar(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let small = |text| i8::try_from(number(text, 2, 2)?).ok();
    Date::new(number(year, 4, 4)?, small(month)?, small(day)?).ok()
}

/// `06:00:02`, with or without a fraction, which does not matter.
fn clock(text: &str) -> Option<Time> {
    let text = match text.split_once(['.', ',']) {
        Some((whole, fraction)) if number_like(fraction) => whole,
        Some(_) => return None,
        None => text,
    };
    let mut parts = text.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let small = |text| i8::try_from(number(text, 2, 2)?).ok();
    // A leap second is the second before it, as in POSIX time.
    let second = if second == "60" { "59" } else { second };
    Time::new(small(hour)?, small(minute)?, small(second)?, 0).ok()
}

fn number_like(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// `Z`, `+02:00`, `+0200`, `+02`, in seconds.
fn offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    Some(sign * (i32::from(number(hours, 2, 2)?) * 3_600 + i32::from(number(minutes, 2, 2)?) * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: Timestamp = Timestamp::from_seconds(1_754_805_600);
    /// 2025-08-09T06:00:02Z.
    const AT: Timestamp = Timestamp::from_seconds(1_754_719_202);

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a zone")
    }

    fn at(text: &str, reference: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match read(&format!("{text} mx1 postfix/smtp[1]: x"), reference, zone) {
            Read::Postfix(line) => Some(line.at),
            _ => None,
        }
    }

    #[test]
    fn times_come_in_every_dress() {
        let berlin = zone("Europe/Berlin");
        for dress in [
            "Aug  9 08:00:02",
            "Aug 9 08:00:02",
            "Aug 09 08:00:02",
            "Aug 09 08:00:02.999999",
            "<22>Aug  9 08:00:02",
            "2025-08-09T06:00:02Z",
            "2025-08-09T06:00:02.999Z",
            "2025-08-09T08:00:02.123456+02:00",
            "2025-08-09T08:00:02+0200",
            "2025-08-08T23:00:02.1-07:00",
            "Sat 2025-08-09 08:00:02 CEST",
            "Sat 2025-08-09 06:00:02 UTC",
            "Sat 2025-08-09 09:00:02 +03",
            "1754719202.123456",
        ] {
            assert_eq!(at(dress, REFERENCE, &berlin), Some(AT), "{dress}");
        }
        for none in [
            "",
            "Aug",
            "Aug 9",
            "Aug 32 08:00:02",
            "Foo  9 08:00:02",
            "Aug  9 8:00:02",
            "Aug  9 24:00:02",
            "2025-08-09",
            "2025-08-09T06:00:02",
            "2025-13-09T06:00:02Z",
            "2025-08-09T06:00:02.Z",
            "2025-08-09T06:00:02+2",
            "1754719202",
            "99999999999999999999.1",
            "Feb 30 08:00:00",
            "-",
            "<2222>Aug  9 08:00:02",
        ] {
            assert_eq!(at(none, REFERENCE, &berlin), None, "{none}");
        }
    }

    #[test]
    fn the_year_is_the_latest_that_is_not_ahead() {
        let utc = TimeZone::UTC;
        let told = |text: &str, reference: &str| {
            let reference = Timestamp::from_rfc3339(reference).expect("a time");
            at(text, reference, &utc).map(|at| at.to_string())
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(told("Dec 31 23:59:59", "2026-01-01T00:00:03Z"), is("2025-12-31T23:59:59Z"), "the turn of the year");
        assert_eq!(
            told("Jan  1 00:00:01", "2025-12-31T23:59:58Z"),
            is("2026-01-01T00:00:01Z"),
            "a clock that is ahead"
        );
        assert_eq!(told("Aug  9 06:00:02", "2025-08-09T05:59:00Z"), is("2025-08-09T06:00:02Z"));
        assert_eq!(told("Aug 11 06:00:02", "2025-08-09T06:00:00Z"), is("2024-08-11T06:00:02Z"));
        assert_eq!(told("Feb 29 06:00:00", "2027-03-01T00:00:00Z"), is("2024-02-29T06:00:00Z"));
        assert_eq!(told("Feb 29 06:00:00", "2104-02-28T00:00:00Z"), is("2096-02-29T06:00:00Z"), "2100 has none");
    }

    #[test]
    fn the_hour_that_comes_twice_is_told_by_the_abbreviation_where_there_is_one() {
        let berlin = zone("Europe/Berlin");
        let reference = Timestamp::from_rfc3339("2025-10-27T00:00:00Z").expect("a time");
        let told = |text: &str| at(text, reference, &berlin).expect("a time").to_string();
        assert_eq!(told("Sun 2025-10-26 02:30:00 CEST"), "2025-10-26T00:30:00Z");
        assert_eq!(told("Sun 2025-10-26 02:30:00 CET"), "2025-10-26T01:30:00Z");
        assert_eq!(told("Oct 26 02:30:00"), "2025-10-26T00:30:00Z", "the first of the two, always");
        assert_eq!(told("Mar 30 02:30:00"), "2025-03-30T01:30:00Z", "an hour that there was not");
    }

    #[test]
    fn programs_are_told_by_the_last_part_of_their_name() {
        let program = |tag: &str| program_of(tag).map(ToOwned::to_owned);
        for tag in ["postfix/smtp[12]", "postfix-out/smtp", "postfix/relay/smtp[1]", "mail-out/smtp[1]"] {
            assert_eq!(program(tag).as_deref(), Some("smtp"), "{tag}");
        }
        for tag in ["kernel", "sshd[1]", "/smtp[1]", "postfix/[1]", "postfix/smtp[1", "postfix/sm tp[1]"] {
            assert_eq!(program(tag), None, "{tag}");
        }
    }

    #[test]
    fn entries_of_the_journal_are_read() {
        let line = r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1754719202999999","_HOSTNAME":"mx1","SYSLOG_IDENTIFIER":"postfix/smtp","MESSAGE":"4c: x"}"#;
        let read_utc = |text| read(text, REFERENCE, &TimeZone::UTC);
        let ours = |text: &'static str| {
            Read::Postfix(Line { at: AT, host: "mx1".into(), program: "smtp".into(), text: text.into() })
        };
        assert_eq!(read_utc(line), ours("4c: x"));
        let bytes = r#"{"_SOURCE_REALTIME_TIMESTAMP":"1754719202000001","__REALTIME_TIMESTAMP":"1","_HOSTNAME":"mx1","SYSLOG_IDENTIFIER":"postfix/smtp","MESSAGE":[52,99,255]}"#;
        assert_eq!(read_utc(bytes), ours("4c\u{fffd}"));
        assert_eq!(read_utc(r#"{"SYSLOG_IDENTIFIER":"sshd","MESSAGE":"x"}"#), Read::Foreign);
        for text in ["{", "{}x", r#"{"SYSLOG_IDENTIFIER":"postfix/smtp"}"#] {
            assert_eq!(read_utc(text), Read::Unreadable, "{text}");
        }
    }
}
