//! By what streams are judged on each day: learnt from the days before, or kept while an incident is open.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use super::{DAY_BINS, Judge, RING_DAYS};
use crate::{
    detect::{Baseline, Budget, Moments, Phase, Regime, StreamVolume},
    model::{Bin, StreamKey, StreamLevel},
};

/// History that was brought in counts from so many days with mail on, before relaywatch first ran …
const IMPORTED_DAYS: usize = 7;
/// … with so many messages together.
const IMPORTED_SENDS: u64 = 1_000;

impl Judge {
    /// Whether a day of a stream was trouble, as far as that had come out before the day `known`.
    fn was_trouble(&self, stream: &StreamKey, day: i64, known: i64) -> bool {
        self.trouble.get(stream).and_then(|days| days.get(&day)).is_some_and(|out| *out < known)
    }

    /// The clusters of finer streams in trouble, by each coarser stream whose own day was none, as was known before the day `known`.
    fn trouble_below(&self, days: &RangeInclusive<i64>, known: i64) -> BTreeMap<StreamKey, Moments> {
        let mut below: BTreeMap<StreamKey, Moments> = BTreeMap::new();
        if self.trouble.is_empty() {
            return below;
        }
        for key in self.history.keys().filter(|key| key.level == StreamLevel::Envelope) {
            let above: Vec<_> =
                self.trouble.keys().filter(|stream| key.at(stream.level).as_ref() == Some(*stream)).collect();
            if above.is_empty() {
                continue;
            }
            for (day, moments) in self.trusted(key, days.clone()) {
                if !above.iter().any(|stream| self.was_trouble(stream, day, known)) {
                    continue;
                }
                for parent in key.parents() {
                    if !self.was_trouble(&parent, day, known) {
                        let sum = below.entry(parent).or_default();
                        *sum = sum.plus(moments);
                    }
                }
            }
        }
        below
    }

    /// The first bin of the first day that a stream has mail on, where that lies before the ring's newest days: it ranks as
    /// whoever saw it begin would rank it.
    pub(super) fn first_of(&self, stream: &StreamKey) -> Option<Bin> {
        let mut days = self.history.get(stream)?.iter().filter(|(_, moments)| moments.clusters() > 0);
        days.next().map(|((day, _), _)| Bin(day * DAY_BINS))
    }

    /// Sets the regimes of the days in the ring, where a day has begun or what they were learnt from has changed.
    ///
    /// An open incident keeps the regime of the day on which it was opened: what is refused now says nothing of what is
    /// ordinary. It is learnt anew like those of other days, from the clusters of its own window, so that a judge that was
    /// loaded later judges by the same one.
    pub(super) fn set_regimes(&mut self, today: i64) {
        if self.regimes_to == Some(today) && !self.stale {
            return;
        }
        let first = match self.regimes_to {
            Some(to) if !self.stale => to + 1,
            _ => today - RING_DAYS,
        };
        let first = first.max(today - RING_DAYS);
        let kept = self.watched.keys().filter_map(|key| self.open.get(key).copied()).filter(|kept| *kept < first);
        let sources: BTreeSet<i64> = kept.chain(first..=today).collect();
        for source in sources {
            let learnt = self.learn(source);
            if source == today {
                self.phase = learnt.phase;
            }
            for (key, watched) in &mut self.watched {
                let Some((baseline, mass)) = learnt.regimes.get(key) else { continue };
                let kept = self.open.get(key).copied().unwrap_or(i64::MAX);
                for day in (first..=today).filter(|day| (*day).min(kept) == source) {
                    let regime = Regime::in_fleet(Bin(day * DAY_BINS), *baseline, *mass, &self.parameters);
                    watched.detector.set_regime(regime, &self.parameters);
                }
            }
        }
        self.regimes_to = Some(today);
        self.stale = false;
    }

    /// The clusters of a stream by day, without those of distrusted providers.
    fn trusted(&self, stream: &StreamKey, days: RangeInclusive<i64>) -> impl Iterator<Item = (i64, &Moments)> {
        let within = (*days.start(), None)..(days.end().saturating_add(1), None);
        let all = self.history.get(stream).into_iter().flat_map(move |known| known.range(within.clone()));
        all.filter(|((_, provider), _)| !self.distrusts(*provider)).map(|((day, _), moments)| (*day, moments))
    }

    /// Whether mail of at least a week in this window was sent before relaywatch first ran: enough of it to learn from.
    fn has_imported(&self, window: RangeInclusive<i64>) -> bool {
        let Some(installed) = self.installed else { return false };
        let (mut days, mut sends) = (BTreeSet::new(), 0_u64);
        let fleet = StreamKey::fleet();
        for (day, moments) in self.trusted(&fleet, window).filter(|(day, _)| *day < installed) {
            if moments.sends() > 0 {
                days.insert(day);
                sends = sends.saturating_add(moments.sends());
            }
        }
        days.len() >= IMPORTED_DAYS && sends >= IMPORTED_SENDS
    }

    /// What the window of a day, which ends three days before it, tells of each stream.
    fn learn(&self, day: i64) -> Learnt {
        let window = i64::from(self.parameters.baseline.days);
        let days = day - window - 2..=day - 3;
        let keys: BTreeSet<&StreamKey> = self.watched.keys().chain(self.history.keys()).collect();
        let finer = self.trouble_below(&days, day);
        let clusters: BTreeMap<&StreamKey, Moments> = keys
            .into_iter()
            .map(|key| {
                let calm = self.trusted(key, days.clone()).filter(|(past, _)| !self.was_trouble(key, *past, day));
                let whole = calm.fold(Moments::default(), |sum, (_, moments)| sum.plus(moments));
                // What a finer stream's trouble was is not ordinary here either; the rest of the day is.
                (key, finer.get(key).map_or(whole, |trouble| whole.minus(trouble)))
            })
            .collect();
        let fleet = clusters.get(&StreamKey::fleet()).map_or(0, Moments::clusters);
        let phase = Phase::of(usize::try_from(fleet).unwrap_or(usize::MAX), self.has_imported(days), &self.parameters);
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
                let baseline = if phase == Phase::Learning {
                    Baseline::learning(&self.parameters)
                } else {
                    Baseline::learn_from(clusters, parent.as_ref(), &self.parameters)
                };
                baselines.insert((*key).clone(), baseline);
            }
        }
        let regimes = baselines.into_iter().map(|(key, baseline)| {
            let mass = budget.share(&key).or_else(|| grants.get(&key).copied()).unwrap_or(0.0);
            (key, (baseline, mass))
        });
        Learnt { phase, regimes: regimes.collect() }
    }
}

/// What is ordinary on one day.
struct Learnt {
    phase: Phase,
    /// Baseline and false-alarm mass of each stream.
    regimes: BTreeMap<StreamKey, (Baseline, f64)>,
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
