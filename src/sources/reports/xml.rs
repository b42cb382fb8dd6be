//! One XML document, by the paths of its elements.

use std::{borrow::Cow, net::IpAddr};

use quick_xml::{
    Reader,
    errors::{Error, IllFormedError},
    events::Event,
};

use super::{
    Alignment, Disposition, MAX_DEPTH, MAX_RECORDS, Override, Record, Report, ReportError, Signature, SpfChecked,
};
use crate::model::{Timestamp, normalise_domain};

/// The longest text of an element that is looked at, in bytes.
const MAX_TEXT_BYTES: usize = 1_024;
/// The longest domain (RFC 1035 section 2.3.4).
const MAX_DOMAIN_BYTES: usize = 253;
/// The longest name of an organisation that is kept, in letters, and the longest report id.
const MAX_WORDS: usize = 128;
/// The longest result word.
const MAX_WORD: usize = 24;
/// Signatures, SPF results and overrides of one record that are kept.
const MAX_RESULTS: usize = 16;

/// The elements that are read; all others are passed over, with what is in them.
const KNOWN: &[&str] = &[
    "auth_results",
    "begin",
    "count",
    "date_range",
    "disposition",
    "dkim",
    "domain",
    "email",
    "end",
    "envelope_from",
    "feedback",
    "header_from",
    "identifiers",
    "identities",
    "org_name",
    "p",
    "policy_evaluated",
    "policy_published",
    "reason",
    "record",
    "report_id",
    "report_metadata",
    "result",
    "row",
    "selector",
    "source_ip",
    "sp",
    "spf",
    "type",
];

/// Reads one document.
pub(super) fn read(bytes: &[u8]) -> Result<Report, ReportError> {
    let text = decoded(bytes);
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(ReportError::Empty);
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut lines = Lines { text, at: 0, line: 1 };
    let mut walk = Walk::default();
    loop {
        let before = reader.buffer_position();
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => return Err(fault(&error, lines.of(reader.error_position()))),
        };
        match event {
            Event::Start(tag) => {
                let name = tag.local_name();
                if walk.path.is_empty() && (walk.done || name.as_ref() != "feedback") {
                    return Err(ReportError::OtherXml);
                }
                if walk.path.len() >= MAX_DEPTH {
                    return Err(ReportError::Depth { line: lines.of(before) });
                }
                let known = KNOWN.binary_search(&name.as_ref()).ok().and_then(|at| KNOWN.get(at));
                walk.begin(known.copied().unwrap_or_default())?;
            }
            Event::End(_) => walk.end(),
            Event::Text(text) => walk.say(&text.xml10_content()),
            Event::CData(text) => walk.say(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let entity = || ReportError::Entity { line: lines.clone().of(before) };
                let letter = match &*reference.xml10_content() {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    "apos" => '\'',
                    "quot" => '"',
                    _ => reference.resolve_char_ref().ok().flatten().ok_or_else(entity)?,
                };
                walk.say(letter.encode_utf8(&mut [0; 4]));
            }
            Event::DocType(_) => return Err(ReportError::DocumentType { line: lines.of(before) }),
            Event::Eof => break,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    match (walk.done, walk.path.is_empty()) {
        (true, _) => walk.report(),
        (false, true) => Err(ReportError::Unknown),
        (false, false) => Err(ReportError::CutOff),
    }
}

/// The text of a document: UTF-8, or UTF-16 by its mark. What is in another charset has its letters beyond US-ASCII replaced: they
/// occur in names for people only.
fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk().copied()).map(read);
        let letters = char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER));
        Cow::Owned(letters.collect())
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes),
    }
}

fn fault(error: &Error, line: u64) -> ReportError {
    let what = match error {
        Error::IllFormed(
            IllFormedError::MismatchedEndTag { .. }
            | IllFormedError::UnmatchedEndTag(_)
            | IllFormedError::MissingEndTag(_),
        ) => "its tags do not close in the order in which they open",
        Error::IllFormed(IllFormedError::UnclosedReference) => "a `&` that begins no entity",
        Error::Syntax(_) => "it breaks off inside a tag, a comment or the like",
        _ => "it is ill-formed XML",
    };
    ReportError::Xml { line, what }
}

/// Which line a place is in.
#[derive(Clone)]
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of a place, in bytes from 0.
    fn of(&mut self, place: u64) -> u64 {
        let place = usize::try_from(place).unwrap_or(usize::MAX).min(self.text.len());
        let passed = self.text.as_bytes().get(self.at..place).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.at = self.at.max(place);
        self.line
    }
}

/// A record before it is complete.
#[derive(Default)]
struct Half {
    address: Option<IpAddr>,
    count: Option<u64>,
    disposition: Option<Disposition>,
    spf: Option<Alignment>,
    dkim: Option<Alignment>,
    overrides: Vec<Override>,
    header_from: Option<String>,
    envelope_from: Option<String>,
    signatures: Vec<Signature>,
    spf_checked: Vec<SpfChecked>,
}

#[derive(Default)]
struct Walk {
    /// The elements around, from the outermost; those that nobody knows have no name.
    path: Vec<&'static str>,
    /// The text of the innermost.
    text: String,
    done: bool,
    organisation: Option<String>,
    contact: Option<String>,
    report_id: Option<String>,
    domain: Option<String>,
    begin: Option<Timestamp>,
    end: Option<Timestamp>,
    policy: Option<String>,
    subdomain_policy: Option<String>,
    record: Half,
    records: Vec<Half>,
}

impl Walk {
    fn begin(&mut self, name: &'static str) -> Result<(), ReportError> {
        self.path.push(name);
        self.text.clear();
        let half = &mut self.record;
        match self.path.as_slice() {
            ["feedback", "record"] => {
                if self.records.len() >= MAX_RECORDS {
                    return Err(ReportError::Records);
                }
                self.record = Half::default();
            }
            // Of too many the last takes the place of the one before.
            ["feedback", "record", "auth_results", "dkim"] => {
                half.signatures.truncate(MAX_RESULTS - 1);
                half.signatures.push(Signature { domain: None, selector: None, result: String::new() });
            }
            ["feedback", "record", "auth_results", "spf"] => {
                half.spf_checked.truncate(MAX_RESULTS - 1);
                half.spf_checked.push(SpfChecked { domain: None, result: String::new() });
            }
            _ => {}
        }
        Ok(())
    }

    fn say(&mut self, text: &str) {
        let room = MAX_TEXT_BYTES.saturating_sub(self.text.len());
        let end = text.floor_char_boundary(room.min(text.len()));
        self.text.push_str(text.get(..end).unwrap_or_default());
    }

    fn end(&mut self) {
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        match self.path.as_slice() {
            ["feedback"] => self.done = true,
            ["feedback", "record"] => self.records.push(std::mem::take(&mut self.record)),
            ["feedback", "record", rest @ ..] => self.record.take(rest, text),
            ["feedback", "report_metadata", name] => match *name {
                "org_name" => self.organisation = organisation(text),
                "email" => self.contact = text.rsplit_once('@').and_then(|(_, domain)| self::domain(domain)),
                "report_id" => self.report_id = words(text),
                _ => {}
            },
            ["feedback", "report_metadata", "date_range", "begin"] => self.begin = time(text),
            ["feedback", "report_metadata", "date_range", "end"] => self.end = time(text),
            ["feedback", "policy_published", "domain"] => self.domain = domain(text),
            ["feedback", "policy_published", "p"] => self.policy = word(text),
            ["feedback", "policy_published", "sp"] => self.subdomain_policy = word(text),
            _ => {}
        }
        self.path.pop();
    }

    fn report(self) -> Result<Report, ReportError> {
        let organisation = self.organisation.or(self.contact).ok_or(ReportError::Missing("org_name"))?;
        let report_id = self.report_id.ok_or(ReportError::Missing("report_id"))?;
        let begin = self.begin.ok_or(ReportError::Missing("date_range/begin"))?;
        let end = self.end.ok_or(ReportError::Missing("date_range/end"))?;
        let domain = self.domain.ok_or(ReportError::Missing("policy_published/domain"))?;
        if end < begin {
            return Err(ReportError::Backwards);
        }
        let all = self.records.len();
        let records: Vec<Record> = self.records.into_iter().filter_map(|half| half.record(&domain)).collect();
        let left_out = (all - records.len()) as u64;
        let (policy, subdomain_policy) = (self.policy, self.subdomain_policy);
        Ok(Report { organisation, report_id, domain, begin, end, policy, subdomain_policy, records, left_out })
    }
}

impl Half {
    /// Takes what an element of a record says.
    fn take(&mut self, path: &[&str], text: &str) {
        match path {
            ["row", "source_ip"] => self.address = text.parse().ok().map(|address: IpAddr| address.to_canonical()),
            ["row", "count"] => self.count = text.parse().ok(),
            ["row", "policy_evaluated", "disposition"] => {
                self.disposition = Disposition::from_name(&text.to_ascii_lowercase());
            }
            ["row", "policy_evaluated", "dkim"] => self.dkim = Alignment::from_name(&text.to_ascii_lowercase()),
            ["row", "policy_evaluated", "spf"] => self.spf = Alignment::from_name(&text.to_ascii_lowercase()),
            ["row", "policy_evaluated", "reason", "type"] if self.overrides.len() < MAX_RESULTS => {
                let word = text.to_ascii_lowercase().replace([' ', '-'], "_");
                self.overrides.push(Override::from_name(&word).unwrap_or(Override::Other));
            }
            ["identifiers" | "identities", "header_from"] => self.header_from = domain(text),
            ["identifiers" | "identities", "envelope_from"] => self.envelope_from = domain(text),
            ["auth_results", "dkim", name] => {
                let Some(last) = self.signatures.last_mut() else { return };
                match *name {
                    "domain" => last.domain = domain(text),
                    "selector" => last.selector = domain(text),
                    "result" => last.result = word(text).unwrap_or_default(),
                    _ => {}
                }
            }
            ["auth_results", "spf", name] => {
                let Some(last) = self.spf_checked.last_mut() else { return };
                match *name {
                    "domain" => last.domain = domain(text),
                    "result" => last.result = word(text).unwrap_or_default(),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The record, where it has an address and a count.
    fn record(mut self, policy_domain: &str) -> Option<Record> {
        self.overrides.sort_unstable();
        self.overrides.dedup();
        Some(Record {
            address: self.address?,
            count: self.count?,
            disposition: self.disposition.unwrap_or(Disposition::Unknown),
            spf: self.spf.unwrap_or(Alignment::Unknown),
            dkim: self.dkim.unwrap_or(Alignment::Unknown),
            overrides: self.overrides,
            header_from: self.header_from.unwrap_or_else(|| policy_domain.to_owned()),
            envelope_from: self.envelope_from,
            signatures: self.signatures,
            spf_checked: self.spf_checked,
        })
    }
}

/// A domain, normalised; of what looks like an address only the part behind the last at sign.
fn domain(text: &str) -> Option<String> {
    let text = text.rsplit_once('@').map_or(text, |(_, domain)| domain);
    let text = text.trim().trim_matches(['<', '>']).trim_end_matches('.');
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let fits = !text.is_empty() && text.len() <= MAX_DOMAIN_BYTES && text.chars().all(plain);
    fits.then(|| normalise_domain(text))
}

/// The name of an organisation, in which some put an address.
fn organisation(text: &str) -> Option<String> {
    if text.contains('@') { text.rsplit_once('@').and_then(|(_, rest)| domain(rest)) } else { words(text) }
}

/// A text in one line, without control characters.
fn words(text: &str) -> Option<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// A word of a list, in small letters.
fn word(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let fits = !text.is_empty() && text.len() <= MAX_WORD && text.chars().all(plain);
    fits.then(|| text.to_ascii_lowercase())
}

/// Seconds since the epoch; some write a fraction.
fn time(text: &str) -> Option<Timestamp> {
    let whole = text.split('.').next().unwrap_or_default();
    let seconds: i64 = whole.parse().ok()?;
    // What has more digits is no time in seconds.
    (0..100_000_000_000).contains(&seconds).then(|| Timestamp::from_seconds(seconds))
}
