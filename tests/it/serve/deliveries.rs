//! One delivery of every feed on both engines, once more, and with the store away.

mod sent;

use relaywatch::{
    model::{Address, Cause, EventKind, Provider, StreamKey},
    privacy::Purpose,
    store::{EntryKind, EventRecord, Position, Store},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use self::sent::{EVENTS, SUBJECT, deliveries};
use crate::support::{
    Engine,
    daemon::{
        AZURE_TOKEN, Answer, BACKEND_TOKEN, BRAZE_TOKEN, CUSTOMERIO_KEY, Daemon, ELASTICEMAIL_TOKEN, EVENTBRIDGE_KEY,
        FIREHOSE_KEY, GENERIC_KEY, Home, ITERABLE_TOKEN, KLAVIYO_KEY, MAILGUN_KEY, POSTMARK_TOKEN, SOCKETLABS_KEY,
        SOCKETLABS_VALIDATION, SPARKPOST_TOKEN, now,
    },
    journal_rows, payload, postgres_url, webhooks,
};

/// The journal, once it shows so many outcomes; other tests' transactions may hide the last for a while.
async fn journal(store: &Store, count: usize) -> Vec<EventRecord> {
    let read = async {
        loop {
            let events = store.events_after(Position::START, 1_000).await.expect("the journal");
            if events.len() >= count {
                return events;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), read).await.expect("the journal shows all rows")
}

/// What [`deliveries`] tell.
fn expected() -> [(Provider, EventKind, Option<Cause>); EVENTS] {
    let unknown = Some(Cause::RecipientUnknown);
    [
        (Provider::Ses, EventKind::Delivered, None),
        (Provider::Ses, EventKind::Refused, unknown),
        (Provider::Sparkpost, EventKind::Delivered, None),
        (Provider::Sparkpost, EventKind::Refused, unknown),
        (Provider::Braze, EventKind::Sent, None),
        (Provider::Braze, EventKind::Refused, unknown),
        (Provider::Mailgun, EventKind::Delivered, None),
        (Provider::Sendgrid, EventKind::Delivered, None),
        (Provider::Sendgrid, EventKind::Refused, unknown),
        (Provider::Postmark, EventKind::Refused, unknown),
        (Provider::Mandrill, EventKind::Refused, unknown),
        (Provider::Mailjet, EventKind::Refused, unknown),
        (Provider::Brevo, EventKind::Refused, unknown),
        (Provider::Resend, EventKind::Refused, unknown),
        (Provider::Mailersend, EventKind::Delivered, None),
        (Provider::Postal, EventKind::Refused, unknown),
        (Provider::Kumomta, EventKind::Refused, unknown),
        (Provider::Unisender, EventKind::Refused, unknown),
        (Provider::Mailtrap, EventKind::Refused, unknown),
        (Provider::Generic, EventKind::Refused, unknown),
        (Provider::Customerio, EventKind::Refused, unknown),
        (Provider::Klaviyo, EventKind::Refused, None),
        (Provider::Iterable, EventKind::Refused, None),
        (Provider::Socketlabs, EventKind::Refused, unknown),
        (Provider::Elasticemail, EventKind::Refused, None),
        (Provider::Azure, EventKind::Refused, unknown),
        (Provider::Scaleway, EventKind::Refused, unknown),
    ]
}

#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn every_feed(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let daemon = home.start();
    let at = now().plus_millis(-60_000);
    let all = deliveries(&home, at);
    for delivery in &all {
        let answer = delivery.send(&daemon);
        assert_eq!(answer.status, 200, "{}: {}", delivery.path, answer.text());
        match delivery.path {
            "/in/socketlabs" => assert_eq!(answer.text(), SOCKETLABS_VALIDATION),
            "/in/ses-firehose" => {
                let body: Value = serde_json::from_str(&answer.text()).expect("JSON");
                assert_eq!(body["requestId"], "r-1");
                assert!(body["timestamp"].is_i64() && body.get("errorMessage").is_none(), "{body}");
            }
            _ => assert!(answer.body.is_empty(), "{}", delivery.path),
        }
    }
    let store = home.store().await;
    let events = journal(&store, EVENTS).await;
    let mut streams: Vec<i32> = events.iter().map(|event| event.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    let streams = store.words(&streams).await.expect("streams");
    let provider = |event: &EventRecord| {
        let (_, text) = streams.iter().find(|(id, _)| *id == event.stream).expect("a word");
        serde_json::from_str::<StreamKey>(text).expect("a stream").provider.expect("the finest stream has one")
    };
    let mut seen: Vec<_> = events
        .iter()
        .map(|event| (provider(event).as_str(), event.kind.as_str(), event.reply.map(|reply| reply.cause)))
        .collect();
    seen.sort_by_key(|(provider, kind, _)| (*provider, *kind));
    let mut expected = expected();
    expected.sort_by_key(|(provider, kind, _)| (provider.as_str(), kind.as_str()));
    let expected: Vec<_> =
        expected.iter().map(|(provider, kind, cause)| (provider.as_str(), kind.as_str(), *cause)).collect();
    assert_eq!(seen, expected);

    // Apple's notices teach the account map.
    let mut entries = store.entries_after(Position::START, 10).await.expect("entries");
    entries.retain(|entry| entry.kind == EntryKind::Notice);
    let kinds: Vec<_> = entries.iter().map(|entry| entry.body["kind"].as_str().expect("a kind").to_owned()).collect();
    assert_eq!(kinds, ["email-enabled", "consent-revoked"]);
    let keyring = home.keyring();
    let hash = keyring.hash(Purpose::Subject, &[b"A1B2C3D4E5", SUBJECT.as_bytes()]);
    let account = store.account_by_hash(&hash).await.expect("the store").expect("the notice made it");
    assert_eq!((account.team.as_str(), account.app.as_deref()), ("A1B2C3D4E5", Some("com.example.app")));
    let email = Address::parse(&payload::relay_address(40)).expect("an address");
    let address = keyring.hash(Purpose::Address, &[email.key().as_bytes()]);
    let address = store.address_by_hash(&address).await.expect("the store").expect("the notice named it");
    assert_eq!(account.address, Some(address.id));
    assert!(entries.iter().all(|entry| entry.account == Some(account.id)), "both notices are of this account");

    let metrics = daemon.get("/metrics").text();
    // Counted as it comes in: SES's refusal came by SNS, by EventBridge and by Firehose.
    let once = [
        "braze",
        "sendgrid",
        "postmark",
        "mandrill",
        "mailjet",
        "brevo",
        "resend",
        "postal",
        "kumomta",
        "unisender",
        "mailtrap",
        "generic",
        "socketlabs",
        "azure",
        "scaleway",
    ];
    for (provider, count) in once.map(|provider| (provider, 1)).into_iter().chain([("ses", 3)]) {
        let agreed = format!(
            "relaywatch_label_agreement_total{{label_says=\"hard\",ours=\"hard\",provider=\"{provider}\"}} {count}"
        );
        assert!(metrics.contains(&agreed), "{agreed}");
    }

    // A retry, and a retry from another topic message: 200, and nothing more in the store.
    let before = journal_rows(&store).await;
    let mut again = deliveries(&home, at);
    for delivery in all.iter().chain(again.iter_mut().filter(|delivery| delivery.path != "/in/mailgun").map(|d| &*d)) {
        let answer = delivery.send(&daemon);
        assert_eq!(answer.status, 200, "{}: {}", delivery.path, answer.text());
    }
    assert_eq!(journal_rows(&store).await, before);
    assert_eq!(daemon.metric("relaywatch_journal_rows_added_total"), EVENTS as u64 + 2, "with two notices");
    daemon.wait_for_metric("relaywatch_monitor_folded_events_total", EVENTS as u64);

    let log = daemon.stop();
    for secret in [
        SPARKPOST_TOKEN,
        BRAZE_TOKEN,
        MAILGUN_KEY,
        POSTMARK_TOKEN,
        GENERIC_KEY,
        CUSTOMERIO_KEY,
        KLAVIYO_KEY,
        ITERABLE_TOKEN,
        SOCKETLABS_KEY,
        SOCKETLABS_VALIDATION,
        ELASTICEMAIL_TOKEN,
        AZURE_TOKEN,
        EVENTBRIDGE_KEY,
        FIREHOSE_KEY,
        BACKEND_TOKEN,
        SUBJECT,
        "@privaterelay",
        "one-time-token",
    ]
    .into_iter()
    .chain(webhooks::SECRETS)
    {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_feed_is_taken_once_sqlite() {
    every_feed(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_feed_is_taken_once_postgres() {
    every_feed(Engine::Postgres).await;
}

/// What the feeds say while the store does not take anything.
fn assert_all_unavailable(home: &Home, daemon: &Daemon) {
    let deliveries = deliveries(home, now());
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let sent: Vec<_> = deliveries.iter().map(|delivery| scope.spawn(|| delivery.send(daemon))).collect();
        sent.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    for (delivery, answer) in deliveries.iter().zip(answers) {
        // Brevo discards what is answered with 503.
        let again = if delivery.path == "/in/brevo" { 429 } else { 503 };
        assert_eq!(answer.status, again, "{}: {}", delivery.path, answer.text());
        assert!(answer.header("retry-after").is_some(), "{}", delivery.path);
        assert!(answer.text().contains("store-unavailable"), "{}", answer.text());
    }
    assert!(daemon.metric("relaywatch_commit_failures_total") > 0);
    assert!(
        daemon.metric("relaywatch_feed_rejections_total{feed=\"ses\",reason=\"store-unavailable\"}") >= 2,
        "each refusal is counted"
    );
}

/// The store is back: everything is taken, and only now is it there.
async fn assert_all_taken(home: &Home, daemon: &Daemon) {
    for delivery in deliveries(home, now()) {
        let answer = delivery.send(daemon);
        assert_eq!(answer.status, 200, "{}: {}", delivery.path, answer.text());
    }
    let store = home.store().await;
    assert_eq!(journal(&store, EVENTS).await.len(), EVENTS, "nothing of what was refused was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_sqlite_file_is_answered_with_come_again() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let daemon = home.start();
    let mut other = SqliteConnection::connect(&home.url).await.expect("the file opens");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("locked");
    tokio::task::block_in_place(|| assert_all_unavailable(&home, &daemon));
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("unlocked");
    assert_all_taken(&home, &daemon).await;
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_away_is_answered_with_come_again() {
    let Some(home) = Home::new(Engine::Postgres).await else { return };
    let daemon = home.start();
    let mut admin = PgConnection::connect(&postgres_url().expect("a server")).await.expect("the server");
    let name = url::Url::parse(&home.url).expect("a URL").path().trim_start_matches('/').to_owned();
    let allow = |allowed: bool| AssertSqlSafe(format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}"));
    sqlx::query(allow(false)).execute(&mut admin).await.expect("closed");
    let killed: Vec<bool> =
        sqlx::query_scalar("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind(&name)
            .fetch_all(&mut admin)
            .await
            .expect("cut off");
    assert!(!killed.is_empty());
    tokio::task::block_in_place(|| assert_all_unavailable(&home, &daemon));
    assert_eq!(daemon.get("/healthz").status, 200, "the process lives");
    assert_eq!(daemon.get("/readyz").status, 503);
    sqlx::query(allow(true)).execute(&mut admin).await.expect("open again");
    assert_all_taken(&home, &daemon).await;
    assert_eq!(daemon.get("/readyz").status, 200);
    daemon.wait_for_metric("relaywatch_monitor_folded_events_total", EVENTS as u64);
    daemon.stop();
}

/// A body that was captured long ago, of a provider that signs no time, when what told its repeats has gone.
async fn what_has_outlived_its_retention_is_acknowledged_and_left_out(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let daemon = home.start();
    let event = |id: &str, seconds: i64| {
        let event =
            json!({ "type": "bounce", "event_id": id, "timestamp": seconds, "rcpt_to": payload::relay_address(1) });
        json!({ "msys": { "message_event": event } })
    };
    // 2012: plausible, and before all that these tests keep.
    let old = json!([event("1", 1_330_000_000)]).to_string();
    for _ in 0..2 {
        assert_eq!(post(&daemon, &old), 200);
    }
    daemon.wait_for_metric("relaywatch_feed_expired_total{feed=\"sparkpost\"}", 2);
    assert_eq!(daemon.metric("relaywatch_journal_rows_added_total"), 0);
    assert_eq!(post(&daemon, &json!([event("1", 1_330_000_000), event("2", now().as_seconds())]).to_string()), 200);
    daemon.wait_for_metric("relaywatch_journal_rows_added_total", 1);
    assert_eq!(daemon.metric("relaywatch_feed_expired_total{feed=\"sparkpost\"}"), 3);
    assert_eq!(daemon.stop().matches("older than its retention").count(), 1, "once a minute");
}

fn post(daemon: &Daemon, body: &str) -> u16 {
    let authorization = format!("Bearer {SPARKPOST_TOKEN}");
    daemon.post("/in/sparkpost", &[("authorization", &authorization)], body.as_bytes()).status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_delivery_sent_again_is_left_out_sqlite() {
    what_has_outlived_its_retention_is_acknowledged_and_left_out(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_delivery_sent_again_is_left_out_postgres() {
    what_has_outlived_its_retention_is_acknowledged_and_left_out(Engine::Postgres).await;
}
