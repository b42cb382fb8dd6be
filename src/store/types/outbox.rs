//! What waits to leave: rows of the outbox.

use crate::model::Timestamp;

crate::model::words! {
    /// By which way something leaves.
    pub enum Route {
        /// A page to Slack.
        Slack = 1, "slack";
        /// A page as JSON to an endpoint of the operator's.
        Webhook = 2, "webhook";
        /// An Apple notice to the endpoint that lives behind the feed.
        Forward = 3, "forward";
    }
}

crate::model::words! {
    /// Where a row of the outbox stands.
    pub enum OutboxState {
        /// It waits for its time.
        Waiting = 1, "waiting";
        /// A worker sends it, or died over it.
        Claimed = 2, "claimed";
        /// Its sending is recorded.
        Sent = 3, "sent";
        /// It can't be sent by what this process has; its body is kept, and the next start or setup brings it back.
        GivenUp = 4, "given-up";
        /// It waits since too much was said of its target in the last hour; others may overtake it.
        Held = 5, "held";
        /// A later one of its target, which tells the same and more, left before it.
        Superseded = 6, "superseded";
    }
}

/// Something that has to leave, ready to be put into the outbox.
#[derive(Clone, PartialEq, Eq)]
pub struct NewOutbox {
    /// What makes it the same thing, within its route. Receivers see it.
    pub key: String,
    /// By which way it leaves.
    pub route: Route,
    /// The incident, for pages; the feed, for forwarded notices.
    pub target: String,
    /// Whether it leaves only when nothing older of its route and target waits.
    pub ordered: bool,
    /// Whether it counts, and waits, as one of the updates that a target may have in an hour.
    pub paced: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it may leave at the earliest.
    pub due_at: Timestamp,
    /// What leaves. Sealed while it waits, deleted once it has left.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for NewOutbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewOutbox({} {:?}, {} bytes)", self.route, self.key, self.body.len())
    }
}

/// One claimed row of the outbox.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboxItem {
    /// Its number.
    pub id: i64,
    /// What makes it the same thing, within its route.
    pub key: String,
    /// By which way it leaves.
    pub route: Route,
    /// The incident, for pages; the feed, for forwarded notices.
    pub target: String,
    /// Whether it counts as one of the updates that a target may have in an hour.
    pub paced: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// How often it was claimed, this time included. Later claims make this one void.
    pub attempts: i32,
    /// Whether it may have been sent before: an earlier sending was begun and its end not recorded.
    pub possible_repeat: bool,
    /// What leaves; `None` where it no longer opens with the key file.
    pub body: Option<Vec<u8>>,
}

impl std::fmt::Debug for OutboxItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutboxItem({} {:?}, attempt {})", self.route, self.key, self.attempts)
    }
}

/// Why a claimed row did not leave, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxFailure {
    /// What went wrong, without address and URL; cut to 200 characters.
    pub error: String,
    /// When it's tried again; `None` gives it up until the next start or setup.
    pub retry_at: Option<Timestamp>,
    /// Whether it may have arrived all the same, so that the next sending is marked.
    pub may_have_arrived: bool,
    /// Whether younger rows of its target need no longer wait for it.
    pub lets_pass: bool,
}

/// How full the outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxDepth {
    /// Rows that have not left.
    pub waiting: i64,
    /// When the oldest of them should have left; of those that are held back by the hourly limit, none.
    pub oldest_due: Option<Timestamp>,
    /// When the oldest of them was made; of those that are held back, none.
    pub oldest_made: Option<Timestamp>,
}
