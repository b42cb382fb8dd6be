//! Addresses on shared domains that the map or a notice calls private.

use std::collections::BTreeSet;

use relaywatch::{
    clock::Clock,
    model::{DAY_MILLIS, Destination},
    store::{LedgerRow, Mark, NewAccount, NewEvent, RefusedAddress},
};
use tokio_util::sync::CancellationToken;

use super::{alias, apple, id, row, word};
use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_store, stream, submission},
};

/// Mail to aliases 0 to 11: even ones accept it, odd ones refuse it; the same to relay addresses.
fn mail(test: &TestStore) -> Vec<NewEvent> {
    let mut events = Vec::new();
    for number in 0..12 {
        let millis = i64::try_from(number).expect("small") * 200_000;
        let event = if number % 2 == 0 { test.delivered(number, millis) } else { test.refused(number, millis) };
        events.push(event.clone());
        events.push(NewEvent {
            key: test.key(number + 40_000, millis),
            message: event.message + 1_000,
            destination: Destination::Shared,
            recipient: alias(test, number),
            ..event
        });
    }
    events
}

async fn fold(test: &TestStore, count: usize) {
    test.journal(count, 1_000).await;
    let mut monitor = crate::support::monitor(test, Clock::System, "");
    monitor.catch_up(&CancellationToken::new()).await.expect("folded");
}

type Cells = Vec<(String, i64, Destination, relaywatch::store::Counts)>;

/// Cells, ledger and refused addresses, by names that are the same in every store.
async fn projections(test: &TestStore) -> (Cells, Vec<(String, LedgerRow)>, BTreeSet<String>) {
    let mut cells = Vec::new();
    for (key, counts) in test.store.cells_since(0).await.expect("cells") {
        if !counts.is_zero() {
            let name = test.store.words(&[key.stream]).await.expect("words").remove(0).1;
            cells.push((name, key.bin, key.destination, counts));
        }
    }
    cells.sort();
    let people = (0..12).flat_map(|number| [alias(test, number), test.relay(number)]);
    let (mut ledger, mut refused) = (Vec::new(), BTreeSet::new());
    let streams: Vec<i32> = test
        .store
        .refused_streams(at(0).bin(), at(DAY_MILLIS).bin())
        .await
        .expect("streams")
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let rows: Vec<RefusedAddress> = test
        .store
        .refused_with_ledger(&streams, at(0).bin(), at(DAY_MILLIS).bin(), i64::MIN, 100)
        .await
        .expect("refused");
    for who in people {
        let id = id(test, &who).await;
        let name = who.address.expose().to_owned();
        if rows.iter().any(|row| row.address == id) {
            refused.insert(name.clone());
        }
        let row = test.store.ledger(id).await.expect("ledger").expect("a row");
        ledger.push((name, LedgerRow { address: 0, ..row }));
    }
    (cells, ledger, refused)
}

on_both_engines! {
    async fn what_is_called_private_moves_into_the_relay_mail_whatever_comes_first(test: TestStore) {
        let engine = if test.store.engine() == "sqlite" { Engine::Sqlite } else { Engine::Postgres };
        let mail_of = |store: &TestStore| vec![submission(mail(store))];
        // Mail first, then the map and the notices; folded in between and at the end.
        for part in mail_of(&test) {
            test.store.commit(&[part]).await.expect("commit");
        }
        fold(&test, 24).await;
        let (_, ledger, refused) = projections(&test).await;
        assert_eq!(refused.len(), 6, "only relay addresses count as refused");
        assert_eq!(ledger.iter().filter(|(_, row)| row.destination == Destination::Shared).count(), 12);
        test.store.import_accounts(&[0, 1, 2, 3].map(|n| row(&test, n, 1_000, true))).await.expect("import");
        test.store.commit(&[apple(vec![word(&test, 5, 1_000, true), word(&test, 7, 1_000, false)])]).await.expect("commit");
        fold(&test, 24).await;
        let reference = projections(&test).await;
        let now_relay: Vec<&str> = reference.1.iter().filter(|(name, row)| name.starts_with("alias") && row.destination == Destination::Relay).map(|(name, _)| name.as_str()).collect();
        assert_eq!(now_relay, [0, 1, 2, 3, 5].map(|n| format!("alias{n}@icloud.com")));
        assert_eq!(reference.2.len(), 9, "1, 3 and 5 are among the refused now: {:?}", reference.2);
        let told = test.store.events_of_address(id(&test, &alias(&test, 1)).await, 10).await.expect("events");
        assert_eq!(told[0].destination, Destination::Relay);
        let told = test.store.events_of_address(id(&test, &alias(&test, 7)).await, 10).await.expect("events");
        assert_eq!(told[0].destination, Destination::Shared);
        let sample = test.store.accepted_sample(&test.store.stream_ids(&[stream("news.example.com", None)]).await.expect("ids"), at(0).bin(), at(DAY_MILLIS).bin(), 100).await.expect("sample");
        assert_eq!(sample.len(), 6, "relay addresses 2 to 10 and alias 2: number 0 was sent to before");

        // Made again from the journal.
        test.store.reset_projections().await.expect("reset");
        fold(&test, 24).await;
        assert_eq!(projections(&test).await, reference, "rebuilt");

        // The map and the notices first, then mail backwards, in pieces, everything twice.
        let other = fresh_store(engine).await.expect("a second store");
        other.store.commit(&[apple(vec![word(&other, 7, 1_000, false), word(&other, 5, 1_000, true)])]).await.expect("commit");
        other.store.import_accounts(&[3, 2].map(|n| row(&other, n, 1_000, true))).await.expect("import");
        let mut events = mail(&other);
        events.reverse();
        let mut done = 0;
        for chunk in events.chunks(5) {
            for _ in 0..2 {
                other.store.commit(&[submission(chunk.to_vec())]).await.expect("commit");
            }
            done += chunk.len();
            fold(&other, done).await;
            // In the middle of it.
            other.store.import_accounts(&[0, 1].map(|n| row(&other, n, 1_000, true))).await.expect("import");
        }
        fold(&other, 24).await;
        assert_eq!(projections(&other).await, reference, "another order");
    }

    async fn the_latest_word_on_an_address_stands_in_whatever_order_it_comes(test: TestStore) {
        test.store.commit(&[submission(mail(&test))]).await.expect("commit");
        fold(&test, 24).await;
        let before = projections(&test).await;
        // Alias 1: private, then not. Alias 3: the same two words the other way round in time, the late one first.
        for entry in [word(&test, 1, 1_000, true), word(&test, 3, 1_000, false), word(&test, 3, 2_000, true)] {
            test.store.commit(&[apple(vec![entry])]).await.expect("commit");
            fold(&test, 24).await;
        }
        assert_eq!(projections(&test).await.2.len(), 8);
        test.store.commit(&[apple(vec![word(&test, 1, 2_000, false)])]).await.expect("commit");
        test.store.import_accounts(&[row(&test, 3, 1_500, false)]).await.expect("import");
        fold(&test, 24).await;
        let (_, ledger, refused) = projections(&test).await;
        assert!(!refused.contains("alias1@icloud.com") && refused.contains("alias3@icloud.com"), "{refused:?}");
        let row_of = |name: &str| ledger.iter().find(|(known, _)| known == name).expect("a row").1.destination;
        assert_eq!((row_of("alias1@icloud.com"), row_of("alias3@icloud.com")), (Destination::Shared, Destination::Relay));
        test.store.import_accounts(&[row(&test, 3, 3_000, false)]).await.expect("import");
        fold(&test, 24).await;
        assert_eq!(projections(&test).await, before, "back as it was");
        // Two words at one time: the one that calls it private stands. A relay domain's addresses are what they are.
        test.store.import_accounts(&[row(&test, 5, 9_000, true)]).await.expect("import");
        test.store.import_accounts(&[row(&test, 5, 9_000, false)]).await.expect("import");
        let relay = NewAccount { address: Some(test.relay(1)), ..row(&test, 90, 1_000, true) };
        test.store.import_accounts(std::slice::from_ref(&relay)).await.expect("import");
        fold(&test, 24).await;
        test.store.import_accounts(&[NewAccount { mark: Some(Mark { private: false, at: at(2_000) }), ..relay }]).await.expect("import");
        fold(&test, 24).await;
        let (cells, ledger, refused) = projections(&test).await;
        assert_eq!(refused.len(), 7, "{refused:?}");
        assert_eq!(ledger.iter().filter(|(_, row)| row.destination == Destination::Relay).count(), 13);
        assert!(cells.iter().any(|(_, _, destination, _)| *destination == Destination::Shared));
    }

    async fn a_forgotten_private_address_stays_among_the_relay_mail(test: TestStore) {
        test.store.commit(&[submission(mail(&test))]).await.expect("commit");
        test.store.import_accounts(&[0, 1].map(|n| row(&test, n, 1_000, true))).await.expect("import");
        fold(&test, 24).await;
        let cells = projections(&test).await.0;
        assert!(test.store.forget_address(&alias(&test, 1).hash).await.expect("forgotten"));
        test.store.reset_projections().await.expect("reset");
        fold(&test, 24).await;
        let mut again = Vec::new();
        for (key, counts) in test.store.cells_since(0).await.expect("cells") {
            if !counts.is_zero() {
                again.push((test.store.words(&[key.stream]).await.expect("words").remove(0).1, key.bin, key.destination, counts));
            }
        }
        again.sort();
        assert_eq!(again, cells);
    }
}
