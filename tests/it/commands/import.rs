//! `relaywatch import`: beside a daemon and without one, twice, after a kill, and what it refuses.

use std::{io::Write as _, sync::Arc, time::Instant};

use relaywatch::{
    privacy::Keyring,
    store::{Access, Store, StoreOptions},
};
use serde_json::{Value, json};

use super::installation::*;
use crate::support::{Engine, payload};

const MINUTE: i64 = 60_000;

/// Lines of SES events, each of a second of its own, the last one of now.
fn lines(place: &Place, count: u64) -> String {
    let at = |number: u64| place.start.as_millis() - i64::try_from(number).expect("small") * 1_000;
    let line = |number| format!("{}\n", payload::ses(number, at(number), number % 50 == 0));
    (0..count).rev().map(line).collect::<Vec<_>>().concat()
}

async fn opened(place: &Place) -> Store {
    let keyring = Arc::new(Keyring::load(&place.path("relaywatch.key")).expect("the keys"));
    let options = StoreOptions { connections: 1, ..StoreOptions::new(place.url.clone(), Access::Read) };
    Store::open(&options, keyring).await.expect("the store opens")
}

async fn rows(store: &Store) -> i64 {
    let counts = store.row_counts().await.expect("counts");
    counts.iter().find(|(table, _)| *table == "event").map_or(0, |(_, rows)| *rows)
}

/// How many events the journal holds.
async fn journal(place: &Place) -> i64 {
    let store = opened(place).await;
    let rows = rows(&store).await;
    store.close().await;
    rows
}

fn write(place: &Place, name: &str, text: &str) -> String {
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

fn gzip(place: &Place, name: &str, text: &str) {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("packed");
    std::fs::write(place.path(name), encoder.finish().expect("packed")).expect("a file");
}

fn shown(place: &Place, said: &Said) -> String {
    place.redacted(&format!("{}{}", said.err, said.out))
}

/// A folder of several formats, read once, twice, and with what is broken.
async fn everything(place: &Place, daemon: Option<&Daemon>) {
    let before = place.run(&["import", "/nowhere", "--create"]);
    assert_eq!(before.code, Some(1));
    assert!(before.err.contains("cannot read /nowhere"), "{}", before.err);

    // Five outcomes of Braze, which also come by its webhook; sixty of SES in two files.
    let traffic = place.traffic();
    if let Some(daemon) = daemon {
        daemon.post(&traffic).await;
    }
    let ses = lines(place, 60);
    let (first, second) = ses.split_at(ses.match_indices('\n').nth(39).expect("40 lines").0 + 1);
    let folder = place.path("in").display().to_string();
    write(place, "in/braze.json", &json!({ "events": traffic }).to_string());
    write(place, "in/ses/1.jsonl", first);
    gzip(place, "in/ses/2.gz", &second.replace('\n', ""));
    write(place, "in/ses/3-empty", "");

    let dry = place.run(&["import", &folder, "--dry-run"]).ok();
    insta::assert_snapshot!("import_dry_run", shown(place, &dry));
    let braze = if daemon.is_some() { 5 } else { 0 };
    let said = place.run(&["import", &folder, "--create", "--exposure", "outcomes"]).ok();
    let expected = format!("{} new, {braze} known before, 0 older than their retention and left out", 65 - braze);
    assert!(said.out.contains(&expected), "{}", said.out);
    assert_eq!(journal(place).await, 65);
    let again = place.run(&["import", &folder]).ok();
    insta::assert_snapshot!("import_again", shown(place, &again));
    let restarted =
        place.run(&["import", &folder, "--restart", "--exposure", "outcomes", "--format", "json"]).ok().json();
    assert_eq!((&restarted["new"], &restarted["known"]), (&json!(0), &json!(65)), "{restarted}");
    assert_eq!(journal(place).await, 65, "importing twice changes nothing");

    // Through standard input, and by a file that has grown.
    let stdin = place.run_with(&["import", "-"], &ses).ok();
    assert!(stdin.out.contains("0 new, 60 known before"), "{}", stdin.out);
    let grown = format!("{first}{second}");
    write(place, "in/ses/1.jsonl", &grown);
    let file = format!("{folder}/ses/1.jsonl");
    let other = place.run(&["import", &file]);
    assert!(other.code == Some(1) && other.out.contains("1 refused"), "{}", other.out);
    assert!(other.err.contains("not read: it was imported before with --exposure outcomes"), "{}", other.err);
    let more = place.run(&["import", &file, "--exposure", "outcomes"]).ok();
    assert!(more.err.contains("from record 41 on"), "{}", more.err);
    assert!(more.out.contains("20 records: 20 events"), "{}", more.out);

    what_is_wrong(place, first).await;
    what_is_no_mistake(place);
    reports_are_kept(place);
    old_mistakes_do_not_hide_new_ones(place, first);
    let listed = place.run(&["events", "list", "--feed", "import/ses", "--format", "json", "-n", "100"]).ok();
    assert_eq!(listed.out.lines().count(), 60);
    what_is_too_old(place);
    half_a_line_is_left(place);
}

async fn what_is_wrong(place: &Place, good: &str) {
    let line = good.lines().next().expect("a line");
    let half = line.get(..line.len() / 2).expect("half of it");
    let secret = "qx7secret@privaterelay.appleid.com";
    let broken = write(
        place,
        "broken.jsonl",
        &format!("{line}\nrubbish {secret}\n{half}\n{{\"eventType\":\"{secret}\"}}\n{line}\n"),
    );
    let said = place.run(&["import", &broken, "--show-errors", "1"]);
    assert_eq!(said.code, Some(1));
    assert!(!said.err.contains("qx7secret"), "{}", said.err);
    insta::assert_snapshot!("import_broken", shown(place, &said));
    let again = place.run(&["import", &broken]);
    assert_eq!(again.code, Some(1), "what is broken stays so");
    insta::assert_snapshot!("import_broken_again", shown(place, &again));
    for (arguments, said) in [
        (["--exposure", "sends"], "not read: it was imported before with --exposure none, now with sends"),
        (["--from", "sparkpost"], "not read: it was imported before as a file of ses, now --from says sparkpost"),
    ] {
        let other = place.run(&[&["import", broken.as_str()][..], &arguments].concat());
        assert!(other.code == Some(1) && other.err.contains(said), "{}", other.err);
        assert!(other.out.contains("0 files read, 1 refused"), "{}", other.out);
    }
    let other = place.run(&["import", &broken, "--exposure", "sends", "--restart"]);
    assert!(other.err.contains("what is known keeps the exposure") && other.out.contains("2 known"), "{}", other.err);
    let strict = place.run(&["import", &broken, "--strict", "--restart"]);
    assert_eq!(strict.code, Some(1));
    assert!(strict.err.contains("imported before with --exposure sends, now with none"), "{}", strict.err);
    assert!(
        strict.err.contains("line 2: it is no JSON") && strict.err.contains("stopped (--strict)"),
        "{}",
        strict.err
    );

    let foreign = write(place, "foreign.json", "{\"hello\":\"world\"}\n");
    let binary = write(place, "binary", "\u{7f}ELF\0\0");
    let said = place.run(&["import", &foreign, &binary, &broken, "--restart"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("foreign.json: nothing in it tells which provider wrote it"), "{}", said.err);
    assert!(said.err.contains("binary: it is neither text nor Avro"), "{}", said.err);
    assert!(
        said.out.contains("1 file read, 2 that can't be read") && said.out.contains("2 known before"),
        "{}",
        said.out
    );

    std::fs::create_dir(place.path("nothing")).expect("a folder");
    let nothing = place.run(&["import", &place.path("nothing").display().to_string()]);
    assert!(nothing.code == Some(1) && nothing.err.contains("holds no files"), "{}", nothing.err);
    let nowhere = place.run(&["import", &broken, "--like", "ses/nowhere"]);
    assert!(nowhere.code == Some(1) && nowhere.err.contains("--like: there is no feed ses/nowhere"), "{}", nowhere.err);
    assert_eq!(journal(place).await, 65);
}

/// What is new is told before what an earlier import has told.
fn old_mistakes_do_not_hide_new_ones(place: &Place, good: &str) {
    let file = write(place, "grows.jsonl", &format!("{good}rubbish\nrubbish\n"));
    assert_eq!(place.run(&["import", &file]).code, Some(1));
    write(place, "grows.jsonl", &format!("{good}rubbish\nrubbish\nnew rubbish\n"));
    let said = place.run(&["import", &file, "--show-errors", "1"]);
    assert!(said.err.contains("grows.jsonl: line 43: it is no JSON"), "{}", said.err);
    assert!(said.err.contains("2 more; --restart --show-errors 2"), "{}", said.err);
}

/// A log that is written just now can end in half a line, which is another event than the whole one.
fn half_a_line_is_left(place: &Place) {
    let at = jiff::Timestamp::from_second(place.start.as_millis() / 1_000 - 60).expect("a time");
    let line = format!(
        "{at} mx1 postfix/smtp[1]: 4F0A2C1D01: to=<qx7zhzkndneko@privaterelay.appleid.com>, relay=mx.example.net[192.0.2.9]:25, \
         delay=1, dsn=5.1.1, status=bounced (host mx.example.net[192.0.2.9] said: 550 5.1.1 no"
    );
    let file = write(place, "mail.log", &line);
    let said = place.run(&["import", "--from", "postfix", &file]).ok();
    assert!(said.err.contains("mail.log: it ends in half a line"), "{}", said.err);
    assert!(said.out.contains("0 records: 0 events"), "{}", said.out);
    write(place, "mail.log", &format!("{line} such user)\n"));
    let said = place.run(&["import", "--from", "postfix", &file]).ok();
    assert!(said.out.contains("1 record: 1 event"), "{}", said.out);
}

fn what_is_no_mistake(place: &Place) {
    let text = "{\"eventType\":\"Brand New\",\"mail\":{\"messageId\":\"m\"}}\n".repeat(3);
    let file = write(place, "new.jsonl", &text);
    let said = place.run(&["import", &file, "--strict"]).ok();
    assert!(said.out.contains("3 of unknown type") && said.out.contains("no use for: 3 Brand New"), "{}", said.out);
}

/// As the mail feed keeps them: once, whatever they lie in.
fn reports_are_kept(place: &Place) {
    let fixture = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mail");
        std::fs::read_to_string(format!("{folder}/{name}.eml")).expect("a fixture")
    };
    let day = place.start.as_millis() / 1_000;
    let report = fixture("aggregate").replace("1795391999", &day.to_string());
    let mbox = format!("From a@example.com Mon Nov 23 09:00:00 2026\n{report}\n");
    let mbox = write(place, "reports.mbox", &mbox);
    let single = write(place, "report.eml", &report);
    let counts = |said: &Value| [&said["kept"], &said["kept_new"], &said["kept_known"]].map(Value::as_u64);
    let said = place.run(&["import", &mbox, "--format", "json"]).ok().json();
    assert_eq!(counts(&said), [Some(1), Some(1), Some(0)], "{said}");
    let said = place.run(&["import", &single, "--format", "json"]).ok().json();
    assert_eq!(counts(&said), [Some(1), Some(0), Some(1)], "{said}");
    let listed = place.run(&["events", "entries", "--kind", "dmarc-report", "--format", "json"]).ok();
    assert_eq!(listed.out.lines().count(), 1, "{}", listed.out);

    // As large as a mail may be, which the daemon's socket must carry as well.
    let (head, _) = report.split_once("H4sI").expect("the attached file");
    let bytes = 11 * 1024 * 1024 / 57 * 57;
    let lines = "QUJD".repeat(19) + "\n";
    let large = write(place, "large.eml", &format!("{head}{}--b--\n", lines.repeat(bytes / 57)));
    let said = place.run(&["import", &large, "--format", "json"]).ok().json();
    assert_eq!(counts(&said), [Some(1), Some(1), Some(0)], "{said}");
    let listed = place.run(&["events", "entries", "--kind", "dmarc-report", "--format", "json"]).ok();
    assert!(listed.out.contains(&format!("\"bytes\":{bytes}")), "{}", listed.out);
}

fn what_is_too_old(place: &Place) {
    let days = |days: i64| place.start.as_millis() - days * 24 * 60 * MINUTE;
    let old: Vec<String> = [(1, 15, false), (2, 15, true), (3, 366, true), (4, 13, true)]
        .map(|(number, age, refused)| payload::ses_to(number, "qx7old@privaterelay.appleid.com", days(age), refused))
        .to_vec();
    let file = write(place, "old.jsonl", &old.join("\n"));
    let said = place.run(&["import", &file, "--format", "json"]).ok().json();
    let counts = |name: &str| said[name].as_u64();
    assert_eq!((counts("new"), counts("known"), counts("too_old")), (Some(2), Some(0), Some(2)), "{said}");
    let listed =
        place.run(&["events", "list", "--feed", "import/ses", "--since", "400d", "--until", "5d", "--format", "json"]);
    let ages: Vec<Value> = listed.ok().out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(ages.len(), 2, "{ages:?}");
}

async fn beside_and_without(engine: Engine) {
    let Some(place) = Place::new(engine).await else { return };
    let daemon = Daemon::start(&place);
    everything(&place, Some(&daemon)).await;
    let log = daemon.stop();
    assert!(!log.contains("qx7user") && !log.contains("user000"), "no address in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_imported_beside_a_daemon_on_sqlite() {
    beside_and_without(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_imported_beside_a_daemon_on_postgres() {
    beside_and_without(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_imported_without_a_daemon() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        if let Some(place) = Place::new(engine).await {
            everything(&place, None).await;
        }
    }
}

/// Lines of the file that is imported when something breaks.
const MANY: u64 = 20_000;

/// Waits until some of it is in the journal, and not all.
async fn half_way(place: &Place) {
    let (begin, store) = (Instant::now(), opened(place).await);
    loop {
        let rows = rows(&store).await;
        // Behind the first of ten batches, so that its place in the file is kept.
        if rows > i64::try_from(MANY / 4).expect("small") {
            assert!(rows < i64::try_from(MANY).expect("small"), "it was over before it could be stopped");
            store.close().await;
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{rows}");
    }
}

async fn killed(engine: Engine) {
    let Some(place) = Place::new(engine).await else { return };
    let file = write(&place, "many.jsonl", &lines(&place, MANY));
    place.run_with(&["import", "-", "--create"], &lines(&place, 1)).ok();
    let mut child = place.command(&["import", &file]).spawn().expect("it starts");
    half_way(&place).await;
    child.kill().expect("killed");
    child.wait().expect("gone");
    let said = place.run(&["import", &file]).ok();
    assert!(said.err.contains(" on\n") && said.out.contains("1 from where an earlier import stopped"), "{}", said.out);
    assert_eq!(journal(&place).await, i64::try_from(MANY).expect("small"));
    let again = place.run(&["import", &file, "--restart"]).ok();
    assert!(again.out.contains(&format!("0 new, {MANY} known before")), "{}", again.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_killed_goes_on_on_sqlite() {
    killed(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_killed_goes_on_on_postgres() {
    killed(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_stops_half_way_is_told_and_the_import_goes_on() {
    let place = Place::new(Engine::Sqlite).await.expect("SQLite");
    let file = write(&place, "many.jsonl", &lines(&place, MANY));
    let daemon = Daemon::start(&place);
    let child = place.command(&["import", &file]).spawn().expect("it starts");
    half_way(&place).await;
    daemon.stop();
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("run the same command again, it goes on from the last commit"), "{err}");
    let daemon = Daemon::start(&place);
    let said = place.run(&["import", &file]).ok();
    assert!(said.out.contains("1 from where an earlier import stopped"), "{}", said.out);
    daemon.stop();
    assert_eq!(journal(&place).await, i64::try_from(MANY).expect("small"));
}
