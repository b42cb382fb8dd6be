//! The store away, a crash in the wrong moment, a reload, a stop.

use relaywatch::{
    model::{Cause, EventKind, Exposure},
    store::Position,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use super::{Client, bounce, listening, outcomes, start};
use crate::support::{Engine, daemon::Home, journal_rows, postgres_url};

async fn taken_once(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let (daemon, address) = start(&home, "");
    let answer = tokio::task::block_in_place(|| Client::new(address).bring(&bounce(1)));
    assert!(answer.starts_with("250 2.6.0 "), "{answer}");
    let store = home.store().await;
    let events = outcomes(&store, 1).await;
    let found: Vec<_> =
        events.iter().map(|event| (event.kind, event.exposure, event.reply.map(|reply| reply.cause))).collect();
    assert_eq!(found, [(EventKind::Refused, Exposure::None, Some(Cause::RecipientUnknown))]);

    let before = journal_rows(&store).await;
    let answer = tokio::task::block_in_place(|| Client::new(address).bring(&bounce(1)));
    assert!(answer.starts_with("250 2.6.0 "), "{answer}");
    assert_eq!(journal_rows(&store).await, before, "the same mail once more");
    assert_eq!(daemon.metric("relaywatch_feed_deliveries_total{answer=\"accepted\",feed=\"mail\"}"), 2);
    assert_eq!(daemon.metric("relaywatch_mail_connections_total{answer=\"accepted\",feed=\"mail\"}"), 2);

    // What nobody understands is kept, and acknowledged.
    let answer = tokio::task::block_in_place(|| Client::new(address).bring("Subject: hello\r\n\r\nhello\r\n"));
    assert!(answer.starts_with("250 2.6.0 "), "{answer}");
    assert_eq!(daemon.metric("relaywatch_feed_set_aside_total{feed=\"mail\",reason=\"unknown-type\"}"), 1);
    let refused = tokio::task::block_in_place(|| {
        let mut client = Client::new(address);
        assert!(client.say("MAIL FROM:<>\r\n").starts_with("250 "));
        client.say("RCPT TO:<who@elsewhere.example>\r\n")
    });
    assert!(refused.starts_with("550 5.7.1 "), "{refused}");
    assert_eq!(daemon.metric("relaywatch_mail_refusals_total{feed=\"mail\",reason=\"recipient\"}"), 1);
    let log = daemon.stop();
    for secret in ["qx7zhzkndneko", "bounces.example.com", "elsewhere.example", "order-1"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_is_taken_once_sqlite() {
    taken_once(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_is_taken_once_postgres() {
    taken_once(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_sqlite_is_locked_mail_comes_again() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let (daemon, address) = start(&home, "");
    let mut other = SqliteConnection::connect(&home.url).await.expect("the file opens");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("locked");
    let mut client = tokio::task::block_in_place(|| Client::new(address));
    let answer = tokio::task::block_in_place(|| client.bring(&bounce(1)));
    assert!(answer.starts_with("451 4.3.0 "), "{answer}");
    assert_eq!(daemon.metric("relaywatch_mail_refusals_total{feed=\"mail\",reason=\"store-unavailable\"}"), 1);
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("unlocked");
    let answer = tokio::task::block_in_place(|| client.bring(&bounce(1)));
    assert!(answer.starts_with("250 2.6.0 "), "{answer}");
    assert_eq!(outcomes(&home.store().await, 1).await.len(), 1, "nothing of what was refused was kept");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_away_mail_comes_again() {
    let Some(home) = Home::new(Engine::Postgres).await else { return };
    let (daemon, address) = start(&home, "");
    let mut admin = PgConnection::connect(&postgres_url().expect("a server")).await.expect("the server");
    let name = url::Url::parse(&home.url).expect("a URL").path().trim_start_matches('/').to_owned();
    let allow = |allowed: bool| AssertSqlSafe(format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}"));
    sqlx::query(allow(false)).execute(&mut admin).await.expect("closed");
    let cut_off = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query(cut_off).bind(&name).execute(&mut admin).await.expect("cut off");
    let mut client = tokio::task::block_in_place(|| Client::new(address));
    let answer = tokio::task::block_in_place(|| client.bring(&bounce(1)));
    assert!(answer.starts_with("451 4.3.0 "), "{answer}");
    sqlx::query(allow(true)).execute(&mut admin).await.expect("open again");
    let answer = tokio::task::block_in_place(|| client.bring(&bounce(1)));
    assert!(answer.starts_with("250 2.6.0 "), "{answer}");
    assert_eq!(outcomes(&home.store().await, 1).await.len(), 1, "nothing of what was refused was kept");
    daemon.stop();
}

async fn survives(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let (mut daemon, address) = start(&home, "");
    // The commit is there, and nobody has read the answer when the process dies.
    let mut client = tokio::task::block_in_place(|| Client::new(address));
    tokio::task::block_in_place(|| client.send(&bounce(1)));
    let store = home.store().await;
    outcomes(&store, 1).await;
    daemon.kill();
    let before = journal_rows(&store).await;

    let (daemon, address) = start(&home, "");
    let answer = tokio::task::block_in_place(|| Client::new(address).bring(&bounce(1)));
    assert!(answer.starts_with("250 2.6.0 "), "{answer}");
    assert_eq!(journal_rows(&store).await, before, "the retry changes nothing");
    assert_eq!(store.events_after(Position::START, 10).await.expect("the journal").len(), 1);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_answer_changes_nothing_sqlite() {
    survives(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_answer_changes_nothing_postgres() {
    survives(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_exchanges_the_listener_and_says_good_bye() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let (mut daemon, address) = start(&home, "");
    let mut idle = Client::new(address);
    // The same port again, with other recipients.
    home.configure(&format!("[feeds.mail]\nlisten = \"{address}\"\nrecipients = [\"abuse@example.com\"]\n"));
    daemon.signal("HUP");
    assert_eq!(listening(&daemon, 2), address);
    assert!(idle.answer().starts_with("421 4.3.2 "));
    let mut client = Client::new(address);
    assert!(client.say("MAIL FROM:<>\r\n").starts_with("250 "));
    assert!(client.say("RCPT TO:<abuse@example.com>\r\n").starts_with("250 "));
    assert!(client.say("RCPT TO:<dmarc@example.com>\r\n").starts_with("550 5.7.1 "));
    daemon.signal("TERM");
    assert!(client.answer().starts_with("421 4.3.2 "), "a mail that does not come is waited for only so long");
    assert!(daemon.ended().success());
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_at_the_start() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    home.configure(&format!("[feeds.mail]\nlisten = \"{address}\"\nrecipients = [\"abuse@example.com\"]\n"));
    let mut daemon = crate::support::daemon::Daemon::launch(home.command());
    assert!(!daemon.ended().success());
    let log = daemon.log();
    assert!(log.contains("the feed mail can't be opened") && log.contains(&address.to_string()), "{log}");
}
