//! `events list` and `events tail` tell of notices and of what was set aside, without personal data.

use serde_json::{Value, json};

use crate::support::{
    Engine,
    daemon::{BRAZE_TOKEN, Daemon, Home, now, program},
};

const CANARY: &str = "canary7f3a";

fn listed(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(home.folder.path());
    command.args(["events", "list", "--config"]).arg(home.path("relaywatch.toml")).args(arguments);
    let output = command.stdout(std::process::Stdio::piped()).output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn kinds(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let (code, out, err) = listed(home, &[arguments, &["--format", "json"]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(!out.contains(CANARY), "{out}");
    out.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn take_in(home: &Home, daemon: &Daemon) {
    let address = format!("{CANARY}@privaterelay.appleid.com");
    let event = json!({ "type": "email-disabled", "sub": CANARY, "email": address, "is_private_email": "true",
        "event_time": now().as_millis() });
    let claims = json!({ "iss": relaywatch::ingest::http::apple::ISSUER, "aud": "com.example.app",
        "iat": now().as_seconds(), "jti": "j1", "events": event.to_string() });
    let jwt = home.apple.jwt(&claims).expect("signed");
    let notice = relaywatch::ingest::http::apple::signing::body(&jwt);
    assert_eq!(daemon.post("/in/apple/direct", &[], &notice).status, 200);
    let braze = |kind: &str| {
        let event = json!({ "event_type": format!("users.messages.email.{kind}"), "id": format!("id-{kind}"),
            "time": now().as_seconds(), "email_address": address });
        let body = json!({ "events": [event] }).to_string();
        let bearer = format!("Bearer {BRAZE_TOKEN}");
        assert_eq!(daemon.post("/in/braze", &[("authorization", &bearer)], body.as_bytes()).status, 200);
    };
    braze("Delivery");
    braze("Levitation");
}

async fn notices_and_what_was_set_aside_are_listed(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let daemon = home.start();
    take_in(&home, &daemon);

    let notices = kinds(&home, &["--kind", "notice"]);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(
        (&notices[0]["notice"], &notices[0]["feed"], &notices[0]["app"], &notices[0]["team"]),
        (&json!("email-disabled"), &json!("apple/direct"), &json!("com.example.app"), &json!("A1B2C3D4E5"))
    );
    assert!(notices[0]["account"].is_string() && notices[0]["address"].is_string(), "{notices:?}");
    for word in ["set-aside", "unknown"] {
        let parts = kinds(&home, &["--kind", word]);
        assert_eq!(parts.len(), 1, "{parts:?}");
        assert_eq!((&parts[0]["reason"], &parts[0]["feed"]), (&json!("unknown-type"), &json!("braze")));
        assert!(parts[0]["label"].as_str().is_some_and(|label| label.contains("Levitation")), "{parts:?}");
    }
    let all = kinds(&home, &[]);
    assert_eq!(all.len(), 3, "everything that was taken in: {all:?}");
    let time = |line: &Value| relaywatch::model::Timestamp::from_rfc3339(line["at"].as_str().expect("a time"));
    let times: Vec<_> = all.iter().map(time).collect();
    assert!(times.is_sorted_by(|one, other| one >= other), "latest first: {times:?}");
    assert_eq!(kinds(&home, &["-n", "1"]).len(), 1);
    assert_eq!(kinds(&home, &["--feed", "apple"]).len(), 1, "all feeds of the kind");
    assert_eq!(kinds(&home, &["--kind", "delivered,notice"]).len(), 2);
    assert_eq!(kinds(&home, &["--until", "1h"]).len(), 0);

    let (code, _, err) = listed(&home, &["--feed", "nosuch"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no feed \"nosuch\"; there are: apple/backend, apple/direct, azure, braze"), "{err}");
    let (code, out, err) = listed(&home, &["--feed", "mailgun"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(err.contains("mailgun is configured and has not reported anything yet"), "{err}");
    let (code, _, err) = listed(&home, &["--kind", "notice", "--cause", "mailbox_full"]);
    assert!(code == Some(1) && err.contains("leave --stream and --cause out"), "{err}");
    let (_, text, _) = listed(&home, &[]);
    assert!(
        text.contains("  notice     apple/direct  email-disabled, app com.example.app of team A1B2C3D4E5"),
        "{text}"
    );
    assert!(text.contains("  set-aside  braze  unknown-type: "), "{text}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    notices_and_what_was_set_aside_are_listed(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    notices_and_what_was_set_aside_are_listed(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_shows_them_as_they_come() {
    use std::io::{BufRead, BufReader};
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let daemon = home.start();
    take_in(&home, &daemon);
    let mut command = program(home.folder.path());
    command.args(["events", "tail", "-n", "10", "--format", "json", "--config"]).arg(home.path("relaywatch.toml"));
    let mut tail = command.stdout(std::process::Stdio::piped()).spawn().expect("tail");
    let mut out = BufReader::new(tail.stdout.take().expect("its output"));
    let mut next = || {
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        line["kind"].as_str().expect("a kind").to_owned()
    };
    let mut first = [next(), next(), next()];
    first.sort();
    assert_eq!(first, ["delivered", "notice", "set-aside"], "those that were there");
    let body =
        json!({ "events": [{ "event_type": "users.messages.email.Teleport", "id": "t", "time": 1 }] }).to_string();
    let bearer = format!("Bearer {BRAZE_TOKEN}");
    assert_eq!(daemon.post("/in/braze", &[("authorization", &bearer)], body.as_bytes()).status, 200);
    assert_eq!(next(), "set-aside", "and none of them twice");
    tail.kill().expect("ended");
    tail.wait().expect("gone");
    daemon.stop();
}
