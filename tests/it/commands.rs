//! The commands of the real binary, beside a running daemon and without one.

mod import;
mod installation;
mod reports;

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use serde_json::{Value, json};

use self::installation::*;
use crate::support::Engine;

const CSV: &str = "team,app,sub,email,signed_up_at\n\
    A1B2C3D4E5,com.example.app,001234.qx7sub.0001,qx7user1@privaterelay.appleid.com,2025-03-01\n\
    A1B2C3D4E5,com.example.app,001234.qx7sub.0002,qx7user2@privaterelay.appleid.com,1740000000\n\
    A1B2C3D4E5,com.example.other,001234.qx7sub.0003,,\n\
    A1B2C3D4E5,,001234.qx7sub.0004,qx7someone@mail.example.net,\n";

/// The account map: the first time everything is new, the second time nothing; broken rows are told.
fn the_map(place: &Place) {
    std::fs::write(place.path("accounts.csv"), CSV).expect("file");
    let file = place.path("accounts.csv").display().to_string();
    let dry = place.run(&["accounts", "import", &file, "--dry-run"]).ok();
    assert_eq!(dry.out.lines().next(), Some("4 rows read, 4 good, 0 rejected; nothing was changed"));
    let import = place.run(&["accounts", "import", &file]).ok();
    insta::assert_snapshot!("accounts_import", format!("{}{}", import.err, import.out));
    let again = place.run_with(&["accounts", "import", "-", "--summary", "json"], CSV).ok().json();
    assert_eq!((&again["new"], &again["updated_or_unchanged"]), (&json!(0), &json!(4)), "{again}");
    let broken = place.run_with(&["accounts", "import", "-"], "team,sub,email\nA1B2C3D4E5,s,nobody\nA1B2C3D4E5,,\n");
    assert_eq!(broken.code, Some(1));
    assert!(
        broken.err.contains("line 2: email: the address has no local part or no domain\nline 3: sub is missing"),
        "{}",
        broken.err
    );
    let strangers = "team,sub\nA1B2C3D4E6,s\nZZZZZZZZZZ,s\na1,s\n";
    let broken = place.run_with(&["accounts", "import", "-"], strangers);
    assert!(broken.code == Some(1) && broken.out.starts_with("3 rows read: 0 new"), "{}", broken.out);
    for told in [
        "line 2: team A1B2C3D4E6 is not in the configuration; did you mean A1B2C3D4E5?",
        "line 3: team ZZZ",
        "line 4: ",
    ] {
        assert!(broken.err.contains(told), "{}", broken.err);
    }
    let strict = place.run_with(&["accounts", "import", "-", "--strict"], "team,sub\nA1B2C3D4E5,\nA1B2C3D4E5,ok\n");
    assert!(strict.code == Some(1) && strict.err.contains("line 2: sub is missing; stopped"), "{}", strict.err);
}

/// Lists of what was taken in, and what they refuse.
fn what_was_taken_in(place: &Place) {
    let listed = place.until(&["events", "list"], "", |said| said.out.lines().count() >= 7);
    insta::assert_snapshot!("events_list", place.redacted(&listed.out));
    let lines = place.run(&["events", "list", "--format", "json", "--kind", "refused,delivered", "--since", "2h"]).ok();
    let lines: Vec<Value> =
        lines.out.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(
        lines.iter().map(|line| line["kind"].as_str()).collect::<Vec<_>>(),
        [Some("refused"), Some("delivered")]
    );
    assert_eq!(
        (&lines[0]["cause"], &lines[0]["action"]),
        (&json!("recipient_unknown"), &json!("hold")),
        "{}",
        lines[0]
    );
    assert_eq!(lines[0]["sent_at_origin"], "payload");
    assert!(lines[0]["confidence"].to_string().len() <= "0.97".len(), "in hundredths: {}", lines[0]);
    assert_eq!(
        place
            .run(&["events", "list", "--stream", "NEWS.example", "--feed", "braze", "-n", "2"])
            .ok()
            .out
            .matches("braze/news")
            .count(),
        2
    );
    let nowhere = place.run(&["events", "list", "--feed", "ses"]);
    assert_eq!((nowhere.code, nowhere.out.as_str()), (Some(1), ""));
    assert!(nowhere.err.contains("there is no feed \"ses\"; there are: braze\n"), "{}", nowhere.err);
    for nothing in [
        ["--kind", "notice"],
        ["--kind", "unknown"],
        ["--stream", "nowhere"],
        ["--until", "2h"],
        ["--cause", "mailbox_full"],
    ] {
        assert_eq!(place.run(&["events", "list", nothing[0], nothing[1]]).ok().out, "", "{nothing:?}");
    }
}

/// A part that was set aside is shown to whom asks for it by name, and the journal says so.
async fn what_was_not_understood(place: &Place, daemon: &Daemon) {
    daemon.post(&[place.event("Telepathy", 9, 30, &json!({}))]).await;
    let listed = place.run(&["events", "list", "--kind", "set-aside", "--format", "json"]).ok().json();
    let id = listed["id"].to_string();
    let unsaid = place.run(&["events", "aside", &id]);
    assert!(unsaid.code == Some(1) && unsaid.err.contains("--show-personal-data"), "{}", unsaid.err);
    assert!(!unsaid.out.contains("qx7user9"), "{}", unsaid.out);
    let opened = place.run(&["events", "aside", &id, "--show-personal-data", "--operator", "Jo"]).ok().out;
    assert!(opened.contains(&format!("part {id}")) && opened.contains("qx7user9"), "{opened}");
    let missing = place.run(&["events", "aside", "4711", "--show-personal-data"]);
    assert!(missing.code == Some(1) && missing.err.contains("there is no part 4711"), "{}", missing.err);
    let done = place.run(&["events", "entries", "--kind", "action"]).ok().out;
    assert!(done.contains(&format!("part {id} of what was set aside was looked at, by Jo")), "{done}");
    assert!(!done.contains("4711 of what"), "what is not there was not looked at");
}

/// Everything that the commands do, once. `beside`: a daemon runs.
async fn everything(place: &Place, daemon: Option<&Daemon>) {
    // The monitor has folded the traffic: what follows tells of its ledger.
    place.until(&["address", "show", &address(3)], "", |said| {
        said.code == Some(0) && !said.out.contains("ledger: none")
    });

    what_was_taken_in(place);
    the_map(place);

    // The story of one.
    let story = place.until(&["address", "show", "-"], &address(2), |said| !said.out.contains("ledger: none"));
    insta::assert_snapshot!("address_show", place.redacted(&story.out));
    let sub = format!("{TEAM}:001234.qx7sub.0002");
    let known = place.run(&["address", "show", "--sub", &sub, "--format", "json"]).ok().json();
    let id = known["id"].as_str().expect("an id").to_owned();
    let by_id = place.run(&["address", "show", "--id", &id, "--format", "json"]).ok().json();
    assert_eq!(by_id, known, "the id leads to the same story");
    for unknown in ["00000000000000ff", "ffffffffffffffff", "0000000000000000"] {
        let said = place.run(&["address", "show", "--id", unknown]);
        assert!(said.code == Some(1) && said.err.contains("this address is not known"), "{}", said.err);
    }
    assert!(place.run(&["address", "show", "--id", "+00000000000000f"]).err.contains("16 hexadecimal digits"));
    assert!(place.run(&["address", "show", "--id", "zz"]).err.contains("16 hexadecimal digits"));
    assert_eq!(
        (&known["address"], &known["events"][0]["cause"]),
        (&json!(address(2)), &json!("recipient_unknown")),
        "{known}"
    );
    let advice = &known["advice"];
    assert_eq!(
        (&advice["action"], &advice["reasons"][0]["reason"]),
        (&json!("hold"), &json!("second-refusal-missing")),
        "{known}"
    );
    let arrived = place.run(&["address", "show", &address(1), "--format", "json"]).ok().json();
    assert_eq!(arrived["advice"]["action"], "keep", "{arrived}");
    assert_eq!(place.run(&["address", "show", "nobody@privaterelay.appleid.com"]).code, Some(1));

    // Keys.
    let rotated = place.run(&["keys", "rotate", "--forget-old", "--format", "json"]).ok().json();
    assert_eq!((&rotated["current"], &rotated["dropped"]), (&json!(2), &json!(1)), "{rotated}");
    assert!(rotated["resealed"].as_u64() >= Some(4), "{rotated}");
    assert_eq!(
        key_file(place)["sealing_keys"].as_object().map(|keys| keys.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["2".to_owned()])
    );
    let known = place.run(&["address", "show", "--sub", &sub, "--format", "json"]).ok().json();
    assert_eq!(known["address"], json!(address(2)), "it opens with the new key alone");
    let shown = place.run(&["keys", "show"]).ok().out;
    assert!(shown.contains("sealing key 2: seals now") && !shown.contains("sealing key 1"), "{shown}");

    let missing = place.run(&["incident", "label", "99", "real"]);
    assert!(missing.code == Some(1) && missing.err.contains("there is no incident 99"), "{}", missing.err);
    for rest in [&["accept-normal", "99"][..], &["close", "99", "--reason", "over"]] {
        let missing = place.run(&[&["incident"], rest].concat());
        assert!(missing.code == Some(1) && missing.err.contains("there is no incident 99"), "{}", missing.err);
    }

    // Projections.
    let rebuilt = place.run(&["rebuild", "--format", "json"]).ok().json();
    assert_eq!(rebuilt["events"], json!(5), "{rebuilt}");
    let after = place.until(&["address", "show", "-"], &address(2), |said| !said.out.contains("ledger: none"));
    assert_eq!(place.redacted(&after.out), place.redacted(&story.out), "the same ledger");

    let done = place.run(&["events", "entries", "--kind", "action"]).ok().out;
    assert!(done.contains("1 old key dropped, by tester"), "{done}");
    assert!(done.contains("the keys are rotated: key 2 seals, by tester"), "{done}");
    assert!(done.contains("ledger and cells are made again from 5 outcomes, by tester"), "{done}");

    if let Some(daemon) = daemon {
        what_was_not_understood(place, daemon).await;
    }

    // Forgetting.
    let refused = place.run_with(&["address", "forget", "-", "--reason", "request 4711"], &address(2));
    assert!(refused.code == Some(1) && refused.err.contains("add --yes"), "{}", refused.err);
    let leak = place.run_with(&["address", "forget", "-", "--yes", "--reason", &address(2)], &address(2));
    assert!(leak.code == Some(1) && leak.err.contains("the journal takes no address"), "{}", leak.err);
    let forgotten = place.run_with(&["address", "forget", "-", "--yes", "--reason", "request 4711"], &address(2)).ok();
    assert_eq!(forgotten.out, "forgotten, with 1 account and 1 copy\n", "the sample of a reply went too");
    assert_eq!(place.run(&["address", "show", "--sub", &sub]).code, Some(1));
    let gone = place.run(&["address", "show", "--id", &id]).ok().out;
    assert!(gone.contains("belongs to nobody") && gone.contains("last refused"), "{gone}");
    assert_eq!(
        place.run_with(&["address", "forget", "-", "--yes", "--reason", "again", "--by", "Jo"], &address(2)).code,
        Some(1)
    );
    assert_eq!(place.run(&["events", "list"]).ok().out.matches("refused").count(), 1, "counts stay");

    // The daemon goes on with the new key: what comes now can be read by the commands, which know only that one.
    if let Some(daemon) = daemon {
        daemon.post(&[place.event("Delivery", 9, 60, &json!({}))]).await;
        place.until(&["address", "show", &address(9), "--format", "json"], "", |said| said.code == Some(0));
    }
}

async fn beside_and_without(engine: Engine) {
    let Some(place) = Place::new(engine).await else { return };
    let daemon = Daemon::start(&place);
    daemon.post(&place.traffic()).await;
    everything(&place, Some(&daemon)).await;
    if engine == Engine::Sqlite {
        let second = place.run(&["serve"]);
        assert!(
            second.code == Some(1) && second.err.contains("is open for writing in another process"),
            "{}",
            second.err
        );
    }
    let log = daemon.stop();
    for secret in ["qx7user", "qx7sub", TOKEN, "qx7someone"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    assert!(!place.path("relaywatch.sock").exists(), "the socket goes with the daemon");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_work_beside_a_daemon_on_sqlite() {
    beside_and_without(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_work_without_a_daemon_and_after_a_crash() {
    let place = Place::new(Engine::Sqlite).await.expect("SQLite");
    for arguments in [
        &["events", "list"][..],
        &["incident", "list"],
        &["accounts", "import", "-"],
        &["address", "forget", "nobody@privaterelay.appleid.com", "--yes", "--reason", "x"],
        &["keys", "rotate"],
        &["rebuild"],
        &["rebuild", "--rules"],
    ] {
        let before = place.run_with(arguments, "team,sub\nA1B2C3D4E5,early\n");
        assert!(before.code == Some(1) && before.err.contains("`relaywatch serve` makes it"), "{}", before.err);
    }
    assert!(!place.path("relaywatch.key").exists(), "nothing was made");
    let first = place.run_with(&["accounts", "import", "-", "--create"], "team,sub\nA1B2C3D4E5,early\n").ok();
    assert!(first.err.contains("made a new store, since"), "{}", first.err);
    let again = place.run_with(&["accounts", "import", "-", "--create"], "team,sub\nA1B2C3D4E5,early\n").ok();
    assert!(!again.err.contains("made a new store"), "{}", again.err);
    let daemon = Daemon::start(&place);
    let mode = std::fs::metadata(place.path("relaywatch.sock")).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner only");
    daemon.post(&place.traffic()).await;
    place.until(&["address", "show", &address(3)], "", |said| {
        said.code == Some(0) && !said.out.contains("ledger: none")
    });
    daemon.crash();
    assert!(place.path("relaywatch.sock").exists(), "a crash leaves the socket's file");
    everything(&place, None).await;

    // The next start replaces what the crash has left.
    let daemon = Daemon::start(&place);
    place.run_with(&["accounts", "import", "-"], "team,sub\nA1B2C3D4E5,new\n").ok();
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_cannot_be_reached_is_explained() {
    let place = Place::new(Engine::Sqlite).await.expect("SQLite");
    let daemon = Daemon::start(&place);
    let elsewhere = tempfile::tempdir().expect("a folder");
    std::fs::copy(place.path("relaywatch.key"), elsewhere.path().join("relaywatch.key")).expect("the key");
    let output = place.command(&["rebuild"]).env("STATE_DIRECTORY", elsewhere.path()).output().expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && err.contains("no daemon answers at") && err.contains("STATE_DIRECTORY"),
        "{err}"
    );
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_rules_stop_no_command_that_only_reads() {
    let place = Place::new(Engine::Sqlite).await.expect("SQLite");
    let daemon = Daemon::start(&place);
    daemon.post(&place.traffic()).await;
    let shared = json!({ "email_address": "qx7shared@icloud.com" });
    daemon.post(&[place.event("Delivery", 4, 30, &shared)]).await;
    let show = ["address", "show", "-", "--format", "json"];
    let story = place.until(&show, "qx7shared@icloud.com", |said| said.out.contains("first_event")).json();
    assert_eq!(
        (&story["advice"], &story["advice_missing"]["reason"]),
        (&json!(null), &json!("control-group")),
        "{story}"
    );
    let told = place.run_with(&["address", "show", "-"], "qx7shared@icloud.com").ok().out;
    assert!(told.contains("what to do: nothing can be said: its mail counts as the control group"), "{told}");
    assert!(told.contains("relaywatch accounts import"), "{told}");
    place.until(&["address", "show", "-"], &address(2), |said| !said.out.contains("ledger: none"));
    daemon.stop();

    let rules = place.path("own");
    std::fs::create_dir(&rules).expect("a folder");
    std::fs::write(rules.join("a.toml"), "version = 1\n[[rule]]\nname = \"x\"\ncourse = \"mailbox_full\"\n")
        .expect("rules");
    std::fs::write(rules.join("b.toml"), "version = one\n").expect("rules");
    let config = std::fs::read_to_string(place.path("relaywatch.toml")).expect("configuration");
    std::fs::write(place.path("relaywatch.toml"), format!("{config}[rules]\nfolder = \"own\"\n")).expect("written");
    let refused = address(2);
    for arguments in [&["events", "list"][..], &["address", "show", &refused]] {
        let said = place.run(arguments).ok();
        assert!(said.out.contains("recipient_unknown, hold"), "{}", said.out);
        for part in [
            "WARNING",
            "rule file a.toml, line 4",
            "rule file b.toml, line 1",
            "only the built-in ones",
            "config check",
        ] {
            assert!(said.err.contains(part), "{part}: {}", said.err);
        }
    }
    for arguments in [&["events", "words"][..], &["events", "entries"]] {
        assert_eq!(place.run(arguments).ok().err, "", "rules are not asked");
    }
    for arguments in [&["rebuild", "--rules"][..], &["classify"], &["config", "check"]] {
        let said = place.run(arguments);
        assert!(
            said.code == Some(1) && format!("{}{}", said.out, said.err).contains("a.toml"),
            "{}{}",
            said.out,
            said.err
        );
    }
}

/// A line of a child's output, or a failed test.
fn next_line(lines: &std::sync::mpsc::Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).expect("a line in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_shows_what_comes_in_and_a_closed_pipe_is_no_error() {
    let place = Place::new(Engine::Sqlite).await.expect("SQLite");
    let daemon = Daemon::start(&place);
    daemon.post(&place.traffic()).await;
    let mut tail = place.command(&["events", "tail", "-n", "1", "--format", "json"]).spawn().expect("tail");
    let (sender, lines) = std::sync::mpsc::channel();
    let mut out = BufReader::new(tail.stdout.take().expect("its output")).lines();
    let reader = std::thread::spawn(move || {
        for line in out.by_ref().take(2).map_while(Result::ok) {
            sender.send(line).expect("the test listens");
        }
    });
    let first: Value = serde_json::from_str(&next_line(&lines)).expect("JSON");
    assert_eq!((&first["kind"], &first["at"]), (&json!("sent"), &json!(place.start.plus_millis(20_000).to_string())));
    daemon.post(&[place.event("MarkAsSpam", 1, 40, &json!({}))]).await;
    let second: Value = serde_json::from_str(&next_line(&lines)).expect("JSON");
    assert_eq!(second["kind"], "complained");
    // The reader has gone: the next line ends the command, and not as a failure.
    reader.join().expect("reader");
    daemon.post(&[place.event("MarkAsSpam", 2, 41, &json!({}))]).await;
    assert!(tail.wait().expect("tail ends").success());

    let mut list = place.command(&["events", "list"]).spawn().expect("list");
    drop(list.stdout.take());
    let mut err = String::new();
    list.stderr.take().expect("stderr").read_to_string(&mut err).expect("text");
    assert!(list.wait().expect("it ends").success() && err.is_empty(), "{err}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_work_beside_a_daemon_on_postgres() {
    beside_and_without(Engine::Postgres).await;
}

/// Two daemons on one PostgreSQL with one key file: the one that rotates tells the other through the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_reaches_every_process_on_postgres() {
    let Some(place) = Place::new(Engine::Postgres).await else { return };
    let one = Daemon::start(&place);
    let other_state = tempfile::tempdir().expect("a folder");
    let other = Place { folder: other_state, url: place.url.clone(), start: place.start };
    let config = std::fs::read_to_string(place.path("relaywatch.toml")).expect("configuration");
    let key = place.path("relaywatch.key").display().to_string();
    std::fs::write(other.path("relaywatch.toml"), format!("{config}[privacy]\nkey_file = \"{key}\"\n")).expect("file");
    let two = Daemon::start(&other);
    let third_state = tempfile::tempdir().expect("a folder");
    let third = Place { folder: third_state, url: place.url.clone(), start: place.start };
    std::fs::write(third.path("relaywatch.toml"), &config).expect("file");
    std::fs::copy(place.path("relaywatch.key"), third.path("relaywatch.key")).expect("the keys of before");
    let left_behind = Daemon::start(&third);
    assert!(!read(&left_behind.log).contains("lacks the new key"));
    two.post(&[place.event("Send", 1, 0, &json!({}))]).await;
    let rotated = place.run(&["keys", "rotate", "--forget-old"]).ok();
    assert!(rotated.out.contains("copy it to the hosts of the other processes"), "{}", rotated.out);
    // It commits nothing, and says so all the same; and so does one that starts with the old file.
    let begin = std::time::Instant::now();
    while !read(&left_behind.log).contains("lacks the new key") {
        assert!(begin.elapsed() < PATIENCE, "{}", read(&left_behind.log));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    left_behind.stop();
    let late = Daemon::start(&third);
    assert!(
        read(&late.log).contains("copy the key file from the process where they were rotated"),
        "{}",
        read(&late.log)
    );
    late.stop();
    two.post(&[place.event("Send", 2, 0, &json!({}))]).await;
    std::fs::write(place.path("map.csv"), CSV).expect("file");
    let map: &Path = &place.path("map.csv");
    place.run(&["accounts", "import", &map.display().to_string()]).ok();
    for number in [1, 2] {
        let sub = format!("{TEAM}:001234.qx7sub.000{number}");
        let known = place.run(&["address", "show", "--sub", &sub, "--format", "json"]).ok().json();
        assert_eq!(known["address"], json!(address(number)), "sealed by either process, before or after the rotation");
    }
    one.stop();
    two.stop();
}
