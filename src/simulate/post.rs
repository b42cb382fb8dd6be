//! What is sent to relaywatch's feeds, and when.

use std::sync::Arc;

use super::{Account, Sender};
use crate::model::{Address, EventKind, Notice, RelayDomains, Timestamp};

/// One outcome of one mail, before it's rendered.
#[derive(Clone, PartialEq)]
pub struct Outcome {
    /// Who sent it.
    pub sender: Arc<Sender>,
    /// The mail's number; message ids are made from it.
    pub mail: u64,
    /// What happened.
    pub kind: EventKind,
    /// When it happened.
    pub at: Timestamp,
    /// When the mail was sent.
    pub sent_at: Timestamp,
    /// To whom.
    pub recipient: Arc<str>,
    /// In which campaign.
    pub campaign: Option<Arc<str>>,
    /// What was said: the reply of the receiving side, or the provider's own words where it did not try.
    pub reply: Option<String>,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outcome({} of mail {} at {})", self.kind, self.mail, self.at)
    }
}

impl Outcome {
    /// Whether the journal keeps it as a row of its own: mail to relay domains, and to those that can hold relay
    /// addresses. Of other mail there are counts only.
    #[must_use]
    pub fn is_journalled(&self) -> bool {
        let domains = RelayDomains::default();
        Address::parse(&self.recipient)
            .is_ok_and(|address| domains.is_relay(address.domain()) || domains.is_shared(address.domain()))
    }
}

/// Outcomes that a provider reports together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The batch's number: the same batch again has the same.
    pub number: u64,
    /// What is reported.
    pub outcomes: Vec<Outcome>,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// One event of SES, in an SNS envelope of its own.
    Ses {
        /// The envelope's number: the same message again has the same.
        number: u64,
        /// When SNS published it: the same in every retry.
        published_at: Timestamp,
        /// The event.
        outcome: Outcome,
    },
    /// A batch of SparkPost's.
    Sparkpost(Batch),
    /// A batch of Braze's.
    Braze(Batch),
    /// A notice of Apple's.
    Notice(Notice),
    /// Rows of the company's own map, to be imported.
    Accounts(Vec<Account>),
}

impl What {
    /// The outcomes that it reports.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        match self {
            Self::Ses { outcome, .. } => std::slice::from_ref(outcome),
            Self::Sparkpost(batch) | Self::Braze(batch) => &batch.outcomes,
            Self::Notice(_) | Self::Accounts(_) => &[],
        }
    }
}

/// One thing to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// When it's sent.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// Whether the same was sent before: it must add nothing.
    pub repeated: bool,
}
