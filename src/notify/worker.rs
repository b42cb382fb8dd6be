//! Sends what is due in the outbox, and records what became of it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Client;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    Notifiers, Page, Setup,
    answer::Failure,
    forward,
    retry::{patience, plan},
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    model::{HOUR_MILLIS, Timestamp},
    store::{Leader, OutboxItem, Route, StoreError},
};

/// How long a claim lasts: longer than sending may take and recording needs.
const CLAIM_MILLIS: i64 = 30_000;
/// How long sending may take in all, from the last look at the claim on: less than half of what the claim lasts.
const SEND_WITHIN: Duration = Duration::from_secs(12);
/// How long the worker waits at most before it looks again.
const POLL: Duration = Duration::from_secs(5);
/// How long it waits after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Updates of one incident in an hour.
const UPDATES_AN_HOUR: usize = 2;

/// Why the worker ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The store holds what this version doesn't know, or is another one.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sending panicked: a fault of the program.
    #[error("a sending panicked")]
    Panicked(#[from] JoinError),
}

/// What sending one item ended with.
struct Done {
    route: Route,
    /// Until when the route's receiver wants nothing.
    pause: Option<Timestamp>,
    /// What it was sent by.
    setup: Arc<Setup>,
}

/// Sends what is due.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    setup: watch::Receiver<Arc<Setup>>,
    wake: Arc<tokio::sync::Notify>,
    sending: JoinSet<Result<Done, StoreError>>,
    /// How many of each route are being sent, and until when its receiver wants nothing.
    lanes: HashMap<Route, Lane>,
    counted_at: Option<Timestamp>,
    /// Whether a receiver may have been mended since something failed.
    hurry: bool,
}

#[derive(Debug, Default)]
struct Lane {
    sending: usize,
    paused_until: Option<Timestamp>,
}

#[derive(Debug)]
struct Shared {
    store: Leader,
    clock: Clock,
    client: Client,
    metrics: Metrics,
    stop: CancellationToken,
}

/// How many of a route are sent at a time. Slack takes one message a second for each channel.
const fn width(route: Route) -> usize {
    match route {
        Route::Slack => 1,
        Route::Webhook => 4,
        Route::Forward => 8,
    }
}

impl Worker {
    /// A worker of this reign. `client` gives up after ten seconds and follows no redirect (`http_client::build`).
    #[must_use]
    pub fn new(
        notifiers: &Notifiers,
        store: Leader,
        clock: Clock,
        client: Client,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared { store, clock, client, metrics, stop }),
            setup: notifiers.watch(),
            wake: notifiers.wake(),
            sending: JoinSet::new(),
            lanes: HashMap::new(),
            counted_at: None,
            // What was given up, or waits for hours, may go through by the settings of this start.
            hurry: true,
        }
    }

    /// Runs until it's told to stop, then finishes what is being sent. A store that is away is waited for.
    ///
    /// Where it's dropped in the middle of a sending, the claim runs out and the item is sent again, marked.
    ///
    /// # Errors
    /// Where the reign is over, or the store holds what this version doesn't know.
    pub async fn run(mut self) -> Result<(), WorkerError> {
        // Only a bell: `look` finds the change itself, so that it's not forgotten where the store is away.
        let mut changed = self.setup.clone();
        while !self.shared.stop.is_cancelled() {
            let wait = match self.look().await {
                Ok(()) => POLL,
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the outbox cannot be read; trying again");
                    STORE_RETRY
                }
                Err(error) => return Err(error.into()),
            };
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                () = shared.stop.cancelled() => break,
                Some(done) = self.sending.join_next() => self.finish(done)?,
                () = self.wake.notified() => {}
                Ok(()) = changed.changed() => {}
                () = shared.clock.sleep(wait) => {}
            }
        }
        while let Some(done) = self.sending.join_next().await {
            self.finish(done)?;
        }
        Ok(())
    }

    fn finish(&mut self, done: Result<Result<Done, StoreError>, JoinError>) -> Result<(), WorkerError> {
        let done = done??;
        let lane = self.lanes.entry(done.route).or_default();
        lane.sending = lane.sending.saturating_sub(1);
        lane.paused_until = lane.paused_until.max(done.pause);
        self.hurry |= !Arc::ptr_eq(&done.setup, &self.setup.borrow());
        Ok(())
    }

    /// Claims what is due and begins to send it.
    async fn look(&mut self) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        self.hurry |= self.setup.has_changed().unwrap_or(false);
        let setup = Arc::clone(&self.setup.borrow_and_update());
        if self.hurry {
            // What was refused by the settings before need not wait for hours, and what was given up is tried again.
            self.shared.store.outbox_hurry(now).await?;
            self.hurry = false;
        }
        for route in setup.routes() {
            let lane = self.lanes.entry(route).or_default();
            let free = width(route).saturating_sub(lane.sending);
            if free == 0 || lane.paused_until.is_some_and(|until| now < until) {
                continue;
            }
            let limit = u32::try_from(free).unwrap_or(1);
            let items = self.shared.store.claim_outbox(&[route], now, CLAIM_MILLIS, limit).await?;
            lane.sending += items.len();
            for item in items {
                self.sending.spawn(Arc::clone(&self.shared).deliver(Arc::clone(&setup), item));
            }
        }
        let poll = i64::try_from(POLL.as_millis()).unwrap_or(i64::MAX);
        if self.counted_at.is_none_or(|at| now.millis_since(at) >= poll) {
            let depth = self.shared.store.outbox_depth().await?;
            let overdue = depth.oldest_due.map_or(0, |due| now.millis_since(due).max(0) / 1_000);
            self.shared.metrics.outbox_waiting.set(depth.waiting);
            self.shared.metrics.outbox_oldest_due.set(overdue);
            let waiting = depth.oldest_made.map_or(0, |made| now.millis_since(made).max(0) / 1_000);
            self.shared.metrics.outbox_oldest.set(waiting);
            self.counted_at = Some(now);
        }
        Ok(())
    }
}

impl Shared {
    /// Sends one item and records what became of it.
    async fn deliver(self: Arc<Self>, setup: Arc<Setup>, item: OutboxItem) -> Result<Done, StoreError> {
        let route = item.route;
        let mut pause = None;
        match self.held_until(&item).await {
            Ok(Some(until)) => {
                self.count(route, "held");
                self.record(|now| self.store.outbox_held(&item, now, until)).await?;
                return Ok(Done { route, pause, setup });
            }
            Ok(None) => {}
            Err(error) => return self.give_back(route, setup, error),
        }
        let thread = match self.thread(&setup, &item).await {
            Ok(thread) => thread,
            Err(error) => return self.give_back(route, setup, error),
        };
        // This process may have stood still since it claimed the item, and another one may lead and have sent it.
        let begun = Instant::now();
        match self.store.claim_holds(&item, self.clock.now()).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(%route, key = item.key, "the claim has run out before anything was sent; it comes again");
                return Ok(Done { route, pause, setup });
            }
            Err(error) => return self.give_back(route, setup, error),
        }
        match self.send_by(begun + SEND_WITHIN, &setup, &item, thread.as_deref()).await {
            Ok(receipt) => {
                // It is sent, whether or not that can be recorded.
                self.count(route, "sent");
                self.record(|now| self.store.outbox_sent(&item, now, receipt.as_deref())).await?;
                tracing::info!(
                    %route, key = item.key, attempts = item.attempts, possible_repeat = item.possible_repeat, "sent"
                );
            }
            Err(failure) => {
                let now = self.clock.now();
                let plan = match &item.body {
                    Some(_) => plan(&item, &failure, now),
                    // The key that sealed it is gone: only a start with the right key file can bring it back.
                    None => crate::store::OutboxFailure {
                        error: failure.reason.clone(),
                        retry_at: None,
                        may_have_arrived: false,
                        lets_pass: true,
                    },
                };
                if failure.retry_after.is_some() {
                    pause = plan.retry_at;
                }
                let (key, attempts, reason) = (&item.key, item.attempts, &failure.reason);
                if let Some(retry_at) = plan.retry_at {
                    self.count(route, "failed");
                    let waited = now.millis_since(item.created_at);
                    let waited_seconds = waited / 1_000;
                    if waited < patience(route) {
                        tracing::warn!(%route, key, attempts, reason, waited_seconds, %retry_at, "not sent; trying again");
                    } else {
                        tracing::error!(
                            %route, key, attempts, reason, waited_seconds, %retry_at,
                            "not sent for days; it is kept and tried until it is taken: mend the receiver or its setting"
                        );
                    }
                } else {
                    self.count(route, "given-up");
                    tracing::error!(%route, key, attempts, reason, "not sent: it is kept, and tried again at the next start or when [notify] changes");
                }
                self.record(|now| self.store.outbox_failed(&item, now, &plan)).await?;
            }
        }
        Ok(Done { route, pause, setup })
    }

    fn count(&self, route: Route, result: &str) {
        self.metrics.notifications.with_label_values(&[route.as_str(), result]).inc();
    }

    /// Nothing was sent: the claim runs out, and then the item comes again.
    fn give_back(&self, route: Route, setup: Arc<Setup>, error: StoreError) -> Result<Done, StoreError> {
        if !error.is_transient() {
            return Err(error);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "the outbox cannot be read; sending later");
        self.count(route, "failed");
        Ok(Done { route, pause: None, setup })
    }

    /// Until when an update has to wait since its incident has had enough of them in the last hour.
    async fn held_until(&self, item: &OutboxItem) -> Result<Option<Timestamp>, StoreError> {
        if !item.paced {
            return Ok(None);
        }
        let since = self.clock.now().plus_millis(-HOUR_MILLIS);
        let sent = self.store.outbox_pace(item.route, &item.target, since).await?;
        let oldest_that_counts = sent.len().checked_sub(UPDATES_AN_HOUR).and_then(|index| sent.get(index));
        Ok(oldest_that_counts.map(|at| at.plus_millis(HOUR_MILLIS)))
    }

    async fn thread(&self, setup: &Setup, item: &OutboxItem) -> Result<Option<String>, StoreError> {
        let threads = setup.slack.as_ref().is_some_and(super::slack::Slack::has_threads);
        if item.route != Route::Slack || !threads {
            return Ok(None);
        }
        self.store.outbox_receipt(item.route, &item.target).await
    }

    /// Sends by a deadline on the machine's clock: a receiver that takes and takes, or a process that stood still, must not
    /// outlast the claim.
    async fn send_by(
        &self,
        deadline: Instant,
        setup: &Setup,
        item: &OutboxItem,
        thread: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        if Instant::now() >= deadline {
            return Err(Failure::transient("this process stood still before it was sent", None));
        }
        let sending = tokio::time::timeout_at(deadline.into(), self.send(setup, item, thread));
        sending.await.unwrap_or_else(|_| Err(Failure::unknown("the receiver did not answer in time")))
    }

    async fn send(&self, setup: &Setup, item: &OutboxItem, thread: Option<&str>) -> Result<Option<String>, Failure> {
        let now = self.clock.now();
        let Some(body) = &item.body else {
            return Err(Failure::refused("it does not open with the key file; see [privacy] key_file"));
        };
        let page = || {
            serde_json::from_slice::<Page>(body)
                .map_err(|_| Failure::refused("the outbox holds a page that this relaywatch can't read"))
        };
        let unconfigured = || Failure::refused("its receiver is no longer configured");
        match item.route {
            Route::Slack => {
                let slack = setup.slack.as_ref().ok_or_else(unconfigured)?;
                slack.send(&self.client, &page()?, item.possible_repeat, thread, now).await
            }
            Route::Webhook => {
                let webhook = setup.webhook.as_ref().ok_or_else(unconfigured)?;
                webhook.send(&self.client, &page()?, item.possible_repeat, now).await.map(|()| None)
            }
            Route::Forward => {
                let endpoint = setup.forward.get(&item.target).ok_or_else(unconfigured)?;
                forward::send(&self.client, endpoint, &item.key, body.clone(), now).await.map(|()| None)
            }
        }
    }

    /// Records, again and again until the claim has about run out: what isn't recorded is sent twice.
    async fn record<F, R>(&self, write: F) -> Result<(), StoreError>
    where
        F: Fn(Timestamp) -> R,
        R: Future<Output = Result<(), StoreError>>,
    {
        let until = self.clock.now().plus_millis(CLAIM_MILLIS / 2);
        loop {
            let now = self.clock.now();
            match write(now).await {
                Ok(()) => return Ok(()),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) if now >= until || self.stop.is_cancelled() => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a sending could not be recorded; it will be repeated, marked as a possible repeat"
                    );
                    return Ok(());
                }
                Err(_) => self.clock.sleep(STORE_RETRY).await,
            }
        }
    }
}
