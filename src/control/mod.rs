//! What operators change: one list of calls, run by the daemon for the commands that reach it through its Unix socket, or
//! by the command itself where no daemon runs.
//!
//! A SQLite file has one writer, so beside a running daemon a command can only ask it. Calls are short: what takes long is
//! a sequence of steps that the command drives, so that it can show how far it is and be stopped.

mod calls;
mod client;
mod server;

pub(crate) use self::calls::MAX_ACCOUNTS;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Mutex, Notify, watch};

pub use self::{
    calls::{
        AcceptNormal, Account, Call, CloseIncident, ForgetAddress, ForgetOldKeys, Forgotten, ImportAccounts, Imported,
        JournalRecovery, LabelIncident, OldKeys, Rebuild, RebuildStarted, RebuildStep, RebuildStepped, Reseal,
        Resealed, RotateKeys, Rotated,
    },
    client::{Client, ClientError},
    server::{Socket, serve},
};
use crate::{
    clock::Clock,
    config::Config,
    daemon::{make_directories, store_options},
    incident::IncidentError,
    metrics::Metrics,
    model::RelayDomains,
    monitor::{Monitor, Progress},
    privacy::{Keyring, PrivacyError},
    store::{Access, Store, StoreError},
};

/// The socket's name in the state directory.
pub const SOCKET: &str = "relaywatch.sock";

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys could not be changed.
    #[error(transparent)]
    Keys(#[from] PrivacyError),
    /// An incident could not be changed.
    #[error(transparent)]
    Incident(#[from] IncidentError),
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Who folds the journal.
#[derive(Debug)]
pub enum Folding {
    /// The daemon's monitor: it is woken and watched.
    Daemon {
        /// Wakes it.
        wake: Arc<Notify>,
        /// Where it stands.
        progress: watch::Receiver<Progress>,
    },
    /// A monitor of the command's own.
    Own(Box<Mutex<Monitor>>),
}

/// What calls work with.
#[derive(Debug)]
pub struct Operator {
    /// The store, open for writing.
    pub store: Store,
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// The clock.
    pub clock: Clock,
    /// Which domains hold relay addresses.
    pub relay: RelayDomains,
    /// Who folds the journal.
    pub folding: Folding,
}

/// Why nothing could be changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store is another process's, and that process has no socket here.
    #[error(
        "another relaywatch has the store open, and it does not answer at {}; run this as the daemon's user, with the \
         daemon's configuration and STATE_DIRECTORY, or stop the daemon first", socket.display()
    )]
    Unreachable {
        /// Where its socket should be.
        socket: PathBuf,
    },
    /// The socket is there and can't be used.
    #[error("the daemon's socket {} can't be used; run this as the daemon's user or as root", socket.display())]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directories of a first start can't be made, or the keys or the store can't be had.
    #[error(transparent)]
    Start(#[from] crate::daemon::StartError),
    /// The metrics of a command's own monitor can't be made.
    #[error("the metrics can't be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Why a call failed, wherever it ran.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It ran here.
    #[error(transparent)]
    Here(#[from] ControlError),
    /// It ran in the daemon, or did not reach it.
    #[error(transparent)]
    Daemon(#[from] ClientError),
}

/// The way to change something: through the daemon while one runs, else directly.
#[derive(Debug)]
pub enum Writer {
    /// Through the daemon's socket.
    Daemon(Client),
    /// With the store open here.
    Direct(Box<Operator>),
}

/// Where the socket of this configuration's daemon is.
#[must_use]
pub fn socket_path(config: &Config) -> PathBuf {
    config.state_directory().join(SOCKET)
}

impl Writer {
    /// Asks the daemon where one answers, else opens the store.
    ///
    /// # Errors
    /// Says what to do where neither works.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        let socket = socket_path(config);
        match Client::connect(&socket).await {
            Ok(client) => return Ok(Self::Daemon(client)),
            Err(error) if gone(&error) => {}
            Err(source) => return Err(OpenError::Socket { socket, source }),
        }
        let start = crate::daemon::StartError::from;
        make_directories(config)?;
        let (keyring, _) = Keyring::load_or_create(&config.key_file()).map_err(start)?;
        let keyring = Arc::new(keyring);
        let store = match Store::open(&store_options(config, Access::Write), Arc::clone(&keyring)).await {
            Ok(store) => store,
            Err(StoreError::Locked { .. }) => return Err(OpenError::Unreachable { socket }),
            Err(error) => return Err(OpenError::Start(error.into())),
        };
        let monitor = Monitor::folding(store.clone(), clock.clone(), Arc::new(Notify::new()), Metrics::new()?);
        Ok(Self::Direct(Box::new(Operator {
            store,
            keyring,
            clock,
            relay: config.relay.to_domains(),
            folding: Folding::Own(Box::new(Mutex::new(monitor))),
        })))
    }

    /// Does one call.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn call<C: Call>(&self, call: C) -> Result<C::Answer, CallError> {
        match self {
            Self::Daemon(client) => Ok(client.call(&call).await?),
            Self::Direct(operator) => Ok(call.run(operator).await?),
        }
    }

    /// Closes the store where it is open here.
    pub async fn close(self) {
        if let Self::Direct(operator) = self {
            operator.store.close().await;
        }
    }
}

/// Whether nobody listens there: no socket, or one that a crash has left.
fn gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

/// How long one step of a long operation may wait in the daemon before it tells how far it is.
const STEP_WAIT: Duration = Duration::from_millis(500);
