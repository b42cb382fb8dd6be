//! The monitor: reads the journal and keeps its projections.

pub mod blind;
mod context;
pub mod exposure;
pub mod facts;
pub mod fold;
mod incidents;
pub mod judge;
mod marks;
pub mod settings;
mod watcher;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::blind::Silence;
use self::fold::{
    CellChanges, FeedChanges, RefusedChanges, change, change_feed, change_refused, change_unsent, contribution, ledger,
};
use self::watcher::Watch;
use crate::{
    clock::Clock,
    detect::Parameters,
    metrics::Metrics,
    model::{Destination, StreamKey, StreamLevel},
    notify::Notifiers,
    store::{CellKey, Counts, EventRecord, FeedCounts, Fold, Leader, Position, RefusedChange, StoreError},
};

/// The cursor's name in the store.
pub(crate) const CURSOR: &str = "monitor";
/// Outcomes that one step reads at most.
const STEP: u32 = 10_000;
/// How long the monitor waits at most before it looks again.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// With several processes nobody wakes it for what the others commit: it asks so often whether something has come.
const POLL: Duration = Duration::from_secs(1);
/// Behind in the journal, the monitor judges after so many pages.
const LOOK_EVERY_PAGES: u32 = 5;
/// After it has judged, it waits so long before it does again: commits come many times a second.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(500);
/// How long it waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// Streams whose keys are kept at hand; past that the cache starts anew.
const STREAM_CACHE: usize = 200_000;

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

/// What folding a page of the journal has changed.
#[derive(Debug, Default)]
struct Page {
    /// Outcomes in the page.
    folded: usize,
    /// The cursor stood elsewhere than where the last page had ended.
    jumped: bool,
    /// Changes of the finest streams' cells of relay mail: number, key, bin, counts.
    cells: Vec<(i32, StreamKey, i64, Counts)>,
}

/// The outcomes of one message to one recipient: those folded before, and those that this step brings.
#[derive(Default)]
struct Message<'a> {
    earlier: Vec<&'a EventRecord>,
    fresh: Vec<&'a EventRecord>,
}

/// Folds the journal into ledger and cells.
#[derive(Debug)]
pub struct Monitor {
    store: Leader,
    clock: Clock,
    wake: Arc<Notify>,
    streams: HashMap<i32, StreamKey>,
    progress: watch::Sender<Progress>,
    metrics: Metrics,
    /// What it judges by and announces through; nothing where it only folds.
    judging: Option<(Parameters, Notifiers)>,
    watch: Option<Watch>,
    silence: Silence,
    /// The end of the journal has not been reached since the projections in the store were begun anew, or since the start.
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
        Self { judging: Some((parameters, notifiers)), ..Self::folding(store, clock, wake, metrics) }
    }

    /// A monitor that makes ledger and cells and judges nothing.
    #[must_use]
    pub fn folding(store: Leader, clock: Clock, wake: Arc<Notify>, metrics: Metrics) -> Self {
        Self {
            store,
            clock,
            wake,
            streams: HashMap::new(),
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

    /// Reads pages of so many outcomes instead of 10,000: a small store with small pages behaves as a large one does.
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
        // that has gone: nothing is judged until the end of the journal is reached once.
        self.behind |= watch.is_none();
        while !stop.is_cancelled() {
            let page = self.fold_page().await?;
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
                if page.is_none() || (pages.is_multiple_of(LOOK_EVERY_PAGES) && !self.behind) {
                    watching.look(&self.store, notifiers, &self.metrics, self.clock.now()).await?;
                }
                if page.is_none() {
                    self.silence.look(&self.store, &self.metrics, self.clock.now()).await?;
                }
                watch = Some(watching);
            }
            if page.is_none() {
                self.behind = false;
                self.progress.send_modify(|progress| {
                    progress.caught_up += 1;
                    progress.settled = progress.folded;
                });
                self.metrics.monitor_caught_up.set(self.clock.now().as_seconds());
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

    /// Folds one page of the journal; gives what it changed, or nothing where there was no more.
    async fn fold_page(&mut self) -> Result<Option<Page>, StoreError> {
        let from = self.store.cursor(CURSOR).await?;
        let jumped = self.ended_at.replace(from).is_some_and(|ended_at| ended_at != from);
        if let Some(page) = self.turn_marked(from, jumped).await? {
            return Ok(Some(page));
        }
        let fresh = self.store.events_after(from, self.page).await?;
        let Some(to) = fresh.last().map(|event| event.position) else { return Ok(None) };

        let mut messages: BTreeMap<(i64, i64), Message<'_>> = BTreeMap::new();
        for event in &fresh {
            messages.entry((event.address, event.message)).or_default().fresh.push(event);
        }
        let pairs: Vec<(i64, i64)> = messages.keys().copied().collect();
        let earlier = self.store.events_of_messages(&pairs, from).await?;
        for event in &earlier {
            if let Some(message) = messages.get_mut(&(event.address, event.message)) {
                message.earlier.push(event);
            }
        }
        self.learn_streams(fresh.iter().chain(&earlier)).await?;

        let mut changes = CellChanges::new();
        let mut who = RefusedChanges::new();
        let mut feeds = FeedChanges::new();
        for event in &fresh {
            change_feed(&mut feeds, event);
        }
        for (&(address, _), message) in &messages {
            if let Some(made) = contribution(&message.earlier, |id| self.streams.get(&id)) {
                change_unsent(&mut feeds, &message.earlier, &made, -1);
                change(&mut changes, &made, -1);
                change_refused(&mut who, address, &made, -1);
            }
            let all: Vec<&EventRecord> = message.earlier.iter().chain(&message.fresh).copied().collect();
            if let Some(made) = contribution(&all, |id| self.streams.get(&id)) {
                change_unsent(&mut feeds, &all, &made, 1);
                change(&mut changes, &made, 1);
                change_refused(&mut who, address, &made, 1);
            }
        }
        feeds.retain(|_, counts| *counts != FeedCounts::default());
        let page = Page { folded: fresh.len(), jumped, ..Page::default() };
        let feeds = feeds.into_iter().collect();
        let step = Fold { from, to, ledger: ledger(&fresh), feeds, ..Fold::default() };
        self.book(changes, who, step, page).await.map(Some)
    }

    /// Writes a step with its changes of cells and of who was refused; gives the page with what concerns the judge.
    async fn book(
        &mut self,
        mut changes: CellChanges,
        mut who: RefusedChanges,
        mut step: Fold,
        mut page: Page,
    ) -> Result<Page, StoreError> {
        who.retain(|_, change| *change != 0);
        changes.retain(|_, counts| !counts.is_zero());
        let keys: Vec<StreamKey> = {
            // Whoever was refused moved only where its cell did, or within one: then the cells do not name the stream.
            let cells = changes.keys().map(|(stream, _, _)| stream);
            let keys: BTreeSet<&StreamKey> = cells.chain(who.keys().map(|(stream, _, _)| stream)).collect();
            keys.into_iter().cloned().collect()
        };
        let ids: HashMap<StreamKey, i32> = keys.iter().cloned().zip(self.store.stream_ids(&keys).await?).collect();
        for ((stream, bin, destination), counts) in changes {
            let Some(&id) = ids.get(&stream) else { continue };
            step.cells.push((CellKey { stream: id, bin, destination }, counts));
            if stream.level == StreamLevel::Campaign && destination == Destination::Relay {
                page.cells.push((id, stream, bin, counts));
            }
        }
        step.refused = who
            .into_iter()
            .filter_map(|((stream, bin, address), change)| {
                Some(RefusedChange { stream: *ids.get(&stream)?, bin, address, change })
            })
            .collect();
        self.store.apply(CURSOR, &step).await?;
        self.ended_at = Some(step.to);
        self.progress.send_modify(|progress| {
            progress.position = step.to;
            progress.folded += page.folded as u64;
        });
        self.metrics.monitor_folded.inc_by(page.folded as u64);
        Ok(page)
    }

    /// Looks up the keys of streams that are not yet at hand.
    async fn learn_streams(&mut self, events: impl Iterator<Item = &EventRecord>) -> Result<(), StoreError> {
        let mut wanted: Vec<i32> = events.map(|event| event.stream).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if self.streams.len() + wanted.len() > STREAM_CACHE {
            self.streams.clear();
        }
        wanted.retain(|stream| !self.streams.contains_key(stream));
        if wanted.is_empty() {
            return Ok(());
        }
        for (id, text) in self.store.words(&wanted).await? {
            let key = stream_key(id, &text)?;
            self.streams.insert(id, key);
        }
        Ok(())
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
