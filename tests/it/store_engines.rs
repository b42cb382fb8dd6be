//! What only one of the engines has to promise.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use relaywatch::{
    privacy::Keyring,
    store::{Access, Leader, Position, Store, StoreError, StoreOptions},
};

use sqlx::{Connection, SqliteConnection};

use crate::support::{at, submission};

#[tokio::test]
async fn sqlite_refuses_a_second_writer() {
    let test = crate::support::fresh_store(crate::support::Engine::Sqlite).await.expect("SQLite");
    let error = Store::open(&test.options, Arc::clone(&test.keyring)).await.expect_err("refused");
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    let mode = std::fs::metadata(test.store.file().expect("a file")).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads the database");
    test.store.close().await;
    drop(test.store);
    Store::open(&test.options, test.keyring).await.expect("free again");
}

#[tokio::test]
async fn a_url_of_no_engine_is_refused_with_advice() {
    let keyring = Arc::new(Keyring::generate().expect("keys"));
    let error = Store::open(&StoreOptions::new("mysql://x", Access::Write), keyring).await.expect_err("refused");
    assert!(error.to_string().contains("[store] url"), "{error}");
}

#[tokio::test]
async fn a_postgres_that_is_not_there_is_named_without_its_password() {
    let open = async |url: &str| {
        let keyring = Arc::new(Keyring::generate().expect("keys"));
        Store::open(&StoreOptions::new(url, Access::Write), keyring).await.expect_err("refused")
    };
    let error = open("postgres://relaywatch:hunter2@127.0.0.1:1/nobody").await;
    assert_eq!(error.to_string(), "cannot connect to PostgreSQL at 127.0.0.1:1/nobody; see [store] url");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let error = open("postgres://127.0.0.1:1/nobody?sslmode=bogus").await;
    assert!(matches!(error, StoreError::Options(_)), "{error:?}");
}

/// SQLite is built as `.cargo/config.toml` asks: for one process with several connections.
#[tokio::test]
async fn sqlite_has_the_options_that_its_build_asks_for() {
    let config: toml::Table = toml::from_str(include_str!("../../.cargo/config.toml")).expect("TOML");
    let flags = config["env"]["LIBSQLITE3_FLAGS"].as_str().expect("flags");
    let mut sqlite = SqliteConnection::connect("sqlite::memory:").await.expect("SQLite");
    let options: Vec<String> =
        sqlx::query_scalar("PRAGMA compile_options").fetch_all(&mut sqlite).await.expect("its options");
    let mut seen = 0;
    for flag in flags.split_whitespace() {
        let (switch, name) = flag.split_once("SQLITE_").expect("an option of SQLite");
        let is_there =
            options.iter().any(|option| option == name || option.split_once('=').is_some_and(|(o, _)| o == name));
        match switch {
            "-D" => assert!(is_there, "{flag} is not in {options:?}"),
            "-U" => assert!(!is_there, "{flag}, and yet it is in {options:?}"),
            _ => panic!("{flag} sets nothing"),
        }
        seen += 1;
    }
    assert!(seen > 0, "no flags: {flags:?}");
}

/// A transaction that began earlier and commits later must not be skipped by a reader that has gone past it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_shows_nothing_past_a_transaction_that_still_runs() {
    let Some(test) = crate::support::fresh_store(crate::support::Engine::Postgres).await else { return };
    let Store::Postgres(engine) = &test.store else { unreachable!("it is PostgreSQL") };
    let mut slow = engine.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *slow).await.expect("it has an id now");
    test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
    assert!(test.store.events_after(Position::START, 10).await.expect("read").is_empty(), "it waits for the slow one");
    slow.rollback().await.expect("rollback");
    assert_eq!(test.journal(1, 10).await.len(), 1);
}

/// One process lets a day go while another one still takes its partition for there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_makes_a_partition_again_that_another_process_dropped() {
    let Some(test) = crate::support::fresh_store(crate::support::Engine::Postgres).await else { return };
    test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
    test.fold(1).await;
    let other = test.again(Access::Write).await;
    let later = at(10 * 86_400_000).as_millis();
    Leader::new(other, test.leader().epoch())
        .expire(at(0).as_millis(), later, at(0).as_millis())
        .await
        .expect("expiry");
    test.store.commit(&[submission(vec![test.delivered(2, 0)])]).await.expect("a late report is taken");
    assert_eq!(test.rows("event").await, 1);
}

/// After a restore into another cluster transaction ids begin anew; places in the journal must go on rising.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_raises_the_generation_on_another_cluster() {
    let Some(test) = crate::support::fresh_store(crate::support::Engine::Postgres).await else { return };
    test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
    let Store::Postgres(engine) = &test.store else { unreachable!("it is PostgreSQL") };
    sqlx::query("UPDATE meta SET value = 'another/1' WHERE key = 'cluster'")
        .execute(engine.pool())
        .await
        .expect("moved");
    let again = test.again(Access::Write).await;
    again.commit(&[submission(vec![test.delivered(2, 0)])]).await.expect("commit");
    let places: Vec<_> = test_places(&again, 2).await;
    assert!(places[1] - places[0] > 1_i64 << 47, "{places:?}");
}

async fn test_places(store: &Store, count: usize) -> Vec<i64> {
    let read = async {
        loop {
            let found = store.events_after(Position::START, 10).await.expect("read");
            if found.len() == count {
                return found.iter().map(|event| event.position.transaction).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), read).await.expect("both rows show")
}
