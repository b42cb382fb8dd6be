//! The log of Postfix, followed by a daemon: rotated and killed in the middle.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use relaywatch::{
    model::{Cause, Destination, EventKind, Timestamp},
    store::{EventRecord, Position, Store},
};

use crate::support::{
    Engine,
    daemon::{Daemon, Home, now},
    payload,
    postfix::{Apple, Postfix, is_available},
};

pub(super) const LOG: &str = "[feeds.postfix]\nlog_file = \"mail.log\"\n";
/// Mails that a round brings, and rounds, each of which ends by a kill.
const MAILS: u64 = 300;
const ROUNDS: u64 = 6;

/// So many rows of the journal.
pub(super) async fn rows(store: &Store, least: usize) -> Vec<EventRecord> {
    let read = async {
        loop {
            let found = store.events_after(Position::START, 10_000).await.expect("the journal");
            if found.len() >= least {
                return found;
            }
            // On PostgreSQL a transaction of another test can hide the last rows for a while. Whoever brings them needs the cores.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), read).await.expect("all rows come")
}

pub(super) fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("opened");
    file.write_all(text.as_bytes()).expect("written");
}

/// The lines of one mail that is refused; each mail has a second of its own.
pub(super) fn mail(base: Timestamp, number: u64) -> String {
    let at = payload::rfc3339(base.as_millis() + i64::try_from(number).expect("small") * 1_000);
    let (id, to) = (format!("{:010X}", 0xA_0000_0000 + number), payload::relay_address(number));
    format!(
        "{at} mx1 postfix/qmgr[9]: {id}: from=<b+{number}@mail.example.com>, size=1, nrcpt=1 (queue active)\n\
         {at} mx1 postfix/smtp[7]: {id}: to=<{to}>, relay=mx-in.privaterelay.appleid.com[17.57.152.5]:25, delay=1, delays=0/0/1/0, \
         dsn=5.1.1, status=bounced (host mx-in.privaterelay.appleid.com[17.57.152.5] said: 550 5.1.1 <{to}>: user does not exist \
         (in reply to RCPT TO command))\n{at} mx1 postfix/qmgr[9]: {id}: removed\n"
    )
}

async fn survive(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    home.configure(LOG);
    let (log, base) = (home.path("mail.log"), now().plus_millis(-3_600_000).as_seconds());
    let base = Timestamp::from_seconds(base);
    let mut written = 0;
    let mut write = |count: u64| {
        for number in written..written + count {
            append(&log, &mail(base, number));
        }
        written += count;
    };
    for round in 0..ROUNDS {
        let mut daemon = home.start();
        if round == 0 {
            daemon.wait_for("the log is not there; it is waited for");
        }
        write(MAILS / 3);
        // In the middle: something of this round is committed, and the log goes on.
        let metric = "relaywatch_feed_events_total{feed=\"postfix\",kind=\"refused\"}";
        let began = Instant::now();
        while daemon.metric(metric) == 0 {
            assert!(began.elapsed() < Duration::from_mins(1), "nothing of it is committed:\n{}", daemon.log());
            std::thread::yield_now();
        }
        write(MAILS / 3);
        match round % 3 {
            0 => fs::rename(&log, home.path(&format!("mail.log.{round}"))).expect("renamed"),
            1 => {
                fs::copy(&log, home.path(&format!("mail.log.{round}"))).expect("copied");
                fs::write(&log, "").expect("cut");
            }
            _ => {}
        }
        write(MAILS / 3);
        daemon.kill();
        assert!(!daemon.log().contains("\"ERROR\""), "{}", daemon.log());
    }
    let daemon = home.start();
    let store = home.store().await;
    let all = usize::try_from(MAILS * ROUNDS).expect("small");
    let events = rows(&store, all).await;
    let times: BTreeSet<i64> = events.iter().map(|event| event.key.at.as_seconds() - base.as_seconds()).collect();
    assert_eq!((events.len(), times.len()), (all, all), "each once");
    assert!(events.iter().all(|event| event.kind == EventKind::Refused));
    assert!(events.iter().all(|event| event.reply.is_some_and(|reply| reply.cause == Cause::RecipientUnknown)));
    let streams: BTreeSet<i32> = events.iter().map(|event| event.stream).collect();
    assert_eq!(streams.len(), 1, "the sender of each is known, whichever line the daemon was killed at");
    let told = daemon.stop();
    assert!(!told.contains("@privaterelay"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_reads_on_where_it_was_sqlite() {
    survive(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_reads_on_where_it_was_postgres() {
    survive(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_postfix_is_understood() {
    if !is_available() {
        return;
    }
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let texts = [
        ("gonezhzkndnek", "550 5.1.1 <gonezhzkndnek@privaterelay.appleid.com>: user does not exist"),
        ("unregistered0", "550 5.1.1 <bounces@mail.example.com>: unauthorized sender"),
        ("laterzhzkndne", "451 4.7.1 Service unavailable - try again later"),
    ];
    let apple = Apple::start(texts.map(|(local, text)| (local.to_owned(), text.to_owned())).into());
    let postfix = Postfix::start(apple.address, &format!("smtp:[127.0.0.1]:{}", apple.address.port()));
    home.configure(&format!("[feeds.postfix]\nlog_file = \"{}\"\n", postfix.path("log").display()));
    let daemon: Daemon = home.start();
    let store = home.store().await;
    let locals: Vec<&str> = texts.iter().map(|(local, _)| *local).chain(["finezhzkndnek"]).collect();
    tokio::task::block_in_place(|| postfix.send("bounces@mail.example.com", &locals));
    // The fake has an address of this machine, so that what it takes is handed on only. What is deferred is tried each second.
    let expected = [("deferred", Some(451)), ("refused", Some(550)), ("sent", None)];
    let understood = async {
        loop {
            let mut events = store.events_after(Position::START, 10_000).await.expect("the journal");
            events.retain(|event| event.destination == Destination::Relay);
            let seen: BTreeSet<_> =
                events.iter().map(|event| (event.kind.as_str(), event.reply.and_then(|reply| reply.code))).collect();
            let templates: BTreeSet<i32> = events.iter().filter_map(|event| Some(event.reply?.template)).collect();
            // Whose address is in the brackets tells the two refusals apart.
            if templates.len() == texts.len() && seen.len() == expected.len() {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_mins(1), understood).await;
    assert_eq!(seen.map(Vec::from_iter), Ok(expected.to_vec()), "{}", postfix.log());
    drop(postfix);
    daemon.stop();
}
