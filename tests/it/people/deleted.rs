//! The clock of deleted accounts, and erasures beside writers.

use std::{sync::Arc, time::Duration};

use relaywatch::{
    clock::{Clock, ManualClock},
    config::Config,
    daemon::{FORGET_AFTER_MILLIS, forget_due},
    lifecycle::{Lifecycle, Signal, Signals, Supervisor},
    model::{DAY_MILLIS, NoticeKind},
    privacy::Keyring,
    store::{Access, EntryKind, NewAccount, NewEntry, NewEvent, Store, StoreOptions, Submission},
};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use super::{TEAM, apple, id};
use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_store, submission},
};

/// A notice about the account of number `number`.
fn told(test: &TestStore, number: usize, millis: i64, kind: NoticeKind) -> NewEntry {
    let named = matches!(kind, NoticeKind::EmailEnabled | NoticeKind::EmailDisabled);
    NewEntry {
        key: test.key(60_000 + number * 10 + usize::try_from(kind.code()).expect("small"), millis),
        kind: EntryKind::Notice,
        account: Some(test.subject(TEAM, &format!("sub{number}"))),
        address: named.then(|| test.relay(number)),
        app: Some("com.example.app".to_owned()),
        body: serde_json::json!({ "kind": kind }),
    }
}

fn mapped(test: &TestStore, number: usize, signed_up: Option<i64>) -> NewAccount {
    NewAccount {
        subject: test.subject(TEAM, &format!("sub{number}")),
        address: Some(test.relay(number)),
        app: None,
        signed_up_at: signed_up.map(at),
        mark: None,
    }
}

async fn is_known(test: &TestStore, number: usize) -> (bool, bool) {
    let address = test.store.address_by_hash(&test.relay(number).hash).await.expect("read");
    let account = test.store.account_by_hash(&test.subject(TEAM, &format!("sub{number}")).hash).await.expect("read");
    (address.is_some(), account.is_some())
}

on_both_engines! {
    async fn a_deleted_account_is_forgotten_after_thirty_days(test: TestStore) {
        const DELETED: i64 = 5 * DAY_MILLIS;
        let due = at(DELETED + FORGET_AFTER_MILLIS);
        test.store.import_accounts(&(0..7).map(|n| mapped(&test, n, Some(0))).collect::<Vec<_>>()).await.expect("import");
        test.store.commit(&[submission((0..7).map(|n| test.refused(n, 0)).collect())]).await.expect("mail");
        // 0: deleted. 1: an earlier sign of life comes late. 2: a later sign of life came before. 3: a later sign-up.
        // 4: another account has the same address. 5: only revoked. 6: twice, the later one first.
        for entry in [
            told(&test, 2, DELETED + 1, NoticeKind::EmailEnabled),
            told(&test, 6, DELETED + DAY_MILLIS, NoticeKind::AccountDeleted),
            told(&test, 6, DELETED, NoticeKind::AccountDeleted),
            told(&test, 0, DELETED, NoticeKind::AccountDeleted),
            told(&test, 0, DELETED, NoticeKind::AccountDeleted),
            told(&test, 1, DELETED, NoticeKind::AccountDeleted),
            told(&test, 1, DELETED - 1, NoticeKind::EmailEnabled),
            told(&test, 2, DELETED, NoticeKind::AccountDeleted),
            told(&test, 3, DELETED, NoticeKind::AccountDeleted),
            told(&test, 4, DELETED, NoticeKind::AccountDeleted),
            told(&test, 5, DELETED, NoticeKind::ConsentRevoked),
        ] {
            test.store.commit(&[apple(vec![entry])]).await.expect("commit");
        }
        let other = NewAccount { subject: test.subject("B1B2C3D4E5", "other"), ..mapped(&test, 4, None) };
        test.store.import_accounts(&[mapped(&test, 3, Some(DELETED + 1)), other]).await.expect("import");
        let account = test.store.accounts_of_address(id(&test, &test.relay(0)).await).await.expect("accounts").remove(0);
        assert_eq!(account.deleted_at, Some(at(DELETED)), "address show tells it");
        let alive = test.store.accounts_of_address(id(&test, &test.relay(2)).await).await.expect("accounts").remove(0);
        assert_eq!(alive.deleted_at, None);

        let entries = test.rows("entry").await;
        assert_eq!(forget_due(&test.leader(), &test.keyring, due.plus_millis(-1)).await.expect("nothing"), 0);
        assert_eq!(test.rows("entry").await, entries);
        assert_eq!(forget_due(&test.leader(), &test.keyring, due).await.expect("forgotten"), 3);
        let mut known = Vec::new();
        for number in 0..7 {
            known.push(is_known(&test, number).await);
        }
        let (gone, there) = ((false, false), (true, true));
        assert_eq!(known, [gone, gone, there, there, (true, false), there, there]);
        assert_eq!(forget_due(&test.leader(), &test.keyring, due).await.expect("nothing"), 0, "once");
        assert_eq!(test.rows("entry").await, entries + 3, "each is in the journal");
        let actions = test.store.entries_of_kind(EntryKind::Action, due.plus_millis(DAY_MILLIS), 10).await.expect("actions");
        assert!(actions.iter().all(|action| action.body["reason"] == "account-deleted notice"), "{actions:?}");
        assert_eq!(forget_due(&test.leader(), &test.keyring, due.plus_millis(DAY_MILLIS)).await.expect("forgotten"), 1, "6");

        // A late repetition of a notice changes nothing.
        for kind in [NoticeKind::AccountDeleted, NoticeKind::EmailEnabled] {
            let number = usize::from(kind == NoticeKind::EmailEnabled);
            let millis = if number == 0 { DELETED } else { DELETED - 1 };
            test.store.commit(&[apple(vec![told(&test, number, millis, kind)])]).await.expect("again");
            assert_eq!(is_known(&test, number).await, gone);
        }
        test.store.commit(&[submission(vec![test.refused(0, 0)])]).await.expect("old mail again");
        assert_eq!(is_known(&test, 0).await, gone);
        test.store.commit(&[submission(vec![test.refused(0, 0), test.delivered(0, 9_000)])]).await.expect("new mail");
        assert_eq!(is_known(&test, 0).await, (true, false), "somebody new");
        assert_eq!(forget_due(&test.leader(), &test.keyring, due).await.expect("nothing"), 0);
    }

    async fn the_daemon_forgets_by_its_own_clock_also_after_a_restart(test: TestStore) {
        test.store.import_accounts(&[mapped(&test, 1, None), mapped(&test, 2, None)]).await.expect("import");
        let deleted = vec![told(&test, 1, 0, NoticeKind::AccountDeleted), told(&test, 2, DAY_MILLIS, NoticeKind::AccountDeleted)];
        test.store.commit(&[apple(deleted)]).await.expect("commit");
        // The daemon takes the keys that the store was made with; SQLite has one writer.
        let key_file = test.folder.path().join("relaywatch.key");
        let fingerprint = test.keyring.fingerprint();
        test.keyring.write(&key_file, true).expect("the keys");
        assert_eq!(Keyring::load(&key_file).expect("keys").fingerprint(), fingerprint);
        let text = format!(
            "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n[privacy]\nkey_file = \"{}\"\n",
            test.options.url, key_file.display()
        );
        let hashes = [1, 2].map(|number| test.relay(number).hash);
        test.leader().release().await.expect("the daemon leads");
        let TestStore { store, options, keyring, folder } = test;
        store.close().await;
        drop(store);
        let state = folder.path().display().to_string();
        let forgotten = |number: usize, clock: ManualClock| {
            let environment = std::collections::HashMap::from([("STATE_DIRECTORY".to_owned(), state.clone())]);
            let config = Config::from_text(None, text.clone(), environment).expect("a configuration");
            let hash = hashes[number];
            async move {
                let (signals, receive) = mpsc::channel(8);
                let mut lifecycle = Lifecycle::new(Signals::from_channel(receive), Supervisor::none(), Duration::from_secs(5));
                let daemon = relaywatch::daemon::start(config, relaywatch::daemon::Role::All, Clock::Manual(clock.clone()), &mut lifecycle, None).await.expect("it starts");
                let running = tokio::spawn(async move { lifecycle.run("test").await });
                let gone = async {
                    while daemon.store.address_by_hash(&hash).await.expect("read").is_some() {
                        clock.advance(Duration::from_secs(1));
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(30), gone).await.expect("forgotten in time");
                let left = daemon.store.due_accounts(at(1_000 * DAY_MILLIS), 10).await.expect("due").len();
                signals.send(Signal::Terminate).await.expect("it listens");
                running.await.expect("it ends").expect("it ends well");
                daemon.store.close().await;
                left
            }
        };
        // A minute before its time.
        let clock = ManualClock::new(at(FORGET_AFTER_MILLIS - 60_000));
        assert_eq!(forgotten(0, clock.clone()).await, 1, "the other one's time has not come");
        assert!(clock.now() >= at(FORGET_AFTER_MILLIS), "not before its time");
        // The next process, a day later.
        assert_eq!(forgotten(1, ManualClock::new(at(FORGET_AFTER_MILLIS + 2 * DAY_MILLIS))).await, 0);
        let read = Store::open(&StoreOptions { access: Access::Read, ..options }, Arc::clone(&keyring)).await.expect("opens");
        assert_eq!(read.entries_of_kind(EntryKind::Action, at(100 * DAY_MILLIS), 10).await.expect("actions").len(), 2);
    }

    async fn writers_and_erasures_at_once_leave_no_row_that_leads_nowhere(test: TestStore) {
        // Several processes on PostgreSQL; on SQLite the one that there is.
        let mut stores = vec![test.store.clone()];
        if test.store.engine() == "postgres" {
            stores.push(test.again(Access::Write).await);
            stores.push(test.again(Access::Write).await);
        }
        let (test, stores) = (Arc::new(test), Arc::new(stores));
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..4_usize {
            let (test, stores) = (Arc::clone(&test), Arc::clone(&stores));
            tasks.spawn(async move {
                for round in 0..60_usize {
                    let store = &stores[(writer + round) % stores.len()];
                    let number = round % 3;
                    let millis = i64::try_from(writer * 1_000 + round).expect("small");
                    if writer == 3 {
                        store.forget_address(&test.relay(number).hash).await.expect("forgotten");
                        continue;
                    }
                    let entry = NewEntry { key: test.key(70_000 + writer * 1_000 + round, millis), ..told(&test, number, 0, NoticeKind::EmailEnabled) };
                    let event = NewEvent { recipient: test.relay(number), ..test.delivered(writer * 1_000 + round, millis) };
                    let both = Submission { entries: vec![entry], ..submission(vec![event]) };
                    store.commit(&[both]).await.expect("commit");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a task");
        }
        assert_eq!(test.rows("event").await, 180, "no mail is lost");
        // Every account's address is known: none was taught to somebody who is forgotten.
        let mut alive = 0;
        for number in 0..3 {
            if let Some(account) = test.store.account_by_hash(&test.subject(TEAM, &format!("sub{number}")).hash).await.expect("read") {
                let address = account.address.expect("an address");
                assert!(test.store.address_by_id(address).await.expect("read").is_some(), "an account leads to nobody");
                alive += 1;
            }
        }
        // And whatever is written from now on is written to somebody who is known.
        for store in stores.iter() {
            for number in 0..3 {
                let next = usize::try_from(test.rows("event").await).expect("small");
                let event = NewEvent { recipient: test.relay(number), ..test.delivered(100_000 + next, 500_000) };
                store.commit(&[submission(vec![event])]).await.expect("commit");
                let known = id(&test, &test.relay(number)).await;
                assert!(!test.store.events_of_address(known, 1).await.expect("events").is_empty());
                let latest = test.store.events_of_address(known, 1_000).await.expect("events");
                assert!(latest.iter().any(|event| event.key.at == at(500_000)), "the mail is under the known id ({alive} accounts)");
            }
        }
    }
}

/// Whether somebody waits for a lock on a table.
async fn is_waited_for(looker: &mut PgConnection, table: &str) -> bool {
    let waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND relation = $1::regclass)";
    sqlx::query_scalar(waits).bind(table).fetch_one(looker).await.expect("the locks")
}

/// An erasure waits for a commit that has looked the person up and is still to write: else it would go on to write about nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_waits_for_a_commit_that_has_looked_its_person_up() {
    let Some(test) = fresh_store(Engine::Postgres).await else { return };
    test.store.commit(&[submission(vec![test.delivered(0, 0)])]).await.expect("commit");
    let (mut holder, mut looker) = (
        PgConnection::connect(&test.options.url).await.expect("a connection"),
        PgConnection::connect(&test.options.url).await.expect("a connection"),
    );
    let mut held = holder.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE event IN SHARE MODE").execute(&mut *held).await.expect("locked");

    let entry = told(&test, 0, 1_000, NoticeKind::EmailEnabled);
    let both = Submission { entries: vec![entry], ..submission(vec![test.delivered(0, 1_000)]) };
    let writer = test.again(Access::Write).await;
    let commit = tokio::spawn(async move { writer.commit(&[both]).await });
    let steps = async {
        while !is_waited_for(&mut looker, "event").await {
            assert!(!commit.is_finished(), "it has still to write");
            tokio::task::yield_now().await;
        }
        let (store, hash) = (test.store.clone(), test.relay(0).hash);
        let erasure = tokio::spawn(async move { store.forget_address(&hash).await });
        while !is_waited_for(&mut looker, "meta").await {
            assert!(!erasure.is_finished(), "the erasure has gone past a commit under way");
            tokio::task::yield_now().await;
        }
        held.rollback().await.expect("unlocked");
        commit.await.expect("a task").expect("commit");
        assert!(erasure.await.expect("a task").expect("forgotten"), "the address was known");
    };
    tokio::time::timeout(Duration::from_secs(30), steps)
        .await
        .expect("the erasure waits for the commit, the commit for nobody");
    assert!(test.store.address_by_hash(&test.relay(0).hash).await.expect("read").is_none());
    let subject = test.subject(TEAM, "sub0");
    let account = test.store.account_by_hash(&subject.hash).await.expect("read");
    assert!(account.is_none_or(|account| account.address.is_none()), "an account leads to nobody");
}
