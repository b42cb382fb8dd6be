//! What operators change: one list of calls, run by the daemon for the commands that reach it through its Unix socket, or
//! by the command itself where no daemon runs.
//!
//! A SQLite file has one writer, so beside a running daemon a command can only ask it. Calls are short: what takes long is
//! a sequence of steps that the command drives, so that it can show how far it is and be stopped.

mod calls;
mod canary;
mod client;
mod import;
mod relabel;
mod server;
mod standing;

pub(crate) use self::{
    calls::MAX_ACCOUNTS,
    import::{MAX_EVENTS, MAX_FILES},
};

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Mutex, Notify, watch};

pub use self::{
    calls::{
        AcceptNormal, Account, Call, CloseIncident, ForgetAddress, ForgetOldKeys, Forgotten, ImportAccounts, Imported,
        JournalAside, JournalRecovery, LabelIncident, OldKeys, Rebuild, RebuildStarted, RebuildStep, RebuildStepped,
        Reseal, Resealed, RotateKeys, Rotated,
    },
    canary::{CanarySent, SendCanary},
    client::{Client, ClientError},
    import::{AskImport, EventsImported, FileDone, FileId, ImportEvents, ImportedSoFar, digest},
    relabel::{
        AskRules, Classified, Classifier, EndRelabel, Relabel, RelabelEnded, RelabelStep, RelabelStepped, Relabelling,
        RulesInForce, STRETCH,
    },
    server::{Socket, serve},
    standing::{AskStanding, FeedStanding, Running, Standing},
};
pub use crate::ingest::kept::Retention;
use crate::{
    classify::Rules,
    clock::Clock,
    config::Config,
    daemon::{make_directories, store_options},
    incident::IncidentError,
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
    /// The metrics of a command's own monitor can't be made: a fault of this program.
    #[error("the metrics can't be registered")]
    Metrics(#[from] prometheus::Error),
    /// A canary can't be sent now.
    #[error(transparent)]
    Held(#[from] crate::daemon::canary::courier::Held),
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
        /// Whether this process leads: where another one does, only the store tells how far it is.
        leading: watch::Receiver<bool>,
    },
    /// A monitor of the command's own, where nobody leads; made when there is something to fold.
    Own {
        /// The monitor, while there is one.
        monitor: Box<Mutex<Option<Monitor>>>,
        /// How many finest streams of one day it tells apart.
        max_streams: u32,
    },
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
    /// Which domains hold relay addresses, by the settings in force.
    pub relay: watch::Receiver<RelayDomains>,
    /// The reply rules in force; a command that needs none has none.
    pub rules: watch::Receiver<Option<Arc<Rules>>>,
    /// For how long what happened is kept.
    pub retention: Retention,
    /// Who folds the journal.
    pub folding: Folding,
    /// The daemon that it works in; none in a command.
    pub running: Option<Running>,
}

/// Why nothing could be changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store is another process's, and that process has no socket here.
    #[error(
        "the store is open for writing elsewhere, and no daemon answers at {}. If a command such as `import` runs, wait for its \
         end; if it is a daemon, run this as its user, with its configuration and STATE_DIRECTORY", socket.display()
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
    /// There is nothing to change.
    #[error(
        "there is no store yet: {} is not there. `relaywatch serve` makes it, and so do `import` and `accounts import` with \
         --create; if there is one elsewhere, give this command the daemon's configuration and STATE_DIRECTORY",
        missing
    )]
    NoStore {
        /// What is missing.
        missing: String,
    },
    /// The directories of a first start can't be made, or the keys or the store can't be had.
    #[error(transparent)]
    Start(#[from] crate::daemon::StartError),
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
    /// Asks the daemon where one answers, else opens the store, which must be there: a command that is told the wrong
    /// directory shall not make a new one.
    ///
    /// # Errors
    /// Says what to do where neither works.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        if let Some(client) = Self::daemon(config).await? {
            return Ok(client);
        }
        match missing(config).await? {
            Some(missing) => Err(OpenError::NoStore { missing }),
            None => Self::direct(config, clock).await,
        }
    }

    /// As [`Writer::open`], but makes the store where there is none; tells what was missing then.
    ///
    /// # Errors
    /// Says what to do where it can't be had.
    pub async fn open_or_new(config: &Config, clock: Clock) -> Result<(Self, Option<String>), OpenError> {
        if let Some(client) = Self::daemon(config).await? {
            return Ok((client, None));
        }
        let missing = missing(config).await?;
        Ok((Self::direct(config, clock).await?, missing))
    }

    /// The same with the rules that it shall go by; a daemon goes by its own.
    #[must_use]
    pub fn with_rules(mut self, rules: Arc<Rules>) -> Self {
        if let Self::Direct(operator) = &mut self {
            operator.rules = watch::channel(Some(rules)).1;
        }
        self
    }

    /// The daemon, where one answers.
    ///
    /// # Errors
    /// Where its socket is there and can't be used.
    pub async fn daemon(config: &Config) -> Result<Option<Self>, OpenError> {
        let socket = socket_path(config);
        match Client::connect(&socket).await {
            Ok(client) => Ok(Some(Self::Daemon(client))),
            Err(error) if gone(&error) => Ok(None),
            Err(source) => Err(OpenError::Socket { socket, source }),
        }
    }

    /// The store, open here.
    async fn direct(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        let socket = socket_path(config);
        let start = crate::daemon::StartError::from;
        make_directories(config)?;
        let (keyring, _) = Keyring::load_or_create(&config.key_file()).map_err(start)?;
        let keyring = Arc::new(keyring);
        let store = match Store::open(&store_options(config, Access::Write), Arc::clone(&keyring)).await {
            Ok(store) => store,
            Err(StoreError::Locked { .. }) => return Err(OpenError::Unreachable { socket }),
            Err(error) => return Err(OpenError::Start(error.into())),
        };
        Ok(Self::Direct(Box::new(Operator {
            store,
            keyring,
            clock,
            relay: watch::channel(config.relay.to_domains()).1,
            rules: watch::channel(None).1,
            retention: Retention::of(config),
            folding: Folding::Own { monitor: Box::default(), max_streams: config.detect.max_streams },
            running: None,
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

/// What is missing of the store that the configuration names; nothing where it's there.
async fn missing(config: &Config) -> Result<Option<String>, OpenError> {
    let there = |path: &std::path::Path| path.try_exists().unwrap_or(true);
    let key_file = config.key_file();
    let files = std::iter::once(key_file.clone()).chain(config.store.url.sqlite_file());
    if let Some(file) = files.into_iter().find(|file| !there(file)) {
        return Ok(Some(file.display().to_string()));
    }
    if config.store.url.is_sqlite() {
        return Ok(None);
    }
    let start = crate::daemon::StartError::from;
    let keyring = Arc::new(Keyring::load(&key_file).map_err(start)?);
    match Store::open(&store_options(config, Access::Read), keyring).await {
        Ok(store) => {
            store.close().await;
            Ok(None)
        }
        Err(error) if error.is_without_tables() => {
            Ok(Some("what `serve` puts into the database of [store] url".to_owned()))
        }
        // An older schema is there all the same; whatever else is wrong shows again when it's opened for writing.
        Err(_) => Ok(None),
    }
}

/// Whether nobody listens there: no socket, or one that a crash has left.
fn gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

/// How long one step of a long operation may wait in the daemon before it tells how far it is.
const STEP_WAIT: Duration = Duration::from_millis(500);
