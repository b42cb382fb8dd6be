//! Mail as a feed: a listener of SMTP (RFC 5321) and LMTP (RFC 2033) for bounces, abuse reports and DMARC aggregate reports.
//!
//! [`session`] is the protocol, without I/O: bytes in, answers and mails out. [`connection`] moves the bytes, keeps the time and
//! shakes hands; [`listener`] accepts, within what peers may ask ([`peers`]). What a mail says is read elsewhere; here it's
//! bytes with an envelope, and the peer hears 250 only when the journal has what came of them.
//!
//! Mail is taken for configured recipients only, and none is ever sent from here: nothing is relayed, and nothing is bounced.

pub mod connection;
mod content;
mod feed;
pub mod listener;
pub mod peers;
pub mod session;
#[cfg(test)]
mod tests;
pub mod tls;

pub use self::feed::{MailListener, Read};
use crate::{
    ingest::{RejectionReason, http::body::Taken},
    model::{Timestamp, words},
};

/// A mail as it came in, whole and within the limits. Its parts hold addresses: never to be printed.
pub struct Mail {
    /// Whom it's from, by the envelope; nothing where the reverse path is null, as it is with bounces.
    pub sender: Option<String>,
    /// Whom it's for, by the envelope: configured recipients only, at least one.
    pub recipients: Vec<String>,
    /// Headers and body.
    pub content: Vec<u8>,
    /// What it takes of the budget of all mails, until it's dropped.
    taken: Taken,
}

impl Mail {
    /// A mail that takes nothing of a budget.
    #[must_use]
    pub fn new(sender: Option<String>, recipients: Vec<String>, content: Vec<u8>) -> Self {
        Self { sender, recipients, content, taken: Taken::default() }
    }
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mail({} recipients, {} bytes, {:?})", self.recipients.len(), self.content.len(), self.taken)
    }
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// The journal has committed what came of it.
    Committed,
    /// The store is away, too much waits for it, or the process is stopping; the peer shall come again.
    Later,
}

/// Takes mails in: what a session's mail is handed to.
pub trait Receiver: Send + Sync + 'static {
    /// Takes one; when this says [`Taking::Committed`], it's durable.
    fn take(&self, mail: Mail, received_at: Timestamp) -> impl Future<Output = Taking> + Send;

    /// Notes what was refused before it could be a mail.
    fn refused(&self, why: Refusal);
}

words! {
    /// Why a command, a connection or a mail was refused. A metric's label.
    pub enum Refusal {
        /// A recipient that is not configured.
        Recipient = 1, "recipient";
        /// More recipients than one mail may have.
        Recipients = 2, "recipients";
        /// A mail that is larger than the cap.
        TooLarge = 3, "too-large";
        /// Mails in work have used up the memory that they may take.
        NoRoom = 4, "no-room";
        /// The store is away or overloaded.
        StoreUnavailable = 5, "store-unavailable";
        /// No command, or one that breaks the protocol's form.
        Syntax = 6, "syntax";
        /// A command at the wrong time.
        Sequence = 7, "sequence";
        /// A command or parameter that is not offered.
        Unsupported = 8, "unsupported";
        /// STARTTLS is asked for and was not used.
        TlsRequired = 9, "tls-required";
        /// The TLS handshake failed.
        TlsFailed = 10, "tls-failed";
        /// More mistakes, or more commands without a mail, than one connection may make.
        TooMany = 11, "too-many";
        /// The peer spoke before it was greeted.
        EarlyTalker = 12, "early-talker";
        /// More connections or mails of one peer than are allowed in a minute, or connections at once.
        Rate = 13, "rate";
        /// All connections are taken.
        Connections = 14, "connections";
        /// The peer took too long.
        Timeout = 15, "timeout";
        /// The connection broke off within a mail.
        BrokenOff = 16, "broken-off";
        /// The process is stopping.
        Stopping = 17, "stopping";
    }
}

impl Refusal {
    /// What a mail that is lost by it is counted as, with what to do about it. Nothing where no mail was near, or where what
    /// takes the mail counts itself. Nor where a stranger tries a recipient that is not configured, as they all do: the metric
    /// of refusals counts those.
    #[must_use]
    pub const fn rejection(self) -> Option<(RejectionReason, &'static str)> {
        Some(match self {
            Self::TooLarge => (
                RejectionReason::TooLarge,
                "a mail is larger than `max_bytes` in [feeds.mail]; raise it if it matters here",
            ),
            Self::NoRoom => (RejectionReason::Overloaded, "too many large mails at once; their senders come again"),
            Self::TlsRequired => {
                (RejectionReason::Unauthenticated, "a mail without STARTTLS, and `require_tls` is set in [feeds.mail]")
            }
            Self::Rate | Self::Connections => {
                (RejectionReason::Overloaded, "a peer asks for more than [feeds.mail] allows; see `trusted_peers`")
            }
            _ => return None,
        })
    }

    /// Whether the peer is told to come again.
    #[must_use]
    pub const fn is_for_now(self) -> bool {
        matches!(self, Self::NoRoom | Self::Rate | Self::Connections)
    }
}
