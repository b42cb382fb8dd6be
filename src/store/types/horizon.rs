//! Totals of days, and up to where they are final.

use super::Position;
use crate::model::{DAY_MILLIS, Timestamp};

/// A change of what a finest stream sent, and was refused, of relay mail on one UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayChange {
    /// The finest stream's number.
    pub stream: i32,
    /// The day, counted from the epoch.
    pub day: i64,
    /// Sends, by exposure.
    pub exposed: i64,
    /// Of them, permanently refused.
    pub refused: i64,
}

/// Up to where the projections are final, and where a rebuild ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    /// The day (counted from the epoch) of the newest checkpoint: what was sent by its end stays as it is counted.
    pub sealed: Option<i64>,
    /// Outcomes up to here are folded again, or were, by the last rebuild.
    pub rebuilt_from: Option<Position>,
}

impl Horizon {
    /// The journal has let go of deliveries from before this time.
    #[must_use]
    pub fn dropped_before(&self) -> Option<Timestamp> {
        self.sealed.map(|day| Timestamp::from_millis(day.saturating_mul(DAY_MILLIS)))
    }

    /// What was sent before this time is held by the checkpoints.
    #[must_use]
    pub fn sealed_before(&self) -> Option<Timestamp> {
        self.dropped_before().map(|start| start.plus_millis(DAY_MILLIS))
    }
}

/// How far the journal can be read, and how far it goes: places in it without the row in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Below this place everything is there; what begins here waits for an older transaction.
    pub settled: i64,
    /// The newest row's place.
    pub newest: i64,
}
