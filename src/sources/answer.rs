//! What may be asked of DNS and what may come back: pure, shared by all that judges answers.
//!
//! Six outcomes are kept apart (`email-auth.md` section 5.1), since a resolver's trouble is no absence: value, no data, no
//! such domain, server failure, time-out, bogus.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// The longest label in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;
/// The longest name in bytes as text without the last dot: 255 on the wire with its length bytes (RFC 1035 section 2.3.4).
pub const MAX_NAME_BYTES: usize = 253;

/// Why a text is no domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between two dots, or nothing at all.
    #[error("the name has an empty label")]
    EmptyLabel,
    /// RFC 1035 section 2.3.4.
    #[error("the name has a label longer than {MAX_LABEL_BYTES} bytes")]
    LongLabel,
    /// RFC 1035 section 2.3.4.
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// Letters outside US-ASCII that are no A-label (RFC 5891, UTS 46).
    #[error("the name has letters that no A-label can stand for")]
    NoALabel,
}

/// A domain name, normalised so that two names are equal where DNS takes them for the same: US-ASCII in lower case, A-labels,
/// no dot at the end.
///
/// Bytes of a label that cannot stand as they are (a dot, a backslash, a blank, a control character, a byte above 127) stand as
/// `\DDD` (RFC 1035 section 5.1), so that the text has one form and can be printed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// The root, which a null MX names (RFC 7505).
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::from(""))
    }

    /// Reads a name as people and SPF records write it: labels between dots, without escapes; one dot at the end is ignored,
    /// U-labels become A-labels.
    ///
    /// # Errors
    /// Says which limit of DNS the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_ascii() {
            return Self::from_ascii(text.as_bytes());
        }
        let text = idna::domain_to_ascii(text).map_err(|_| NameError::NoALabel)?;
        Self::from_ascii(text.as_bytes())
    }

    fn from_ascii(text: &[u8]) -> Result<Self, NameError> {
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        let (mut label, mut as_it_is) = (0, true);
        for byte in text {
            if *byte == b'.' {
                if label == 0 {
                    return Err(NameError::EmptyLabel);
                }
                label = 0;
            } else {
                label += 1;
                if label > MAX_LABEL_BYTES {
                    return Err(NameError::LongLabel);
                }
                as_it_is &= plain(*byte) && !byte.is_ascii_uppercase();
            }
        }
        if label == 0 {
            return Err(NameError::EmptyLabel);
        }
        if as_it_is && let Ok(text) = std::str::from_utf8(text) {
            return Ok(Self(Arc::from(text)));
        }
        // The limits are met.
        Self::from_labels(text.split(|byte| *byte == b'.')).ok_or(NameError::TooLong)
    }

    /// Reads a name as [`Name::as_str`] gives it. `None` where it is none.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let labels: Vec<Vec<u8>> = match text {
            "" | "." => Vec::new(),
            text => text.split('.').map(|label| unescaped(label.as_bytes())).collect(),
        };
        Self::from_labels(labels.iter().map(Vec::as_slice))
    }

    /// A name from the labels of a message. `None` where they break the limits of DNS; no labels are the root.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let (mut text, mut bytes) = (String::new(), 0_usize);
        for label in labels {
            bytes += label.len() + 1;
            if label.is_empty() || label.len() > MAX_LABEL_BYTES || bytes > MAX_NAME_BYTES + 1 {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            for byte in label {
                if plain(*byte) && *byte != b'.' {
                    text.push(char::from(byte.to_ascii_lowercase()));
                } else {
                    let digits = [byte / 100, byte / 10 % 10, byte % 10].map(|digit| char::from(b'0' + digit));
                    text.push('\\');
                    text.extend(digits);
                }
            }
        }
        Some(Self(Arc::from(text)))
    }

    /// The name under which the host names of an address stand: below `in-addr.arpa` or `ip6.arpa` (RFC 1035 section 3.5, RFC
    /// 3596 section 2.5).
    #[must_use]
    pub fn of_address(ip: IpAddr) -> Self {
        let text = match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(ip) => {
                let mut text = String::with_capacity(72);
                for byte in ip.octets().iter().rev() {
                    text.extend([hex_digit(*byte), '.', hex_digit(byte >> 4), '.']);
                }
                text + "ip6.arpa"
            }
        };
        Self(Arc::from(text))
    }

    /// The text, without the last dot; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels as bytes, from left to right.
    pub fn labels(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        self.0.split('.').filter(|label| !label.is_empty()).map(|label| {
            if label.contains('\\') { Cow::Owned(unescaped(label.as_bytes())) } else { Cow::Borrowed(label.as_bytes()) }
        })
    }

    /// Whether it is `other` or stands below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        other.is_root()
            || self.0.strip_suffix(other.as_str()).is_some_and(|head| head.is_empty() || head.ends_with('.'))
    }

    /// The name without its first label; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(self.0.split_once('.').map_or_else(Self::root, |(_, rest)| Self(Arc::from(rest))))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The lower four bits of a byte as a hexadecimal digit.
pub(super) fn hex_digit(byte: u8) -> char {
    char::from_digit(u32::from(byte & 15), 16).unwrap_or_default()
}

/// Whether a byte of a label stands in the text as it is.
fn plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\\'
}

/// The bytes that a label's text stands for.
pub(super) fn unescaped(label: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label;
    while let Some((byte, tail)) = rest.split_first() {
        if let (b'\\', Some((digits, tail))) = (byte, tail.split_at_checked(3)) {
            let number = digits.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit.wrapping_sub(b'0')));
            bytes.push(u8::try_from(number).unwrap_or_default());
            rest = tail;
        } else {
            bytes.push(*byte);
            rest = tail;
        }
    }
    bytes
}

/// Which records are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchanges.
    Mx,
    /// Texts.
    Txt,
    /// Names of an address.
    Ptr,
}

impl Kind {
    /// The kind of record that holds addresses of this family.
    #[must_use]
    pub const fn of_addresses(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::A,
            IpAddr::V6(_) => Self::Aaaa,
        }
    }
}

impl Kind {
    /// The kind with this name: `TXT`.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        [Self::A, Self::Aaaa, Self::Mx, Self::Txt, Self::Ptr].into_iter().find(|kind| kind.to_string() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Ptr => "PTR",
        })
    }
}

/// One question to DNS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// Of which name.
    pub name: Name,
    /// Which records.
    pub kind: Kind,
}

impl Question {
    /// A question.
    #[must_use]
    pub const fn new(name: Name, kind: Kind) -> Self {
        Self { name, kind }
    }
}

impl Question {
    /// Reads a question as it prints: `TXT of example.com`.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(" of ")?;
        Some(Self::new(Name::of_text(name)?, Kind::of_text(kind)?))
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind, self.name)
    }
}

/// One TXT record: its character-strings as bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text(Vec<Box<[u8]>>);

impl Text {
    /// From the character-strings, each at most 255 bytes on the wire.
    pub fn new(strings: impl IntoIterator<Item = impl Into<Box<[u8]>>>) -> Self {
        Self(strings.into_iter().map(Into::into).collect())
    }

    /// The character-strings.
    #[must_use]
    pub fn strings(&self) -> &[Box<[u8]>] {
        &self.0
    }

    /// The strings joined without anything between them, as SPF (RFC 7208 section 3.3), DKIM and DMARC read them.
    #[must_use]
    pub fn joined(&self) -> Cow<'_, [u8]> {
        match self.0.as_slice() {
            [one] => Cow::Borrowed(one),
            several => Cow::Owned(several.concat()),
        }
    }
}

impl From<&str> for Text {
    /// The text cut into strings of 255 bytes.
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().chunks(255))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|part| String::from_utf8_lossy(part))).finish()
    }
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exchange {
    /// Lower is asked first.
    pub preference: u16,
    /// The host; the root in a null MX.
    pub host: Name,
}

/// The records of an answer, of the kind that was asked; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// IPv4 addresses.
    A(Vec<Ipv4Addr>),
    /// IPv6 addresses.
    Aaaa(Vec<Ipv6Addr>),
    /// Mail exchanges, in the order of the answer.
    Mx(Vec<Exchange>),
    /// Texts, in the order of the answer.
    Txt(Vec<Text>),
    /// Names, in the order of the answer.
    Ptr(Vec<Name>),
}

impl Values {
    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::A(values) => values.len(),
            Self::Aaaa(values) => values.len(),
            Self::Mx(values) => values.len(),
            Self::Txt(values) => values.len(),
            Self::Ptr(values) => values.len(),
        }
    }

    /// Whether there are none, which is no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The addresses, where it holds addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let (four, six): (&[Ipv4Addr], &[Ipv6Addr]) = match self {
            Self::A(values) => (values, &[]),
            Self::Aaaa(values) => (&[], values),
            _ => (&[], &[]),
        };
        four.iter().copied().map(IpAddr::from).chain(six.iter().copied().map(IpAddr::from))
    }
}

/// The six outcomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There are records.
    Found(Values),
    /// The name exists, without records of this kind.
    NoData,
    /// The name does not exist.
    NoSuchDomain,
    /// A server answered with an error, refused, or answered what makes no sense.
    ServerFailure,
    /// Nobody answered in time.
    TimedOut,
    /// DNSSEC says that the answer is forged or broken.
    Bogus,
}

impl Outcome {
    /// Whether it says that the records are not there; trouble says nothing about them.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NoData | Self::NoSuchDomain)
    }

    /// Whether it is a resolver's or a server's trouble, from which nothing follows.
    #[must_use]
    pub const fn is_trouble(&self) -> bool {
        matches!(self, Self::ServerFailure | Self::TimedOut | Self::Bogus)
    }

    /// What came of it, without the records.
    #[must_use]
    pub fn seen(&self) -> Seen {
        match self {
            Self::Found(values) => Seen::Found(u32::try_from(values.len()).unwrap_or(u32::MAX)),
            Self::NoData => Seen::NoData,
            Self::NoSuchDomain => Seen::NoSuchDomain,
            Self::ServerFailure => Seen::ServerFailure,
            Self::TimedOut => Seen::TimedOut,
            Self::Bogus => Seen::Bogus,
        }
    }
}

/// An [`Outcome`] without its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// So many records.
    Found(u32),
    /// The name exists, without records of this kind.
    NoData,
    /// The name does not exist.
    NoSuchDomain,
    /// A server answered with an error.
    ServerFailure,
    /// Nobody answered in time.
    TimedOut,
    /// DNSSEC says that the answer is forged or broken.
    Bogus,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(1) => f.write_str("1 record"),
            Self::Found(records) => write!(f, "{records} records"),
            Self::NoData => f.write_str("no data"),
            Self::NoSuchDomain => f.write_str("no such domain"),
            Self::ServerFailure => f.write_str("server failure"),
            Self::TimedOut => f.write_str("time-out"),
            Self::Bogus => f.write_str("bogus"),
        }
    }
}

/// What came back for one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which of the six it is.
    pub outcome: Outcome,
    /// For how many seconds it holds, where that is known: the least TTL of the records, or that of the absence.
    pub ttl: Option<u32>,
    /// The names that the chain of CNAMEs went through after the one asked, in order; empty without a CNAME.
    pub aliases: Vec<Name>,
}

impl Answer {
    /// Records, without a TTL.
    #[must_use]
    pub const fn found(values: Values) -> Self {
        Self::of(Outcome::Found(values))
    }

    /// An outcome, without a TTL.
    #[must_use]
    pub const fn of(outcome: Outcome) -> Self {
        Self { outcome, ttl: None, aliases: Vec::new() }
    }

    /// TXT records, without a TTL.
    pub fn texts(texts: impl IntoIterator<Item = impl Into<Text>>) -> Self {
        Self::found(Values::Txt(texts.into_iter().map(Into::into).collect()))
    }
}

#[cfg(test)]
mod tests;
