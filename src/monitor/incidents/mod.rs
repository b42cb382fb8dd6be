//! Incidents follow the alarms: opened, updated, closed or withdrawn, and announced.

use std::collections::{BTreeMap, BTreeSet};

mod announce;
mod claim;
mod counts;
mod reason;

pub(super) use self::counts::Bare;
use self::{
    announce::{finish, tell_of_operator},
    claim::{Free, claim, group},
    reason::reason,
};
use super::{
    blind::Window,
    judge::{DAY_BINS, Judge, RING_DAYS},
};
use crate::{
    detect::{self, Alarm, Urgency, describe, stats::count},
    incident::{Basis, Body},
    metrics::Metrics,
    model::{Bin, DAY_MILLIS, Destination, MINUTE_MILLIS, StreamKey, Timestamp},
    notify::{Notifiers, PageKind},
    store::{Counts, IncidentRecord, IncidentState, Leader, OperatorWord, Store, StoreError},
};

/// Trouble that is over, and whose onset is older than this, is recorded and pages nobody.
const PAGES_FOR_MILLIS: i64 = DAY_MILLIS;
/// Refusals must have grown so many times since the last page for it to be worse.
const WORSE: u64 = 4;
/// An open incident is explained again when its refusals have grown by this factor …
const GROWN: f64 = 1.25;
/// … but at most so often …
const EXPLAIN_MILLIS: i64 = MINUTE_MILLIS;
/// … and at least so often, since notices and deliveries come in meanwhile.
const EXPLAIN_AT_LEAST_MILLIS: i64 = 10 * MINUTE_MILLIS;
/// Where fewer of the refused addresses than this share had mail accepted since, silence about them proves nothing.
const SEEN_AGAIN: f64 = 0.05;
/// How many of the refused addresses are looked at for that.
const LOOKED_UP: u32 = 1_000;
/// How the line of an explanation begins that says what an outage of ours withholds.
const NOT_JUDGED: &str = "Not judged:";

/// One incident that is kept in step.
#[derive(Debug, Clone)]
struct Kept {
    record: IncidentRecord,
    body: Body,
    /// When it was last explained, and how many were refused then.
    explained: Option<(Timestamp, u64)>,
    /// Whether its counts are known since the process began.
    measured: bool,
    /// Whether it was to be announced and no notifier was there.
    unheard: bool,
}

impl Kept {
    fn is_open(&self) -> bool {
        self.record.state == IncidentState::Open
    }

    /// The day of its first alarm. It was opened at the end of the alarm's bin, which may be midnight.
    fn opened_day(&self) -> i64 {
        self.record.opened_at.plus_millis(-1).bin().0.div_euclid(DAY_BINS)
    }

    /// Its streams that lie in its scope. A coarser one holds other mail, too, and learns on from that.
    fn own_streams(&self) -> impl Iterator<Item = &StreamKey> {
        self.body.streams.iter().filter(|stream| self.body.scope.holds(stream))
    }

    /// Whether what is known has grown enough, or enough time has passed, for it to be explained anew.
    fn wants_explanation(&self, now: Timestamp) -> bool {
        self.explained.is_none_or(|(at, refused)| {
            let grown = count(self.body.refused) >= GROWN * count(refused);
            let since = now.millis_since(at);
            (grown && since >= EXPLAIN_MILLIS) || since >= EXPLAIN_AT_LEAST_MILLIS
        })
    }
}

/// All incidents that are open or lie in the ring.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    kept: Vec<Kept>,
}

/// What an incident is announced with.
pub(super) struct Announcer<'a> {
    pub(super) notifiers: &'a Notifiers,
    pub(super) now: Timestamp,
    /// Counts what reaches nobody.
    pub(super) metrics: &'a Metrics,
    /// Finest streams of which cells have changed since the last look.
    pub(super) changed: &'a BTreeSet<i32>,
    /// The blind windows, by their begin.
    pub(super) windows: &'a [Window],
}

impl Incidents {
    /// Those that the store holds, as far as a judgement still asks for them.
    pub(super) async fn load(store: &Store, judge: &Judge, now: Timestamp) -> Result<Self, StoreError> {
        let mut incidents = Self::default();
        incidents.take(store.incidents(&[IncidentState::Open], u32::MAX).await?)?;
        let since = Timestamp::from_millis(incidents.remembered_from(judge, now).saturating_mul(DAY_MILLIS));
        incidents.take(store.ended_incidents(since).await?)?;
        Ok(incidents)
    }

    fn take(&mut self, records: Vec<IncidentRecord>) -> Result<(), StoreError> {
        for record in records {
            let body = body_of(&record)?;
            self.kept.push(Kept { record, body, explained: None, measured: false, unheard: false });
        }
        Ok(())
    }

    /// The first day on which an incident that is over counts: days of trouble are left out of the windows of which regimes come,
    /// also of those that open incidents keep.
    fn remembered_from(&self, judge: &Judge, now: Timestamp) -> i64 {
        judge.history_from(now.bin().0.div_euclid(DAY_BINS), self.open().into_values().min())
    }

    /// Takes over what operators have said meanwhile: what is theirs stays theirs. What they close is announced as closed.
    pub(super) async fn heed_operators(&mut self, store: &Leader, announcer: &Announcer<'_>) -> Result<(), StoreError> {
        let ids: Vec<i64> = self.kept.iter().map(|kept| kept.record.id).collect();
        let words: BTreeMap<i64, OperatorWord> = store.operator_words(&ids).await?.into_iter().collect();
        for kept in &mut self.kept {
            let Some(word) = words.get(&kept.record.id) else { continue };
            if let Some(closed_at) = word.closed_at
                && kept.record.operator.closed_at.is_none()
            {
                kept.record.state = IncidentState::Closed;
                kept.record.closed_at.get_or_insert(closed_at);
            }
            kept.record.operator = *word;
            if word.closed_at.is_some() && !kept.body.operator_told {
                tell_of_operator(kept, store, announcer).await?;
            }
        }
        Ok(())
    }

    /// Days of each stream that were trouble, for the baselines, each with the day on which that came out; not those that an
    /// operator calls normal.
    pub(super) fn trouble(&self, now: Timestamp) -> BTreeMap<StreamKey, BTreeMap<i64, i64>> {
        let mut trouble: BTreeMap<StreamKey, BTreeMap<i64, i64>> = BTreeMap::new();
        let standing = |kept: &&Kept| {
            !kept.record.operator.accepted_normal
                && kept.record.state != IncidentState::Withdrawn
                && kept.body.basis == Basis::Rate
        };
        for kept in self.kept.iter().filter(standing) {
            let first = kept.record.onset.bin().0.div_euclid(DAY_BINS);
            let last = kept.record.closed_at.unwrap_or(now).bin().0.div_euclid(DAY_BINS);
            for stream in kept.own_streams() {
                let days = trouble.entry(stream.clone()).or_default();
                for day in first..=last {
                    let out = days.entry(day).or_insert(i64::MAX);
                    *out = kept.opened_day().min(*out);
                }
            }
        }
        trouble
    }

    /// Incidents whose streams keep the regime that they had.
    fn keeping(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(|kept| kept.is_open() && !kept.record.operator.accepted_normal)
    }

    /// The streams of open incidents, each with the day on which the first of them was opened: that of its first alarm.
    pub(super) fn open(&self) -> BTreeMap<StreamKey, i64> {
        Self::by_stream(self.keeping())
    }

    /// Those of them that are judged by rate: a ticket by counts says nothing of what a rate's regime should be.
    pub(super) fn frozen(&self) -> BTreeMap<StreamKey, i64> {
        Self::by_stream(self.keeping().filter(|kept| kept.body.basis == Basis::Rate))
    }

    fn by_stream<'a>(incidents: impl Iterator<Item = &'a Kept>) -> BTreeMap<StreamKey, i64> {
        let mut open = BTreeMap::new();
        for kept in incidents {
            let day = kept.opened_day();
            for stream in kept.own_streams() {
                let known = open.entry(stream.clone()).or_insert(day);
                *known = day.min(*known);
            }
        }
        open
    }

    /// The day of the earliest onset of those.
    pub(super) fn open_since(&self) -> Option<i64> {
        let onsets = self.keeping().filter(|kept| kept.own_streams().next().is_some());
        onsets.map(|kept| kept.record.onset.bin().0.div_euclid(DAY_BINS)).min()
    }

    /// Brings the incidents in step with what the judge says now, and puts what is to be announced into the outbox.
    pub(super) async fn follow(
        &mut self,
        store: &Leader,
        judge: &Judge,
        keys: &std::collections::HashMap<i32, StreamKey>,
        announcer: &Announcer<'_>,
    ) -> Result<(), StoreError> {
        let now = announcer.now;
        let mut claimed: Vec<Vec<(StreamKey, Alarm)>> = vec![Vec::new(); self.kept.len()];
        let mut free = Free::new();
        for (stream, alarms) in judge.alarms() {
            for alarm in alarms {
                match claim(&self.kept, judge, stream, alarm) {
                    Ok(at) => {
                        if let Some(list) = claimed.get_mut(at) {
                            list.push((stream.clone(), *alarm));
                        }
                    }
                    Err(refused) => free.entry(stream.clone()).or_default().push((*alarm, refused)),
                }
            }
        }
        for (kept, alarms) in self.kept.iter_mut().zip(claimed) {
            if kept.is_open() && kept.body.basis == Basis::Rate {
                update(kept, &alarms, store, judge, keys, announcer).await?;
            }
        }
        while let Some((scope, alarms)) = group(&mut free) {
            let mut kept = opened(&scope, &alarms, judge, now);
            if kept.is_open() {
                // Its number is part of what is announced.
                kept.record.id = store.save_incident(&stored(&kept)).await?;
            }
            update(&mut kept, &alarms, store, judge, keys, announcer).await?;
            self.kept.push(kept);
        }
        let oldest = self.remembered_from(judge, now);
        self.kept.retain(|kept| {
            let last = kept.record.closed_at.unwrap_or(now).max(kept.record.onset);
            kept.is_open() || last.bin().0.div_euclid(DAY_BINS) >= oldest
        });
        Ok(())
    }
}

fn body_of(record: &IncidentRecord) -> Result<Body, StoreError> {
    Body::from_record(record).map_err(|error| StoreError::Unknown {
        table: "incident",
        what: "body",
        value: format!("of incident {}", error.id),
    })
}

/// A new incident.
fn opened(scope: &StreamKey, alarms: &[(StreamKey, Alarm)], judge: &Judge, now: Timestamp) -> Kept {
    let first =
        alarms.iter().filter(|(stream, _)| stream == scope).map(|(_, alarm)| alarm).min_by_key(|alarm| alarm.bin);
    let onset = first.map_or(now, |alarm| alarm.onset.start());
    let opened_at = first.map_or(now, |alarm| alarm.bin.end().min(now));
    // Old trouble that still goes on pages like any other; what is over and was never known is only recorded.
    let last = alarms.iter().map(|(_, alarm)| alarm.bin).max().map_or(now, |bin| bin.end().min(now));
    let over = now.millis_since(last) >= PAGES_FOR_MILLIS || judge.quiet(scope, Bin(i64::MIN)).is_some();
    let is_past = over && now.millis_since(onset) >= PAGES_FOR_MILLIS;
    let state = if is_past { IncidentState::Past } else { IncidentState::Open };
    let counts = first.map(|alarm| alarm.since_onset).unwrap_or_default();
    let severity = judge.phase().urgency(counts.sends, counts.refused, judge.parameters());
    let body = Body {
        scope: scope.clone(),
        streams: Vec::new(),
        severity,
        sends: counts.sends,
        refused: counts.refused,
        expected: 0.0,
        addresses: 0,
        sentence: String::new(),
        named: None,
        share_explained: None,
        explanation: Vec::new(),
        facts: None,
        pages: 0,
        last_paged_at: None,
        last_paged_refused: 0,
        basis: Basis::Rate,
        settings: None,
        rules: None,
        operator_told: false,
    };
    let closed_at = is_past.then_some(last);
    let record = IncidentRecord {
        id: 0,
        state,
        onset,
        opened_at,
        updated_at: now,
        closed_at,
        operator: OperatorWord::default(),
        body: body.to_value(),
    };
    Kept { record, body, explained: None, measured: false, unheard: false }
}

fn stored(kept: &Kept) -> IncidentRecord {
    IncidentRecord { body: kept.body.to_value(), ..kept.record.clone() }
}

/// Counts, explains, closes and announces one incident.
async fn update(
    kept: &mut Kept,
    alarms: &[(StreamKey, Alarm)],
    store: &Leader,
    judge: &Judge,
    keys: &std::collections::HashMap<i32, StreamKey>,
    announcer: &Announcer<'_>,
) -> Result<(), StoreError> {
    let now = announcer.now;
    let before = stored(kept);
    for (stream, _) in alarms {
        if !kept.body.streams.contains(stream) {
            kept.body.streams.push(stream.clone());
        }
    }
    kept.body.streams.sort();

    let in_ring = now.millis_since(kept.record.onset) < RING_DAYS * DAY_MILLIS;
    // What an outage of ours covers is judged no more: that undoes no alarm that was raised by it.
    let (onset, opened) = (kept.record.onset.bin(), kept.record.opened_at.bin());
    let withheld = judge.withheld_until(&kept.body.scope, onset, opened, now.bin());
    if alarms.is_empty() && in_ring && kept.is_open() && withheld.is_none() {
        kept.record.state = IncidentState::Withdrawn;
        kept.record.closed_at = Some(now);
        return finish(kept, &before, store, announcer, Some(PageKind::Withdrawn), false).await;
    }
    if !kept.measured || judge.counts_any(&kept.body.scope, announcer.changed) {
        measure(kept, alarms, store, judge, now).await?;
        kept.measured = true;
    }
    let was_named = kept.body.named;
    if kept.wants_explanation(now) {
        reason(kept, store, judge.finest_of(&kept.body.scope), keys, announcer).await?;
        kept.explained = Some((now, kept.body.refused));
    }
    if kept.is_open() {
        say_withheld(kept, withheld.is_some());
    }
    let worse_severity = kept.body.severity == Urgency::Ticket
        && judge.phase().urgency(kept.body.sends, kept.body.refused, judge.parameters()) == Urgency::Page;
    if worse_severity {
        kept.body.severity = Urgency::Page;
    }
    let over = if kept.is_open() && (kept.body.pages > 0 || kept.unheard) {
        let floor = withheld.unwrap_or(Bin(i64::MIN));
        let last = alarms.iter().map(|(_, alarm)| alarm.bin).max().unwrap_or(opened).max(floor);
        let quiet = judge.quiet(&kept.body.scope, floor).map(|quiet| quiet.since.start());
        match quiet {
            None if judge.has_faded(&kept.body.scope, last, now.bin()) => {
                // Alarms have left the ring before the last refusals, where relaywatch stood still.
                Some(last_refused(kept, store).await?.map_or(last, |bin| bin.max(last)).end())
            }
            quiet => quiet,
        }
    } else {
        None
    };
    let kind = if let Some(since) = over {
        kept.record.state = closing_state(kept, store, judge).await?;
        kept.record.closed_at = Some(since.min(now));
        (kept.record.state == IncidentState::Closed).then_some(PageKind::Closed)
    } else if !kept.is_open() {
        None
    } else if kept.body.pages == 0 {
        Some(PageKind::Opened)
    } else if worse_severity || kept.body.refused >= WORSE * kept.body.last_paged_refused.max(1) {
        Some(PageKind::Worse)
    } else if kept.body.named.is_some() && kept.body.named != was_named {
        Some(PageKind::CauseNamed)
    } else {
        None
    };
    // A page that opens an incident raises nothing: no ticket was sent.
    let raised = worse_severity && kind != Some(PageKind::Opened);
    finish(kept, &before, store, announcer, kind, raised).await
}

/// Says, or says no more, that an outage of ours covers what raised the alarm.
fn say_withheld(kept: &mut Kept, is_withheld: bool) {
    kept.body.explanation.retain(|line| !line.starts_with(NOT_JUDGED));
    if is_withheld {
        kept.body.explanation.push(format!(
            "{NOT_JUDGED} an outage of ours covers what raised the alarm. Some of it was reported to nobody, so that it can \
             neither be confirmed nor undone; the incident stays open until the mail after the outage is quiet."
        ));
    }
}

/// The last bin since the onset in which mail of the stream that holds the trouble was refused.
async fn last_refused(kept: &Kept, store: &Leader) -> Result<Option<Bin>, StoreError> {
    let cells = cells_since_onset(kept, store, Bin(i64::MAX)).await?;
    Ok(cells.iter().filter(|(_, counts)| counts.refused_exposed > 0).map(|(bin, _)| *bin).max())
}

/// What relay mail of the stream that holds the trouble counts, from the onset to a bin, by bin.
async fn cells_since_onset(kept: &Kept, store: &Leader, until: Bin) -> Result<Vec<(Bin, Counts)>, StoreError> {
    let numbers = store.stream_ids(std::slice::from_ref(&kept.body.scope)).await?;
    let Some(&number) = numbers.first() else { return Ok(Vec::new()) };
    let cells = store.cells(number, kept.record.onset.bin().0, until.0).await?;
    let relay = cells.into_iter().filter(|(key, _)| key.destination == Destination::Relay);
    Ok(relay.map(|(key, counts)| (Bin(key.bin), counts)).collect())
}

/// Counts what was sent and refused since the onset, in the stream that holds the trouble.
async fn measure(
    kept: &mut Kept,
    alarms: &[(StreamKey, Alarm)],
    store: &Leader,
    judge: &Judge,
    now: Timestamp,
) -> Result<(), StoreError> {
    let onset = kept.record.onset.bin();
    let finest = judge.finest_of(&kept.body.scope);
    let until = kept.record.closed_at.map_or(Bin(i64::MAX), Timestamp::bin);
    let mut sums = Counts::default();
    for (_, counts) in cells_since_onset(kept, store, until).await? {
        sums.add(&counts, 1);
    }
    let in_ring = now.millis_since(kept.record.onset) < RING_DAYS * DAY_MILLIS;
    if !in_ring && u64::try_from(sums.refused_exposed).unwrap_or(0) < kept.body.refused {
        // What was counted has outlived its retention, or is being made again: what was known of it stands.
        return Ok(());
    }
    let addresses = store.refused_count(&finest, onset.0, until.0).await?;
    kept.body.sends = u64::try_from(sums.exposed).unwrap_or(0);
    kept.body.refused = u64::try_from(sums.refused_exposed).unwrap_or(0);
    // Who was refused is let go of sooner than how many were.
    kept.body.addresses = if in_ring { addresses } else { addresses.max(kept.body.addresses) };
    if let Some(regime) = judge.regime(&kept.body.scope, onset) {
        kept.body.expected = regime.baseline.rate() * count(kept.body.sends);
        // After an alarm the evidence begins anew; the strongest says how sure it ever was.
        let own = alarms.iter().filter(|(stream, _)| *stream == kept.body.scope).map(|(_, alarm)| alarm);
        let strongest = own.max_by(|one, other| one.ln_evidence.total_cmp(&other.ln_evidence));
        if let Some(alarm) = strongest {
            let since_onset = detect::Counts { sends: kept.body.sends, refused: kept.body.refused };
            let whole = Alarm { onset, since_onset, ..*alarm };
            kept.body.sentence = describe(&kept.body.scope, &whole, regime);
        }
    }
    Ok(())
}

/// Closed; or masked, where next to none of the refused addresses has been tried with success since.
async fn closing_state(kept: &Kept, store: &Store, judge: &Judge) -> Result<IncidentState, StoreError> {
    let finest = judge.finest_of(&kept.body.scope);
    let onset = kept.record.onset.bin();
    let addresses = store.refused_with_ledger(&finest, onset, Bin(i64::MAX), i64::MIN, LOOKED_UP).await?;
    let seen = addresses.iter().filter(|row| row.last_delivered_at > row.last_refused_at).count() as u64;
    let share = count(seen) / count(addresses.len() as u64).max(1.0);
    Ok(if share < SEEN_AGAIN { IncidentState::Masked } else { IncidentState::Closed })
}

/// The first bin whose cells the detectors still take, seen from `now`.
pub(super) fn ring_start(now: Bin) -> i64 {
    (now.0.div_euclid(DAY_BINS) - RING_DAYS) * DAY_BINS
}

#[cfg(test)]
mod tests;
