//! The monitor: reads the journal and keeps its projections.

pub mod advice;
pub mod blind;
mod context;
pub mod exposure;
pub mod facts;
pub mod fold;
mod incidents;
pub mod judge;
pub mod live;
mod marks;
pub mod new_words;
pub mod overview;
mod page;
pub mod settings;
mod watcher;
pub mod watching;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::{
    blind::Silence,
    live::{Limits, Live},
    page::STEP,
    watcher::Watch,
};
use crate::{
    clock::Clock,
    detect::Parameters,
    metrics::Metrics,
    model::{MINUTE_MILLIS, StreamKey},
    notify::Notifiers,
    store::{Leader, Position, StoreError},
};

/// The cursor's name in the store.
pub(crate) const CURSOR: &str = crate::store::MONITOR_CURSOR;
/// How long the monitor waits at most before it looks again.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// With several processes nobody wakes it for what the others commit: it asks so often whether something has come.
const POLL: Duration = Duration::from_secs(1);
/// Behind in the journal, the monitor judges after so many pages.
const LOOK_EVERY_PAGES: u32 = 10;
/// After it has judged, it waits so long before it does again: commits come many times a second.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(500);
/// How long it waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// A journal that is folded up to so shortly before now tells enough to be judged, though more keeps coming in.
const NEAR_MILLIS: i64 = 5 * MINUTE_MILLIS;
/// Streams whose keys are kept at hand; past that the cache starts anew.
const STREAM_CACHE: usize = 20_000;

/// Where the monitor stands; `caught_up` counts how often it has found nothing more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The place up to which projections are made.
    pub position: Position,
    /// Outcomes folded since the process began.
    pub folded: u64,
    /// How often it found nothing more to read.
    pub caught_up: u64,
    /// Outcomes that were folded, and judged, when it last found nothing more to read.
    pub settled: u64,
}

/// Folds the journal into ledger and cells.
#[derive(Debug)]
pub struct Monitor {
    store: Leader,
    clock: Clock,
    wake: Arc<Notify>,
    streams: HashMap<i32, StreamKey>,
    /// Which streams are counted one by one.
    live: Live,
    progress: watch::Sender<Progress>,
    metrics: Metrics,
    /// What it judges by and announces through; nothing where it only folds.
    judging: Option<(Parameters, Notifiers)>,
    watch: Option<Watch>,
    silence: Silence,
    /// Neither the end of the journal nor the last minutes before now have been reached since the projections in the store were
    /// begun anew, or since the start.
    behind: bool,
    /// Outcomes that one page of the journal holds at most.
    page: u32,
    /// Where the last page ended: a cursor that stands elsewhere was moved by a rebuild or by another monitor.
    ended_at: Option<Position>,
}

impl Monitor {
    /// The monitor of this reign. Whoever commits wakes it by `wake`; pages leave through `notifiers`' outbox.
    #[must_use]
    pub fn new(
        store: Leader,
        clock: Clock,
        wake: Arc<Notify>,
        metrics: Metrics,
        parameters: Parameters,
        notifiers: Notifiers,
    ) -> Self {
        let folding = Self::folding(store, clock, wake, metrics, parameters.max_streams);
        Self { judging: Some((parameters, notifiers)), ..folding }
    }

    /// A monitor that makes ledger and cells, of at most so many streams of a day one by one, and judges nothing.
    #[must_use]
    pub fn folding(store: Leader, clock: Clock, wake: Arc<Notify>, metrics: Metrics, max_streams: u32) -> Self {
        Self {
            store,
            clock,
            wake,
            streams: HashMap::new(),
            live: Live::new(Limits::new(max_streams)),
            progress: watch::Sender::new(Progress::default()),
            metrics,
            judging: None,
            watch: None,
            silence: Silence::default(),
            behind: true,
            page: STEP,
            ended_at: None,
        }
    }

    /// The same monitor, telling through `progress` where it stands: one channel for all reigns of a process.
    #[must_use]
    pub fn telling(self, progress: watch::Sender<Progress>) -> Self {
        Self { progress, ..self }
    }

    /// Prolongs the reign that it works under.
    ///
    /// # Errors
    /// Where it is over, or the store is away.
    pub async fn renew(&self, term: Duration) -> Result<(), StoreError> {
        self.store.renew(term).await
    }

    /// Gives the lead up.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn release(&self) -> Result<(), StoreError> {
        self.store.release().await
    }

    /// Reads pages of so many outcomes instead of the usual thousands: a small store with small pages behaves as a large one does.
    #[must_use]
    pub fn paging_by(mut self, outcomes: u32) -> Self {
        self.page = outcomes.max(1);
        self
    }

    /// Where it stands, to be watched.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Runs until it's told to stop. A store that is away is waited for.
    ///
    /// # Errors
    /// Where the reign is over, or the store holds what this version doesn't know.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        self.tell_of_rebuild().await;
        loop {
            let wait = match self.catch_up(&stop).await {
                Ok(()) => LOOK_AT_LEAST_EVERY,
                Err(_) if self.store.has_moved() => return Err(StoreError::ClusterChanged),
                Err(error) if error.is_transient() => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the monitor cannot read the journal; trying again"
                    );
                    RETRY
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.wake.notified(), if wait == LOOK_AT_LEAST_EVERY => {}
                () = self.something_new(), if wait == LOOK_AT_LEAST_EVERY => {}
                () = self.clock.sleep(wait) => {}
            }
            if matches!(self.clock, Clock::System) {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(LOOK_AT_MOST_EVERY) => {}
                }
            }
        }
    }

    /// Says that a rebuild was stopped half-way, which goes on now.
    async fn tell_of_rebuild(&self) {
        // A store that is away shows in what follows.
        if let (Ok(horizon), Ok(cursor)) = (self.store.horizon().await, self.store.cursor(CURSOR).await)
            && horizon.rebuilt_from.is_some_and(|end| cursor < end)
        {
            tracing::info!("a rebuild was stopped half-way; it goes on, and nothing is judged until it is done");
        }
    }

    /// Returns when the journal holds more; never on SQLite, where whoever commits wakes the monitor.
    async fn something_new(&self) {
        if self.store.file().is_some() {
            return std::future::pending().await;
        }
        loop {
            self.clock.sleep(POLL).await;
            // A store that is away is noticed at the next look.
            if matches!(self.store.has_events_after(self.ended_at.unwrap_or_default()).await, Ok(true)) {
                return;
            }
        }
    }

    /// Folds everything that there is to fold, and judges it.
    ///
    /// # Errors
    /// Where the store is away, or holds what this version doesn't know.
    pub async fn catch_up(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let done = self.fold_and_look(stop).await;
        if done.is_err() {
            // What is in memory may be ahead of the store or behind it: it is loaded anew.
            self.watch = None;
        }
        done
    }

    async fn fold_and_look(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut watch = self.watch.take();
        let mut pages = 0_u32;
        // After a start or a failure, and while projections are made again, what is not yet folded would look like trouble
        // that has gone: nothing is judged until the end of the journal, or nearly so, is reached once.
        self.behind |= watch.is_none();
        while !stop.is_cancelled() {
            let page = self.fold_page().await?;
            // What has come since is read after the pause: under load, a page for each commit costs more than the commits.
            let end = page.as_ref().is_none_or(|page| page.last);
            let jumped = page.as_ref().is_some_and(|page| page.jumped);
            if let Some((parameters, notifiers)) = &self.judging {
                let mut watching = match watch.take().filter(|_| !jumped) {
                    Some(mut watching) => {
                        if let Some(page) = &page {
                            watching.note(page);
                        }
                        watching
                    }
                    // The store holds this page, too.
                    None => Watch::load(&self.store, parameters.clone(), self.clock.now()).await?,
                };
                pages += 1;
                self.behind |= jumped;
                let near = page
                    .as_ref()
                    .and_then(|page| page.newest)
                    .is_some_and(|at| self.clock.now().millis_since(at) < NEAR_MILLIS);
                self.behind &= !near;
                if end || (pages.is_multiple_of(LOOK_EVERY_PAGES) && !self.behind) {
                    watching.look(&self.store, notifiers, &self.metrics, self.clock.now()).await?;
                }
                if end {
                    self.silence.look(&self.store, notifiers, &self.metrics, self.clock.now()).await?;
                }
                watch = Some(watching);
            }
            if end {
                self.behind = false;
                self.progress.send_modify(|progress| {
                    progress.caught_up += 1;
                    progress.settled = progress.folded;
                });
                // What waits above an older transaction is not seen: the end that was reached is none.
                if !self.store.is_held_up() {
                    self.metrics.monitor_caught_up.set(self.clock.now().as_seconds());
                }
                break;
            }
        }
        self.watch = watch;
        Ok(())
    }

    /// Folds one page of the journal; gives how many outcomes it had.
    ///
    /// # Errors
    /// Where the store is away, or holds what this version doesn't know.
    pub async fn step(&mut self) -> Result<usize, StoreError> {
        loop {
            match self.fold_page().await? {
                None => return Ok(0),
                Some(page) if page.folded > 0 => return Ok(page.folded),
                // Marked addresses were turned: there may be more to read.
                Some(_) => {}
            }
        }
    }
}

/// The key that a stream's word holds.
fn stream_key(number: i32, text: &str) -> Result<StreamKey, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unknown {
        table: "word",
        what: "stream",
        value: format!("number {number}"),
    })
}
