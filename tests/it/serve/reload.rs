//! What SIGHUP takes up and what it answers with "needs a restart".

use std::{io::Write, process::Stdio};

use relaywatch::{model::Address, privacy::Purpose};

use crate::support::{
    Engine,
    daemon::{Home, SPARKPOST_TOKEN, now, program},
    payload,
};

async fn home() -> Home {
    Home::new(Engine::Sqlite).await.expect("SQLite is always there")
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_is_taken_up() {
    let home = home().await;
    let feed = format!("[feeds.sparkpost]\ntoken = \"{SPARKPOST_TOKEN}\"\n");
    home.configure(&feed);
    let daemon = home.start();
    let authorization = format!("Bearer {SPARKPOST_TOKEN}");
    let batch = payload::sparkpost_batch((0..100).map(|number| payload::sparkpost(number, now().as_millis(), false)));
    assert!(batch.len() > 65_536);
    let post = || daemon.post("/in/sparkpost", &[("authorization", &authorization)], batch.as_bytes()).status;
    assert_eq!(post(), 200);

    home.configure(&format!(
        "{feed}[feeds.braze]\ntoken = \"short\"\n[detect]\nmax_streams = 1000\n[limits]\nbody_bytes = 65536\n\
         max_connections = 5\nmax_concurrent_requests = 5\n[log]\nformat = \"text\"\n[lifecycle]\ndrain_seconds = 5\n"
    ));
    daemon.signal("HUP");
    for setting in
        ["[detect]", "[limits] max_connections", "[limits] max_concurrent_requests", "[log] format", "[lifecycle]"]
    {
        daemon.wait_for(&format!("{setting} has changed and needs a restart"));
    }
    let warning = daemon.wait_for("`token` is shorter than 16 bytes");
    assert!(
        warning.contains("relaywatch.toml:9") && warning.contains("openssl rand"),
        "its place and advice: {warning}"
    );
    daemon.wait_for("no notifier is configured: incidents are recorded and nobody is told");
    daemon.wait_for("\"reloaded\"");
    assert_eq!(post(), 413, "the cap on bodies is taken up");
    let log = daemon.stop();
    assert!(!log.contains("[listen] has changed") && !log.contains("[store] has changed"), "{log}");
}

#[tokio::test]
async fn the_operators_socket_goes_by_the_new_relay_domains() {
    let home = home().await;
    home.configure("");
    let daemon = home.start();
    let import = |sub: &str, email: &str| {
        let mut command = program(home.folder.path());
        command.args(["accounts", "import", "-", "--config"]).arg(home.path("relaywatch.toml"));
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the command starts");
        let rows = format!("team,sub,email\nA1B2C3D4E5,{sub},{email}\n");
        child.stdin.take().expect("its input").write_all(rows.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let store = home.store().await;
    let keyring = home.keyring();
    let known = async |email: &str| {
        let address = Address::parse(email).expect("an address");
        let hash = keyring.hash(Purpose::Address, &[address.key().as_bytes()]);
        store.address_by_hash(&hash).await.expect("the store").is_some()
    };
    home.configure("[relay]\ndomains = [\"privaterelay.appleid.com\", \"relay.example\"]\n");
    daemon.signal("HUP");
    daemon.wait_for("\"reloaded\"");
    import("s1", "x7kq2m9abc@relay.example");
    assert!(known("x7kq2m9abc@relay.example").await, "a relay address by the settings in force");
    daemon.stop();
}

/// A batch with one refusal in words that no built-in rule knows.
fn new_words(number: u64) -> String {
    let element = payload::sparkpost(number, now().as_millis() / 1_000 * 1_000, true);
    payload::sparkpost_batch([element.replace("user not found", "the box of today is stuffed")])
}

#[tokio::test]
async fn rule_files_are_taken_up_all_or_nothing() {
    let home = home().await;
    let rules = home.path("rules");
    std::fs::create_dir(&rules).expect("a folder");
    home.configure(&format!("[feeds.sparkpost]\ntoken = \"{SPARKPOST_TOKEN}\"\n[rules]\nfolder = \"rules\"\n"));
    let daemon = home.start();
    let authorization = format!("Bearer {SPARKPOST_TOKEN}");
    let post = |number: u64| {
        let body = new_words(number);
        assert_eq!(daemon.post("/in/sparkpost", &[("authorization", &authorization)], body.as_bytes()).status, 200);
    };
    let causes = || {
        let mut command = program(home.folder.path());
        command.args(["events", "list", "--kind", "refused", "--format", "json", "--config"]);
        let output =
            command.arg(home.path("relaywatch.toml")).stdout(Stdio::piped()).output().expect("the command runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut causes: Vec<(String, String)> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
                (word("cause"), word("rule"))
            })
            .collect();
        causes.sort();
        causes
    };
    post(1);
    assert_eq!(causes(), [("undetermined".to_owned(), "none/undetermined".to_owned())]);

    let rule = "version = 3\n\n[[rule]]\nname = \"stuffed\"\nwording = [\"the box of today is stuffed\"]\n\
                cause = \"relay_daily_limit\"\nconfidence = 0.8\ndoc = \"seen here\"\n";
    std::fs::write(rules.join("ours.toml"), rule).expect("written");
    daemon.signal("HUP");
    daemon.wait_for("\"reloaded\"");
    post(2);
    assert_eq!(causes()[0], ("relay_daily_limit".to_owned(), "ours/stuffed".to_owned()));

    std::fs::write(rules.join("ours.toml"), rule.replace("relay_daily_limit", "relay_dayly_limit")).expect("written");
    daemon.signal("HUP");
    let error = daemon.wait_for("relay_dayly_limit");
    assert!(error.contains("ours.toml, line 6"), "the file and the line: {error}");
    daemon.wait_for_metric("relaywatch_reload_refused", 1);
    let page = || daemon.get("/").text();
    assert!(
        page().contains("The last reload (SIGHUP) was refused") && page().contains("ours.toml, line 6"),
        "{}",
        page()
    );
    post(3);
    std::fs::write(rules.join("ours.toml"), rule).expect("written");
    daemon.signal("HUP");
    daemon.wait_for_metric("relaywatch_reload_refused", 0);
    assert!(!page().contains("was refused"), "{}", page());
    let told = causes();
    assert_eq!(
        told.iter().filter(|(cause, _)| cause == "relay_daily_limit").count(),
        2,
        "the old rules stay: {told:?}"
    );
    daemon.stop();
}
