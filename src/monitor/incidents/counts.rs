//! Tickets for streams without exposure: so many addresses are refused in an hour as in none of the week before.
//!
//! No rate, no bound on false alarms, and never a page.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Announcer, Incidents, Kept, PAGES_FOR_MILLIS, finish, reason, ring_start, stored};
use crate::{
    detect::{Episode, Urgency, describe_count, episodes},
    incident::{Basis, Body},
    model::{Bin, DAY_MILLIS, Destination, HOUR_MILLIS, Provider, StreamKey, StreamLevel, Timestamp},
    monitor::{
        blind::{ALL, Holds, Outage, Window},
        judge::{Judge, RING_DAYS},
    },
    notify::PageKind,
    store::{IncidentRecord, IncidentState, Leader, OperatorWord, Store, StoreError},
};

/// Bins of an hour.
const HOUR_BINS: i64 = HOUR_MILLIS / crate::model::BIN_MILLIS;
/// A week that was blind for longer than this gives no highest hour.
const MOST_BLIND_MILLIS: i64 = DAY_MILLIS;

/// What is said of a ticket whose provider reports accepted mail again.
const RATE_AGAIN: &str =
    "Closed: the provider's reports give a rate again, and its refusals are judged by that from now on.";

/// What tickets are judged from beside the counts.
pub(in crate::monitor) struct Bare<'a> {
    /// Finest streams in which feeds without exposure told of refusals.
    pub(in crate::monitor) finest: &'a BTreeSet<i32>,
    /// The keys of finest streams.
    pub(in crate::monitor) keys: &'a HashMap<i32, StreamKey>,
    /// Providers whose declared exposure is none.
    pub(in crate::monitor) distrusted: &'a BTreeSet<Provider>,
    /// The hour of each provider's first report.
    pub(in crate::monitor) known_since: &'a BTreeMap<Provider, i64>,
    /// The hour of each provider's first report of any kind.
    pub(in crate::monitor) since: &'a BTreeMap<Provider, i64>,
    /// Outages of ours.
    pub(in crate::monitor) outages: &'a [(Outage, bool)],
    /// For how long what is reported in them is held.
    pub(in crate::monitor) holds: &'a Holds,
}

/// Streams of one scope, with its episodes.
struct Found {
    scope: StreamKey,
    finest: Vec<i32>,
    episodes: Vec<Episode>,
    /// Those that lie in an outage of ours, which no rate judges.
    lost: BTreeSet<i64>,
}

impl Incidents {
    /// Brings the tickets in step with the counts.
    pub(in crate::monitor) async fn follow_counts(
        &mut self,
        store: &Leader,
        judge: &Judge,
        bare: &Bare<'_>,
        announcer: &Announcer<'_>,
    ) -> Result<(), StoreError> {
        let now = announcer.now;
        let mut all = find(store, judge, bare, announcer).await?;
        self.leave_to_rates(&mut all);
        self.move_to_finer(&all);
        self.let_go(&all, store, announcer).await?;
        for found in all {
            let mut seen: BTreeSet<i64> = BTreeSet::new();
            for episode in &found.episodes {
                let at = self.kept.iter().position(|kept| is_of(kept, &found.scope, episode));
                let mut kept = if let Some(at) = at {
                    self.kept.remove(at)
                } else {
                    let mut fresh = opened(&found.scope, episode, now);
                    if fresh.is_open() {
                        fresh.record.id = store.save_incident(&stored(&fresh)).await?;
                    }
                    fresh
                };
                let updated = update(&mut kept, &found, episode, store, bare, announcer).await;
                seen.insert(kept.record.id);
                self.kept.push(kept);
                updated?;
            }
            let is_unseen = |kept: &Kept| {
                kept.is_open()
                    && kept.body.basis == Basis::Count
                    && kept.body.scope == found.scope
                    && !seen.contains(&kept.record.id)
            };
            for kept in self.kept.iter_mut().filter(|kept| is_unseen(kept)) {
                let before = stored(kept);
                // Undone by late reports; or so old that its hours are looked at no more.
                let in_ring = now.millis_since(kept.record.onset) < RING_DAYS * DAY_MILLIS;
                let (state, kind) = if in_ring {
                    (IncidentState::Withdrawn, PageKind::Withdrawn)
                } else {
                    (IncidentState::Closed, PageKind::Closed)
                };
                kept.record.state = state;
                kept.record.closed_at = Some(now);
                finish(kept, &before, store, announcer, Some(kind), false).await?;
            }
        }
        Ok(())
    }

    /// Refusals in an outage of ours that are counted in an incident are no ticket beside it.
    fn leave_to_rates(&self, all: &mut [Found]) {
        for found in all {
            let (scope, lost) = (&found.scope, &found.lost);
            let is_counted = |episode: &Episode| {
                let rates = self.kept.iter().filter(|kept| kept.body.basis == Basis::Rate);
                rates.filter(|kept| kept.record.state != IncidentState::Withdrawn).any(|kept| {
                    kept.body.scope.is_related(scope)
                        && kept.record.onset < end_of(episode)
                        && kept.record.closed_at.is_none_or(|closed| closed > onset_of(episode))
                })
            };
            found.episodes.retain(|episode| !lost.contains(&episode.onset) || !is_counted(episode));
        }
    }

    /// A ticket on a provider whose trouble one of its domains shows now goes on as that domain's.
    fn move_to_finer(&mut self, all: &[Found]) {
        let is_ticket = |kept: &Kept| kept.is_open() && kept.body.basis == Basis::Count;
        for at in 0..self.kept.len() {
            let Some(kept) = self.kept.get(at).filter(|kept| is_ticket(kept)) else { continue };
            let own = all.iter().find(|found| found.scope == kept.body.scope);
            if own.is_none_or(|own| own.episodes.iter().any(|episode| is_of(kept, &own.scope, episode))) {
                continue;
            }
            let finer =
                all.iter().filter(|found| found.scope != kept.body.scope && kept.body.scope.holds(&found.scope));
            let shows = |found: &&Found| {
                found.episodes.iter().any(|episode| {
                    let has = |scope: &StreamKey, kept: &Kept| is_of(kept, scope, episode);
                    let moved = Kept { body: Body { scope: found.scope.clone(), ..kept.body.clone() }, ..kept.clone() };
                    has(&found.scope, &moved) && !self.kept.iter().any(|other| has(&found.scope, other))
                })
            };
            let Some(scope) = finer.filter(shows).map(|found| found.scope.clone()).next() else { continue };
            if let Some(kept) = self.kept.get_mut(at) {
                kept.body.streams = vec![scope.clone()];
                kept.body.scope = scope;
                kept.measured = false;
            }
        }
    }

    /// Closes tickets of providers that no count judges any more, and says why.
    async fn let_go(&mut self, all: &[Found], store: &Leader, announcer: &Announcer<'_>) -> Result<(), StoreError> {
        let is_left = |kept: &Kept| {
            kept.is_open() && kept.body.basis == Basis::Count && !all.iter().any(|found| found.scope == kept.body.scope)
        };
        for kept in self.kept.iter_mut().filter(|kept| is_left(kept)) {
            let before = stored(kept);
            kept.record.state = IncidentState::Closed;
            kept.record.closed_at = Some(announcer.now);
            kept.body.explanation.push(RATE_AGAIN.to_owned());
            finish(kept, &before, store, announcer, Some(PageKind::Closed), false).await?;
        }
        Ok(())
    }

    /// The scopes of tickets that are open.
    pub(in crate::monitor) fn tickets(&self) -> impl Iterator<Item = &StreamKey> {
        let open = self.kept.iter().filter(|kept| kept.is_open() && kept.body.basis == Basis::Count);
        open.map(|kept| &kept.body.scope)
    }
}

/// The episodes of each provider and domain; of a provider as a whole only those that none of its domains shows.
async fn find(
    store: &Store,
    judge: &Judge,
    bare: &Bare<'_>,
    announcer: &Announcer<'_>,
) -> Result<Vec<Found>, StoreError> {
    let now = announcer.now;
    let mut streams: BTreeMap<StreamKey, Vec<i32>> = BTreeMap::new();
    for number in bare.finest {
        let Some(key) = bare.keys.get(number) else { continue };
        for scope in [StreamLevel::ProviderDomain, StreamLevel::Provider].iter().filter_map(|level| key.at(*level)) {
            streams.entry(scope).or_default().push(*number);
        }
    }
    let mut found: Vec<Found> = Vec::new();
    // The finer level sorts last.
    for (scope, finest) in streams.into_iter().rev() {
        let Some(provider) = scope.provider else { continue };
        let lost = lost_hours(bare, provider);
        let known_since = bare.known_since.get(&provider);
        if known_since.is_none() && lost.is_empty() {
            continue;
        }
        let hour = now.as_millis().div_euclid(HOUR_MILLIS);
        let days = i64::from(judge.parameters().count.days);
        // The ring, the week before it, and as much again for tickets that began before the ring.
        let from = Bin(ring_start(now.bin()) - 2 * days * 24 * HOUR_BINS);
        let is_distrusted = bare.distrusted.contains(&provider);
        let hours: BTreeMap<i64, u64> = store
            .refused_by_hour(&finest, from, now.bin(), !is_distrusted)
            .await?
            .into_iter()
            .map(|(hour, addresses)| (hour, u64::try_from(addresses).unwrap_or(0)))
            .collect();
        let first = from.0.div_euclid(HOUR_BINS);
        let mut found_here = known_since.map_or_else(Vec::new, |since| {
            let is_blind = |hour: i64| is_blind(announcer.windows, provider, hour, days);
            episodes(&hours, first.max(*since), is_blind, hour, judge.parameters())
        });
        let mut lost_here = BTreeSet::new();
        if let Some(since) = bare.since.get(&provider).filter(|_| !lost.is_empty()) {
            let all: BTreeMap<i64, u64> = store
                .refused_by_hour(&finest, from, now.bin(), false)
                .await?
                .into_iter()
                .map(|(hour, addresses)| (hour, u64::try_from(addresses).unwrap_or(0)))
                .collect();
            let is_blind = |hour: i64| blind_week(announcer.windows, provider, hour, days);
            let in_outages = episodes(&all, first.max(*since), is_blind, hour, judge.parameters());
            for episode in in_outages.into_iter().filter(|episode| lost.contains(&episode.onset)) {
                if !found_here.iter().any(|known| known.onset <= episode.last && known.last >= episode.onset) {
                    lost_here.insert(episode.onset);
                    found_here.push(episode);
                }
            }
        }
        let mut episodes = found_here;
        if scope.level == StreamLevel::Provider {
            let shown = |episode: &Episode| {
                let finer = found.iter().filter(|finer| finer.scope.provider == Some(provider));
                finer
                    .flat_map(|finer| &finer.episodes)
                    .any(|one| one.onset <= episode.last && one.last >= episode.onset)
            };
            episodes.retain(|episode| !shown(episode));
        }
        found.push(Found { scope, finest, episodes, lost: lost_here });
    }
    Ok(found)
}

/// The hours of send time that outages of ours cover and of which a provider's reports are lost in part.
fn lost_hours(bare: &Bare<'_>, provider: Provider) -> BTreeSet<i64> {
    let lost =
        bare.outages.iter().map(|(outage, _)| outage).filter(|outage| outage.loses(bare.holds.millis(Some(provider))));
    let hour = |at: Timestamp| at.as_millis().div_euclid(HOUR_MILLIS);
    lost.flat_map(|outage| hour(outage.from)..=hour(outage.until)).collect()
}

/// Whether an hour, or too much of the week before it, was not watched.
fn is_blind(windows: &[Window], provider: Provider, hour: i64, days: i64) -> bool {
    let (start, end) = (hour.saturating_mul(HOUR_MILLIS), (hour + 1).saturating_mul(HOUR_MILLIS));
    spans(windows, provider).any(|(from, to)| from < end && to > start) || blind_week(windows, provider, hour, days)
}

/// Whether too much of the week before an hour was not watched.
fn blind_week(windows: &[Window], provider: Provider, hour: i64, days: i64) -> bool {
    let start = hour.saturating_mul(HOUR_MILLIS);
    let week = start - days * DAY_MILLIS;
    let overlap = |from: i64, to: i64| (to.min(start) - from.max(week)).max(0);
    spans(windows, provider).map(|(from, to)| overlap(from, to)).sum::<i64>() > MOST_BLIND_MILLIS
}

/// From when until when a provider was not watched.
fn spans(windows: &[Window], provider: Provider) -> impl Iterator<Item = (i64, i64)> {
    let ours = windows
        .iter()
        .filter(move |window| window.watched == ALL || Provider::of_feed(&window.watched) == Some(provider));
    ours.map(|window| (window.from.as_millis(), window.until.map_or(i64::MAX, Timestamp::as_millis)))
}

fn onset_of(episode: &Episode) -> Timestamp {
    Timestamp::from_millis(episode.onset.saturating_mul(HOUR_MILLIS))
}

fn end_of(episode: &Episode) -> Timestamp {
    Timestamp::from_millis((episode.last + 1).saturating_mul(HOUR_MILLIS))
}

/// Whether a ticket is about an episode: they are of one scope and share some time.
fn is_of(kept: &Kept, scope: &StreamKey, episode: &Episode) -> bool {
    kept.body.basis == Basis::Count
        && kept.body.scope == *scope
        && kept.record.state != IncidentState::Withdrawn
        && kept.record.onset < end_of(episode)
        && kept.record.closed_at.is_none_or(|closed| closed > onset_of(episode))
}

fn opened(scope: &StreamKey, episode: &Episode, now: Timestamp) -> Kept {
    let (onset, end) = (onset_of(episode), end_of(episode).min(now));
    let is_past = episode.over && now.millis_since(onset) >= PAGES_FOR_MILLIS;
    let body = Body {
        scope: scope.clone(),
        streams: vec![scope.clone()],
        severity: Urgency::Ticket,
        sends: 0,
        refused: 0,
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
        basis: Basis::Count,
        settings: None,
        rules: None,
        operator_told: false,
    };
    let record = IncidentRecord {
        id: 0,
        state: if is_past { IncidentState::Past } else { IncidentState::Open },
        onset,
        opened_at: end,
        updated_at: now,
        closed_at: is_past.then_some(end),
        operator: OperatorWord::default(),
        body: body.to_value(),
    };
    Kept { record, body, explained: None, measured: false, unheard: false }
}

async fn update(
    kept: &mut Kept,
    found: &Found,
    episode: &Episode,
    store: &Leader,
    bare: &Bare<'_>,
    announcer: &Announcer<'_>,
) -> Result<(), StoreError> {
    let now = announcer.now;
    if !kept.is_open() && kept.measured {
        return Ok(());
    }
    let before = stored(kept);
    kept.record.onset = kept.record.onset.min(onset_of(episode));
    let (onset, until) = (kept.record.onset.bin(), kept.record.closed_at.unwrap_or(now).bin());
    let sums = store.cell_sums(&found.finest, onset, until).await?;
    let refused: i64 =
        sums.iter().filter(|(_, to, _)| *to == Destination::Relay).map(|(.., counts)| counts.refused).sum();
    kept.body.refused = u64::try_from(refused).unwrap_or(0);
    kept.body.addresses = store.refused_count(&found.finest, onset.0, until.0).await?;
    kept.body.sentence = describe_count(&found.scope, episode);
    kept.measured = true;
    let was_named = kept.body.named;
    if kept.wants_explanation(now) {
        reason(kept, store, found.finest.clone(), bare.keys, announcer).await?;
        kept.explained = Some((now, kept.body.refused));
    }
    let kind = if !kept.is_open() {
        None
    } else if kept.body.pages == 0 {
        Some(PageKind::Opened)
    } else if episode.over {
        kept.record.state = IncidentState::Closed;
        kept.record.closed_at = Some(end_of(episode).min(now));
        Some(PageKind::Closed)
    } else if kept.body.named.is_some() && kept.body.named != was_named {
        Some(PageKind::CauseNamed)
    } else {
        None
    };
    finish(kept, &before, store, announcer, kind, false).await
}
