//! Whose an alarm is: an incident's that is known, or a new one's.

use std::collections::BTreeMap;

use super::Kept;
use crate::{
    detect::{Alarm, stats::count},
    incident::Basis,
    model::{HOUR_MILLIS, StreamKey},
    monitor::judge::Judge,
    store::IncidentState,
};

/// Of a coarser stream's refusals, the share that finer ones must hold for the trouble to be theirs.
const HOLDS: f64 = 0.8;
/// An alarm so long before an incident's onset still belongs to it.
const BEFORE_ONSET_MILLIS: i64 = 6 * HOUR_MILLIS;

/// Alarms that are no incident's, each with the refusals that no incident holds.
pub(super) type Free = BTreeMap<StreamKey, Vec<(Alarm, u64)>>;

impl Kept {
    /// Whether an alarm falls into the incident's time.
    fn is_in_time(&self, alarm: &Alarm) -> bool {
        // What late reports have undone may come back: then it is another incident.
        if self.record.state == IncidentState::Withdrawn || self.body.basis != Basis::Rate {
            return false;
        }
        let at = alarm.bin.start();
        at.millis_since(self.record.onset) >= -BEFORE_ONSET_MILLIS
            && self.record.closed_at.is_none_or(|closed| at <= closed)
    }
}

/// Which of the incidents an alarm belongs to, by its place; else how many of its refusals none of them holds.
///
/// An incident has the alarms of its scope and of all streams in that. Those of a coarser stream belong to it only where its
/// scope, with those of other incidents, holds nearly all that is refused there beyond what is ordinary: trouble that is spread
/// thinly over many streams shows nowhere else.
pub(super) fn claim(kept: &[Kept], judge: &Judge, stream: &StreamKey, alarm: &Alarm) -> Result<usize, u64> {
    let within = |one: &Kept| one.body.scope.holds(stream);
    if let Some(at) = kept.iter().position(|one| one.is_in_time(alarm) && within(one)) {
        return Ok(at);
    }
    let finer: Vec<(usize, &StreamKey)> = kept
        .iter()
        .enumerate()
        .filter(|(_, one)| one.is_in_time(alarm) && stream.holds(&one.body.scope))
        .map(|(at, one)| (at, &one.body.scope))
        .collect();
    // Of scopes that hold each other the coarsest counts, once.
    let is_apart = |(at, scope): &&(usize, &StreamKey)| {
        !finer.iter().any(|(other, coarser)| coarser.holds(scope) && (coarser != scope || other < at))
    };
    let shares: Vec<(u64, usize)> = finer
        .iter()
        .filter(is_apart)
        .map(|(at, scope)| (judge.counts_within(scope, alarm.onset, alarm.bin).refused, *at))
        .collect();
    let explained: u64 = shares.iter().map(|(refused, _)| refused).sum();
    let whole = alarm.since_onset.refused;
    let rate = judge.regime(stream, alarm.bin).map_or(0.0, |regime| regime.baseline.rate());
    let unusual = count(whole) - rate * count(alarm.since_onset.sends);
    match shares.into_iter().max() {
        Some((_, at)) if count(explained) >= HOLDS * unusual => Ok(at),
        _ => Err(whole.saturating_sub(explained)),
    }
}

/// Takes one trouble out of the alarms that belong to no incident: the stream that holds it, and all alarms of its family.
pub(super) fn group(free: &mut Free) -> Option<(StreamKey, Vec<(StreamKey, Alarm)>)> {
    // The coarsest stream comes first, by the order of levels in a key.
    let (coarsest, _) = free.first_key_value()?;
    let refused = |stream: &StreamKey| {
        let alarms = free.get(stream).map(Vec::as_slice).unwrap_or_default();
        alarms.iter().map(|(_, refused)| *refused).max().unwrap_or(0)
    };
    let mut scope = coarsest.clone();
    loop {
        let within = |stream: &&StreamKey| *stream != &scope && scope.holds(stream);
        let whole = count(refused(&scope));
        let finer = free.keys().filter(within).filter(|stream| count(refused(stream)) >= HOLDS * whole);
        match finer.max_by_key(|stream| (stream.level, refused(stream))) {
            Some(finer) => scope = finer.clone(),
            None => break,
        }
    }
    let family: Vec<StreamKey> = free.keys().filter(|stream| stream.is_related(&scope)).cloned().collect();
    let mut alarms = Vec::new();
    for stream in family {
        alarms.extend(free.remove(&stream).into_iter().flatten().map(|(alarm, _)| (stream.clone(), alarm)));
    }
    Some((scope, alarms))
}
