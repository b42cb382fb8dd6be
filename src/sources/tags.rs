//! Lists of tags as DKIM and DMARC records have them (RFC 6376 section 3.2): `name=value; name=value`.

use std::fmt;

/// The most parts between semicolons that are read of one record; DKIM knows nine tags and DMARC a dozen.
pub(super) const MAX_TAGS: usize = 64;

/// One tag with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// The name, as written.
    pub(super) name: &'a str,
    /// Where the name begins, in bytes from 0.
    pub(super) at: usize,
    /// The value without the blanks around it.
    pub(super) value: &'a str,
    /// Where the value begins.
    pub(super) value_at: usize,
}

/// Where a record cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The place in the joined text of the record, in bytes from 0.
    pub at: usize,
    /// What is wrong there.
    pub kind: FaultKind,
}

impl Fault {
    pub(super) const fn new(at: usize, kind: FaultKind) -> Self {
        Self { at, kind }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at + 1, self.kind)
    }
}

/// What is wrong at a place of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum FaultKind {
    #[error("a byte that is no letter, sign or blank of US-ASCII")]
    NotAscii,
    #[error("a quotation mark, as zone files have it around strings; it has come into the record itself")]
    Quote,
    #[error("a backslash, as some zone files have it before semicolons; it has come into the record itself")]
    Backslash,
    #[error("more than {MAX_TAGS} tags")]
    TooMany,
    #[error("a tag without a name")]
    NoName,
    #[error("a name of a tag with other signs than letters, digits and underscores")]
    BadName,
    #[error("no = after the name of a tag")]
    NoEquals,
    #[error("the tag {0}= stands twice")]
    Twice(String),
    #[error("the tag v= must come first")]
    VersionNotFirst,
    #[error("the version is not {0}")]
    Version(&'static str),
    #[error("no tag {0}=")]
    Missing(&'static str),
    #[error("the text `{0}=` within a value: a semicolon is missing before it")]
    NoSemicolon(String),
    #[error("the lines BEGIN and END of a PEM file are no part of a key record")]
    Pem,
    #[error("a sign that base64 does not have")]
    Base64,
    #[error("the base64 text breaks off or has a length that base64 cannot have")]
    Base64Length,
    #[error("the key is cut short: it says that it has {said} bytes, and {there} are there")]
    Truncated { said: usize, there: usize },
    #[error("the bytes are no RSA public key")]
    NotRsa,
    #[error("the bytes go on after the end of the key")]
    Rest,
    #[error("an Ed25519 key has 32 bytes (RFC 8463 section 4.2), this one has {0}")]
    Ed25519Length(usize),
    #[error("`{0}` is none of the values that the tag can have")]
    Value(String),
}

/// Whether a byte is a blank of folded texts.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The tags of a record in their order; empty parts between semicolons are skipped, as most readers do at the end.
///
/// # Errors
/// The first place that is no list of tags.
pub(super) fn tags(record: &[u8]) -> Result<Vec<Tag<'_>>, Fault> {
    if let Some(at) = record.iter().position(|byte| !(byte.is_ascii_graphic() || is_blank(*byte))) {
        return Err(Fault::new(at, FaultKind::NotAscii));
    }
    let Ok(text) = std::str::from_utf8(record) else { return Err(Fault::new(0, FaultKind::NotAscii)) };
    let mut found: Vec<Tag<'_>> = Vec::new();
    let mut start = 0;
    for part in text.split(';') {
        let at = start + (part.len() - part.trim_ascii_start().len());
        let part_start = start;
        start += part.len() + 1;
        if part.trim_ascii().is_empty() {
            continue;
        }
        let Some((name, value)) = part.split_once('=') else {
            let kind = match part.trim_ascii().as_bytes() {
                [b'"', ..] => FaultKind::Quote,
                [.., b'\\'] => FaultKind::Backslash,
                _ => FaultKind::NoEquals,
            };
            return Err(Fault::new(at, kind));
        };
        let value_at = part_start + name.len() + 1 + (value.len() - value.trim_ascii_start().len());
        let name = name.trim_ascii();
        if name.is_empty() {
            return Err(Fault::new(at, FaultKind::NoName));
        }
        if let Some(bad) = name.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_')) {
            let kind = match name.as_bytes().get(bad) {
                Some(b'"') => FaultKind::Quote,
                Some(b'\\') => FaultKind::Backslash,
                _ => FaultKind::BadName,
            };
            return Err(Fault::new(at + bad, kind));
        }
        if found.len() == MAX_TAGS {
            return Err(Fault::new(at, FaultKind::TooMany));
        }
        found.push(Tag { name, at, value: value.trim_ascii(), value_at });
    }
    Ok(found)
}

/// The first quotation mark or backslash of a value, which no tag of DKIM or DMARC but `n=` can have.
pub(super) fn pasted(tag: &Tag<'_>) -> Option<Fault> {
    let place = tag.value.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let kind = if tag.value.as_bytes().get(place) == Some(&b'"') { FaultKind::Quote } else { FaultKind::Backslash };
    Some(Fault::new(tag.value_at + place, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_know_their_place() {
        let found = tags(b"v=DKIM1;  k = rsa ;p=AA BB;").expect("a list");
        let parts: Vec<_> = found.iter().map(|tag| (tag.name, tag.at, tag.value, tag.value_at)).collect();
        assert_eq!(parts, [("v", 0, "DKIM1", 2), ("k", 10, "rsa", 14), ("p", 19, "AA BB", 21)]);
    }

    #[test]
    fn faults_know_their_place() {
        let fault = |text: &[u8]| tags(text).expect_err("a fault");
        assert_eq!(fault(b"\"v=DKIM1; p=\""), Fault::new(0, FaultKind::Quote));
        assert_eq!(fault(b"v=DKIM1; p"), Fault::new(9, FaultKind::NoEquals));
        assert_eq!(fault(b"v=DKIM1; =x"), Fault::new(9, FaultKind::NoName));
        assert_eq!(fault(b"v=DKIM1; a-b=x"), Fault::new(10, FaultKind::BadName));
        assert_eq!(fault(b"v=DKIM1; p=\xc3\xa9"), Fault::new(11, FaultKind::NotAscii));
        assert_eq!(
            fault(b"v=DKIM1; p=\xc3\xa9").to_string(),
            "at byte 12: a byte that is no letter, sign or blank of US-ASCII"
        );
        assert_eq!(tags("a=b;".repeat(MAX_TAGS).as_bytes()).map(|tags| tags.len()), Ok(MAX_TAGS));
        assert_eq!(fault("a=b;".repeat(MAX_TAGS + 1).as_bytes()), Fault::new(4 * MAX_TAGS, FaultKind::TooMany));
        assert!(tags(b"").expect("nothing").is_empty() && tags(b" ; ;").expect("nothing").is_empty());
    }
}
