//! Several processes that take the same reports in, on PostgreSQL: they wait for each other, never in a ring, and what a ring
//! undoes all the same is committed again.

use relaywatch::{
    ingest::SetAsideReason,
    model::NoticeKind,
    store::{Access, NewEntry, NewSetAside, NewToken, Outcome, Store, Submission},
};
use sqlx::{Connection, PgConnection};

use crate::{
    facts::notice,
    support::{Engine, TestStore, at, fresh_store},
};

/// Deliveries of one batch.
const DELIVERIES: usize = 60;

/// The keyed hash that a number stands for: in another order than the numbers.
fn hash(number: usize) -> [u8; 16] {
    let mut hash = [0; 16];
    hash[0] = u8::try_from(number * 37 % 251).expect("a byte");
    hash[1] = u8::try_from(number).expect("a byte");
    hash
}

fn token(number: usize) -> NewToken {
    NewToken { hash: hash(number), digest: [7; 32], expires_at: at(60_000) }
}

/// What one process makes of a delivery that all of them get; the notice's account and key are its own.
fn delivery(test: &TestStore, process: usize, number: usize) -> Submission {
    let part = NewSetAside {
        hash: hash(number),
        reason: SetAsideReason::UnknownType,
        label: "label".to_owned(),
        body: vec![1],
        received_at: at(0),
        expires_at: at(60_000),
    };
    let own = 1_000 * (process + 1) + number;
    let entry = NewEntry {
        key: test.key(own, 0),
        account: Some(test.subject("T", &format!("sub{own}"))),
        address: Some(test.recipient(&format!("user{number}@icloud.com"))),
        body: serde_json::json!({ "kind": NoticeKind::EmailDisabled, "private": true, "relay_domain": false }),
        ..notice(test, number, 0, NoticeKind::EmailDisabled)
    };
    Submission {
        feed: "apple".to_owned(),
        token: Some(token(number)),
        set_aside: vec![part],
        entries: vec![entry],
        ..Submission::default()
    }
}

async fn connect(test: &TestStore) -> PgConnection {
    PgConnection::connect(&test.options.url).await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_in_opposite_orders_never_wait_in_a_ring() {
    let Some(test) = fresh_store(Engine::Postgres).await else { return };
    let stores = [test.again(Access::Write).await, test.again(Access::Write).await, test.again(Access::Write).await];
    for (process, store) in stores.iter().enumerate() {
        // Everything is numbered before, so that nothing but the order of the writes tells the processes apart.
        let people = Submission { token: None, set_aside: Vec::new(), ..delivery(&test, process, 0) };
        store.commit(&[people]).await.expect("commit");
    }
    for round in 0..4 {
        let mut tasks = Vec::new();
        for (process, store) in stores.iter().enumerate() {
            let numbers = (round * DELIVERIES / 2)..(round * DELIVERIES / 2 + DELIVERIES);
            let mut batch: Vec<Submission> = numbers.map(|number| delivery(&test, process, number)).collect();
            if process == 1 {
                batch.reverse();
            } else if process == 2 {
                batch.rotate_left(DELIVERIES / 2);
            }
            let store: Store = store.clone();
            tasks.push(tokio::spawn(async move { store.commit(&batch).await }));
        }
        for task in tasks {
            let commit = task.await.expect("no panic").expect("committed");
            assert!(commit.outcomes.iter().all(|outcome| *outcome == Outcome::Committed));
        }
    }
    // A connection tells of what it saw when it ends.
    for store in stores {
        store.close().await;
    }
    let rings: i64 = sqlx::query_scalar("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(&mut connect(&test).await)
        .await
        .expect("counted");
    assert_eq!(rings, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_a_ring_undoes_is_made_again() {
    let Some(test) = fresh_store(Engine::Postgres).await else { return };
    let (first, second) = (hash(0).min(hash(1)), hash(0).max(hash(1)));
    let mut other = connect(&test).await;
    // The other one is patient, so that it's the commit that is undone.
    sqlx::query("SET deadlock_timeout = '5min'").execute(&mut other).await.expect("set");
    let mut transaction = other.begin().await.expect("begun");
    let insert = "INSERT INTO one_time_token (hash, digest, expires_at) VALUES ($1, $1, 0)";
    sqlx::query(insert).bind(second.as_slice()).execute(&mut *transaction).await.expect("the later key first");
    let store = test.store.clone();
    let batch: Vec<Submission> =
        [0, 1].map(|number| Submission { token: Some(token(number)), ..Submission::default() }).into();
    let committing = tokio::spawn(async move { store.commit(&batch).await });
    let mut observer = connect(&test).await;
    let waits = async {
        loop {
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO one_time_token%')",
            )
            .fetch_one(&mut observer)
            .await
            .expect("asked");
            if waits {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), waits).await.expect("the commit waits for the later key");
    // Closes the ring; goes on when the commit was undone.
    sqlx::query(insert).bind(first.as_slice()).execute(&mut *transaction).await.expect("the commit gave way");
    transaction.rollback().await.expect("rolled back");
    let commit = committing.await.expect("no panic").expect("committed again");
    assert_eq!(commit.outcomes, [Outcome::Committed, Outcome::Committed]);
}
