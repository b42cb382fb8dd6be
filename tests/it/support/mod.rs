//! What the integration tests share.

#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part")]

pub(crate) mod daemon;
pub(crate) mod dovecot;
pub(crate) mod payload;
pub(crate) mod postfix;
pub(crate) mod sink;
pub(crate) mod sqs;
pub(crate) mod webhooks;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use relaywatch::{
    clock::Clock,
    config::Config,
    detect::Parameters,
    metrics::Metrics,
    model::{Address, Cause, Destination, EventKind, Exposure, FailureClass, MxFamily, Provider, StreamKey, Timestamp},
    monitor::Monitor,
    notify::{self, Notifiers},
    privacy::{Keyring, Purpose},
    store::{
        Access, Epoch, EventKey, EventRecord, Leader, NewControl, NewEvent, NewReply, Position, Recipient, Store,
        StoreOptions, Subject, Submission,
    },
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Which engine a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// A store of its own for one test, gone when the test ends.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) options: StoreOptions,
    pub(crate) folder: tempfile::TempDir,
}

/// The reign of each test's store, by its URL.
static EPOCHS: Mutex<BTreeMap<String, Epoch>> = Mutex::new(BTreeMap::new());

/// The URL of the PostgreSQL that `scripts/test` has started; `None` on a laptop without one, never in CI.
pub(crate) fn postgres_url() -> Option<String> {
    let url = std::env::var("RELAYWATCH_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
    assert!(
        url.is_some() || std::env::var("CI").as_deref() != Ok("true"),
        "RELAYWATCH_TEST_POSTGRES is not set: in CI no test of PostgreSQL may be skipped; run scripts/test"
    );
    url
}

/// A fresh place for a store: its URL, and the folder that holds whatever lies in files.
pub(crate) async fn fresh_url(engine: Engine) -> Option<(String, tempfile::TempDir)> {
    let folder = tempfile::tempdir().expect("a folder");
    let url = match engine {
        Engine::Sqlite => format!("sqlite://{}/test.db", folder.path().display()),
        Engine::Postgres => {
            let server = postgres_url()?;
            let name = format!("rw_{:016x}", rand::random::<u64>());
            let mut admin = PgConnection::connect(&server).await.expect("the test's PostgreSQL");
            sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
                .execute(&mut admin)
                .await
                .expect("a database");
            let mut url = url::Url::parse(&server).expect("a URL");
            url.set_path(&name);
            url.to_string()
        }
    };
    Some((url, folder))
}

/// A fresh store; `None` where the engine is not there (named as skipped).
pub(crate) async fn fresh_store(engine: Engine) -> Option<TestStore> {
    let Some((url, folder)) = fresh_url(engine).await else {
        println!("skipped: no PostgreSQL (RELAYWATCH_TEST_POSTGRES is not set)");
        return None;
    };
    let keyring = Arc::new(Keyring::generate().expect("keys"));
    let options = StoreOptions { connections: 4, ..StoreOptions::new(url, Access::Write) };
    let store = Store::open(&options, Arc::clone(&keyring)).await.expect("the store opens");
    let test = TestStore { store, keyring, options, folder };
    test.lead().await;
    Some(test)
}

/// Makes one test of each engine out of `async fn name(test: TestStore)`.
#[macro_export]
macro_rules! on_both_engines {
    ($($(#[$meta:meta])* async fn $name:ident($test:ident: TestStore) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports, clippy::allow_attributes, reason = "a test may use nothing of its file")]
            use super::*;

            $(#[$meta])*
            async fn run($test: $crate::support::TestStore) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let store = $crate::support::fresh_store($crate::support::Engine::Sqlite).await;
                run(store.expect("SQLite is always there")).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(store) = $crate::support::fresh_store($crate::support::Engine::Postgres).await {
                    run(store).await;
                }
            }
        }
    )+};
}

/// 2026-01-01T00:00:00Z, where the tests' time begins.
pub(crate) const T0: i64 = 1_767_225_600_000;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(T0 + millis)
}

impl TestStore {
    pub(crate) fn recipient(&self, text: &str) -> Recipient {
        let address = Address::parse(text).expect("an address");
        Recipient { hash: self.keyring.hash(Purpose::Address, &[address.key().as_bytes()]), address }
    }

    pub(crate) fn relay(&self, number: usize) -> Recipient {
        self.recipient(&format!("user{number}@privaterelay.appleid.com"))
    }

    pub(crate) fn subject(&self, team: &str, subject: &str) -> Subject {
        Subject {
            hash: self.keyring.hash(Purpose::Subject, &[team.as_bytes(), subject.as_bytes()]),
            team: team.to_owned(),
            subject: subject.to_owned(),
        }
    }

    /// The key of an event that its number names.
    pub(crate) fn key(&self, number: usize, millis: i64) -> EventKey {
        EventKey { at: at(millis), hash: self.keyring.hash(Purpose::Event, &[&number.to_le_bytes()]) }
    }

    /// A delivery to relay address `number`, of the message `number`.
    pub(crate) fn delivered(&self, number: usize, millis: i64) -> NewEvent {
        NewEvent {
            key: self.key(number, millis),
            kind: EventKind::Delivered,
            exposure: Exposure::Outcomes,
            class: FailureClass::Unknown,
            destination: Destination::Relay,
            stream: stream("news.example.com", None),
            recipient: self.relay(number),
            message: i64::try_from(number).expect("a small number") + 1,
            sent_at: Some(at(millis - 1_000)),
            label: None,
            reply: None,
        }
    }

    /// A refusal of relay address `number`, of the message `number`.
    pub(crate) fn refused(&self, number: usize, millis: i64) -> NewEvent {
        NewEvent {
            key: self.key(number + 1_000_000, millis),
            kind: EventKind::Refused,
            class: FailureClass::Permanent,
            label: Some("Permanent/General".to_owned()),
            reply: Some(NewReply {
                template: "550 5.1.1 <{recipient}>: user not found".to_owned(),
                sample: format!("550 5.1.1 <user{number}@privaterelay.appleid.com>: user not found"),
                code: Some(550),
                enhanced: Some(5_001_001),
                mx: MxFamily::AppleRelay,
                cause: Cause::RecipientUnknown,
                rule: "apple-relay/user-not-found@1".to_owned(),
                confidence: 95,
            }),
            ..self.delivered(number, millis)
        }
    }

    pub(crate) fn control(&self, number: usize, millis: i64, kind: EventKind) -> NewControl {
        NewControl {
            key: self.key(number + 2_000_000, millis),
            kind,
            stream: stream("news.example.com", None),
            sent_at: at(millis),
        }
    }

    /// Takes the lead, for the whole test.
    pub(crate) async fn lead(&self) -> Leader {
        let leader = self.store.lead("test", std::time::Duration::from_hours(1)).await.expect("the lease");
        let leader = leader.expect("nobody leads");
        EPOCHS.lock().expect("whole").insert(self.options.url.clone(), leader.epoch());
        leader
    }

    /// Leads after the store was opened anew: a reign outlives that on PostgreSQL, and on SQLite another one begins.
    pub(crate) async fn lead_again(&self) {
        if self.store.file().is_some() {
            self.lead().await;
        }
    }

    /// The store with the writes of the reign that [`TestStore::lead`] has begun.
    pub(crate) fn leader(&self) -> Leader {
        let epochs = EPOCHS.lock().expect("whole");
        Leader::new(self.store.clone(), *epochs.get(&self.options.url).expect("the test leads"))
    }

    /// Opens the same store once more.
    pub(crate) async fn again(&self, access: Access) -> Store {
        let options = StoreOptions { access, ..self.options.clone() };
        Store::open(&options, Arc::clone(&self.keyring)).await.expect("the store opens again")
    }

    /// Reads the journal from the start by pages until `count` outcomes have come.
    ///
    /// PostgreSQL shows rows only when no older transaction of the whole cluster runs, and other tests run in it too.
    pub(crate) async fn journal(&self, count: usize, page: u32) -> Vec<EventRecord> {
        let mut found: Vec<EventRecord> = Vec::new();
        let read = async {
            loop {
                let after = found.last().map_or(Position::START, |event| event.position);
                let next = self.store.events_after(after, page).await.expect("the journal");
                let ended = next.is_empty();
                found.extend(next);
                if ended && found.len() >= count {
                    break;
                }
                if ended {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), read).await.expect("the journal shows all rows");
        found
    }

    /// Waits until the journal shows all outcomes, without reading them.
    ///
    /// PostgreSQL shows rows only when no older transaction of the whole cluster runs, and other tests run in it too.
    pub(crate) async fn shown(&self) {
        let shown = async {
            loop {
                let last = self.store.latest_events(None, 1).await.expect("latest");
                let end = self.store.journal_end().await.expect("end");
                if last.first().is_none_or(|event| event.position <= end) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), shown).await.expect("the journal shows all rows");
    }

    /// Folds the journal's `count` outcomes, judging nothing.
    pub(crate) async fn fold(&self, count: usize) {
        self.journal(count, 5_000).await;
        self.fold_all().await;
    }

    /// Folds all outcomes, judging nothing.
    pub(crate) async fn fold_all(&self) {
        self.shown().await;
        let (wake, metrics) = (Arc::new(tokio::sync::Notify::new()), Metrics::new().expect("metrics"));
        let mut monitor = Monitor::folding(self.leader(), Clock::System, wake, metrics, 100_000);
        monitor.catch_up(&tokio_util::sync::CancellationToken::new()).await.expect("folded");
    }

    pub(crate) async fn rows(&self, table: &str) -> i64 {
        let counts = self.store.row_counts().await.expect("counts");
        counts.iter().find(|(name, _)| *name == table).expect("a counted table").1
    }
}

pub(crate) fn stream(from: &str, campaign: Option<&str>) -> StreamKey {
    StreamKey::finest(
        Provider::Ses,
        Some(from.to_owned()),
        Some(format!("bounce.{from}")),
        campaign.map(ToOwned::to_owned),
    )
}

pub(crate) fn submission(events: Vec<NewEvent>) -> Submission {
    Submission { feed: "ses".to_owned(), events, ..Submission::default() }
}

/// A monitor of the test's store; `config` is a configuration's text, for its notifiers.
pub(crate) fn monitor(test: &TestStore, clock: Clock, config: &str) -> Monitor {
    let config = Config::from_text(None, config.to_owned(), std::collections::HashMap::new()).expect("a configuration");
    Monitor::new(
        test.leader(),
        clock,
        Arc::new(tokio::sync::Notify::new()),
        Metrics::new().expect("metrics"),
        Parameters::default(),
        Notifiers::new(notify::Setup::new(&config).expect("notifiers")),
    )
}

/// How many rows the journal and its side tables have. The projections follow in their own time and are left out, as are
/// the words that they make.
pub(crate) async fn journal_rows(store: &Store) -> Vec<(&'static str, i64)> {
    let mut counts = store.row_counts().await.expect("counts");
    counts.retain(|(table, _)| !["word", "cell", "ledger", "refused", "day_total", "feed_hour"].contains(table));
    counts
}
