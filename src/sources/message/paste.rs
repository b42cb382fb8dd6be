//! Undoes what pasting, quoting, wrapping and saving do to a header. A mail as it came is left alone: each habit is undone only
//! where the first lines can be nothing else.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Serialize;

use super::header::{field, within};
use crate::sources::auth_results::parse;

/// Lines at the start that can be talk before a header.
const MAX_TALK_LINES: usize = 100;
/// How often a quotation can be quoted.
const MAX_QUOTED: usize = 5;
/// How much of the start is looked at to tell what it is, in bytes.
const START_BYTES: usize = 64 * 1024;

/// Fields that headers begin with or have, so that talk before one ends there.
const FIELDS: &[&str] = &[
    "arc-authentication-results",
    "arc-message-signature",
    "arc-seal",
    "authentication-results",
    "date",
    "delivered-to",
    "dkim-signature",
    "envelope-to",
    "from",
    "message-id",
    "mime-version",
    "received",
    "received-spf",
    "return-path",
    "subject",
    "to",
    "x-received",
];

/// What was undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mended {
    /// UTF-16, or a mark of the byte order.
    Encoding,
    /// All of it stood in base64.
    Base64,
    /// Lines ended in a carriage return alone.
    LineEnds,
    /// Lines began with `>`.
    Quoted,
    /// Lines were indented, or stood between fences as code does.
    Indented,
    /// Each line had a blank one behind it.
    Spaced,
    /// `<` stood as `&lt;`.
    Escaped,
    /// Talk stood before it.
    Talk,
}

impl Mended {
    /// In words.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Encoding => "its encoding was UTF-16, or had a byte order mark",
            Self::Base64 => "it was wrapped in base64",
            Self::LineEnds => "its lines ended in carriage returns",
            Self::Quoted => "it was quoted with >",
            Self::Indented => "it was indented, or fenced as code",
            Self::Spaced => "each line had a blank one behind it",
            Self::Escaped => "it was escaped as HTML",
            Self::Talk => "something stood before the header",
        }
    }
}

/// Undoes one habit; `None` where there is nothing to undo.
type Step = fn(&str) -> Option<String>;

/// The text without what pasting did to it, and what that was. `None` where there is nothing to undo.
#[must_use]
pub fn mend(raw: &[u8]) -> Option<(Vec<u8>, Vec<Mended>)> {
    let mut mended = Vec::new();
    let mut text = match decoded(raw) {
        Some(text) => {
            mended.push(Mended::Encoding);
            text
        }
        // Bytes of other charsets stay as they are where nothing else is to be undone.
        None => String::from_utf8_lossy(raw).into_owned(),
    };
    let steps: [(Mended, Step); 7] = [
        (Mended::Base64, unwrapped),
        (Mended::LineEnds, with_line_ends),
        (Mended::Quoted, unquoted),
        (Mended::Indented, unindented),
        (Mended::Spaced, unspaced),
        (Mended::Escaped, unescaped),
        (Mended::Talk, without_talk),
    ];
    for (kind, step) in steps {
        if let Some(better) = step(&text) {
            text = better;
            mended.push(kind);
        }
    }
    (!mended.is_empty()).then(|| (text.into_bytes(), mended))
}

/// Whether a text is the value of an `Authentication-Results` field, without its name.
#[must_use]
pub fn is_results(text: &str) -> bool {
    let words = ["pass", "fail", "softfail", "hardfail", "neutral", "none", "temperror", "permerror", "bestguesspass"];
    let text = within(text.trim(), START_BYTES);
    text.contains('=')
        && text.lines().next().is_some_and(|line| field(line).is_none())
        // Talk before a header is no server.
        && !text.lines().any(is_known)
        && parse(text).results.iter().any(|one| {
            matches!(one.method.as_str(), "spf" | "dkim" | "dmarc" | "arc" | "compauth")
                && words.contains(&one.result.as_str())
        })
}

/// Whether a line begins a field that headers have.
fn is_known(line: &str) -> bool {
    field(line).is_some_and(|(name, _)| FIELDS.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

fn start(text: &str) -> &str {
    within(text, START_BYTES)
}

/// The first line that is not blank, with its blanks.
fn first_line(text: &str) -> &str {
    start(text).lines().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

fn decoded(raw: &[u8]) -> Option<String> {
    let utf16 = |rest: &[u8], read: fn([u8; 2]) -> u16| {
        let units = rest.chunks_exact(2).map(|pair| read([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match raw {
        [0xff, 0xfe, rest @ ..] => Some(utf16(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => Some(utf16(rest, u16::from_be_bytes)),
        [0xef, 0xbb, 0xbf, rest @ ..] => Some(String::from_utf8_lossy(rest).into_owned()),
        _ => None,
    }
}

/// The inside of a text that is base64 and nothing else, where that is a header.
fn unwrapped(text: &str) -> Option<String> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let blank = |byte: u8| byte.is_ascii_whitespace();
    let trimmed = text.trim();
    if trimmed.len() < 24 || !trimmed.bytes().all(|byte| sign(byte) || blank(byte)) {
        return None;
    }
    let letters: Vec<u8> = trimmed.bytes().filter(|byte| !blank(*byte)).collect();
    let inner = String::from_utf8_lossy(&BASE64.decode(letters).ok()?).into_owned();
    (field(first_line(&inner)).is_some() || is_results(&inner)).then_some(inner)
}

fn with_line_ends(text: &str) -> Option<String> {
    (text.contains('\r') && !text.contains('\n')).then(|| text.replace('\r', "\n"))
}

fn unquoted(text: &str) -> Option<String> {
    let is_quoted = |text: &str| {
        let first = first_line(text).trim_start();
        first.starts_with('>') && !first.starts_with(">From ")
    };
    let mut better = text.to_owned();
    for _ in 0..MAX_QUOTED {
        if !is_quoted(&better) {
            break;
        }
        let strip = |line: &str| {
            let rest =
                line.trim_start().strip_prefix('>').map(|rest| rest.strip_prefix(' ').unwrap_or(rest).to_owned());
            rest.unwrap_or_else(|| line.to_owned())
        };
        better = better.lines().map(strip).collect::<Vec<_>>().join("\n");
    }
    (better != text).then_some(better)
}

fn unindented(text: &str) -> Option<String> {
    let first = first_line(text);
    if first.trim_start().starts_with("```") {
        let inside = text.trim_start().split_once('\n')?.1;
        let inside = inside.split_once("\n```").map_or(inside, |(inside, _)| inside);
        return Some(inside.to_owned());
    }
    let blanks = first.len() - first.trim_start().len();
    if blanks == 0 || field(first.trim_start()).is_none() {
        return None;
    }
    let (indent, _) = first.split_at(blanks);
    let lines = text.lines().map(|line| line.strip_prefix(indent).unwrap_or(line));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// Headers whose every line has a blank one behind it. Three fields are asked for, so that no body is taken into the header.
fn unspaced(text: &str) -> Option<String> {
    let mut lines = start(text).trim_start().lines();
    for _ in 0..3 {
        if !is_known(lines.next()?) || !lines.next()?.trim().is_empty() {
            return None;
        }
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    Some(lines.collect::<Vec<_>>().join("\n"))
}

fn unescaped(text: &str) -> Option<String> {
    let start = start(text);
    if start.contains('<') || !(start.contains("&lt;") || start.contains("&#60;")) {
        return None;
    }
    let pairs = [
        ("&lt;", "<"),
        ("&#60;", "<"),
        ("&gt;", ">"),
        ("&#62;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    Some(pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
}

/// The header behind some lines of talk. Where the talk holds a reply, that is what was meant.
fn without_talk(text: &str) -> Option<String> {
    let begins = first_line(text);
    if field(begins).is_some() || begins.starts_with("From ") || begins.starts_with(">From ") || is_results(text) {
        return None;
    }
    let is_reply = |line: &str| {
        let line = line.trim_start().as_bytes();
        matches!(line, [b'2' | b'4' | b'5', a, b, b' ' | b'-', ..] if a.is_ascii_digit() && b.is_ascii_digit())
    };
    let mut at = 0;
    for line in text.split_inclusive('\n').take(MAX_TALK_LINES) {
        if is_reply(line) || line.len() > START_BYTES {
            return None;
        }
        if is_known(line) {
            return text.get(at..).map(str::to_owned);
        }
        at += line.len();
    }
    None
}
