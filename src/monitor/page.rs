//! One page of the journal becomes one change of the projections.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    CURSOR, Monitor, STREAM_CACHE,
    fold::{
        CellChanges, Contribution, FeedChanges, RefusedChanges, change, change_feed, change_refused, change_unsent,
        contribution, ledger,
    },
    judge::DAY_BINS,
    live::Live,
    stream_key,
};
use crate::{
    detect::ClusterTotals,
    model::{Destination, OTHER, StreamKey, StreamLevel, Timestamp},
    store::{
        CellKey, DayChange, EventRecord, FeedCounts, Fold, Horizon, Position, RefusedChange, StoreError, is_kept_long,
    },
};

/// Outcomes that one step reads at most.
pub(super) const STEP: u32 = 5_000;
/// Days of which it is kept at hand which streams are counted one by one, up to the newest.
const DAYS_AT_HAND: i64 = 8;

/// What folding a page of the journal has changed.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Outcomes in the page.
    pub(super) folded: usize,
    /// The journal held no more when it was read.
    pub(super) last: bool,
    /// The cursor stood elsewhere than where the last page had ended.
    pub(super) jumped: bool,
    /// The latest time of an outcome in the page; none while projections are made again.
    pub(super) newest: Option<Timestamp>,
    /// Changed cells of relay mail of finest streams: number, key, bin.
    pub(super) cells: Vec<(i32, StreamKey, i64)>,
    /// What totals of days were and what they are: key of the finest stream, day.
    pub(super) days: Vec<(StreamKey, i64, ClusterTotals, ClusterTotals)>,
}

/// The outcomes of one message to one recipient: those folded before, and those that this step brings.
#[derive(Default)]
struct Message<'a> {
    earlier: Vec<&'a EventRecord>,
    fresh: Vec<&'a EventRecord>,
}

/// What a message counts, booked in (1) or out (-1).
pub(super) struct Booking {
    pub(super) address: i64,
    pub(super) made: Contribution,
    pub(super) sign: i64,
    pub(super) feed: i32,
}

/// A step as it was read: what it books, and the rest of it.
pub(super) struct Read {
    pub(super) bookings: Vec<Booking>,
    /// Without what the bookings change.
    pub(super) step: Fold,
    /// Outcomes that it goes on by in the journal.
    pub(super) folded: usize,
    /// The journal held no more.
    pub(super) last: bool,
    /// The latest time of one of them; none while projections are made again.
    pub(super) newest: Option<Timestamp>,
}

impl Booking {
    fn day(&self) -> i64 {
        day_of(self.made.sent.at.bin().0)
    }
}

/// All changes of a page, before streams have numbers.
#[derive(Default)]
struct Changes {
    cells: CellChanges,
    who: RefusedChanges,
    /// Sends and refusals of relay mail by finest stream and day.
    days: BTreeMap<(StreamKey, i64), (i64, i64)>,
    /// Finest streams whose mail of a day is counted elsewhere now, with what it was.
    gone: BTreeMap<(StreamKey, i64), (i64, i64)>,
}

/// What the checkpoints hold: it stays as it is counted.
#[derive(Default)]
pub(super) struct Held {
    before: Option<Timestamp>,
    /// Messages that were sent before though what is left of them does not tell.
    noted: HashSet<(i64, i64)>,
}

impl Held {
    pub(super) fn holds(&self, address: i64, message: i64, made: &Contribution) -> bool {
        self.before.is_some_and(|end| made.sent.at < end) || self.noted.contains(&(address, message))
    }
}

const fn day_of(bin: i64) -> i64 {
    bin.div_euclid(DAY_BINS)
}

impl Monitor {
    /// Folds one page of the journal; gives what it changed, or nothing where there was no more.
    pub(super) async fn fold_page(&mut self) -> Result<Option<Page>, StoreError> {
        // Where the step fails, what was met in it is forgotten and read again from the store.
        let limits = self.live.limits();
        let mut live = std::mem::replace(&mut self.live, Live::new(limits));
        let from = self.store.cursor(CURSOR).await?;
        let jumped = self.ended_at.replace(from).is_some_and(|ended_at| ended_at != from);
        if jumped {
            live = Live::new(limits);
        }
        let horizon = self.store.horizon().await?;
        let read = match self.turned(from, &horizon).await? {
            None => self.read_page(from, &horizon).await?,
            turned => turned,
        };
        let Some(Read { bookings, step, folded, last, newest }) = read else {
            self.live = live;
            return Ok(None);
        };
        let to = step.to;
        let changes = self.place(&mut live, &bookings).await?;
        let page = self.apply(changes, step).await?;
        if let Some(newest) = bookings.iter().map(Booking::day).max() {
            let (_, overflowed) = live.count(newest);
            self.metrics.streams_overflowed.set(i64::try_from(overflowed).unwrap_or(i64::MAX));
            live.forget_before(newest - DAYS_AT_HAND);
        }
        self.live = live;
        self.ended_at = Some(to);
        self.progress.send_modify(|progress| {
            progress.position = to;
            progress.folded += folded as u64;
        });
        self.metrics.monitor_folded.inc_by(folded as u64);
        Ok(Some(Page { folded, last, jumped, newest, ..page }))
    }

    /// Reads what comes next in the journal; nothing where there is no more.
    async fn read_page(&mut self, from: Position, horizon: &Horizon) -> Result<Option<Read>, StoreError> {
        let mut fresh = self.store.events_after(from, self.page).await?;
        let again = horizon.rebuilt_from.filter(|end| from < *end);
        if let (true, Some(end)) = (fresh.is_empty(), again) {
            // What a rebuild would have ended with has been let go: it is done.
            let step = Fold { from, to: end, sealed: horizon.sealed, ..Fold::default() };
            self.store.apply(CURSOR, &step).await?;
            self.ended_at = Some(end);
        }
        let last = again.is_none() && fresh.len() < usize::try_from(self.page).unwrap_or(usize::MAX);
        let known_before = fresh.partition_point(|event| again.is_some_and(|end| event.position <= end));
        let again = again.is_some() && known_before > 0;
        if again {
            fresh.truncate(known_before);
        }
        let Some(to) = fresh.last().map(|event| event.position) else { return Ok(None) };
        let folded = fresh.len();
        let newest = fresh.iter().map(|event| event.key.at).max().filter(|_| !again);
        fresh.retain(|event| !too_old(event, horizon));
        if !again {
            self.metrics.monitor_too_old.inc_by((folded - fresh.len()) as u64);
        }
        let mut feeds = FeedChanges::new();
        // While projections are made again, what happened on days of a checkpoint is counted there already.
        let held = horizon.sealed_before().filter(|_| again);
        for event in fresh.iter().filter(|event| held.is_none_or(|end| event.key.at >= end)) {
            change_feed(&mut feeds, event);
        }
        let bookings = self.bookings(&fresh, from, horizon, again, &mut feeds).await?;
        feeds.retain(|_, counts| *counts != FeedCounts::default());
        let (ledger, feeds) = (ledger(&fresh), feeds.into_iter().collect());
        let step = Fold { from, to, sealed: horizon.sealed, ledger, feeds, ..Fold::default() };
        Ok(Some(Read { bookings, step, folded, last, newest }))
    }

    /// What the messages of a page counted before and what they count now.
    async fn bookings(
        &mut self,
        fresh: &[EventRecord],
        from: Position,
        horizon: &Horizon,
        again: bool,
        feeds: &mut FeedChanges,
    ) -> Result<Vec<Booking>, StoreError> {
        let mut messages: BTreeMap<(i64, i64), Message<'_>> = BTreeMap::new();
        for event in fresh {
            messages.entry((event.address, event.message)).or_default().fresh.push(event);
        }
        let pairs: Vec<(i64, i64)> = messages.keys().copied().collect();
        let mut earlier = self.store.events_of_messages(&pairs, from).await?;
        earlier.retain(|event| !too_old(event, horizon));
        for event in &earlier {
            if let Some(message) = messages.get_mut(&(event.address, event.message)) {
                message.earlier.push(event);
            }
        }
        self.learn_streams(fresh.iter().chain(&earlier)).await?;
        let held = if again { self.held(&pairs, horizon).await? } else { Held::default() };
        let mut bookings = Vec::new();
        for (&(address, message), events) in &messages {
            let mut book = |events: &[&EventRecord], sign: i64| {
                let Some(made) = contribution(events, |id| self.streams.get(&id)) else { return };
                // While projections are made again, what a checkpoint holds is there already.
                if !held.holds(address, message, &made) {
                    change_unsent(feeds, events, &made, sign);
                    let feed = events.first().map_or(0, |event| event.feed);
                    bookings.push(Booking { address, made, sign, feed });
                }
            };
            book(&events.earlier, -1);
            let all: Vec<&EventRecord> = events.earlier.iter().chain(&events.fresh).copied().collect();
            book(&all, 1);
        }
        Ok(bookings)
    }

    /// Which of these messages, and of all others, the checkpoints hold.
    pub(super) async fn held(&self, pairs: &[(i64, i64)], horizon: &Horizon) -> Result<Held, StoreError> {
        let noted = match horizon.sealed {
            Some(day) => self.store.sealed_messages(pairs, day).await?.into_iter().collect(),
            None => HashSet::new(),
        };
        Ok(Held { before: horizon.sealed_before(), noted })
    }

    /// Finds the streams that the messages are counted in, and makes room where there are too many.
    async fn place(&self, live: &mut Live, bookings: &[Booking]) -> Result<Changes, StoreError> {
        let days: BTreeSet<i64> = bookings.iter().map(Booking::day).collect();
        let mut overflowed: BTreeSet<(i64, StreamKey)> = BTreeSet::new();
        for day in &days {
            if !live.has(*day) {
                let known = self.store.day_totals(*day).await?;
                let known: Result<Vec<StreamKey>, StoreError> =
                    known.iter().map(|(id, text, ..)| stream_key(*id, text)).collect();
                live.load(*day, &known?);
            }
            overflowed.extend(live.overflowed(*day).map(|stream| (*day, stream.clone())));
        }
        let mut moved: BTreeSet<(i64, StreamKey)> = BTreeSet::new();
        for booking in bookings.iter().filter(|booking| booking.sign > 0) {
            let day = booking.day();
            moved.extend(live.meet(day, &booking.made.stream).into_iter().map(|stream| (day, stream)));
        }
        let mut changes = Changes::default();
        for booking in bookings {
            let Booking { address, made, sign, .. } = booking;
            let (bin, day) = (made.sent.at.bin().0, booking.day());
            let stream = live.place(day, &made.stream);
            change(&mut changes.cells, &stream, bin, made.destination, &made.counts, *sign);
            change_refused(&mut changes.who, &stream, *address, made, i32::try_from(*sign).unwrap_or(0));
            // Also where nothing of it is relay mail: the row tells that the stream was met on this day.
            let total = changes.days.entry((stream, day)).or_default();
            if made.destination == Destination::Relay {
                total.0 += sign * made.counts.exposed;
                total.1 += sign * made.counts.refused_exposed;
            }
        }
        self.move_out(live, &moved, &mut changes).await?;
        for day in days {
            for parent in live.overflowed(day).filter(|parent| !overflowed.contains(&(day, (*parent).clone()))) {
                self.warn_of(parent, bookings).await?;
            }
        }
        Ok(changes)
    }

    /// Moves what the store counts in streams that had to make room.
    async fn move_out(
        &self,
        live: &Live,
        moved: &BTreeSet<(i64, StreamKey)>,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let keys: Vec<StreamKey> = moved.iter().map(|(_, stream)| stream.clone()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let numbers: BTreeMap<StreamKey, i32> =
            self.store.known_streams(&keys).await?.into_iter().map(|(number, key)| (key, number)).collect();
        let days: BTreeSet<i64> = moved.iter().map(|(day, _)| *day).collect();
        for day in days {
            let of_day = moved.iter().filter(|(moved, _)| *moved == day);
            let from: HashMap<i32, &StreamKey> =
                of_day.filter_map(|(_, stream)| Some((*numbers.get(stream)?, stream))).collect();
            let ids: Vec<i32> = from.keys().copied().collect();
            let (first, last) = (day * DAY_BINS, (day + 1) * DAY_BINS - 1);
            for (CellKey { stream, bin, destination }, counts) in self.store.cells_within(&ids, first, last).await? {
                let Some(stream) = from.get(&stream) else { continue };
                change(&mut changes.cells, stream, bin, destination, &counts, -1);
                change(&mut changes.cells, &live.place(day, stream), bin, destination, &counts, 1);
            }
            for who in self.store.refused_within(&ids, first, last).await? {
                let Some(stream) = from.get(&who.stream) else { continue };
                *changes.who.entry(((*stream).clone(), who.bin, who.address)).or_default() -= who.change;
                *changes.who.entry((live.place(day, stream), who.bin, who.address)).or_default() += who.change;
            }
            let wanted: Vec<(i32, i64)> = ids.iter().map(|id| (*id, day)).collect();
            for (id, day, exposed, refused) in self.store.day_totals_of(&wanted).await? {
                let Some(stream) = from.get(&id) else { continue };
                changes.gone.insert(((*stream).clone(), day), (exposed, refused));
                let total = changes.days.entry((live.place(day, stream), day)).or_default();
                total.0 += exposed;
                total.1 += refused;
            }
        }
        Ok(())
    }

    /// Gives the streams their numbers and books everything in one transaction.
    async fn apply(&self, mut changes: Changes, mut step: Fold) -> Result<Page, StoreError> {
        changes.who.retain(|_, change| *change != 0);
        changes.cells.retain(|_, counts| !counts.is_zero());
        let keys: Vec<StreamKey> = {
            let cells = changes.cells.keys().map(|(stream, _, _)| stream);
            let who = changes.who.keys().map(|(stream, _, _)| stream);
            let days = changes.days.keys().chain(changes.gone.keys()).map(|(stream, _)| stream);
            let keys: BTreeSet<&StreamKey> = cells.chain(who).chain(days).collect();
            keys.into_iter().cloned().collect()
        };
        let ids: HashMap<StreamKey, i32> = keys.iter().cloned().zip(self.store.stream_ids(&keys).await?).collect();
        let mut page = Page::default();
        for ((stream, bin, destination), counts) in changes.cells {
            let Some(&id) = ids.get(&stream) else { continue };
            step.cells.push((CellKey { stream: id, bin, destination }, counts));
            if stream.level == StreamLevel::Campaign && destination == Destination::Relay {
                page.cells.push((id, stream, bin));
            }
        }
        step.refused = changes
            .who
            .into_iter()
            .filter_map(|((stream, bin, address), change)| {
                Some(RefusedChange { stream: *ids.get(&stream)?, bin, address, change })
            })
            .collect();
        let wanted: Vec<(i32, i64)> =
            changes.days.keys().filter_map(|(stream, day)| Some((*ids.get(stream)?, *day))).collect();
        let before: HashMap<(i32, i64), (i64, i64)> = self
            .store
            .day_totals_of(&wanted)
            .await?
            .into_iter()
            .map(|(id, day, exposed, refused)| ((id, day), (exposed, refused)))
            .collect();
        for ((stream, day), (exposed, refused)) in changes.days {
            let Some(&id) = ids.get(&stream) else { continue };
            let known = before.get(&(id, day)).copied();
            if known.is_some() && (exposed, refused) == (0, 0) {
                continue;
            }
            step.days.push(DayChange { stream: id, day, exposed, refused });
            let was = known.unwrap_or_default();
            page.days.push((stream, day, totals(was), totals((was.0 + exposed, was.1 + refused))));
        }
        for ((stream, day), was) in changes.gone {
            step.gone.extend(ids.get(&stream).map(|id| (*id, day)));
            page.days.push((stream, day, totals(was), ClusterTotals::default()));
        }
        self.store.apply(CURSOR, &step).await?;
        Ok(page)
    }

    /// Says that a stream has more children than are told apart, and what to do; without their names.
    async fn warn_of(&self, parent: &StreamKey, bookings: &[Booking]) -> Result<(), StoreError> {
        let below = bookings.iter().find(|booking| booking.made.stream.at(parent.level).as_ref() == Some(parent));
        let feed = match below {
            Some(booking) => self.store.words(&[booking.feed]).await?.pop().map(|(_, name)| name),
            None => None,
        };
        let (what, advice) = match parent.level {
            StreamLevel::Provider => ("From domains", "if that is no mistake, raise detect.max_streams"),
            StreamLevel::ProviderDomain => (
                "envelope domains",
                "its sender puts an id into each envelope domain; let it use one return-path domain, or raise \
                 detect.max_streams",
            ),
            _ => (
                "campaigns",
                "its sender seems to put an id of each mail into the campaign's name; let it name the campaign only, or \
                 raise detect.max_streams",
            ),
        };
        tracing::warn!(
            feed = feed.as_deref().unwrap_or("unknown"),
            stream = %parent,
            "more {what} on one day than are told apart; the others are counted together as \"{OTHER}\". Refusals of the \
             sender as a whole are still seen. What to do: {advice}"
        );
        Ok(())
    }

    /// Looks up the keys of streams that are not yet at hand.
    pub(super) async fn learn_streams(&mut self, events: impl Iterator<Item = &EventRecord>) -> Result<(), StoreError> {
        let mut wanted: Vec<i32> = events.map(|event| event.stream).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if self.streams.len() + wanted.len() > STREAM_CACHE {
            self.streams.clear();
        }
        wanted.retain(|stream| !self.streams.contains_key(stream));
        if wanted.is_empty() {
            return Ok(());
        }
        for (id, text) in self.store.words(&wanted).await? {
            let key = stream_key(id, &text)?;
            self.streams.insert(id, key);
        }
        Ok(())
    }
}

/// Whether an outcome is of a kind and time of which the journal has let go: what repeats can no longer be told from what is
/// new, so that it counts nowhere.
pub(super) fn too_old(event: &EventRecord, horizon: &Horizon) -> bool {
    !is_kept_long(event.kind) && horizon.dropped_before().is_some_and(|start| event.key.at < start)
}

pub(super) fn totals((exposed, refused): (i64, i64)) -> ClusterTotals {
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    ClusterTotals { sends: number(exposed), refused: number(refused.min(exposed)) }
}
