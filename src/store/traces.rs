//! Where a person shows in a text that somebody else wrote: what is looked for when an address is forgotten.

use std::collections::{HashMap, HashSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regex::bytes::{Regex, RegexBuilder};

use crate::{
    model::{Address, normalise_domain},
    privacy::{Keyring, Purpose},
};

/// The shortest local part that is looked for by itself: shorter ones are words of every text, and no relay address has one.
const MIN_LOCAL: usize = 6;
/// The lengths of names of accounts that are looked for by hash: Apple's have 44 characters.
const MIN_SUBJECT: usize = 8;
const MAX_SUBJECT: usize = 255;
/// The shortest run of letters and digits that is looked into as base64: an address in it is longer.
const MIN_ENCODED: usize = 24;

/// How some people show in texts: their addresses plain, in return paths (VERP), percent-encoded, and as base64; the names
/// of their accounts; and, where only hashes of them are kept, every address in the text by its hash.
pub(super) struct Traces<'a> {
    keyring: &'a Keyring,
    hashes: HashSet<[u8; 16]>,
    /// Accounts of which only the hash is known, by team.
    subjects: HashMap<String, HashSet<Vec<u8>>>,
    plain: Vec<String>,
    encoded: Vec<String>,
    patterns: Option<Vec<Regex>>,
}

impl<'a> Traces<'a> {
    pub(super) fn new(keyring: &'a Keyring) -> Self {
        Self {
            keyring,
            hashes: HashSet::new(),
            subjects: HashMap::new(),
            plain: Vec::new(),
            encoded: Vec::new(),
            patterns: None,
        }
    }

    /// Looks for the address with this keyed hash, too.
    pub(super) fn add_hash(&mut self, hash: [u8; 16]) {
        self.hashes.insert(hash);
    }

    /// Looks for this address, too.
    pub(super) fn add_address(&mut self, address: &Address) {
        let (local, domain) = (regex::escape(address.local()), regex::escape(address.domain()));
        // `@` plain, as in return paths, percent-encoded, as a character reference, and escaped in JSON.
        self.plain.push(format!(r"{local}(?:@|=|%40|&#64;|\\u0040){domain}"));
        if address.local().len() >= MIN_LOCAL {
            self.plain.push(format!(r"(?:^|[^a-z0-9]){local}(?:[^a-z0-9]|$)"));
        }
        for form in [address.expose().to_owned(), address.key()] {
            self.add_encoded(form.as_bytes());
        }
    }

    /// Looks for this name of an account, too.
    pub(super) fn add_subject(&mut self, subject: &str) {
        self.plain.push(regex::escape(subject));
        self.add_encoded(subject.as_bytes());
    }

    /// Looks for the account of a team with this keyed hash, too.
    pub(super) fn add_subject_hash(&mut self, team: &str, hash: &[u8]) {
        self.subjects.entry(team.to_owned()).or_default().insert(hash.to_vec());
    }

    /// The base64 of what stands somewhere in a longer text: one form for each of the three ways to fall on its groups.
    fn add_encoded(&mut self, value: &[u8]) {
        for shift in 0..3 {
            let mut padded = vec![0; shift];
            padded.extend_from_slice(value);
            let text = STANDARD.encode(&padded);
            // Characters that a neighbour has a part in are left out.
            let first = (shift * 8).div_ceil(6);
            let last = padded.len() * 8 / 6;
            if let Some(sure) = text.get(first..last).filter(|sure| sure.len() >= 8) {
                self.encoded.push(regex::escape(sure));
                let safe = sure.replace('+', "-").replace('/', "_");
                self.encoded.push(regex::escape(&safe));
            }
        }
    }

    /// Makes it ready. What the engine of patterns can't take is looked for by hash only.
    pub(super) fn ready(&mut self) {
        let build = |forms: &[String], insensitive: bool| {
            (!forms.is_empty()).then(|| {
                RegexBuilder::new(&forms.join("|")).case_insensitive(insensitive).size_limit(64 << 20).build().ok()
            })
        };
        self.patterns =
            Some([build(&self.plain, true), build(&self.encoded, false)].into_iter().flatten().flatten().collect());
    }

    /// Whether one of them shows in the text.
    pub(super) fn shows_in(&self, text: &[u8]) -> bool {
        self.shows_in_plain(text)
            || [without_quoting(text), in_one_line(text)].into_iter().flatten().any(|text| self.shows_in_plain(&text))
    }

    fn shows_in_plain(&self, text: &[u8]) -> bool {
        let patterns = self.patterns.as_deref().unwrap_or_default();
        patterns.iter().any(|pattern| pattern.is_match(text)) || self.hash_shows_in(text, true)
    }

    /// Whether the text has an address or an account with one of the hashes.
    fn hash_shows_in(&self, text: &[u8], into_encoded: bool) -> bool {
        if self.hashes.is_empty() && self.subjects.is_empty() {
            return false;
        }
        let lossy = String::from_utf8_lossy(text);
        let at_signs =
            ["%40", "&#64;", "\\u0040"].iter().fold(lossy.into_owned(), |text, form| text.replace(form, "@"));
        let word = |c: char| !(c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@".contains(c));
        if at_signs.split(word).filter(|token| token.contains('@')).any(|token| self.names(token)) {
            return true;
        }
        if !self.subjects.is_empty()
            && text
                .split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')))
                .filter(|token| (MIN_SUBJECT..=MAX_SUBJECT).contains(&token.len()))
                .any(|token| self.is_subject(token))
        {
            return true;
        }
        into_encoded
            && text
                .split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')))
                .filter(|run| run.len() >= MIN_ENCODED)
                .any(|run| decoded(run).is_some_and(|inner| self.hash_shows_in(&inner, false)))
    }

    /// Whether a token holds one of the addresses, or a return path that holds one.
    fn names(&self, token: &str) -> bool {
        token.match_indices('@').any(|(at, _)| {
            let (local, rest) = (token.get(..at).unwrap_or_default(), token.get(at + 1..).unwrap_or_default());
            let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
            let inner = local.rsplit_once('=').is_some_and(|(local, domain)| self.ends_in(local, domain));
            inner || self.ends_in(local, rest.get(..end).unwrap_or_default())
        })
    }

    /// Whether `local`, or a part of it from a separator on, is with this domain one of the addresses.
    fn ends_in(&self, local: &str, domain: &str) -> bool {
        let domain = normalise_domain(domain);
        let separators = local.char_indices().filter(|(_, c)| !c.is_alphanumeric()).map(|(at, c)| at + c.len_utf8());
        std::iter::once(0).chain(separators).any(|start| {
            let local = local.get(start..).unwrap_or_default();
            !local.is_empty() && self.hashes.contains(&self.hash(&format!("{}@{domain}", local.to_lowercase())))
        })
    }

    fn is_subject(&self, token: &[u8]) -> bool {
        self.subjects.iter().any(|(team, hashes)| {
            let hash = self.keyring.hash(Purpose::Subject, &[team.as_bytes(), token]);
            hashes.contains(hash.as_slice())
        })
    }

    fn hash(&self, key: &str) -> [u8; 16] {
        self.keyring.hash(Purpose::Address, &[key.as_bytes()])
    }
}

/// A mail's text without its quoted-printable dress (RFC 2045 section 6.7), whichever part has it; nothing where there is none.
/// What only looks like it changes too: it is read only here.
fn without_quoting(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text;
    let mut out = Vec::new();
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (before, behind) = rest.split_at(at);
        out.extend_from_slice(before);
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        // Blanks may stand before the line's end.
        let end = behind.iter().skip(1).position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')).map_or(0, |end| end + 1);
        rest = if let (Some(high), Some(low)) = (digit(1), digit(2)) {
            out.extend(u8::try_from(high * 16 + low));
            behind.get(3..)
        } else if end > 0 && behind.get(end) == Some(&b'\n') {
            behind.get(end + 1..)
        } else {
            out.push(b'=');
            behind.get(1..)
        }
        .unwrap_or_default();
    }
    out.extend_from_slice(rest);
    (out != text).then_some(out)
}

/// A mail's text with the lines of each base64 part in one (RFC 2045 section 6.8); nothing where there are no two.
fn in_one_line(text: &[u8]) -> Option<Vec<u8>> {
    let is_encoded = |line: &[u8]| {
        !line.is_empty() && line.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
    };
    let (mut out, mut joined, mut was_encoded) = (Vec::with_capacity(text.len()), false, true);
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        let encoded = is_encoded(line);
        if !(encoded && was_encoded) {
            out.push(b'\n');
        } else if !out.is_empty() {
            joined = true;
        }
        out.extend_from_slice(line);
        was_encoded = encoded;
    }
    joined.then_some(out)
}

/// What a run of base64 holds, in either alphabet and with or without its end.
fn decoded(run: &[u8]) -> Option<Vec<u8>> {
    let whole = run.get(..run.len() - run.len() % 4)?;
    let text: Vec<u8> = whole
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: &str = "Zhzkndneko@privaterelay.appleid.com";

    fn by_name(keyring: &Keyring) -> Traces<'_> {
        let mut traces = Traces::new(keyring);
        traces.add_address(&Address::parse(ADDRESS).expect("an address"));
        traces.add_subject("001234.abcd0123.0456");
        traces.ready();
        traces
    }

    fn by_hash(keyring: &Keyring) -> Traces<'_> {
        let mut traces = Traces::new(keyring);
        let key = Address::parse(ADDRESS).expect("an address").key();
        traces.add_hash(keyring.hash(Purpose::Address, &[key.as_bytes()]));
        traces.add_subject_hash("T", &keyring.hash(Purpose::Subject, &[b"T", b"001234.abcd0123.0456"]));
        traces.ready();
        traces
    }

    #[test]
    fn a_person_is_found_in_every_dress() {
        let keyring = Keyring::generate().expect("keys");
        let (name, hash) = (by_name(&keyring), by_hash(&keyring));
        let base64 = |prefix: &str| STANDARD.encode(format!("{prefix}{{\"email\":\"{ADDRESS}\"}}"));
        for text in [
            format!("550 5.1.1 <{ADDRESS}>: user not found"),
            "to zhzkndneko@PrivateRelay.AppleID.com, please".to_owned(),
            "<bounce+b53c9e.27949-zhzkndneko=privaterelay.appleid.com@mail.example.com>: unauthorized sender"
                .to_owned(),
            "https://example.com/?u=zhzkndneko%40privaterelay.appleid.com&x=1".to_owned(),
            r#"{"to":"zhzkndneko\u0040privaterelay.appleid.com"}"#.to_owned(),
            base64(""),
            base64("x"),
            base64("xy"),
            format!("eyJhbGciOiJSUzI1NiJ9.{}.c2lnbmF0dXJl", base64("x").replace('+', "-").replace('/', "_")),
        ] {
            assert!(name.shows_in(text.as_bytes()), "by name: {text}");
            assert!(hash.shows_in(text.as_bytes()), "by hash: {text}");
        }
        assert!(name.shows_in(b"user zhzkndneko unknown"), "the local part alone");
        let account = br#"{"sub":"001234.abcd0123.0456"}"#;
        assert!(name.shows_in(account) && hash.shows_in(account) && hash.shows_in(STANDARD.encode(account).as_bytes()));
        for text in ["550 user not found", "other@privaterelay.appleid.com", "xzhzkndnekox", "user@example.com", ""] {
            assert!(!name.shows_in(text.as_bytes()), "by name: {text}");
            assert!(!hash.shows_in(text.as_bytes()), "by hash: {text}");
        }
    }

    /// As mails that were kept have it: lines of 76 characters, broken anywhere.
    #[test]
    fn a_person_is_found_in_the_parts_of_a_mail() {
        let keyring = Keyring::generate().expect("keys");
        let (name, hash) = (by_name(&keyring), by_hash(&keyring));
        let head = "Content-Transfer-Encoding: base64\r\n\r\n";
        for shift in 0..76 {
            let encoded = STANDARD.encode(format!("{}The mail to {ADDRESS} came back.", "x ".repeat(shift)));
            let lines: Vec<&str> =
                encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
            for end in ["\r\n", "\n"] {
                let text = format!("{head}{}{end}--b--{end}", lines.join(end));
                assert!(name.shows_in(text.as_bytes()), "by name: {text}");
                assert!(hash.shows_in(text.as_bytes()), "by hash: {text}");
            }
        }
        for text in [
            "to zhzkndneko=40privaterelay.appleid.com=2E",
            "to <zhzkndn=\r\neko@privaterelay.app=\r\nleid.com>",
            "to <zhzkndn= \neko=40privaterelay.appleid.com>",
            "=7Ahzkndneko@privaterelay=2Eappleid.com",
        ] {
            assert!(name.shows_in(text.as_bytes()), "by name: {text}");
            assert!(hash.shows_in(text.as_bytes()), "by hash: {text}");
        }
        for text in ["to other=40privaterelay.appleid.com", "a=", "a==\n", "=4", "Zm9v\nYmFy\n"] {
            assert!(!name.shows_in(text.as_bytes()) && !hash.shows_in(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn wherever_it_stands_it_is_found(before in "[ -~]{0,40}", after in "[ -~]{0,40}") {
            let keyring = Keyring::generate().expect("keys");
            let text = format!("{before} <{ADDRESS}> {after}");
            prop_assert!(by_name(&keyring).shows_in(text.as_bytes()));
            prop_assert!(by_hash(&keyring).shows_in(text.as_bytes()));
            prop_assert!(by_name(&keyring).shows_in(STANDARD.encode(&text).as_bytes()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let keyring = Keyring::generate().expect("keys");
            let _ = (by_name(&keyring).shows_in(&bytes), by_hash(&keyring).shows_in(&bytes));
        }
    }
}
