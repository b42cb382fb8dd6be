//! Several processes on one PostgreSQL: one takes reports in, two monitor, of which one leads. The leader is killed, stopped
//! and continued, and told to end, in the middle of an incident: it stays one incident, no page is lost, and a page comes
//! twice only where its sending was not recorded, and then it says so.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use relaywatch::store::{IncidentState, OutboxState, Route, Store};

use crate::support::{
    Engine,
    daemon::{Daemon, Home, SPARKPOST_TOKEN, now, program},
    payload,
    sink::{Answer, Received, Sink},
};

const OPENED: &str = "Relay mail is refused on";
const WORSE: &str = "Worse on";
/// Refused in the first wave; the second brings more than three times as many.
const FIRST: u64 = 160;
const SECOND: u64 = 600;

/// One database, one configuration, one key file; each process has a state directory of its own.
struct Cluster {
    home: Home,
    sink: Sink,
    store: Store,
    ingest: Daemon,
    one: Daemon,
    two: Daemon,
}

fn start(home: &Home, role: &str, name: &str) -> Daemon {
    let mut command = home.command();
    command.args(["--role", role]).env("STATE_DIRECTORY", home.path(name));
    Daemon::start(command)
}

fn configure(home: &Home, lease_seconds: u32, slack: &str) {
    home.configure(&format!(
        "lease_seconds = {lease_seconds}\n[privacy]\nkey_file = \"state/relaywatch.key\"\n\
         [notify.slack]\nwebhook_url = \"{slack}\"\n{}",
        Home::feeds()
    ));
}

impl Cluster {
    /// All three; the process `one` leads. `None` where there is no PostgreSQL.
    async fn start(lease_seconds: u32) -> Option<Self> {
        let home = Home::new(Engine::Postgres).await?;
        let sink = Sink::start().await;
        configure(&home, lease_seconds, &sink.url("/slack"));
        let ingest = start(&home, "ingest", "ingest");
        ingest.wait_for("made a new store at postgres");
        let one = start(&home, "monitor", "one");
        leads(&one);
        let two = start(&home, "monitor", "two");
        two.wait_for("this one stands by");
        assert!(!one.log().contains("made a new store") && !two.log().contains("made a new store"), "one was there");
        let store = home.store().await;
        Some(Self { home, sink, store, ingest, one, two })
    }

    /// Posts `count` refusals and `delivered` deliveries of messages sent twenty minutes ago.
    fn post(&self, first: u64, count: u64, delivered: u64) {
        let at = now().as_seconds() * 1_000 - 20 * 60_000;
        let elements = (0..count + delivered).map(|n| payload::sparkpost(first + n, at, n < count));
        let authorization = format!("Bearer {SPARKPOST_TOKEN}");
        let body = payload::sparkpost_batch(elements);
        let answer = self.ingest.post("/in/sparkpost", &[("authorization", &authorization)], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn first_wave(&self) {
        self.post(0, FIRST, 40);
    }

    fn second_wave(&self) {
        self.post(10_000, SECOND, 0);
    }

    /// Waits until the sending of a page is recorded.
    async fn recorded(&self, key: &str) {
        let recorded = async {
            // Nobody tells; asked without a pause, it would take the processors from those that it waits for.
            while self.store.outbox_state(Route::Slack, key).await.expect("state") != Some(OutboxState::Sent) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_mins(1), recorded).await.is_err() {
            let outbox = self.store.outbox_depth().await.expect("depth");
            let incidents = self.store.incidents(IncidentState::ALL, 10).await.expect("incidents");
            let (one, two) = (self.one.log(), self.two.log());
            panic!("{key} is not sent within a minute: {outbox:?}\n{incidents:?}\none:\n{one}\ntwo:\n{two}");
        }
    }

    async fn one_open_incident(&self) {
        let found = self.store.incidents(IncidentState::ALL, 10).await.expect("incidents");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].state, IncidentState::Open);
    }
}

fn leads(daemon: &Daemon) {
    daemon.wait_for_metric("relaywatch_leader", 1);
    assert!(daemon.get("/readyz").text().contains("monitors: leading"));
}

/// What a page to Slack says: its text, and whether it is marked.
fn told(page: &Received) -> (String, bool) {
    let text = page.json().to_string();
    let marked = text.contains("possible repeat");
    (text, marked)
}

fn assert_pages(pages: &[Received], expected: &[(&str, bool)]) {
    let told: Vec<(String, bool)> = pages.iter().map(told).collect();
    let fits = told.len() == expected.len()
        && told.iter().zip(expected).all(|((text, marked), (start, mark))| text.contains(start) && marked == mark);
    assert!(fits, "{told:#?}");
}

/// Waits until the monitor of this process has judged everything, from now on.
fn judged(daemon: &Daemon) {
    let from = u64::try_from(now().as_seconds()).expect("after 1970") + 1;
    let deadline = Instant::now() + Duration::from_secs(30);
    while daemon.metric("relaywatch_monitor_caught_up_timestamp_seconds") < from {
        assert!(Instant::now() < deadline, "it does not judge:\n{}", daemon.log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_in_an_incident_is_followed_by_another() {
    let Some(mut cluster) = Cluster::start(3).await else { return };
    cluster.first_wave();
    cluster.recorded("incident/1/opened/1").await;
    cluster.one.kill();
    cluster.second_wave();
    leads(&cluster.two);
    cluster.recorded("incident/1/worse/2").await;
    // The one that was killed comes back and stands by.
    let again = start(&cluster.home, "monitor", "one");
    again.wait_for("this one stands by");
    assert!(again.get("/readyz").text().contains("monitors: standby"));
    judged(&cluster.two);
    assert_pages(&cluster.sink.received(), &[(OPENED, false), (WORSE, false)]);
    cluster.one_open_incident().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_stands_by_and_leads_again_with_what_the_store_says() {
    let Some(mut cluster) = Cluster::start(3).await else { return };
    cluster.first_wave();
    cluster.recorded("incident/1/opened/1").await;
    cluster.one.signal("STOP");
    cluster.second_wave();
    leads(&cluster.two);
    cluster.recorded("incident/1/worse/2").await;
    cluster.one.signal("CONT");
    cluster.one.wait_for("no longer leads the monitors");
    cluster.one.wait_for_metric("relaywatch_leader", 0);
    // What it had in memory is two reigns old: it must know of the page that the other one has sent.
    cluster.two.kill();
    leads(&cluster.one);
    cluster.post(50_000, 10, 0);
    judged(&cluster.one);
    judged(&cluster.one);
    assert_pages(&cluster.sink.received(), &[(OPENED, false), (WORSE, false)]);
    cluster.one_open_incident().await;
    assert!(!cluster.one.log().contains("\"ERROR\""), "{}", cluster.one.log());
}

/// The leader is stopped or killed after its page has reached Slack and before the answer has reached it.
async fn in_the_middle_of_a_send(signal: &str) {
    let Some(cluster) = Cluster::start(3).await else { return };
    cluster.sink.then([Answer::Hang]);
    cluster.first_wave();
    cluster.sink.wait(1).await;
    cluster.one.signal(signal);
    leads(&cluster.two);
    let pages = cluster.sink.wait(2).await;
    cluster.recorded("incident/1/opened/1").await;
    assert!(told(&pages[1]).0.contains("incident/1/opened/1"), "a repeat names its key: {:?}", told(&pages[1]));
    if signal == "STOP" {
        cluster.one.signal("CONT");
        cluster.one.wait_for("no longer leads the monitors");
        cluster.one.wait_for_metric("relaywatch_leader", 0);
    }
    cluster.second_wave();
    cluster.recorded("incident/1/worse/2").await;
    judged(&cluster.two);
    assert_pages(&cluster.sink.received(), &[(OPENED, false), (OPENED, true), (WORSE, false)]);
    cluster.one_open_incident().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_while_it_sent_does_not_send_again() {
    in_the_middle_of_a_send("STOP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_sender_was_killed_comes_again_marked() {
    in_the_middle_of_a_send("KILL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_end_hands_over_at_once() {
    // Far longer than this test waits for anything: only a lead that is given up can be taken.
    let Some(mut cluster) = Cluster::start(300).await else { return };
    cluster.first_wave();
    cluster.recorded("incident/1/opened/1").await;
    cluster.one.signal("TERM");
    assert!(cluster.one.ended().success(), "{}", cluster.one.log());
    leads(&cluster.two);
    cluster.second_wave();
    cluster.recorded("incident/1/worse/2").await;
    assert_pages(&cluster.sink.received(), &[(OPENED, false), (WORSE, false)]);
    cluster.one_open_incident().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_shows_what_it_is() {
    let Some(cluster) = Cluster::start(15).await else { return };
    let ready = cluster.ingest.get("/readyz");
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\nrole: ingest\nmonitors: none\n"));
    let ready = cluster.two.get("/readyz");
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\nrole: monitor\nmonitors: standby\n"));
    assert_eq!(cluster.ingest.metric("relaywatch_leader"), 0);
    assert!(cluster.two.get("/metrics").text().contains("role=\"monitor\""));
    assert_eq!(cluster.one.public.port(), 0, "a monitor has no public listener");
    assert!(cluster.one.get("/").text().contains("takes no reports in"));

    // Another whole daemon takes part: it takes reports in, and stands by.
    let all = start(&cluster.home, "all", "all");
    all.wait_for("this one stands by");
    assert_eq!(all.get("/readyz").text(), "ready\nrole: all\nmonitors: standby\n");
    assert_ne!(all.public.port(), 0);

    // A process with other keys must not touch the store, and leaves no key file that looks right.
    let mut command = cluster.home.command();
    command.args(["--role", "ingest"]).env("RELAYWATCH__PRIVACY__KEY_FILE", cluster.home.path("new/relaywatch.key"));
    let mut stranger = Daemon::launch(command);
    assert_eq!(stranger.ended().code(), Some(1));
    stranger.wait_for("all processes of one store need the same keys");
    assert!(!cluster.home.path("new/relaywatch.key").exists());
    assert!(!stranger.log().contains("made a new key file"), "{}", stranger.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_with_other_settings_than_incidents_name_says_so() {
    let Some(home) = Home::new(Engine::Postgres).await else { return };
    configure(&home, 15, "http://127.0.0.1:9/slack");
    let _ingest = start(&home, "ingest", "ingest");
    let mut command = home.command();
    command.args(["--role", "monitor"]).env("STATE_DIRECTORY", home.path("one"));
    command.env("RELAYWATCH__DETECT__MAX_STREAMS", "4321");
    let monitor = Daemon::start(command);
    let said = monitor.wait_for("judges by other [detect] settings");
    assert!(said.contains("same configuration"), "{said}");
    // One that agrees says nothing by the time that it has judged.
    monitor.stop();
    let other = start(&home, "monitor", "two");
    leads(&other);
    judged(&other);
    assert!(!other.log().contains("judges by other"), "{}", other.log());
}

/// A command whose host has no daemon folds nothing beside the leader, and folds itself where nobody leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuild_works_beside_a_leader_elsewhere_and_alone() {
    let Some(mut cluster) = Cluster::start(3).await else { return };
    cluster.first_wave();
    cluster.recorded("incident/1/opened/1").await;
    let rebuild = || {
        let mut command = program(cluster.home.folder.path());
        command.arg("rebuild").arg("--config").arg(cluster.home.path("relaywatch.toml"));
        command.env("STATE_DIRECTORY", cluster.home.path("elsewhere")).stdout(Stdio::piped());
        let said = command.output().expect("it runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    assert_eq!(rebuild(), "ledger and cells are made again from 200 outcomes\n");
    cluster.one.kill();
    cluster.two.kill();
    assert_eq!(rebuild(), "ledger and cells are made again from 200 outcomes\n");
    let again = start(&cluster.home, "monitor", "one");
    leads(&again);
    judged(&again);
    assert_pages(&cluster.sink.received(), &[(OPENED, false)]);
    cluster.one_open_incident().await;
}

#[test]
fn sqlite_refuses_a_role_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    for role in ["ingest", "monitor"] {
        let mut command = program(folder.path());
        command.arg("serve").env("RELAYWATCH_ROLE", role);
        let mut daemon = Daemon::launch(command);
        assert_eq!(daemon.ended().code(), Some(1));
        let said = daemon.wait_for("needs PostgreSQL");
        assert!(said.contains(&format!("--role {role}")) && said.contains("[store] url"), "{said}");
        assert!(!folder.path().join("state").exists(), "nothing was made");
    }
}
