//! Leading: one process at a time folds, judges, announces, sends and lets old rows go. The others stand by.
//!
//! Everything that a reign has in memory begins with it and ends with it: whoever leads again loads the store anew.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    canary::{self, courier::Courier},
    forget,
    health::Health,
};
use crate::{
    clock::Clock,
    config,
    detect::Parameters,
    metrics::Metrics,
    model::DAY_MILLIS,
    monitor::{
        Monitor, Progress,
        watching::{self, Watching},
    },
    notify::{Notifiers, Worker, WorkerError, heartbeat},
    privacy::Keyring,
    store::{Leader, Store, StoreError},
};

/// How often a process that stands by looks whether nobody leads.
const LOOK_FOR_LEAD: Duration = Duration::from_secs(1);
/// How often old rows are let go.
const EXPIRY: Duration = Duration::from_hours(1);
/// How often a process looks whether its database is still the same one.
const LOOK_AT_CLUSTER: Duration = Duration::from_secs(5);

/// Why a process that leads or stands by has to end.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeadError {
    /// The store holds what this version doesn't know, or is another one.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Sending failed for good.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A part of the reign panicked: a fault of the program.
    #[error("a task of the leader panicked")]
    Panicked(#[source] JoinError),
    /// A part of the reign ended by itself: a fault of the program.
    #[error("a task of the leader returned although it should run until shutdown")]
    Returned,
}

impl LeadError {
    /// Whether only the reign is over.
    const fn is_loss(&self) -> bool {
        matches!(self, Self::Store(StoreError::NotLeading) | Self::Worker(WorkerError::Store(StoreError::NotLeading)))
    }
}

/// What a reign works with.
pub(super) struct Lead {
    pub(super) store: Store,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: Clock,
    pub(super) wake: Arc<Notify>,
    pub(super) metrics: Metrics,
    pub(super) parameters: Parameters,
    pub(super) notifiers: Notifiers,
    pub(super) client: reqwest::Client,
    pub(super) settings: config::Store,
    /// Who sends canaries.
    pub(super) courier: Arc<Courier>,
    /// What the watch over DNS goes by.
    pub(super) watched: watch::Receiver<Arc<watching::Settings>>,
    /// Where the monitor of each reign tells where it stands.
    pub(super) progress: watch::Sender<Progress>,
    /// Whether this process leads.
    pub(super) leading: watch::Sender<bool>,
}

impl Lead {
    /// Stands by, leads, stands by again, until it's told to stop; gives the lead up then.
    ///
    /// # Errors
    /// Where the store holds what this version doesn't know, or a part of the reign fails for good.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), LeadError> {
        // Only for people: the epoch tells the reigns apart.
        let holder = format!("{:016x}", rand::random::<u64>());
        while let Some((leader, granted)) = self.stand_by(&holder, &stop).await? {
            let epoch = leader.epoch().number();
            tracing::info!(epoch, holder, "this process leads the monitors");
            self.metrics.leader_epoch.set(epoch);
            self.show(true);
            let ended = self.reign(&leader, granted, &stop).await;
            self.show(false);
            match ended {
                Err(error) if error.is_loss() => {
                    tracing::warn!(epoch, holder, "this process no longer leads the monitors: it stands by");
                }
                ended => {
                    if let Err(error) = leader.release().await {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, epoch, "the lead could not be given up; it ends by itself");
                    }
                    return ended;
                }
            }
        }
        Ok(())
    }

    fn show(&self, leads: bool) {
        self.leading.send_replace(leads);
        self.metrics.leader.set(i64::from(leads));
        if !leads {
            // Whoever leads now shows the outbox.
            self.metrics.outbox_waiting.set(0);
            self.metrics.outbox_oldest_due.set(0);
            // And what else only a leader sees.
            self.metrics.blind_windows.reset();
            self.metrics.canary_missing.reset();
            self.metrics.canary_reader_healthy.reset();
            self.metrics.canary_last_read.reset();
            self.metrics.source_fit.reset();
            self.metrics.dns_watched.set(0);
            self.metrics.dns_blind.set(0);
            self.metrics.dns_lag.set(0);
            self.metrics.feed_mismatches.reset();
            self.metrics.journal_held_up.set(0);
            self.store.hold_up(false);
            self.metrics.outbox_oldest.set(0);
        }
    }

    /// Waits until this process leads; gives the reign and when it was asked for, or nothing where it's told to stop.
    async fn stand_by(&self, holder: &str, stop: &CancellationToken) -> Result<Option<(Leader, Instant)>, StoreError> {
        let mut told = false;
        while !stop.is_cancelled() {
            let asked = Instant::now();
            // Not broken off by the token: a lead that is taken and not given up lasts for a term.
            match self.store.lead(holder, self.settings.lease()).await {
                Ok(Some(leader)) => return Ok(Some((leader, asked))),
                Ok(None) if !told => {
                    told = true;
                    tracing::info!(holder, "another process leads the monitors: this one stands by");
                }
                Ok(None) => {}
                Err(error) if error.is_transient() => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the lead cannot be asked for; trying again");
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK_FOR_LEAD) => {}
            }
        }
        Ok(None)
    }

    /// Leads until it's told to stop and all is finished, or until the lead is lost: then everything stops at once.
    async fn reign(&self, leader: &Leader, granted: Instant, stop: &CancellationToken) -> Result<(), LeadError> {
        let mut tasks = self.start(leader, stop);
        let keeping = self.keep(leader, granted);
        tokio::pin!(keeping);
        let ended = loop {
            tokio::select! {
                error = &mut keeping => break Err(LeadError::Store(error)),
                ended = tasks.join_next() => match ended {
                    None => break Ok(()),
                    Some(Ok(Ok(()))) if stop.is_cancelled() => {}
                    Some(Ok(Ok(()))) => break Err(LeadError::Returned),
                    Some(Ok(Err(error))) => break Err(error),
                    Some(Err(join)) => break Err(LeadError::Panicked(join)),
                },
            }
        };
        // What is cut off was not recorded: a transaction is rolled back, a sending comes again, marked.
        tasks.shutdown().await;
        ended
    }

    fn start(&self, leader: &Leader, stop: &CancellationToken) -> JoinSet<Result<(), LeadError>> {
        let mut tasks = JoinSet::new();
        let monitor = Monitor::new(
            leader.clone(),
            self.clock.clone(),
            Arc::clone(&self.wake),
            self.metrics.clone(),
            self.parameters.clone(),
            self.notifiers.clone(),
        )
        .telling(self.progress.clone());
        let running = monitor.run(stop.clone());
        tasks.spawn(async { Ok(running.await?) });

        let (client, metrics) = (self.client.clone(), self.metrics.clone());
        let worker = Worker::new(&self.notifiers, leader.clone(), self.clock.clone(), client, metrics, stop.clone());
        tasks.spawn(async { Ok(worker.run().await?) });

        let (notifiers, metrics) = (self.notifiers.clone(), self.metrics.clone());
        let health = Health::new(leader.clone(), notifiers, metrics, self.parameters.clone());
        let (trouble, looking) = (health.trouble(), health.run(self.clock.clone(), stop.clone()));
        tasks.spawn(async { Ok(looking.await?) });

        let progress = self.progress.subscribe();
        let steps = move || {
            let progress = *progress.borrow();
            trouble.borrow().map_or_else(|| Ok(progress.caught_up.wrapping_add(progress.folded)), Err)
        };
        let life = heartbeat::run(
            self.notifiers.clone(),
            leader.store().clone(),
            steps,
            self.client.clone(),
            self.clock.clone(),
            self.metrics.clone(),
            stop.clone(),
        );
        tasks.spawn(async { life.await.map_err(|never| match never {}) });

        let canaries = canary::run(Arc::clone(&self.courier), leader.clone(), self.notifiers.clone(), stop.clone());
        tasks.spawn(async { Ok(canaries.await?) });
        let watching = Watching::new(
            leader.clone(),
            Arc::clone(&self.keyring),
            self.clock.clone(),
            self.notifiers.clone(),
            self.metrics.clone(),
            self.watched.clone(),
        );
        let watching = watching.run(stop.clone());
        tasks.spawn(async { Ok(watching.await?) });

        let forgetting = forget::run(leader.clone(), Arc::clone(&self.keyring), self.clock.clone(), stop.clone());
        tasks.spawn(async { Ok(forgetting.await?) });

        let expiring = expire(leader.clone(), self.clock.clone(), self.settings.clone(), stop.clone());
        tasks.spawn(async { Ok(expiring.await?) });
        tasks
    }

    /// Renews the lease, well inside its term; returns when it is lost.
    async fn keep(&self, leader: &Leader, granted: Instant) -> StoreError {
        if leader.file().is_some() {
            // Nobody else can have the file.
            return std::future::pending().await;
        }
        let term = self.settings.lease();
        let mut until = granted + term;
        let mut wait = term / 3;
        loop {
            tokio::time::sleep(wait).await;
            let asked = Instant::now();
            match tokio::time::timeout_at(until.into(), leader.renew(term)).await {
                Ok(Ok(())) => (until, wait) = (asked + term, term / 3),
                Ok(Err(error)) if error.is_transient() && Instant::now() < until => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the lead could not be renewed; trying again");
                    wait = term / 10;
                }
                Ok(Err(error)) if !error.is_transient() => return error,
                Ok(Err(_)) | Err(_) => return StoreError::NotLeading,
            }
        }
    }
}

/// Lets go what has outlived its retention, now and then.
async fn expire(
    leader: Leader,
    clock: Clock,
    settings: config::Store,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    loop {
        let now = clock.now().as_millis();
        let before = |days: u32| now - i64::from(days) * DAY_MILLIS;
        let deliveries = before(settings.retention_deliveries_days);
        match leader.expire(now, deliveries, before(settings.retention_refusals_days)).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "let go what has outlived its retention"),
            Err(StoreError::NotLeading) => return Err(StoreError::NotLeading),
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

/// Ends the process when the database cluster has changed under it.
pub(super) async fn watch_cluster(store: Store, stop: CancellationToken) -> Result<(), StoreError> {
    while !store.has_moved() {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_AT_CLUSTER) => {}
        }
    }
    Err(StoreError::ClusterChanged)
}
