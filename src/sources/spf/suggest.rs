//! What the writer of a wrong term meant: a few ways in which people go wrong are undone, and the first that gives a term is
//! offered.

use std::{borrow::Cow, net::IpAddr, ops::Range};

use crate::model::nearest_word;

use super::{mistake::MistakeKind, parse::read};

/// The mechanisms that take an argument.
const WITH_ARGUMENT: &[&str] = &["include", "a", "mx", "ptr", "ip4", "ip6", "exists"];
/// All names of terms.
const NAMES: &[&str] = &["include", "all", "ip4", "ip6", "exists", "redirect", "ptr", "mx", "exp"];
/// What people write instead of the minus sign: dashes that word processors make of it.
const DASHES: &[char] = &['\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2212}'];
/// The longest term for which a suggestion is looked for.
const MAX_TERM_BYTES: usize = 512;

/// What to write for the term that a mistake stands in, and in place of which bytes of the record.
pub(super) fn instead(record: &[u8], span: &Range<usize>, kind: MistakeKind) -> Option<(Range<usize>, String)> {
    let blank = |byte: &u8| *byte == b' ';
    let start = record.get(..span.start)?.iter().rposition(blank).map_or(0, |at| at + 1);
    let end = record.get(start..)?.iter().position(blank).map_or(record.len(), |length| start + length);
    let term = record.get(start..end).filter(|term| term.len() <= MAX_TERM_BYTES)?;
    if kind == MistakeKind::Twice {
        return Some((start..end, String::new()));
    }
    let term = String::from_utf8_lossy(term);
    if kind == MistakeKind::MissingArgument && term.ends_with([':', '=']) {
        // The argument stands behind a blank.
        let rest = record.get(end..)?;
        let next = rest.iter().position(|byte| !blank(byte))?;
        let length = rest.get(next..)?.iter().position(blank).unwrap_or(rest.len() - next);
        let argument = std::str::from_utf8(rest.get(next..next + length)?).ok()?;
        let joined = format!("{term}{argument}");
        return good(&joined).then(|| (start..end + next + length, joined));
    }
    let candidate = candidates(&term, kind).into_iter().flatten().find(|candidate| good(candidate))?;
    Some((start..end, candidate))
}

/// A mechanism for an unknown modifier with a mechanism's name.
pub(super) fn colon(term: &[u8]) -> Option<String> {
    let (name, value) = std::str::from_utf8(term).ok()?.split_once('=')?;
    let bare = name.trim_start_matches(['+', '-', '~', '?']);
    let candidate = format!("{name}:{value}");
    (WITH_ARGUMENT.iter().any(|word| bare.eq_ignore_ascii_case(word)) && good(&candidate)).then_some(candidate)
}

fn good(term: &str) -> bool {
    read(term.as_bytes()).is_ok()
}

/// What may be meant, the likeliest first.
fn candidates(term: &str, kind: MistakeKind) -> [Option<String>; 9] {
    let term = plain_dashes(term);
    let (sign, bare) = match term.split_at_checked(1) {
        Some((sign @ ("+" | "-" | "~" | "?"), bare)) => (sign, bare),
        _ => ("", &*term),
    };
    let (name, value) = bare.split_once([':', '=']).unwrap_or((bare, ""));
    let trimmed = term.trim_end_matches([',', ';', '.', '"', '\'', ':']);
    [
        (kind == MistakeKind::ColonForEquals).then(|| format!("{name}={value}")),
        (kind == MistakeKind::QualifiedModifier).then(|| colon(term.as_bytes())).flatten(),
        (kind == MistakeKind::QualifiedModifier).then(|| bare.to_owned()),
        (kind == MistakeKind::Percent).then(|| term.replace('%', "%%")),
        address(bare, name, value).map(|network| format!("{sign}{network}")),
        Some(term.to_string()).filter(|plain| good(plain)),
        (trimmed != term).then(|| trimmed.to_owned()),
        (kind == MistakeKind::NoPrefixLength || kind == MistakeKind::DomainEnd)
            .then(|| term.split_once('/').map(|(head, _)| head.to_owned()))
            .flatten(),
        nearest(name).map(|word| {
            let mark = if matches!(word, "redirect" | "exp") { "=" } else { ":" };
            if value.is_empty() { format!("{sign}{word}") } else { format!("{sign}{word}{mark}{value}") }
        }),
    ]
}

/// Dashes of word processors as minus signs, and no other letters that people do not see.
fn plain_dashes(term: &str) -> Cow<'_, str> {
    if term.is_ascii() {
        return Cow::Borrowed(term);
    }
    let seen = term.chars().filter(|one| !matches!(one, '\u{feff}' | '\u{200b}' | '\u{a0}'));
    Cow::Owned(seen.map(|one| if DASHES.contains(&one) { '-' } else { one }).collect())
}

fn nearest(name: &str) -> Option<&'static str> {
    let word = nearest_word(&name.to_ascii_lowercase(), NAMES.iter().copied())?;
    (!name.eq_ignore_ascii_case(word)).then_some(word)
}

/// `ip4:` or `ip6:` for an address that stands alone, behind another name, or with a port or a wrong prefix.
fn address(bare: &str, name: &str, value: &str) -> Option<String> {
    let of = |text: &str| -> Option<String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let ip: IpAddr = address.parse().ok().or_else(|| {
            // A port behind an IPv4 address.
            address.rsplit_once(':').and_then(|(address, port)| {
                port.bytes().all(|byte| byte.is_ascii_digit()).then(|| address.parse().ok()).flatten()
            })
        })?;
        let name = if ip.is_ipv4() { "ip4" } else { "ip6" };
        let prefix = prefix.map(|prefix| prefix.trim_start_matches(['/', '0']));
        Some(
            prefix
                .filter(|prefix| !prefix.is_empty())
                .map_or_else(|| format!("{name}:{ip}"), |prefix| format!("{name}:{ip}/{prefix}")),
        )
    };
    let known = ["ip4", "ip6", "ip", "ipv4", "ipv6", "a", "mx", "include"];
    let behind_name = known.iter().any(|word| name.eq_ignore_ascii_case(word)).then(|| of(value)).flatten();
    behind_name.or_else(|| of(bare))
}
