//! SIGHUP: the configuration and the rules, all or nothing.

use std::{path::PathBuf, sync::Mutex, sync::PoisonError};

use tokio::sync::watch;

use crate::{
    config::Config,
    ingest::http::endpoint::Endpoint,
    lifecycle::{BoxError, Commit, Preparing, Reload},
    monitor::settings::Settings,
    notify::{self, Notifiers},
    telemetry::FilterHandle,
};

/// Reads the configuration again and puts it in force.
pub(super) struct Reloader {
    current: std::sync::Arc<Mutex<Config>>,
    endpoint: Endpoint,
    notifiers: Notifiers,
    filter: Option<FilterHandle>,
    settings: watch::Sender<Settings>,
}

impl Reloader {
    pub(super) fn new(
        config: Config,
        endpoint: Endpoint,
        notifiers: Notifiers,
        filter: Option<FilterHandle>,
        settings: watch::Sender<Settings>,
    ) -> Self {
        Self { current: std::sync::Arc::new(Mutex::new(config)), endpoint, notifiers, filter, settings }
    }

    fn prepare_now(&self) -> Result<Commit, BoxError> {
        let old = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let file: Option<PathBuf> = old.provenance.file.clone();
        let new = Config::load(file.as_deref(), Config::process_environment())?;
        let (new, sections) = new.taken_up_by(&old);
        for section in sections {
            tracing::warn!("[{section}] has changed and needs a restart; until then the old settings stay in force");
        }
        let setup = super::setup(&new)?;
        let notify = notify::Setup::new(&new)?;
        let filter = self.filter.as_ref().map(|filter| filter.prepare(&new.log.level)).transpose()?;
        let (current, endpoint) = (std::sync::Arc::clone(&self.current), self.endpoint.clone());
        let (notifiers, settings) = (self.notifiers.clone(), self.settings.clone());
        let judged_by = super::settings_of(&new, &setup);
        Ok(Box::new(move || {
            endpoint.exchange(setup);
            settings.send_replace(judged_by);
            notifiers.exchange(notify);
            if let Some(filter) = filter {
                filter();
            }
            *current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }))
    }
}

impl Reload for Reloader {
    fn name(&self) -> &'static str {
        "the configuration"
    }

    fn prepare(&self) -> Preparing<'_> {
        Box::pin(async move { self.prepare_now() })
    }
}
