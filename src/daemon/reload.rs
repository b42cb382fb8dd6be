//! SIGHUP: the configuration and the rules, all or nothing.

use std::{path::PathBuf, sync::Mutex, sync::PoisonError};

use crate::{
    config::Config,
    ingest::http::endpoint::Endpoint,
    lifecycle::{BoxError, Commit, Preparing, Reload},
    notify::{self, Notifiers},
    telemetry::FilterHandle,
};

/// Reads the configuration again and puts it in force.
pub(super) struct Reloader {
    current: std::sync::Arc<Mutex<Config>>,
    /// Nothing where this process takes no reports in.
    endpoint: Option<Endpoint>,
    notifiers: Notifiers,
    filter: Option<FilterHandle>,
}

impl Reloader {
    pub(super) fn new(
        config: Config,
        endpoint: Option<Endpoint>,
        notifiers: Notifiers,
        filter: Option<FilterHandle>,
    ) -> Self {
        Self { current: std::sync::Arc::new(Mutex::new(config)), endpoint, notifiers, filter }
    }

    fn prepare_now(&self) -> Result<Commit, BoxError> {
        let old = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let file: Option<PathBuf> = old.provenance.file.clone();
        let new = Config::load(file.as_deref(), Config::process_environment())?;
        let (new, sections) = new.taken_up_by(&old);
        for section in sections {
            tracing::warn!("[{section}] has changed and needs a restart; until then the old settings stay in force");
        }
        let endpoint = self.endpoint.clone();
        let setup = endpoint.as_ref().map(|_| super::setup(&new)).transpose()?;
        let notify = notify::Setup::new(&new)?;
        let filter = self.filter.as_ref().map(|filter| filter.prepare(&new.log.level)).transpose()?;
        let current = std::sync::Arc::clone(&self.current);
        let notifiers = self.notifiers.clone();
        Ok(Box::new(move || {
            if let Some((endpoint, setup)) = endpoint.zip(setup) {
                endpoint.exchange(setup);
            }
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
