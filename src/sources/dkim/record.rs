//! Reading one key record.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    super::tags::{self, Tag, is_blank, pasted, tags},
    Fault, FaultKind, der,
};

/// Padding may be missing, as some consoles show keys.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// RSA, with the length of its modulus.
    Rsa {
        /// In bits.
        bits: u32,
    },
    /// Ed25519.
    Ed25519,
    /// `p=` is empty.
    Revoked,
    /// A type that no RFC names.
    Unknown {
        /// `k=`.
        kind: String,
    },
}

/// One key record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key.
    pub key: Key,
    /// `t=y`.
    pub testing: bool,
    /// `t=s`.
    pub strict: bool,
    /// `s=` where it says something: the types of service.
    pub services: Option<Vec<String>>,
    /// `h=` where it says something: the hashes that signatures may have.
    pub hashes: Option<Vec<String>>,
    /// Whether the key has blanks within, which the RFC allows and some receivers do not.
    pub blanks: bool,
}

impl KeyRecord {
    /// Whether the key may be used for mail: `s=` absent, `*` or `email`.
    #[must_use]
    pub fn for_mail(&self) -> bool {
        self.services
            .as_ref()
            .is_none_or(|all| all.iter().any(|service| service == "*" || service.eq_ignore_ascii_case("email")))
    }

    /// Whether signatures may use SHA-256, the one hash that is left (RFC 8301).
    #[must_use]
    pub fn allows_sha256(&self) -> bool {
        self.hashes.as_ref().is_none_or(|all| all.iter().any(|hash| hash.eq_ignore_ascii_case("sha256")))
    }
}

/// Reads a TXT record at a selector. `None` where it is no key record at all but something else that stands there, as a wildcard
/// SPF record does.
///
/// # Errors
/// The place of the first fault.
#[must_use]
pub fn parse(record: &[u8]) -> Option<Result<KeyRecord, Fault>> {
    let looks_like_one = contains(record, b"DKIM1") || contains(record, b"p=") || contains(record, b"BEGIN PUBLIC KEY");
    let other = [&b"v=spf1"[..], b"v=DMARC1", b"v=STSv1", b"v=TLSRPTv1", b"v=BIMI1"];
    if !looks_like_one || other.iter().any(|start| record.starts_with(start)) {
        return None;
    }
    Some(read(record))
}

fn contains(record: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(record, needle).is_some()
}

fn read(record: &[u8]) -> Result<KeyRecord, Fault> {
    if let Some(at) = memchr::memmem::find(record, b"-----") {
        return Err(Fault::new(at, FaultKind::Pem));
    }
    let tags = tags(record)?;
    for (index, tag) in tags.iter().enumerate() {
        // A name that stands twice makes the whole list invalid (RFC 6376 section 3.2).
        if tags.iter().take(index).any(|before| before.name == tag.name) {
            return Err(Fault::new(tag.at, FaultKind::Twice(tag.name.to_owned())));
        }
        if tag.name != "n"
            && let Some(fault) = pasted(tag)
        {
            return Err(fault);
        }
    }
    let find = |name: &str| tags.iter().find(|tag| tag.name == name);
    if let Some(version) = find("v") {
        if version.value != "DKIM1" {
            return Err(merged(version).unwrap_or(Fault::new(version.value_at, FaultKind::Version("DKIM1"))));
        }
        if tags.first() != Some(version) {
            return Err(Fault::new(version.at, FaultKind::VersionNotFirst));
        }
    }
    for name in ["k", "h", "s", "t"] {
        if let Some(fault) = find(name).and_then(merged) {
            return Err(fault);
        }
    }
    let words = |name: &str| {
        find(name).map(|tag| tag.value.split(':').map(|word| word.trim_ascii().to_owned()).collect::<Vec<_>>())
    };
    let flags = words("t").unwrap_or_default();
    let Some(data) = find("p") else { return Err(Fault::new(record.len(), FaultKind::Missing("p"))) };
    let kind = find("k").map_or("rsa", |tag| tag.value);
    Ok(KeyRecord {
        key: key(kind, data)?,
        testing: flags.iter().any(|flag| flag.eq_ignore_ascii_case("y")),
        strict: flags.iter().any(|flag| flag.eq_ignore_ascii_case("s")),
        services: words("s"),
        hashes: words("h"),
        blanks: data.value.bytes().any(is_blank),
    })
}

/// A value that holds another tag: `k=rsa p=MIIB…`.
fn merged(tag: &Tag<'_>) -> Option<Fault> {
    let inner = tag.value.find('=')?;
    let head = tag.value.get(..inner)?.trim_ascii_end();
    let start = head.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |blank| blank + 1);
    let name = head.get(start..)?;
    (start > 0).then(|| Fault::new(tag.value_at + start, FaultKind::NoSemicolon(name.to_owned())))
}

fn key(kind: &str, data: &Tag<'_>) -> Result<Key, Fault> {
    let letters: Vec<(usize, u8)> = data.value.bytes().enumerate().filter(|(_, byte)| !is_blank(*byte)).collect();
    if letters.is_empty() {
        return Ok(Key::Revoked);
    }
    let rsa = kind.eq_ignore_ascii_case("rsa");
    if !rsa && !kind.eq_ignore_ascii_case("ed25519") {
        return Ok(Key::Unknown { kind: kind.chars().take(40).collect() });
    }
    let text: Vec<u8> = letters.iter().map(|(_, byte)| *byte).collect();
    let place = |index: usize| data.value_at + letters.get(index).map_or(data.value.len(), |(at, _)| *at);
    // A tag whose semicolon is missing stands in the base64 as `t=`, which has signs enough to be taken for base64.
    let bytes = BASE64.decode(&text).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, b'=') => {
            // Padding in the middle: another tag follows, or two keys stand one after another.
            merged(data).unwrap_or(Fault::new(place(at), FaultKind::Base64))
        }
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            Fault::new(place(at), FaultKind::Base64)
        }
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
            Fault::new(place(text.len()), FaultKind::Base64Length)
        }
    })?;
    if rsa {
        let bits = der::rsa_bits(&bytes).map_err(|kind| Fault::new(data.value_at, kind))?;
        Ok(Key::Rsa { bits })
    } else if bytes.len() == 32 {
        Ok(Key::Ed25519)
    } else {
        Err(Fault::new(data.value_at, FaultKind::Ed25519Length(bytes.len())))
    }
}

/// The record as it was probably meant, where undoing what pasting does makes a readable key of it: quotation marks, backslashes,
/// the lines of a PEM file, blanks in the key.
pub(super) fn mended(record: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(record).ok()?;
    let text = text.replace("-----BEGIN PUBLIC KEY-----", "").replace("-----END PUBLIC KEY-----", "");
    let text: String = text.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
    let tags = tags::tags(text.as_bytes()).ok()?;
    let mut parts = Vec::new();
    for tag in &tags {
        match (tag.name, merged(tag)) {
            ("p", _) => parts.push(format!("p={}", without_blanks(tag.value))),
            (name, Some(fault)) => {
                let cut = fault.at.checked_sub(tag.value_at)?;
                parts.push(format!("{name}={}", tag.value.get(..cut)?.trim_ascii()));
                let (inner, value) = tag.value.get(cut..)?.split_once('=')?;
                parts.push(format!("{}={}", inner.trim_ascii(), without_blanks(value)));
            }
            (name, None) => parts.push(format!("{name}={}", tag.value)),
        }
    }
    let mended = parts.join("; ");
    match read(mended.as_bytes()) {
        Ok(KeyRecord { key: Key::Rsa { .. } | Key::Ed25519, .. }) => Some(mended),
        _ => None,
    }
}

fn without_blanks(value: &str) -> String {
    value.chars().filter(|c| !c.is_ascii_whitespace()).collect()
}
