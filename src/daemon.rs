//! The running program: what `serve` starts, and what tests and the demo start in themselves.

mod follow_up;
mod reload;

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
};

use crate::{
    classify::{Rules, RulesError},
    clock::Clock,
    config::{AddressKeeping, Config},
    control::{self, Folding, Operator, Socket, socket_path},
    detect::Parameters,
    ingest::{
        alive,
        committer::committer,
        http::{
            endpoint::{Endpoint, Setup},
            feeds::{FeedError, Feeds},
        },
        intake::{Intake, Knowledge},
    },
    lifecycle::{Lifecycle, Tasks},
    metrics::Metrics,
    model::DAY_MILLIS,
    monitor::{
        Monitor, Progress,
        settings::{self, Settings},
    },
    notify::{self, Notifiers, heartbeat},
    privacy::{Keyring, PrivacyError},
    store::{Access, Store, StoreError, StoreOptions},
    telemetry::FilterHandle,
    web::{private, server},
};

/// Transactions that PostgreSQL takes at a time from one process.
const POSTGRES_WRITERS: usize = 3;
/// Follow-ups that may wait.
const FOLLOW_UPS: usize = 64;
/// How often what has outlived its retention is let go.
const EXPIRY: Duration = Duration::from_hours(1);

/// How long it waits before it tries again to journal changed settings.
const SETTINGS_RETRY: Duration = Duration::from_secs(5);

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
    /// The rules can't be read.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Two metrics share a name: a fault of this program.
    #[error("the metrics can't be registered")]
    Metrics(#[from] prometheus::Error),
    /// The HTTP client can't be built.
    #[error("the HTTP client can't be set up")]
    Client(#[from] reqwest::Error),
}

/// What runs.
#[derive(Debug)]
pub struct Daemon {
    /// Where the feeds are.
    pub public: SocketAddr,
    /// Where pages, metrics and health are.
    pub private: SocketAddr,
    /// The store.
    pub store: Store,
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// Who is told; its bell is rung after something was put into the outbox.
    pub notifiers: Notifiers,
    /// Where the monitor stands.
    pub progress: watch::Receiver<Progress>,
    /// The paths of the feeds.
    pub feeds: Vec<String>,
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

/// Makes the directories that hold keys and database, readable by nobody else.
///
/// # Errors
/// Names the directory that can't be made.
pub fn make_directories(config: &Config) -> Result<(), StartError> {
    let database = config.store.url.sqlite_file();
    let keys = config.key_file();
    for folder in [keys.parent(), database.as_deref().and_then(Path::parent)].into_iter().flatten() {
        if !folder.as_os_str().is_empty() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| StartError::State { path: folder.to_owned(), source })?;
        }
    }
    Ok(())
}

/// Starts everything as critical tasks of `lifecycle`.
///
/// # Errors
/// Says what can't be had and what to do; nothing runs then.
pub async fn start(
    config: Config,
    clock: Clock,
    lifecycle: &mut Lifecycle,
    filter: Option<FilterHandle>,
) -> Result<Daemon, StartError> {
    make_directories(&config)?;
    let keyring = keys(&config)?;
    let public = bind(config.listen.public.0, "public").await?;
    let private = bind(config.listen.private.0, "private").await?;
    let metrics = Metrics::new()?;
    let setup = setup(&config)?;
    let notifiers = Notifiers::new(notify::Setup::new(&config)?);
    let store = Store::open(&store_options(&config, Access::Write), Arc::clone(&keyring)).await?;
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), store.engine()]).set(1);
    // Before anything is judged: an incident names the settings that it was judged under.
    let (settings_sender, settings_receiver) = watch::channel(settings_of(&config, &setup));
    settings::journal(&store, &settings_sender.borrow().clone(), clock.now()).await?;
    let feeds: Vec<String> = setup.feeds.paths().into_iter().map(ToOwned::to_owned).collect();

    let tasks = lifecycle.tasks();
    let wake = Arc::new(Notify::new());
    let (committer, writers) = committer(&store, &metrics, &wake, POSTGRES_WRITERS);
    for (number, writer) in writers.into_iter().enumerate() {
        tasks.spawn_critical(format!("writer {number}"), async move {
            writer.run().await;
            Ok::<(), Infallible>(())
        });
    }

    let (sender, receiver) = mpsc::channel(FOLLOW_UPS);
    let client = crate::http_client::build(Duration::from_secs(10))?;
    tasks.spawn_critical("follow-ups", follow_up::run(receiver, client.clone(), tasks.soft()));

    let intake = Intake::new(Arc::clone(&keyring), committer, metrics.clone()).ringing(notifiers.wake());
    let concurrent = usize::try_from(config.limits.max_concurrent_requests).unwrap_or(usize::MAX);
    let endpoint = Endpoint::new(setup, intake, clock.clone(), metrics.clone(), concurrent, sender);
    let limits = server::Limits {
        connections: usize::try_from(config.limits.max_connections).unwrap_or(usize::MAX),
        drain: config.lifecycle.drain(),
        ..server::Limits::default()
    };
    let (public_address, private_address) = (address(&public, "public")?, address(&private, "private")?);

    let monitor = Monitor::new(
        store.clone(),
        clock.clone(),
        Arc::clone(&wake),
        metrics.clone(),
        parameters(&config),
        notifiers.clone(),
    );
    let progress = monitor.progress();
    let worker =
        notify::Worker::new(&notifiers, store.clone(), clock.clone(), client.clone(), metrics.clone(), tasks.soft());
    tasks.spawn_critical("outbox", worker.run());
    let steps = {
        let progress = progress.clone();
        move || {
            let progress = *progress.borrow();
            progress.caught_up.wrapping_add(progress.folded)
        }
    };
    let life =
        heartbeat::run(notifiers.clone(), store.clone(), steps, client, clock.clone(), metrics.clone(), tasks.soft());
    tasks.spawn_critical("heartbeat", life);
    let operator = Operator {
        store: store.clone(),
        keyring: Arc::clone(&keyring),
        clock: clock.clone(),
        relay: config.relay.to_domains(),
        folding: Folding::Daemon { wake, progress: progress.clone() },
    };
    match Socket::bind(&socket_path(&config)).await {
        Ok(socket) => {
            let serving = control::serve(socket, Arc::new(operator), config.lifecycle.drain(), tasks.soft());
            tasks.spawn_critical("control socket", serving);
        }
        Err(error) => tracing::warn!(
            %error,
            socket = %socket_path(&config).display(),
            "no control socket: commands that change something will not work beside this process"
        ),
    }
    let state_metrics = metrics.clone();
    let state = private::State {
        store: store.clone(),
        metrics,
        clock: clock.clone(),
        endpoint: endpoint.clone(),
        public: public_address,
        token: config.listen.private_token.clone(),
        previous_token: config.listen.previous_private_token.clone(),
    };
    tasks.spawn_critical("private listener", server::serve(private, private::router(state), limits, tasks.soft()));
    lifecycle.on_reload(Arc::new(reload::Reloader::new(
        config.clone(),
        endpoint.clone(),
        notifiers.clone(),
        filter,
        settings_sender,
    )));
    spawn_own_facts(&tasks, settings_receiver, (&store, &clock), &endpoint, state_metrics);
    tasks.spawn_critical("public listener", server::serve(public, endpoint.router(), limits, tasks.soft()));
    tasks.spawn_critical("monitor", monitor.run(tasks.soft()));
    tasks.spawn_critical("retention", expire(store.clone(), clock, config.store.clone(), tasks.soft()));
    Ok(Daemon { public: public_address, private: private_address, store, keyring, notifiers, progress, feeds })
}

/// The keys, made where there are none.
fn keys(config: &Config) -> Result<Arc<Keyring>, PrivacyError> {
    let (keyring, made) = Keyring::load_or_create(&config.key_file())?;
    if made {
        tracing::warn!(
            file = %config.key_file().display(),
            "made a new key file; back it up apart from the database: without it no stored address can be read"
        );
    }
    Ok(Arc::new(keyring))
}

/// Sets up what the configuration names (feeds with their files, notifiers) and lets it go again: what `config check` adds to
/// reading the file. Connects to nothing.
///
/// # Errors
/// What `serve` would refuse to start with.
pub fn verify(config: &Config) -> Result<(), StartError> {
    setup(config)?;
    notify::Setup::new(config)?;
    Ok(())
}

/// The detectors' parameters, by this configuration.
fn parameters(config: &Config) -> Parameters {
    Parameters { threshold_fleet: f64::from(config.detect.days_per_false_page), ..Parameters::default() }
}

/// The settings that judgements depend on, by this configuration.
fn settings_of(config: &Config, setup: &Setup) -> Settings {
    Settings::of(config, setup.feeds.exposures(), setup.knowledge.rules.version(), parameters(config))
}

/// Starts what appends facts of relaywatch's own: settings that change, signs of life, blind windows.
fn spawn_own_facts(
    tasks: &Tasks,
    settings: watch::Receiver<Settings>,
    (store, clock): (&Store, &Clock),
    endpoint: &Endpoint,
    metrics: Metrics,
) {
    tasks.spawn_critical("settings", journal_settings(settings, store.clone(), clock.clone(), tasks.soft()));
    let life = alive::run(store.clone(), clock.clone(), endpoint.deliveries(), metrics, tasks.soft());
    tasks.spawn_critical("signs of life", life);
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
fn setup(config: &Config) -> Result<Setup, StartError> {
    let rules = Arc::new(Rules::built_in()?);
    Ok(Setup {
        feeds: Feeds::new(config)?,
        knowledge: Knowledge { rules, relay: config.relay.to_domains() },
        body_bytes: usize::try_from(config.limits.body_bytes).unwrap_or(usize::MAX),
        request_timeout: config.limits.request_timeout(),
    })
}

async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, key, source })
}

fn address(listener: &TcpListener, key: &'static str) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen {
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        key,
        source,
    })
}

/// Lets go what has outlived its retention, now and then.
async fn expire(
    store: Store,
    clock: Clock,
    settings: crate::config::Store,
    stop: tokio_util::sync::CancellationToken,
) -> Result<(), Infallible> {
    loop {
        let now = clock.now().as_millis();
        let before = |days: u32| now - i64::from(days) * DAY_MILLIS;
        let deliveries = before(settings.retention_deliveries_days);
        match store.expire(now, deliveries, before(settings.retention_refusals_days)).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "let go what has outlived its retention"),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "old rows could not be let go; trying again later"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = clock.sleep(EXPIRY) => {}
        }
    }
}
