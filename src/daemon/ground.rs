//! What a process stands on: everything that has to be had before any task runs.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{
    Role, StartError,
    made::{open, say_directories},
    make_directories, rules, setup,
};
use crate::{
    classify::Rules,
    config::Config,
    ingest::{
        reception::Setup,
        workers::{Opened, Worker},
    },
    metrics::Metrics,
    notify::{self, Notifiers},
    privacy::Keyring,
    store::Store,
};

/// What was had.
pub(super) struct Ground {
    /// What had to be made since it was not there, a sentence each.
    pub(super) made: Vec<String>,
    /// Where the feeds will be, where this process takes reports in.
    pub(super) public: Option<TcpListener>,
    /// Where pages, metrics and health will be.
    pub(super) private: TcpListener,
    pub(super) metrics: Metrics,
    pub(super) rules: Arc<Rules>,
    /// The feeds, where this process takes reports in.
    pub(super) setup: Option<Setup>,
    /// Of the feeds to which nobody posts, what they have opened.
    pub(super) opened: Vec<(Worker, Opened)>,
    pub(super) notifiers: Notifiers,
    pub(super) keyring: Arc<Keyring>,
    pub(super) store: Store,
    /// The names of all feeds.
    pub(super) feeds: Vec<String>,
    /// Of those to which nobody posts: name, and where their reports come from.
    pub(super) working: Vec<(String, String)>,
}

impl Ground {
    /// Gets hold of all of it.
    ///
    /// # Errors
    /// Says what can't be had and what to do.
    pub(super) async fn of(config: &Config, role: Role) -> Result<Self, StartError> {
        if config.store.url.is_sqlite() && role != Role::All {
            return Err(StartError::Role(role));
        }
        let mut made = say_directories(&make_directories(config)?);
        let public = if role.ingests() { Some(bind(config.listen.public.0, "public").await?) } else { None };
        let private = bind(config.listen.private.0, "private").await?;
        let metrics = Metrics::new()?;
        let rules = rules::rules(config)?;
        let setup = if role.ingests() { Some(setup(config, &rules)?) } else { None };
        let notifiers = Notifiers::new(notify::Setup::new(config)?);
        let (keyring, store) = open(config, &mut made).await?;
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), store.engine(), role.as_str()]).set(1);
        let (feeds, working) = setup.as_ref().map_or_else(Default::default, feeds_of);
        let opened = if let Some(setup) = &setup { setup.workers.open().await? } else { Vec::new() };
        warn_where_nobody_is_told(role == Role::Monitor || !feeds.is_empty(), notifiers.reach_somebody());
        Ok(Self { made, public, private, metrics, rules, setup, opened, notifiers, keyring, store, feeds, working })
    }
}

/// Says that nobody is told of trouble where reports come in.
pub(super) fn warn_where_nobody_is_told(feeds: bool, notifiers: bool) {
    if feeds && !notifiers {
        tracing::warn!(
            "no notifier is configured: incidents are recorded and nobody is told of them; set [notify.slack] or \
             [notify.webhook]"
        );
    }
}

/// The names of all feeds, and of those to which nobody posts also where their reports come from.
fn feeds_of(setup: &Setup) -> (Vec<String>, Vec<(String, String)>) {
    let working = setup.workers.iter().map(|worker| (worker.name.name.clone(), worker.place()));
    (setup.exposures().into_keys().collect(), working.collect())
}

async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, key, source })
}
