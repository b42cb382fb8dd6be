//! The monitor over a real store: projections follow the journal, in any order, and rebuild makes the same ones.

use relaywatch::{
    clock::Clock,
    model::{Destination, EventKind, Exposure, FailureClass, StreamKey, StreamLevel},
    store::{CellKey, Counts, EventRecord, LedgerRow, NewEvent, Position, Submission},
};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_store, stream, submission},
};

/// Lets a fresh monitor fold all `count` outcomes.
async fn fold(test: &TestStore, count: usize) {
    // PostgreSQL shows rows only below the oldest running transaction of the cluster, other tests' included.
    test.journal(count, 1_000).await;
    let mut monitor = crate::support::monitor(test, Clock::System, "");
    monitor.catch_up(&CancellationToken::new()).await.expect("folded");
}

/// All cells with their streams by key instead of by number, and the ledger of the first addresses by hash.
async fn projections(test: &TestStore) -> (Vec<(String, i64, Destination, Counts)>, Vec<LedgerRow>) {
    let mut cells = Vec::new();
    for (CellKey { stream, bin, destination }, counts) in test.store.cells_since(0).await.expect("cells") {
        let name = test.store.words(&[stream]).await.expect("words").remove(0).1;
        if !counts.is_zero() {
            cells.push((name, bin, destination, counts));
        }
    }
    cells.sort();
    let mut ledger = Vec::new();
    for number in 0..30 {
        if let Some(known) = test.store.address_by_hash(&test.relay(number).hash).await.expect("address")
            && let Some(row) = test.store.ledger(known.id).await.expect("ledger")
        {
            ledger.push(LedgerRow { address: i64::try_from(number).expect("small"), ..row });
        }
    }
    (cells, ledger)
}

/// A day of one sender: sends, deliveries, refusals that come before their sends, soft failures, complaints.
fn day(test: &TestStore) -> Vec<NewEvent> {
    let mut events = Vec::new();
    for number in 0..30 {
        let n = i64::try_from(number).expect("small");
        let base = NewEvent { exposure: Exposure::Sends, sent_at: None, ..test.delivered(number, n * 100_000) };
        let sent = NewEvent { key: test.key(number + 500, n * 100_000 - 2_000), kind: EventKind::Sent, ..base.clone() };
        let with_campaign = NewEvent { stream: stream("news.example.com", Some("spring")), ..sent };
        match number % 4 {
            0 => events.extend([with_campaign, base]),
            1 => events.extend([
                NewEvent { exposure: Exposure::Sends, sent_at: None, ..test.refused(number, n * 100_000) },
                with_campaign,
            ]),
            2 => events.extend([NewEvent { kind: EventKind::Refused, class: FailureClass::Transient, ..base }]),
            _ => events.extend([
                NewEvent { key: test.key(number + 700, n * 100_000 + 9), kind: EventKind::Complained, ..base.clone() },
                base,
                with_campaign,
            ]),
        }
    }
    events
}

on_both_engines! {
    async fn one_message_counts_once_at_every_level(test: TestStore) {
        let events = vec![test.delivered(1, 1_000), test.refused(1, 700_000), test.delivered(2, 1_000)];
        test.store.commit(&[submission(events)]).await.expect("commit");
        fold(&test, 3).await;
        let leaf = stream("news.example.com", None);
        let mut keys = leaf.parents();
        keys.push(leaf);
        let bin = at(0).bin().0;
        for (key, id) in keys.iter().zip(test.store.stream_ids(&keys).await.expect("ids")) {
            let cells = test.store.cells(id, 0, i64::MAX).await.expect("cells");
            let counts = Counts { exposed: 2, refused: 1, delivered: 1, refused_exposed: 1, ..Counts::default() };
            assert_eq!(cells, [(CellKey { stream: id, bin, destination: Destination::Relay }, counts)], "{key}");
        }
        let known = test.store.address_by_hash(&test.relay(1).hash).await.expect("address").expect("known");
        let row = test.store.ledger(known.id).await.expect("ledger").expect("row");
        assert_eq!((row.last_delivered_at, row.last_refused_at), (Some(at(1_000)), Some(at(700_000))));
    }

    async fn a_full_page_is_followed_by_the_next(test: TestStore) {
        let outcomes = |numbers: std::ops::Range<usize>| -> Vec<NewEvent> {
            numbers.map(|n| test.delivered(n, i64::try_from(n).expect("small") * 1_000)).collect()
        };
        // Places come from one transaction and from several.
        test.store.commit(&[submission(outcomes(0..20))]).await.expect("commit");
        for n in 20..40 {
            test.store.commit(&[submission(outcomes(n..n + 1))]).await.expect("commit");
        }
        let all = test.journal(40, 1_000).await;
        for page in [40, 20, 10, 8, 1] {
            let (mut read, mut pages) = (Vec::new(), 0);
            loop {
                let after = read.last().map_or(Position::START, |event: &EventRecord| event.position);
                let next = test.store.events_after(after, page).await.expect("a page");
                if next.is_empty() {
                    break;
                }
                assert_eq!(next.len(), usize::try_from(page).expect("small"), "each page is full");
                pages += 1;
                read.extend(next);
            }
            assert_eq!(pages, 40 / page);
            assert!(read == all, "pages of {page} lose nothing and read nothing twice");
        }

        let mut monitor = crate::support::monitor(&test, Clock::System, "").paging_by(20);
        let (stop, progress) = (CancellationToken::new(), monitor.progress());
        monitor.catch_up(&stop).await.expect("folded");
        assert_eq!((progress.borrow().folded, progress.borrow().caught_up), (40, 1));
        test.store.commit(&[submission(outcomes(40..60))]).await.expect("commit");
        test.journal(60, 1_000).await;
        monitor.catch_up(&stop).await.expect("folded");
        assert_eq!((progress.borrow().folded, progress.borrow().caught_up), (60, 2));
        let by_full_pages = projections(&test).await;
        let finest = |(name, _, _, counts): &(String, i64, Destination, Counts)| {
            let key: StreamKey = serde_json::from_str(name).expect("a key");
            (key.level == StreamLevel::Campaign).then_some(counts.delivered)
        };
        assert_eq!(by_full_pages.0.iter().filter_map(finest).sum::<i64>(), 60, "each outcome counts once");
        test.store.reset_projections().await.expect("reset");
        fold(&test, 60).await;
        assert_eq!(projections(&test).await, by_full_pages, "one page that is not full makes the same");
    }

    async fn order_pages_and_repeats_change_nothing_and_rebuild_makes_the_same(test: TestStore) {
        let mut events = day(&test);
        let count = events.len();
        test.store.commit(&[submission(events.clone())]).await.expect("commit");
        fold(&test, count).await;
        let reference = projections(&test).await;
        assert!(reference.0.iter().any(|(stream, ..)| {
            serde_json::from_str::<StreamKey>(stream).is_ok_and(|key| key.level == StreamLevel::Campaign)
        }), "the campaign is known from the sends");

        test.store.reset_projections().await.expect("reset");
        fold(&test, count).await;
        assert_eq!(projections(&test).await, reference, "rebuilt");

        let engine = if test.store.engine() == "sqlite" { Engine::Sqlite } else { Engine::Postgres };
        let other = fresh_store(engine).await.expect("a second store");
        // The other store hashes under its own keys: bring the same facts, keyed for it.
        events = day(&other);
        events.reverse();
        let mut done = 0;
        for chunk in events.chunks(3) {
            let twice = Submission { events: chunk.iter().chain(chunk).cloned().collect(), ..submission(Vec::new()) };
            other.store.commit(&[twice]).await.expect("commit");
            done += chunk.len();
            fold(&other, done).await;
        }
        assert_eq!(projections(&other).await, reference, "other order, other pages, everything twice");
    }
}
