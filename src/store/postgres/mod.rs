//! PostgreSQL: any number of processes on one database; batches through `unnest`, day partitions for the journal.

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
mod partitions;
mod people;
mod project;
mod read;
mod relabel;
mod retention;

use std::{
    collections::HashSet,
    str::FromStr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
    query, query_as, query_scalar,
};

use super::{Access, StoreError, StoreOptions, both::Engine, engine::Caches};
use crate::privacy::Keyring;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a caller waits for a connection before the store counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a transaction may stand still: far longer than any of ours does.
const IDLE_IN_TRANSACTION: &str = "SET idle_in_transaction_session_timeout = '10s'";

/// Places in the journal hold the cluster's generation above this bit and the transaction id below it.
const GENERATION_SHIFT: u32 = 48;

/// The store in a PostgreSQL database.
#[derive(Debug)]
pub struct PgStore {
    pool: PgPool,
    keyring: Arc<Keyring>,
    caches: Caches,
    sealed: bool,
    /// The cluster's generation, shifted: every place in the journal is this plus a transaction id.
    base: i64,
    /// Partitions that are known to exist: kept long or short, and their number.
    partitions: Mutex<HashSet<(bool, i64)>>,
    /// Set once a connection has met another cluster.
    moved: Arc<AtomicBool>,
    /// An older transaction of the cluster has kept rows from being read for long.
    held_up: AtomicBool,
}

/// Connects once: the pool tries for as long as it may and then says only that nothing came.
async fn greet(connect: &PgConnectOptions) -> Result<(), StoreError> {
    let place = || {
        let database = connect.get_database().unwrap_or_default();
        format!("{}:{}/{database}", connect.get_host(), connect.get_port())
    };
    let failed = |source| StoreError::Connect { place: place(), source };
    match tokio::time::timeout(ACQUIRE_TIMEOUT, connect.connect()).await {
        Ok(connected) => connected.map_err(failed)?.close().await.map_err(failed),
        Err(_) => Err(failed(sqlx::Error::PoolTimedOut)),
    }
}

impl PgStore {
    /// Connects; see [`super::Store::open`].
    ///
    /// # Errors
    /// As [`super::Store::open`].
    pub async fn open(options: &StoreOptions, keyring: Arc<Keyring>) -> Result<Self, StoreError> {
        let connect = PgConnectOptions::from_str(&options.url)
            .map_err(StoreError::Options)?
            .application_name("relaywatch")
            .disable_statement_logging();
        greet(&connect).await?;
        // A restored or promoted cluster numbers its transactions anew: a process that outlives the change must not go on.
        let cluster = Arc::new(OnceLock::new());
        let moved = Arc::new(AtomicBool::new(false));
        let seen_moved = Arc::clone(&moved);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.max(2))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let (cluster, moved) = (Arc::clone(&cluster), Arc::clone(&seen_moved));
                Box::pin(async move {
                    // Compiling a statement takes longer than any of these runs.
                    query("SET jit = off").execute(&mut *connection).await?;
                    // A process that is stopped in a transaction would hold up the monitor's reading and a takeover.
                    query(IDLE_IN_TRANSACTION).execute(&mut *connection).await?;
                    let found = identity(connection).await?;
                    if cluster.get_or_init(|| found.clone()) == &found {
                        Ok(())
                    } else {
                        // The pool only tries again; whoever sees the flag ends the process.
                        moved.store(true, Ordering::SeqCst);
                        Err(sqlx::Error::Configuration(Box::new(StoreError::ClusterChanged)))
                    }
                })
            })
            .connect_with(connect)
            .await?;
        if options.access == Access::Write {
            MIGRATIONS.run(&pool).await?;
        }
        let mut store = Self {
            pool,
            keyring,
            caches: Caches::new(),
            sealed: options.sealed,
            base: 0,
            partitions: Mutex::new(HashSet::new()),
            moved,
            held_up: AtomicBool::new(false),
        };
        store.check(options.access == Access::Write).await?;
        Ok(store)
    }

    /// Checks schema and key, and finds the cluster's generation.
    async fn check(&mut self, writes: bool) -> Result<(), StoreError> {
        let needed = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let found: i64 = query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.pool)
            .await?;
        if found != needed {
            let advice = if found < needed { "start the daemon once to upgrade it" } else { "use a newer relaywatch" };
            return Err(StoreError::Schema { found, needed, advice });
        }
        let given = self.keyring.fingerprint();
        let mut transaction = self.pool.begin().await?;
        if writes {
            lock(&mut transaction, Lock::Setup).await?;
            query("INSERT INTO meta (key, value) VALUES ('key_fingerprint', $1) ON CONFLICT (key) DO NOTHING")
                .bind(&given)
                .execute(&mut *transaction)
                .await?;
        }
        let expected = meta(&mut transaction, "key_fingerprint").await?;
        if let Some(expected) = expected.filter(|expected| *expected != given) {
            return Err(StoreError::WrongKey { given, expected });
        }
        let cluster = identity(&mut transaction).await?;
        let known = meta(&mut transaction, "cluster").await?;
        let mut generation = meta(&mut transaction, "generation").await?.and_then(|g| g.parse().ok()).unwrap_or(0_i64);
        if writes && known.as_deref() != Some(cluster.as_str()) {
            generation += 1;
            for (key, value) in [("cluster", cluster), ("generation", generation.to_string())] {
                query("INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2")
                    .bind(key)
                    .bind(value)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        self.base = generation << GENERATION_SHIFT;
        Ok(())
    }

    /// Whether the cluster has changed under this process, which must then end.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.moved.load(Ordering::SeqCst)
    }

    pub(in crate::store) fn hold_up(&self, held_up: bool) -> bool {
        self.held_up.swap(held_up, Ordering::SeqCst) != held_up
    }

    pub(in crate::store) fn is_held_up(&self) -> bool {
        self.held_up.load(Ordering::SeqCst)
    }

    /// The keys that the store works with.
    pub(in crate::store) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The pool, for tests that look behind the store.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Engine for PgStore {
    type Database = Postgres;

    const STEP: i64 = 5_000;
    const REPLIES_IN: &'static str = super::relabel::replies_in_statement!("at >= $1 AND at < $2");

    fn reading(&self) -> &PgPool {
        &self.pool
    }

    fn writing(&self) -> &PgPool {
        &self.pool
    }
}

/// Which cluster this is: its system identifier and timeline. A restore changes one of them.
async fn identity(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    query_scalar(
        "SELECT s.system_identifier::text || '/' || c.timeline_id::text \
         FROM pg_control_system() s, pg_control_checkpoint() c",
    )
    .fetch_one(connection)
    .await
}

/// Whether a statement gave up since it would have had to wait for a lock for too long.
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

async fn meta(connection: &mut PgConnection, key: &str) -> Result<Option<String>, sqlx::Error> {
    let found: Option<(String,)> =
        query_as("SELECT value FROM meta WHERE key = $1").bind(key).fetch_optional(connection).await?;
    Ok(found.map(|(value,)| value))
}

/// Short sections that only one process may be in.
#[derive(Debug, Clone, Copy)]
enum Lock {
    Setup = 1,
    Partitions = 2,
    Relabel = 3,
}

/// Takes a lock that goes with the transaction.
async fn lock(transaction: &mut Transaction<'_, Postgres>, which: Lock) -> Result<(), sqlx::Error> {
    /// "relaywat" as bytes: keeps clear of other programs' locks in the same database.
    const NAMESPACE: i32 = 0x7265_6c61;
    query("SELECT pg_advisory_xact_lock($1, $2)")
        .bind(NAMESPACE)
        .bind(which as i32)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
