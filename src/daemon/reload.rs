//! SIGHUP: the configuration, all or nothing; the reply rules with it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::rules;
use crate::{
    classify::Rules,
    config::{Config, SYSTEM_FILE},
    ingest::reception::Reception,
    lifecycle::{BoxError, Commit, Preparing, Reload},
    model::RelayDomains,
    monitor::{settings::Settings, watching},
    notify::{self, Notifiers},
    telemetry::FilterHandle,
};

/// Reads the configuration again and puts it in force. Clones share all of it.
#[derive(Clone)]
pub(super) struct Reloader {
    current: Arc<Mutex<Config>>,
    /// Nothing where this process takes no reports in.
    reception: Option<Reception>,
    notifiers: Notifiers,
    /// The relay domains as the operators' calls see them.
    relay: watch::Sender<RelayDomains>,
    /// The reply rules, as well.
    rules: watch::Sender<Option<Arc<Rules>>>,
    filter: Option<FilterHandle>,
    /// What the watch over DNS goes by.
    watched: watch::Sender<Arc<watching::Settings>>,
    /// Where the journal's settings come from; nothing where this process takes no reports in.
    settings: Option<watch::Sender<Settings>>,
}

impl Reloader {
    pub(super) fn new(
        config: Config,
        reception: Option<Reception>,
        notifiers: Notifiers,
        (relay, rules): (watch::Sender<RelayDomains>, watch::Sender<Option<Arc<Rules>>>),
        watched: watch::Sender<Arc<watching::Settings>>,
        filter: Option<FilterHandle>,
        settings: Option<watch::Sender<Settings>>,
    ) -> Self {
        Self { current: Arc::new(Mutex::new(config)), reception, notifiers, relay, rules, filter, watched, settings }
    }

    fn prepare_now(&self) -> Result<Commit, BoxError> {
        let old = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let file: Option<PathBuf> = old.provenance.file.clone();
        let new = Config::load(file.as_deref(), Config::process_environment()).inspect_err(super::log_mistakes)?;
        let (new, left) = new.taken_up_by(&old);
        let rules = rules::rules(&new).inspect_err(rules::log_mistakes)?;
        let setup = self.reception.as_ref().map(|_| super::setup(&new, &rules)).transpose()?;
        let notify = notify::Setup::new(&new)?;
        let filter = self.filter.as_ref().map(|filter| filter.prepare(&new.log.level)).transpose()?;
        let (current, reception) = (Arc::clone(&self.current), self.reception.clone());
        let (notifiers, relay, settings) = (self.notifiers.clone(), self.relay.clone(), self.settings.clone());
        let (rules_in_force, watched) = (self.rules.clone(), self.watched.clone());
        let judged_by = setup.as_ref().map(|setup| super::settings_of(&new, setup));
        let mut changed = Config::changes(&old, &new);
        let before = self.rules.borrow().as_ref().map(|rules| rules.fingerprint());
        if before.is_some_and(|before| before != rules.fingerprint()) && !changed.iter().any(|name| name == "rules") {
            changed.push("rules".to_owned());
        }
        Ok(Box::new(move || {
            super::log_warnings(&new);
            for name in left {
                tracing::warn!("{name} has changed and needs a restart; until then the old settings stay in force");
            }
            let told = new.notify.slack.is_some() || new.notify.webhook.is_some();
            super::ground::warn_where_nobody_is_told(!new.feeds.paths().is_empty(), told);
            relay.send_replace(new.relay.to_domains());
            rules_in_force.send_replace(Some(rules));
            if let Some((reception, setup)) = reception.zip(setup) {
                reception.exchange(setup);
            }
            if let Some((settings, judged_by)) = settings.zip(judged_by) {
                settings.send_replace(judged_by);
            }
            notifiers.exchange(notify);
            watched.send_replace(Arc::new(watching::Settings::of(&new)));
            if let Some(filter) = filter {
                filter();
            }
            let file = new.provenance.file.as_ref().map_or_else(no_file, |file| file.display().to_string());
            let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
            tracing::info!(file, changed, "reloaded");
            *current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }))
    }
}

/// What is said where no file is read.
fn no_file() -> String {
    format!("no file: restart with --config FILE, or put it where it is looked for: {SYSTEM_FILE}")
}

impl Reload for Reloader {
    fn name(&self) -> &'static str {
        "the configuration"
    }

    fn prepare(&self) -> Preparing<'_> {
        // Files are read and rules made ready on a thread of their own: signals and deadlines are heeded meanwhile.
        let this = self.clone();
        Box::pin(async move { tokio::task::spawn_blocking(move || this.prepare_now()).await? })
    }
}
