//! What can go wrong with the store.

use std::path::PathBuf;

use crate::privacy::PrivacyError;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no engine.
    #[error("the store's URL begins neither with sqlite: nor with postgres:; set [store] url")]
    Url,
    /// The URL can't be read.
    #[error("the store's URL can't be used; see [store] url")]
    Options(#[source] sqlx::Error),
    /// PostgreSQL can't be reached, or lets nobody in.
    #[error("cannot connect to PostgreSQL at {place}; see [store] url")]
    Connect {
        /// Host, port and database.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The engine answered with an error, or not at all.
    #[error("the store does not answer")]
    Database(#[source] sqlx::Error),
    /// Migrations could not be applied.
    #[error("the store's schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The schema is not the one that this relaywatch reads.
    #[error("the store's schema is at version {found}, this relaywatch needs {needed}; {advice}")]
    Schema {
        /// The version that is there.
        found: i64,
        /// The version that is needed.
        needed: i64,
        /// What to do.
        advice: &'static str,
    },
    /// Another process has the SQLite file.
    #[error("{} is open for writing in another process of relaywatch's: a daemon, or a command such as `import`; wait for its end or \
         stop it, or use a command that reads", path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The folder or the file of the database can't be used.
    #[error("cannot use {}", path.display())]
    File {
        /// What can't be used.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key file is not the one that the store was made with.
    #[error(
        "the key file (fingerprint {given}) is not the one that this store was made with (fingerprint {expected}); \
         restore the right key file, see [privacy] key_file"
    )]
    WrongKey {
        /// Of the key file that was given.
        given: String,
        /// Of the one that made the store.
        expected: String,
    },
    /// The cursor stands elsewhere: another monitor has gone on.
    #[error("another monitor has moved on in the journal")]
    CursorMoved,
    /// Another process leads, or the reign ran out.
    #[error("this process no longer leads the monitors")]
    NotLeading,
    /// Something has kept the store's tables locked for too long.
    #[error("another transaction (a backup?) keeps the store's tables locked; try again when it has ended")]
    Busy,
    /// A row holds what this version doesn't know.
    #[error("a row of {table} holds a {what} that this relaywatch does not know: {value}")]
    Unknown {
        /// The table.
        table: &'static str,
        /// The column.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// Sealing or opening failed.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// The database was moved to another cluster while this process ran.
    #[error("the database cluster has changed under this process (restored or failed over); restart relaywatch")]
    ClusterChanged,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migrate(error)
    }
}

impl StoreError {
    /// Whether the database answers and holds nothing of relaywatch (PostgreSQL's "undefined table").
    #[must_use]
    pub fn is_without_tables(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        error.code().as_deref() == Some("42P01")
    }

    /// Whether the transaction was undone because of another one (PostgreSQL's "deadlock detected" and "serialization
    /// failure"), so that the same one goes through when it's begun anew.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        matches!(error.code().as_deref(), Some("40P01" | "40001"))
    }

    /// Whether the same call may go through later without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => !matches!(
                error,
                sqlx::Error::ColumnDecode { .. }
                    | sqlx::Error::ColumnNotFound(_)
                    | sqlx::Error::Decode(_)
                    | sqlx::Error::Encode(_)
            ),
            Self::CursorMoved | Self::Busy | Self::Privacy(PrivacyError::Random) => true,
            _ => false,
        }
    }
}
