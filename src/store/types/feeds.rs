//! What a feed reported, by the hour.

use crate::model::Exposure;

/// One hour of one feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedHour {
    /// The feed's number.
    pub feed: i32,
    /// What the feed declared when it reported.
    pub exposure: Exposure,
    /// The hour, counted from the epoch: of event time, but for [`FeedCounts::unsent`].
    pub hour: i64,
}

/// What was reported in it. Also the change of such counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedCounts {
    /// Outcomes of any kind.
    pub events: i64,
    /// Sends.
    pub sent: i64,
    /// Deliveries.
    pub delivered: i64,
    /// Refusals, permanent or not.
    pub refused: i64,
    /// Messages with an outcome and without a send, by hour of send time: counted where the feed declares sends.
    pub unsent: i64,
}

impl FeedCounts {
    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.refused += other.refused;
        self.unsent += other.unsent;
    }

    /// Deliveries and refusals.
    #[must_use]
    pub const fn outcomes(&self) -> i64 {
        self.delivered + self.refused
    }
}
