//! A real Postfix in an instance of its own: it meets refusals with Apple's texts, and its bounces come to the feed.

use std::fs;

use relaywatch::{
    model::{Cause, Destination, EventKind},
    store::Store,
};
use sqlx::{Connection, SqliteConnection};

use super::{outcomes, start};
use crate::support::{
    Engine,
    daemon::Home,
    postfix::{Apple, Postfix, is_available},
};

/// The causes of all refusals, sorted, once there are so many.
async fn causes(store: &Store, count: usize) -> Vec<Cause> {
    let events = outcomes(store, count).await;
    assert!(events.iter().all(|event| event.kind == EventKind::Refused && event.destination == Destination::Relay));
    let mut causes: Vec<Cause> = events.iter().map(|event| event.reply.expect("a reply").cause).collect();
    causes.sort_by_key(|cause| cause.as_str());
    causes
}

const VERP: &str = "bounces+7-{verp}@bounces.example.com";

/// Apple's texts (reference: replies of the private relay and of iCloud), each with what it means.
fn texts() -> Vec<(&'static str, String, Cause)> {
    let relay = |local: &str| format!("{local}@privaterelay.appleid.com");
    let sender = VERP.replace("{verp}", &relay("unauthorized0").replace('@', "="));
    vec![
        ("doesnotexist0", format!("550 5.1.1 <{}>: user does not exist", relay("doesnotexist0")), Cause::RecipientUnknown),
        ("notfound00000", format!("550 5.1.1 <{}>: user not found", relay("notfound00000")), Cause::RecipientUnknown),
        ("unauthorized0", format!("550 5.1.1 <{sender}>: unauthorized sender"), Cause::RelaySenderUnregistered),
        (
            "policy0000000",
            "550 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137".to_owned(),
            Cause::PolicyRejected,
        ),
    ]
}

async fn bounces(protocol: &str, transport: &str) {
    if !is_available() {
        return;
    }
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    for name in ["certificate.pem", "key.pem"] {
        fs::copy(format!("tests/fixtures/tls/{name}"), home.path(name)).expect("copied");
    }
    let tls = if protocol == "smtp" { "tls_certificate = \"certificate.pem\"\ntls_key = \"key.pem\"\n" } else { "" };
    let (daemon, address) = start(&home, &format!("protocol = \"{protocol}\"\n{tls}"));
    let texts = texts();
    let apple = Apple::start(texts.iter().map(|(local, text, _)| ((*local).to_owned(), text.clone())).collect());
    let postfix = Postfix::start(apple.address, &transport.replace("{port}", &address.port().to_string()));

    // The store is away at first: Postfix comes again, and each bounce is there once.
    let mut other = SqliteConnection::connect(&home.url).await.expect("the file opens");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("locked");
    let locals: Vec<&str> = texts.iter().map(|(local, ..)| *local).chain(["delivered0000"]).collect();
    tokio::task::block_in_place(|| {
        postfix.send(VERP, &locals);
        let answered = "relaywatch_feed_deliveries_total{answer=\"unavailable\",feed=\"mail\"}";
        let began = std::time::Instant::now();
        while daemon.metric(answered) == 0 {
            assert!(began.elapsed() < std::time::Duration::from_mins(1), "no bounce comes:\n{}", postfix.log());
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    });
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("unlocked");

    let store = home.store().await;
    let mut expected: Vec<Cause> = texts.iter().map(|(_, _, cause)| *cause).collect();
    expected.sort_by_key(|cause| cause.as_str());
    assert_eq!(causes(&store, expected.len()).await, expected, "{}", postfix.log());
    // All have been answered: nothing is left in Postfix's queue, and nothing came twice.
    super::once("an empty queue", async || {
        let queued =
            ["incoming", "active", "deferred"].iter().any(|name| holds_files(&postfix.path("queue").join(name)));
        (!queued).then_some(())
    })
    .await;
    assert_eq!(outcomes(&store, expected.len()).await.len(), expected.len());
    assert_eq!(daemon.metric("relaywatch_feed_set_aside_total{feed=\"mail\",reason=\"unknown-type\"}"), 0);
    drop(postfix);
    let log = daemon.stop();
    assert!(!log.contains("doesnotexist0"), "an address is in the log:\n{log}");
}

fn holds_files(folder: &std::path::Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() { holds_files(&path) } else { path.is_file() }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bounces_of_a_real_postfix_come_in_by_lmtp() {
    bounces("lmtp", "lmtp:inet:127.0.0.1:{port}").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bounces_of_a_real_postfix_come_in_by_smtp() {
    bounces("smtp", "smtp:[127.0.0.1]:{port}").await;
}
