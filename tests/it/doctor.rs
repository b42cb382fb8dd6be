//! `relaywatch doctor` in the states that operators meet.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{
    Engine,
    daemon::{BRAZE_TOKEN, Home, now, program},
};

/// What the doctor says in this home, with its exit code.
fn doctor(home: &Home, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = program(home.folder.path());
    command.arg("doctor").arg("--config").arg(home.path("relaywatch.toml")).args(arguments);
    let output = command.stdout(Stdio::piped()).output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(!said.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    for secret in [BRAZE_TOKEN, crate::support::daemon::SPARKPOST_TOKEN, crate::support::daemon::MAILGUN_KEY] {
        assert!(!said.contains(secret), "{said}");
    }
    (output.status.code(), said)
}

fn json(home: &Home, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, said) = doctor(home, &[&["--format", "json"], arguments].concat());
    (code, serde_json::from_str(&said).expect("JSON"))
}

/// One thing of a list, by what names it.
fn of<'a>(report: &'a Value, list: &str, key: &str, name: &str) -> &'a Value {
    let found = report[list].as_array().into_iter().flatten().find(|one| one[key] == name);
    found.unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    of(report, "checks", "check", name)
}

/// Times, ports, fingerprints and places by names.
fn redacted(home: &Home, text: &str) -> String {
    let text = text.replace(&home.folder.path().display().to_string(), "{home}");
    let replace = |text: &str, pattern: &str, name: &str| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(text, name).into_owned()
    };
    let text = replace(&text, r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "{time}");
    let text = replace(&text, r"\d+ (s|min|h) ago", "{ago}");
    let text = replace(&text, r"fingerprint [0-9a-f]+", "fingerprint {fingerprint}");
    let text = replace(&text, r"version \d+\.\d+\.\d+", "version {version}");
    replace(&text, r"127\.0\.0\.1:\d+", "{address}")
}

fn delivery(address: &str) -> String {
    let event = serde_json::json!({
        "event_type": "users.messages.email.Delivery", "id": "a3f1c2d4-0001-4a5b-8c7d-112233445566",
        "time": now().as_seconds() - 60, "email_address": address, "dispatch_id": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "from_domain": "mail.example.com",
    });
    serde_json::json!({ "events": [event] }).to_string()
}

async fn beside_a_daemon(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    let daemon = home.start();
    let bearer = format!("Bearer {BRAZE_TOKEN}");
    let body = delivery("qx7zhzkndneko@privaterelay.appleid.com");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    assert_eq!(daemon.post("/in/braze", &headers, body.as_bytes()).status, 200);
    assert_eq!(daemon.post("/in/sparkpost", &[("content-type", "application/json")], b"[]").status, 401);

    // PostgreSQL shows the journal's end once no older transaction of the cluster runs, and other tests run in it too.
    let begun = std::time::Instant::now();
    while daemon.metric("relaywatch_monitor_caught_up_timestamp_seconds") == 0 {
        assert!(
            begun.elapsed() < std::time::Duration::from_mins(1),
            "the monitor never reaches the end of the journal"
        );
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    let (code, report) = json(&home, &[]);
    assert_eq!((code, &report["wrong"]), (Some(0), &Value::Bool(false)), "{report:#}");
    assert_eq!(check(&report, "daemon")["mark"], "ok");
    assert_eq!(check(&report, "store")["mark"], "ok");
    let has = |name: &str| report["checks"].as_array().expect("checks").iter().any(|check| check["check"] == name);
    assert_eq!(has("clock") && has("journal"), engine == Engine::Postgres, "{report:#}");
    let feed = |name: &str| of(&report, "feeds", "feed", name);
    let braze = feed("braze");
    assert_eq!((&braze["mark"], &braze["reachable"]), (&"ok".into(), &"yes".into()), "{braze:#}");
    assert!(braze["last_event"].is_string() && braze["last_accepted"].is_string(), "{braze:#}");
    assert_eq!(braze["url"], format!("http://{}/in/braze", daemon.public));
    let sparkpost = feed("sparkpost");
    assert_eq!(
        (&sparkpost["mark"], &sparkpost["last_rejection"]["reason"]),
        (&"warning".into(), &"unauthenticated".into())
    );
    // To be asked is no delivery: nothing of it counts as refused.
    assert_eq!(daemon.metric("relaywatch_feed_rejections_total{feed=\"mailgun\",reason=\"unauthenticated\"}"), 0);
    assert!(
        json(&home, &[]).1["feeds"]
            .as_array()
            .expect("feeds")
            .iter()
            .all(|feed| feed["feed"] != "mailgun" || feed["last_rejection"].is_null())
    );

    // The address of something else: nothing there is a feed.
    let elsewhere = format!("http://{}", daemon.private);
    let (code, report) = json(&home, &["--url", &elsewhere]);
    assert_eq!(code, Some(1));
    assert!(
        of(&report, "feeds", "feed", "braze")["says"].as_str().expect("said").contains("something else answers there")
    );

    if engine == Engine::Sqlite {
        let (_, text) = doctor(&home, &["--url", &format!("http://{}", daemon.public)]);
        insta::assert_snapshot!("beside_a_daemon", redacted(&home, &text));
    }
    daemon.stop();

    let (code, report) = json(&home, &["--url", "http://127.0.0.1:1"]);
    assert_eq!((code, &check(&report, "daemon")["mark"]), (Some(1), &"warning".into()), "{report:#}");
    let braze = of(&report, "feeds", "feed", "braze");
    assert_eq!((&braze["mark"], &braze["reachable"]), (&"wrong".into(), &"no".into()));
    assert!(
        braze["says"].as_str().expect("said").starts_with("last event in the hour of "),
        "the store knows: {braze:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_daemon_on_sqlite() {
    beside_a_daemon(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_daemon_on_postgres() {
    beside_a_daemon(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_yet_and_where_the_configuration_is_wrong() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    home.configure("");
    let (code, text) = doctor(&home, &[]);
    assert_eq!(code, Some(0), "nothing is wrong with a machine on which nothing was started: {text}");
    insta::assert_snapshot!("nothing_yet", redacted(&home, &text));

    std::fs::write(home.path("relaywatch.toml"), "[listen]\npublik = 1\n").expect("written");
    let (code, text) = doctor(&home, &[]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!("configuration_wrong", redacted(&home, &text));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_store_is_away_and_the_keys_are_open_to_others() {
    use std::os::unix::fs::PermissionsExt;

    let mut home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    home.start().stop();
    home.url = "postgres://nobody@127.0.0.1:1/relaywatch".to_owned();
    home.configure(&format!("[feeds.braze]\ntoken = \"{BRAZE_TOKEN}\"\n"));
    let key = home.path("state/relaywatch.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("permissions");
    let (code, text) = doctor(&home, &["--url", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!("store_away", redacted(&home, &text));
}

/// What is gone is told as what it is, with what to do; what was never there is no failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_something_is_gone() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let log = home.path("mail.log");
    std::fs::write(&log, "").expect("written");
    home.configure(&format!("[feeds.postfix]\nlog_file = \"{}\"\n", log.display()));
    home.start().stop();

    // A daemon that has just stopped is no process that takes reports in.
    let (code, report) = json(&home, &[]);
    let ingest = check(&report, "ingest");
    assert_eq!((code, &ingest["mark"]), (Some(1), &"wrong".into()), "{ingest:#}");
    assert!(ingest["says"].as_str().expect("said").contains("the last was heard 20"), "{ingest:#}");
    let postfix = of(&report, "feeds", "feed", "postfix");
    assert_eq!((&postfix["reachable"], &postfix["url"]), (&"yes".into(), &Value::Null), "{postfix:#}");

    std::fs::remove_file(&log).expect("removed");
    let (_, report) = json(&home, &[]);
    let postfix = of(&report, "feeds", "feed", "postfix");
    assert_eq!((&postfix["mark"], &postfix["reachable"]), (&"wrong".into(), &"no".into()), "{postfix:#}");
    assert!(postfix["says"].as_str().expect("said").contains("there is no such file"), "{postfix:#}");

    std::fs::remove_file(home.path("state/relaywatch.key")).expect("removed");
    let (code, report) = json(&home, &[]);
    let keys = check(&report, "keys");
    assert_eq!((code, &keys["mark"]), (Some(1), &"wrong".into()), "{keys:#}");
    assert!(keys["says"].as_str().expect("said").contains("is gone"), "{keys:#}");
    assert!(!home.path("state/relaywatch.key").exists(), "it changes nothing");
}

/// An address that leads nowhere is told by why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_address_leads_elsewhere() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    home.configure(&format!("[feeds.braze]\ntoken = \"{BRAZE_TOKEN}\"\n"));
    let said = |url: &str| {
        let (_, report) = json(&home, &["--url", url]);
        of(&report, "feeds", "feed", "braze")["says"].as_str().expect("said").to_owned()
    };
    let refused = said("http://127.0.0.1:1");
    assert!(refused.contains("unreachable: the connection is refused"), "{refused}");
    let unknown = said("http://relaywatch.invalid");
    assert!(unknown.contains("no such host: relaywatch.invalid"), "{unknown}");
    let daemon = home.start();
    let elsewhere = said(&format!("http://{}", daemon.private));
    assert!(elsewhere.contains("(HTTP 404): the wrong host or path"), "{elsewhere}");
    daemon.stop();
}
