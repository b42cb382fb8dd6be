//! What the monitor watches with: the judge, its history, and the incidents; kept in step with the projections.

use std::collections::{BTreeSet, HashMap};

use super::{
    incidents::{Announcer, Incidents, ring_start},
    judge::{DAY_BINS, FinestCell, IDLE_DAYS, Judge},
    page::{Page, totals},
};
use crate::{
    detect::{ClusterTotals, Parameters, Witnesses},
    metrics::Metrics,
    model::{Destination, StreamKey, StreamLevel, Timestamp},
    notify::Notifiers,
    store::{CellKey, Counts, Store, StoreError},
};

/// Days of history that are loaded: the baselines' window and what lies before it.
const HISTORY_DAYS: i64 = 66;

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
}

impl Watch {
    /// Loads history, ring and incidents from the store.
    pub(super) async fn load(store: &Store, parameters: Parameters, now: Timestamp) -> Result<Self, StoreError> {
        let today = now.bin().0.div_euclid(DAY_BINS);
        let incidents = Incidents::load(store).await?;
        let live_from = incidents.open().values().copied().min().unwrap_or(today).min(today - IDLE_DAYS);
        let start = ring_start(now.bin());
        let ring = store.cells_since(start).await?;
        let mut watch = Self {
            judge: Judge::new(parameters),
            incidents,
            keys: HashMap::new(),
            changed: BTreeSet::new(),
            folded: today,
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
        for day in today - HISTORY_DAYS..=today + 1 {
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
        store: &Store,
        notifiers: &Notifiers,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let start = ring_start(now.bin());
        let changed: Vec<(i32, i64)> =
            std::mem::take(&mut self.changed).into_iter().filter(|(_, bin)| *bin >= start).collect();
        let mut cells = Vec::with_capacity(changed.len());
        for chunk in changed.chunks(5_000) {
            cells.extend(known_cells(store, chunk).await?);
        }
        let open = self.incidents.open();
        let kept_from = open.values().copied().min();
        self.judge.set_trouble(self.incidents.trouble(now));
        self.judge.freeze(open);
        self.judge.judge(&cells, now.bin());
        let announcer = Announcer { notifiers, now, changed: !changed.is_empty() };
        self.incidents.follow(store, &self.judge, &self.keys, &announcer).await?;
        let today = now.bin().0.div_euclid(DAY_BINS);
        if today > self.folded {
            self.folded = today;
            let gone = self.judge.fold_idle(today, kept_from);
            for number in &gone {
                self.keys.remove(number);
            }
            metrics.streams_folded.inc_by(gone.len() as u64);
        }
        metrics.streams_live.set(i64::try_from(self.judge.live()).unwrap_or(i64::MAX));
        Ok(())
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
