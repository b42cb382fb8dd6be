//! Files of events: what providers export, and what their webhooks were written to.
//!
//! A file is opened by [`source`] (gzip is undone), its format is guessed from what it holds by [`guess`], cut into records by
//! one file for each shape, and each record is decoded by the decoder of the provider's feed, so that one event by webhook and by
//! file is one event. Everything is read as a stream: what is held at a time is one record, and the outcomes of some hundreds.
//!
//! | shape | what a record is |
//! |---|---|
//! | JSON | one object: a line, an element of an array, or what follows the last one without anything between |
//! | CSV | one row; the columns have the names of the webhook's fields, those of nested ones with dots between |
//! | Avro | one datum of an object container file |
//! | mbox, a single mail | one mail |
//! | log | one line |
//!
//! **Mail and logs.** [`mail`] cuts mailboxes, and what a mail says is told as the listener tells it. Lines of a log belong together:
//! those of Postfix are joined as they are where its log is followed.

mod avro;
mod decode;
pub mod guess;
mod json;
pub mod live;
pub mod mail;
mod reader;
mod rows;
pub mod source;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::{
    decode::Settings,
    guess::{Form, Shape, Unknown},
    reader::{Chunk, Counts, ReadError, Reader},
};
use crate::model::{IMPORTED_PREFIX, Provider, Timestamp, words};

/// The longest record that is read.
pub const MAX_RECORD_BYTES: usize = 2 * 1024 * 1024;

words! {
    /// Who wrote a file, or in what language it is.
    pub enum Format {
        /// Amazon SES: event publishing, as Firehose writes it; also in envelopes of SNS and EventBridge.
        Ses = 1, "ses";
        /// SparkPost: batches of the webhook, or events of the Events API.
        Sparkpost = 2, "sparkpost";
        /// SendGrid: batches of the event webhook, or their elements.
        Sendgrid = 3, "sendgrid";
        /// Mailgun: bodies of webhooks, or events of the Events and Logs APIs.
        Mailgun = 4, "mailgun";
        /// Braze Currents.
        Braze = 5, "braze";
        /// Mail: bounces and abuse reports, as mbox, Maildir or single mails.
        Mail = 6, "mail";
        /// The log of Postfix.
        Postfix = 7, "postfix";
    }
}

impl Format {
    /// Under which name its events come in: no feed that could be configured has it.
    #[must_use]
    pub fn feed(self) -> String {
        format!("{IMPORTED_PREFIX}{self}")
    }

    /// The format of the feed of this name.
    #[must_use]
    pub fn of_feed(feed: &str) -> Option<Self> {
        Self::from_name(feed.strip_prefix(IMPORTED_PREFIX)?)
    }

    /// Whose feed has the settings to decode it by.
    #[must_use]
    pub const fn provider(self) -> Provider {
        match self {
            Self::Ses => Provider::Ses,
            Self::Sparkpost => Provider::Sparkpost,
            Self::Sendgrid => Provider::Sendgrid,
            Self::Mailgun => Provider::Mailgun,
            Self::Braze => Provider::Braze,
            Self::Mail => Provider::Mail,
            Self::Postfix => Provider::Postfix,
        }
    }
}

/// Where in a file reading has come to: a place from which it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Bytes of the unpacked file that are done.
    pub offset: u64,
    /// Lines that are done.
    pub lines: u64,
    /// Records that are done.
    pub records: u64,
    /// Records after `offset` that are done as well, where a place between them has no offset of its own.
    pub within: u64,
}

/// A record that became no event, without anything of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fault {
    /// The line that it begins on, where the file has lines.
    pub line: Option<u64>,
    /// Its number, from 1 on.
    pub record: u64,
    /// What is wrong.
    pub reason: Cow<'static, str>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => write!(f, "record {}: {}", self.record, self.reason),
        }
    }
}

/// What was wrong with the records of a file up to a place, as it is kept with the file's mark.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Faults {
    /// How much of them was no good, as [`Counts::wrong`] counts.
    pub wrong: u64,
    /// Of that, what lies in a record that is read again where reading goes on: the file ended within it.
    pub again: u64,
    /// The first places, at most [`MAX_KEPT_FAULTS`].
    pub places: Vec<Fault>,
}

/// Places of broken records that are kept with a file's mark.
pub const MAX_KEPT_FAULTS: usize = 20;

impl Faults {
    /// What stands before a place from which reading goes on.
    #[must_use]
    pub fn before(mut self, position: Position) -> Self {
        self.wrong = self.wrong.saturating_sub(std::mem::take(&mut self.again));
        self.places.retain(|fault| fault.record <= position.records);
        self
    }

    /// Adds what a chunk of records tells.
    pub fn add(&mut self, chunk: &Chunk) {
        self.wrong += chunk.counts.wrong();
        self.again = chunk.again;
        let room = MAX_KEPT_FAULTS.saturating_sub(self.places.len());
        self.places.extend(chunk.faults.iter().take(room).cloned());
    }
}

/// Reads bytes as `import` does, the first outcomes and faults of them: for fuzzing.
#[must_use]
pub fn examine(bytes: &[u8], from: Option<Format>, now: Timestamp) -> (Option<Form>, Counts) {
    let mut counts = Counts::default();
    let Ok(source) = source::Source::of(Box::new(std::io::Cursor::new(bytes.to_vec()))) else { return (None, counts) };
    let Ok(form) = guess::guess(source.head(), from) else { return (None, counts) };
    let mut reader = Reader::new(source, form, Settings::default(), now, Position::default());
    while let Ok(Some(chunk)) = reader.next_chunk() {
        counts.add(&chunk.counts);
    }
    (Some(form), counts)
}
