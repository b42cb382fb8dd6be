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
        Alarm, Baseline, Budget, Cell, ClusterTotals, Moments, Parameters, Phase, Quiet, Regime, StreamDetector,
        StreamVolume, Update, Witnesses,
    },
    model::{Bin, DAY_MILLIS, StreamKey, StreamLevel},
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
        Cell { sends, refused: number(counts.refused - counts.unexposed).min(sends), addresses: self.addresses }
    }
}

/// Days without mail after which a finest stream is no longer kept one by one: its clusters stay in its parents' sums.
pub(super) const IDLE_DAYS: i64 = 7;

/// A finest stream that has mail now and then.
#[derive(Debug)]
struct Finest {
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
    first: Bin,
    /// The day whose regime is kept while an incident of the stream is open.
    frozen: Option<i64>,
}

/// All streams that are judged.
#[derive(Debug)]
pub struct Judge {
    parameters: Parameters,
    finest: HashMap<i32, Finest>,
    /// The streams above a finest one, by the nearest of them.
    families: BTreeMap<StreamKey, Arc<[StreamKey]>>,
    /// The clusters of each stream by UTC day.
    history: BTreeMap<StreamKey, BTreeMap<i64, Moments>>,
    watched: BTreeMap<StreamKey, Watched>,
    /// Days of a stream that were trouble and say nothing of what is ordinary.
    trouble: BTreeMap<StreamKey, BTreeSet<i64>>,
    /// Streams of open incidents, with the day of their onset.
    open: BTreeMap<StreamKey, i64>,
    /// The newest day whose regime is set.
    regimes_to: Option<i64>,
    /// Totals from which regimes in force were learnt have changed.
    stale: bool,
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
            self.finest.insert(finest, Finest { streams, last: day });
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

    /// Lets go of finest streams that have been idle for [`IDLE_DAYS`] on `today`, but of none that had mail on `keep` or later:
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
        let oldest = today - i64::from(self.parameters.baseline.days) - 2 - RING_DAYS;
        self.history.retain(|_, days| {
            *days = days.split_off(&oldest);
            !days.is_empty()
        });
        self.families.retain(|_, family| Arc::strong_count(family) > 1);
        gone
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
            days.entry(day).or_default().change(&before, &after);
        }
        self.stale |= self.regimes_to.is_some_and(|to| day <= to - 3);
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
            let update = Update::Cell { bin: Bin(cell.bin), campaign, cell: cell.judged() };
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

    fn set_regime_of(&mut self, day: i64) {
        let window = i64::from(self.parameters.baseline.days);
        let days = day - window - 2..=day - 3;
        let none = BTreeMap::new();
        let keys: BTreeSet<&StreamKey> = self.watched.keys().chain(self.history.keys()).collect();
        let clusters: BTreeMap<&StreamKey, Moments> = keys
            .into_iter()
            .map(|key| {
                let trouble = self.trouble.get(key);
                let all = self.history.get(key).unwrap_or(&none).range(days.clone());
                let calm = all.filter(|(day, _)| !trouble.is_some_and(|days| days.contains(day)));
                (key, calm.fold(Moments::default(), |sum, (_, moments)| sum.plus(moments)))
            })
            .collect();
        let fleet = clusters.get(&StreamKey::fleet()).map_or(0, Moments::clusters);
        self.phase = Phase::of(usize::try_from(fleet).unwrap_or(usize::MAX), false, &self.parameters);
        let volumes: Vec<StreamVolume> = clusters
            .iter()
            .filter(|(_, clusters)| clusters.clusters() > 0)
            .map(|(key, clusters)| StreamVolume { stream: (*key).clone(), sends: clusters.sends() })
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
                    Baseline::learn_from(clusters, parent.as_ref(), &self.parameters)
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
mod tests {
    use super::*;
    use crate::model::Provider;

    const TODAY: i64 = 20_000;

    fn finest(provider: Provider, domain: &str, campaign: Option<&str>) -> StreamKey {
        StreamKey::finest(provider, Some(domain.to_owned()), None, campaign.map(ToOwned::to_owned))
    }

    fn cell(finest: i32, bin: i64, exposed: i64, refused: i64) -> FinestCell {
        let addresses = (0..refused)
            .fold(Witnesses::default(), |all, n| all.with(u64::try_from(n + bin * 1_000).expect("positive")));
        FinestCell { finest, bin, counts: Counts { exposed, refused, ..Counts::default() }, addresses }
    }

    /// A judge that knows 30 ordinary days of two senders: 1,000 mails a day each, half a percent refused.
    fn learned() -> Judge {
        let mut judge = Judge::new(Parameters::default());
        for (number, key) in
            [(1, finest(Provider::Ses, "a.example", None)), (2, finest(Provider::Braze, "b.example", None))]
        {
            judge.know(number, &key, TODAY);
            for day in TODAY - 33..TODAY {
                let totals = ClusterTotals { sends: 1_000, refused: u64::try_from(3 + day % 5).expect("small") };
                judge.change_day(&key, day, ClusterTotals::default(), totals);
            }
        }
        judge
    }

    #[test]
    fn a_purge_alarms_its_streams_and_no_other() {
        let mut judge = learned();
        let start = TODAY * DAY_BINS;
        let calm: Vec<FinestCell> =
            (0..24).flat_map(|n| [cell(1, start + n, 4, 0), cell(2, start + n, 4, 0)]).collect();
        judge.judge(&calm, Bin(start + 24));
        assert_eq!(judge.phase(), Phase::Learned);
        assert_eq!(judge.alarms().count(), 0);
        judge.judge(&[cell(1, start + 24, 40, 38), cell(2, start + 24, 4, 0)], Bin(start + 25));
        let alarmed: Vec<String> = judge.alarms().map(|(key, _)| key.to_string()).collect();
        assert!(
            alarmed.contains(&"ses/a.example".to_owned()) && alarmed.contains(&"all relay mail".to_owned()),
            "{alarmed:?}"
        );
        assert!(!alarmed.iter().any(|name| name.contains("braze") || name.contains("b.example")), "{alarmed:?}");
        let (_, alarms) = judge.alarms().next().expect("an alarm");
        assert_eq!(alarms[0].onset, Bin(start + 24));
    }

    #[test]
    fn the_order_of_cells_and_their_repetition_leave_no_trace() {
        let start = TODAY * DAY_BINS;
        let mut cells: Vec<FinestCell> =
            (0..60).flat_map(|n| [cell(1, start + n, 5, i64::from(n > 40) * 5), cell(2, start + n, 5, 0)]).collect();
        let alarms = |judge: &Judge| -> Vec<(StreamKey, Vec<Alarm>)> {
            judge.alarms().map(|(key, alarms)| (key.clone(), alarms.into_iter().copied().collect())).collect()
        };
        let mut one = learned();
        one.judge(&cells, Bin(start + 60));
        assert!(!alarms(&one).is_empty());
        let mut other = learned();
        cells.reverse();
        for chunk in cells.chunks(7) {
            other.judge(chunk, Bin(start + 60));
            other.judge(chunk, Bin(start + 60));
        }
        assert_eq!(alarms(&other), alarms(&one));
    }

    #[test]
    fn what_has_no_exposure_moves_nothing() {
        let mut judge = learned();
        let start = TODAY * DAY_BINS;
        let bounces: Vec<FinestCell> = (0..50).map(|n| cell(1, start + n, 0, 20)).collect();
        judge.judge(&bounces, Bin(start + 50));
        assert_eq!(judge.alarms().count(), 0, "no denominator is made up");
        let unsent: Vec<FinestCell> = (0..50)
            .map(|n| {
                let mut cell = cell(1, start + n, 10, 10);
                cell.counts.unexposed = 8;
                cell
            })
            .collect();
        judge.judge(&unsent, Bin(start + 50));
        assert_eq!(judge.alarms().count(), 0, "refusals that came before their sends");
    }

    #[test]
    fn a_new_installation_learns_and_says_so() {
        let mut judge = Judge::new(Parameters::default());
        judge.know(1, &finest(Provider::Ses, "a.example", None), TODAY);
        let start = TODAY * DAY_BINS;
        judge.judge(&[cell(1, start, 200, 180)], Bin(start + 1));
        assert_eq!(judge.phase(), Phase::Learning);
        assert!(judge.alarms().count() > 0, "what is blatant is seen at once");
    }

    #[test]
    fn relations_follow_the_family() {
        let a = finest(Provider::Ses, "a.example", Some("spring"));
        let b = finest(Provider::Braze, "b.example", None);
        assert!(related(&a, &StreamKey::fleet()));
        assert!(related(&a.at(StreamLevel::Provider).expect("parent"), &a));
        assert!(!related(&a, &b));
        let (provider, domain) = (a.at(StreamLevel::Provider), a.at(StreamLevel::Domain));
        assert!(!related(&provider.expect("parent"), &domain.expect("parent")), "neither holds the other");
    }
}
