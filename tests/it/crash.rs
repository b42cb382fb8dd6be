//! `kill -9` in the middle of load: what was acknowledged is there, exactly once. And between a checkpoint and the deletion of what
//! it covers: nothing is counted twice, nothing is lost.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use relaywatch::{
    model::DAY_MILLIS,
    privacy::Keyring,
    store::{Access, Store, StoreOptions},
};

use crate::{
    retention::{Projections, projections},
    support::{Engine, TestStore, at, fresh_store, submission},
};

/// How often a writer is killed, on each engine.
const ROUNDS: usize = 50;
/// Batches that a writer acknowledges before it is killed; it goes on writing meanwhile.
const BATCHES: usize = 3;
const EVENTS: usize = 40;

/// The writer: commits batches and prints the number of each when it is durable, until it is killed.
#[tokio::test]
#[ignore = "the child process of the crash tests, which start it themselves"]
async fn writer() {
    let (Ok(url), Ok(key), Ok(first)) =
        (std::env::var("CRASH_URL"), std::env::var("CRASH_KEY"), std::env::var("CRASH_FIRST"))
    else {
        panic!("this is the crash tests' child: they start it");
    };
    let keyring = Arc::new(Keyring::load(key.as_ref()).expect("keys"));
    let options = StoreOptions { connections: 2, ..StoreOptions::new(url, Access::Write) };
    let store = Store::open(&options, Arc::clone(&keyring)).await.expect("store");
    let test = TestStore { store, keyring, options, folder: tempfile::tempdir().expect("folder") };
    let mut out = std::io::stdout();
    for batch in first.parse::<usize>().expect("a number").. {
        let events = (0..EVENTS).map(|n| test.refused(batch * EVENTS + n, 1_000)).collect();
        test.store.commit(&[submission(events)]).await.expect("commit");
        writeln!(out, "durable {batch}").expect("the parent listens");
        out.flush().expect("the parent listens");
    }
}

/// Starts this binary once more with one of the tests that are its children.
fn start(name: &str, options: &StoreOptions, key: &Path, more: (&str, String)) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("CRASH_URL", &options.url)
        .env("CRASH_KEY", key)
        .env(more.0, more.1)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts")
}

async fn survive(engine: Engine) {
    let Some(test) = fresh_store(engine).await else { return };
    let key = test.folder.path().join("keys.json");
    test.keyring.write(&key, true).expect("key file");
    test.store.close().await;
    let TestStore { store, keyring, options, folder } = test;
    drop(store);

    let mut acknowledged: HashSet<usize> = HashSet::new();
    let mut next = 0;
    for _ in 0..ROUNDS {
        let mut child = start("crash::writer", &options, &key, ("CRASH_FIRST", next.to_string()));
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut seen = 0;
        while seen < BATCHES {
            let line = lines.next().expect("the writer goes on until it is killed").expect("text");
            if let Some(number) = line.strip_prefix("durable ") {
                acknowledged.insert(number.parse().expect("a number"));
                seen += 1;
            }
        }
        // SIGKILL, while the writer is in its next commit.
        child.kill().expect("killed");
        child.wait().expect("gone");
        // What it could still print before it died was durable too.
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("durable ").and_then(|number| number.parse().ok()) {
                acknowledged.insert(number);
            }
        }
        // The next writer brings the unacknowledged batch again, as a provider would.
        next = acknowledged.iter().max().map_or(0, |last| last + 1);
    }

    let store = Store::open(&options, Arc::clone(&keyring)).await.expect("the store opens after the crashes");
    let test = TestStore { store, keyring, options, folder };
    let found = test.journal(acknowledged.len() * EVENTS, 5_000).await;
    let keys: HashSet<_> = found.iter().map(|event| event.key).collect();
    assert_eq!(keys.len(), found.len(), "nothing is there twice");
    for batch in &acknowledged {
        for n in 0..EVENTS {
            assert!(
                keys.contains(&test.refused(batch * EVENTS + n, 1_000).key),
                "batch {batch} was acknowledged and is lost"
            );
        }
    }
    assert!(acknowledged.len() >= ROUNDS * BATCHES);
    assert_eq!(found.len() % EVENTS, 0, "no batch is there in part");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_what_it_acknowledged_through_kill_9() {
    survive(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_what_it_acknowledged_through_kill_9() {
    survive(Engine::Postgres).await;
}

/// Days of mail, and days that deliveries are kept, where upkeep is killed.
const DAYS: i64 = 30;
const KEPT: i64 = 14;
const PEOPLE: usize = 90;
/// How long a reign lasts of whose leader nothing is heard.
const TERM: Duration = Duration::from_secs(3);

/// The upkeep: commits a checkpoint, says so, and goes on to delete what it covers, or stands still, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the crash tests, which start it themselves"]
async fn keeper() {
    let (Ok(url), Ok(key), Ok(then)) =
        (std::env::var("CRASH_URL"), std::env::var("CRASH_KEY"), std::env::var("CRASH_THEN"))
    else {
        panic!("this is the crash tests' child: they start it");
    };
    let keyring = Arc::new(Keyring::load(key.as_ref()).expect("keys"));
    let options = StoreOptions { connections: 3, ..StoreOptions::new(url, Access::Write) };
    let store = Store::open(&options, keyring).await.expect("store");
    let leader = store.lead("keeper", TERM).await.expect("the lease").expect("nobody leads");
    let reign = leader.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TERM / 6);
        loop {
            ticks.tick().await;
            reign.renew(TERM).await.expect("renewed");
        }
    });
    let now = at(DAYS * DAY_MILLIS).as_millis();
    let deliveries = now - KEPT * DAY_MILLIS;
    assert!(leader.checkpoint(deliveries.div_euclid(DAY_MILLIS), now).await.expect("a checkpoint"));
    let mut out = std::io::stdout();
    writeln!(out, "checkpoint").expect("the parent listens");
    out.flush().expect("the parent listens");
    if then == "go on" {
        leader.expire(now, deliveries, now - 365 * DAY_MILLIS).await.expect("upkeep");
    }
    std::future::pending::<()>().await;
}

/// Who leads after a leader was killed: whoever asks once the reign is over, on the database's clock.
async fn lead_after_a_crash(test: &TestStore) {
    let free = async {
        loop {
            if let Some(leader) = test.store.lead("test", TERM).await.expect("asked") {
                return leader.release().await.expect("given up");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), free).await.expect("the reign ends");
    test.lead().await;
}

async fn state(test: &TestStore) -> Projections {
    projections(test, PEOPLE, DAYS).await
}

async fn upkeep_survives(engine: Engine) {
    let Some(test) = fresh_store(engine).await else { return };
    let key = test.folder.path().join("keys.json");
    test.keyring.write(&key, true).expect("key file");
    // Three a day for everybody: much of it lies beyond the retention.
    let mail = |test: &TestStore| {
        let one = |n: usize| {
            let millis =
                i64::try_from(n).expect("small") % DAYS * DAY_MILLIS + 1_000 * i64::try_from(n).expect("small");
            if n.is_multiple_of(9) { test.refused(n % PEOPLE, millis) } else { test.delivered(n % PEOPLE, millis) }
        };
        let numbered = |n: usize| relaywatch::store::NewEvent {
            key: test.key(n, one(n).key.at.as_millis() - at(0).as_millis()),
            message: i64::try_from(n).expect("small") + 1,
            ..one(n)
        };
        submission((0..3 * PEOPLE * 10).map(numbered).collect())
    };
    test.store.commit(&[mail(&test)]).await.expect("commit");
    test.fold_all().await;
    let (before, rows) = (state(&test).await, test.rows("event").await);
    assert!(rows > 2_000 && test.rows("checkpoint").await == 0);
    test.leader().release().await.expect("given up");

    let mut test = test;
    for then in ["stand still", "go on", "go on", "go on"] {
        test.store.close().await;
        let TestStore { store, keyring, options, folder } = test;
        drop(store);
        let mut child = start("crash::keeper", &options, &key, ("CRASH_THEN", then.to_owned()));
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let says = lines.by_ref().map_while(Result::ok).any(|line| line.ends_with("checkpoint"));
        child.kill().expect("killed");
        child.wait().expect("gone");
        assert!(says, "the checkpoint stands");
        let store = Store::open(&options, Arc::clone(&keyring)).await.expect("the store opens after the crash");
        test = TestStore { store, keyring, options, folder };
        lead_after_a_crash(&test).await;
        assert_eq!(test.rows("checkpoint").await, 1, "{then}");
        if then == "stand still" {
            assert_eq!(test.rows("event").await, rows, "nothing has gone yet");
            let again = test.store.commit(&[mail(&test)]).await.expect("commit");
            assert_eq!(again.added, 0, "what comes again is known");
        }
        test.fold_all().await;
        assert_eq!(state(&test).await, before, "killed, then read again: {then}");
        test.store.reset_projections().await.expect("reset");
        test.fold_all().await;
        assert_eq!(state(&test).await, before, "killed, then made again: {then}");
        test.leader().release().await.expect("given up");
    }
    test.lead().await;
    let now = at(DAYS * DAY_MILLIS).as_millis();
    test.leader().expire(now, now - KEPT * DAY_MILLIS, now - 365 * DAY_MILLIS).await.expect("upkeep");
    assert!(test.rows("event").await < rows, "what the checkpoint covers has gone");
    test.store.reset_projections().await.expect("reset");
    test.fold_all().await;
    assert_eq!(state(&test).await, before, "made again from what is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_counts_everything_once_where_upkeep_is_killed_after_a_checkpoint() {
    upkeep_survives(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_counts_everything_once_where_upkeep_is_killed_after_a_checkpoint() {
    upkeep_survives(Engine::Postgres).await;
}
