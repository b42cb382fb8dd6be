//! The monitor: reads the journal and keeps its projections.

pub mod fold;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::fold::{CellChanges, change, contribution, ledger};
use crate::{
    clock::Clock,
    metrics::Metrics,
    model::StreamKey,
    store::{CellKey, EventRecord, Fold, Position, Store, StoreError},
};

/// The cursor's name in the store.
const CURSOR: &str = "monitor";
/// Outcomes that one step reads at most.
const STEP: u32 = 2_000;
/// How long the monitor waits at most before it looks again.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
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

/// The outcomes of one message to one recipient: those folded before, and those that this step brings.
#[derive(Default)]
struct Message<'a> {
    earlier: Vec<&'a EventRecord>,
    fresh: Vec<&'a EventRecord>,
}

/// Folds the journal into ledger and cells.
#[derive(Debug)]
pub struct Monitor {
    store: Store,
    clock: Clock,
    wake: Arc<Notify>,
    streams: HashMap<i32, StreamKey>,
    progress: watch::Sender<Progress>,
    metrics: Metrics,
}

impl Monitor {
    /// A monitor of this store. Whoever commits wakes it by `wake`.
    #[must_use]
    pub fn new(store: Store, clock: Clock, wake: Arc<Notify>, metrics: Metrics) -> Self {
        let progress = watch::Sender::new(Progress::default());
        Self { store, clock, wake, streams: HashMap::new(), progress, metrics }
    }

    /// Where it stands, to be watched.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Runs until it's told to stop. A store that is away is waited for.
    ///
    /// # Errors
    /// Where the store holds what this version doesn't know.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        loop {
            let wait = match self.catch_up(&stop).await {
                Ok(()) => LOOK_AT_LEAST_EVERY,
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
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    /// Folds everything that there is to fold.
    ///
    /// # Errors
    /// Where the store is away, or holds what this version doesn't know.
    pub async fn catch_up(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        while !stop.is_cancelled() {
            if self.step().await? == 0 {
                self.progress.send_modify(|progress| {
                    progress.caught_up += 1;
                    progress.settled = progress.folded;
                });
                self.metrics.monitor_caught_up.set(self.clock.now().as_seconds());
                break;
            }
        }
        Ok(())
    }

    /// Folds one page of the journal; gives how many outcomes it had.
    ///
    /// # Errors
    /// Where the store is away, or holds what this version doesn't know.
    pub async fn step(&mut self) -> Result<usize, StoreError> {
        let from = self.store.cursor(CURSOR).await?;
        let fresh = self.store.events_after(from, STEP).await?;
        let Some(to) = fresh.last().map(|event| event.position) else { return Ok(0) };

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
        for message in messages.values() {
            if let Some(made) = contribution(&message.earlier, |id| self.streams.get(&id)) {
                change(&mut changes, &made, -1);
            }
            let all: Vec<&EventRecord> = message.earlier.iter().chain(&message.fresh).copied().collect();
            if let Some(made) = contribution(&all, |id| self.streams.get(&id)) {
                change(&mut changes, &made, 1);
            }
        }
        changes.retain(|_, counts| !counts.is_zero());
        let keys: Vec<StreamKey> = {
            let mut keys: Vec<StreamKey> = changes.keys().map(|(stream, _, _)| stream.clone()).collect();
            keys.dedup();
            keys
        };
        let ids: HashMap<StreamKey, i32> = keys.iter().cloned().zip(self.store.stream_ids(&keys).await?).collect();
        let cells = changes
            .into_iter()
            .filter_map(|((stream, bin, destination), counts)| {
                Some((CellKey { stream: *ids.get(&stream)?, bin, destination }, counts))
            })
            .collect();
        let step = Fold { from, to, cells, ledger: ledger(&fresh) };
        self.store.apply(CURSOR, &step).await?;
        self.progress.send_modify(|progress| {
            progress.position = to;
            progress.folded += fresh.len() as u64;
        });
        self.metrics.monitor_folded.inc_by(fresh.len() as u64);
        Ok(fresh.len())
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
            let key = serde_json::from_str(&text).map_err(|_| StoreError::Unknown {
                table: "word",
                what: "stream",
                value: format!("number {id}"),
            })?;
            self.streams.insert(id, key);
        }
        Ok(())
    }
}
