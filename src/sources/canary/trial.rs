//! What becomes of one canary, and how the journal tells it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Arrival, CanaryId, Kind};
use crate::model::{Cause, Fault, Timestamp, words};

words! {
    /// Where a canary was refused.
    pub enum Stage {
        /// The submission server did not take the sender (MAIL FROM).
        Sender = 1, "sender";
        /// It did not take the recipient (RCPT TO).
        Recipient = 2, "recipient";
        /// It did not take the content (DATA, or its end).
        Content = 3, "content";
        /// It took all, and a feed reported the refusal afterwards.
        Reported = 4, "reported";
    }
}

words! {
    /// Why a canary did not leave.
    pub enum Hindrance {
        /// The submission server can't be reached, or does not speak SMTP.
        Unreachable = 1, "unreachable";
        /// TLS can't be had: no STARTTLS, or a certificate that is not trusted.
        Tls = 2, "tls";
        /// The server does not take user and password.
        Login = 3, "login";
        /// It broke off before the content.
        BrokenOff = 4, "broken-off";
    }
}

/// A refusal, as it is kept: without an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// At what.
    pub stage: Stage,
    /// The reply's template: addresses, ids and hosts are their roles.
    pub reply: String,
    /// What it means.
    pub cause: Cause,
    /// Whose fault it is.
    pub fault: Fault,
    /// The rule that decided, with its version.
    pub rule: String,
    /// How sure, in percent.
    pub confidence: u8,
}

/// One thing that is said of a canary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Said {
    /// It is about to be sent: written before, so that a crash sends none twice and the budget counts it.
    Sent,
    /// It did not leave.
    Unsent {
        /// Why.
        why: Hindrance,
    },
    /// The submission server took it.
    Accepted,
    /// It was refused.
    Refused {
        /// How.
        refusal: Refusal,
    },
    /// It was not in the mailbox when that was read as a whole, after its time.
    Missed {
        /// When that reading began.
        looked: Timestamp,
    },
    /// It was seen.
    Arrived {
        /// Where and when.
        arrival: Arrival,
    },
    /// People were told that its path loses mail; it is the first of those that are missing.
    Announced,
    /// People were told that mail arrives again.
    Resolved,
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    /// Of which canary.
    pub canary: CanaryId,
    /// The path's name; of a control, the mailbox's.
    pub path: String,
    /// The mailbox that it is looked for in, by name.
    pub mailbox: String,
    /// What it is for.
    pub kind: Kind,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Until when it has to have arrived.
    pub due: Timestamp,
    /// Which production mail it stands for.
    pub represents: String,
    /// Which it does not stand for.
    pub not_represented: String,
    /// What is said.
    #[serde(flatten)]
    pub said: Said,
}

impl Record {
    /// The entry's body.
    #[must_use]
    pub fn to_body(&self) -> serde_json::Value {
        // Texts, numbers and words always serialise.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// What an entry's body says; `None` where it is none of ours.
    #[must_use]
    pub fn from_body(body: &serde_json::Value) -> Option<Self> {
        Self::deserialize(body).ok()
    }

    /// The same of the same canary, saying something else.
    #[must_use]
    pub fn saying(&self, said: Said) -> Self {
        Self { said, ..self.clone() }
    }
}

/// How the sending of a canary ended, as far as it is known. A later one outweighs an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Sending {
    /// Nobody knows: the process ended, or the connection broke, while it was sent.
    #[default]
    Unknown,
    /// It did not leave.
    Unsent(Hindrance),
    /// It was taken.
    Accepted,
    /// It was refused, then or later.
    Refused(Refusal),
}

/// How a canary stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has time yet.
    Waiting,
    /// Its time is over, and nobody has looked since.
    Unseen,
    /// It did not leave.
    Unsent,
    /// It was refused.
    Refused,
    /// It was not found, and it is not known whether it left.
    Unsure,
    /// It was accepted and not found.
    Missed,
    /// It came in time.
    Arrived,
    /// It came after its time.
    Late,
}

/// All that is known of one canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What its first record says, with [`Said::Sent`].
    pub record: Record,
    /// How its sending ended.
    pub sending: Sending,
    /// Its first arrival.
    pub arrival: Option<Arrival>,
    /// The first look that did not find it.
    pub missed: Option<Timestamp>,
    /// Whether people were told that from it on its path loses mail.
    pub announced: bool,
    /// Whether they were told that mail arrives again.
    pub resolved: bool,
}

impl Trial {
    /// A canary of which this is known.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let mut trial = Self {
            record: record.saying(Said::Sent),
            sending: Sending::Unknown,
            arrival: None,
            missed: None,
            announced: false,
            resolved: false,
        };
        trial.note(record);
        trial
    }

    /// Takes note of a record of the same canary. Neither order nor repetition matters.
    pub fn note(&mut self, record: &Record) {
        let sending = match &record.said {
            Said::Sent => Sending::Unknown,
            Said::Unsent { why } => Sending::Unsent(*why),
            Said::Accepted => Sending::Accepted,
            Said::Refused { refusal } => Sending::Refused(refusal.clone()),
            Said::Missed { looked } => {
                self.missed = Some(self.missed.map_or(*looked, |known| known.min(*looked)));
                return;
            }
            Said::Arrived { arrival } => {
                let first = self.arrival.take().map_or_else(|| arrival.clone(), |known| known.min(arrival.clone()));
                self.arrival = Some(first);
                return;
            }
            Said::Announced => {
                self.announced = true;
                return;
            }
            Said::Resolved => {
                self.resolved = true;
                return;
            }
        };
        if sending > self.sending {
            self.sending = sending;
        }
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        match (&self.arrival, &self.sending, self.missed) {
            (Some(arrival), _, missed) => {
                if missed.is_some() || arrival.at > self.record.due {
                    Status::Late
                } else {
                    Status::Arrived
                }
            }
            (None, Sending::Unsent(_), _) => Status::Unsent,
            (None, Sending::Refused(_), _) => Status::Refused,
            (None, Sending::Accepted, Some(_)) => Status::Missed,
            (None, Sending::Unknown, Some(_)) => Status::Unsure,
            (None, _, None) if now < self.record.due => Status::Waiting,
            (None, _, None) => Status::Unseen,
        }
    }

    /// Milliseconds from its sending to its arrival.
    #[must_use]
    pub fn delay(&self) -> Option<i64> {
        self.arrival.as_ref().map(|arrival| arrival.at.millis_since(self.record.sent_at).max(0))
    }
}

/// Canaries by their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trials(BTreeMap<CanaryId, Trial>);

impl Trials {
    /// What records say, in whatever order.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut trials = Self::default();
        for record in records {
            trials.note(record);
        }
        trials
    }

    /// Takes note of one more.
    pub fn note(&mut self, record: &Record) {
        match self.0.get_mut(&record.canary) {
            Some(trial) => trial.note(record),
            None => drop(self.0.insert(record.canary, Trial::of(record))),
        }
    }

    /// One canary.
    #[must_use]
    pub fn get(&self, id: CanaryId) -> Option<&Trial> {
        self.0.get(&id)
    }

    /// Those of a path or, for controls, of a mailbox; by the time of their sending.
    #[must_use]
    pub fn of_path(&self, kind: Kind, name: &str) -> Vec<&Trial> {
        let mut all: Vec<&Trial> =
            self.0.values().filter(|trial| trial.record.kind == kind && trial.record.path == name).collect();
        all.sort_by_key(|trial| (trial.record.sent_at, trial.record.canary));
        all
    }

    /// Those that are looked for in a mailbox.
    pub fn of_mailbox<'a>(&'a self, mailbox: &'a str) -> impl Iterator<Item = &'a Trial> {
        self.0.values().filter(move |trial| trial.record.mailbox == mailbox)
    }
}
