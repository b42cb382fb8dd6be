//! What goes into the store and what comes out, the same for both engines.

mod feeds;
mod horizon;
mod incident;
mod outbox;
mod people;

pub use feeds::{FeedCounts, FeedHour};
pub use horizon::{Backlog, DayChange, Horizon};
pub use incident::{IncidentRecord, IncidentState, Label, OperatorWord};
pub use outbox::{NewOutbox, OutboxDepth, OutboxFailure, OutboxItem, OutboxState, Route};
pub use people::{AccountRecord, AddressRecord, DueAccount, Erased, MapCoverage, Mark, NewAccount, Turn, Whom};

use crate::{
    ingest::SetAsideReason,
    model::{Address, Cause, Destination, EventKind, Exposure, FailureClass, MxFamily, StreamKey, Timestamp},
};

crate::model::words! {
    /// What a number in a row stands for.
    pub enum WordKind {
        /// A feed: `ses`, `ses/eu`.
        Feed = 1, "feed";
        /// A stream, as JSON of its key.
        Stream = 2, "stream";
        /// A provider's own verdict.
        Label = 3, "label";
        /// A reply rule with its version.
        Rule = 4, "rule";
        /// A reply template.
        Template = 5, "template";
    }
}

crate::model::words! {
    /// What the journal holds beside outcomes.
    pub enum EntryKind {
        /// An Apple server-to-server notice.
        Notice = 1, "notice";
        /// A time in which a feed or a notice endpoint was down or silent.
        BlindWindow = 2, "blind-window";
        /// An operator's note.
        Note = 3, "note";
        /// Something that an operator did.
        Action = 4, "action";
        /// Settings that change projections, with their version.
        Settings = 5, "settings";
        /// What DNS said of a source.
        DnsObservation = 6, "dns-observation";
        /// How a canary fared.
        CanaryResult = 7, "canary-result";
        /// A DMARC aggregate report that came; its file is kept sealed.
        DmarcReport = 8, "dmarc-report";
        /// A mail of Apple's to the Account Holder about the relay.
        RelayNotification = 9, "relay-notification";
    }
}

/// A place in the journal: after it comes what was committed later.
///
/// SQLite: the row's number. PostgreSQL: the cluster's generation and the transaction id, then the row in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The transaction's place.
    pub transaction: i64,
    /// The row in the transaction.
    pub row: i32,
}

impl Position {
    /// Before everything.
    pub const START: Self = Self { transaction: 0, row: 0 };
}

/// The key of an event: its time, then the keyed hash of what makes it the same event. Ascends with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    /// The event's time.
    pub at: Timestamp,
    /// The keyed hash.
    pub hash: [u8; 16],
}

/// A recipient: by keyed hash, and in the clear until the store has sealed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The keyed hash of the address's comparison form.
    pub hash: [u8; 16],
    /// The address.
    pub address: Address,
}

/// A Sign in with Apple user: by keyed hash, and in the clear until the store has sealed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Subject {
    /// The keyed hash of team and `sub`.
    pub hash: [u8; 16],
    /// The team.
    pub team: String,
    /// The `sub`.
    pub subject: String,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subject(of team {})", self.team)
    }
}

/// What the classifier said of a reply, in the form in which it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReply {
    /// The template: addresses, ids and IP addresses replaced by their roles.
    pub template: String,
    /// The verbatim text, to be sealed as the template's sample where it is the first of its kind.
    pub sample: String,
    /// The basic code.
    pub code: Option<u16>,
    /// The enhanced code, as `class * 1_000_000 + subject * 1_000 + detail`.
    pub enhanced: Option<i32>,
    /// Whose mail exchanger answered.
    pub mx: MxFamily,
    /// What it means.
    pub cause: Cause,
    /// The rule that decided, with its version.
    pub rule: String,
    /// How sure, in percent.
    pub confidence: u8,
}

/// One outcome, ready to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What makes it the same event.
    pub key: EventKey,
    /// What happened.
    pub kind: EventKind,
    /// What its feed tells of mail that did not bounce.
    pub exposure: Exposure,
    /// Whether the failure is final.
    pub class: FailureClass,
    /// What the recipient's domain can hold.
    pub destination: Destination,
    /// The finest stream.
    pub stream: StreamKey,
    /// Whom it was for.
    pub recipient: Recipient,
    /// The keyed hash of the message and its recipient.
    pub message: i64,
    /// When it was sent, where the payload tells.
    pub sent_at: Option<Timestamp>,
    /// The provider's own verdict.
    pub label: Option<String>,
    /// What the receiving side said, for failures.
    pub reply: Option<NewReply>,
}

/// One outcome of the control group outside the relay domains: counted, not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewControl {
    /// What makes it the same event.
    pub key: EventKey,
    /// What happened: `Sent`, `Delivered` and permanent `Refused` are counted.
    pub kind: EventKind,
    /// The finest stream.
    pub stream: StreamKey,
    /// The send time, or the event's where there is none.
    pub sent_at: Timestamp,
}

/// One entry of the journal beside outcomes, ready to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry {
    /// What makes it the same entry.
    pub key: EventKey,
    /// What it is.
    pub kind: EntryKind,
    /// The account that it is about.
    pub account: Option<Subject>,
    /// The address that it is about.
    pub address: Option<Recipient>,
    /// The app, for notices: kept with the account.
    pub app: Option<String>,
    /// The rest, without personal data.
    pub body: serde_json::Value,
}

/// A part of a delivery to be kept, sealed, for a while.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSetAside {
    /// Keyed hash of the body, by which a retry is recognised.
    pub hash: [u8; 16],
    /// Why.
    pub reason: SetAsideReason,
    /// The provider's word for it.
    pub label: String,
    /// The part itself.
    pub body: Vec<u8>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// When it goes.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for NewSetAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSetAside({} {:?})", self.reason, self.label)
    }
}

/// A one-time token with the digest of the body that it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Keyed hash of the token.
    pub hash: [u8; 16],
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// Until when it's remembered.
    pub expires_at: Timestamp,
}

/// One delivery of one feed, ready to be committed as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Submission {
    /// The feed: `ses`, `ses/eu`.
    pub feed: String,
    /// Outcomes on relay domains and on domains that can hold relay addresses.
    pub events: Vec<NewEvent>,
    /// Outcomes elsewhere.
    pub control: Vec<NewControl>,
    /// Notices and what else the journal holds.
    pub entries: Vec<NewEntry>,
    /// Parts that were not understood.
    pub set_aside: Vec<NewSetAside>,
    /// Binds a one-time token to this body.
    pub token: Option<NewToken>,
    /// What has to leave because of it, exactly once in the outbox however often the delivery comes.
    pub outbox: Vec<NewOutbox>,
}

impl Submission {
    /// How many rows it can add: what a batch is measured by.
    #[must_use]
    pub fn weight(&self) -> usize {
        1 + self.events.len() + self.control.len() + self.entries.len() + self.set_aside.len() + self.outbox.len()
    }
}

/// What became of one submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable; what of it was there before changed nothing.
    Committed,
    /// Its one-time token came before with another body: nothing of it was stored.
    TokenReused,
}

/// What a commit added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// What became of each submission, in their order.
    pub outcomes: Vec<Outcome>,
    /// Rows that are new: events, control outcomes, entries.
    pub added: u64,
    /// Rows that were there before.
    pub repeated: u64,
}

/// One outcome as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Where it stands in the journal.
    pub position: Position,
    /// Its key.
    pub key: EventKey,
    /// What happened.
    pub kind: EventKind,
    /// What its feed tells of mail that did not bounce.
    pub exposure: Exposure,
    /// Whether the failure is final.
    pub class: FailureClass,
    /// What the recipient's domain can hold.
    pub destination: Destination,
    /// The feed's number.
    pub feed: i32,
    /// The finest stream's number.
    pub stream: i32,
    /// The address's random id.
    pub address: i64,
    /// The message's keyed hash.
    pub message: i64,
    /// The send time of the payload.
    pub sent_at: Option<Timestamp>,
    /// The provider's own verdict, by number.
    pub label: Option<i32>,
    /// What the receiving side said.
    pub reply: Option<ReplyRecord>,
}

/// A reply as the journal holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyRecord {
    /// The template's number.
    pub template: i32,
    /// The basic code.
    pub code: Option<u16>,
    /// The enhanced code, as `class * 1_000_000 + subject * 1_000 + detail`.
    pub enhanced: Option<i32>,
    /// Whose mail exchanger answered.
    pub mx: MxFamily,
    /// What it means.
    pub cause: Cause,
    /// The rule that decided, by number.
    pub rule: i32,
    /// How sure, in percent.
    pub confidence: u8,
}

/// One other entry as the journal holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryRecord {
    /// Where it stands in the journal.
    pub position: Position,
    /// Its key.
    pub key: EventKey,
    /// What it is.
    pub kind: EntryKind,
    /// The account's random id.
    pub account: Option<i64>,
    /// The address's random id.
    pub address: Option<i64>,
    /// The rest.
    pub body: serde_json::Value,
}

/// What a stream's cell counts: one message to one recipient once, whatever came of it. Also the change of such counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize)]
pub struct Counts {
    /// Messages that count as sent by the feed's exposure: the denominator.
    pub exposed: i64,
    /// Permanently refused by the receiving side.
    pub refused: i64,
    /// Accepted by the receiving side.
    pub delivered: i64,
    /// Given up after temporary failures, or refused without a word of permanence.
    pub transient: i64,
    /// Deferred at least once and not yet final.
    pub deferred: i64,
    /// Complained about.
    pub complained: i64,
    /// Not tried, since the provider has suppressed the address.
    pub suppressed: i64,
    /// Outcomes whose send has not been reported though the feed reports sends: the cell is incomplete.
    pub unexposed: i64,
    /// Of the exposed messages, those permanently refused: the numerator. Other refusals have no send to be measured against.
    pub refused_exposed: i64,
}

impl Counts {
    /// Adds `other`, times `sign` (1 or -1).
    pub fn add(&mut self, other: &Self, sign: i64) {
        self.exposed += sign * other.exposed;
        self.refused += sign * other.refused;
        self.delivered += sign * other.delivered;
        self.transient += sign * other.transient;
        self.deferred += sign * other.deferred;
        self.complained += sign * other.complained;
        self.suppressed += sign * other.suppressed;
        self.unexposed += sign * other.unexposed;
        self.refused_exposed += sign * other.refused_exposed;
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// Which cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellKey {
    /// The stream's number.
    pub stream: i32,
    /// The five-minute bin of send time, counted from the epoch.
    pub bin: i64,
    /// Relay mail, or the control group on shared domains.
    pub destination: Destination,
}

/// What the ledger knows of an address. Each time is the latest; merging two takes the later of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerRow {
    /// The address's random id.
    pub address: i64,
    /// The earliest event.
    pub first_event_at: Timestamp,
    /// The latest send.
    pub last_sent_at: Option<Timestamp>,
    /// The latest delivery.
    pub last_delivered_at: Option<Timestamp>,
    /// The latest permanent refusal.
    pub last_refused_at: Option<Timestamp>,
    /// Its cause.
    pub last_cause: Option<Cause>,
    /// The latest complaint.
    pub complained_at: Option<Timestamp>,
    /// The latest unsubscription.
    pub unsubscribed_at: Option<Timestamp>,
    /// The latest report that the provider has suppressed it.
    pub suppressed_at: Option<Timestamp>,
    /// What its domain can hold.
    pub destination: Destination,
}

impl LedgerRow {
    /// Merges what another set of events says of the same address; the order of merging doesn't matter.
    pub fn merge(&mut self, other: &Self) {
        self.first_event_at = self.first_event_at.min(other.first_event_at);
        self.last_sent_at = self.last_sent_at.max(other.last_sent_at);
        self.last_delivered_at = self.last_delivered_at.max(other.last_delivered_at);
        // At the same millisecond the cause with the higher number stands, so that order can't matter.
        let refusal = |row: &Self| (row.last_refused_at, row.last_cause.map(Cause::code));
        if refusal(other) > refusal(self) {
            self.last_refused_at = other.last_refused_at;
            self.last_cause = other.last_cause;
        }
        self.complained_at = self.complained_at.max(other.complained_at);
        self.unsubscribed_at = self.unsubscribed_at.max(other.unsubscribed_at);
        self.suppressed_at = self.suppressed_at.max(other.suppressed_at);
        self.destination = self.destination.max(other.destination);
    }
}

/// What one step of the monitor changes in the projections, together with where it read up to.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    /// Where the step began; the store refuses it where the cursor stands elsewhere.
    pub from: Position,
    /// Where the next one begins.
    pub to: Position,
    /// The newest checkpoint's day that the step knew of; the store refuses it where there is another one.
    pub sealed: Option<i64>,
    /// Changes of cells.
    pub cells: Vec<(CellKey, Counts)>,
    /// What the step learnt of addresses.
    pub ledger: Vec<LedgerRow>,
    /// Changes of who was refused.
    pub refused: Vec<RefusedChange>,
    /// Changes of days' totals.
    pub days: Vec<DayChange>,
    /// Finest streams and days whose total is counted in another stream now.
    pub gone: Vec<(i32, i64)>,
    /// Addresses whose mail is counted as relay mail from here on, or no longer; the changes above move what is counted
    /// already. The store refuses the step where one of them was turned meanwhile.
    pub turns: Vec<Turn>,
    /// Changes of what each feed reported.
    pub feeds: Vec<(FeedHour, FeedCounts)>,
}

/// One address more or less among the permanently refused of a finest stream and bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedChange {
    /// The finest stream's number.
    pub stream: i32,
    /// The bin of send time.
    pub bin: i64,
    /// The address's random id.
    pub address: i64,
    /// By how many messages.
    pub change: i32,
}

/// Which outcomes to read; what is not set lets everything through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Not before this time, by the event's own time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// What happened: one of these.
    pub kinds: Option<Vec<EventKind>>,
    /// What the reply means: one of these.
    pub causes: Option<Vec<Cause>>,
    /// The feed: one of these numbers.
    pub feeds: Option<Vec<i32>>,
    /// The finest stream: one of these numbers.
    pub streams: Option<Vec<i32>>,
}

impl EventFilter {
    /// Whether it lets an outcome through.
    #[must_use]
    pub fn admits(&self, event: &EventRecord) -> bool {
        self.since.is_none_or(|since| event.key.at >= since)
            && self.until.is_none_or(|until| event.key.at < until)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
            && self.causes.as_ref().is_none_or(|causes| event.reply.is_some_and(|reply| causes.contains(&reply.cause)))
            && self.feeds.as_ref().is_none_or(|feeds| feeds.contains(&event.feed))
            && self.streams.as_ref().is_none_or(|streams| streams.contains(&event.stream))
    }
}
