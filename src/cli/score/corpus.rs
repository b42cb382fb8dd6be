//! Labelled replies, from a file of JSON lines or from a folder of bounce mails.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::map::{Expected, expected};
use crate::{
    ingest::mail::{MAX_MAIL_BYTES, Understood, mails_of, understand},
    model::{Address, EnhancedCode, FailureClass, Reply},
};

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
    pub(super) sender: Option<Address>,
    pub(super) mx: Option<String>,
    pub(super) reason: String,
    pub(super) expected: Expected,
    /// As the label has it, else as its reason has it.
    pub(super) hard: bool,
}

/// What was read.
pub(super) struct Corpus {
    pub(super) replies: Vec<Labelled>,
    /// How well mails were read; only of a folder.
    pub(super) mails: Option<MailFigures>,
}

/// How well mails were read, by their labels. A share is that of what is labelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct MailFigures {
    pub(super) mails: u32,
    /// Mails that are understood as a delivery report, a complaint or a robot's answer.
    pub(super) decoded: u32,
    /// Mails with as many recipients as labels.
    pub(super) recipients_right: u32,
    /// Labels with a status that somebody gave, and those with the same.
    pub(super) statuses: u32,
    pub(super) statuses_right: u32,
    /// Labels with a status that the labeller made up, since nobody gave one (Sisimai's `x.0.9nn`), and those in which none is
    /// found either, and whether it is final is told alike.
    pub(super) none_given: u32,
    pub(super) none_given_right: u32,
    /// Labels with a reply code, and those with the same.
    pub(super) reply_codes: u32,
    pub(super) reply_codes_right: u32,
}

/// What was read of one recipient.
struct Read {
    reply: Reply,
    recipient: Option<Address>,
    sender: Option<Address>,
    mx: Option<String>,
    /// As somebody gave it; never derived.
    status: Option<EnhancedCode>,
    class: FailureClass,
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
    #[serde(default)]
    status: String,
    #[serde(default)]
    reply: String,
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
        Ok(Self { replies, mails: None })
    }

    fn mails(folder: &Path) -> Result<Self, CorpusError> {
        let (mut replies, mut figures) = (Vec::new(), MailFigures::default());
        for_each_line(&folder.join("labels.jsonl"), |line, mail: Mail| {
            // A name in a list must not lead out of its folder.
            let name = Path::new(&mail.file).file_name().ok_or_else(|| format!("{:?} is no file's name", mail.file))?;
            let path = folder.join(name);
            let size = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            if size > MAX_MAIL_BYTES as u64 {
                return Err(format!("{} is larger than {} MiB", path.display(), MAX_MAIL_BYTES >> 20));
            }
            let raw = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let understood: Vec<Understood> = mails_of(&raw).map(understand).collect();
            let reads: Vec<Read> = understood.iter().flat_map(reads_of).collect();
            figures.count(&understood, &reads, &mail.expected);
            for (read, label) in reads.into_iter().zip(&mail.expected) {
                let mut one = labelled(line, read.reply, &label.reason, Some(label.hard))?;
                (one.recipient, one.sender, one.mx) = (read.recipient, read.sender, read.mx);
                replies.push(one);
            }
            Ok(())
        })?;
        Ok(Self { replies, mails: Some(figures) })
    }
}

impl MailFigures {
    fn count(&mut self, understood: &[Understood], reads: &[Read], labels: &[MailLabel]) {
        let others: usize = understood
            .iter()
            .map(|one| match one {
                Understood::Abuse(report) => report.recipients.len().max(1),
                Understood::Robot(_) => 1,
                _ => 0,
            })
            .sum();
        let found = reads.len() + others;
        self.mails += 1;
        self.decoded += u32::from(found > 0);
        self.recipients_right += u32::from(found == labels.len());
        for (at, label) in labels.iter().enumerate() {
            let read = reads.get(at);
            if let Ok(code) = label.reply.parse::<u16>() {
                self.reply_codes += 1;
                self.reply_codes_right += u32::from(read.is_some_and(|read| read.reply.code == Some(code)));
            }
            let Some(status) = EnhancedCode::parse(&label.status) else { continue };
            if status.subject == 0 && status.detail >= 900 {
                self.none_given += 1;
                let passing = read.is_some_and(|read| read.class == FailureClass::Transient);
                let alike = passing == (status.class == 4);
                self.none_given_right += u32::from(alike && read.is_some_and(|read| read.status.is_none()));
            } else {
                self.statuses += 1;
                self.statuses_right += u32::from(read.is_some_and(|read| read.status == Some(status)));
            }
        }
    }
}

/// What a mail says of each recipient of the message.
fn reads_of(understood: &Understood) -> Vec<Read> {
    let Understood::Delivery(report) = understood else { return Vec::new() };
    let read = |one: &crate::ingest::mail::RecipientReport| {
        let status = one.status.map(|(code, _)| code);
        let mut reply = one.reply.clone().unwrap_or_default();
        reply.enhanced = reply.enhanced.or(status);
        Read {
            class: one.class(),
            recipient: one.recipient.clone(),
            sender: report.original.return_path.clone(),
            mx: one.remote_mta.clone(),
            status,
            reply,
        }
    };
    report.recipients.iter().map(read).collect()
}

fn labelled(line: usize, reply: Reply, reason: &str, hard: Option<bool>) -> Result<Labelled, String> {
    let expected = expected(reason)?;
    let hard = hard.unwrap_or(expected.hard);
    Ok(Labelled { line, reply, recipient: None, sender: None, mx: None, reason: reason.to_owned(), expected, hard })
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
