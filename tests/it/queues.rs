//! SES through a queue, with a real process and a server that speaks SQS and SNS.

use std::{collections::BTreeMap, net::SocketAddr, process::Command, sync::Arc, time::Duration};

use relaywatch::{
    classify::Rules,
    clock::{Clock, ManualClock},
    config::Config,
    explain::BlindReason,
    ingest::{
        alive::Life,
        committer::committer,
        http::{feeds::Feeds, ses},
        intake::{Intake, Knowledge},
        reception::{Reception, Setup},
        workers::{self, Workers},
    },
    metrics::Metrics,
    model::{DAY_MILLIS, MINUTE_MILLIS, RelayDomains, Timestamp},
    monitor::blind::{Window, known},
    store::{Position, Store},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Engine, at,
    daemon::{Daemon, Home, now},
    fresh_store, payload, postgres_url,
    sqs::{Proxy, Queue, Server, Way, server},
};

/// The daemon with credentials that its server takes.
fn with_credentials(home: &Home) -> Command {
    let mut command = home.command();
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command
}

fn start(home: &Home) -> Daemon {
    Daemon::start(with_credentials(home))
}

/// A home whose daemon asks this queue, through whatever stands at `endpoint`.
async fn home(engine: Engine, queue: &Queue, endpoint: SocketAddr) -> Option<Home> {
    let home = Home::new(engine).await?;
    home.configure(&format!("{}{}", Home::feeds(), queue.table(None, endpoint)));
    Some(home)
}

/// Every fixture of SES, as if it had happened yesterday.
fn fixtures() -> Vec<String> {
    let yesterday = now().plus_millis(-86_400_000);
    let (millis, seconds) = (yesterday.as_millis().to_string(), yesterday.as_seconds().to_string());
    let date = payload::rfc3339(yesterday.as_millis());
    let day = date.get(..10).expect("a day");
    let folder = format!("{}/tests/fixtures/ses", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).expect("the fixtures");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "json"));
    files.sort();
    let moved = |text: String| {
        let text = text.replace("2025-08-09", day).replace("2025-08-10", day);
        text.replace("1754719202456", &millis).replace("1754719200", &seconds)
    };
    files.into_iter().map(|file| moved(std::fs::read_to_string(file).expect("a fixture"))).collect()
}

/// The times in the journal, once there are so many.
async fn times(store: &Store, count: usize) -> Vec<Timestamp> {
    let read = async {
        loop {
            let events = store.events_after(Position::START, 10_000).await.expect("the journal");
            if events.len() >= count {
                return events.iter().map(|event| event.key.at).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), read).await.expect("the journal shows all rows")
}

fn events_of(feed: &str, kind: &str) -> String {
    format!("relaywatch_feed_events_total{{feed=\"{feed}\",kind=\"{kind}\"}}")
}

fn accepted(feed: &str) -> String {
    format!("relaywatch_feed_deliveries_total{{answer=\"accepted\",feed=\"{feed}\"}}")
}

/// A delivery of this number, a second apart from the others.
fn delivery(number: u64, base: i64) -> String {
    payload::ses(number, base + i64::try_from(number).expect("small") * 1_000, false)
}

/// The begin of the tests' times: an hour ago.
fn base() -> i64 {
    now().plus_millis(-3_600_000).as_seconds() * 1_000
}

async fn every_way(engine: Engine, server: Server) {
    let (wrapped, raw) = (server.queue(), server.queue());
    let Some(home) = Home::new(engine).await else { return };
    let tables = [wrapped.table(Some("eu"), server.address), raw.table(Some("raw"), server.address)].concat();
    home.configure(&format!("{}{tables}", Home::feeds()));
    let daemon = start(&home);

    let fixtures = fixtures();
    let (topic, raw_topic) = (server.topic(&wrapped, false), server.topic(&raw, true));
    for text in &fixtures {
        topic.publish(text);
    }
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut identities = std::collections::BTreeSet::new();
    for text in &fixtures {
        for event in ses::decode(text, None, now()).expect("decodes").events {
            *kinds.entry(event.kind.as_str()).or_default() += 1;
            identities.insert(event.dedupe.expose().to_vec());
        }
    }
    assert!(kinds.len() >= 6, "{kinds:?}");
    daemon.wait_for_metric(&accepted("sqs/eu"), fixtures.len() as u64);
    for (kind, count) in &kinds {
        assert_eq!(daemon.metric(&events_of("sqs/eu", kind)), *count, "{kind}");
    }
    let store = home.store().await;
    let rows = times(&store, identities.len()).await;
    assert_eq!(rows.len(), identities.len());

    // The same without envelopes, in another order and twice; one more way for one of them: SNS over HTTP.
    for text in fixtures.iter().rev().chain(&fixtures) {
        raw_topic.publish(text);
    }
    let answer = daemon.post("/in/ses", &[], home.notification(&fixtures[1]).as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    // And from EventBridge straight into the queue.
    let detail: Value = serde_json::from_str(&fixtures[0]).expect("JSON");
    let event = json!({ "version": "0", "id": "1", "detail-type": "x", "source": "aws.ses", "detail": detail });
    raw.send(&event.to_string());
    daemon.wait_for_metric(&accepted("sqs/raw"), 2 * fixtures.len() as u64 + 1);
    for queue in [&wrapped, &raw] {
        queue.wait_for((0, 0));
    }
    assert_eq!(times(&store, rows.len()).await.len(), rows.len(), "nothing came twice");
    assert_eq!(daemon.metric("relaywatch_queue_undeleted_messages_total{feed=\"sqs/raw\"}"), 0);
    let log = daemon.stop();
    assert!(!log.contains("privaterelay.appleid.com"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_by_every_way_is_one_on_sqlite() {
    let Some(server) = server() else { return };
    every_way(Engine::Sqlite, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_by_every_way_is_one_on_postgres() {
    let Some(server) = server() else { return };
    every_way(Engine::Postgres, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_of_two_weeks_ago_is_taken() {
    let Some(server) = server() else { return };
    let queue = server.queue();
    let home = home(Engine::Sqlite, &queue, server.address).await.expect("SQLite is always there");
    let old = now().plus_millis(-13 * 86_400_000);
    let mut envelope: Value =
        serde_json::from_str(&home.notification(&payload::ses(1, old.as_millis(), true))).expect("JSON");
    envelope["Timestamp"] = json!(payload::rfc3339(old.as_millis()));
    envelope["Signature"] = json!("AAAA");
    queue.send(&envelope.to_string());
    let daemon = start(&home);
    daemon.wait_for_metric(&events_of("sqs", "refused"), 1);
    queue.wait_for((0, 0));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_set_aside_for_a_week_and_leaves_the_queue() {
    let Some(server) = server() else { return };
    let queue = server.queue();
    let home = home(Engine::Sqlite, &queue, server.address).await.expect("SQLite is always there");
    let daemon = start(&home);
    let huge = "x".repeat(1024 * 1024);
    let poison = ["", "hello", "[1, 2]", "{\"Type\":\"Notification\"}", "{\"eventType\":\"Bounce\"}", huge.as_str()];
    for body in poison {
        queue.send(body);
    }
    queue.send(&delivery(1, base()));
    daemon.wait_for_metric(&accepted("sqs"), poison.len() as u64 + 1);
    queue.wait_for((0, 0));
    let set_aside = "relaywatch_feed_set_aside_total{feed=\"sqs\",reason=\"malformed\"}";
    assert_eq!(daemon.metric(set_aside), poison.len() as u64);
    assert_eq!(daemon.metric(&events_of("sqs", "delivered")), 1, "what is among poison is taken");
    daemon.wait_for("something in it is not understood");

    let mut file = SqliteConnection::connect(&home.url).await.expect("the file opens");
    let rows = sqlx::query_as("SELECT expires_at - received_at, sealed FROM set_aside").fetch_all(&mut file).await;
    let kept: Vec<(i64, Vec<u8>)> = rows.expect("rows");
    assert_eq!(kept.len(), poison.len());
    for (millis, sealed) in kept {
        assert_eq!(millis, 7 * 86_400_000);
        assert!(!sealed.windows(5).any(|part| part == b"hello"), "it is sealed");
    }
    daemon.stop();
}

/// Makes the store of a home go away, and come back.
enum Away {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>, String),
}

impl Away {
    async fn begin(home: &Home) -> Self {
        if home.engine == Engine::Sqlite {
            let mut other = SqliteConnection::connect(&home.url).await.expect("the file opens");
            sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("locked");
            return Self::Sqlite(Box::new(other));
        }
        let mut admin = PgConnection::connect(&postgres_url().expect("a server")).await.expect("the server");
        let name = url::Url::parse(&home.url).expect("a URL").path().trim_start_matches('/').to_owned();
        Self::allow(&mut admin, &name, false).await;
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind(&name)
            .execute(&mut admin)
            .await
            .expect("cut off");
        Self::Postgres(Box::new(admin), name)
    }

    async fn allow(admin: &mut PgConnection, name: &str, allowed: bool) {
        let text = AssertSqlSafe(format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}"));
        sqlx::query(text).execute(admin).await.expect("changed");
    }

    async fn end(self) {
        match self {
            Self::Sqlite(mut other) => drop(sqlx::query("ROLLBACK").execute(&mut *other).await.expect("unlocked")),
            Self::Postgres(mut admin, name) => Self::allow(&mut admin, &name, true).await,
        }
    }
}

/// Messages that wait while the store is away.
const WAITING: u64 = 25;

async fn store_away(engine: Engine, server: Server) {
    let (queue, proxy) = (server.queue(), Proxy::start(server).await);
    let Some(home) = home(engine, &queue, proxy.address).await else { return };
    let daemon = start(&home);
    queue.send(&delivery(0, base()));
    daemon.wait_for_metric(&accepted("sqs"), 1);
    queue.wait_for((0, 0));

    let away = Away::begin(&home).await;
    let base = base();
    for number in 1..=WAITING {
        queue.send(&delivery(number, base));
    }
    daemon.wait_for("the store is away");
    // Longer than messages are hidden by one request, two times out of three.
    proxy.wait_for("ChangeMessageVisibilityBatch", 1).await;
    let (visible, held) = queue.counts();
    assert_eq!(visible + held, WAITING, "all are still there");
    assert!(held > 0);
    assert_eq!(proxy.seen("DeleteMessageBatch").len(), 1, "of the first one");

    away.end().await;
    daemon.wait_for_metric(&events_of("sqs", "delivered"), WAITING + 1);
    queue.wait_for((0, 0));
    assert_eq!(proxy.handed_out().len() as u64, WAITING + 1, "nothing was let go and fetched anew");
    let store = home.store().await;
    let count = usize::try_from(WAITING + 1).expect("small");
    assert_eq!(times(&store, count).await.len(), count);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_sqlite_is_locked_messages_are_held_and_nothing_is_lost() {
    let Some(server) = server() else { return };
    store_away(Engine::Sqlite, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_postgres_is_away_messages_are_held_and_nothing_is_lost() {
    let Some(server) = server() else { return };
    store_away(Engine::Postgres, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_while_the_store_is_away_shows_what_is_held_to_others_at_once() {
    let Some(server) = server() else { return };
    let queue = server.queue();
    let home = home(Engine::Sqlite, &queue, server.address).await.expect("SQLite is always there");
    let daemon = start(&home);
    let away = Away::begin(&home).await;
    queue.send(&delivery(1, base()));
    queue.send(&delivery(2, base()));
    daemon.wait_for("the store is away");
    daemon.signal("TERM");
    queue.wait_for((2, 0));
    away.end().await;
    daemon.stop();

    let daemon = start(&home);
    daemon.wait_for_metric(&events_of("sqs", "delivered"), 2);
    queue.wait_for((0, 0));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_deletes_what_is_committed() {
    let Some(server) = server() else { return };
    let (queue, proxy) = (server.queue(), Proxy::start(server).await);
    let home = home(Engine::Sqlite, &queue, proxy.address).await.expect("SQLite is always there");
    let daemon = start(&home);
    let base = base();
    for number in 0..300 {
        queue.send(&delivery(number, base));
    }
    proxy.wait_for("DeleteMessageBatch", 3).await;
    daemon.stop();
    let (visible, held) = queue.counts();
    let store = home.store().await;
    let committed = store.events_after(Position::START, 10_000).await.expect("the journal").len() as u64;
    assert_eq!(visible + held, 300 - committed, "what is committed is deleted, and nothing else");
    drop(store);
    let daemon = start(&home);
    daemon.wait_for_metric(&events_of("sqs", "delivered"), 300 - committed);
    queue.wait_for((0, 0));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crash_between_commit_and_deletion_changes_nothing() {
    let Some(server) = server() else { return };
    let (queue, proxy) = (server.queue(), Proxy::start(server).await);
    let home = home(Engine::Sqlite, &queue, proxy.address).await.expect("SQLite is always there");
    proxy.set("DeleteMessageBatch", Some(Way::Hang));
    let base = base();
    for number in 0..5 {
        queue.send(&delivery(number, base));
    }
    let mut daemon = start(&home);
    daemon.wait_for_metric(&events_of("sqs", "delivered"), 5);
    daemon.kill();
    queue.wait_for((0, 5));
    for handle in proxy.handed_out() {
        queue.show(&handle);
    }
    queue.wait_for((5, 0));

    proxy.set("DeleteMessageBatch", None);
    let daemon = start(&home);
    daemon.wait_for_metric(&events_of("sqs", "delivered"), 5);
    queue.wait_for((0, 0));
    assert_eq!(daemon.metric("relaywatch_journal_rows_repeated_total"), 5);
    assert_eq!(times(&home.store().await, 5).await.len(), 5);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_batch_did_not_delete_is_deleted_by_another() {
    let Some(server) = server() else { return };
    let (queue, proxy) = (server.queue(), Proxy::start(server).await);
    let home = home(Engine::Sqlite, &queue, proxy.address).await.expect("SQLite is always there");
    let base = base();
    for number in 0..4 {
        queue.send(&delivery(number, base));
    }
    proxy.set("DeleteMessageBatch", Some(Way::FirstFails));
    let daemon = start(&home);
    queue.wait_for((0, 1));
    proxy.set("DeleteMessageBatch", None);
    queue.wait_for((0, 0));
    assert_eq!(daemon.metric("relaywatch_queue_undeleted_messages_total{feed=\"sqs\"}"), 0);
    assert_eq!(proxy.handed_out().len(), 4, "nothing had to be handed out again");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_queue_that_cannot_be_asked_is_told_of_with_what_to_do() {
    let Some(server) = server() else { return };
    let (queue, proxy) = (server.queue(), Proxy::start(server).await);
    let home = home(Engine::Sqlite, &queue, proxy.address).await.expect("SQLite is always there");
    let error = |code: &str| json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": "user@example.com" });
    let troubles = [
        (400, "QueueDoesNotExist", "no-queue", "compare queue_url"),
        (403, "AccessDeniedException", "access-denied", "sqs:DeleteMessage"),
        (403, "InvalidClientTokenId", "no-credentials", "attach a role"),
        (400, "RequestThrottled", "throttled", "more slowly"),
        (500, "InternalFailure", "failed", "asked again"),
    ];
    let set = |place: usize| {
        let (status, code, _, _) = troubles[place];
        proxy.set("ReceiveMessage", Some(Way::Answer(status, error(code))));
    };
    set(0);
    let daemon = start(&home);
    for (place, (_, code, reason, advice)) in troubles.iter().enumerate() {
        set(place);
        let line = daemon.wait_for(&format!("\"reason\":\"{reason}\""));
        assert!(line.contains(advice) && line.contains("\"feed\":\"sqs\"") && line.contains(code), "{line}");
        let series = format!("relaywatch_queue_failures_total{{feed=\"sqs\",reason=\"{reason}\"}}");
        assert!(daemon.metric(&series) >= 1, "{reason}");
    }
    queue.send(&delivery(1, base()));
    proxy.set("ReceiveMessage", None);
    daemon.wait_for_metric(&events_of("sqs", "delivered"), 1);
    let log = daemon.stop();
    assert!(!log.contains("user@example.com"), "{log}");
    for (_, _, reason, _) in troubles {
        assert_eq!(log.matches(&format!("\"reason\":\"{reason}\"")).count(), 1, "one line a minute: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credentials_or_network_the_rest_goes_on() {
    let Some(server) = server() else { return };
    let queue = server.queue();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let home = home(Engine::Sqlite, &queue, closed).await.expect("SQLite is always there");
    let daemon = start(&home);
    daemon.wait_for("\"reason\":\"unreachable\"");
    let body = home.notification(&delivery(1, base()));
    assert_eq!(daemon.post("/in/ses", &[], body.as_bytes()).status, 200);
    daemon.stop();

    let mut command = home.command();
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let daemon = Daemon::start(command);
    daemon.wait_for("\"reason\":\"no-credentials\"");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_a_queue_up_and_lets_it_go() {
    let Some(server) = server() else { return };
    let queue = server.queue();
    let home = home(Engine::Sqlite, &queue, server.address).await.expect("SQLite is always there");
    home.configure(&Home::feeds());
    let daemon = start(&home);
    queue.send(&delivery(1, base()));
    home.configure(&format!("{}{}", Home::feeds(), queue.table(None, server.address)));
    daemon.signal("HUP");
    assert!(daemon.wait_for("\"reloaded\"").contains("feeds + sqs"));
    daemon.wait_for_metric(&events_of("sqs", "delivered"), 1);
    queue.wait_for((0, 0));

    home.configure(&Home::feeds());
    daemon.signal("HUP");
    assert!(daemon.wait_for_nth("\"reloaded\"", 2).contains("feeds - sqs"));
    let other = server.queue();
    home.configure(&format!("{}{}", Home::feeds(), other.table(None, server.address)));
    daemon.signal("HUP");
    daemon.wait_for_nth("\"reloaded\"", 3);
    // Only when the feed asks the other queue has it let go of the first: a request may have been on its way.
    other.send(&delivery(2, base()));
    daemon.wait_for_metric(&events_of("sqs", "delivered"), 2);
    queue.send(&delivery(3, base()));
    other.send(&delivery(4, base()));
    daemon.wait_for_metric(&events_of("sqs", "delivered"), 3);
    other.wait_for((0, 0));
    assert_eq!(queue.counts(), (1, 0), "nobody asks it any more");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_cannot_be_asked_for_ten_minutes_makes_a_blind_window() {
    let Some(server) = server() else { return };
    let (queue, proxy) = (server.queue(), Proxy::start(server).await);
    let test = fresh_store(Engine::Sqlite).await.expect("SQLite is always there");
    let manual = ManualClock::new(at(0));
    let (clock, metrics) = (Clock::Manual(manual.clone()), Metrics::new().expect("metrics"));
    let (committer, _writers) = committer(&test.store, &metrics, &Arc::new(Notify::new()), 1);
    let table = queue.table(Some("eu"), proxy.address);
    let config = Config::from_text(None, table, std::collections::HashMap::new()).expect("a configuration");
    let setup = Setup {
        feeds: Feeds::default(),
        workers: Workers::new(&config).expect("the feed"),
        knowledge: Knowledge {
            rules: Arc::new(Rules::built_in().expect("rules")),
            relay: RelayDomains::default(),
            retention: None,
        },
        body_bytes: 1,
        request_timeout: Duration::from_secs(1),
    };
    let opened = setup.workers.open().await.expect("opened");
    let intake = Intake::new(Arc::clone(&test.keyring), committer, metrics.clone());
    let reception = Reception::new(setup, intake, clock.clone(), metrics.clone(), mpsc::channel(1).0);
    let (deliveries, stop) = (reception.deliveries(), CancellationToken::new());

    let denied = json!({ "__type": "com.amazonaws.sqs#AccessDeniedException" });
    proxy.set("ReceiveMessage", Some(Way::Answer(403, denied)));
    let running = tokio::spawn(workers::run(opened, reception, stop.clone()));
    let mut life = Life::default();
    let failures = metrics.queue_failures.with_label_values(&["sqs/eu", "access-denied"]);
    let mut windows = Vec::new();
    while windows.is_empty() {
        let before = failures.get();
        let failed_again = async {
            while failures.get() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), failed_again).await.expect("the queue is asked again");
        manual.advance(Duration::from_mins(3));
        life.step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
        windows = known(&test.store, at(DAY_MILLIS)).await.expect("windows");
        windows.retain(|window: &Window| window.watched == "sqs/eu");
    }
    let now = clock.now();
    assert!(now >= at(10 * MINUTE_MILLIS), "{now}");
    let [window] = windows.as_slice() else { panic!("{windows:?}") };
    assert_eq!((window.reason, window.until), (Some(BlindReason::Unreachable), None));

    proxy.set("ReceiveMessage", None);
    let ended = async {
        loop {
            life.step(&test.store, &clock, &deliveries, &metrics).await.expect("a sign");
            let found = known(&test.store, at(DAY_MILLIS)).await.expect("windows");
            if found.iter().any(|found| found.watched == "sqs/eu" && found.until.is_some()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ended).await.expect("it ends once the queue answers");
    stop.cancel();
    running.await.expect("no panic").expect("it ends");
}
