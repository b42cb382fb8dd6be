//! What goes wrong, and the truth about it.

use serde::Serialize;

use super::Case;
use crate::model::{Timestamp, words};

words! {
    /// Why mail is refused, in truth. The words are those of the hypotheses.
    pub enum TrueCause {
        /// The users turned away.
        Revoked = 1, "revoked";
        /// Apple refuses the sender.
        SenderRefused = 2, "sender-refused";
        /// Apple switched addresses off without a notice.
        Purge = 7, "purge";
    }
}

/// What was done, to be compared with what is said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    /// The case.
    pub case: Case,
    /// When it began; nothing is wrong where there is no onset.
    pub onset: Option<Timestamp>,
    /// Why mail is refused.
    pub cause: Option<TrueCause>,
    /// Of the relay mail refused since the onset, the share whose users had turned away before.
    pub share_revoked: Option<f64>,
    /// Relay mail refused since the onset.
    pub refused: usize,
    /// When relay mail was sent since the onset, sorted.
    pub sent: Vec<Timestamp>,
}

impl Truth {
    /// How much relay mail was sent from the onset to `until`.
    #[must_use]
    pub fn messages_until(&self, until: Timestamp) -> usize {
        self.sent.partition_point(|at| *at <= until)
    }
}

/// What is wrong with a sender from its onset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing of the sender's: what happens, happens to addresses.
    None,
    /// Apple takes nothing from this sender.
    SenderRefused {
        /// Since when.
        from: Timestamp,
    },
}
