//! The detector of one stream.

use std::{collections::VecDeque, ops::Range};

use serde::{Deserialize, Serialize};

use super::{
    ALTERNATIVES, BIN_DAYS, Baseline, Counts, Odds, Parameters, SrState, Update, WITNESSES, Witnesses,
    ring::{Cluster, Slot, hour, oldest, thin},
    stats::{count, exact, upper_limit},
};
use crate::model::{BIN_MILLIS, Bin, HOUR_MILLIS};

/// By what a stream is judged, from some bin on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regime {
    /// The first bin that is judged by it. The start of a UTC day keeps clusters under one baseline.
    pub from: Bin,
    /// What is ordinary.
    pub baseline: Baseline,
    /// pi: the stream's share of the false-alarm mass, a day.
    #[serde(with = "exact")]
    pub mass: f64,
    /// A: the threshold that R must reach.
    #[serde(with = "exact")]
    pub threshold: f64,
}

impl Regime {
    /// For a stream of a fleet whose masses sum to 1: the [`super::Budget`] gives the stream's share.
    #[must_use]
    pub const fn in_fleet(from: Bin, baseline: Baseline, mass: f64, parameters: &Parameters) -> Self {
        Self { from, baseline, mass, threshold: parameters.threshold_fleet }
    }

    /// For a stream that stands alone.
    #[must_use]
    pub const fn alone(from: Bin, baseline: Baseline, parameters: &Parameters) -> Self {
        Self { from, baseline, mass: 1.0, threshold: parameters.threshold_alone }
    }
}

/// More refusals than the stream's history allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// The bin whose counts raised it.
    pub bin: Bin,
    /// The estimated first bin of the trouble.
    pub onset: Bin,
    /// What was counted from the onset up to and with the bin.
    pub since_onset: Counts,
    /// Addresses refused since the onset.
    pub addresses: Witnesses,
    /// ln R. The odds for people are R itself.
    #[serde(with = "exact")]
    pub ln_evidence: f64,
    /// The alternative that fits best: a refusal rate.
    #[serde(with = "exact")]
    pub rate: f64,
}

/// What updates did to a stream's alarms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// Alarms in bins that had none.
    pub raised: Vec<Alarm>,
    /// Bins whose alarm does not stand any more, in the light of what came late.
    pub withdrawn: Vec<Bin>,
    /// Updates of bins that have left the ring. They belong to the baseline only.
    pub too_late: usize,
}

/// A stretch in which a stream was quiet, up to its newest bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quiet {
    /// The first bin of the stretch.
    pub since: Bin,
    /// What was counted in it.
    pub counts: Counts,
    /// The upper confidence limit of its refusal rate, which lies below the worst normal cluster's.
    pub upper_limit: f64,
}

/// The detector of one stream: a function of its cells and of its regimes.
///
/// Updates set absolute counts. As long as they come within 96 hours of the newest bin, their order and their repetition leave
/// no trace: the state is bit for bit the one that the same cells in order would have made. A stream whose reports come
/// later than that (an old file that is imported) is built again from its stored cells.
///
/// It takes about 100 bytes for a bin with mail, 40 more for each further campaign in it, and 370 for each checkpoint: 4
/// kilobytes for a campaign of two hours that lies back, 180 for one that never rests.
///
/// Counts stay in five-minute bins for all 96 hours; checkpoints to replay from are kept for every bin of the last 6 hours and
/// for every hour before (162 at most). Merging the counts of an hour would be smaller, but an alarm in a merged hour could
/// move or vanish when the hour is merged, and a late report could not be put where it belongs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamDetector {
    /// The oldest regime that is still needed; it also holds for all bins before its own start.
    regime: Regime,
    /// Those that followed, sorted by `from`.
    later: Vec<Regime>,
    /// Sorted by bin; only bins that have something to say.
    slots: VecDeque<Slot>,
    /// The state after everything that has left the ring.
    tail: SrState,
    /// The totals of each cluster over its complete bins; sorted. Also those that have left the ring, as long as their day is in
    /// it.
    totals: Vec<(Cluster, Counts)>,
    /// The newest bin; nothing is known before the first update.
    head: Option<Bin>,
}

impl StreamDetector {
    /// A stream of which nothing is known yet.
    #[must_use]
    pub fn new(regime: Regime) -> Self {
        Self {
            regime,
            later: Vec::new(),
            slots: VecDeque::new(),
            tail: SrState::default(),
            totals: Vec::new(),
            head: None,
        }
    }

    /// Takes in what is now known, in any order, and judges again from the earliest bin that it concerns. Of several words on one
    /// cell the last one holds, so that the caller hands on what it has counted in all.
    ///
    /// Bins far in the future would push everything out of the ring: the caller lets plausible times through only.
    pub fn apply(&mut self, updates: &[Update], parameters: &Parameters) -> Change {
        let mut change = Change::default();
        let mut sorted: Vec<&Update> = updates.iter().collect();
        sorted.sort_by_key(|update| update.bin());
        let mut dirty: Option<Bin> = None;
        for update in sorted {
            let bin = update.bin();
            if self.head.is_some_and(|head| bin < oldest(head)) {
                change.too_late += 1;
                continue;
            }
            // What leaves the ring must have been judged.
            if self.head.is_some_and(|head| hour(bin) > hour(head))
                && let Some(from) = dirty.take()
            {
                self.replay(from, parameters, &mut change);
            }
            self.advance(bin);
            if self.place(update, &mut change) {
                dirty = Some(dirty.map_or(bin, |from| from.min(bin)));
            }
        }
        if let Some(from) = dirty {
            self.replay(from, parameters, &mut change);
        }
        change
    }

    /// Judges by `regime` from its first bin on, up to that of the next one that is known. The same regime again changes nothing.
    pub fn set_regime(&mut self, regime: Regime, parameters: &Parameters) -> Change {
        let mut change = Change::default();
        let from = regime.from;
        if from <= self.regime.from {
            // The oldest regime also holds before its own start, so that everything is judged again.
            let known = std::mem::replace(&mut self.regime, regime);
            if known == self.regime {
                return change;
            }
            if from < known.from {
                self.later.insert(0, known);
            }
            self.replay(Bin(i64::MIN), parameters, &mut change);
        } else {
            let at = self.later.partition_point(|known| known.from < from);
            match self.later.get_mut(at).filter(|known| known.from == from) {
                Some(known) if *known == regime => return change,
                Some(known) => *known = regime,
                None => self.later.insert(at, regime),
            }
            self.replay(from, parameters, &mut change);
        }
        self.drop_old_regimes();
        change
    }

    /// Moves the newest bin forward, so that the ring and the closing rule follow the time also where nothing is sent.
    pub fn advance(&mut self, head: Bin) {
        let before = self.head;
        if before.is_some_and(|before| head <= before) {
            return;
        }
        self.head = Some(head);
        if before.is_some_and(|before| hour(before) == hour(head)) {
            return;
        }
        let oldest = oldest(head);
        while self.slots.front().is_some_and(|slot| slot.bin < oldest) {
            if let Some(state) = self.slots.pop_front().and_then(|slot| slot.after) {
                self.tail = *state;
            }
        }
        let day = oldest.start().day();
        self.totals.retain(|(cluster, _)| cluster.day >= day);
        self.drop_old_regimes();
        thin(&mut self.slots, 0, head);
    }

    /// The alarms of the last 96 hours, oldest first.
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.slots.iter().filter_map(|slot| slot.alarm.as_deref())
    }

    /// ln R after the newest bin that has something to say.
    #[must_use]
    pub fn ln_evidence(&self) -> f64 {
        self.newest_state().ln_evidence()
    }

    /// What was counted in complete bins of the ring from `from` on.
    #[must_use]
    pub fn counts_since(&self, from: Bin) -> Counts {
        let at = self.slots.partition_point(|slot| slot.bin < from);
        self.sum(at..self.slots.len())
    }

    /// What was counted in complete bins of the ring from `from` to `to`, both included.
    #[must_use]
    pub fn counts_within(&self, from: Bin, to: Bin) -> Counts {
        let first = self.slots.partition_point(|slot| slot.bin < from);
        let end = self.slots.partition_point(|slot| slot.bin <= to);
        self.sum(first..end.max(first))
    }

    fn sum(&self, slots: Range<usize>) -> Counts {
        self.slots
            .range(slots)
            .filter(|slot| slot.is_complete())
            .fold(Counts::default(), |sum, slot| sum.plus(slot.counts()))
    }

    /// The regime in force in a bin.
    #[must_use]
    pub fn regime(&self, bin: Bin) -> &Regime {
        let at = self.later.partition_point(|regime| regime.from <= bin);
        at.checked_sub(1).and_then(|at| self.later.get(at)).unwrap_or(&self.regime)
    }

    /// The newest bin that is known.
    #[must_use]
    pub const fn head(&self) -> Option<Bin> {
        self.head
    }

    /// The closing rule: whether the stream has been quiet since its last alarm.
    ///
    /// The stretch that ends with the newest bin is looked at, back to where it holds 2,000 messages or spans 24 hours, but not
    /// past the last alarm. It is quiet if the upper limit of its refusal rate (one-sided 95 %, Clopper–Pearson) is below p0, the
    /// rate of the worst normal cluster. Where so few messages could not show that even without a refusal, the stretch is
    /// lengthened until they can, or until the ring ends; of such a stream nothing is said here.
    #[must_use]
    pub fn quiet(&self, parameters: &Parameters) -> Option<Quiet> {
        self.quiet_after(Bin(i64::MIN), parameters)
    }

    /// The same, and the stretch does not reach back to `floor`: what was not judged up to there was not quiet.
    #[must_use]
    pub fn quiet_after(&self, floor: Bin, parameters: &Parameters) -> Option<Quiet> {
        let head = self.head?;
        let closing = &parameters.closing;
        let tolerated = self.regime(head).baseline.worst_normal();
        let enough = ((1.0 - closing.confidence).ln() / (-tolerated).ln_1p()).ceil();
        let span = i64::from(closing.hours) * (HOUR_MILLIS / BIN_MILLIS);
        let after = self.alarms().last().map_or(floor, |alarm| alarm.bin.max(floor));
        let mut counts = Counts::default();
        for (at, slot) in self.slots.iter().enumerate().rev() {
            if slot.bin <= after {
                return None;
            }
            if slot.is_complete() {
                counts = counts.plus(slot.counts());
            }
            // Bins without mail pass, too: the stretch reaches back to just after the slot before.
            let before = at.checked_sub(1).and_then(|at| self.slots.get(at));
            let since = before.map_or(slot.bin, |before| Bin(before.bin.0.saturating_add(1)));
            let since = since.max(Bin(after.0.saturating_add(1)));
            let long = counts.sends >= closing.messages || head.0.saturating_sub(since.0) >= span - 1;
            if long && count(counts.sends) >= enough {
                let limit = upper_limit(counts.refused, counts.sends, closing.confidence);
                return (limit < tolerated).then_some(Quiet { since, counts, upper_limit: limit });
            }
        }
        None
    }

    fn newest_state(&self) -> &SrState {
        self.slots.back().and_then(|slot| slot.after.as_deref()).unwrap_or(&self.tail)
    }

    /// Sets what an update says; false where it says nothing new.
    fn place(&mut self, update: &Update, change: &mut Change) -> bool {
        let bin = update.bin();
        let at = self.slots.partition_point(|slot| slot.bin < bin);
        let known = self.slots.get(at).is_some_and(|slot| slot.bin == bin);
        let mut slot = if known { self.slots.remove(at) } else { None }.unwrap_or_else(|| Slot::new(bin));
        self.account(&slot, Counts::minus);
        let changed = slot.set(update);
        self.account(&slot, Counts::plus);
        if slot.is_void() {
            change.withdrawn.extend(slot.alarm.map(|_| bin));
        } else {
            self.slots.insert(at, slot);
        }
        changed
    }

    /// Books a complete slot's counts in or out of its clusters' totals.
    fn account(&mut self, slot: &Slot, book: impl Fn(Counts, Counts) -> Counts) {
        if !slot.is_complete() {
            return;
        }
        for entry in &slot.entries {
            let total = total_of(&mut self.totals, entry.cluster);
            *total = book(*total, entry.counts());
        }
    }

    /// Judges again from the first slot at or after `from`, starting at the nearest checkpoint before it.
    fn replay(&mut self, from: Bin, parameters: &Parameters, change: &mut Change) {
        let mut first = self.slots.partition_point(|slot| slot.bin < from);
        while first > 0 && self.slots.get(first - 1).is_some_and(|slot| slot.after.is_none()) {
            first -= 1;
        }
        let checkpoint = first.checked_sub(1).and_then(|at| self.slots.get(at)).and_then(|slot| slot.after.as_deref());
        let mut state = checkpoint.unwrap_or(&self.tail).clone();
        // Totals become what they were before the first slot of the replay, and grow again with it.
        for at in first..self.slots.len() {
            let slot = std::mem::replace(&mut self.slots[at], Slot::new(Bin(0)));
            self.account(&slot, Counts::minus);
            self.slots[at] = slot;
        }
        let mut current: Option<(Bin, Odds)> = None;
        for at in first..self.slots.len() {
            let mut slot = std::mem::replace(&mut self.slots[at], Slot::new(Bin(0)));
            let regime = self.regime(slot.bin);
            let (mass, threshold, start) = (regime.mass, regime.threshold, regime.from);
            let odds = match current.take() {
                Some((from, odds)) if from == start => odds,
                _ => Odds::new(&regime.baseline, parameters),
            };
            let alarm = self.judge(&slot, &mut state, &odds, mass, threshold, parameters);
            match (&slot.alarm, alarm) {
                (None, Some(alarm)) => change.raised.push(alarm),
                (Some(_), None) => change.withdrawn.push(slot.bin),
                _ => {}
            }
            slot.alarm = alarm.map(Box::new);
            **slot.after.get_or_insert_default() = state.clone();
            self.account(&slot, Counts::plus);
            self.slots[at] = slot;
            current = Some((start, odds));
        }
        self.totals.retain(|(_, total)| *total != Counts::default());
        if let Some(head) = self.head {
            // The slot before may have been its hour's last until now.
            thin(&mut self.slots, first.saturating_sub(1), head);
        }
    }

    fn judge(
        &mut self,
        slot: &Slot,
        state: &mut SrState,
        odds: &Odds,
        mass: f64,
        threshold: f64,
        parameters: &Parameters,
    ) -> Option<Alarm> {
        let ln_w = (mass * BIN_DAYS).ln();
        if !slot.is_complete() {
            state.skip(slot.bin, odds, ln_w);
            return None;
        }
        let mut ln_ratios = [0.0; ALTERNATIVES];
        for entry in &slot.entries {
            let before = *total_of(&mut self.totals, entry.cluster);
            for (sum, ln_l) in ln_ratios.iter_mut().zip(odds.ln_ratios(before, entry.counts())) {
                *sum += ln_l;
            }
        }
        state.step(slot.bin, odds, ln_w, &ln_ratios, slot.counts(), slot.addresses());
        let ln_evidence = state.ln_evidence();
        let best = state.best()?;
        let enough_addresses = best.addresses.len() >= parameters.distinct_addresses.min(WITNESSES);
        // A threshold that is no positive number is never reached.
        let reached = threshold > 0.0 && ln_evidence >= threshold.ln();
        if !(reached && enough_addresses) {
            return None;
        }
        state.reset();
        Some(Alarm {
            bin: slot.bin,
            onset: best.onset,
            since_onset: best.since,
            addresses: best.addresses,
            ln_evidence,
            rate: odds.rate(best.alternative).unwrap_or_default(),
        })
    }

    fn drop_old_regimes(&mut self) {
        let Some(head) = self.head else { return };
        let over = self.later.partition_point(|regime| regime.from <= oldest(head));
        if let Some(in_force) = self.later.drain(..over).next_back() {
            self.regime = in_force;
        }
    }
}

fn total_of(totals: &mut Vec<(Cluster, Counts)>, cluster: Cluster) -> &mut Counts {
    let at = totals.partition_point(|(known, _)| *known < cluster);
    if totals.get(at).is_none_or(|(known, _)| *known != cluster) {
        totals.insert(at, (cluster, Counts::default()));
    }
    &mut totals[at].1
}

#[cfg(test)]
mod tests;
