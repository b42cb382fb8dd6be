//! The store: the journal, which is the truth, and its projections; on SQLite or on PostgreSQL.
//!
//! Both engines do the same by the same methods, proven by one conformance suite (`tests/it/store.rs`). All SQL is
//! constant text; what varies is bound.

mod batch;
mod engine;
mod error;
mod evidence;
mod hash;
mod postgres;
mod recent;
mod sqlite;
mod types;

use std::{path::PathBuf, sync::Arc};

pub use error::StoreError;
pub use evidence::{AddressNotice, ControlSum, RefusedAddress};
pub use postgres::PgStore;
pub use sqlite::SqliteStore;
pub use types::{
    AccountRecord, AddressRecord, CellKey, Commit, Counts, EntryKind, EntryRecord, EventFilter, EventKey, EventRecord,
    Fold, IncidentRecord, IncidentState, LedgerRow, MapCoverage, NewAccount, NewControl, NewEntry, NewEvent, NewOutbox,
    NewReply, NewSetAside, NewToken, OutboxDepth, OutboxFailure, OutboxItem, OutboxState, Outcome, Position, Recipient,
    RefusedChange, ReplyRecord, Route, Subject, Submission, WordKind,
};

use crate::{
    model::{StreamKey, Timestamp},
    privacy::Keyring,
};

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To write: migrations are applied; with SQLite, one process at a time.
    Write,
    /// To read beside a daemon: nothing is changed, the schema must be up to date.
    Read,
}

/// How the store is set up.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `sqlite:///path/to/file.db`, `sqlite://relative.db`, or `postgres://…`.
    pub url: String,
    /// To write or to read.
    pub access: Access,
    /// Connections for reading (SQLite), or in all (PostgreSQL).
    pub connections: u32,
    /// Whether addresses are kept sealed (`true`) or by hash only.
    pub sealed: bool,
}

impl StoreOptions {
    /// The usual settings for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>, access: Access) -> Self {
        Self { url: url.into(), access, connections: 8, sealed: true }
    }
}

/// The store.
#[derive(Debug, Clone)]
pub enum Store {
    /// One file, one writer.
    Sqlite(Arc<SqliteStore>),
    /// One database, any number of processes.
    Postgres(Arc<PgStore>),
}

/// Sends a call to the engine.
macro_rules! dispatch {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Sqlite($store) => $call,
            Self::Postgres($store) => $call,
        }
    };
}
use dispatch;

impl Store {
    /// Opens the store: connects, applies migrations (for writing), and checks that the key file is the one that it was
    /// made with.
    ///
    /// # Errors
    /// Where the URL is none, the engine is away, another daemon has the SQLite file, the schema is newer or older than
    /// this relaywatch knows, or the key file is another one.
    pub async fn open(options: &StoreOptions, keyring: Arc<Keyring>) -> Result<Self, StoreError> {
        match options.url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Ok(Self::Sqlite(Arc::new(SqliteStore::open(options, keyring).await?))),
            Some("postgres" | "postgresql") => Ok(Self::Postgres(Arc::new(PgStore::open(options, keyring).await?))),
            _ => Err(StoreError::Url),
        }
    }

    /// `sqlite` or `postgres`, for metrics and messages.
    #[must_use]
    pub const fn engine(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Whether the database cluster has changed under this process (restored or failed over): it must then end, since places
    /// in the journal would no longer rise.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(store) => store.has_moved(),
        }
    }

    /// The file, with SQLite.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Sqlite(store) => Some(store.file()),
            Self::Postgres(_) => None,
        }
    }

    /// Commits several deliveries in one transaction. When this returns, they are durable.
    ///
    /// What was there before, by its key, changes nothing. A submission whose one-time token came before with another
    /// body is left out whole.
    ///
    /// # Errors
    /// Where the store is away or full: nothing of the batch is stored then.
    pub async fn commit(&self, batch: &[Submission]) -> Result<Commit, StoreError> {
        dispatch!(self, store => store.commit(batch).await)
    }

    /// Puts things into the outbox, all or none; those whose key is there already change nothing. Gives how many are new.
    ///
    /// # Errors
    /// Where the store is away or full.
    pub async fn enqueue(&self, items: &[NewOutbox]) -> Result<u64, StoreError> {
        dispatch!(self, store => store.enqueue(items).await)
    }

    /// Claims what is due by these routes, in the order in which it was put in, at most `limit`, until `lease_millis` from
    /// `now`.
    ///
    /// No other worker gets it until then; after that it comes again, marked as a possible repeat. Of ordered rows with one
    /// target, only the oldest is ever claimed.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn claim_outbox(
        &self,
        routes: &[Route],
        now: Timestamp,
        lease_millis: i64,
        limit: u32,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        dispatch!(self, store => store.claim_outbox(routes, now, lease_millis, limit).await)
    }

    /// Records that a claimed row has left; `receipt` is the receiver's id of it. Older rows of its target that are held
    /// back end with it.
    ///
    /// It counts also where the claim has run out: what was sent was sent.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_sent(
        &self,
        item: &OutboxItem,
        now: Timestamp,
        receipt: Option<&str>,
    ) -> Result<(), StoreError> {
        dispatch!(self, store => store.outbox_sent(item, now, receipt).await)
    }

    /// Records that a claimed row has not left. Nothing changes where the claim has run out and another worker has the row.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_failed(
        &self,
        item: &OutboxItem,
        now: Timestamp,
        failure: &OutboxFailure,
    ) -> Result<(), StoreError> {
        dispatch!(self, store => store.outbox_failed(item, now, failure).await)
    }

    /// Holds a claimed row back until `until`. Younger rows of its target may overtake it, and
    /// older ones that are held end.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_held(&self, item: &OutboxItem, now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        dispatch!(self, store => store.outbox_held(item, now, until).await)
    }

    /// Makes everything due that waits for another attempt: for when the receivers' settings have changed.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_hurry(&self, now: Timestamp) -> Result<(), StoreError> {
        dispatch!(self, store => store.outbox_hurry(now).await)
    }

    /// When the paced rows of a target were sent that were sent after `since`, oldest first.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_pace(
        &self,
        route: Route,
        target: &str,
        since: Timestamp,
    ) -> Result<Vec<Timestamp>, StoreError> {
        dispatch!(self, store => store.outbox_pace(route, target, since).await)
    }

    /// The receiver's id of the first row of a target that was sent and has one: the thread of an incident.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_receipt(&self, route: Route, target: &str) -> Result<Option<String>, StoreError> {
        dispatch!(self, store => store.outbox_receipt(route, target).await)
    }

    /// Where a row of the outbox stands; `None` where there's none of this key.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_state(&self, route: Route, key: &str) -> Result<Option<OutboxState>, StoreError> {
        dispatch!(self, store => store.outbox_state(route, key).await)
    }

    /// How full the outbox is.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        dispatch!(self, store => store.outbox_depth().await)
    }

    /// Outcomes after a place in the journal, in its order, at most `limit`.
    ///
    /// Never skips a transaction that commits late: on PostgreSQL it stops below the oldest one that still runs.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_after(&self, after: Position, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_after(after, limit).await)
    }

    /// All outcomes up to a place in the journal of the given (address, message) pairs, in no particular order.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_of_messages(
        &self,
        messages: &[(i64, i64)],
        up_to: Position,
    ) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_of_messages(messages, up_to).await)
    }

    /// All outcomes of one address, by time.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_of_address(&self, address: i64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_of_address(address, limit).await)
    }

    /// The latest outcomes by place in the journal, newest first; those before `before` where it's given.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn latest_events(&self, before: Option<Position>, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.latest_events(before, limit).await)
    }

    /// Outcomes that pass the filter, latest event time first; those before `before` in that order where it's given.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_by_time(
        &self,
        filter: &EventFilter,
        before: Option<EventKey>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_by_time(filter, before, limit).await)
    }

    /// The end of the journal for a reader that follows it: whatever is committed later comes after it, or, on PostgreSQL,
    /// whatever a transaction that still runs will commit.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn journal_end(&self) -> Result<Position, StoreError> {
        dispatch!(self, store => store.journal_end().await)
    }

    /// Other entries after a place in the journal, in its order, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away, or an entry is none that this version knows.
    pub async fn entries_after(&self, after: Position, limit: u32) -> Result<Vec<EntryRecord>, StoreError> {
        dispatch!(self, store => store.entries_after(after, limit).await)
    }

    /// Where a reader of the journal stands.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        dispatch!(self, store => store.cursor(name).await)
    }

    /// Applies one step of the monitor: projections and cursor in one transaction.
    ///
    /// # Errors
    /// [`StoreError::CursorMoved`] where the cursor doesn't stand at `fold.from`; or where the store is away.
    pub async fn apply(&self, name: &str, fold: &Fold) -> Result<(), StoreError> {
        dispatch!(self, store => store.apply(name, fold).await)
    }

    /// Throws the projections away and puts the cursors back to the start.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn reset_projections(&self) -> Result<(), StoreError> {
        dispatch!(self, store => store.reset_projections().await)
    }

    /// Cells of a stream between two bins, both included, by bin.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cells(&self, stream: i32, from: i64, to: i64) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        dispatch!(self, store => store.cells(stream, from, to).await)
    }

    /// All cells from a bin on, by stream and bin.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cells_since(&self, from: i64) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        dispatch!(self, store => store.cells_since(from).await)
    }

    /// Absolute counts of the given cells; those that count nothing are left out.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cells_of(&self, keys: &[CellKey]) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        dispatch!(self, store => store.cells_of(keys).await)
    }

    /// Sums of cells of relay mail by stream and UTC day, for days from `from` (counted from the epoch) on:
    /// (stream, day, counts).
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn daily_since(&self, from: i64) -> Result<Vec<(i32, i64, Counts)>, StoreError> {
        dispatch!(self, store => store.daily_since(from).await)
    }

    /// Of each of these (finest stream, bin), up to three of the addresses that were refused for good, the smallest ids
    /// first.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_witnesses(&self, cells: &[(i32, i64)]) -> Result<Vec<(i32, i64, i64)>, StoreError> {
        dispatch!(self, store => store.refused_witnesses(cells).await)
    }

    /// The different addresses that were refused for good in these finest streams in the bins from `from` to `to`, both
    /// included, by id, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_addresses(
        &self,
        streams: &[i32],
        from: i64,
        to: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        dispatch!(self, store => store.refused_addresses(streams, from, to, limit).await)
    }

    /// Writes an incident; a new one (id zero) gets its number, which is given back.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn save_incident(&self, incident: &IncidentRecord) -> Result<i64, StoreError> {
        dispatch!(self, store => store.save_incident(incident).await)
    }

    /// Incidents in any of these states, newest onset first, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away, or one is none that this version knows.
    pub async fn incidents(&self, states: &[IncidentState], limit: u32) -> Result<Vec<IncidentRecord>, StoreError> {
        dispatch!(self, store => store.incidents(states, limit).await)
    }

    /// One incident.
    ///
    /// # Errors
    /// Where the store is away, or it is none that this version knows.
    pub async fn incident(&self, id: i64) -> Result<Option<IncidentRecord>, StoreError> {
        dispatch!(self, store => store.incident(id).await)
    }

    /// What the ledger knows of an address.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn ledger(&self, address: i64) -> Result<Option<LedgerRow>, StoreError> {
        dispatch!(self, store => store.ledger(address).await)
    }

    /// Counts of the control group outside the relay domains, since a bin: (stream, bin, sent, delivered, refused).
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn control_since(&self, from: i64) -> Result<Vec<(i32, i64, i64, i64, i64)>, StoreError> {
        dispatch!(self, store => store.control_since(from).await)
    }

    /// The address with this keyed hash.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn address_by_hash(&self, hash: &[u8; 16]) -> Result<Option<AddressRecord>, StoreError> {
        dispatch!(self, store => store.address_by_hash(hash).await)
    }

    /// The address with this random id.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn address_by_id(&self, id: i64) -> Result<Option<AddressRecord>, StoreError> {
        dispatch!(self, store => store.address_by_id(id).await)
    }

    /// How many of the relay addresses that mail went to have a known account.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn map_coverage(&self) -> Result<MapCoverage, StoreError> {
        dispatch!(self, store => store.map_coverage().await)
    }

    /// The account with this keyed hash.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn account_by_hash(&self, hash: &[u8; 16]) -> Result<Option<AccountRecord>, StoreError> {
        dispatch!(self, store => store.account_by_hash(hash).await)
    }

    /// Accounts of an address.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn accounts_of_address(&self, address: i64) -> Result<Vec<AccountRecord>, StoreError> {
        dispatch!(self, store => store.accounts_of_address(address).await)
    }

    /// Entries about an address or about one of its accounts, by time.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn entries_of(&self, address: i64, accounts: &[i64]) -> Result<Vec<EntryRecord>, StoreError> {
        dispatch!(self, store => store.entries_of(address, accounts).await)
    }

    /// Puts accounts into the account map; known ones get what they lacked and the newer values. Gives how many are new.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn import_accounts(&self, accounts: &[NewAccount]) -> Result<u64, StoreError> {
        dispatch!(self, store => store.import_accounts(accounts).await)
    }

    /// Forgets an address: deletes its row and its accounts. Counts, dedupe keys and incidents stay. Gives whether it was
    /// known.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn forget_address(&self, hash: &[u8; 16]) -> Result<bool, StoreError> {
        dispatch!(self, store => store.forget_address(hash).await)
    }

    /// Tells every process of this store which key seals now. When this returns, no transaction that seals with an older
    /// key is under way; a process whose keyring is older looks into its key file before it seals again.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn announce_key(&self) -> Result<(), StoreError> {
        dispatch!(self, store => store.announce_key().await)
    }

    /// Seals again, with the current key, up to `limit` values that an older key had sealed. Gives how many there were;
    /// zero when all are done.
    ///
    /// # Errors
    /// Where the store is away, or a value does not open.
    pub async fn reseal(&self, limit: u32) -> Result<u64, StoreError> {
        dispatch!(self, store => store.reseal(limit).await)
    }

    /// The texts of words by number.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn words(&self, ids: &[i32]) -> Result<Vec<(i32, String)>, StoreError> {
        dispatch!(self, store => store.words(ids).await)
    }

    /// All words of a kind, by number.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn words_of(&self, kind: WordKind) -> Result<Vec<(i32, String)>, StoreError> {
        dispatch!(self, store => store.words_of(kind).await)
    }

    /// The numbers of streams; those that are new get one.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn stream_ids(&self, keys: &[StreamKey]) -> Result<Vec<i32>, StoreError> {
        dispatch!(self, store => store.stream_ids(keys).await)
    }

    /// The sealed sample of a template and when it was first met.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn template_sample(&self, template: i32) -> Result<Option<(i64, Option<Vec<u8>>)>, StoreError> {
        dispatch!(self, store => store.template_sample(template).await)
    }

    /// Deletes what has outlived its retention: deliveries before `deliveries`, the rest before `refusals`, and what is
    /// set aside or remembered only until `now`, and what left the outbox 30 days ago. All in milliseconds since the epoch. Gives how many rows went; on
    /// PostgreSQL whole days go at once and are not counted.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn expire(&self, now: i64, deliveries: i64, refusals: i64) -> Result<u64, StoreError> {
        dispatch!(self, store => store.expire(now, deliveries, refusals).await)
    }

    /// How many rows the journal and its side tables have: for `doctor`, benchmarks and tests.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn row_counts(&self) -> Result<Vec<(&'static str, i64)>, StoreError> {
        dispatch!(self, store => store.row_counts().await)
    }

    /// Bytes on disk by table, indexes counted.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn bytes_by_table(&self) -> Result<Vec<(String, i64)>, StoreError> {
        dispatch!(self, store => store.bytes_by_table().await)
    }

    /// Whether the store answers and takes writes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn ping(&self) -> Result<(), StoreError> {
        dispatch!(self, store => store.ping().await)
    }

    /// Closes the connections and releases the file.
    pub async fn close(&self) {
        dispatch!(self, store => store.close().await);
    }
}
