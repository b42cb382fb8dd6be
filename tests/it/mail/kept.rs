//! What a mail brings that is no outcome: reports that are journalled whole, and robots' answers. And mails that come as files.

use std::process::Stdio;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use relaywatch::{model::EventKind, store::EntryKind};
use serde_json::Value;

use super::{Client, DATE, RETURN_PATH, bounce, outcomes, start};
use crate::support::{
    Engine,
    daemon::{Home, now, program},
    journal_rows,
};

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/mail/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a fixture").replace('\n', "\r\n")
}

/// A mail of the fixtures with today's dates, so that it does not outlive its retention.
fn dated(name: &str) -> String {
    let (mail, at) = (fixture(name), now().as_seconds());
    let line = mail.lines().find(|line| line.starts_with("Date: ")).expect("a date").to_owned();
    mail.replace(&line, &format!("Date: {}", &*DATE))
        .replace("1795305600!1795391999", &format!("{}!{}", at - 90_000, at - 3_600))
}

fn bring(address: std::net::SocketAddr, mail: &str) {
    let answer = tokio::task::block_in_place(|| Client::new(address).bring(mail));
    assert!(answer.starts_with("250 2.6.0 "), "{answer}");
}

/// What a command prints; it has to end well.
fn printed(home: &Home, args: &[&str]) -> String {
    let mut command = program(home.folder.path());
    let command = command.args(args).arg("--config").arg(home.path("relaywatch.toml"));
    let output = command.stdout(Stdio::piped()).output().expect("it runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

async fn kept(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let (daemon, address) = start(&home, "");
    let mails = [dated("aggregate"), dated("apple-notification"), dated("vacation")];
    for mail in &mails {
        bring(address, mail);
    }
    let store = home.store().await;
    let before = journal_rows(&store).await;
    for mail in &mails {
        bring(address, mail);
    }
    // By another server, which writes its own field before it.
    bring(address, &format!("Received: from other.example\r\n{}", mails[0]));
    assert_eq!(journal_rows(&store).await, before, "the same mails once more");

    let metric = |name: &str| daemon.metric(&format!("relaywatch_feed_{name}"));
    assert_eq!(metric("kept_total{feed=\"mail\",kind=\"dmarc-report\"}"), 3);
    assert_eq!(metric("kept_total{feed=\"mail\",kind=\"relay-notification\"}"), 2);
    assert_eq!(metric("ignored_total{feed=\"mail\"}"), 2, "the robot's answers, and nothing else");
    assert_eq!(metric("set_aside_total{feed=\"mail\",reason=\"unknown-type\"}"), 0);

    let found = store.entries_of_kind(EntryKind::RelayNotification, now(), 10).await.expect("entries");
    assert_eq!(found.len(), 1);
    assert!(found[0].address.is_some(), "the sender that it is about is known by the table of addresses");
    let reports = store.entries_of_kind(EntryKind::DmarcReport, now(), 10).await.expect("entries");
    let part = store.kept_part(&reports[0], now()).await.expect("opens").expect("it is kept");
    assert!(reports.len() == 1 && part.len() == 32 && part.starts_with(&[0x1f, 0x8b]), "the file as it came");
    let later = now().plus_millis(366 * relaywatch::model::DAY_MILLIS);
    assert_eq!(store.kept_part(&reports[0], later).await.expect("reads"), None, "it has expired");
    let mut nowhere = reports[0].clone();
    nowhere.body["part"] = Value::Null;
    assert_eq!(store.kept_part(&nowhere, now()).await.expect("reads"), None);
    let entries = printed(&home, &["events", "entries"]);
    for line in [
        "on example.com by receiver.example.net: 32 bytes, kept whole",
        "Apple's mail says: a sender is not registered with Apple (mail.example.com)",
    ] {
        assert!(entries.contains(line), "{entries}");
    }
    assert!(!entries.contains("news@"), "{entries}");
    let list = printed(&home, &["events", "list", "--kind", "set-aside", "--format", "json"]);
    let parts: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let part = |reason: &str| {
        let found = parts.iter().find(|part| part["reason"] == reason);
        found.unwrap_or_else(|| panic!("no {reason} in {list}"))
    };
    assert_eq!((parts.len(), &part("dmarc-report")["label"]), (2, &"example.com by receiver.example.net".into()));
    let opened = |reason: &str| -> Value {
        let id = part(reason)["id"].to_string();
        let text = printed(&home, &["events", "aside", &id, "--show-personal-data", "--format", "json"]);
        serde_json::from_str(&text).expect("JSON")
    };
    let file = opened("dmarc-report")["body_base64"].as_str().map(|text| BASE64_STANDARD.decode(text).expect("base64"));
    let sent = BASE64_STANDARD.decode("H4sIAAAAAAAAA7OpyM2xK0ktLrHRB7EAvf3qjwwAAAA=").expect("base64");
    assert_eq!(file, Some(sent), "the file as it came");
    assert!(opened("relay-notification")["body"].as_str().is_some_and(|mail| mail.contains("is not registered")));
    let log = daemon.stop();
    assert!(!log.contains("news@") && !log.contains("receiver.example.net"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_journalled_whole_sqlite() {
    kept(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_journalled_whole_postgres() {
    kept(Engine::Postgres).await;
}

async fn imported(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let (daemon, address) = start(&home, "");
    bring(address, &bounce(1));
    let store = home.store().await;
    outcomes(&store, 1).await;

    // The same bounce and another one, as they lie in a Maildir and in an mbox.
    let lies = |number: u32| format!("X-Original-To: {RETURN_PATH}\r\n{}", bounce(number)).replace("\r\n", "\n");
    std::fs::create_dir_all(home.path("box/cur")).expect("a folder");
    std::fs::create_dir_all(home.path("box/new")).expect("a folder");
    std::fs::write(home.path("box/cur/1:2,S"), lies(1)).expect("a file");
    std::fs::write(home.path("box/new/2"), lies(2)).expect("a file");
    let mbox: String = [1, 2, 3]
        .map(|number| format!("From MAILER-DAEMON Mon Nov 23 12:00:0{number} 2026\n{}\n", lies(number)))
        .concat();
    std::fs::write(home.path("bounces.mbox"), mbox).expect("a file");
    let import = |what: &str| -> (Value, Value) {
        let path = home.path(what).display().to_string();
        let told: Value =
            serde_json::from_str(&printed(&home, &["import", &path, "--format", "json", "--restart"])).expect("JSON");
        (told["new"].clone(), told["known"].clone())
    };
    assert_eq!(import("box"), (1.into(), 1.into()), "what the listener brought is known");
    assert_eq!(import("box"), (0.into(), 2.into()));
    assert_eq!(import("bounces.mbox"), (1.into(), 2.into()));
    assert_eq!(import("bounces.mbox"), (0.into(), 3.into()));
    // And the other way about.
    bring(address, &bounce(3));
    let events = outcomes(&store, 3).await;
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event.kind == EventKind::Refused));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_by_the_listener_and_by_import_is_one_event_sqlite() {
    imported(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_by_the_listener_and_by_import_is_one_event_postgres() {
    imported(Engine::Postgres).await;
}
