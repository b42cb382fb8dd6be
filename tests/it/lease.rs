//! Who leads: one at a time, by the database's clock, and nothing is written by a reign that is over. And what several
//! processes on one PostgreSQL must not do to each other.

use std::{sync::Arc, time::Duration};

use relaywatch::{
    clock::{Clock, ManualClock},
    metrics::Metrics,
    model::DAY_MILLIS,
    monitor::Monitor,
    privacy::Keyring,
    store::{
        Access, EntryKind, Fold, IncidentRecord, IncidentState, Leader, NewOutbox, OperatorWord, OutboxFailure,
        OutboxState, Position, Route, Store, StoreError, StoreOptions, Whom,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_store, fresh_url, submission},
};

const TERM: Duration = Duration::from_mins(1);

fn page(key: &str) -> NewOutbox {
    NewOutbox {
        key: key.to_owned(),
        route: Route::Slack,
        target: "1".to_owned(),
        ordered: true,
        paced: false,
        created_at: at(0),
        due_at: at(0),
        body: b"a page".to_vec(),
    }
}

fn incident() -> IncidentRecord {
    IncidentRecord {
        id: 0,
        state: IncidentState::Open,
        onset: at(0),
        opened_at: at(1),
        updated_at: at(1),
        closed_at: None,
        operator: OperatorWord::default(),
        body: serde_json::json!({}),
    }
}

fn not_leading<T: std::fmt::Debug>(what: &str, done: &Result<T, StoreError>) {
    assert!(matches!(done, Err(StoreError::NotLeading)), "{what}: {done:?}");
}

/// Tries every write of a leader whose reign is over.
async fn refused_everything(old: &Leader, new: &Leader) {
    new.enqueue(&[page("k")]).await.expect("enqueued");
    let item = new.claim_outbox(&[Route::Slack], at(0), 60_000, 10).await.expect("claimed").remove(0);
    let failure = OutboxFailure { error: "x".to_owned(), retry_at: None, may_have_arrived: false, lets_pass: true };
    let fold = Fold { to: Position { transaction: 1, row: 0 }, ..Fold::default() };
    not_leading("fold", &old.apply("monitor", &fold).await);
    not_leading("incident", &old.save_incident(&incident()).await);
    not_leading("announcement", &old.enqueue(&[page("other")]).await);
    not_leading("claim", &old.claim_outbox(&[Route::Slack], at(120_000), 60_000, 10).await);
    not_leading("claim at hand", &old.claim_holds(&item, at(1)).await);
    not_leading("sent", &old.outbox_sent(&item, at(1), None).await);
    not_leading("failed", &old.outbox_failed(&item, at(1), &failure).await);
    not_leading("held", &old.outbox_held(&item, at(1), at(2)).await);
    not_leading("hurry", &old.outbox_hurry(at(1)).await);
    not_leading("retention", &old.expire(i64::MAX, i64::MAX, i64::MAX).await);
    not_leading(
        "fact",
        &old.append(Some(old.epoch()), EntryKind::BlindWindow, at(0), serde_json::json!({ "watched": "all" })).await,
    );
    not_leading("commit", &old.commit(&[submission(vec![])]).await);
    not_leading("looks", &old.note_looks(&[("TXT of example.com".to_owned(), at(1))]).await);
    not_leading("erasure", &old.forget(&[Whom::Deleted { account: 1 }]).await);
    not_leading("renewal", &old.renew(TERM).await);
    old.release().await.expect("there is nothing to end");

    // Nothing of it has happened, and the new reign goes on.
    assert_eq!(new.cursor("monitor").await.expect("cursor"), Position::START);
    assert!(new.incidents(IncidentState::ALL, 10).await.expect("incidents").is_empty());
    assert_eq!(new.outbox_state(Route::Slack, "other").await.expect("state"), None);
    assert_eq!(new.outbox_state(Route::Slack, "k").await.expect("state"), Some(OutboxState::Claimed));
    assert!(new.entries_of_kind(EntryKind::BlindWindow, at(1), 10).await.expect("entries").is_empty());
    assert!(new.claim_holds(&item, at(1)).await.expect("asked"));
    assert!(!new.claim_holds(&item, at(60_000)).await.expect("asked"), "it has run out");
    new.renew(TERM).await.expect("renewed");
    new.apply("monitor", &fold).await.expect("folded");
    new.outbox_sent(&item, at(1), None).await.expect("recorded");
    assert!(!new.claim_holds(&item, at(1)).await.expect("asked"), "it is sent");
}

on_both_engines! {
    async fn a_reign_that_is_over_writes_nothing(test: TestStore) {
        let old = test.leader();
        old.release().await.expect("released");
        let new = test.store.lead("another", TERM).await.expect("asked").expect("nobody leads");
        assert!(new.epoch().number() > old.epoch().number(), "reigns ascend");
        refused_everything(&old, &new).await;
    }

    async fn the_journal_tells_cheaply_whether_it_goes_on(test: TestStore) {
        assert!(!test.store.has_events_after(Position::START).await.expect("asked"));
        test.store.commit(&[submission(vec![test.delivered(1, 0), test.delivered(2, 0)])]).await.expect("commit");
        let found = test.journal(2, 10).await;
        assert!(test.store.has_events_after(Position::START).await.expect("asked"));
        assert!(test.store.has_events_after(found[0].position).await.expect("asked"));
        assert!(!test.store.has_events_after(found[1].position).await.expect("asked"));
    }
}

/// Erasing locks more than a write of the leader does, and in the same order: neither waits for the other for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_erases_beside_its_own_writes_and_those_of_others() {
    let Some(test) = fresh_store(Engine::Postgres).await else { return };
    let (leader, other) = (test.leader(), test.leader());
    let writes = tokio::spawn(async move {
        for number in 0..40 {
            other
                .append(Some(other.epoch()), EntryKind::Note, at(number), serde_json::json!({}))
                .await
                .expect("no deadlock");
            other.renew(TERM).await.expect("renewed");
        }
    });
    for number in 0..10 {
        test.store.commit(&[submission(vec![test.delivered(number, 0)])]).await.expect("commit");
        let whom = Whom::Address { hash: test.relay(number).hash, address: None };
        assert_eq!(leader.forget(&[whom]).await.expect("no deadlock").addresses, 1);
    }
    writes.await.expect("no panic");
}

/// A fresh PostgreSQL whose lease is free.
async fn postgres() -> Option<TestStore> {
    let test = fresh_store(Engine::Postgres).await?;
    test.leader().release().await.expect("released");
    Some(test)
}

fn pool(test: &TestStore) -> &sqlx::PgPool {
    let Store::Postgres(engine) = &test.store else { unreachable!("it is PostgreSQL") };
    engine.pool()
}

/// Waits until some statement that begins so waits for a lock, as the database tells.
async fn waits_for_a_lock(test: &TestStore, statement: &str) {
    let waiting = async {
        loop {
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock' AND query LIKE $1 || '%')",
            )
            .bind(statement)
            .fetch_one(pool(test))
            .await
            .expect("asked");
            if waits {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_at_a_time_by_the_clock_of_the_database() {
    let Some(test) = postgres().await else { return };
    let one = test.store.lead("one", TERM).await.expect("asked").expect("nobody leads");
    assert!(test.store.lead("two", TERM).await.expect("asked").is_none(), "one leads");
    one.renew(TERM).await.expect("renewed");
    // As when it went silent for a term: by the database's clock it is over, whatever clock the process has.
    sqlx::query("UPDATE lease SET expires_at = expires_at - 60001").execute(pool(&test)).await.expect("time passes");
    not_leading("a renewal that comes late", &one.renew(TERM).await);
    not_leading("a write after the term", &one.save_incident(&incident()).await);
    let two = test.store.lead("two", TERM).await.expect("asked").expect("the term is over");
    refused_everything(&one, &two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_ask_and_one_gets_it() {
    let Some(test) = postgres().await else { return };
    for _ in 0..10 {
        let asking = (0..4).map(|n| {
            let store = test.store.clone();
            tokio::spawn(async move { store.lead(&format!("{n}"), TERM).await.expect("asked") })
        });
        let mut reigns: Vec<Leader> = Vec::new();
        for asked in asking.collect::<Vec<_>>() {
            reigns.extend(asked.await.expect("asked"));
        }
        assert_eq!(reigns.len(), 1, "{reigns:?}");
        reigns[0].release().await.expect("released");
    }
}

/// A write that has begun is finished before another process takes over, and is seen by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_waits_for_the_write_that_is_under_way() {
    let Some(test) = postgres().await else { return };
    let old = test.store.lead("old", TERM).await.expect("asked").expect("nobody leads");
    let id = old.save_incident(&incident()).await.expect("saved");
    // Somebody holds the incident's row, so that the leader's write hangs in the middle of its transaction.
    let mut holder = pool(&test).begin().await.expect("a transaction");
    sqlx::query("SELECT 1 FROM incident FOR UPDATE").execute(&mut *holder).await.expect("held");
    let closed = IncidentRecord { id, state: IncidentState::Closed, ..incident() };
    let writing = tokio::spawn(async move { old.save_incident(&closed).await });
    waits_for_a_lock(&test, "UPDATE incident").await;
    sqlx::query("UPDATE lease SET expires_at = 0").execute(pool(&test)).await.expect("the term ends meanwhile");
    let store = test.store.clone();
    let taking = tokio::spawn(async move {
        let new = store.lead("new", TERM).await.expect("asked").expect("the term is over");
        new.incident(id).await.expect("read").expect("there").state
    });
    waits_for_a_lock(&test, "SELECT 1 FROM lease").await;
    holder.rollback().await.expect("let go");
    assert_eq!(writing.await.expect("no panic").expect("its reign lasted until it was done"), id);
    assert_eq!(taking.await.expect("no panic"), IncidentState::Closed, "the new leader sees it");
}

/// A leader that stands still in the middle of a transaction does not hold up a takeover for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_stands_still_is_ended_by_the_database() {
    let Some(test) = postgres().await else { return };
    let shown: String =
        sqlx::query_scalar("SHOW idle_in_transaction_session_timeout").fetch_one(pool(&test)).await.expect("shown");
    assert_eq!(shown, "10s");
    let mut still = pool(&test).begin().await.expect("a transaction");
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '100ms'").execute(&mut *still).await.expect("set");
    sqlx::query("SELECT 1 FROM lease FOR KEY SHARE").execute(&mut *still).await.expect("fenced");
    let new = test.store.lead("new", TERM).await.expect("asked");
    assert!(new.is_some(), "it leads once the database has ended the other transaction");
    assert!(sqlx::query("SELECT 1").execute(&mut *still).await.is_err(), "which is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_make_the_schema_once() {
    let Some((url, _folder)) = fresh_url(Engine::Postgres).await else { return };
    let keyring = Arc::new(Keyring::generate().expect("keys"));
    let options = StoreOptions { connections: 2, ..StoreOptions::new(url, Access::Write) };
    let open = || Store::open(&options, Arc::clone(&keyring));
    let (one, two, three, four) = tokio::join!(open(), open(), open(), open());
    let stores = [one, two, three, four].map(|opened| opened.expect("it opens"));
    let Store::Postgres(engine) = &stores[0] else { unreachable!("it is PostgreSQL") };
    let (generation, leases): (String, i64) =
        sqlx::query_as("SELECT (SELECT value FROM meta WHERE key = 'generation'), (SELECT count(*) FROM lease)")
            .fetch_one(engine.pool())
            .await
            .expect("asked");
    assert_eq!((generation.as_str(), leases), ("1", 1));
}

/// What another process commits is found by asking every second, since nobody wakes the monitor for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_commits_is_folded_within_seconds() {
    let Some(test) = fresh_store(Engine::Postgres).await else { return };
    let clock = ManualClock::new(at(DAY_MILLIS));
    let monitor = crate::support::monitor(&test, Clock::Manual(clock.clone()), "");
    let (mut progress, stop) = (monitor.progress(), CancellationToken::new());
    let running = tokio::spawn(monitor.run(stop.clone()));
    progress.wait_for(|progress| progress.caught_up == 1).await.expect("it looks at once");
    test.again(Access::Write).await.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
    test.journal(1, 10).await;
    for _ in 0..8 {
        clock.advance(Duration::from_secs(1));
        let folded = progress.wait_for(|progress| progress.folded == 1);
        if tokio::time::timeout(Duration::from_secs(2), folded).await.is_ok() {
            break;
        }
    }
    assert_eq!(progress.borrow().folded, 1, "it looked again after at most eight of ten seconds");
    stop.cancel();
    running.await.expect("no panic").expect("no error");
}

/// How many outcomes the journal has under an address.
async fn under(store: &Store, id: i64) -> usize {
    store.events_of_address(id, 10_000).await.expect("read").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_process_goes_on_under_an_address_that_another_one_forgot() {
    let Some(test) = postgres().await else { return };
    let other = test.again(Access::Write).await;
    let hash = test.relay(1).hash;
    let id = || async { test.store.address_by_hash(&hash).await.expect("read").expect("known").id };
    let mut number = 0;
    let mut event = |test: &TestStore| {
        number += 1;
        let event = test.delivered(1, i64::from(number));
        relaywatch::store::NewEvent { key: test.key(number.try_into().expect("small"), i64::from(number)), ..event }
    };
    for _ in 0..20 {
        // Both processes have the address at hand.
        for store in [&test.store, &other] {
            store.commit(&[submission(vec![event(&test)])]).await.expect("commit");
        }
        let old = id().await;
        // Both go on committing while a third one forgets.
        let commits: Vec<_> = (0..8)
            .map(|n| {
                let store = if n % 2 == 0 { test.store.clone() } else { other.clone() };
                let batch = submission(vec![event(&test)]);
                tokio::spawn(async move { store.commit(&[batch]).await.expect("commit") })
            })
            .collect();
        assert!(test.store.forget_address(&hash).await.expect("forgotten"));
        let then = under(&test.store, old).await;
        for commit in commits {
            commit.await.expect("no panic");
        }
        for store in [&test.store, &other] {
            store.commit(&[submission(vec![event(&test)])]).await.expect("commit");
        }
        assert_eq!(under(&test.store, old).await, then, "nothing is written under the forgotten id any more");
        assert_ne!(id().await, old, "the address is another one now");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgetting_gives_up_where_a_backup_holds_the_tables_and_commits_go_on() {
    let Some(test) = postgres().await else { return };
    test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
    let mut backup = pool(&test).begin().await.expect("a transaction");
    // As pg_dump does, for as long as it runs; the time-out of our own connections is not its.
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0").execute(&mut *backup).await.expect("set");
    sqlx::query("LOCK TABLE meta IN ACCESS SHARE MODE").execute(&mut *backup).await.expect("locked");
    let (store, hash) = (test.store.clone(), test.relay(1).hash);
    let forgetting = tokio::spawn(async move { store.forget_address(&hash).await });
    waits_for_a_lock(&test, "LOCK TABLE meta").await;
    test.store.commit(&[submission(vec![test.delivered(2, 0)])]).await.expect("it waits a second at most");
    let given_up = forgetting.await.expect("no panic");
    assert!(matches!(given_up, Err(StoreError::Busy)), "{given_up:?}");
    backup.rollback().await.expect("the backup ends");
    assert!(test.store.forget_address(&hash).await.expect("forgotten"));
}

/// Whoever reads the journal for long must not make retention block all commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letting_a_day_go_never_queues_behind_a_long_reader() {
    let Some(test) = postgres().await else { return };
    let leader = test.store.lead("one", TERM).await.expect("asked").expect("nobody leads");
    test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
    // What is not folded would stay anyhow.
    test.shown().await;
    let (wake, metrics) = (Arc::new(tokio::sync::Notify::new()), Metrics::new().expect("metrics"));
    let mut monitor = Monitor::folding(leader.clone(), Clock::System, wake, metrics, 100);
    monitor.catch_up(&CancellationToken::new()).await.expect("folded");
    let mut reader = pool(&test).begin().await.expect("a transaction");
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0").execute(&mut *reader).await.expect("set");
    sqlx::query("SELECT count(*) FROM event").execute(&mut *reader).await.expect("it reads");
    let later = at(10 * DAY_MILLIS).as_millis();
    leader.expire(at(0).as_millis(), later, later).await.expect("it goes on with the rest");
    assert_eq!(test.rows("event").await, 1, "the day stays as long as somebody reads");
    test.store.commit(&[submission(vec![test.delivered(2, 0)])]).await.expect("commits go on");
    reader.rollback().await.expect("it has read");
    leader.expire(at(0).as_millis(), later, later).await.expect("the next time");
    assert_eq!(test.rows("event").await, 0);
}
