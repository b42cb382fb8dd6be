//! A canary in the mailbox: which one it is, and what its header tells.

use mail_parser::{HeaderName, MessageParser};
use serde::{Deserialize, Serialize};

use super::{CanaryId, Mark, mark::Seal, message::HEADER};
use crate::model::{Address, Timestamp};

/// Headers of one kind that are kept at most.
const MOST_RESULTS: usize = 8;
/// Bytes of one that are kept at most.
const MOST_RESULT_BYTES: usize = 2_048;
/// Bytes of a folder's name that are kept.
const MOST_FOLDER_BYTES: usize = 128;

/// Where and when a canary arrived.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arrival {
    /// When the mailbox had it.
    pub at: Timestamp,
    /// The folder.
    pub folder: String,
    /// Whether that is the folder for junk.
    pub junk: bool,
    /// The domain of From as it arrived.
    pub from_domain: Option<String>,
    /// Whether From is another than was sent.
    pub rewritten: bool,
    /// The values of `Authentication-Results` as they stand there, topmost first, with roles for the local parts of addresses.
    pub results: Vec<String>,
}

/// The addresses of a canary, by which those in its header are told apart.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// The From address.
    pub from: &'a Address,
    /// The envelope sender.
    pub mail_from: &'a Address,
    /// The recipient.
    pub to: &'a Address,
}

/// Which canary a message is, by its header and the beginning of its text; `None` where it is none of this installation's.
///
/// The header of our own comes first; then the message id, the subject and the text, since the relay may drop headers.
#[must_use]
pub fn identify(header: &[u8], text: &[u8], seal: Seal<'_>) -> Option<CanaryId> {
    let mut whole = header.to_vec();
    whole.extend_from_slice(text);
    let message = MessageParser::new().parse(&whole)?;
    let own = message.header(HeaderName::Other(HEADER.into())).and_then(mail_parser::HeaderValue::as_text);
    let body = message.body_text(0);
    [own, message.message_id(), message.subject(), body.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|part| Mark::find(part, seal))
}

impl Arrival {
    /// What a message's header tells of an arrival at `at` in a folder.
    #[must_use]
    pub fn read(at: Timestamp, (folder, junk): (&str, bool), header: &[u8], own: Own<'_>) -> Self {
        let message = MessageParser::new().parse_headers(header);
        let from = message.as_ref().and_then(|message| Address::parse(message.from()?.first()?.address()?).ok());
        Self {
            at,
            folder: cut(&without_local_parts(folder, own), MOST_FOLDER_BYTES),
            junk,
            from_domain: from.as_ref().map(|from| from.domain().to_owned()),
            rewritten: from.as_ref().is_some_and(|from| from.key() != own.from.key()),
            results: results(header, own),
        }
    }
}

/// The values of `Authentication-Results`, topmost first (RFC 8601 section 2.2), unfolded as little as can be: not at all.
fn results(header: &[u8], own: Own<'_>) -> Vec<String> {
    let text = String::from_utf8_lossy(header);
    let mut found: Vec<String> = Vec::new();
    let mut within = false;
    for line in text.split_inclusive('\n') {
        if line.starts_with([' ', '\t']) {
            if let Some(last) = found.last_mut().filter(|_| within) {
                last.push_str(line);
            }
            continue;
        }
        let value = line.split_once(':').filter(|(name, _)| name.trim().eq_ignore_ascii_case("Authentication-Results"));
        within = value.is_some() && found.len() < MOST_RESULTS;
        if let Some((_, value)) = value.filter(|_| within) {
            found.push(value.to_owned());
        }
    }
    found.iter().map(|value| cut(without_local_parts(value, own).trim(), MOST_RESULT_BYTES)).collect()
}

/// A text in which the local part of each address is a role; its domain, which SPF and DMARC go by, stays. What stands quoted
/// before an at sign goes as a whole.
fn without_local_parts(text: &str, own: Own<'_>) -> String {
    let is_part = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut pieces = text.split(['@', '\u{ff20}']).peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            out.push_str(piece);
            break;
        }
        // `smtp.mailfrom=` is a property's name and stands before the local part (RFC 8601 section 2.2).
        let (kept, local) = if let Some(quoted) = piece.strip_suffix('"') {
            piece.split_at(quoted.rfind('"').unwrap_or(0))
        } else {
            let start = piece
                .rfind(|c| !is_part(c))
                .map_or(0, |at| at + piece.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8));
            let word = piece.get(start..).unwrap_or_default();
            let property = word.split_once('=').filter(|(name, _)| is_property(name));
            piece.split_at(property.map_or(start, |(name, _)| start + name.len() + 1))
        };
        out.push_str(kept);
        let is = |address: &Address| address.local().eq_ignore_ascii_case(local);
        out.push_str(match () {
            () if is(own.to) => "{recipient}",
            () if is(own.mail_from) || is(own.from) => "{sender}",
            () => "{address}",
        });
        out.push('@');
    }
    out
}

/// Whether a word is the name of a property, as `smtp.mailfrom` or `header.from`, rather than part of an address.
fn is_property(name: &str) -> bool {
    matches!(name.split_once('.'), Some(("smtp" | "header" | "policy" | "body" | "dns", _)))
}

/// A text of at most so many bytes, cut between characters.
fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal(bytes: &[u8]) -> [u8; 16] {
        std::array::from_fn(|at| bytes[at % 8] ^ 0x5a)
    }

    fn addresses() -> [Address; 3] {
        ["dev@mydomain.example", "0100018@mail.mydomain.example", "qx7zhzkndneko@privaterelay.appleid.com"]
            .map(|text| Address::parse(text).expect("an address"))
    }

    fn with_own<T>(act: impl FnOnce(Own<'_>) -> T) -> T {
        let [from, mail_from, to] = addresses();
        act(Own { from: &from, mail_from: &mail_from, to: &to })
    }

    #[test]
    fn a_canary_is_known_by_whatever_of_its_marks_is_left() {
        let (id, other) = (CanaryId::new(7), CanaryId::new(8));
        let mark = Mark::of(id, &seal);
        let mark = mark.as_str();
        let (head, tail) = mark.split_at(20);
        let broken = format!("{head}=\r\n{tail}");
        let forged = Mark::of(other, &|_| [0; 16]);
        for (header, text) in [
            (format!("X-Relaywatch-Canary: {mark}\r\n\r\n"), String::new()),
            (format!("Message-ID: <{mark}@x.example>\r\n\r\n"), String::new()),
            (format!("Subject: =?utf-8?Q?Canary_{mark}?=\r\n\r\n"), String::new()),
            (format!("Subject: Canary\r\n {mark}\r\n\r\n"), String::new()),
            ("Subject: x\r\n\r\n".to_owned(), format!("Mark: {mark}\r\n")),
            ("Content-Transfer-Encoding: quoted-printable\r\n\r\n".to_owned(), format!("Mark: {broken}\r\n")),
            (format!("X-Relaywatch-Canary: {}\r\nSubject: {mark}\r\n\r\n", forged.as_str()), String::new()),
        ] {
            assert_eq!(identify(header.as_bytes(), text.as_bytes(), &seal), Some(id), "{header}{text}");
        }
        let foreign = format!("Subject: {}\r\n\r\n", forged.as_str());
        assert_eq!(identify(foreign.as_bytes(), b"", &seal), None);
    }

    #[test]
    fn the_results_stay_as_they_are_but_for_local_parts() {
        let header = b"Return-Path: <x@icloud.com>\r\nAuthentication-Results: mx.icloud.com;\r\n\
            \tspf=pass (domain of 0100018@mail.mydomain.example designates 192.0.2.1)\r\n\
            \tsmtp.mailfrom=0100018@mail.mydomain.example; dkim=pass header.i=@mydomain.example header.b=Ab+/=\r\n\
            From: dev_at_mydomain_example_x7q@icloud.com\r\n\
            authentication-results: other.example; auth=pass smtp.auth=\"a b\"@example.com\r\n\
            To: qx7zhzkndneko@privaterelay.appleid.com\r\nSubject: x\r\n\r\n";
        let read = with_own(|own| Arrival::read(Timestamp::from_seconds(1), ("Junk", true), header, own));
        assert_eq!(
            read.results,
            [
                "mx.icloud.com;\r\n\tspf=pass (domain of {sender}@mail.mydomain.example designates 192.0.2.1)\r\n\
             \tsmtp.mailfrom={sender}@mail.mydomain.example; dkim=pass header.i={address}@mydomain.example header.b=Ab+/=",
                "other.example; auth=pass smtp.auth={address}@example.com",
            ]
        );
        assert_eq!((read.from_domain.as_deref(), read.rewritten, read.junk), (Some("icloud.com"), true, true));
        let same = b"From: Dev <DEV@mydomain.example>\r\n\r\n";
        let read = with_own(|own| Arrival::read(Timestamp::from_seconds(1), ("INBOX", false), same, own));
        assert!(!read.rewritten && read.results.is_empty(), "{read:?}");
    }

    proptest! {
        #[test]
        fn what_is_kept_is_bounded_and_names_no_recipient(noise in "(\\PC|[@;=\"\r\n \t]){0,400}", times in 1_usize..20) {
            let [_, _, to] = addresses();
            let one = format!("Authentication-Results: a; x=qx7zhzkndneko@b {noise} smtp.rcptto={}\r\n", to.expose());
            let header = one.repeat(times);
            let read = with_own(|own| Arrival::read(Timestamp::EPOCH, ("INBOX", false), header.as_bytes(), own));
            prop_assert!(read.results.len() <= MOST_RESULTS);
            for value in &read.results {
                prop_assert!(value.len() <= MOST_RESULT_BYTES);
                prop_assert!(!value.contains("qx7zhzkndneko@"));
            }
        }

        #[test]
        fn no_message_makes_it_panic(header in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,100}") {
            prop_assert_eq!(identify(&header, text.as_bytes(), &seal), None);
            with_own(|own| Arrival::read(Timestamp::EPOCH, (&text, false), &header, own));
        }
    }
}
