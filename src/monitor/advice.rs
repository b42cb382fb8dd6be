//! Gathers from the store what advice on an address is made of. Counts only; no address is opened.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry};

use super::{CURSOR, fold::contribution, stream_key};
use crate::{
    classify::Rules,
    incident::{
        Body, IncidentError,
        advice::{Advice, Known, Mail, PATH_BINS, Refusal, Says, Surroundings, Trouble, advise},
    },
    model::{Bin, Destination, EventKind, Exposure, ReplyContext, SendTimeOrigin, StreamKey, StreamLevel, Timestamp},
    store::{EventRecord, IncidentRecord, IncidentState, LedgerRow, Position, Store, StoreError},
};

/// The latest outcomes of an address that are looked at; of their messages all outcomes are.
///
/// Messages that have only older ones are left out. Their refusals as dead could only have made a stronger case, and of their
/// deliveries the ledger knows; another's fault among them is not held against a refusal that the path has not delivered since.
const EVENTS: u32 = 1_000;
/// After everything in the journal.
const END: Position = Position { transaction: i64::MAX, row: i32::MAX };
/// Words that are kept at hand; past that the cache starts anew.
const WORDS: usize = 100_000;

/// Advises on addresses, one after the other.
///
/// What it has read of paths and incidents it keeps: addresses of one sender cost little each. It is for one run, since what comes
/// in meanwhile is not seen.
#[derive(Debug)]
pub struct Adviser {
    store: Store,
    rules: Rules,
    words: HashMap<i32, String>,
    around: Surroundings,
    /// The bin from which on each path's mail was read.
    read: HashMap<StreamKey, i64>,
    /// Incidents that ended since then are at hand.
    troubles_from: Option<Timestamp>,
    /// Up to where the monitor has judged; nothing while projections are made again.
    judged_to: Option<Position>,
}

impl Adviser {
    /// An adviser on what the store holds now.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn new(store: Store, rules: Rules, now: Timestamp) -> Result<Self, StoreError> {
        let cursor = store.cursor(CURSOR).await?;
        let around = Surroundings::new(now, Bin(store.cells_from(now).await?));
        let is_rebuilding = store.horizon().await?.rebuilt_from.is_some_and(|end| cursor < end);
        Ok(Self {
            store,
            rules,
            words: HashMap::new(),
            around,
            read: HashMap::new(),
            troubles_from: None,
            judged_to: (!is_rebuilding).then_some(cursor),
        })
    }

    /// What to do about an address; `None` where none of its mail counts as relay mail.
    ///
    /// # Errors
    /// Where the store is away, or holds what this version doesn't know.
    pub async fn advise(&mut self, address: i64) -> Result<Option<Advice>, IncidentError> {
        let Some(known) = self.known(address).await? else { return Ok(None) };
        self.read_mail(&known).await?;
        self.read_troubles(&known).await?;
        Ok(Some(advise(&known, &self.around)))
    }

    async fn known(&mut self, address: i64) -> Result<Option<Known>, IncidentError> {
        let mut events = self.store.events_of_address(address, EVENTS).await?;
        let is_cut = u32::try_from(events.len()).is_ok_and(|number| number >= EVENTS);
        let cut_at = events.iter().map(|event| event.key.at).min().filter(|_| is_cut);
        if is_cut {
            // A refusal that is cut off from its delivery would make of its message a delivery, which undoes everything.
            let messages: BTreeSet<(i64, i64)> = events.iter().map(|event| (address, event.message)).collect();
            let messages: Vec<(i64, i64)> = messages.into_iter().collect();
            events = self.store.events_of_messages(&messages, END).await?;
        }
        let ledger = self.store.ledger(address).await?;
        let is_relay = |destination: Destination| destination == Destination::Relay;
        if !events.iter().any(|event| is_relay(event.destination))
            && !ledger.is_some_and(|row| is_relay(row.destination))
        {
            return Ok(None);
        }
        let mut notices = self
            .store
            .notices_of(&[address], Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX))
            .await?;
        // What a user has said holds, also when the notice itself has outlived its retention.
        notices.extend(self.store.latest_notices(&[address]).await?);
        self.learn(&events).await?;
        let (mut known, is_hidden) = self.outcomes(&events, ledger.as_ref())?;
        known.notices = notices;
        if is_hidden {
            // Read after the outcomes: what went before them is let go only below a horizon that stands by then.
            let dropped = self.store.horizon().await?.dropped_before();
            known.forgotten_before = dropped.max(cut_at.map(|at| at.plus_millis(1)));
        }
        Ok(Some(known))
    }

    /// What came of the messages to an address, and whether the ledger's latest delivery counts for nothing, so that it hides
    /// an earlier one that the journal may have let go.
    fn outcomes(&self, events: &[EventRecord], ledger: Option<&LedgerRow>) -> Result<(Known, bool), StoreError> {
        let mut streams: HashMap<i32, StreamKey> = HashMap::new();
        for number in events.iter().map(|event| event.stream) {
            if let Entry::Vacant(vacant) = streams.entry(number) {
                vacant.insert(stream_key(number, self.word(number))?);
            }
        }
        let (mut known, mut is_hidden) = (Known::default(), false);
        let mut messages: BTreeMap<i64, Vec<&EventRecord>> = BTreeMap::new();
        for event in events {
            messages.entry(event.message).or_default().push(event);
            known.complained |= event.kind == EventKind::Complained;
            known.unsubscribed |= event.kind == EventKind::Unsubscribed;
            if event.kind == EventKind::SuppressedByProvider {
                known.removed_at = known.removed_at.max(Some(event.key.at));
            }
        }
        for events in messages.values() {
            let of = |kind: EventKind| events.iter().filter(move |event| event.kind == kind);
            if of(EventKind::Refused).next().is_none() {
                known.delivered_at = known.delivered_at.max(of(EventKind::Delivered).map(|event| event.key.at).max());
                continue;
            }
            let Some(made) = contribution(events, |number| streams.get(&number)) else { continue };
            let Some(path) = made.stream.at(StreamLevel::Envelope).filter(|_| made.destination == Destination::Relay)
            else {
                continue;
            };
            let exposed = events.iter().any(|event| event.exposure != Exposure::None);
            for event in of(EventKind::Refused) {
                let (provider, bin) = (made.stream.provider, made.sent.at.bin());
                let context = |mx| ReplyContext { provider, destination: event.destination, mx };
                let says = event.reply.map_or(Says::Nothing, |reply| {
                    let label = event.label.map(|label| self.word(label));
                    let stored = (reply.cause, self.word(reply.rule));
                    let verdict = self.rules.recall(self.word(reply.template), &context(reply.mx), label, stored);
                    verdict.map_or(Says::Changed(reply.cause), |verdict| Says::Verdict {
                        cause: verdict.cause,
                        fault: verdict.fault,
                        hard: verdict.hard,
                        action: verdict.action,
                    })
                });
                known.refusals.push(Refusal {
                    message: event.message,
                    at: event.key.at,
                    bin,
                    approximate: made.sent.origin == SendTimeOrigin::EventTime,
                    path: path.clone(),
                    exposed,
                    class: event.class,
                    says,
                    judged: self.judged_to.is_some_and(|to| event.position <= to),
                });
            }
        }
        if let Some(row) = ledger {
            known.complained |= row.complained_at.is_some();
            known.unsubscribed |= row.unsubscribed_at.is_some();
            known.removed_at = known.removed_at.max(row.suppressed_at);
            // Deliveries leave the journal sooner than refusals; one that it holds was looked at together with its message.
            let is_held = |at: Timestamp| events.iter().any(|e| e.kind == EventKind::Delivered && e.key.at == at);
            match row.last_delivered_at.filter(|at| Some(*at) > known.delivered_at) {
                Some(at) if is_held(at) => is_hidden = true,
                at => known.delivered_at = known.delivered_at.max(at),
            }
        }
        Ok((known, is_hidden))
    }

    /// Reads what the paths sent around the refusals and since, as far as that is not at hand: no more than cells are kept.
    async fn read_mail(&mut self, known: &Known) -> Result<(), StoreError> {
        let mut wanted: BTreeMap<&StreamKey, i64> = BTreeMap::new();
        for (path, Bin(bin)) in known.asks() {
            let from = wanted.entry(path).or_insert(i64::MAX);
            *from = bin.saturating_sub(PATH_BINS).min(*from);
        }
        for (path, from) in wanted {
            if self.read.get(path).is_some_and(|first| *first <= from) {
                continue;
            }
            let mail = match self.store.known_streams(std::slice::from_ref(path)).await?.first() {
                Some((number, _)) => self.store.cells(*number, from, i64::MAX).await?,
                None => Vec::new(),
            };
            let relay = mail.into_iter().filter(|(key, _)| key.destination == Destination::Relay);
            let mail = relay
                .map(|(key, counts)| (Bin(key.bin), Mail { delivered: counts.delivered, refused: counts.refused }));
            self.around.mail.insert(path.clone(), mail.collect());
            self.read.insert(path.clone(), from);
        }
        Ok(())
    }

    /// Reads the incidents that may matter, as far as they are not at hand.
    async fn read_troubles(&mut self, known: &Known) -> Result<(), IncidentError> {
        let Some(since) = known.asks_from() else { return Ok(()) };
        if self.troubles_from.is_some_and(|from| from <= since) {
            return Ok(());
        }
        let going_on = self.store.incidents(&[IncidentState::Open, IncidentState::Masked], u32::MAX).await?;
        let ended = self.store.ended_incidents(since).await?;
        let mut seen = BTreeSet::new();
        let all = going_on.into_iter().chain(ended).filter(|record| seen.insert(record.id));
        self.around.troubles = all.map(|record| trouble(&record)).collect::<Result<_, _>>()?;
        self.troubles_from = Some(since);
        Ok(())
    }

    /// The text of a word; empty where it's gone.
    fn word(&self, number: i32) -> &str {
        self.words.get(&number).map_or("", String::as_str)
    }

    async fn learn(&mut self, events: &[EventRecord]) -> Result<(), StoreError> {
        if self.words.len() > WORDS {
            self.words.clear();
        }
        let refused = events.iter().filter(|event| event.kind == EventKind::Refused);
        let of_replies = refused.flat_map(|event| {
            let reply = event.reply.map(|reply| [reply.template, reply.rule]);
            reply.into_iter().flatten().chain(event.label)
        });
        let wanted: HashSet<i32> = events.iter().map(|event| event.stream).chain(of_replies).collect();
        let wanted: Vec<i32> = wanted.into_iter().filter(|number| !self.words.contains_key(number)).collect();
        if !wanted.is_empty() {
            self.words.extend(self.store.words(&wanted).await?);
        }
        Ok(())
    }
}

fn trouble(record: &IncidentRecord) -> Result<Trouble, IncidentError> {
    Ok(Trouble {
        incident: record.id,
        state: record.state,
        label: record.operator.label,
        scope: Body::from_record(record)?.scope,
        onset: record.onset,
        closed_at: record.closed_at,
    })
}
