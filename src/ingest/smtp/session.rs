//! One session of SMTP or LMTP, without I/O: bytes go in, answers and mails come out. The same bytes give the same answers,
//! however they are cut.
//!
//! What is spoken: RFC 5321 with PIPELINING (2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8 (6531), CHUNKING (3030), STARTTLS (3207)
//! and ENHANCEDSTATUSCODES (2034); as LMTP, RFC 2033. The parameters of DSN (3461) are read over and DSN is not offered: relaywatch
//! sends no reports. Commands are read by smtp-proto; lines are found here, since only CRLF ends one.

mod answers;
mod commands;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use smtp_proto::Request;

use super::{
    Mail, Refusal, Taking,
    content::{Content, Dots, Dropped},
};
use crate::{
    config::{MailProtocol, RecipientPattern},
    ingest::http::body::Budget,
};

/// The longest command that is read, with its CRLF. RFC 5321 (4.5.3.1.4) asks for 512 and more for extensions; smtp-proto has
/// the same bound.
const MAX_LINE: usize = 4096;
/// Recipients of one mail: what RFC 5321 (4.5.3.1.8) asks for.
const MAX_RECIPIENTS: usize = 100;
/// RCPT commands for one mail, beyond which it's no mail. Senders that meet 452 bring the rest with the next one.
const MAX_RCPT_COMMANDS: u32 = 1_000;
/// Mistakes after which a session is ended.
const MAX_MISTAKES: u32 = 20;
/// Commands without a mail after which a session is ended.
const MAX_IDLE_COMMANDS: u32 = 100;

/// What all sessions of a listener keep to.
#[derive(Debug)]
pub struct Terms {
    /// The name by which the listener greets.
    pub hostname: String,
    /// SMTP or LMTP.
    pub protocol: MailProtocol,
    /// Whom mail is taken for.
    pub recipients: Vec<RecipientPattern>,
    /// Bytes of a mail at most.
    pub max_bytes: usize,
    /// Whether STARTTLS is offered.
    pub tls: bool,
    /// Whether nothing is taken without it.
    pub require_tls: bool,
    /// What all mails in work may take together.
    pub budget: Budget,
}

/// Whether the peer may bring one more mail just now.
pub trait Gate: Send {
    /// Counts one mail, where it may.
    fn admits_mail(&self) -> bool;
}

/// Admits everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Gate for Open {
    fn admits_mail(&self) -> bool {
        true
    }
}

/// What is to be done after a session has read on. What it has to say comes first.
#[derive(Debug)]
pub enum Turn {
    /// Read more.
    More,
    /// A mail is whole: take it, and say by [`Session::answer`] what became of it.
    Mail(Mail),
    /// Shake hands, after letting go of whatever was read beyond; then [`Session::secured`].
    StartTls,
    /// Close the connection.
    Close,
}

/// Where a session stands.
#[derive(Debug)]
enum State {
    /// Commands are awaited.
    Commands,
    /// Content is awaited, up to its dot.
    Data(Dots),
    /// So many bytes of a chunk are awaited.
    Chunk { left: usize, last: bool },
    /// What became of a mail is awaited.
    Taking,
    /// It's over.
    Closed,
}

/// A mail that is begun.
#[derive(Debug)]
struct Transaction {
    sender: Option<String>,
    recipients: Vec<String>,
    utf8: bool,
    rcpt_commands: u32,
    content: Content,
    /// Whether content comes by BDAT, so that DATA can't be used any more.
    chunked: bool,
    /// Whether a chunk was refused, so that the rest is too.
    failed: bool,
}

/// One session.
pub struct Session {
    terms: Arc<Terms>,
    gate: Box<dyn Gate>,
    state: State,
    secured: bool,
    greeted: bool,
    transaction: Option<Transaction>,
    /// How many recipients wait for what became of their mail.
    awaiting: usize,
    mistakes: u32,
    idle_commands: u32,
    refusals: Vec<Refusal>,
    out: Vec<u8>,
    steps: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that has not begun.
    #[must_use]
    pub fn new(terms: Arc<Terms>, gate: Box<dyn Gate>) -> Self {
        Self {
            terms,
            gate,
            state: State::Commands,
            secured: false,
            greeted: false,
            transaction: None,
            awaiting: 0,
            mistakes: 0,
            idle_commands: 0,
            refusals: Vec::new(),
            out: Vec::new(),
            steps: 0,
        }
    }

    /// Greets the peer.
    pub fn greet(&mut self) {
        let greeting = format!("220 {} {} relaywatch", self.terms.hostname, self.dialect());
        self.say(&greeting);
    }

    /// What is to be sent to the peer.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// What was refused since this was last asked.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }

    /// How often something was finished: a command, a chunk, a mail. While it stands still, the peer dawdles.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether content is awaited.
    #[must_use]
    pub const fn is_within_content(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Chunk { .. })
    }

    /// Whether a mail is begun.
    #[must_use]
    pub const fn is_within_mail(&self) -> bool {
        self.transaction.is_some()
    }

    /// Reads on, as far as it can without anybody's doing; what was read is gone from `input`.
    pub fn advance(&mut self, input: &mut BytesMut) -> Turn {
        loop {
            let turn = match self.state {
                State::Commands => self.command(input),
                State::Data(dots) => self.data(dots, input),
                State::Chunk { left, last } => self.chunk(left, last, input),
                State::Taking => Some(Turn::More),
                State::Closed => Some(Turn::Close),
            };
            if let Some(turn) = turn {
                return turn;
            }
            self.steps += 1;
        }
    }

    /// The handshake is done: whatever was said before it counts no more (RFC 3207, 4.2).
    pub fn secured(&mut self) {
        self.secured = true;
        self.greeted = false;
        self.transaction = None;
        self.state = State::Commands;
        self.steps += 1;
    }

    /// Tells the peer what became of its mail: for SMTP once, for LMTP once for each recipient.
    pub fn answer(&mut self, taking: Taking) {
        let answer = match taking {
            Taking::Committed => answers::TAKEN,
            Taking::Later => {
                self.refusals.push(Refusal::StoreUnavailable);
                answers::STORE_AWAY
            }
        };
        self.each(answer);
        self.state = State::Commands;
        self.idle_commands = 0;
        self.steps += 1;
    }

    /// Ends the session from this side.
    pub fn end(&mut self, why: Refusal) {
        self.transaction = None;
        match why {
            Refusal::Stopping => self.close(answers::STOPPING, why),
            Refusal::Connections => self.close(answers::CONNECTIONS, why),
            Refusal::Rate => self.close(answers::RATE_CONNECTIONS, why),
            Refusal::EarlyTalker => self.close(answers::EARLY, why),
            _ => self.close(answers::TIMEOUT, why),
        }
    }

    fn say(&mut self, answer: &str) {
        self.out.extend_from_slice(answer.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Says the same for each recipient in LMTP, once in SMTP.
    fn each(&mut self, answer: &str) {
        let times = if self.is_lmtp() { std::mem::take(&mut self.awaiting) } else { 1 };
        for _ in 0..times {
            self.say(answer);
        }
    }

    fn close(&mut self, answer: &str, why: Refusal) {
        self.refusals.push(why);
        self.say(answer);
        self.state = State::Closed;
    }

    /// Refuses a command; too many make an end.
    fn refuse(&mut self, answer: &str, why: Refusal) {
        self.say(answer);
        self.refusals.push(why);
        self.mistakes += 1;
        if self.mistakes >= MAX_MISTAKES {
            self.close(answers::TOO_MANY_MISTAKES, Refusal::TooMany);
        }
    }

    fn is_lmtp(&self) -> bool {
        self.terms.protocol == MailProtocol::Lmtp
    }

    fn dialect(&self) -> &'static str {
        if self.is_lmtp() { "LMTP" } else { "ESMTP" }
    }

    /// Reads one line and does what it says; a turn where somebody else is to do something.
    fn command(&mut self, input: &mut BytesMut) -> Option<Turn> {
        let within = input.get(..input.len().min(MAX_LINE)).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', within) else {
            if within.len() == MAX_LINE {
                // Whatever that is, it's no SMTP: what comes behind it is not looked for.
                self.close(answers::LINE_TOO_LONG, Refusal::Syntax);
                return Some(Turn::Close);
            }
            return Some(Turn::More);
        };
        let line = input.split_to(end + 1);
        let body = line.strip_suffix(b"\r\n");
        if !body.is_some_and(|body| std::str::from_utf8(body).is_ok_and(|text| !text.chars().any(char::is_control))) {
            let answer = if body.is_some() { answers::BAD_BYTES } else { answers::BARE_LF };
            self.refuse(answer, Refusal::Syntax);
            return None;
        }
        match Request::parse(&mut line.iter()) {
            Ok(Request::StartTls) => return self.start_tls(),
            Ok(Request::Quit) => {
                self.say(answers::BYE);
                self.state = State::Closed;
            }
            Ok(request) => self.obey(request),
            Err(error) => self.misread(&error),
        }
        None
    }

    fn start_tls(&mut self) -> Option<Turn> {
        if !self.terms.tls {
            self.refuse(answers::NOT_OFFERED, Refusal::Unsupported);
        } else if self.secured {
            self.refuse(answers::ALREADY_SECURED, Refusal::Sequence);
        } else {
            self.say(answers::GO_AHEAD_TLS);
            return Some(Turn::StartTls);
        }
        None
    }

    fn data(&mut self, mut dots: Dots, input: &mut BytesMut) -> Option<Turn> {
        let Some(transaction) = &mut self.transaction else {
            self.state = State::Commands;
            return None;
        };
        let content = &mut transaction.content;
        let (used, ended) = dots.read(input, |more| content.put(more, &self.terms.budget));
        let hopeless = content.is_hopeless(0);
        input.advance(used);
        if hopeless {
            self.transaction = None;
            self.close(answers::TOO_LARGE, Refusal::TooLarge);
            return Some(Turn::Close);
        }
        if ended {
            return self.whole();
        }
        self.state = State::Data(dots);
        Some(Turn::More)
    }

    fn chunk(&mut self, left: usize, last: bool, input: &mut BytesMut) -> Option<Turn> {
        let more = input.split_to(left.min(input.len()));
        // A chunk without a mail that it could belong to is read over.
        if let Some(transaction) = self.transaction.as_mut().filter(|transaction| !transaction.failed) {
            transaction.content.put(&more, &self.terms.budget);
        }
        let left = left - more.len();
        if left > 0 {
            self.state = State::Chunk { left, last };
            return Some(Turn::More);
        }
        self.state = State::Commands;
        match &mut self.transaction {
            Some(transaction) if !transaction.failed => {
                if last {
                    return self.whole();
                }
                match transaction.content.dropped() {
                    None => self.say(answers::CHUNK),
                    Some(why) => {
                        transaction.failed = true;
                        let (answer, why) = answers::dropped(why);
                        self.say(answer);
                        self.refusals.push(why);
                    }
                }
            }
            _ => self.refuse(answers::NO_MAIL_FOR_CHUNK, Refusal::Sequence),
        }
        None
    }

    /// The end of the content: a mail to take, or the answer why it is not.
    fn whole(&mut self) -> Option<Turn> {
        let transaction = self.transaction.take()?;
        self.awaiting = transaction.recipients.len();
        if let Some(why) = transaction.content.dropped() {
            let (answer, why) = answers::dropped(why);
            self.each(answer);
            self.refusals.push(why);
            self.state = State::Commands;
            return None;
        }
        self.state = State::Taking;
        self.steps += 1;
        let (content, taken) = transaction.content.finish();
        let Transaction { sender, recipients, .. } = transaction;
        Some(Turn::Mail(Mail { sender, recipients, content, taken }))
    }
}
