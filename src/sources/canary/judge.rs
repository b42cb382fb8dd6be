//! What the trials of a path mean.
//!
//! Silent loss is claimed only of canaries that were accepted, that a reader looked for after their time, and beside which a
//! control arrived in the same time. Everything else is a refusal, or blindness.

use serde::Serialize;

use super::{
    Refusal, Status, Trial,
    trial::{Hindrance, Sending},
};
use crate::model::{MINUTE_MILLIS, Timestamp};

/// Misses in a row, each proven, that make a silent loss.
pub const MISSES: usize = 3;
/// A control that was sent so long before a canary still witnesses for it.
const CONTROL_BEFORE_MILLIS: i64 = 5 * MINUTE_MILLIS;

/// How the reader of a mailbox does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reader {
    /// When the last reading of all its folders began that came to its end.
    pub read_at: Option<Timestamp>,
    /// For how long that counts, in milliseconds.
    pub lasts: i64,
}

impl Reader {
    /// Whether it reads.
    #[must_use]
    pub fn is_healthy(&self, now: Timestamp) -> bool {
        self.read_at.is_some_and(|at| now.millis_since(at) <= self.lasts)
    }
}

/// Why a missing canary proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blindness {
    /// The mailbox can't be read.
    Reader,
    /// No control arrived in the same time.
    Control,
}

/// What the trials of a path say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Nothing has ended yet.
    Untried,
    /// The last one that has ended arrived.
    Arrives,
    /// It was refused.
    Refused {
        /// How.
        refusal: Refusal,
    },
    /// It did not leave.
    Unsent {
        /// Why, in a word.
        why: Hindrance,
    },
    /// Accepted, and not arrived: fewer than would be told.
    Missing {
        /// Proven misses in a row.
        misses: usize,
    },
    /// Accepted and not arrived, [`MISSES`] times in a row, while a control did and the reader read.
    SilentLoss {
        /// Proven misses in a row.
        misses: usize,
        /// When the first of them was sent.
        since: Timestamp,
    },
    /// Nobody can tell.
    Blind {
        /// Why.
        why: Blindness,
    },
}

/// How a path stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathState<'a> {
    /// What its trials say.
    pub verdict: Verdict,
    /// The last that was sent.
    pub last: Option<&'a Trial>,
    /// The last, by its sending, that arrived.
    pub arrived: Option<&'a Trial>,
    /// The proven misses in a row, the first of them first.
    pub misses: Vec<&'a Trial>,
}

/// Whether a control arrived in the time of a canary.
#[must_use]
pub fn is_witnessed(trial: &Trial, controls: &[&Trial]) -> bool {
    let (from, due) = (trial.record.sent_at.plus_millis(-CONTROL_BEFORE_MILLIS), trial.record.due);
    controls.iter().any(|control| {
        let sent = control.record.sent_at;
        sent >= from && sent <= due && control.arrival.as_ref().is_some_and(|arrival| arrival.at <= due)
    })
}

/// Judges a path by its trials and the controls of its mailbox, both by the time of their sending.
#[must_use]
pub fn judge<'a>(trials: &[&'a Trial], controls: &[&Trial], reader: Reader, now: Timestamp) -> PathState<'a> {
    let mut misses: Vec<&'a Trial> = Vec::new();
    let mut latest: Option<Verdict> = None;
    let mut blind = None;
    for trial in trials.iter().rev() {
        let ended = match trial.status(now) {
            // Of one whose time has just passed, the next reading tells.
            Status::Waiting | Status::Unseen | Status::Unsure => continue,
            Status::Missed if is_witnessed(trial, controls) => {
                misses.push(trial);
                continue;
            }
            Status::Missed => {
                blind = blind.or(Some(Blindness::Control));
                continue;
            }
            Status::Arrived | Status::Late => Verdict::Arrives,
            Status::Refused | Status::Unsent => match &trial.sending {
                Sending::Refused(refusal) => Verdict::Refused { refusal: refusal.clone() },
                Sending::Unsent(why) => Verdict::Unsent { why: *why },
                Sending::Unknown | Sending::Accepted => continue,
            },
        };
        latest = Some(ended);
        break;
    }
    misses.reverse();
    let healthy = reader.is_healthy(now);
    let verdict = match (misses.first(), healthy, blind, latest) {
        (_, false, ..) if !trials.is_empty() => Verdict::Blind { why: Blindness::Reader },
        (Some(first), true, ..) if misses.len() >= MISSES => {
            Verdict::SilentLoss { misses: misses.len(), since: first.record.sent_at }
        }
        (Some(_), ..) => Verdict::Missing { misses: misses.len() },
        (None, _, Some(why), _) => Verdict::Blind { why },
        (None, _, None, Some(latest)) => latest,
        (None, _, None, None) => Verdict::Untried,
    };
    let arrived = trials.iter().rev().find(|trial| trial.arrival.is_some()).copied();
    PathState { verdict, last: trials.last().copied(), arrived, misses }
}

/// The trial of a path from which on people were told of a loss, where they were not yet told of its end.
#[must_use]
pub fn announced<'a>(trials: &[&'a Trial]) -> Option<&'a Trial> {
    trials.iter().rev().find(|trial| trial.announced && !trial.resolved).copied()
}

/// Whether mail arrives again on a path whose loss was told from `first` on: one that was sent then or later is there.
#[must_use]
pub fn has_recovered<'a>(first: &Trial, trials: &[&'a Trial]) -> Option<&'a Trial> {
    let since = |trial: &&&Trial| trial.record.sent_at >= first.record.sent_at && trial.arrival.is_some();
    trials.iter().rev().find(since).copied()
}

#[cfg(test)]
mod tests;
