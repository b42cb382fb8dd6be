//! `kill -9` in the middle of load: what was acknowledged is there, exactly once.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
};

use relaywatch::{
    privacy::Keyring,
    store::{Access, Store, StoreOptions},
};

use crate::support::{Engine, TestStore, fresh_store, submission};

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
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "crash::writer", "--ignored", "--nocapture"])
            .env("CRASH_URL", &options.url)
            .env("CRASH_KEY", &key)
            .env("CRASH_FIRST", next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the writer starts");
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
