//! How the journal's outcomes become cells and ledger: pure, and the same in any order, with any duplicates.

use std::collections::BTreeMap;

use crate::{
    model::{Destination, EventKind, Exposure, FailureClass, HOUR_MILLIS, SendTime, SendTimeOrigin, StreamKey},
    store::{Counts, EventRecord, FeedCounts, FeedHour, LedgerRow},
};

/// What one message to one recipient adds to the cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// The finest stream, put together from what its events tell.
    pub stream: StreamKey,
    /// The send time that names the bin.
    pub sent: SendTime,
    /// Relay mail, or the control group on shared domains.
    pub destination: Destination,
    /// What is counted.
    pub counts: Counts,
}

/// When a message was sent: by a payload, else by its `sent` event, else by the earliest event (approximate).
#[must_use]
pub fn send_time(events: &[&EventRecord]) -> Option<SendTime> {
    let payload = events.iter().filter_map(|event| event.sent_at).min();
    let sent = || events.iter().filter(|event| event.kind == EventKind::Sent).map(|event| event.key.at).min();
    let any = || events.iter().map(|event| event.key.at).min();
    payload
        .map(|at| SendTime { at, origin: SendTimeOrigin::Payload })
        .or_else(|| sent().map(|at| SendTime { at, origin: SendTimeOrigin::SentEvent }))
        .or_else(|| any().map(|at| SendTime { at, origin: SendTimeOrigin::EventTime }))
}

/// What the events of one message to one recipient count together: once, whatever came of it, in whatever order.
///
/// `stream` gives the key of a stream's number; `None` where there are no events.
#[must_use]
pub fn contribution<'a>(
    events: &[&EventRecord],
    stream: impl Fn(i32) -> Option<&'a StreamKey>,
) -> Option<Contribution> {
    let sent = send_time(events)?;
    let has = |kind: EventKind| events.iter().any(|event| event.kind == kind);
    let refused_for_good =
        events.iter().any(|event| event.kind == EventKind::Refused && event.class == FailureClass::Permanent);
    let delivered = has(EventKind::Delivered);
    let refused = has(EventKind::Refused);
    let attempted = delivered || refused;
    let suppressed = has(EventKind::SuppressedByProvider) && !attempted;

    // The strongest exposure that any feed of this message has; a denominator comes from nothing else.
    let declared = |exposure: Exposure| events.iter().any(|event| event.exposure == exposure);
    let (exposed, unexposed) = if declared(Exposure::Sends) {
        (has(EventKind::Sent) && !suppressed, attempted && !has(EventKind::Sent))
    } else if declared(Exposure::Outcomes) {
        (attempted, false)
    } else {
        (false, false)
    };
    let counts = Counts {
        exposed: i64::from(exposed),
        refused: i64::from(refused_for_good),
        delivered: i64::from(delivered && !refused),
        transient: i64::from(refused && !refused_for_good),
        deferred: i64::from(has(EventKind::Deferred) && !attempted && !suppressed),
        complained: i64::from(has(EventKind::Complained)),
        suppressed: i64::from(suppressed),
        unexposed: i64::from(unexposed),
        refused_exposed: i64::from(refused_for_good && exposed),
    };
    let keys: Vec<&StreamKey> = events.iter().filter_map(|event| stream(event.stream)).collect();
    let destination = events.iter().map(|event| event.destination).min()?;
    Some(Contribution { stream: merged(&keys)?, sent, destination, counts })
}

/// The finest stream that the events' streams name together: each part from whoever tells it; where two tell different
/// things, the one that sorts first, so that order can't matter.
fn merged(keys: &[&StreamKey]) -> Option<StreamKey> {
    let provider = keys.iter().filter_map(|key| key.provider).min()?;
    let part = |read: fn(&StreamKey) -> &Option<String>| keys.iter().filter_map(|key| read(key).clone()).min();
    Some(StreamKey::finest(
        provider,
        part(|key| &key.from_domain),
        part(|key| &key.envelope_domain),
        part(|key| &key.campaign),
    ))
}

/// Changes of what feeds reported, by feed and hour.
pub type FeedChanges = BTreeMap<FeedHour, FeedCounts>;

/// Books one outcome in for its feed, by the hour of its own time.
pub fn change_feed(feeds: &mut FeedChanges, event: &EventRecord) {
    let is = |kind: EventKind| i64::from(event.kind == kind);
    let counts = FeedCounts {
        events: 1,
        sent: is(EventKind::Sent),
        delivered: is(EventKind::Delivered),
        refused: is(EventKind::Refused),
        unsent: 0,
    };
    let hour = event.key.at.as_millis().div_euclid(HOUR_MILLIS);
    feeds.entry(FeedHour { feed: event.feed, exposure: event.exposure, hour }).or_default().add(&counts);
}

/// Books a message whose send is missing in (`sign` 1) or out (`sign` -1) for the feed that should have reported it: the first
/// by number of those that declare sends.
pub fn change_unsent(feeds: &mut FeedChanges, events: &[&EventRecord], contribution: &Contribution, sign: i64) {
    if contribution.counts.unexposed == 0 {
        return;
    }
    let declared = events.iter().filter(|event| event.exposure == Exposure::Sends);
    let Some(feed) = declared.map(|event| event.feed).min() else { return };
    let hour = contribution.sent.at.as_millis().div_euclid(HOUR_MILLIS);
    let counts = FeedCounts { unsent: sign * contribution.counts.unexposed, ..FeedCounts::default() };
    feeds.entry(FeedHour { feed, exposure: Exposure::Sends, hour }).or_default().add(&counts);
}

/// What an event tells the ledger of its address.
#[must_use]
pub fn ledger_row(event: &EventRecord) -> LedgerRow {
    let at = Some(event.key.at);
    let when = |kind: EventKind| at.filter(|_| event.kind == kind);
    let refused = when(EventKind::Refused).filter(|_| event.class == FailureClass::Permanent);
    LedgerRow {
        address: event.address,
        first_event_at: event.key.at,
        last_sent_at: event.sent_at.or_else(|| when(EventKind::Sent)),
        last_delivered_at: when(EventKind::Delivered),
        last_refused_at: refused,
        last_cause: refused.and(event.reply).map(|reply| reply.cause),
        complained_at: when(EventKind::Complained),
        unsubscribed_at: when(EventKind::Unsubscribed),
        suppressed_at: when(EventKind::SuppressedByProvider),
        destination: event.destination,
    }
}

/// What the ledger learns from events: one row for each address.
#[must_use]
pub fn ledger<'a>(events: impl IntoIterator<Item = &'a EventRecord>) -> Vec<LedgerRow> {
    let mut rows: BTreeMap<i64, LedgerRow> = BTreeMap::new();
    for event in events {
        let row = ledger_row(event);
        rows.entry(event.address).and_modify(|known| known.merge(&row)).or_insert(row);
    }
    rows.into_values().collect()
}

/// Changes of cells, by stream key, bin and destination.
pub type CellChanges = BTreeMap<(StreamKey, i64, Destination), Counts>;

/// Adds (`sign` 1) or takes away (`sign` -1) counts of a finest stream, at it and at each parent.
pub fn change(
    cells: &mut CellChanges,
    stream: &StreamKey,
    bin: i64,
    destination: Destination,
    counts: &Counts,
    sign: i64,
) {
    for stream in std::iter::once(stream.clone()).chain(stream.parents()) {
        cells.entry((stream, bin, destination)).or_default().add(counts, sign);
    }
}

/// Changes of who was refused for good, by finest stream, bin and address.
pub type RefusedChanges = BTreeMap<(StreamKey, i64, i64), i32>;

/// Books a contribution's refusal of relay mail in or out, at the stream that it is counted in.
pub fn change_refused(
    who: &mut RefusedChanges,
    stream: &StreamKey,
    address: i64,
    contribution: &Contribution,
    sign: i32,
) {
    if contribution.counts.refused > 0 && contribution.destination == Destination::Relay {
        *who.entry((stream.clone(), contribution.sent.at.bin().0, address)).or_default() += sign;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{Cause, MxFamily, Provider, Timestamp},
        store::{EventKey, Position, ReplyRecord},
    };

    fn event(kind: EventKind, class: FailureClass, at: i64, sent_at: Option<i64>) -> EventRecord {
        EventRecord {
            position: Position::START,
            key: EventKey { at: Timestamp::from_millis(at), hash: [0; 16] },
            kind,
            exposure: Exposure::Outcomes,
            class,
            destination: Destination::Relay,
            feed: 1,
            stream: 1,
            address: 7,
            message: 9,
            sent_at: sent_at.map(Timestamp::from_millis),
            label: None,
            reply: None,
        }
    }

    fn streams() -> HashMap<i32, StreamKey> {
        let key = |from: Option<&str>, campaign: Option<&str>| {
            StreamKey::finest(Provider::Ses, from.map(ToOwned::to_owned), None, campaign.map(ToOwned::to_owned))
        };
        HashMap::from([
            (1, key(Some("a.example"), None)),
            (2, key(None, Some("spring"))),
            (3, key(Some("b.example"), Some("autumn"))),
        ])
    }

    fn counts(events: &[EventRecord]) -> Counts {
        let streams = streams();
        let all: Vec<&EventRecord> = events.iter().collect();
        contribution(&all, |id| streams.get(&id)).expect("events").counts
    }

    #[test]
    fn a_message_counts_once_whatever_came_of_it() {
        let delivered = event(EventKind::Delivered, FailureClass::Unknown, 10, None);
        let refused = event(EventKind::Refused, FailureClass::Permanent, 20, None);
        let soft = event(EventKind::Refused, FailureClass::Transient, 20, None);
        let deferred = event(EventKind::Deferred, FailureClass::Transient, 5, None);
        let suppressed = event(EventKind::SuppressedByProvider, FailureClass::Permanent, 20, None);
        let one = Counts { exposed: 1, ..Counts::default() };
        assert_eq!(counts(&[delivered.clone(), delivered.clone()]), Counts { delivered: 1, ..one });
        assert_eq!(
            counts(&[delivered.clone(), refused.clone()]),
            Counts { refused: 1, refused_exposed: 1, ..one },
            "a late bounce wins"
        );
        assert_eq!(
            counts(&[deferred.clone(), refused.clone(), soft.clone()]),
            Counts { refused: 1, refused_exposed: 1, ..one }
        );
        assert_eq!(counts(&[soft]), Counts { transient: 1, ..one });
        assert_eq!(counts(&[deferred]), Counts { deferred: 1, ..Counts::default() });
        assert_eq!(counts(std::slice::from_ref(&suppressed)), Counts { suppressed: 1, ..Counts::default() });
        assert_eq!(counts(&[suppressed, refused]), Counts { refused: 1, refused_exposed: 1, ..one });
    }

    #[test]
    fn the_denominator_comes_from_the_declared_exposure_only() {
        let with = |exposure, kind, class| EventRecord { exposure, ..event(kind, class, 10, None) };
        let sent = with(Exposure::Sends, EventKind::Sent, FailureClass::Unknown);
        let refused = with(Exposure::Sends, EventKind::Refused, FailureClass::Permanent);
        assert_eq!(counts(std::slice::from_ref(&refused)), Counts { refused: 1, unexposed: 1, ..Counts::default() });
        assert_eq!(
            counts(&[refused, sent.clone()]),
            Counts { refused: 1, exposed: 1, refused_exposed: 1, ..Counts::default() }
        );
        assert_eq!(counts(&[sent]), Counts { exposed: 1, ..Counts::default() });
        let bounce_only = with(Exposure::None, EventKind::Refused, FailureClass::Permanent);
        assert_eq!(counts(&[bounce_only]), Counts { refused: 1, ..Counts::default() }, "no denominator is made up");
    }

    #[test]
    fn the_bin_moves_when_the_send_time_becomes_known() {
        let refused = event(EventKind::Refused, FailureClass::Permanent, 900_000, None);
        let sent = event(EventKind::Sent, FailureClass::Unknown, 400_000, None);
        let exact = event(EventKind::Delivered, FailureClass::Unknown, 900_000, Some(100_000));
        assert_eq!(send_time(&[&refused]).map(|s| s.origin), Some(SendTimeOrigin::EventTime));
        let time = send_time(&[&refused, &sent]).expect("a time");
        assert_eq!((time.at.as_millis(), time.origin), (400_000, SendTimeOrigin::SentEvent));
        let time = send_time(&[&exact, &sent, &refused]).expect("a time");
        assert_eq!((time.at.as_millis(), time.origin), (100_000, SendTimeOrigin::Payload));
    }

    #[test]
    fn streams_are_put_together_from_what_each_event_tells() {
        let streams = streams();
        let one = event(EventKind::Delivered, FailureClass::Unknown, 1, None);
        let two = EventRecord { stream: 2, ..one.clone() };
        let made = contribution(&[&one, &two], |id| streams.get(&id)).expect("events").stream;
        assert_eq!(made.to_string(), "ses/a.example, campaign spring");
    }

    fn any_event() -> impl Strategy<Value = EventRecord> {
        let kind = prop::sample::select(EventKind::ALL.to_vec());
        let class = prop::sample::select(FailureClass::ALL.to_vec());
        let exposure = prop::sample::select(Exposure::ALL.to_vec());
        (
            kind,
            class,
            exposure,
            0_i64..2_000_000,
            prop::option::of(0_i64..2_000_000),
            1_i32..4,
            0_i64..3,
            0_i64..3,
            any::<u8>(),
        )
            .prop_map(|(kind, class, exposure, at, sent_at, stream, address, message, hash)| EventRecord {
                exposure,
                stream,
                address,
                message,
                key: EventKey { at: Timestamp::from_millis(at), hash: [hash; 16] },
                reply: (kind == EventKind::Refused).then_some(ReplyRecord {
                    template: 1,
                    code: None,
                    enhanced: None,
                    mx: MxFamily::Unknown,
                    cause: if hash % 2 == 0 { Cause::RecipientUnknown } else { Cause::PolicyRejected },
                    rule: 1,
                    confidence: 50,
                }),
                ..event(kind, class, at, sent_at)
            })
    }

    /// Folds the events as the monitor does: in steps, each message's contribution taken away and added again.
    fn fold(events: &[EventRecord], step: usize) -> (CellChanges, Vec<LedgerRow>, FeedChanges) {
        let streams = streams();
        let mut cells = CellChanges::new();
        let mut feeds = FeedChanges::new();
        let mut ledgers: BTreeMap<i64, LedgerRow> = BTreeMap::new();
        let mut seen: Vec<&EventRecord> = Vec::new();
        for chunk in events.chunks(step) {
            let fresh: Vec<&EventRecord> = chunk.iter().collect();
            let mut pairs: Vec<(i64, i64)> = fresh.iter().map(|e| (e.address, e.message)).collect();
            pairs.sort_unstable();
            pairs.dedup();
            for pair in pairs {
                let of = |events: &[&'_ EventRecord]| -> Vec<EventRecord> {
                    events.iter().filter(|e| (e.address, e.message) == pair).map(|e| (*e).clone()).collect()
                };
                let before = of(&seen);
                let after: Vec<EventRecord> = before.iter().cloned().chain(of(&fresh)).collect();
                for (events, sign) in [(before, -1), (after, 1)] {
                    let all: Vec<&EventRecord> = events.iter().collect();
                    if let Some(made) = contribution(&all, |id| streams.get(&id)) {
                        change(&mut cells, &made.stream, made.sent.at.bin().0, made.destination, &made.counts, sign);
                        change_unsent(&mut feeds, &all, &made, sign);
                    }
                }
            }
            for event in chunk {
                change_feed(&mut feeds, event);
            }
            for row in ledger(chunk) {
                ledgers.entry(row.address).and_modify(|known| known.merge(&row)).or_insert(row);
            }
            seen.extend(fresh);
        }
        cells.retain(|_, counts| !counts.is_zero());
        feeds.retain(|_, counts| *counts != FeedCounts::default());
        (cells, ledgers.into_values().collect(), feeds)
    }

    proptest! {
        #[test]
        fn any_order_and_any_steps_end_in_the_same_cells_and_ledger(
            events in prop::collection::vec(any_event(), 1..40),
            order in any::<prop::sample::Index>(),
            step in 1_usize..10,
        ) {
            let reference = fold(&events, events.len());
            let mut shuffled = events.clone();
            let shift = order.index(events.len());
            shuffled.rotate_left(shift);
            shuffled.reverse();
            prop_assert_eq!(fold(&shuffled, step), reference);
        }

        #[test]
        fn refused_never_exceeds_exposed_where_the_cell_is_complete(events in prop::collection::vec(any_event(), 1..40)) {
            for ((_, _, _), counts) in fold(&events, 3).0 {
                prop_assert!(counts.exposed >= 0 && counts.unexposed >= 0 && counts.refused_exposed >= 0);
                prop_assert!(counts.refused_exposed <= counts.refused.min(counts.exposed));
            }
        }
    }
}
