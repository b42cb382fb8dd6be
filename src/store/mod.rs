//! The store: the journal, which is the truth, and its projections; on SQLite or on PostgreSQL.
//!
//! Both engines do the same by the same methods, proven by one conformance suite (`tests/it/store.rs`). All SQL is
//! constant text; what varies is bound.

mod batch;
mod both;
mod engine;
mod erase;
mod error;
mod evidence;
mod feeds;
mod hash;
mod imports;
mod incidents;
mod lease;
mod listing;
mod new_words;
mod postgres;
mod recent;
mod relabel;
mod retention;
mod sqlite;
mod totals;
mod traces;
mod types;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub(crate) use engine::{MONITOR_CURSOR, kept_long as is_kept_long};
pub use error::StoreError;
pub use evidence::{AddressNotice, ControlSum, RefusedAddress};
pub use feeds::OWN_FEED;
pub use imports::ImportFile;
pub use lease::{Epoch, Leader};
pub use listing::{SetAsideRecord, Span};
pub use new_words::{FoundWords, LastTold, NewWords, NewWordsFilter, template_id};
pub use postgres::PgStore;
pub use relabel::{NewVerdict, Relabelled, ReplyGroup, ReplyKey, Stretch};
pub use sqlite::SqliteStore;
pub use types::{
    AccountRecord, AddressRecord, Backlog, CellKey, Commit, Counts, DayChange, DueAccount, EntryKind, EntryRecord,
    Erased, EventFilter, EventKey, EventRecord, FeedCounts, FeedHour, Fold, Horizon, IncidentRecord, IncidentState,
    Label, LedgerRow, MapCoverage, Mark, NewAccount, NewControl, NewEntry, NewEvent, NewOutbox, NewReply, NewSetAside,
    NewToken, OperatorWord, OutboxDepth, OutboxFailure, OutboxItem, OutboxState, Outcome, Position, Recipient,
    RefusedChange, ReplyRecord, Route, Subject, Submission, Turn, Whom, WordKind,
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
            $crate::store::Store::Sqlite($store) => $call,
            $crate::store::Store::Postgres($store) => $call,
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

    /// Up to where the journal is settled, and its newest row: rows from the settled place on wait for an older transaction of the
    /// cluster. `None` on SQLite, where nothing ever waits.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn backlog(&self) -> Result<Option<Backlog>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(store) => store.backlog().await,
        }
    }

    /// Which writing transaction of the cluster is the oldest, in words for people and without its text; `None` where this role
    /// may not know.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn oldest_writer(&self) -> Result<Option<String>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(store) => store.oldest_writer().await,
        }
    }

    /// Keeps whether the journal is held up by an older transaction; gives whether that is new.
    #[expect(clippy::must_use_candidate, reason = "whoever only ends the state has no use for the answer")]
    pub fn hold_up(&self, held_up: bool) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(store) => store.hold_up(held_up),
        }
    }

    /// Whether it was held up when it was last looked at.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(store) => store.is_held_up(),
        }
    }

    /// Takes the lead for `term`, where nobody has it: a new reign, under which older ones write nothing more. `holder` is a
    /// random id of this process, for people to see who leads.
    ///
    /// On SQLite, where one process has the file, whoever asks leads, and for as long as it likes.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn lead(&self, holder: &str, term: Duration) -> Result<Option<Leader>, StoreError> {
        let epoch = match self {
            Self::Sqlite(store) => store.lead().await?,
            Self::Postgres(store) => store.lead(holder, term).await?,
        };
        Ok(epoch.map(|epoch| Leader::new(self.clone(), epoch)))
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
        dispatch!(self, store => store.commit(None, batch).await)
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

    /// The database's own clock; `None` where the store is a file, which has none.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn database_clock(&self) -> Result<Option<Timestamp>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(store) => store.database_clock().await.map(Some),
        }
    }

    /// Whether anything of this key is in the outbox, or was and is still remembered.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_knows(&self, key: &str) -> Result<bool, StoreError> {
        dispatch!(self, store => store.outbox_knows(key).await)
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

    /// Whether [`Store::events_after`] would give anything: cheap enough to be asked every second.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn has_events_after(&self, after: Position) -> Result<bool, StoreError> {
        dispatch!(self, store => store.has_events_after(after).await)
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

    /// Outcomes that pass the filter, the latest that came in first; those before a place in the journal, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away, or an event is none that this version knows.
    pub async fn events_by_arrival(
        &self,
        filter: &EventFilter,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_by_arrival(filter, before, limit).await)
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

    /// Addresses whose mail is not yet counted as the latest word on them has it, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn pending_turns(&self, limit: u32) -> Result<Vec<Turn>, StoreError> {
        dispatch!(self, store => store.pending_turns(limit).await)
    }

    /// What the map or a notice says of an address: private or not.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn mark_of(&self, address: i64) -> Result<Option<Mark>, StoreError> {
        dispatch!(self, store => store.mark_of(address).await)
    }

    /// All outcomes of these addresses up to a place in the journal, with the destination that the domain alone tells.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_by_domain(&self, addresses: &[i64], up_to: Position) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_by_domain(addresses, up_to).await)
    }

    /// Where a reader of the journal stands.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        dispatch!(self, store => store.cursor(name).await)
    }

    /// Throws away what the projections hold beyond the newest checkpoint, and puts the monitor's cursor back to the start, so
    /// that it makes them again from what the journal has.
    ///
    /// A rebuild that has not come to its end goes on from the start, too.
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

    /// How many different addresses were refused for good in these finest streams in the bins from `from` to `to`, both included.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_count(&self, streams: &[i32], from: i64, to: i64) -> Result<u64, StoreError> {
        let counted = dispatch!(self, store => store.refused_count(streams, from, to).await)?;
        Ok(u64::try_from(counted).unwrap_or(0))
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

    /// Tells every process of this store which key seals now. When this returns, no transaction that seals with an older
    /// key is under way; a process whose keyring is older looks into its key file before it seals again.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn announce_key(&self) -> Result<(), StoreError> {
        dispatch!(self, store => store.announce_key().await)
    }

    /// The key that was announced last; none before the first rotation.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn announced_key(&self) -> Result<Option<u16>, StoreError> {
        dispatch!(self, store => store.announced_key().await)
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
