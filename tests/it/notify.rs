//! Pages and forwarded notices over HTTP: nothing is lost, a repeat is marked, nobody is asked too early.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use relaywatch::{
    clock::{Clock, ManualClock},
    config::{Config, Secret},
    daemon, http_client,
    ingest::http::apple::signing::Signer,
    lifecycle::{Lifecycle, Signal, Signals, Supervisor},
    metrics::Metrics,
    model::{DAY_MILLIS, HOUR_MILLIS, Notice, NoticeKind, Timestamp},
    notify::{
        Endpoint, Notifiers, Page, PageKind, Setup, Severity, Worker, WorkerError, forward, heartbeat, pages,
        slack::Slack,
    },
    privacy::Keyring,
    store::{Access, Leader, NewOutbox, OutboxState, Route, Store},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{
        Engine, TestStore, at, fresh_store,
        sink::{Answer, Sink},
    },
};

/// Long enough for the tests' hanging receivers, short enough to wait for.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);

fn config(text: &str) -> Config {
    let state = tempfile::tempdir().expect("folder");
    let environment = HashMap::from([("STATE_DIRECTORY".to_owned(), state.path().display().to_string())]);
    Config::from_text(None, text.to_owned(), environment).unwrap_or_else(|error| panic!("{error}"))
}

fn slack_and_webhook(sink: &Sink) -> Config {
    let (slack, webhook) = (sink.url("/slack"), sink.url("/webhook"));
    config(&format!(
        "[notify.slack]\nwebhook_url = \"{slack}\"\n[notify.webhook]\nurl = \"{webhook}\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n"
    ))
}

fn only_slack(sink: &Sink) -> Config {
    config(&format!("[notify.slack]\nwebhook_url = \"{}\"\n", sink.url("/slack")))
}

fn only_webhook(sink: &Sink) -> Config {
    config(&format!("[notify.webhook]\nurl = \"{}\"\n", sink.url("/webhook")))
}

fn page(kind: PageKind, number: usize) -> Page {
    Page {
        key: format!("inc-1/{kind}/{number}"),
        kind,
        severity: Severity::Page,
        raised: false,
        incident: "inc-1".to_owned(),
        installation: None,
        stream: "ses/news.example.com".to_owned(),
        headline: format!("Since 06:05Z {number} messages were refused."),
        since: at(0),
        turned: None,
        at: at(0),
        refused: 312,
        sent: 330,
        facts: vec!["a fact".to_owned()],
        explanation: vec!["Cause:  undetermined".to_owned()],
        safe_action: None,
        links: Vec::new(),
    }
}

/// A worker that runs until it's stopped or dropped, on a clock that the test steps.
struct Running {
    task: JoinHandle<Result<(), WorkerError>>,
    stop: CancellationToken,
    clock: ManualClock,
    notifiers: Notifiers,
    metrics: Metrics,
}

fn start(store: &Leader, setup: Setup, clock: &ManualClock) -> Running {
    let notifiers = Notifiers::new(setup);
    let (stop, metrics) = (CancellationToken::new(), Metrics::new().expect("metrics"));
    let client = http_client::build(CLIENT_TIMEOUT).expect("client");
    let worker =
        Worker::new(&notifiers, store.clone(), Clock::Manual(clock.clone()), client, metrics.clone(), stop.clone());
    Running { task: tokio::spawn(worker.run()), stop, clock: clock.clone(), notifiers, metrics }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
    }

    fn count(&self, route: Route, result: &str) -> u64 {
        self.metrics.notifications.with_label_values(&[route.as_str(), result]).get()
    }

    /// Waits until the item stands so. The clock moves only when the next attempt lies ahead, and then just to it, so that
    /// no claim runs out over real I/O. Gives how many seconds that took by the clock.
    async fn until_state(&self, store: &Store, route: Route, key: &str, wanted: OutboxState) -> i64 {
        let from = self.clock.now();
        until(|| async {
            let state = store.outbox_state(route, key).await.expect("state");
            if state == Some(OutboxState::Waiting) && wanted != OutboxState::Waiting {
                self.advance_to_next(store).await;
            }
            self.notifiers.wake().notify_one();
            state == Some(wanted)
        })
        .await;
        self.clock.now().millis_since(from) / 1_000
    }

    async fn advance_to_next(&self, store: &Store) {
        if let Some(due) = store.outbox_depth().await.expect("depth").oldest_due {
            self.clock.advance_to(due);
        }
        self.notifiers.wake().notify_one();
    }
}

/// Waits for it; fails after a minute.
async fn until<R: Future<Output = bool>>(done: impl Fn() -> R) {
    let waiting = async {
        while !done().await {
            // Asked without a pause, tests beside each other take the disk and both processors from each other for a minute.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.expect("it happens within a minute");
}

fn setup(config: &Config) -> Setup {
    Setup::new(config).expect("a setup")
}

async fn enqueue(store: &Leader, page: &Page, config: &Config) {
    for item in pages(page, &config.notify) {
        store.enqueue(&[item]).await.expect("enqueued");
    }
}

on_both_engines! {
    async fn a_page_reaches_slack_and_the_webhook_with_its_key(test: TestStore) {
        let sink = Sink::start().await;
        let config = slack_and_webhook(&sink);
        enqueue(&test.leader(), &page(PageKind::Opened, 1), &config).await;
        let running = start(&test.leader(), setup(&config), &ManualClock::new(at(0)));
        let received = sink.wait(2).await;
        let webhook = received.iter().find(|request| request.path == "/webhook").expect("the webhook");
        let slack = received.iter().find(|request| request.path == "/slack").expect("slack");
        assert_eq!(webhook.header("idempotency-key"), "inc-1/opened/1");
        assert_eq!(webhook.header("webhook-id"), "inc-1/opened/1");
        assert_eq!(webhook.header("webhook-timestamp"), at(0).as_seconds().to_string());
        assert!(webhook.header("webhook-signature").starts_with("v1,"));
        assert_eq!(webhook.json()["type"], "incident.opened");
        assert_eq!(webhook.json()["data"]["possible_repeat"], false);
        assert_eq!(slack.json()["blocks"][0]["type"], "header");
        assert!(!String::from_utf8_lossy(&slack.body).contains("possible repeat"));
        running.stop().await;
        assert_eq!(test.store.outbox_depth().await.expect("depth").waiting, 0);
        assert_eq!(sink.received().len(), 2);
    }

    async fn a_worker_that_dies_between_sending_and_recording_repeats_and_says_so(test: TestStore) {
        let sink = Sink::start().await;
        let config = slack_and_webhook(&sink);
        enqueue(&test.leader(), &page(PageKind::Opened, 1), &config).await;
        sink.then([Answer::Hang, Answer::Hang]);
        let clock = ManualClock::new(at(0));
        let running = start(&test.leader(), setup(&config), &clock);
        // Both have arrived; nothing is recorded.
        sink.wait(2).await;
        running.task.abort();
        assert!(running.task.await.expect_err("killed").is_cancelled());

        clock.advance(Duration::from_secs(61));
        let running = start(&test.leader(), setup(&config), &clock);
        running.until_state(&test.store, Route::Slack, "inc-1/opened/1", OutboxState::Sent).await;
        running.until_state(&test.store, Route::Webhook, "inc-1/opened/1", OutboxState::Sent).await;
        let received = sink.received();
        assert_eq!(received.len(), 4);
        for again in &received[2..] {
            let text = String::from_utf8_lossy(&again.body);
            if again.path == "/slack" {
                assert!(text.contains("*possible repeat* (key inc-1/opened/1)"), "{text}");
            } else {
                assert_eq!(again.json()["data"]["possible_repeat"], true);
                assert_eq!(again.header("idempotency-key"), "inc-1/opened/1");
            }
        }
        running.stop().await;
    }

    async fn a_lost_answer_may_have_arrived_and_a_refusal_has_not(test: TestStore) {
        let sink = Sink::start().await;
        let config = only_webhook(&sink);
        let clock = ManualClock::new(at(0));
        let running = start(&test.leader(), setup(&config), &clock);
        for (number, (answer, repeat)) in
            [(Answer::Close, true), (Answer::Hang, true), (Answer::status(500), true), (Answer::status(503), false), (Answer::status(404), false)]
                .into_iter().enumerate()
        {
            sink.then([answer]);
            let page = Page { incident: format!("inc-{number}"), ..page(PageKind::Opened, number) };
            enqueue(&test.leader(), &page, &config).await;
            running.until_state(&test.store, Route::Webhook, &page.key, OutboxState::Sent).await;
            let received = sink.received();
            assert_eq!(received.len(), 2 * (number + 1));
            assert_eq!(received.last().expect("one").json()["data"]["possible_repeat"], repeat, "number {number}");
        }
        assert_eq!((running.count(Route::Webhook, "sent"), running.count(Route::Webhook, "failed")), (5, 5));
        running.stop().await;
    }

    async fn retry_after_is_honoured_for_the_whole_route(test: TestStore) {
        let sink = Sink::start().await;
        let config = slack_and_webhook(&sink);
        let slack = || sink.received().iter().filter(|request| request.path == "/slack").count();
        let clock = ManualClock::new(at(0));
        let first = page(PageKind::Opened, 1);
        test.leader().enqueue(&pages(&first, &only_slack(&sink).notify)).await.expect("enqueued");
        sink.then([Answer::With(429, vec![("retry-after", "120".to_owned())], String::new())]);
        let running = start(&test.leader(), setup(&config), &clock);
        sink.wait(1).await;
        until(|| async {
            test.store.outbox_state(Route::Slack, &first.key).await.expect("state") == Some(OutboxState::Waiting)
        }).await;
        // Another incident's page waits as well: it's the channel that is full. The webhook doesn't.
        clock.advance(Duration::from_secs(119));
        let second = Page { incident: "inc-2".to_owned(), ..page(PageKind::Opened, 2) };
        enqueue(&test.leader(), &second, &config).await;
        running.notifiers.wake().notify_one();
        let webhook = || test.store.outbox_state(Route::Webhook, &second.key);
        until(|| async { webhook().await.expect("state") == Some(OutboxState::Sent) }).await;
        assert_eq!(slack(), 1, "not a second before the time that Slack asked for");
        clock.advance(Duration::from_secs(14));
        running.notifiers.wake().notify_one();
        running.until_state(&test.store, Route::Slack, &first.key, OutboxState::Sent).await;
        running.until_state(&test.store, Route::Slack, &second.key, OutboxState::Sent).await;
        assert_eq!(slack(), 3);
        running.stop().await;
    }

    async fn updates_are_at_most_two_an_hour_and_the_end_does_not_wait(test: TestStore) {
        let sink = Sink::start().await;
        let config = only_slack(&sink);
        let clock = ManualClock::new(at(0));
        let running = start(&test.leader(), setup(&config), &clock);
        let sent = OutboxState::Sent;
        enqueue(&test.leader(), &page(PageKind::Opened, 0), &config).await;
        enqueue(&test.leader(), &page(PageKind::CauseNamed, 1), &config).await;
        enqueue(&test.leader(), &page(PageKind::Worse, 2), &config).await;
        running.until_state(&test.store, Route::Slack, "inc-1/worse/2", sent).await;
        enqueue(&test.leader(), &page(PageKind::Worse, 3), &config).await;
        running.until_state(&test.store, Route::Slack, "inc-1/worse/3", OutboxState::Held).await;
        enqueue(&test.leader(), &page(PageKind::Worse, 4), &config).await;
        running.until_state(&test.store, Route::Slack, "inc-1/worse/4", OutboxState::Held).await;
        let superseded = test.store.outbox_state(Route::Slack, "inc-1/worse/3").await.expect("state");
        assert_eq!(superseded, Some(OutboxState::Superseded));
        assert_eq!(sink.received().len(), 3);
        // A rise of the severity waits for nothing.
        enqueue(&test.leader(), &Page { raised: true, ..page(PageKind::Worse, 5) }, &config).await;
        let waited = running.until_state(&test.store, Route::Slack, "inc-1/worse/5", sent).await;
        assert_eq!(waited, 0);
        enqueue(&test.leader(), &page(PageKind::Worse, 6), &config).await;
        running.until_state(&test.store, Route::Slack, "inc-1/worse/6", OutboxState::Held).await;
        // After an hour the last word is said.
        clock.advance_to(clock.now().plus_millis(HOUR_MILLIS));
        running.until_state(&test.store, Route::Slack, "inc-1/worse/6", sent).await;
        enqueue(&test.leader(), &page(PageKind::Closed, 7), &config).await;
        let waited = running.until_state(&test.store, Route::Slack, "inc-1/closed/7", sent).await;
        assert_eq!(waited, 0);
        let order: Vec<String> = sink.received().iter().map(|request| {
            request.json()["text"].as_str().expect("text").rsplit("06:05Z ").next().expect("number").chars().take(1).collect()
        }).collect();
        assert_eq!(order, ["0", "1", "2", "5", "6", "7"]);
        running.stop().await;
    }

    async fn a_page_that_nobody_takes_for_a_month_still_arrives(test: TestStore) {
        let sink = Sink::start().await;
        let config = only_webhook(&sink);
        let clock = ManualClock::new(at(0));
        // 1 min, then three times as long each time, at most 6 h and a quarter.
        sink.then((0..100).map(|_| Answer::status(410)));
        enqueue(&test.leader(), &page(PageKind::Opened, 1), &config).await;
        let running = start(&test.leader(), setup(&config), &clock);
        running.until_state(&test.store, Route::Webhook, "inc-1/opened/1", OutboxState::Sent).await;
        let waited = clock.now().millis_since(at(0));
        assert!(waited > 15 * DAY_MILLIS, "{waited} ms");
        assert_eq!(sink.received().len(), 101);
        assert_eq!((running.count(Route::Webhook, "given-up"), running.count(Route::Webhook, "sent")), (0, 1));
        running.stop().await;
    }

    async fn a_notice_waits_for_its_endpoint_for_ever_and_the_metric_says_how_long(test: TestStore) {
        let sink = Sink::start().await;
        let endpoint = Endpoint::new(sink.url("/apple").parse().expect("a URL"));
        let setup = Setup { forward: HashMap::from([("apple".to_owned(), endpoint)]), ..Setup::default() };
        let item = forward::item(&test.keyring, "apple", b"{\"payload\":\"x\"}", at(0));
        let clock = ManualClock::new(at(0));
        sink.then((0..200).map(|_| Answer::status(503)));
        test.leader().enqueue(std::slice::from_ref(&item)).await.expect("enqueued");
        let running = start(&test.leader(), setup, &clock);
        running.until_state(&test.store, Route::Forward, &item.key, OutboxState::Waiting).await;
        until(|| async {
            if sink.received().len() < 150 {
                running.advance_to_next(&test.store).await;
            }
            running.metrics.outbox_oldest.get() > 3 * DAY_MILLIS / 1_000
        })
        .await;
        running.until_state(&test.store, Route::Forward, &item.key, OutboxState::Sent).await;
        assert!(clock.now().millis_since(at(0)) > 6 * DAY_MILLIS);
        let received = sink.received();
        assert!(received.iter().all(|request| request.body.as_ref() == b"{\"payload\":\"x\"}"), "the body as it came");
        assert_eq!((received.len(), running.count(Route::Forward, "given-up")), (201, 0));
        running.stop().await;
    }

    async fn a_mended_receiver_gets_at_once_what_it_refused(test: TestStore) {
        let sink = Sink::start().await;
        let wrong = config(&format!("[notify.webhook]\nurl = \"{}\"\n", sink.url("/wrong")));
        let clock = ManualClock::new(at(0));
        sink.then((0..6).map(|_| Answer::status(404)));
        enqueue(&test.leader(), &page(PageKind::Opened, 1), &wrong).await;
        let running = start(&test.leader(), setup(&wrong), &clock);
        let state = || test.store.outbox_state(Route::Webhook, "inc-1/opened/1");
        for attempt in 1..6 {
            sink.wait(attempt).await;
            until(|| async { state().await.expect("state") == Some(OutboxState::Waiting) }).await;
            running.advance_to_next(&test.store).await;
        }
        sink.wait(6).await;
        // Whether the sixth attempt is over or still under way: the clock stands, and the next one would be hours away.
        running.notifiers.exchange(setup(&only_webhook(&sink)));
        until(|| async { state().await.expect("state") == Some(OutboxState::Sent) }).await;
        let received = sink.received();
        assert_eq!((received.len(), received[6].path.as_str()), (7, "/webhook"));
        assert_eq!(received[6].json()["data"]["possible_repeat"], false, "refused is not sent");
        running.stop().await;
    }

    async fn the_sign_of_life_stops_with_the_monitor(test: TestStore) {
        let sink = Sink::start().await;
        let config = config(&format!("[notify.heartbeat]\nurl = \"{}\"\ninterval_seconds = 30\n", sink.url("/alive")));
        let (clock, stop, metrics) = (ManualClock::new(at(0)), CancellationToken::new(), Metrics::new().expect("metrics"));
        let steps = Arc::new(AtomicU64::new(0));
        let life = tokio::spawn(heartbeat::run(
            Notifiers::new(setup(&config)),
            test.store.clone(),
            { let steps = Arc::clone(&steps); move || Ok(steps.load(Ordering::SeqCst)) },
            http_client::build(CLIENT_TIMEOUT).expect("client"),
            Clock::Manual(clock.clone()),
            metrics.clone(),
            stop.clone(),
        ));
        let count = |result: &str| metrics.heartbeats.with_label_values(&[result]).get();
        let beats = || count("sent") + count("failed") + count("withheld");
        let beat = |number: u64| {
            let (clock, beats) = (&clock, &beats);
            async move {
                until(|| async { beats() >= number || { clock.advance(Duration::from_secs(1)); false } }).await;
            }
        };
        until(|| async { beats() == 1 }).await;
        steps.store(1, Ordering::SeqCst);
        clock.advance(Duration::from_secs(30));
        beat(2).await;
        assert_eq!(count("sent"), 2);
        // The monitor stands still: a minute of patience, then silence.
        clock.advance(Duration::from_secs(61));
        beat(3).await;
        assert_eq!(count("withheld"), 1);
        steps.store(2, Ordering::SeqCst);
        clock.advance(Duration::from_secs(30));
        beat(4).await;
        assert_eq!((count("sent"), count("withheld")), (3, 1));
        test.store.close().await;
        clock.advance(Duration::from_secs(30));
        beat(5).await;
        assert_eq!((count("sent"), count("withheld")), (3, 2));
        stop.cancel();
        life.await.expect("no panic").expect("no error");
        assert_eq!(sink.received().len(), 3);
    }

    async fn a_bot_keeps_an_incident_in_one_thread(test: TestStore) {
        let sink = Sink::start().await;
        let config = only_slack(&sink);
        let url = sink.url("/api/chat.postMessage").parse().expect("a URL");
        let bot = Slack::Bot { token: Secret::new("xoxb-1"), channel: "C1".to_owned(), api: Endpoint::new(url) };
        let ok = |ts: &str| Answer::With(200, Vec::new(), format!("{{\"ok\":true,\"ts\":\"{ts}\"}}"));
        let no = Answer::With(200, Vec::new(), "{\"ok\":false,\"error\":\"internal_error\"}".to_owned());
        sink.then([no, ok("1700000000.000100"), ok("1700000009.000200")]);
        enqueue(&test.leader(), &page(PageKind::Opened, 1), &config).await;
        let clock = ManualClock::new(at(0));
        let running = start(&test.leader(), Setup { slack: Some(bot), ..Setup::default() }, &clock);
        running.until_state(&test.store, Route::Slack, "inc-1/opened/1", OutboxState::Sent).await;
        enqueue(&test.leader(), &page(PageKind::Worse, 2), &config).await;
        running.until_state(&test.store, Route::Slack, "inc-1/worse/2", OutboxState::Sent).await;
        let received = sink.received();
        assert_eq!(received.len(), 3);
        for request in &received {
            assert_eq!((request.header("authorization"), request.json()["channel"].as_str()), ("Bearer xoxb-1", Some("C1")));
        }
        assert_eq!(received[1].json()["thread_ts"], serde_json::Value::Null);
        assert_eq!(received[2].json()["thread_ts"], "1700000000.000100");
        assert_eq!(received[2].json()["reply_broadcast"], true);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_on_one_database_send_each_page_once() {
    let Some(test) = fresh_store(Engine::Postgres).await else { return };
    // Two workers of one reign; two reigns never work at the same time.
    let other = Leader::new(test.again(Access::Write).await, test.leader().epoch());
    let sink = Sink::start().await;
    let config = only_webhook(&sink);
    let all: Vec<NewOutbox> = (0..60)
        .flat_map(|n| pages(&Page { incident: format!("inc-{n}"), ..page(PageKind::Opened, n) }, &config.notify))
        .collect();
    test.leader().enqueue(&all).await.expect("enqueued");
    let clock = ManualClock::new(at(0));
    let workers = [start(&test.leader(), setup(&config), &clock), start(&other, setup(&config), &clock)];
    sink.wait(60).await;
    until(|| async { test.store.outbox_depth().await.expect("depth").waiting == 0 }).await;
    for worker in workers {
        worker.stop().await;
    }
    let mut keys: Vec<String> =
        sink.received().iter().map(|request| request.header("idempotency-key").to_owned()).collect();
    keys.sort();
    let mut expected: Vec<String> = all.into_iter().map(|item| item.key).collect();
    expected.sort();
    assert_eq!(keys, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_key_is_lost_is_given_up_and_holds_nothing_up() {
    let test = fresh_store(Engine::Sqlite).await.expect("SQLite is always there");
    let sink = Sink::start().await;
    let config = only_webhook(&sink);
    enqueue(&test.leader(), &page(PageKind::Opened, 1), &config).await;
    let path = test.folder.path().join("keys.json");
    test.keyring.write(&path, true).expect("written");
    test.store.close().await;
    let keyring = Keyring::load(&path).expect("loaded");
    keyring.rotate().expect("rotated");
    keyring.forget_old_keys().expect("forgotten");
    let TestStore { store, options, folder: _folder, .. } = test;
    drop(store);
    let store = Store::open(&options, Arc::new(keyring)).await.expect("opens");
    let store = store.lead("again", Duration::from_mins(1)).await.expect("the lease").expect("nobody leads");
    enqueue(&store, &page(PageKind::Worse, 2), &config).await;
    let running = start(&store, setup(&config), &ManualClock::new(at(0)));
    running.until_state(&store, Route::Webhook, "inc-1/worse/2", OutboxState::Sent).await;
    let first = store.outbox_state(Route::Webhook, "inc-1/opened/1").await.expect("state");
    assert_eq!(first, Some(OutboxState::GivenUp));
    running.stop().await;
}

/// The whole daemon: Apple posts a notice, the endpoint behind the feed gets its very bytes, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_is_passed_on_once_also_when_apple_retries() {
    let sink = Sink::start().await;
    let heartbeat = Sink::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let signer = Signer::generate("K1").expect("key");
    let keys = folder.path().join("jwks.json");
    std::fs::write(&keys, signer.jwks()).expect("written");
    let text = |forward_to: &str| {
        format!(
            "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\n\
         [[team]]\nid = \"A1B2C3D4E5\"\nkind = \"organization\"\n[[team.app]]\nclient_id = \"com.example.app\"\n\
         [feeds.apple]\njwks_file = \"{}\"\nforward_to = \"{}\"\n[notify.heartbeat]\nurl = \"{}\"\n",
            keys.display(),
            sink.url(forward_to),
            heartbeat.url("/alive"),
        )
    };
    let environment = HashMap::from([("STATE_DIRECTORY".to_owned(), folder.path().display().to_string())]);
    let file = folder.path().join("relaywatch.toml");
    std::fs::write(&file, text("/apple/notices")).expect("written");
    let config = Config::load(Some(&file), environment).unwrap_or_else(|error| panic!("{error}"));
    let (signals, receiver) = mpsc::channel(1);
    let drain = Duration::from_secs(10);
    let mut lifecycle = Lifecycle::new(Signals::from_channel(receiver), Supervisor::none(), drain);
    let daemon = daemon::start(config, daemon::Role::All, Clock::System, &mut lifecycle, None).await.expect("starts");
    let running = tokio::spawn(lifecycle.run("test"));

    let now = Clock::System.now();
    let notice = |subject: &str| Notice {
        kind: NoticeKind::ConsentRevoked,
        audience: "com.example.app".to_owned(),
        team: "A1B2C3D4E5".to_owned(),
        subject: subject.to_owned(),
        email: None,
        is_private_email: None,
        at: Timestamp::from_seconds(now.as_seconds() - 1),
        issued_at: Timestamp::from_seconds(now.as_seconds()),
        jwt_id: format!("j-{subject}"),
    };
    let bodies: Vec<_> = ["one", "two"].map(|subject| signer.notice(&notice(subject)).expect("signed")).to_vec();
    let client = http_client::build(Duration::from_secs(10)).expect("client");
    let url = format!("http://{}/in/apple", daemon.public.expect("it takes reports in"));
    sink.then([Answer::status(503)]);
    for body in [&bodies[0], &bodies[0], &bodies[0]] {
        let response = client.post(&url).body(body.clone()).send().await.expect("answered");
        assert_eq!(response.status(), 200);
    }
    sink.wait(2).await;
    client.post(&url).body(bodies[0].clone()).send().await.expect("answered");
    client.post(&url).body(bodies[1].clone()).send().await.expect("answered");
    let passed_on = sink.wait(3).await;
    assert_eq!(passed_on[0].body, bodies[0], "refused by the endpoint with 503");
    assert_eq!(passed_on[1].body, bodies[0], "so it came again");
    assert_eq!(passed_on[2].body, bodies[1], "and after Apple's retries nothing but the next notice");
    for request in &passed_on {
        assert_eq!((request.path.as_str(), request.header("content-type")), ("/apple/notices", "application/json"));
    }
    assert_eq!(heartbeat.wait(1).await[0].path, "/alive");
    assert_eq!(sink.received().len(), 3);

    // The endpoint moves.
    std::fs::write(&file, text("/apple/moved")).expect("written");
    signals.send(Signal::Reload).await.expect("it listens");
    let subjects = AtomicU64::new(0);
    until(|| async {
        let subject = format!("after-{}", subjects.fetch_add(1, Ordering::SeqCst));
        let body = signer.notice(&notice(&subject)).expect("signed");
        client.post(&url).body(body).send().await.expect("answered");
        sink.received().last().is_some_and(|request| request.path == "/apple/moved")
    })
    .await;
    signals.send(Signal::Terminate).await.expect("it listens");
    running.await.expect("no panic").expect("drained");
}
