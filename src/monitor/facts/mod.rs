//! Gathers from the store what an incident is explained from: counts only, no address leaves here.
//!
//! A constant number of reads for each page of addresses, whatever the incident's size. What the store cannot tell stays
//! `None`: "not checked".

mod dimensions;
mod exposure;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use self::{
    dimensions::{Senders, concentration, control_group},
    exposure::{Standing, blind_share, standing},
};
use crate::{
    detect::Counts,
    explain::{
        BlindWindow, Control, DnsChange, IncidentFacts, LastDelivery, NoticeFacts, OneText, RelayMail, ReplyText,
        shortened,
    },
    model::{Bin, Cause, DAY_MILLIS, Destination, HOUR_MILLIS, StreamKey, Timestamp},
    monitor::blind::{Window, known, touching},
    sources::watch::{CEILING_MILLIS, Observation, SETTLE_MILLIS},
    store::{AddressNotice, EntryKind, EntryRecord, RefusedAddress, Span, Store, StoreError, template_id},
};

/// Addresses of one read, and of the samples of accepted addresses.
const PAGE: u32 = 20_000;
/// Refused addresses that are looked at; ids are random, so that beyond it the first ones are a sample.
const MOST_REFUSED: usize = 500_000;
/// A notice counts from so long before the refusal …
const BEFORE_MILLIS: i64 = 30 * DAY_MILLIS;
/// … to so long after it.
const AFTER_MILLIS: i64 = 48 * HOUR_MILLIS;
/// How far back accepted mail shows the usual exposure.
const USUAL_MILLIS: i64 = 28 * DAY_MILLIS;
/// The least accepted and mapped addresses that show it.
const LEAST_USUAL: u64 = 20;
/// Bins from which a control group's usual rate is taken: 30 days.
const USUAL_BINS: i64 = 30 * 288;
/// A last delivery longer ago than this marks a stale address.
const STALE_MILLIS: i64 = 180 * DAY_MILLIS;

/// Refused addresses whose replies are read for their texts.
const MOST_TEXTS_OF: usize = 2_000;
/// Texts of replies that are kept, and characters of each.
const MOST_TEXTS: u32 = 3;
/// Texts of earlier replies among which that of the incident is looked for.
const MOST_TEXTS_BEFORE: u32 = 100;
const TEXT_LENGTH: usize = 300;

/// A change of DNS is evidence from so long before the onset …
const CHANGE_BEFORE_MILLIS: i64 = 6 * HOUR_MILLIS;
/// … until the watch has seen what was changed at the onset: the longest time between two looks, and until it counts.
const CHANGE_SEEN_MILLIS: i64 = CEILING_MILLIS + CEILING_MILLIS / 10 + 2 * SETTLE_MILLIS;
/// Observations that are read, changes that are told, and letters of each record.
const MOST_OBSERVATIONS: u32 = 500;
const MOST_CHANGES: usize = 10;
const SHOWN_RECORD: usize = 80;

/// Mails of Apple's that are told of.
const MOST_RELAY_MAILS: u32 = 10;

/// What an incident covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// The finest streams inside the incident's stream, with their numbers.
    pub finest: Vec<(i32, StreamKey)>,
    /// Every finest stream that is known: the rest to compare with.
    pub all_finest: Vec<(i32, StreamKey)>,
    /// The estimated onset.
    pub onset: Bin,
    /// The last judged bin.
    pub until: Bin,
    /// What the detector counted since the onset.
    pub counts: Counts,
    /// How many of those messages would have been refused in ordinary times.
    pub expected: f64,
}

impl Scope {
    /// The ordinary refusal rate, as the detector has it.
    fn rate(&self) -> f64 {
        self.expected / crate::detect::stats::count(self.counts.sends.max(1))
    }

    /// Streams that an event of one of the finest streams may name, since each event names what its report tells and a message's
    /// finest stream is put together from all of them.
    fn told_by_events(&self) -> Vec<StreamKey> {
        let mut keys: BTreeSet<StreamKey> = BTreeSet::new();
        for (_, key) in &self.finest {
            let Some(provider) = key.provider else { continue };
            for kept in 0_u8..8 {
                let part = |bit: u8, part: &Option<String>| part.clone().filter(|_| kept & bit != 0);
                keys.insert(StreamKey::finest(
                    provider,
                    part(1, &key.from_domain),
                    part(2, &key.envelope_domain),
                    part(4, &key.campaign),
                ));
            }
        }
        keys.into_iter().collect()
    }
}

/// The blind windows that touch an incident from its onset, or from before, to `until`: as its evidence is gathered, so far as
/// they are known now.
///
/// # Errors
/// Where the store is away.
pub async fn blind_now(
    store: &Store,
    onset: Timestamp,
    until: Timestamp,
    now: Timestamp,
) -> Result<Vec<BlindWindow>, StoreError> {
    let windows = known(store, now).await?;
    Ok(touching(&windows, onset.plus_millis(-BEFORE_MILLIS), until.bin().end().plus_millis(AFTER_MILLIS)))
}

/// All that the store knows of an incident; `windows` are the blind windows of the journal, by their begin.
///
/// [`IncidentFacts::arrivals`] stays `None`: the journal keeps no arrival times, and repeats leave no trace in it. Accepted
/// addresses are a sample of at most 20,000, the same one each time.
///
/// # Errors
/// Where the store is away, or holds what this version doesn't know.
pub async fn gather(store: &Store, scope: &Scope, windows: &[Window]) -> Result<IncidentFacts, StoreError> {
    let onset = scope.onset.start();
    let last = scope.until.end().plus_millis(AFTER_MILLIS);
    let blind_windows = touching(windows, onset.plus_millis(-BEFORE_MILLIS), last);

    let refused = Refused::read(store, scope).await?;
    let mut notices = refused.notices;
    // Streams that events of these messages may name.
    let told: Vec<i32> = store.known_streams(&scope.told_by_events()).await?.into_iter().map(|(id, _)| id).collect();
    let accepted = accepted(store, scope, &told, &refused.addresses).await?;
    notices.accepted_exposed = accepted.exposed;
    notices.accepted_unexposed = accepted.unexposed;
    let usual = usual(store, onset, &refused.addresses).await?;
    let usual_mapped = usual.exposed + usual.unexposed;
    notices.usual_exposure = (usual_mapped >= LEAST_USUAL).then(|| usual.share());
    // Where no notice ever came before the onset, nothing shows that the endpoint was watched at all.
    let watched = store.first_notice().await?.is_some_and(|first| first < onset);
    notices.blind_share = if watched {
        let notice_windows = blind_windows.iter().filter(|window| window.watched.covers_notices());
        blind_share(notice_windows, onset.plus_millis(-BEFORE_MILLIS), scope.until.end())
    } else {
        1.0
    };
    let mut sample: Vec<i64> = refused.addresses.iter().copied().collect();
    if sample.len() > MOST_TEXTS_OF {
        // Ids are random, so that the first ones are a sample, and the same one each time.
        sample.select_nth_unstable(MOST_TEXTS_OF);
        sample.truncate(MOST_TEXTS_OF);
    }
    let texts = store.reply_texts(&sample, &told, onset, last, MOST_TEXTS).await?;
    let one_text = match texts.first() {
        Some((text, addresses)) => one_text(store, scope, &told, (text, *addresses, sample.len() as u64)).await?,
        None => None,
    };
    let refused_mapped = notices.refused_exposed_before + notices.refused_exposed_after + notices.refused_unexposed;
    let any_mapped = refused_mapped + accepted.exposed + accepted.unexposed + usual_mapped > 0;

    let mut facts = IncidentFacts {
        onset: Some(onset),
        counts: scope.counts,
        expected: scope.expected,
        refused_addresses: u64::try_from(refused.addresses.len()).unwrap_or(u64::MAX),
        notices: any_mapped.then_some(notices),
        replies: refused.replies,
        texts: texts
            .into_iter()
            .map(|(text, addresses)| ReplyText {
                template: template_id(&text),
                text: shortened(&text, TEXT_LENGTH),
                addresses,
            })
            .collect(),
        one_text,
        texts_of: sample.len() as u64,
        last_delivery: Some(refused.last_delivery),
        blind_windows,
        relay_mails: relay_mails(store, onset.plus_millis(-BEFORE_MILLIS), last).await?,
        dns_changes: dns_changes(store, scope, onset).await?,
        ..IncidentFacts::default()
    };
    streams(store, scope, &mut facts).await?;
    facts.other_control = other_control(store, scope).await?;
    Ok(facts)
}

/// The mails of Apple's about the relay between these times, the earliest first; the latest ones where there are too many.
async fn relay_mails(store: &Store, from: Timestamp, to: Timestamp) -> Result<Vec<RelayMail>, StoreError> {
    let span = Span { since: Some(from), until: Some(to) };
    let entries = store.entries_by_time(EntryKind::RelayNotification, span, None, MOST_RELAY_MAILS).await?;
    Ok(entries.iter().rev().filter_map(relay_mail).collect())
}

/// What the watch observed to change in the DNS of the incident's domains around its onset, the earliest first.
async fn dns_changes(store: &Store, scope: &Scope, onset: Timestamp) -> Result<Vec<DnsChange>, StoreError> {
    let domains: BTreeSet<&str> = scope
        .finest
        .iter()
        .flat_map(|(_, key)| [key.from_domain.as_deref(), key.envelope_domain.as_deref()])
        .flatten()
        .collect();
    let (since, until) = (onset.plus_millis(-CHANGE_BEFORE_MILLIS), onset.plus_millis(CHANGE_SEEN_MILLIS));
    let span = Span { since: Some(since), until: Some(until) };
    let entries = store.entries_by_time(EntryKind::DnsObservation, span, None, MOST_OBSERVATIONS).await?;
    let change = |entry: &EntryRecord| match serde_json::from_value(entry.body.clone()).ok()? {
        Observation::Record(record) if record.is_change() => {
            let concerns = record.domains.iter().any(|domain| domains.contains(domain.as_str()));
            let grade = record.grade.map_or("notable", |grade| grade.as_str()).to_owned();
            concerns.then(|| DnsChange { at: entry.key.at, says: record.says(SHOWN_RECORD), grade })
        }
        _ => None,
    };
    Ok(entries.iter().rev().filter_map(change).take(MOST_CHANGES).collect())
}

/// The mail of Apple's that an entry tells of.
#[must_use]
pub fn relay_mail(entry: &EntryRecord) -> Option<RelayMail> {
    let mut told = entry.body.get("says")?.clone();
    told.as_object_mut()?.insert("at".to_owned(), serde_json::to_value(entry.key.at).ok()?);
    serde_json::from_value(told).ok()
}

/// How the incident's most frequent reply (its text, the addresses that got it, and of how many) compares with the 30 days
/// before: among a sample of those that were refused then. `None` where nothing was sent then.
async fn one_text(
    store: &Store,
    scope: &Scope,
    told: &[i32],
    (text, since, of): (&str, u64, u64),
) -> Result<Option<OneText>, StoreError> {
    let (from, to) = before(scope.onset);
    let streams: Vec<i32> = scope.finest.iter().map(|(id, _)| *id).collect();
    let most = u32::try_from(MOST_TEXTS_OF).unwrap_or(u32::MAX);
    let refused = store.refused_with_ledger(&streams, from, to, i64::MIN, most).await?;
    let refused: Vec<i64> = refused.iter().map(|row| row.address).collect();
    if refused.is_empty() {
        let sums = store.cell_sums(&streams, from, to).await?;
        let sent = sums.iter().any(|(_, to, counts)| *to == Destination::Relay && counts.exposed > 0);
        return Ok(sent.then_some(OneText { since, of, before: 0, before_of: 0 }));
    }
    let texts = store.reply_texts(&refused, told, from.start(), to.end(), MOST_TEXTS_BEFORE).await?;
    // A text that is not among them was that of less than a hundredth of the sample.
    let before = texts.iter().find(|(earlier, _)| earlier == text).map_or(0, |(_, addresses)| *addresses);
    Ok(Some(OneText { since, of, before, before_of: refused.len() as u64 }))
}

/// What is known of the refused addresses.
#[derive(Default)]
struct Refused {
    addresses: HashSet<i64>,
    replies: BTreeMap<Cause, u64>,
    last_delivery: LastDelivery,
    notices: NoticeFacts,
}

impl Refused {
    async fn read(store: &Store, scope: &Scope) -> Result<Self, StoreError> {
        let streams: Vec<i32> = scope.finest.iter().map(|(id, _)| *id).collect();
        let mut all = Self::default();
        let mut after = i64::MIN;
        loop {
            let page = store.refused_with_ledger(&streams, scope.onset, scope.until, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.address;
            let times: Vec<(i64, Timestamp)> =
                page.iter().map(|row| (row.address, refused_at(row, scope.until))).collect();
            let standings = standings(store, &times).await?;
            for row in &page {
                all.add(row, standings.get(&row.address).copied().unwrap_or(Standing::Unmapped));
            }
            if page.len() < PAGE as usize || all.addresses.len() >= MOST_REFUSED {
                break;
            }
        }
        Ok(all)
    }

    fn add(&mut self, row: &RefusedAddress, standing: Standing) {
        self.addresses.insert(row.address);
        if let Some(cause) = row.last_cause {
            *self.replies.entry(cause).or_default() += 1;
        }
        match standing {
            Standing::Before => self.notices.refused_exposed_before += 1,
            Standing::After => self.notices.refused_exposed_after += 1,
            Standing::Unexposed => self.notices.refused_unexposed += 1,
            Standing::Unmapped => self.notices.refused_unmapped += 1,
        }
        let sent = row.first_bin.start();
        // The ledger keeps the latest delivery only: one of the refused message itself or after it hides those before.
        let before = row.last_delivered_at.filter(|delivered| *delivered < sent);
        let old = row.first_event_at.is_some_and(|first| sent.millis_since(first) >= DAY_MILLIS);
        self.last_delivery.known += u64::from(row.last_delivered_at.is_some() || old);
        let age = before.map(|delivered| sent.millis_since(delivered));
        self.last_delivery.within_a_day += u64::from(age.is_some_and(|age| age <= DAY_MILLIS));
        self.last_delivery.stale += u64::from(age.is_some_and(|age| age > STALE_MILLIS));
    }
}

/// When an address was first refused in the incident: exact where the ledger's latest refusal can only be that one, else by
/// the end of the first bin.
fn refused_at(row: &RefusedAddress, until: Bin) -> Timestamp {
    let exact = row.last_refused_at.filter(|at| {
        row.first_bin == row.last_bin && *at >= row.first_bin.start() && *at < until.end().plus_millis(AFTER_MILLIS)
    });
    exact.unwrap_or_else(|| row.first_bin.end())
}

/// How each of at most [`PAGE`] addresses stands with the notices around its own time.
async fn standings(store: &Store, people: &[(i64, Timestamp)]) -> Result<HashMap<i64, Standing>, StoreError> {
    let times = || people.iter().map(|(_, at)| *at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(HashMap::new()) };
    let ids: Vec<i64> = people.iter().map(|(address, _)| *address).collect();
    let mapped: HashSet<i64> = store.mapped_addresses(&ids).await?.into_iter().collect();
    let (from, to) = (first.plus_millis(-BEFORE_MILLIS), last.plus_millis(AFTER_MILLIS));
    let mut notices: HashMap<i64, Vec<AddressNotice>> = HashMap::new();
    for notice in store.notices_of(&ids, from, to).await? {
        notices.entry(notice.address).or_default().push(notice);
    }
    let of = |address: i64, at: Timestamp| {
        let told = notices.get(&address).map_or(&[][..], Vec::as_slice);
        if mapped.contains(&address) { standing(told, at) } else { Standing::Unmapped }
    };
    Ok(people.iter().map(|(address, at)| (*address, of(*address, *at))).collect())
}

/// Mapped addresses that accepted mail, with and without a notice.
#[derive(Default)]
struct Accepted {
    exposed: u64,
    unexposed: u64,
}

impl Accepted {
    async fn of(store: &Store, people: &[(i64, Timestamp)]) -> Result<Self, StoreError> {
        let mut all = Self::default();
        for standing in standings(store, people).await?.into_values() {
            match standing {
                Standing::Before | Standing::After => all.exposed += 1,
                Standing::Unexposed => all.unexposed += 1,
                Standing::Unmapped => {}
            }
        }
        Ok(all)
    }

    fn share(&self) -> f64 {
        let count = crate::detect::stats::count;
        count(self.exposed) / count((self.exposed + self.unexposed).max(1))
    }
}

/// Addresses that accepted mail of the same streams since the onset and were not refused.
async fn accepted(
    store: &Store,
    scope: &Scope,
    streams: &[i32],
    refused: &HashSet<i64>,
) -> Result<Accepted, StoreError> {
    let mut people = store.accepted_sample(streams, scope.onset, scope.until, PAGE).await?;
    people.retain(|(address, _)| !refused.contains(address));
    Accepted::of(store, &people).await
}

/// Addresses that accepted any mail in the weeks before: what exposure is usual.
async fn usual(store: &Store, onset: Timestamp, refused: &HashSet<i64>) -> Result<Accepted, StoreError> {
    let mut people = store.delivered_sample(onset.plus_millis(-USUAL_MILLIS), PAGE).await?;
    people.retain(|(address, _)| !refused.contains(address));
    for (_, at) in &mut people {
        *at = (*at).min(onset);
    }
    Accepted::of(store, &people).await
}

/// What the cells tell: in which dimension the trouble sits, and how ordinary mailboxes at Apple fare.
async fn streams(store: &Store, scope: &Scope, facts: &mut IncidentFacts) -> Result<(), StoreError> {
    let keys: HashMap<i32, &StreamKey> = scope.all_finest.iter().map(|(id, key)| (*id, key)).collect();
    let ids: Vec<i32> = keys.keys().copied().collect();
    let senders = Senders::of(scope.finest.iter().map(|(_, key)| key));
    let mut relay: Vec<(&StreamKey, Counts)> = Vec::new();
    let mut shared = Counts::default();
    for (stream, destination, counts) in store.cell_sums(&ids, scope.onset, scope.until).await? {
        let Some(key) = keys.get(&stream) else { continue };
        match destination {
            Destination::Relay => relay.push((key, exposed(counts.exposed, counts.refused))),
            Destination::Shared if senders.contains(key) => {
                shared = shared.plus(exposed(counts.exposed, counts.refused));
            }
            _ => {}
        }
    }
    let found = concentration(&relay, scope.rate());
    facts.senders = found.senders;
    facts.providers = found.providers;
    facts.campaigns = found.campaigns;
    if shared.sends > 0 {
        let (from, to) = before(scope.onset);
        let ids: Vec<i32> = keys.iter().filter(|(_, key)| senders.contains(key)).map(|(id, _)| *id).collect();
        let sums = store.cell_sums(&ids, from, to).await?;
        let usual = sums.iter().filter(|(_, destination, _)| *destination == Destination::Shared);
        let usual = usual.fold(Counts::default(), |sum, (_, _, c)| sum.plus(exposed(c.exposed, c.refused)));
        facts.apple_control = control_group(shared, usual);
    }
    Ok(())
}

/// How recipients outside the relay domains and outside Apple fare in the same senders' mail.
async fn other_control(store: &Store, scope: &Scope) -> Result<Option<Control>, StoreError> {
    let now = store.control_sums(scope.onset, scope.until).await?;
    if now.is_empty() {
        return Ok(None);
    }
    let (from, to) = before(scope.onset);
    let earlier = store.control_sums(from, to).await?;
    let senders = Senders::of(scope.finest.iter().map(|(_, key)| key));
    let ids: BTreeSet<i32> = now.iter().chain(&earlier).map(|sum| sum.stream).collect();
    let ids: Vec<i32> = ids.into_iter().collect();
    let keys = store.stream_keys(&ids).await?;
    let ours: HashSet<i32> = keys.iter().filter(|(_, key)| senders.contains(key)).map(|(id, _)| *id).collect();
    let total = |sums: &[crate::store::ControlSum]| {
        sums.iter().filter(|sum| ours.contains(&sum.stream)).fold(Counts::default(), |total, sum| {
            // A feed reports every send or every outcome: the larger of both is what was sent.
            total.plus(exposed(sum.sent.max(sum.delivered + sum.refused), sum.refused))
        })
    };
    Ok(control_group(total(&now), total(&earlier)))
}

/// The bins from which the usual rate is taken.
const fn before(onset: Bin) -> (Bin, Bin) {
    (Bin(onset.0 - USUAL_BINS), Bin(onset.0 - 1))
}

/// Stored counts as the detector counts them: no refusal without a send.
fn exposed(sends: i64, refused: i64) -> Counts {
    let sends = u64::try_from(sends).unwrap_or(0);
    Counts { sends, refused: u64::try_from(refused).unwrap_or(0).min(sends) }
}
