//! Taking reports in: the writers, the public listener, and the feeds that work by themselves.

use std::{convert::Infallible, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};

use super::{follow_up, limits};
use crate::{
    clock::Clock,
    config::Config,
    ingest::{
        alive,
        committer::committer,
        http::endpoint::Endpoint,
        intake::Intake,
        reception::{Reception, Setup},
        workers::{self, Opened, Worker},
    },
    lifecycle::Tasks,
    metrics::Metrics,
    notify::Notifiers,
    privacy::Keyring,
    store::Store,
    web::server,
};

/// Transactions that PostgreSQL takes at a time from one process.
const POSTGRES_WRITERS: usize = 3;
/// Follow-ups that may wait.
const FOLLOW_UPS: usize = 64;

/// What taking reports in works with.
pub(super) struct Intaking<'a> {
    pub(super) store: &'a Store,
    pub(super) keyring: &'a Arc<Keyring>,
    pub(super) clock: &'a Clock,
    pub(super) metrics: &'a Metrics,
    /// Rung after every commit.
    pub(super) wake: &'a Arc<Notify>,
}

impl Intaking<'_> {
    /// Starts the writers, and what follows deliveries up; gives what takes reports in.
    pub(super) fn start(
        &self,
        setup: Setup,
        notifiers: &Notifiers,
        client: reqwest::Client,
        tasks: &Tasks,
    ) -> Reception {
        let (committer, writers) = committer(self.store, self.metrics, self.wake, POSTGRES_WRITERS);
        for (number, writer) in writers.into_iter().enumerate() {
            tasks.spawn_critical(format!("writer {number}"), async move {
                writer.run().await;
                Ok::<(), Infallible>(())
            });
        }
        let (sender, receiver) = mpsc::channel(FOLLOW_UPS);
        tasks.spawn_critical("follow-ups", follow_up::run(receiver, client, self.clock.clone(), tasks.soft()));
        let intake = Intake::new(Arc::clone(self.keyring), committer, self.metrics.clone()).ringing(notifiers.wake());
        Reception::new(setup, intake, self.clock.clone(), self.metrics.clone(), sender)
    }

    /// Starts what takes reports in: the public listener, and the feeds that work by themselves.
    pub(super) fn serve(
        &self,
        public: TcpListener,
        opened: Vec<(Worker, Opened)>,
        reception: &Reception,
        config: &Config,
        tasks: &Tasks,
    ) {
        let (store, clock, metrics) = (self.store.clone(), self.clock.clone(), self.metrics.clone());
        tasks.spawn_critical("signs of life", alive::run(store, clock, reception.clone(), metrics, tasks.soft()));
        tasks.spawn_critical("feeds", workers::run(opened, reception.clone(), tasks.soft()));
        let concurrent = usize::try_from(config.limits.max_concurrent_requests).unwrap_or(usize::MAX);
        let router = Endpoint::new(reception.clone(), concurrent).router();
        tasks.spawn_critical("public listener", server::serve(public, router, limits(config), tasks.soft()));
    }
}
