//! The store: the journal, which is the truth, and its projections; on SQLite or on PostgreSQL.
//!
//! Both engines do the same by the same methods, proven by one conformance suite (`tests/it/store.rs`). All SQL is
//! constant text; what varies is bound.

mod batch;
mod both;
mod cells;
mod engine;
mod erase;
mod error;
mod evidence;
mod feeds;
mod hash;
mod imports;
mod incidents;
mod journal;
mod lease;
mod listing;
mod new_words;
mod observed;
mod outbox;
mod people;
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
pub use observed::{ABOUT, Observed};
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

use crate::{model::Timestamp, privacy::Keyring};

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
