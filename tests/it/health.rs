//! What the leader notices beside the journal: a journal that is held up, and that nobody takes reports in.

use relaywatch::{
    clock::Clock,
    config::Config,
    daemon::Health,
    detect::Parameters,
    explain::BlindReason,
    ingest::alive::{self, Deliveries, Life},
    metrics::Metrics,
    model::Timestamp,
    monitor::{
        Monitor,
        blind::{self, Window},
    },
    notify::{self, Notifiers, Page, PageKind},
    store::Route,
};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both_engines,
    support::{Engine, TestStore, at, fresh_store, fresh_url, submission},
};

fn health(test: &TestStore, metrics: &Metrics) -> Health {
    let settings = "[notify.webhook]\nurl = \"http://127.0.0.1:9/page\"\n".to_owned();
    let config = Config::from_text(None, settings, std::collections::HashMap::new()).expect("a configuration");
    let notifiers = Notifiers::new(notify::Setup::new(&config).expect("notifiers"));
    Health::new(test.leader(), notifiers, metrics.clone(), Parameters::default())
}

/// Looks every ten seconds from one second to another, both included.
async fn look(health: &mut Health, from: i64, to: i64) {
    for second in (from..=to).step_by(10) {
        health.look(at(second * 1_000)).await.expect("looked");
    }
}

/// The pages that wait, taken out.
async fn pages(test: &TestStore, now: Timestamp) -> Vec<Page> {
    let items = test.leader().claim_outbox(&[Route::Webhook], now, 86_400_000, 10).await.expect("claimed");
    for item in &items {
        // The next one of the same target waits for it.
        test.leader().outbox_sent(item, now, None).await.expect("recorded");
    }
    items.iter().map(|item| serde_json::from_slice(item.body.as_ref().expect("it opens")).expect("a page")).collect()
}

async fn windows(test: &TestStore) -> Vec<Window> {
    blind::known(&test.store, at(86_400_000)).await.expect("windows")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_writer_in_another_database_is_told() {
    let Some(test) = fresh_store(Engine::Postgres).await else { return };
    let (elsewhere, _folder) = fresh_url(Engine::Postgres).await.expect("PostgreSQL is there");
    let metrics = Metrics::new().expect("metrics");
    let mut health = health(&test, &metrics);
    let trouble = health.trouble();
    let wake = std::sync::Arc::new(tokio::sync::Notify::new());
    let clock = Clock::Manual(relaywatch::clock::ManualClock::new(at(100_000)));
    let mut monitor = Monitor::folding(test.leader(), clock, wake, metrics.clone(), 100);

    let mut writer = PgConnection::connect(&elsewhere).await.expect("the other database");
    let mut transaction = writer.begin().await.expect("begun");
    sqlx::query("CREATE TABLE elsewhere (id INTEGER)").execute(&mut *transaction).await.expect("it writes");
    test.store.commit(&[submission(vec![test.delivered(1, 0)])]).await.expect("commit");
    assert!(!test.store.has_events_after(relaywatch::store::Position::START).await.expect("asked"), "it is held up");
    look(&mut health, 0, 50).await;
    assert_eq!((metrics.journal_held_up.get(), *trouble.borrow()), (0, None), "a minute of patience");
    look(&mut health, 60, 90).await;
    assert_eq!(metrics.journal_held_up.get(), 90);
    assert!(trouble.borrow().is_some_and(|why| why.contains("holds the journal up")));
    monitor.catch_up(&CancellationToken::new()).await.expect("caught up");
    assert_eq!(metrics.monitor_caught_up.get(), 0, "it has not seen the end");
    let told = pages(&test, at(100_000)).await;
    assert_eq!(told.len(), 1, "once");
    assert_eq!(told[0].kind, PageKind::Setup);
    assert!(told[0].facts[0].contains("open for"), "{:?}", told[0].facts);

    transaction.rollback().await.expect("ended");
    test.shown().await;
    look(&mut health, 100, 100).await;
    assert_eq!((metrics.journal_held_up.get(), *trouble.borrow()), (0, None));
    monitor.catch_up(&CancellationToken::new()).await.expect("caught up");
    assert_eq!(metrics.monitor_caught_up.get(), at(100_000).as_seconds());
    assert!(pages(&test, at(100_000)).await.is_empty());
}

on_both_engines! {
    async fn a_dead_ingest_tier_is_an_outage_while_it_lasts(test: TestStore) {
        let metrics = Metrics::new().expect("metrics");
        let mut health = health(&test, &metrics);
        let trouble = health.trouble();
        look(&mut health, -400, -200).await;
        assert!(windows(&test).await.is_empty(), "there was no sign of life ever");
        test.store.give_sign_of_life(alive::NAME, at(0)).await.expect("given");
        look(&mut health, -190, 110).await;
        assert_eq!((windows(&test).await.len(), *trouble.borrow()), (0, None), "two minutes of patience");
        look(&mut health, 120, 140).await;
        let window = Window { from: at(0), watched: blind::ALL.to_owned(), reason: Some(BlindReason::Outage), until: None };
        assert_eq!(windows(&test).await, std::slice::from_ref(&window));
        assert!(trouble.borrow().is_some_and(|why| why.contains("takes reports in")));
        let told = pages(&test, at(140_000)).await;
        assert_eq!((told.len(), told[0].kind), (1, PageKind::Setup), "once");

        // Back within less than what ingest itself calls an outage: the leader ends the window.
        test.store.give_sign_of_life(alive::NAME, at(145_000)).await.expect("given");
        look(&mut health, 150, 150).await;
        assert_eq!(windows(&test).await, [Window { until: Some(at(145_000)), ..window }]);
        assert_eq!(*trouble.borrow(), None);

        // A longer one is ended by whoever comes back, and it stays one window.
        look(&mut health, 160, 400).await;
        let clock = Clock::Manual(relaywatch::clock::ManualClock::new(at(401_000)));
        Life::default().step(&test.store, &clock, &Deliveries::default(), &metrics).await.expect("alive");
        look(&mut health, 410, 410).await;
        let second = Window { from: at(145_000), watched: blind::ALL.to_owned(), reason: Some(BlindReason::Outage), until: Some(at(401_000)) };
        assert_eq!(windows(&test).await[1..], [second]);
        assert_eq!(pages(&test, at(410_000)).await.len(), 1);
    }

    async fn a_store_that_was_away_is_no_dead_ingest(test: TestStore) {
        let mut health = health(&test, &Metrics::new().expect("metrics"));
        test.store.give_sign_of_life(alive::NAME, at(0)).await.expect("given");
        look(&mut health, 0, 20).await;
        // Ten minutes later both find the store again; the leader is first.
        look(&mut health, 600, 630).await;
        test.store.give_sign_of_life(alive::NAME, at(635_000)).await.expect("given");
        look(&mut health, 640, 700).await;
        assert!(windows(&test).await.is_empty() && pages(&test, at(700_000)).await.is_empty());
    }
}
