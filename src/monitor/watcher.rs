//! What the monitor watches with: the judge, its history, and the incidents; kept in step with the projections.

use std::collections::{BTreeSet, HashMap};

use super::{
    Page,
    incidents::{Announcer, Incidents, ring_start},
    judge::{DAY_BINS, FinestCell, Judge},
};
use crate::{
    detect::{Parameters, Witnesses},
    metrics::Metrics,
    model::{Destination, StreamKey, StreamLevel, Timestamp},
    notify::Notifiers,
    store::{CellKey, Counts, Leader, Store, StoreError},
};

/// Days of history that are loaded: the baselines' window and what lies before it.
const HISTORY_DAYS: i64 = 66;

/// The judge with its history, and the incidents.
#[derive(Debug)]
pub(super) struct Watch {
    judge: Judge,
    incidents: Incidents,
    keys: HashMap<i32, StreamKey>,
    /// Sends and refusals of each finest stream and UTC day.
    days: HashMap<(i32, i64), (i64, i64)>,
    /// Cells that have changed since the last look.
    changed: BTreeSet<(i32, i64)>,
}

impl Watch {
    /// Loads history, ring and incidents from the store.
    pub(super) async fn load(store: &Store, parameters: Parameters, now: Timestamp) -> Result<Self, StoreError> {
        let today = now.bin().0.div_euclid(DAY_BINS);
        let daily = store.daily_since(today - HISTORY_DAYS).await?;
        let start = ring_start(now.bin());
        let ring = store.cells_since(start).await?;
        let mut watch = Self {
            judge: Judge::new(parameters),
            incidents: Incidents::load(store).await?,
            keys: HashMap::new(),
            days: HashMap::new(),
            changed: BTreeSet::new(),
        };
        let numbers: BTreeSet<i32> =
            daily.iter().map(|(stream, ..)| *stream).chain(ring.iter().map(|(key, _)| key.stream)).collect();
        let numbers: Vec<i32> = numbers.into_iter().collect();
        for chunk in numbers.chunks(5_000) {
            for (number, text) in store.words(chunk).await? {
                let key: StreamKey = super::stream_key(number, &text)?;
                if key.level == StreamLevel::Campaign {
                    watch.judge.know(number, &key);
                    watch.keys.insert(number, key);
                }
            }
        }
        for (stream, day, counts) in daily {
            if watch.keys.contains_key(&stream) {
                watch.days.insert((stream, day), (counts.exposed, counts.refused));
                watch.judge.set_day(stream, day, counts.exposed, counts.refused);
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
        for (number, key, bin, counts) in &page.cells {
            if !self.judge.knows(*number) {
                self.judge.know(*number, key);
                self.keys.insert(*number, key.clone());
            }
            let day = bin.div_euclid(DAY_BINS);
            let sums = self.days.entry((*number, day)).or_default();
            sums.0 += counts.exposed;
            sums.1 += counts.refused;
            self.judge.set_day(*number, day, sums.0, sums.1);
            self.changed.insert((*number, *bin));
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
        let changed: Vec<(i32, i64)> =
            std::mem::take(&mut self.changed).into_iter().filter(|(_, bin)| *bin >= start).collect();
        let mut cells = Vec::with_capacity(changed.len());
        for chunk in changed.chunks(5_000) {
            cells.extend(known_cells(store, chunk).await?);
        }
        self.judge.set_trouble(self.incidents.trouble(now));
        self.judge.freeze(self.incidents.open());
        self.judge.judge(&cells, now.bin());
        let announcer = Announcer { notifiers, metrics, now, changed: !changed.is_empty() };
        self.incidents.follow(store, &self.judge, &self.keys, &announcer).await
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
