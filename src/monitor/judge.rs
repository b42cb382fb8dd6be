//! Which streams are refused beyond what their own history allows: pure, a function of the cells.
//!
//! The finest streams' cells are counted into every stream above them; what is judged together under one rate is one finest
//! stream on one UTC day. Baselines come from days that ended at least 48 hours before the day that they hold for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    detect::{
        Alarm, Baseline, Cell, ClusterTotals, Moments, Parameters, Phase, Regime, StreamDetector, Update, Witnesses,
    },
    model::{Bin, DAY_MILLIS, Provider, StreamKey, StreamLevel},
    monitor::blind::{Holds, Outage},
    store::Counts,
};

/// Five-minute bins in a day.
pub(super) const DAY_BINS: i64 = DAY_MILLIS / crate::model::BIN_MILLIS;
/// Days that a detector's ring can reach into: 96 hours touch five.
pub(super) const RING_DAYS: i64 = 4;
/// A cell whose outcomes lack their send in a larger share than this is incomplete and moves nothing.
const UNEXPOSED_SHARE: f64 = 0.1;

/// What is known of one cell of a finest stream: all of it, not what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinestCell {
    /// The finest stream's number.
    pub finest: i32,
    /// The bin of send time.
    pub bin: i64,
    /// Its counts.
    pub counts: Counts,
    /// Addresses that were refused.
    pub addresses: Witnesses,
}

impl FinestCell {
    /// What of the cell moves a detector. Outcomes whose send is unknown count neither as sent nor as refused, so that they
    /// can delay an alarm and never raise one; a cell in which they abound counts nothing.
    fn judged(&self) -> Cell {
        let counts = &self.counts;
        #[expect(clippy::cast_precision_loss, reason = "counts of messages in five minutes")]
        let (unexposed, exposed) = (counts.unexposed as f64, counts.exposed as f64);
        if counts.exposed <= 0 || unexposed > UNEXPOSED_SHARE * (exposed + unexposed) {
            return Cell::default();
        }
        let number = |count: i64| u32::try_from(count.max(0)).unwrap_or(u32::MAX);
        let sends = number(counts.exposed);
        Cell { sends, refused: number(counts.refused_exposed).min(sends), addresses: self.addresses }
    }
}

/// Days without mail after which a finest stream is no longer kept one by one: its clusters stay in its parents' sums.
pub(super) const IDLE_DAYS: i64 = 7;

/// A finest stream that has mail now and then.
#[derive(Debug)]
struct Finest {
    provider: Option<Provider>,
    /// The streams that it is counted into; the finest streams of one envelope domain share them.
    streams: Arc<[StreamKey]>,
    /// The newest day with mail.
    last: i64,
}

/// A stream that is judged.
#[derive(Debug)]
struct Watched {
    detector: StreamDetector,
    finest: BTreeSet<i32>,
    /// Its first bin; of what was there before the ring, the first bin of its first day.
    first: Bin,
}

/// All streams that are judged.
#[derive(Debug)]
pub struct Judge {
    parameters: Parameters,
    finest: HashMap<i32, Finest>,
    /// The streams above a finest one, by the nearest of them.
    families: BTreeMap<StreamKey, Arc<[StreamKey]>>,
    /// The clusters of each stream by UTC day, each provider's apart: those of some are no denominator.
    history: BTreeMap<StreamKey, BTreeMap<(i64, Option<Provider>), Moments>>,
    watched: BTreeMap<StreamKey, Watched>,
    /// Days of a stream that were trouble and say nothing of what is ordinary, each with the day on which that came out.
    trouble: BTreeMap<StreamKey, BTreeMap<i64, i64>>,
    /// Streams of open incidents, with the day whose regime they keep.
    open: BTreeMap<StreamKey, i64>,
    /// The newest day whose regime is set.
    regimes_to: Option<i64>,
    /// Totals from which regimes in force were learnt have changed.
    stale: bool,
    /// Times in which relaywatch itself saw nothing.
    outages: Vec<Outage>,
    /// For how long what they report is held.
    holds: Holds,
    /// Providers whose feeds declare exposure and have only ever reported refusals.
    distrusted: BTreeSet<Provider>,
    /// The day on which relaywatch first ran.
    installed: Option<i64>,
    phase: Phase,
}

impl Judge {
    /// A judge that knows nothing yet.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            finest: HashMap::new(),
            families: BTreeMap::new(),
            history: BTreeMap::new(),
            watched: BTreeMap::new(),
            trouble: BTreeMap::new(),
            open: BTreeMap::new(),
            regimes_to: None,
            stale: false,
            outages: Vec::new(),
            holds: Holds::default(),
            distrusted: BTreeSet::new(),
            installed: None,
            phase: Phase::Learning,
        }
    }

    /// The parameters that it judges by.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Whether the installation is still learning what is ordinary.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Makes a finest stream known that has mail on this day, counted from the epoch.
    pub fn know(&mut self, finest: i32, key: &StreamKey, day: i64) {
        if let Some(known) = self.finest.get_mut(&finest) {
            known.last = known.last.max(day);
        } else {
            let streams = self.family(key);
            self.finest.insert(finest, Finest { provider: key.provider, streams, last: day });
        }
    }

    /// The streams above a finest one. Campaigns themselves are not judged: they are what clusters are made of.
    fn family(&mut self, key: &StreamKey) -> Arc<[StreamKey]> {
        let Some(nearest) = key.at(StreamLevel::Envelope) else { return Arc::from([]) };
        Arc::clone(self.families.entry(nearest).or_insert_with(|| key.parents().into()))
    }

    /// How many finest streams are kept one by one.
    #[must_use]
    pub fn live(&self) -> usize {
        self.finest.len()
    }

    /// Lets go of finest streams that have been idle for `IDLE_DAYS` on `today`, but of none that had mail on `keep` or later:
    /// that of open incidents is still looked for by stream. Gives those that went. No judgement changes by it: their clusters
    /// stay in the sums of the streams above.
    pub fn fold_idle(&mut self, today: i64, keep: Option<i64>) -> Vec<i32> {
        let from = keep.map_or(today - IDLE_DAYS, |keep| keep.min(today - IDLE_DAYS));
        let gone: Vec<i32> =
            self.finest.iter().filter(|(_, finest)| finest.last < from).map(|(number, _)| *number).collect();
        for number in &gone {
            let Some(finest) = self.finest.remove(number) else { continue };
            for stream in finest.streams.iter() {
                if let Some(watched) = self.watched.get_mut(stream) {
                    watched.finest.remove(number);
                }
            }
        }
        // A stream of which nothing is left has an empty ring: it may come back as if it had never been watched.
        self.watched.retain(|_, watched| !watched.finest.is_empty());
        let oldest = self.history_from(today, self.open.values().copied().min());
        self.history.retain(|_, days| {
            *days = days.split_off(&(oldest, None));
            !days.is_empty()
        });
        self.families.retain(|_, family| Arc::strong_count(family) > 1);
        gone
    }

    /// The first day whose clusters are needed: those of the window of the oldest day in the ring, or of the oldest day of which a
    /// stream in trouble keeps the regime.
    #[must_use]
    pub fn history_from(&self, today: i64, oldest_kept: Option<i64>) -> i64 {
        let ring = today - RING_DAYS;
        oldest_kept.map_or(ring, |kept| kept.min(ring)) - i64::from(self.parameters.baseline.days) - 2
    }

    /// Sets the times in which relaywatch itself saw nothing. What they withhold depends on the time, too: the caller brings the
    /// cells again of which that changes.
    pub fn set_outages(&mut self, outages: Vec<Outage>) {
        self.outages = outages;
    }

    /// Sets for how long reports are held. Where that has changed the caller brings the cells of outages again.
    pub fn set_holds(&mut self, holds: Holds) {
        self.holds = holds;
    }

    /// Sets the providers whose feeds declare exposure and have only ever reported refusals: all of that is no denominator.
    /// Gives whether the set has changed; the caller then brings the ring's cells again.
    pub fn set_distrusted(&mut self, distrusted: BTreeSet<Provider>) -> bool {
        let changed = self.distrusted != distrusted;
        self.stale |= changed;
        self.distrusted = distrusted;
        changed
    }

    /// Sets the day on which relaywatch first ran: mail of the days before is history that was brought in.
    pub fn set_installed(&mut self, day: Option<i64>) {
        self.stale |= self.installed != day;
        self.installed = day;
    }

    /// Whether a cell tells of refusals that no rate judges: by feeds without exposure, or in an outage of ours of which some is lost.
    #[must_use]
    pub fn is_bare(&self, cell: &FinestCell) -> bool {
        let counts = &cell.counts;
        let undeclared = counts.refused - counts.refused_exposed > counts.unexposed;
        let distrusts = || self.finest.get(&cell.finest).is_some_and(|finest| self.distrusts(finest.provider));
        counts.refused > 0 && (undeclared || distrusts() || self.loses(cell.finest, Bin(cell.bin)))
    }

    /// Whether a bin of a finest stream is never judged by rate, since an outage of ours lost some of it.
    fn loses(&self, finest: i32, bin: Bin) -> bool {
        let provider = self.finest.get(&finest).and_then(|finest| finest.provider);
        self.outages.iter().any(|outage| outage.covers(bin) && outage.loses(self.holds.millis(provider)))
    }

    fn distrusts(&self, provider: Option<Provider>) -> bool {
        provider.is_some_and(|provider| self.distrusted.contains(&provider))
    }

    /// Whether a finest stream's cell moves no detector now, whatever it counts.
    fn withholds(&self, finest: &Finest, bin: Bin, now: Bin) -> bool {
        let held = self.holds.millis(finest.provider);
        self.distrusts(finest.provider) || self.outages.iter().any(|outage| outage.withholds(bin, held, now.start()))
    }

    /// Whether a finest stream is known.
    #[must_use]
    pub fn knows(&self, finest: i32) -> bool {
        self.finest.contains_key(&finest)
    }

    /// The finest streams that are counted into a stream.
    #[must_use]
    pub fn finest_of(&self, stream: &StreamKey) -> Vec<i32> {
        self.watched.get(stream).map(|watched| watched.finest.iter().copied().collect()).unwrap_or_default()
    }

    /// Books what a finest stream's totals of a day were and what they are now.
    pub fn change_day(&mut self, key: &StreamKey, day: i64, before: ClusterTotals, after: ClusterTotals) {
        if before == after {
            return;
        }
        for stream in self.family(key).iter() {
            let days = self.history.entry(stream.clone()).or_default();
            days.entry((day, key.provider)).or_default().change(&before, &after);
        }
        self.stale |= self.regimes_to.is_some_and(|to| day <= to - 3);
    }

    /// Marks the days of a stream's incidents, which say nothing of what is ordinary on later days than the one on which that came
    /// out: an incident that is opened does not change by what its own alarm was judged.
    pub fn set_trouble(&mut self, trouble: BTreeMap<StreamKey, BTreeMap<i64, i64>>) {
        if self.trouble != trouble {
            self.trouble = trouble;
            self.stale = true;
        }
    }

    /// Keeps the regimes of these streams as they were on the day on which their incident was opened; lets all others learn. A
    /// judge that was not there on that day learns them from the clusters that were known by then.
    pub fn freeze(&mut self, open: BTreeMap<StreamKey, i64>) {
        if self.open != open {
            self.open = open;
            self.stale = true;
        }
    }

    /// Takes in what is known of cells, in any order, and judges up to `now`.
    pub fn judge(&mut self, cells: &[FinestCell], now: Bin) {
        let today = now.0.div_euclid(DAY_BINS);
        self.watch_new(cells, today);
        self.set_regimes(today);
        let mut updates: BTreeMap<&StreamKey, Vec<Update>> = BTreeMap::new();
        for cell in cells {
            let Some(finest) = self.finest.get(&cell.finest) else { continue };
            let campaign = u64::try_from(cell.finest).unwrap_or(0);
            let bin = Bin(cell.bin);
            let judged = if self.withholds(finest, bin, now) { Cell::default() } else { cell.judged() };
            let update = Update::Cell { bin, campaign, cell: judged };
            for stream in finest.streams.iter() {
                updates.entry(stream).or_default().push(update);
            }
        }
        for (stream, updates) in updates {
            if let Some(watched) = self.watched.get_mut(stream) {
                watched.detector.apply(&updates, &self.parameters);
            }
        }
        for watched in self.watched.values_mut() {
            watched.detector.advance(now);
        }
    }

    /// Streams with alarms in the ring, and their alarms, oldest first.
    pub fn alarms(&self) -> impl Iterator<Item = (&StreamKey, Vec<&Alarm>)> {
        self.watched.iter().filter_map(|(key, watched)| {
            let alarms: Vec<&Alarm> = watched.detector.alarms().collect();
            (!alarms.is_empty()).then_some((key, alarms))
        })
    }

    /// Makes detectors for streams that these cells are the first of.
    fn watch_new(&mut self, cells: &[FinestCell], today: i64) {
        let mut appeared = false;
        for cell in cells {
            let Some(finest) = self.finest.get(&cell.finest) else { continue };
            for stream in finest.streams.iter() {
                if let Some(watched) = self.watched.get_mut(stream) {
                    watched.finest.insert(cell.finest);
                    watched.first = watched.first.min(Bin(cell.bin));
                } else {
                    let from = Bin((today - RING_DAYS) * DAY_BINS);
                    // Replaced before anything is judged by it: the budget gives the true mass.
                    let regime = Regime::in_fleet(from, Baseline::learning(&self.parameters), 0.0, &self.parameters);
                    let watched = Watched {
                        detector: StreamDetector::new(regime),
                        finest: BTreeSet::from([cell.finest]),
                        first: self.first_of(stream).map_or(Bin(cell.bin), |first| first.min(Bin(cell.bin))),
                    };
                    self.watched.insert(stream.clone(), watched);
                    appeared = true;
                }
            }
        }
        self.stale |= appeared;
    }
}

mod questions;
mod regimes;

#[cfg(test)]
mod tests;
