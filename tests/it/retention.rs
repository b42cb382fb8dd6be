//! Old rows go, judgements stay: checkpoints, projections that are bounded, and a rebuild from what is left.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use relaywatch::{
    clock::{Clock, ManualClock},
    incident::Body,
    model::{Cause, DAY_MILLIS, Destination, EventKind, Exposure, FailureClass, HOUR_MILLIS, MINUTE_MILLIS, StreamKey},
    monitor::Monitor,
    store::{
        CellKey, Counts, EntryKind, FeedCounts, FeedHour, IncidentState, LedgerRow, NewEntry, NewEvent, Submission,
        WordKind,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_store, monitor, stream, submission},
};

/// Mails a day, each of a campaign of its own, where what is kept is counted.
const MAILS: i64 = 8;
/// Days that deliveries are kept in these tests.
const KEPT: i64 = 14;

/// Everything that is judged from, by name instead of by number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Projections {
    cells: Vec<(String, i64, Destination, Counts)>,
    days: Vec<(String, i64, i64, i64)>,
    refused: Vec<(String, i64, usize)>,
    ledger: Vec<LedgerRow>,
    feeds: Vec<(String, FeedHour, FeedCounts)>,
}

impl Projections {
    /// Without complaints, which nothing is judged from: one that comes when its mail has gone from the journal stands in the
    /// bin of its own time.
    fn judged_from(mut self) -> Self {
        for (.., counts) in &mut self.cells {
            counts.complained = 0;
        }
        self.cells.retain(|(.., counts)| !counts.is_zero());
        // Its send is missing, then.
        for (.., counts) in &mut self.feeds {
            counts.unsent = 0;
        }
        self
    }
}

pub(crate) async fn projections(test: &TestStore, people: usize, last_day: i64) -> Projections {
    let mut addresses: BTreeMap<i64, usize> = BTreeMap::new();
    let mut ledger = Vec::new();
    for number in 0..people {
        if let Some(known) = test.store.address_by_hash(&test.relay(number).hash).await.expect("address") {
            addresses.insert(known.id, number);
            if let Some(row) = test.store.ledger(known.id).await.expect("ledger") {
                ledger.push(LedgerRow { address: i64::try_from(number).expect("small"), ..row });
            }
        }
    }
    let feeds = feeds(test).await;
    let mut found = Projections { cells: Vec::new(), days: Vec::new(), refused: Vec::new(), ledger, feeds };
    let mut names: BTreeMap<i32, String> = BTreeMap::new();
    for (CellKey { stream, bin, destination }, counts) in test.store.cells_since(0).await.expect("cells") {
        if let std::collections::btree_map::Entry::Vacant(free) = names.entry(stream) {
            free.insert(test.store.words(&[stream]).await.expect("words").remove(0).1);
        }
        if !counts.is_zero() {
            found.cells.push((names[&stream].clone(), bin, destination, counts));
        }
    }
    let ids: Vec<i32> = names.keys().copied().collect();
    for who in test.store.refused_within(&ids, 0, i64::MAX).await.expect("refused") {
        found.refused.push((names[&who.stream].clone(), who.bin, addresses[&who.address]));
    }
    let first = at(0).as_millis() / DAY_MILLIS;
    for day in first..=first + last_day {
        for (_, name, exposed, refused) in test.store.day_totals(day).await.expect("totals") {
            if (exposed, refused) != (0, 0) {
                found.days.push((name, day, exposed, refused));
            }
        }
    }
    found.cells.sort();
    found.days.sort();
    found.refused.sort();
    found
}

/// What feeds reported.
async fn feeds(test: &TestStore) -> Vec<(String, FeedHour, FeedCounts)> {
    let names: BTreeMap<i32, String> = test.store.words_of(WordKind::Feed).await.expect("feeds").into_iter().collect();
    let mut found = Vec::new();
    for (of, counts) in test.store.feed_hours(0).await.expect("hours") {
        if counts != FeedCounts::default() {
            found.push((names[&of.feed].clone(), FeedHour { feed: 0, ..of }, counts));
        }
    }
    found.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    found
}

/// What was judged: each incident's state, stream, onset, end, and how many were refused of how many.
async fn judged(test: &TestStore) -> Vec<(IncidentState, String, i64, Option<i64>, u64, u64)> {
    let found = test.store.incidents(IncidentState::ALL, 1_000).await.expect("incidents");
    let mut judged: Vec<_> = found
        .iter()
        .map(|record| {
            let body = Body::from_record(record).expect("a body");
            let closed = record.closed_at.map(relaywatch::model::Timestamp::as_millis);
            (record.state, body.scope.to_string(), record.onset.as_millis(), closed, body.refused, body.sends)
        })
        .collect();
    judged.sort();
    judged
}

struct Run {
    clock: ManualClock,
    monitor: Monitor,
    rows: i64,
}

impl Run {
    fn new(test: &TestStore) -> Self {
        let clock = ManualClock::new(at(0));
        Self { monitor: monitor(test, Clock::Manual(clock.clone()), ""), clock, rows: 0 }
    }

    /// Takes events in at a time, and lets the monitor look at them.
    async fn take(&mut self, test: &TestStore, now: i64, events: &[NewEvent]) {
        self.clock.advance_to(at(now));
        for chunk in events.chunks(300) {
            self.rows += i64::try_from(test.store.commit(&[submission(chunk.to_vec())]).await.expect("commit").added)
                .expect("small");
        }
        self.catch_up(test).await;
    }

    /// PostgreSQL shows rows only below the oldest running transaction of the cluster, other tests' included: nothing is judged
    /// before all of them show, so that two runs judge the same.
    async fn catch_up(&mut self, test: &TestStore) {
        let shown = async {
            let Some(latest) = test.store.latest_events(None, 1).await.expect("latest").pop() else { return };
            let cursor = test.store.cursor("monitor").await.expect("cursor");
            if latest.position <= cursor {
                return;
            }
            loop {
                let after = test.store.events_after(cursor, 1_000_000).await.expect("events");
                if after.last().is_some_and(|event| event.position >= latest.position) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), shown).await.expect("the journal shows all rows");
        let folds = async {
            loop {
                self.monitor.catch_up(&CancellationToken::new()).await.expect("caught up");
                let cursor = test.store.cursor("monitor").await.expect("cursor");
                if test.store.latest_events(None, 1).await.expect("latest").first().is_none_or(|e| e.position <= cursor)
                {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), folds).await.expect("the journal shows all rows");
    }

    async fn expire(&self, test: &TestStore, now: i64) {
        let (now, kept) = (at(now).as_millis(), KEPT * DAY_MILLIS);
        test.leader().expire(now, now - kept, now - 365 * DAY_MILLIS).await.expect("expired");
    }
}

/// One mail as a history has it.
#[derive(Debug, Clone)]
struct Mail {
    person: usize,
    campaign: usize,
    sent: i64,
    lag: i64,
    refused: bool,
    /// Whether the feed reports sends, without send times in what follows.
    sends: bool,
    complaint: Option<i64>,
}

const PEOPLE: usize = 60;

fn mail(days: i64) -> impl Strategy<Value = Mail> {
    let lag = prop_oneof![8 => 1_000..60_000_i64, 2 => 0..3 * DAY_MILLIS];
    let complaint = prop_oneof![9 => Just(None), 1 => (HOUR_MILLIS..20 * DAY_MILLIS).prop_map(Some)];
    (0..PEOPLE, 0..4_usize, 0..days * DAY_MILLIS, lag, prop::bool::weighted(0.05), any::<bool>(), complaint).prop_map(
        |(person, campaign, sent, lag, refused, sends, complaint)| Mail {
            person,
            campaign,
            sent,
            lag,
            refused,
            sends,
            complaint,
        },
    )
}

impl Mail {
    fn events(&self, test: &TestStore, number: usize) -> Vec<NewEvent> {
        let campaign = (self.campaign > 0).then(|| format!("c{}", self.campaign));
        let exposure = if self.sends { Exposure::Sends } else { Exposure::Outcomes };
        let done = self.sent + self.lag;
        let whole = if self.refused { test.refused(self.person, done) } else { test.delivered(self.person, done) };
        let base = NewEvent {
            exposure,
            stream: stream("news.example.com", campaign.as_deref()),
            message: i64::try_from(number).expect("small") + 1,
            sent_at: (!self.sends).then(|| at(self.sent)),
            key: test.key(10 * number, done),
            ..whole
        };
        let plain = NewEvent { class: FailureClass::Unknown, label: None, reply: None, ..base.clone() };
        let sent = NewEvent { kind: EventKind::Sent, key: test.key(10 * number + 1, self.sent), ..plain.clone() };
        let complained = self.complaint.map(|after| NewEvent {
            kind: EventKind::Complained,
            key: test.key(10 * number + 2, done + after),
            ..plain
        });
        self.sends.then_some(sent).into_iter().chain([base]).chain(complained).collect()
    }
}

/// A history of `days`: each day's events in order, with a purge near the end so that there is something to judge.
fn history(test: &TestStore, mails: &[Mail], days: i64) -> BTreeMap<i64, Vec<NewEvent>> {
    let mut events: Vec<NewEvent> =
        mails.iter().enumerate().flat_map(|(number, mail)| mail.events(test, number)).collect();
    for n in 0..60_i64 {
        let number = usize::try_from(n).expect("small");
        let millis = (days - 2) * DAY_MILLIS + 6 * HOUR_MILLIS + n * MINUTE_MILLIS;
        let event = test.refused(number % PEOPLE, millis);
        events.push(NewEvent {
            key: test.key(900_000 + number, millis),
            message: 900_000 + n,
            sent_at: Some(at(millis)),
            ..event
        });
    }
    let mut by_day: BTreeMap<i64, Vec<NewEvent>> = BTreeMap::new();
    for event in events {
        by_day.entry((event.key.at.as_millis() - at(0).as_millis()).div_euclid(DAY_MILLIS)).or_default().push(event);
    }
    by_day.retain(|day, _| *day < days);
    by_day
}

/// The law: whether deliveries expire in between, and whether projections are made again from what is left, changes no
/// judgement and nothing that is judged from.
async fn expiry_and_rebuild_change_nothing(engine: Engine) {
    const DAYS: i64 = 34;
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    for case in 0..4 {
        let mails = prop::collection::vec(mail(DAYS), 700).new_tree(&mut runner).expect("mails").current();
        let expiry = prop::collection::btree_set(16..DAYS, 1..6).new_tree(&mut runner).expect("days").current();
        let Some(reference) = fresh_store(engine).await else { return };
        let test = fresh_store(engine).await.expect("a second store");
        let (mut plain, mut expiring) = (Run::new(&reference), Run::new(&test));
        for (day, events) in history(&reference, &mails, DAYS) {
            plain.take(&reference, (day + 1) * DAY_MILLIS, &events).await;
        }
        for (day, events) in history(&test, &mails, DAYS) {
            expiring.take(&test, (day + 1) * DAY_MILLIS, &events).await;
            if expiry.contains(&day) {
                expiring.expire(&test, (day + 1) * DAY_MILLIS).await;
            }
        }
        assert!(test.rows("checkpoint").await > 0, "case {case}: {expiry:?}");
        assert!(test.rows("event").await < reference.rows("event").await, "something has gone");
        let incidents = judged(&reference).await;
        assert!(!incidents.is_empty(), "there is something to judge");
        assert_eq!(judged(&test).await, incidents, "case {case}");
        let whole = projections(&test, PEOPLE, DAYS).await;
        let expected = projections(&reference, PEOPLE, DAYS).await.judged_from();
        assert_eq!(projections(&test, PEOPLE, DAYS).await.judged_from(), expected, "case {case}");

        // Crashed between a checkpoint and letting go: nothing is doubled.
        let now = at(DAYS * DAY_MILLIS).as_millis();
        assert!(test.leader().checkpoint((now - KEPT * DAY_MILLIS) / DAY_MILLIS, now).await.expect("checkpoint"));
        for round in 0..2 {
            test.store.reset_projections().await.expect("reset");
            assert_ne!(projections(&test, PEOPLE, DAYS).await, whole, "it was thrown away");
            // Stopped half-way, and begun anew by another process.
            let mut half = monitor(&test, Clock::Manual(expiring.clock.clone()), "");
            half.step().await.expect("a step");
            test.store.reset_projections().await.expect("reset again");
            expiring.catch_up(&test).await;
            assert_eq!(projections(&test, PEOPLE, DAYS).await, whole, "case {case}, rebuilt {round}");
            assert_eq!(judged(&test).await, incidents, "case {case}, rebuilt {round}");
            let mut fresh =
                Run { monitor: monitor(&test, Clock::Manual(expiring.clock.clone()), ""), ..Run::new(&test) };
            fresh.clock = expiring.clock.clone();
            fresh.catch_up(&test).await;
            assert_eq!(judged(&test).await, incidents, "case {case}: a fresh process judges alike");
            expiring.expire(&test, DAYS * DAY_MILLIS).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiry_and_rebuild_change_no_judgement_on_sqlite() {
    Box::pin(expiry_and_rebuild_change_nothing(Engine::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiry_and_rebuild_change_no_judgement_on_postgres() {
    Box::pin(expiry_and_rebuild_change_nothing(Engine::Postgres)).await;
}

on_both_engines! {
    async fn what_is_in_force_outlives_its_retention(test: TestStore) {
        let window = |watched: &str, from: i64, until: Option<i64>| {
            serde_json::json!({ "watched": watched, "reason": "silent", "from": at(from).as_millis(),
                "until": until.map(|until| at(until).as_millis()) })
        };
        for (kind, millis, body) in [
            (EntryKind::Settings, 0, serde_json::json!({ "version": 1 })),
            (EntryKind::Settings, 1, serde_json::json!({ "version": 2 })),
            (EntryKind::Action, 2, serde_json::json!({ "action": "recovery-list" })),
            (EntryKind::Note, 3, serde_json::json!({})),
            (EntryKind::BlindWindow, 4, window("ses", 4, None)),
            (EntryKind::BlindWindow, 4, window("apple", 4, None)),
            (EntryKind::BlindWindow, 4, window("apple", 4, Some(9))),
        ] {
            assert!(test.store.append(None, kind, at(millis), body).await.expect("appended"));
        }
        test.leader().expire(at(400 * DAY_MILLIS).as_millis(), at(0).as_millis(), at(DAY_MILLIS).as_millis()).await.expect("expired");
        let mut left = Vec::new();
        for kind in [EntryKind::Settings, EntryKind::Action, EntryKind::Note, EntryKind::BlindWindow] {
            left.push(test.store.entries_of_kind(kind, at(DAY_MILLIS), 10).await.expect("read").len());
        }
        assert_eq!(left, [2, 1, 0, 1], "settings and what operators did stay, and the window that lasts");
    }

    async fn what_comes_after_its_deliveries_have_gone_counts_nowhere_and_refusals_still_do(test: TestStore) {
        let mut run = Run::new(&test);
        let early: Vec<NewEvent> = (0..10).map(|n| test.delivered(n, HOUR_MILLIS)).collect();
        run.take(&test, 20 * DAY_MILLIS, &early).await;
        run.expire(&test, 20 * DAY_MILLIS).await;
        assert_eq!(test.rows("event").await, 0);
        let before = projections(&test, 30, 20).await;
        assert_eq!(before.days.iter().map(|(_, _, exposed, _)| exposed).sum::<i64>(), 10, "{before:?}");

        // A rebuild of which nothing is left to fold ends, too.
        test.store.reset_projections().await.expect("reset");
        run.monitor.catch_up(&CancellationToken::new()).await.expect("caught up");
        let (cursor, end) = (test.store.cursor("monitor").await.expect("cursor"), test.store.horizon().await.expect("horizon").rebuilt_from);
        assert_eq!((Some(cursor), projections(&test, 30, 20).await), (end, before.clone()));

        // A provider sends an old day again: its keys are gone, and it must not count twice.
        run.take(&test, 20 * DAY_MILLIS, &early).await;
        assert_eq!(projections(&test, 30, 20).await, before);
        run.take(&test, 20 * DAY_MILLIS, &[test.refused(20, HOUR_MILLIS)]).await;
        let after = projections(&test, 30, 20).await;
        assert_eq!(after.days.iter().map(|(_, _, exposed, refused)| (exposed, refused)).fold((0, 0), |s, d| (s.0 + d.0, s.1 + d.1)), (11, 1));
        assert_eq!((after.refused.len(), after.ledger.len()), (1, 11));

        run.expire(&test, 21 * DAY_MILLIS).await;
        assert_eq!(test.rows("event").await, 1, "the refusal is kept");
        test.store.reset_projections().await.expect("reset");
        run.catch_up(&test).await;
        assert_eq!(projections(&test, 30, 21).await, after, "what came late is held by the checkpoint");
    }

    async fn after_two_hundred_days_every_table_is_bounded(test: TestStore) {
        let mut sizes: Vec<BTreeMap<&'static str, i64>> = Vec::new();
        for day in 0..200_i64 {
            let events: Vec<NewEvent> = (0..MAILS)
                .map(|n| {
                    let number = usize::try_from(day * MAILS + n).expect("small");
                    let millis = day * DAY_MILLIS + n * HOUR_MILLIS;
                    let mut event = test.delivered(number % 50, millis);
                    if n == 5 {
                        event = test.refused(number % 50, millis);
                        let reply = event.reply.as_mut().expect("a reply");
                        reply.template = format!("550 5.1.1 <{{recipient}}>: gone since day {day}");
                        reply.cause = Cause::RecipientUnknown;
                    }
                    // Every mail has a campaign of its own.
                    NewEvent { key: test.key(number, millis), message: day * MAILS + n + 1, stream: stream("news.example.com", Some(&format!("c{number}"))), ..event }
                })
                .collect();
            let control = (0..5).map(|n| test.control(usize::try_from(day * 5 + n).expect("small"), day * DAY_MILLIS, EventKind::Delivered)).collect();
            let notice = NewEntry { key: test.key(usize::try_from(5_000_000 + day).expect("small"), day * DAY_MILLIS), kind: EntryKind::Note, account: None, address: None, app: None, body: serde_json::json!({}) };
            test.store.commit(&[Submission { control, entries: vec![notice], ..submission(events) }]).await.expect("commit");
            test.fold_all().await;
            let millis = at((day + 1) * DAY_MILLIS).as_millis();
            test.leader().expire(millis, millis - KEPT * DAY_MILLIS, millis - 60 * DAY_MILLIS).await.expect("expired");
            if day == 120 || day == 199 {
                sizes.push(test.store.row_counts().await.expect("counts").into_iter().collect());
            }
        }
        let (then, now) = (&sizes[0], &sizes[1]);
        for (table, rows) in now {
            assert!(*rows <= then[table] + 40, "{table} grows: {} rows on day 120, {rows} on day 199", then[table]);
        }
        let most = |table: &str| now[table];
        // 15 days of deliveries and 62 of refusals; 40 days of cells at six levels; 70 days of totals and of the control group.
        // On PostgreSQL refusals go by 32 days.
        let refusals = if test.store.engine() == "sqlite" { 62 } else { 62 + 32 };
        assert!(most("event") <= 16 * MAILS + refusals, "{now:?}");
        assert!(most("cell") <= 42 * MAILS * 6, "{now:?}");
        assert!(most("day_total") <= 72 * MAILS && most("day_total") >= 60 * MAILS, "{now:?}");
        assert!(most("refused") <= 62 && most("template_sample") <= refusals + 3, "{now:?}");
        assert!(most("word") <= 73 * MAILS + refusals + 33, "{now:?}");
        assert!(most("checkpoint") <= 72 && most("control_cell") <= 72, "{now:?}");
        assert!(most("feed_hour") <= 72 * MAILS && most("feed_hour") >= 66 * MAILS, "{now:?}");
    }

    async fn a_feed_of_which_only_what_it_reported_is_left_keeps_its_name(test: TestStore) {
        let mut run = Run::new(&test);
        run.take(&test, DAY_MILLIS, &[test.delivered(1, 0)]).await;
        // Words that come later, so that the feed's is not the newest.
        for days in [30, 32, 34] {
            run.expire(&test, days * DAY_MILLIS).await;
        }
        assert_eq!(test.rows("event").await, 0);
        let feeds = feeds(&test).await;
        assert_eq!(feeds.iter().map(|(_, _, counts)| counts.delivered).sum::<i64>(), 1, "{feeds:?}");

        // A rebuild keeps what a checkpoint holds of it.
        test.store.reset_projections().await.expect("reset");
        run.monitor.catch_up(&CancellationToken::new()).await.expect("caught up");
        assert_eq!(self::feeds(&test).await, feeds);

        for days in [80, 82] {
            run.expire(&test, days * DAY_MILLIS).await;
        }
        assert!(self::feeds(&test).await.is_empty(), "what nothing looks back to goes");
    }

    async fn a_word_that_is_taken_up_again_stays(test: TestStore) {
        let mut run = Run::new(&test);
        run.take(&test, DAY_MILLIS, &[test.delivered(1, 0), NewEvent { stream: stream("old.example.com", Some("spring")), ..test.delivered(2, 0) }]).await;
        let (first, later) = (100 * DAY_MILLIS, 102 * DAY_MILLIS);
        run.expire(&test, first).await;
        assert_eq!(test.rows("event").await, 0);
        // Marked by now; one of the two is used again before the next look.
        run.take(&test, first, &[test.delivered(3, first)]).await;
        run.expire(&test, later).await;
        let known: Vec<StreamKey> = vec![stream("news.example.com", None), stream("old.example.com", Some("spring"))];
        let known = test.store.known_streams(&known).await.expect("streams");
        assert_eq!(known.iter().map(|(_, key)| key.to_string()).collect::<Vec<_>>(), ["ses/news.example.com, envelope bounce.news.example.com, no campaign"]);
        let record = test.journal(1, 10).await.remove(0);
        assert_eq!(test.store.stream_keys(&[record.stream]).await.expect("the stream").len(), 1, "the journal's word is there");
        // And what has gone can come back.
        run.take(&test, later, &[NewEvent { stream: stream("old.example.com", Some("spring")), ..test.delivered(4, later) }]).await;
        let journal = test.journal(2, 10).await;
        let ids: Vec<i32> = journal.iter().map(|event| event.stream).collect();
        assert_eq!(test.store.stream_keys(&ids).await.expect("streams").len(), 2);
    }
}
