//! Labelled replies, from a file of JSON lines or from a folder of bounce mails.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use mail_parser::{MessageParser, MimeHeaders, PartType};
use serde::Deserialize;

use super::map::{Expected, expected};
use crate::model::{Address, EnhancedCode, Reply};

/// The longest mail that is read, in bytes.
const MAX_MAIL_BYTES: u64 = 16 * 1024 * 1024;

/// Why a corpus can't be read.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// There is no such file.
    #[error("there is no {}: name a file of labelled replies, or a folder of mails with a labels.jsonl", .0.display())]
    Missing(PathBuf),
    /// A file is no text.
    #[error("{} is no UTF-8 text: save it as UTF-8, one JSON object on each line", .0.display())]
    NoText(PathBuf),
    /// A file has no line.
    #[error("{} is empty: write one labelled reply or mail on each line", .0.display())]
    Empty(PathBuf),
    /// A file can't be read.
    #[error("can't read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is no labelled reply.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// A reply with what its label allows.
pub(super) struct Labelled {
    /// The line of its label, from 1.
    pub(super) line: usize,
    pub(super) reply: Reply,
    pub(super) recipient: Option<Address>,
    pub(super) mx: Option<String>,
    pub(super) reason: String,
    pub(super) expected: Expected,
    /// As the label has it, else as its reason has it.
    pub(super) hard: bool,
}

/// What was read.
pub(super) struct Corpus {
    pub(super) replies: Vec<Labelled>,
    /// Mails there are, and those that have a delivery report; only of a folder.
    pub(super) mails: Option<usize>,
    pub(super) read: Option<usize>,
}

/// What a line is made of.
trait Labels: for<'a> Deserialize<'a> {
    const FORM: &'static str;
}

impl Labels for Row {
    const FORM: &'static str = "write {\"text\":\"…\",\"expected_reason\":\"…\"}, with code and enhanced as texts and expected_hard \
                                where they are known";
}

impl Labels for Mail {
    const FORM: &'static str =
        "write {\"file\":\"…\",\"expected\":[{\"reason\":\"…\",\"hard\":true}]}, one label for each recipient";
}

#[derive(Deserialize)]
struct Row {
    text: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    enhanced: String,
    expected_reason: String,
    expected_hard: Option<bool>,
}

#[derive(Deserialize)]
struct Mail {
    file: String,
    expected: Vec<MailLabel>,
}

#[derive(Deserialize)]
struct MailLabel {
    reason: String,
    hard: bool,
}

impl Corpus {
    /// Reads a file of replies, or a folder of mails.
    pub(super) fn read(path: &Path) -> Result<Self, CorpusError> {
        if path.is_dir() { Self::mails(path) } else { Self::replies(path) }
    }

    fn replies(path: &Path) -> Result<Self, CorpusError> {
        let mut replies = Vec::new();
        for_each_line(path, |line, row: Row| {
            let reply = Reply::with_codes(&row.text, row.code.parse().ok(), EnhancedCode::parse(&row.enhanced));
            replies.push(labelled(line, reply, &row.expected_reason, row.expected_hard)?);
            Ok(())
        })?;
        Ok(Self { replies, mails: None, read: None })
    }

    fn mails(folder: &Path) -> Result<Self, CorpusError> {
        let (mut replies, mut mails, mut read) = (Vec::new(), 0, 0);
        for_each_line(&folder.join("labels.jsonl"), |line, mail: Mail| {
            mails += 1;
            // A name in a list must not lead out of its folder.
            let name = Path::new(&mail.file).file_name().ok_or_else(|| format!("{:?} is no file's name", mail.file))?;
            let path = folder.join(name);
            let size = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            if size > MAX_MAIL_BYTES {
                return Err(format!("{} is larger than 16 MiB", path.display()));
            }
            let raw = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let reports = reports(&raw);
            read += usize::from(!reports.is_empty());
            for (report, label) in reports.into_iter().zip(&mail.expected) {
                let mut one = labelled(line, report.reply, &label.reason, Some(label.hard))?;
                (one.recipient, one.mx) = (report.recipient, report.mx);
                replies.push(one);
            }
            Ok(())
        })?;
        Ok(Self { replies, mails: Some(mails), read: Some(read) })
    }
}

fn labelled(line: usize, reply: Reply, reason: &str, hard: Option<bool>) -> Result<Labelled, String> {
    let expected = expected(reason)?;
    let hard = hard.unwrap_or(expected.hard);
    Ok(Labelled { line, reply, recipient: None, mx: None, reason: reason.to_owned(), expected, hard })
}

fn for_each_line<T: Labels>(
    path: &Path,
    mut each: impl FnMut(usize, T) -> Result<(), String>,
) -> Result<(), CorpusError> {
    let text = fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CorpusError::Missing(path.to_owned()),
        io::ErrorKind::InvalidData => CorpusError::NoText(path.to_owned()),
        _ => CorpusError::Io { path: path.to_owned(), source },
    })?;
    if text.trim().is_empty() {
        return Err(CorpusError::Empty(path.to_owned()));
    }
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |problem| CorpusError::Line { path: path.to_owned(), line: at + 1, problem };
        let row = serde_json::from_str(line).map_err(|_| wrong(format!("no labelled reply: {}", T::FORM)))?;
        each(at + 1, row).map_err(wrong)?;
    }
    Ok(())
}

/// What a delivery report says of one recipient.
struct Report {
    reply: Reply,
    recipient: Option<Address>,
    mx: Option<String>,
}

/// The per-recipient fields of the first `message/delivery-status` part (RFC 3464 section 2.3).
fn reports(raw: &[u8]) -> Vec<Report> {
    let Some(message) = MessageParser::default().parse(raw) else { return Vec::new() };
    let status = message.parts.iter().find(|part| {
        part.content_type().is_some_and(|kind| {
            kind.ctype().eq_ignore_ascii_case("message")
                && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("delivery-status"))
        })
    });
    let text = match status.map(|part| &part.body) {
        Some(PartType::Text(text)) => text.clone().into_owned(),
        Some(PartType::Binary(bytes) | PartType::InlineBinary(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => return Vec::new(),
    };
    let text = text.replace("\r\n", "\n");
    text.split("\n\n").filter_map(report).collect()
}

fn report(group: &str) -> Option<Report> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in group.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let recipient = field("final-recipient").or_else(|| field("original-recipient"))?;
    let address = recipient.split_once(';').map_or(recipient, |(_, address)| address).trim();
    let status = field("status").and_then(|status| status.split_whitespace().next()).and_then(EnhancedCode::parse);
    Some(Report {
        reply: Reply::with_codes(field("diagnostic-code").unwrap_or_default(), None, status),
        recipient: Address::parse(address.trim_matches(['<', '>'])).ok(),
        mx: field("remote-mta").map(ToOwned::to_owned),
    })
}
