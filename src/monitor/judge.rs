//! Which streams are refused beyond what their own history allows: pure, a function of the cells.
//!
//! The finest streams' cells are counted into every stream above them; what is judged together under one rate is one finest
//! stream on one UTC day. Baselines come from days that ended at least 48 hours before the day that they hold for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    detect::{
        Alarm, Baseline, Budget, Cell, ClusterTotals, Parameters, Phase, Quiet, Regime, StreamDetector, StreamVolume,
        Update, Witnesses,
    },
    model::{Bin, DAY_MILLIS, Provider, StreamKey, StreamLevel},
    monitor::blind::Outage,
    store::Counts,
};

/// Five-minute bins in a day.
pub(super) const DAY_BINS: i64 = DAY_MILLIS / crate::model::BIN_MILLIS;
/// Days that a detector's ring can reach into: 96 hours touch five.
pub(super) const RING_DAYS: i64 = 4;
/// History that was brought in counts from so many days with mail on, before relaywatch first ran …
const IMPORTED_DAYS: usize = 7;
/// … with so many messages together.
const IMPORTED_SENDS: u64 = 1_000;
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
        Cell { sends, refused: number(counts.refused - counts.unexposed).min(sends), addresses: self.addresses }
    }
}

/// A finest stream and its days.
#[derive(Debug)]
struct Finest {
    provider: Option<Provider>,
    /// The streams that it is counted into.
    streams: Vec<StreamKey>,
    /// Sends and refusals by UTC day.
    days: BTreeMap<i64, ClusterTotals>,
}

/// A stream that is judged.
#[derive(Debug)]
struct Watched {
    detector: StreamDetector,
    finest: BTreeSet<i32>,
    first: Bin,
    /// The day whose regime is kept while an incident of the stream is open.
    frozen: Option<i64>,
}

/// All streams that are judged.
#[derive(Debug)]
pub struct Judge {
    parameters: Parameters,
    finest: HashMap<i32, Finest>,
    watched: BTreeMap<StreamKey, Watched>,
    /// Days of a stream that were trouble and say nothing of what is ordinary.
    trouble: BTreeMap<StreamKey, BTreeSet<i64>>,
    /// Streams of open incidents, with the day of their onset.
    open: BTreeMap<StreamKey, i64>,
    /// The newest day whose regime is set.
    regimes_to: Option<i64>,
    /// Totals from which regimes in force were learnt have changed.
    stale: bool,
    /// Times in which relaywatch itself saw nothing.
    outages: Vec<Outage>,
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
            watched: BTreeMap::new(),
            trouble: BTreeMap::new(),
            open: BTreeMap::new(),
            regimes_to: None,
            stale: false,
            outages: Vec::new(),
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

    /// Makes a finest stream known.
    pub fn know(&mut self, finest: i32, key: &StreamKey) {
        // Campaigns themselves are not judged: they are what clusters are made of.
        let fresh = || Finest { provider: key.provider, streams: key.parents(), days: BTreeMap::new() };
        self.finest.entry(finest).or_insert_with(fresh);
    }

    /// Sets the times in which relaywatch itself saw nothing. What they withhold depends on the time, too: the caller brings the
    /// cells again of which that changes.
    pub fn set_outages(&mut self, outages: Vec<Outage>) {
        self.outages = outages;
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

    /// Whether a cell tells of refusals by feeds without exposure.
    #[must_use]
    pub fn is_bare(&self, cell: &FinestCell) -> bool {
        let counts = &cell.counts;
        let undeclared = counts.exposed <= 0 && counts.refused > counts.unexposed;
        counts.refused > 0 && (undeclared || self.distrusts(cell.finest))
    }

    fn distrusts(&self, finest: i32) -> bool {
        let provider = self.finest.get(&finest).and_then(|finest| finest.provider);
        provider.is_some_and(|provider| self.distrusted.contains(&provider))
    }

    /// Whether a finest stream's cell moves no detector now, whatever it counts.
    fn withholds(&self, finest: &Finest, bin: Bin, now: Bin) -> bool {
        finest.provider.is_some_and(|provider| self.distrusted.contains(&provider))
            || self.outages.iter().any(|outage| outage.withholds(bin, finest.provider, now.start()))
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

    /// Sets a finest stream's totals of a day; the caller has summed them.
    pub fn set_day(&mut self, finest: i32, day: i64, sends: i64, refused: i64) {
        let Some(known) = self.finest.get_mut(&finest) else { return };
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        let totals = ClusterTotals { sends: number(sends), refused: number(refused.min(sends)) };
        if known.days.insert(day, totals) != Some(totals) && self.regimes_to.is_some_and(|to| day <= to - 3) {
            self.stale = true;
        }
    }

    /// Marks the days of a stream's incidents, which say nothing of what is ordinary.
    pub fn set_trouble(&mut self, trouble: BTreeMap<StreamKey, BTreeSet<i64>>) {
        if self.trouble != trouble {
            self.trouble = trouble;
            self.stale = true;
        }
    }

    /// Keeps the regimes of these streams as they were on the day of their incident's onset; lets all others learn.
    pub fn freeze(&mut self, open: BTreeMap<StreamKey, i64>) {
        self.open = open;
    }

    /// Takes in what is known of cells, in any order, and judges up to `now`.
    pub fn judge(&mut self, cells: &[FinestCell], now: Bin) {
        let today = now.0.div_euclid(DAY_BINS);
        self.watch_new(cells, today);
        for (key, watched) in &mut self.watched {
            watched.frozen = self.open.get(key).copied();
        }
        self.set_regimes(today);
        let mut updates: BTreeMap<&StreamKey, Vec<Update>> = BTreeMap::new();
        for cell in cells {
            let Some(finest) = self.finest.get(&cell.finest) else { continue };
            let campaign = u64::try_from(cell.finest).unwrap_or(0);
            let bin = Bin(cell.bin);
            let judged = if self.withholds(finest, bin, now) { Cell::default() } else { cell.judged() };
            let update = Update::Cell { bin, campaign, cell: judged };
            for stream in &finest.streams {
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

    /// Whether a stream has been quiet since its last alarm, by the closing rule.
    #[must_use]
    pub fn quiet(&self, stream: &StreamKey) -> Option<Quiet> {
        self.watched.get(stream)?.detector.quiet(&self.parameters)
    }

    /// The regime of a stream in a bin.
    #[must_use]
    pub fn regime(&self, stream: &StreamKey, bin: Bin) -> Option<&Regime> {
        Some(self.watched.get(stream)?.detector.regime(bin))
    }

    /// Makes detectors for streams that these cells are the first of.
    fn watch_new(&mut self, cells: &[FinestCell], today: i64) {
        let mut appeared = false;
        for cell in cells {
            let Some(finest) = self.finest.get(&cell.finest) else { continue };
            for stream in &finest.streams {
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
                        first: Bin(cell.bin),
                        frozen: None,
                    };
                    self.watched.insert(stream.clone(), watched);
                    appeared = true;
                }
            }
        }
        self.stale |= appeared;
    }

    /// Sets the regimes of the days in the ring, where a day has begun or what they were learnt from has changed.
    fn set_regimes(&mut self, today: i64) {
        if self.regimes_to == Some(today) && !self.stale {
            return;
        }
        let first = match self.regimes_to {
            Some(to) if !self.stale => to + 1,
            _ => today - RING_DAYS,
        };
        for day in first.max(today - RING_DAYS)..=today {
            self.set_regime_of(day);
        }
        self.regimes_to = Some(today);
        self.stale = false;
    }

    /// Whether mail of at least a week in this window was sent before relaywatch first ran: enough of it to learn from.
    fn has_imported(&self, window: std::ops::RangeInclusive<i64>) -> bool {
        let Some(installed) = self.installed else { return false };
        let (mut days, mut sends) = (BTreeSet::new(), 0_u64);
        for (number, finest) in &self.finest {
            if self.distrusts(*number) {
                continue;
            }
            let before =
                finest.days.range(window.clone()).filter(|(day, totals)| **day < installed && totals.sends > 0);
            for (day, totals) in before {
                days.insert(*day);
                sends = sends.saturating_add(totals.sends);
            }
        }
        days.len() >= IMPORTED_DAYS && sends >= IMPORTED_SENDS
    }

    fn set_regime_of(&mut self, day: i64) {
        let window = i64::from(self.parameters.baseline.days);
        let days = day - window - 2..=day - 3;
        let clusters: BTreeMap<&StreamKey, Vec<ClusterTotals>> = self
            .watched
            .iter()
            .map(|(key, watched)| {
                let trouble = self.trouble.get(key);
                let trusted = watched.finest.iter().filter(|number| !self.distrusts(**number));
                let finest = trusted.filter_map(|number| self.finest.get(number));
                let totals = finest.flat_map(|finest| finest.days.range(days.clone()));
                let calm = totals.filter(|(day, _)| !trouble.is_some_and(|days| days.contains(day)));
                (key, calm.map(|(_, totals)| *totals).filter(|totals| totals.sends > 0).collect())
            })
            .collect();
        let fleet = clusters.get(&StreamKey::fleet()).map_or(0, Vec::len);
        self.phase = Phase::of(fleet, self.has_imported(days), &self.parameters);
        let volumes: Vec<StreamVolume> = clusters
            .iter()
            .filter(|(_, clusters)| !clusters.is_empty())
            .map(|(key, clusters)| StreamVolume {
                stream: (*key).clone(),
                sends: clusters.iter().map(|cluster| cluster.sends).sum(),
            })
            .collect();
        let budget = if volumes.is_empty() {
            let fleet = StreamVolume { stream: StreamKey::fleet(), sends: 0 };
            Budget::assign(&[fleet], &self.parameters.budget)
        } else {
            Budget::assign(&volumes, &self.parameters.budget)
        };
        let appeared: BTreeSet<(Bin, StreamKey)> =
            self.watched.iter().map(|(key, watched)| (watched.first, key.clone())).collect();
        let grants = budget.grants(&appeared);

        let mut baselines: BTreeMap<StreamKey, Baseline> = BTreeMap::new();
        for level in [
            StreamLevel::Fleet,
            StreamLevel::Domain,
            StreamLevel::Provider,
            StreamLevel::ProviderDomain,
            StreamLevel::Envelope,
        ] {
            for (key, clusters) in clusters.iter().filter(|(key, _)| key.level == level) {
                let parent = parent_of(key).and_then(|parent| baselines.get(&parent)).copied();
                let baseline = if self.phase == Phase::Learning {
                    Baseline::learning(&self.parameters)
                } else {
                    Baseline::learn(clusters, parent.as_ref(), &self.parameters)
                };
                baselines.insert((*key).clone(), baseline);
            }
        }
        let from = Bin(day * DAY_BINS);
        for (key, watched) in &mut self.watched {
            // An open incident keeps the regime of its onset: what is refused now says nothing of what is ordinary. After a
            // start there may be none yet; the one that is then learnt leaves the incident's days out.
            let judged = watched.detector.regime(Bin(day * DAY_BINS)).mass > 0.0;
            if judged && watched.frozen.is_some_and(|frozen| day > frozen) {
                continue;
            }
            let mass = budget.share(key).or_else(|| grants.get(key).copied()).unwrap_or(0.0);
            if let Some(baseline) = baselines.get(key) {
                let regime = Regime::in_fleet(from, *baseline, mass, &self.parameters);
                watched.detector.set_regime(regime, &self.parameters);
            }
        }
    }
}

/// What a stream's baseline shrinks to: (provider, domain) to the domain, everything else step by step to the fleet.
fn parent_of(key: &StreamKey) -> Option<StreamKey> {
    match key.level {
        StreamLevel::Fleet => None,
        StreamLevel::Provider | StreamLevel::Domain => key.at(StreamLevel::Fleet),
        StreamLevel::ProviderDomain => key.at(StreamLevel::Domain),
        StreamLevel::Envelope | StreamLevel::Campaign => key.at(StreamLevel::ProviderDomain),
    }
}

/// Whether one stream holds the other's mail, or they are the same.
#[must_use]
pub fn related(one: &StreamKey, other: &StreamKey) -> bool {
    let holds = |coarse: &StreamKey, fine: &StreamKey| coarse == fine || fine.at(coarse.level).as_ref() == Some(coarse);
    holds(one, other) || holds(other, one)
}

#[cfg(test)]
mod tests;
