//! Canaries: marked messages to relay addresses of one's own, one path each, and whether they arrive. Pure: no clock, no I/O.
//!
//! A *path* is a provider, a From address, a team and a relay address. A *control* is the same message to the same mailbox,
//! not through the relay: without its arrival, and without a reader that has looked, a canary that is missing proves nothing.
//! What happens to each is a [`Record`] of the journal; [`Trial`] is what all records of one canary say together, in whatever
//! order and however often they come; [`judge`](judge::judge) says what the trials of a path mean.
//!
//! `sources::submission` sends, `sources::mailbox` reads, `daemon::canary` does both on a schedule.

pub mod judge;
pub mod mark;
pub mod message;
pub mod schedule;
pub mod sighting;
pub mod trial;

pub use judge::{PathState, Reader, Verdict, judge};
pub use mark::{CanaryId, Mark};
pub use schedule::{Budget, Plan};
pub use sighting::{Arrival, Own};
pub use trial::{Record, Refusal, Said, Status, Trial, Trials};

use crate::model::words;

words! {
    /// What a canary is for.
    pub enum Kind {
        /// It goes through the relay.
        Relay = 1, "relay";
        /// It goes to the same mailbox, not through the relay.
        Control = 2, "control";
    }
}

/// Mails that Apple takes for one relay address in a day, in both directions ("Configure private email relay service", Apple
/// Developer account help).
pub const MAILS_A_DAY: u32 = 100;
/// Controls that are sent to one mailbox in a day at most. They do not go through the relay, so this bound is our own.
pub const CONTROLS_A_DAY: u32 = 288;
