//! SQLite: one file, one writer connection, a pool of readers, WAL.

mod bulk;
mod commit;
mod erase;
mod evidence;
mod feeds;
mod incidents;
mod lease;
mod listing;
mod marks;
mod new_words;
mod outbox;
mod people;
mod project;
mod read;
mod relabel;
mod retention;

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, Sqlite, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Access, StoreError, StoreOptions, both::Engine, engine::Caches};
use crate::privacy::Keyring;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a connection waits for another one's lock. A delivery may wait for two commits; SNS waits 15 s for its answer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a write waits at most for those before it: a delivery is answered before its provider hangs up.
const WRITER_WAIT: Duration = Duration::from_secs(10);

/// What the writer keeps of the file in memory (KiB, negative by SQLite's convention): the upper pages of every index and
/// the leaves that a busy hour touches. With SQLite's own 2 MiB most of a commit's time went into reading pages again.
const WRITER_CACHE: &str = "-16384";
/// Prepared statements of a connection: all that the writer has, those of many rows in each of their sizes.
const STATEMENTS: usize = 300;
/// Rows that a connection's thread reads before somebody takes them: each time it waits costs two changes of threads.
const ROWS_AHEAD: usize = 1_000;
/// What each reader keeps: SQLite's default.
const READER_CACHE: &str = "-2000";
/// Pages of the log after which they are copied into the file. More pages are written over before they are copied than
/// with SQLite's 1,000; the log stays near 32 MiB.
const CHECKPOINT_PAGES: &str = "8000";

/// The store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    keyring: Arc<Keyring>,
    caches: Caches,
    sealed: bool,
    /// The highest id of an address that was given; zero before the first one since the store was opened.
    highest_address: AtomicI64,
    /// The reign in force, see [`crate::store::Leader`].
    reign: AtomicI64,
    path: PathBuf,
    /// Held for as long as the store is open for writing; the kernel releases it when the process ends, however it ends.
    _lock: Option<File>,
}

impl SqliteStore {
    /// Opens the file; see [`super::Store::open`].
    ///
    /// # Errors
    /// As [`super::Store::open`].
    pub async fn open(options: &StoreOptions, keyring: Arc<Keyring>) -> Result<Self, StoreError> {
        let connect = SqliteConnectOptions::from_str(&options.url)?
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .pragma("temp_store", "memory")
            .pragma("cache_size", WRITER_CACHE)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .optimize_on_close(options.access == Access::Write, None)
            .statement_cache_capacity(STATEMENTS)
            .row_buffer_size(ROWS_AHEAD)
            .disable_statement_logging();
        let path = connect.get_filename().to_owned();
        let writes = options.access == Access::Write;
        let lock = if writes { Some(lock(&path)?) } else { None };
        if writes {
            private(&path)?;
        }

        let connect = connect.create_if_missing(writes).read_only(!writes);
        if writes {
            // Readers can't switch a database to WAL, so the writer has to be first.
            let mut first = connect.connect().await?;
            MIGRATIONS.run(&mut first).await?;
            first.close().await?;
        }
        let one_writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(WRITER_WAIT)
            .connect_with(connect.clone())
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.connections.max(1))
            .connect_with(connect.create_if_missing(false).read_only(true).pragma("cache_size", READER_CACHE))
            .await?;
        let store = Self {
            writer: one_writer,
            readers,
            keyring,
            caches: Caches::new(),
            sealed: options.sealed,
            highest_address: AtomicI64::new(0),
            reign: AtomicI64::new(0),
            path,
            _lock: lock,
        };
        store.check(writes).await?;
        Ok(store)
    }

    /// Checks schema and key.
    async fn check(&self, writes: bool) -> Result<(), StoreError> {
        let needed = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let found: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.readers)
            .await?;
        if found != needed {
            let advice = if found < needed { "start the daemon once to upgrade it" } else { "use a newer relaywatch" };
            return Err(StoreError::Schema { found, needed, advice });
        }
        let given = self.keyring.fingerprint();
        if writes {
            sqlx::query("INSERT INTO meta (key, value) VALUES ('key_fingerprint', $1) ON CONFLICT (key) DO NOTHING")
                .bind(&given)
                .execute(&self.writer)
                .await?;
        }
        let expected: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'key_fingerprint'")
            .fetch_optional(&self.readers)
            .await?;
        match expected {
            Some(expected) if expected != given => Err(StoreError::WrongKey { given, expected }),
            _ => Ok(()),
        }
    }

    /// The keys that the store works with.
    pub(in crate::store) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The database file.
    #[must_use]
    pub fn file(&self) -> &PathBuf {
        &self.path
    }

    /// Closes the connections; the lock goes with the store.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Engine for SqliteStore {
    type Database = Sqlite;

    const STEP: i64 = 2_000;
    const REPLIES_IN: &'static str = super::relabel::replies_in_statement!("position > $1 AND position <= $2");

    fn reading(&self) -> &SqlitePool {
        &self.readers
    }

    fn writing(&self) -> &SqlitePool {
        &self.writer
    }
}

/// Makes the database file readable by nobody else, before SQLite makes it readable by all; its companions follow it.
fn private(database: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(database);
    made.map(drop).map_err(|source| StoreError::File { path: database.to_owned(), source })
}

/// Takes the lock that keeps a second writer out.
fn lock(database: &Path) -> Result<File, StoreError> {
    let failed = |path: &Path, source| StoreError::File { path: path.to_owned(), source };
    if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    }
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| failed(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: database.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(&path, source)),
    }
}
