//! `kill -9` of the daemon in the middle of load over HTTP: what was acknowledged is there, exactly once.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use relaywatch::store::{Position, Store};

use crate::support::{
    Engine,
    daemon::{Client, Home, SPARKPOST_TOKEN, now},
    payload,
};

/// How often the daemon is killed, on each engine.
const ROUNDS: usize = 50;
/// Deliveries that a round acknowledges before the kill; the senders go on meanwhile.
const ACKNOWLEDGED: usize = 24;
/// Connections that post single SES events, and as many that post SparkPost batches.
const CONNECTIONS: usize = 3;
const BATCH: u64 = 40;

/// The sender's side: what it has to bring, and what it was told is safe.
struct Sender {
    next: AtomicU64,
    /// Deliveries without an answer: first number and count.
    unanswered: Mutex<Vec<(u64, u64)>>,
    acknowledged: Mutex<HashSet<u64>>,
    base: i64,
}

impl Sender {
    /// Each number has a second of its own, so that an event's time names it.
    fn at(&self, number: u64) -> i64 {
        self.base + i64::try_from(number).expect("small") * 1_000
    }

    fn number(&self, at: i64) -> u64 {
        u64::try_from((at - self.base) / 1_000).expect("an event of this test")
    }

    /// The next delivery: first what has no answer yet, as a provider would.
    fn delivery(&self, size: u64) -> (u64, u64) {
        let mut waiting = self.unanswered.lock().expect("a list");
        match waiting.iter().position(|(_, count)| *count == size) {
            Some(place) => waiting.swap_remove(place),
            None => (self.next.fetch_add(size, Ordering::Relaxed), size),
        }
    }

    /// Posts until the connection breaks.
    fn run(&self, home: &Home, mut client: Client, size: u64, done: &AtomicUsize) {
        let authorization = format!("Bearer {SPARKPOST_TOKEN}");
        loop {
            let (first, count) = self.delivery(size);
            let refused = |number: u64| number.is_multiple_of(5);
            let answer = if size == 1 {
                let body = home.notification(&payload::ses(first, self.at(first), refused(first)));
                client.request("POST", "/in/ses", &[], body.as_bytes())
            } else {
                let elements = (first..first + count).map(|n| payload::sparkpost(n, self.at(n), refused(n)));
                let body = payload::sparkpost_batch(elements);
                client.request("POST", "/in/sparkpost", &[("authorization", &authorization)], body.as_bytes())
            };
            let Ok(answer) = answer else {
                self.unanswered.lock().expect("a list").push((first, count));
                return;
            };
            assert_eq!(answer.status, 200, "{}", answer.text());
            self.acknowledged.lock().expect("a set").extend(first..first + count);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn times(store: &Store, least: usize) -> Vec<i64> {
    let mut found = Vec::new();
    let mut after = Position::START;
    loop {
        let page = store.events_after(after, 10_000).await.expect("the journal");
        match page.last() {
            Some(event) => after = event.position,
            None if found.len() >= least => return found,
            // On PostgreSQL a transaction of another test can hide the last rows for a while.
            None => tokio::task::yield_now().await,
        }
        found.extend(page.iter().map(|event| event.key.at.as_millis()));
    }
}

async fn survive(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let sender = Sender {
        next: AtomicU64::new(0),
        unanswered: Mutex::default(),
        acknowledged: Mutex::default(),
        base: now().plus_millis(-13 * 86_400_000).as_seconds() * 1_000,
    };
    for _ in 0..ROUNDS {
        let mut daemon = home.start();
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for size in [1, BATCH] {
                for _ in 0..CONNECTIONS {
                    let client = Client::new(daemon.public).expect("connected");
                    let (sender, home, done) = (&sender, &home, &done);
                    scope.spawn(move || sender.run(home, client, size, done));
                }
            }
            while done.load(Ordering::Relaxed) < ACKNOWLEDGED {
                std::thread::yield_now();
            }
            daemon.kill();
        });
        let log = daemon.log();
        assert!(!log.contains("\"ERROR\""), "{log}");
    }

    // Once more, and what has no answer yet comes again.
    let daemon = home.start();
    let acknowledged = std::mem::take(&mut *sender.acknowledged.lock().expect("a set"));
    assert!(acknowledged.len() > ROUNDS * ACKNOWLEDGED);
    let store = home.store().await;
    let found = times(&store, acknowledged.len()).await;
    let numbers: BTreeSet<u64> = found.iter().map(|at| sender.number(*at)).collect();
    assert_eq!(numbers.len(), found.len(), "nothing is there twice");
    let lost: Vec<&u64> = acknowledged.iter().filter(|number| !numbers.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    for (first, count) in std::mem::take(&mut *sender.unanswered.lock().expect("a list")) {
        let there = (first..first + count).filter(|number| numbers.contains(number)).count();
        assert!(there == 0 || u64::try_from(there) == Ok(count), "a delivery of {count} is there in part: {there}");
    }
    // The monitor goes on where it was when it was killed, and counts each outcome once.
    let count = i64::try_from(found.len()).expect("a count");
    let folded = async {
        loop {
            let cells = store.cells_since(0).await.expect("cells");
            let mut exposed: HashMap<i32, i64> = HashMap::new();
            for (cell, counts) in &cells {
                *exposed.entry(cell.stream).or_default() += counts.exposed;
            }
            // The stream with the most is all relay mail, the parent of all others.
            let all = exposed.into_values().max().unwrap_or_default();
            if all >= count {
                return all;
            }
            tokio::task::yield_now().await;
        }
    };
    let folded = tokio::time::timeout(std::time::Duration::from_mins(1), folded).await;
    assert_eq!(folded.expect("the monitor catches up"), count);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_daemon_keeps_what_it_acknowledged_through_kill_9() {
    survive(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_daemon_keeps_what_it_acknowledged_through_kill_9() {
    survive(Engine::Postgres).await;
}
