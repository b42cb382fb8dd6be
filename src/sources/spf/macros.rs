//! Macros (RFC 7208 section 7): read once with the record, expanded for each check.

use std::{borrow::Cow, net::IpAddr, ops::Range};

use crate::{
    model::Timestamp,
    sources::answer::{MAX_NAME_BYTES, Name, NameError, hex_digit},
};

use super::mistake::MistakeKind;

/// The longest explanation that is made; what is longer is none. SMTP replies are far shorter (RFC 5321 section 4.5.3.1.5).
pub(super) const MAX_EXPLANATION_BYTES: usize = 4_096;
/// When a name in the making is longer than this, its left part is dropped early; it would be truncated anyhow.
const MAX_NAME_IN_THE_MAKING: usize = 4_096;
/// The delimiters of section 7.1, each a bit of [`Expand::delimiters`].
const DELIMITERS: &[u8] = b".-+,/_=";

/// A text with macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MacroString(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Expand(Expand),
}

/// One `%{...}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expand {
    letter: Letter,
    /// An upper-case letter: the value is URL-escaped.
    escape: bool,
    /// How many right-hand parts stay; all where `None`.
    keep: Option<usize>,
    reverse: bool,
    /// Bits by the index in [`DELIMITERS`]; a dot where there are none.
    delimiters: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Sender,
    LocalPart,
    SenderDomain,
    Domain,
    Ip,
    Validated,
    Version,
    Helo,
    Client,
    Receiver,
    Time,
}

impl Letter {
    const fn of(byte: u8) -> Option<Self> {
        Some(match byte.to_ascii_lowercase() {
            b's' => Self::Sender,
            b'l' => Self::LocalPart,
            b'o' => Self::SenderDomain,
            b'd' => Self::Domain,
            b'i' => Self::Ip,
            b'p' => Self::Validated,
            b'v' => Self::Version,
            b'h' => Self::Helo,
            b'c' => Self::Client,
            b'r' => Self::Receiver,
            b't' => Self::Time,
            _ => return None,
        })
    }

    const fn only_in_explanations(self) -> bool {
        matches!(self, Self::Client | Self::Receiver | Self::Time)
    }
}

/// Where a macro-string stands, which says what may stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A domain-spec: neither `%{c}`, `%{r}` nor `%{t}` (section 7.2).
    Domain,
    /// The value of an unknown modifier: any macro.
    Modifier,
    /// An explanation: any macro, and blanks (section 6.2).
    Explanation,
}

/// What macros stand for in one check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) ip: IpAddr,
    pub(super) local_part: &'a str,
    pub(super) sender_domain: &'a str,
    pub(super) helo: &'a str,
    pub(super) receiver: &'a str,
    pub(super) at: Option<Timestamp>,
    /// The domain whose record it is.
    pub(super) domain: &'a Name,
    /// The validated name of the address, `unknown` where there is none (section 7.3).
    pub(super) validated: &'a str,
}

/// Why no name comes of a macro-string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoTarget {
    /// It is no name that DNS can be asked for.
    Name(NameError),
    /// It has the local part, which holds other letters than US-ASCII: such terms never match (RFC 8616 section 4).
    LocalPart,
}

impl MacroString {
    /// Reads a macro-string.
    ///
    /// # Errors
    /// The first mistake and where it is, as bytes of `text`.
    pub(super) fn parse(text: &[u8], place: Place) -> Result<Self, (Range<usize>, MistakeKind)> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match byte {
                b'%' => match text.get(at + 1) {
                    Some(b'{') => {
                        let end = memchr::memchr(b'}', text.get(at..).unwrap_or_default())
                            .map(|length| at + length + 1)
                            .ok_or((at..text.len(), MistakeKind::Macro))?;
                        let inner = text.get(at + 2..end - 1).unwrap_or_default();
                        let expand = Expand::parse(inner, place).map_err(|kind| (at..end, kind))?;
                        if !literal.is_empty() {
                            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                        }
                        parts.push(Part::Expand(expand));
                        at = end;
                    }
                    Some(next @ (b'%' | b'_' | b'-')) => {
                        literal.push_str(match next {
                            b'%' => "%",
                            b'_' => " ",
                            _ => "%20",
                        });
                        at += 2;
                    }
                    _ => return Err((at..(at + 2).min(text.len()), MistakeKind::Percent)),
                },
                0x21..=0x7e => {
                    literal.push(char::from(*byte));
                    at += 1;
                }
                b' ' if place == Place::Explanation => {
                    literal.push(' ');
                    at += 1;
                }
                _ => return Err((at..at + 1, MistakeKind::Byte(*byte))),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Self(parts))
    }

    /// The text, where no macro is in it.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    fn letters(&self) -> impl Iterator<Item = Letter> {
        self.0.iter().filter_map(|part| match part {
            Part::Expand(expand) => Some(expand.letter),
            Part::Literal(_) => None,
        })
    }

    /// Whether the validated name of the address is needed.
    pub(super) fn needs_validated(&self) -> bool {
        self.letters().any(|letter| letter == Letter::Validated)
    }

    /// The name to ask for: expanded, one dot at the end dropped, labels dropped from the left until it fits (section 7.3).
    pub(super) fn target(&self, facts: &Facts<'_>) -> Result<Name, NoTarget> {
        if !facts.local_part.is_ascii()
            && self.letters().any(|letter| matches!(letter, Letter::Sender | Letter::LocalPart))
        {
            return Err(NoTarget::LocalPart);
        }
        let mut text = String::new();
        for part in &self.0 {
            part.write(facts, &mut text);
            if text.len() > MAX_NAME_IN_THE_MAKING {
                let mut cut = text.len() - MAX_NAME_IN_THE_MAKING / 2;
                while !text.is_char_boundary(cut) {
                    cut += 1;
                }
                text.drain(..cut);
            }
        }
        target_name(&text)
    }

    /// The explanation, or `None` where it is longer than [`MAX_EXPLANATION_BYTES`] or has bytes that it must not have.
    pub(super) fn explanation(&self, facts: &Facts<'_>) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            part.write(facts, &mut text);
            if text.len() > MAX_EXPLANATION_BYTES {
                return None;
            }
        }
        text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)).then_some(text)
    }
}

/// A name from a text that is complete: one dot at the end dropped, labels dropped from the left until it fits.
pub(super) fn target_name(text: &str) -> Result<Name, NoTarget> {
    let mut text = text.strip_suffix('.').unwrap_or(text);
    while text.len() > MAX_NAME_BYTES
        && let Some((_, rest)) = text.split_once('.')
    {
        text = rest;
    }
    Name::parse(text).map_err(NoTarget::Name)
}

impl Part {
    fn write(&self, facts: &Facts<'_>, out: &mut String) {
        match self {
            Self::Literal(text) => out.push_str(text),
            Self::Expand(expand) => expand.write(facts, out),
        }
    }
}

impl Expand {
    /// Reads what stands between the braces.
    fn parse(inner: &[u8], place: Place) -> Result<Self, MistakeKind> {
        let (first, rest) = inner.split_first().ok_or(MistakeKind::Macro)?;
        let letter = Letter::of(*first).ok_or(MistakeKind::MacroLetter)?;
        if place == Place::Domain && letter.only_in_explanations() {
            return Err(MistakeKind::MacroOnlyInExplanation);
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = rest.split_at_checked(digits).unwrap_or_default();
        let keep = (digits > 0).then(|| {
            number.iter().fold(0_usize, |sum, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
        });
        if keep == Some(0) {
            return Err(MistakeKind::MacroZero);
        }
        let (reverse, rest) = match rest.split_first() {
            Some((b'r' | b'R', rest)) => (true, rest),
            _ => (false, rest),
        };
        let mut delimiters = 0;
        for byte in rest {
            let bit = DELIMITERS.iter().position(|one| one == byte).ok_or(MistakeKind::Macro)?;
            delimiters |= 1_u8 << bit;
        }
        Ok(Self { letter, escape: first.is_ascii_uppercase(), keep, reverse, delimiters: delimiters.max(1) })
    }

    fn write(&self, facts: &Facts<'_>, out: &mut String) {
        let value = self.letter.value(facts);
        let value = self.transformed(&value);
        if self.escape {
            escape(&value, out);
        } else {
            out.push_str(&value);
        }
    }

    /// Split at the delimiters, reversed, the right-hand parts kept, joined by dots (section 7.3).
    fn transformed<'a>(&self, value: &'a str) -> Cow<'a, str> {
        if self.keep.is_none() && !self.reverse && self.delimiters == 1 {
            return Cow::Borrowed(value);
        }
        let is_delimiter = |one: char| {
            DELIMITERS
                .iter()
                .position(|byte| char::from(*byte) == one)
                .is_some_and(|bit| self.delimiters & (1 << bit) != 0)
        };
        let mut parts: Vec<&str> = value.split(is_delimiter).collect();
        if self.reverse {
            parts.reverse();
        }
        let dropped = self.keep.map_or(0, |keep| parts.len().saturating_sub(keep));
        Cow::Owned(parts.get(dropped..).unwrap_or_default().join("."))
    }
}

impl Letter {
    fn value<'a>(self, facts: &Facts<'a>) -> Cow<'a, str> {
        match self {
            Self::Sender => Cow::Owned(format!("{}@{}", facts.local_part, facts.sender_domain)),
            Self::LocalPart => Cow::Borrowed(facts.local_part),
            Self::SenderDomain => Cow::Borrowed(facts.sender_domain),
            Self::Domain => Cow::Borrowed(facts.domain.as_str()),
            Self::Ip => Cow::Owned(dotted(facts.ip)),
            Self::Validated => Cow::Borrowed(facts.validated),
            Self::Version => Cow::Borrowed(if facts.ip.is_ipv4() { "in-addr" } else { "ip6" }),
            Self::Helo => Cow::Borrowed(facts.helo),
            Self::Client => Cow::Owned(facts.ip.to_string()),
            Self::Receiver => Cow::Borrowed(if facts.receiver.is_empty() { "unknown" } else { facts.receiver }),
            Self::Time => Cow::Owned(facts.at.map_or(0, |at| at.as_millis().div_euclid(1_000)).to_string()),
        }
    }
}

/// An address with dots: dotted quad, or 32 nibbles in upper case as the published suite has them.
fn dotted(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let mut text = String::with_capacity(63);
            for byte in ip.octets() {
                for nibble in [byte >> 4, byte] {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push(hex_digit(nibble).to_ascii_uppercase());
                }
            }
            text
        }
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', hex_digit(byte >> 4).to_ascii_uppercase(), hex_digit(byte).to_ascii_uppercase()]);
        }
    }
}
