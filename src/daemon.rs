//! The running program: what `serve` starts, and what tests and the demo start in themselves.

pub mod canary;
mod follow_up;
mod forget;
mod ground;
mod health;
mod intaking;
mod lead;
mod made;
mod reload;
mod role;
mod rules;

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::{
    canary::{
        courier::Courier,
        setup::{CanaryError, CanarySetup},
    },
    ground::Ground,
    intaking::Intaking,
    lead::Lead,
};
pub use self::{made::keys_are_lost, role::Role};

use tokio::{
    net::TcpListener,
    sync::{Mutex, Notify, watch},
};

pub use forget::{FORGET_AFTER_MILLIS, forget_due};
pub use health::Health;

use crate::{
    classify::Rules,
    clock::Clock,
    config::{AddressKeeping, Config, ConfigErrors, Mistake, Severity},
    control::{self, Folding, Operator, Retention, Running, Socket, socket_path},
    detect::Parameters,
    ingest::{
        http::feeds::{FeedError, Feeds},
        intake::Knowledge,
        reception::Setup,
        workers::Workers,
    },
    lifecycle::{Lifecycle, Tasks},
    monitor::{
        Progress,
        new_words::LastRead,
        settings::{self, Settings},
        watching,
    },
    notify::{self, Notifiers},
    privacy::{Keyring, PrivacyError},
    rule_files::{self, RuleFilesError},
    store::{Access, Store, StoreError, StoreOptions},
    telemetry::FilterHandle,
    web::{private, server},
};

/// How long it waits before it tries again to journal changed settings.
const SETTINGS_RETRY: Duration = Duration::from_secs(5);

/// How often a process looks whether the keys were rotated elsewhere.
const LOOK_AT_KEYS: Duration = Duration::from_secs(5);

/// Why the program can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory can't be made or written.
    #[error("the state directory {} can't be used; set STATE_DIRECTORY or [store] url and [privacy] key_file", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite knows no roles.
    #[error(
        "--role {0} needs PostgreSQL: a SQLite file has one daemon, which does everything; leave --role out \
         (RELAYWATCH_ROLE in the environment), or set [store] url to postgres://…"
    )]
    Role(Role),
    /// The store was made with keys that this process does not have.
    #[error(
        "the store is there and was made with other keys, and there is no key file {}; copy it from the process that made \
         the store, or point [privacy] key_file at it: all processes of one store need the same keys", path.display()
    )]
    NoKeys {
        /// Where the key file was looked for.
        path: PathBuf,
    },
    /// The keys can't be had.
    #[error(transparent)]
    Keys(#[from] PrivacyError),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listener can't be had.
    #[error("can't listen on {address} ([listen] {key}); is another program there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting.
        key: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A notifier can't be set up.
    #[error(transparent)]
    Notify(#[from] notify::SetupError),
    /// A feed can't be set up.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Canaries can't be set up.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The rules can't be read.
    #[error(transparent)]
    Rules(#[from] RuleFilesError),
    /// Two metrics share a name: a fault of this program.
    #[error("the metrics can't be registered")]
    Metrics(#[from] prometheus::Error),
    /// The HTTP client can't be built.
    #[error("the HTTP client can't be set up")]
    Client(#[from] reqwest::Error),
}

impl StartError {
    /// Whether a file or key is wrong that the settings name, whatever else is wrong with them.
    #[must_use]
    pub const fn is_of_a_named_file(&self) -> bool {
        match self {
            Self::Feed(error) => error.is_of_a_named_file(),
            Self::Notify(error) => matches!(error, notify::SetupError::WebhookSecret),
            Self::Rules(_) | Self::Canary(_) => true,
            _ => false,
        }
    }
}

/// What runs.
#[derive(Debug)]
pub struct Daemon {
    /// What it had to make since it was not there, a sentence each.
    pub made: Vec<String>,
    /// What it does.
    pub role: Role,
    /// Where the feeds are, where this process takes reports in.
    pub public: Option<SocketAddr>,
    /// Where pages, metrics and health are.
    pub private: SocketAddr,
    /// The store.
    pub store: Store,
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// Who is told; its bell is rung after something was put into the outbox.
    pub notifiers: Notifiers,
    /// Where its monitor stands.
    pub progress: watch::Receiver<Progress>,
    /// The names of the feeds.
    pub feeds: Vec<String>,
    /// Of those to which nobody posts: name, and where their reports come from.
    pub working: Vec<(String, String)>,
}

/// How the store is opened by this configuration.
#[must_use]
pub fn store_options(config: &Config, access: Access) -> StoreOptions {
    let connections = if config.store.url.is_sqlite() { config.store.readers } else { config.store.connections };
    StoreOptions {
        url: config.store.url.expose().to_owned(),
        access,
        connections,
        sealed: config.privacy.addresses == AddressKeeping::Sealed,
    }
}

/// Makes the directories that hold keys and database, readable by nobody else; gives those that were not there.
///
/// # Errors
/// Names the directory that can't be made.
pub fn make_directories(config: &Config) -> Result<Vec<PathBuf>, StartError> {
    let mut made_now = Vec::new();
    let database = config.store.url.sqlite_file();
    let keys = config.key_file();
    for folder in [keys.parent(), database.as_deref().and_then(Path::parent)].into_iter().flatten() {
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| StartError::State { path: folder.to_owned(), source })?;
            made_now.push(folder.to_owned());
        }
    }
    Ok(made_now)
}

/// Logs what may not work as meant in a configuration, each with its place and what to do.
pub fn log_warnings(config: &Config) {
    log(&config.provenance.warnings);
}

/// Logs the mistakes of a configuration that is refused, in the form of the warnings.
fn log_mistakes(errors: &ConfigErrors) {
    log(&errors.mistakes);
}

fn log(mistakes: &[Mistake]) {
    for mistake in mistakes {
        let Mistake { severity, path: setting, message, help, .. } = mistake;
        let place = mistake.stands_at();
        match severity {
            Severity::Error => tracing::error!(setting, place, help, "{message}"),
            Severity::Warning => tracing::warn!(setting, place, help, "{message}"),
        }
    }
}

/// Starts everything as critical tasks of `lifecycle`.
///
/// # Errors
/// Says what can't be had and what to do; nothing runs then.
pub async fn start(
    config: Config,
    role: Role,
    clock: Clock,
    lifecycle: &mut Lifecycle,
    filter: Option<FilterHandle>,
) -> Result<Daemon, StartError> {
    let Ground { made, public, private, metrics, rules, setup, opened, notifiers, keyring, store, feeds, working } =
        Ground::of(&config, role).await?;
    let public_address = public.as_ref().map(|public| address(public, "public")).transpose()?;
    let private_address = address(&private, "private")?;

    let tasks = lifecycle.tasks();
    heed_keys(&store, &keyring).await;
    tasks.spawn_critical("keys", watch_keys(store.clone(), Arc::clone(&keyring), tasks.soft()));
    let settings = match &setup {
        // Before anything is judged: an incident names the settings that it was judged under.
        Some(setup) => Some(keep_settings(settings_of(&config, setup), (&store, &clock), &tasks).await?),
        None => None,
    };
    let (wake, client) = (Arc::new(Notify::new()), crate::http_client::build(Duration::from_secs(10))?);
    let intake = Intaking { store: &store, keyring: &keyring, clock: &clock, metrics: &metrics, wake: &wake };
    let reception = setup.map(|setup| intake.start(setup, &notifiers, client.clone(), &tasks));

    let (relay, relay_in_force) = watch::channel(config.relay.to_domains());
    let (rules, rules_in_force) = watch::channel(Some(rules));
    let courier = Arc::new(Courier {
        setup: Arc::new(CanarySetup::new(&config)?),
        store: store.clone(),
        keyring: Arc::clone(&keyring),
        clock: clock.clone(),
        relay: relay_in_force.clone(),
        rules: rules_in_force.clone(),
        metrics: metrics.clone(),
        wake: Notify::new(),
        sending: Mutex::default(),
    });
    let (watched, watched_in_force) = watch::channel(Arc::new(watching::Settings::of(&config)));
    let lead = Lead {
        store: store.clone(),
        keyring: Arc::clone(&keyring),
        clock: clock.clone(),
        wake: Arc::clone(&wake),
        metrics: metrics.clone(),
        parameters: parameters(&config),
        notifiers: notifiers.clone(),
        client,
        settings: config.store.clone(),
        courier: Arc::clone(&courier),
        watched: watched_in_force,
        progress: watch::Sender::new(Progress::default()),
        leading: watch::Sender::new(false),
    };
    let (told, leads) = (lead.progress.subscribe(), lead.leading.subscribe());
    let operator = Operator {
        store: store.clone(),
        keyring: Arc::clone(&keyring),
        clock: clock.clone(),
        relay: relay_in_force,
        rules: rules_in_force,
        retention: Retention::of(&config),
        folding: Folding::Daemon { wake: Arc::clone(&wake), progress: told.clone(), leading: leads.clone() },
        running: Some(Running::new(role, &leads, reception.as_ref().zip(public_address), &metrics, lifecycle, courier)),
    };
    serve_commands(&config, operator, &tasks).await;
    let state = private::State {
        words: LastRead::default(),
        reload_refused: lifecycle.reload_refused(),
        has_file: config.provenance.file.is_some(),
        store: store.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        role,
        leading: leads,
        reception: reception.clone(),
        notifiers: notifiers.clone(),
        public: public_address,
        token: config.listen.private_token.clone(),
        previous_token: config.listen.previous_private_token.clone(),
    };
    let serving = server::serve(private, private::router(state), limits(&config), tasks.soft());
    tasks.spawn_critical("private listener", serving);
    if let (Some(public), Some(reception)) = (public, &reception) {
        intake.serve(public, opened, reception, &config, &tasks);
    }
    let reloader =
        reload::Reloader::new(config, reception, notifiers.clone(), (relay, rules), watched, filter, settings);
    lifecycle.on_reload(Arc::new(reloader));
    if role.monitors() {
        tasks.spawn_critical("monitor", lead.run(tasks.soft()));
    }
    tasks.spawn_critical("cluster", lead::watch_cluster(store.clone(), tasks.soft()));
    let (public, private, progress) = (public_address, private_address, told);
    Ok(Daemon { made, role, public, private, store, keyring, notifiers, progress, feeds, working })
}

/// What both listeners keep to.
fn limits(config: &Config) -> server::Limits {
    server::Limits {
        connections: usize::try_from(config.limits.max_connections).unwrap_or(usize::MAX),
        drain: config.lifecycle.drain(),
        ..server::Limits::default()
    }
}

/// Looks which key the store's users shall seal with, and says so where the key file lacks it.
async fn heed_keys(store: &Store, keyring: &Keyring) {
    match store.announced_key().await {
        Ok(Some(announced)) => keyring.keep_up(announced),
        Ok(None) => {}
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "the store does not tell its key"),
    }
}

/// Looks at the keys now and then: a process that commits seldom learns of a rotation too.
async fn watch_keys(
    store: Store,
    keyring: Arc<Keyring>,
    stop: tokio_util::sync::CancellationToken,
) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_AT_KEYS) => heed_keys(&store, &keyring).await,
        }
    }
}

/// Serves the commands that change something, where the state directory's socket can be had.
async fn serve_commands(config: &Config, operator: Operator, tasks: &Tasks) {
    let path = socket_path(config);
    match Socket::bind(&path).await {
        Ok(socket) => {
            let serving = control::serve(socket, Arc::new(operator), config.lifecycle.drain(), tasks.soft());
            tasks.spawn_critical("control socket", serving);
        }
        Err(error) => tracing::warn!(
            %error,
            socket = %path.display(),
            "no control socket: commands that change something will not work beside this process; give each process a \
             state directory of its own"
        ),
    }
}

/// Sets up what the configuration names (feeds with their files, notifiers) and lets it go again: what `config check` adds to
/// reading the file. Connects to nothing.
///
/// Gives everything that `serve` would refuse to start with, with the setting that it's about.
#[must_use]
pub fn verify(config: &Config) -> Vec<(String, StartError)> {
    let (_, mut wrong) = Feeds::build(config);
    wrong.extend(Workers::build(config).1);
    let canaries = CanarySetup::new(config).err();
    let mut wrong: Vec<_> = wrong.into_iter().map(|error| (error.setting().to_owned(), error.into())).collect();
    if let Err(error) = notify::Setup::new(config) {
        wrong.push((error.setting().to_owned(), error.into()));
    }
    wrong.extend(canaries.map(|error| (error.setting().to_owned(), error.into())));
    if let Err(RuleFilesError(errors)) = rule_files::of(config) {
        let each = errors.into_iter().map(|error| RuleFilesError(vec![error]));
        wrong.extend(each.map(|error| ("rules.folder".to_owned(), error.into())));
    }
    wrong
}

/// The detectors' parameters, by this configuration.
fn parameters(config: &Config) -> Parameters {
    let detect = &config.detect;
    let threshold_fleet = f64::from(detect.days_per_false_page);
    Parameters { threshold_fleet, max_streams: detect.max_streams, ..Parameters::default() }
}

/// The settings that judgements depend on, by this configuration.
fn settings_of(config: &Config, setup: &Setup) -> Settings {
    Settings::of(config, setup.exposures(), &setup.knowledge.rules, parameters(config))
}

/// Journals the settings, now and whenever they are exchanged through what this gives.
async fn keep_settings(
    settings: Settings,
    (store, clock): (&Store, &Clock),
    tasks: &Tasks,
) -> Result<watch::Sender<Settings>, StoreError> {
    settings::journal(store, &settings, clock.now()).await?;
    let (sender, receiver) = watch::channel(settings);
    tasks.spawn_critical("settings", journal_settings(receiver, store.clone(), clock.clone(), tasks.soft()));
    Ok(sender)
}

/// Journals the settings whenever a reload has changed them.
async fn journal_settings(
    mut settings: watch::Receiver<Settings>,
    store: Store,
    clock: Clock,
    stop: tokio_util::sync::CancellationToken,
) -> Result<(), Infallible> {
    loop {
        let changed = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = settings.changed() => changed,
        };
        if changed.is_err() {
            // Nobody can change them any more.
            stop.cancelled().await;
            return Ok(());
        }
        let new = settings.borrow_and_update().clone();
        while let Err(error) = settings::journal(&store, &new, clock.now()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the changed settings can't be journalled yet");
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = clock.sleep(SETTINGS_RETRY) => {}
            }
        }
    }
}

/// What the public listener works with, by this configuration.
fn setup(config: &Config, rules: &Arc<Rules>) -> Result<Setup, StartError> {
    Ok(Setup {
        feeds: Feeds::new(config)?,
        workers: Workers::new(config)?,
        knowledge: Knowledge {
            rules: Arc::clone(rules),
            relay: config.relay.to_domains(),
            retention: Some(Retention::of(config)),
        },
        body_bytes: usize::try_from(config.limits.body_bytes).unwrap_or(usize::MAX),
        request_timeout: config.limits.request_timeout(),
    })
}

fn address(listener: &TcpListener, key: &'static str) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen {
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        key,
        source,
    })
}
