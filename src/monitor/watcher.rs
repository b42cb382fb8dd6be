//! What the monitor watches with: the judge, its history, and the incidents; kept in step with the projections.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    context::Context,
    incidents::{Announcer, Bare, Incidents, ring_start},
    judge::{DAY_BINS, FinestCell, IDLE_DAYS, Judge},
    new_words::Watcher,
    page::{Page, totals},
};
use crate::{
    detect::{ClusterTotals, Parameters, Witnesses},
    metrics::Metrics,
    model::{Bin, Destination, MINUTE_MILLIS, Provider, StreamKey, StreamLevel, Timestamp},
    notify::Notifiers,
    store::{CellKey, Counts, Leader, Store, StoreError},
};

/// Days that tickets look back to: the ring, the week before it, and as much again for those that began before the ring.
const COUNTED_DAYS: i64 = 21;

/// How often the counts of feeds without exposure are judged.
const COUNT_EVERY_MILLIS: i64 = MINUTE_MILLIS;

/// The judge with its history, and the incidents.
#[derive(Debug)]
pub(super) struct Watch {
    judge: Judge,
    incidents: Incidents,
    /// Finest streams that are live, by number.
    keys: HashMap<i32, StreamKey>,
    /// Cells that have changed since the last look.
    changed: BTreeSet<(i32, i64)>,
    /// The day on which idle streams were last let go.
    folded: i64,
    context: Context,
    /// Finest streams in which feeds without exposure told of refusals, with the newest day of these.
    bare: BTreeMap<i32, i64>,
    /// When their counts were last judged.
    counted_at: Option<Timestamp>,
    /// Words of Apple's that no rule knows.
    words: Watcher,
}

impl Watch {
    /// Loads history, ring and incidents from the store.
    pub(super) async fn load(store: &Store, parameters: Parameters, now: Timestamp) -> Result<Self, StoreError> {
        let today = now.bin().0.div_euclid(DAY_BINS);
        let judge = Judge::new(parameters);
        let incidents = Incidents::load(store, &judge, now).await?;
        let live_from = incidents.open_since().unwrap_or(today).min(today - IDLE_DAYS);
        let start = ring_start(now.bin());
        let ring = store.cells_since(start).await?;
        let mut watch = Self {
            judge,
            incidents,
            keys: HashMap::new(),
            changed: BTreeSet::new(),
            folded: today,
            context: Context::default(),
            bare: BTreeMap::new(),
            counted_at: None,
            words: Watcher::default(),
        };
        let numbers: BTreeSet<i32> = ring.iter().map(|(key, _)| key.stream).collect();
        let numbers: Vec<i32> = numbers.into_iter().collect();
        for chunk in numbers.chunks(5_000) {
            for (number, text) in store.words(chunk).await? {
                let key: StreamKey = super::stream_key(number, &text)?;
                if key.level == StreamLevel::Campaign {
                    watch.judge.know(number, &key, today);
                    watch.keys.insert(number, key);
                }
            }
        }
        // Day by day: a year of many campaigns need not be in memory at once.
        let oldest = watch.judge.history_from(today, watch.incidents.open().into_values().min());
        for day in oldest..=today + 1 {
            for (number, text, exposed, refused) in store.day_totals(day).await? {
                let key: StreamKey = super::stream_key(number, &text)?;
                watch.judge.change_day(&key, day, ClusterTotals::default(), totals((exposed, refused)));
                if day >= live_from {
                    watch.judge.know(number, &key, day);
                    watch.keys.insert(number, key);
                }
            }
        }
        let finest = ring.iter().map(|(key, _)| key).filter(|key| key.destination == Destination::Relay);
        watch
            .changed
            .extend(finest.filter(|key| watch.keys.contains_key(&key.stream)).map(|key| (key.stream, key.bin)));
        Ok(watch)
    }

    /// Takes note of what folding a page has changed.
    pub(super) fn note(&mut self, page: &Page) {
        self.words.note(page.folded);
        for (number, key, bin) in &page.cells {
            self.judge.know(*number, key, bin.div_euclid(DAY_BINS));
            self.keys.entry(*number).or_insert_with(|| key.clone());
            self.changed.insert((*number, *bin));
        }
        for (key, day, before, after) in &page.days {
            self.judge.change_day(key, *day, *before, *after);
        }
    }

    /// Judges what has changed, and brings the incidents in step.
    pub(super) async fn look(
        &mut self,
        store: &Leader,
        notifiers: &Notifiers,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let start = ring_start(now.bin());
        let mut changed: BTreeSet<(i32, i64)> =
            std::mem::take(&mut self.changed).into_iter().filter(|(_, bin)| *bin >= start).collect();
        let providers: BTreeSet<Provider> =
            changed.iter().filter_map(|(stream, _)| self.keys.get(stream)?.provider).collect();
        if self.context.is_stale(providers.iter().copied(), now) {
            self.context.ask(providers);
            changed.extend(self.read_context(store, Bin(start), now).await?);
            self.context.check_feeds(store, notifiers, metrics, now).await?;
        }
        let changed: Vec<(i32, i64)> = changed.into_iter().collect();
        let mut cells = Vec::with_capacity(changed.len());
        for chunk in changed.chunks(5_000) {
            cells.extend(known_cells(store, chunk).await?);
        }
        let moved: BTreeSet<i32> = changed.iter().map(|(stream, _)| *stream).collect();
        let windows = Arc::clone(&self.context.windows);
        let announcer = Announcer { notifiers, metrics, now, changed: &moved, windows: &windows };
        self.incidents.heed_operators(store, &announcer).await?;
        let kept_from = self.incidents.open_since();
        self.judge.set_trouble(self.incidents.trouble(now));
        self.judge.freeze(self.incidents.frozen());
        self.judge.judge(&cells, now.bin());
        for cell in cells.iter().filter(|cell| self.judge.is_bare(cell)) {
            let day = cell.bin.div_euclid(DAY_BINS);
            let newest = self.bare.entry(cell.finest).or_insert(day);
            *newest = day.max(*newest);
        }
        self.incidents.follow(store, &self.judge, &self.keys, &announcer).await?;
        self.count(store, &announcer).await?;
        self.words.look(store, notifiers, metrics, now).await?;
        self.fold_idle(metrics, now, kept_from);
        Ok(())
    }

    /// Lets go of streams that are idle, once a day.
    fn fold_idle(&mut self, metrics: &Metrics, now: Timestamp, kept_from: Option<i64>) {
        let today = now.bin().0.div_euclid(DAY_BINS);
        if today > self.folded {
            self.folded = today;
            let gone = self.judge.fold_idle(today, kept_from);
            metrics.streams_folded.inc_by(gone.len() as u64);
            // Tickets compare with hours of longer ago.
            let oldest = kept_from.unwrap_or(today).min(today - COUNTED_DAYS);
            self.bare.retain(|_, newest| *newest >= oldest);
            let (judge, bare) = (&self.judge, &self.bare);
            self.keys.retain(|number, _| judge.knows(*number) || bare.contains_key(number));
        }
        metrics.streams_live.set(i64::try_from(self.judge.live()).unwrap_or(i64::MAX));
    }

    /// Reads what else judgements depend on; gives the cells that are to be judged again for it.
    async fn read_context(&mut self, store: &Store, ring: Bin, now: Timestamp) -> Result<Vec<(i32, i64)>, StoreError> {
        let before = std::mem::take(&mut self.context.outages);
        let held_before = self.context.holds.clone();
        self.context.read(store, ring, now).await?;
        self.judge.set_installed(self.context.installed);
        self.judge.set_outages(self.context.outages.iter().map(|(outage, _)| *outage).collect());
        let distrust = self.judge.set_distrusted(self.context.distrusted.clone());
        self.judge.set_holds(self.context.holds.clone());
        let moved = before != self.context.outages || held_before != self.context.holds;
        if !distrust && !moved {
            return Ok(Vec::new());
        }
        let outages = before.iter().chain(&self.context.outages);
        let spans: Vec<(i64, i64)> = outages.map(|(outage, _)| (outage.from.bin().0, outage.until.bin().0)).collect();
        let concerns = |bin: i64| distrust || spans.iter().any(|(from, until)| (*from..=*until).contains(&bin));
        let cells = store.cells_since(ring.0).await?.into_iter().map(|(key, _)| key);
        let ours = cells.filter(|key| key.destination == Destination::Relay && self.keys.contains_key(&key.stream));
        Ok(ours.filter(|key| concerns(key.bin)).map(|key| (key.stream, key.bin)).collect())
    }

    /// Judges the counts of feeds without exposure, now and then.
    async fn count(&mut self, store: &Leader, announcer: &Announcer<'_>) -> Result<(), StoreError> {
        let now = announcer.now;
        if self.counted_at.is_some_and(|at| now.millis_since(at) < COUNT_EVERY_MILLIS) {
            return Ok(());
        }
        self.counted_at = Some(now);
        let mut finest: BTreeSet<i32> = self.bare.keys().copied().collect();
        for scope in self.incidents.tickets() {
            let within = self.keys.iter().filter(|(_, key)| key.at(scope.level).as_ref() == Some(scope));
            finest.extend(within.map(|(number, _)| *number));
        }
        if finest.is_empty() && self.incidents.tickets().next().is_none() {
            return Ok(());
        }
        let bare = Bare {
            finest: &finest,
            keys: &self.keys,
            distrusted: &self.context.distrusted,
            known_since: &self.context.bare_since,
            since: &self.context.since,
            outages: &self.context.outages,
            holds: &self.context.holds,
        };
        self.incidents.follow_counts(store, &self.judge, &bare, announcer).await
    }
}

/// All that is known of these cells: counts, and who was refused.
async fn known_cells(store: &Store, wanted: &[(i32, i64)]) -> Result<Vec<FinestCell>, StoreError> {
    let keys: Vec<CellKey> =
        wanted.iter().map(|&(stream, bin)| CellKey { stream, bin, destination: Destination::Relay }).collect();
    let counts: HashMap<(i32, i64), Counts> =
        store.cells_of(&keys).await?.into_iter().map(|(key, counts)| ((key.stream, key.bin), counts)).collect();
    let refused: Vec<(i32, i64)> =
        counts.iter().filter(|(_, counts)| counts.refused > 0).map(|(cell, _)| *cell).collect();
    let mut addresses: HashMap<(i32, i64), Witnesses> = HashMap::new();
    for (stream, bin, address) in store.refused_witnesses(&refused).await? {
        let known = addresses.entry((stream, bin)).or_default();
        *known = known.with(address.unsigned_abs());
    }
    Ok(wanted
        .iter()
        .map(|&(finest, bin)| FinestCell {
            finest,
            bin,
            counts: counts.get(&(finest, bin)).copied().unwrap_or_default(),
            addresses: addresses.get(&(finest, bin)).copied().unwrap_or_default(),
        })
        .collect())
}
