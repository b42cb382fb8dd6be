//! Start, readiness, reload, drain.

use std::{
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
};

use crate::support::{
    Engine,
    daemon::{Client, Daemon, Home, SPARKPOST_TOKEN, head, now, program},
    payload,
};

const NOTICE: &str = "no feed is connected yet";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

async fn home() -> Home {
    Home::new(Engine::Sqlite).await.expect("SQLite is always there")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A SparkPost batch with one event of now.
fn batch(number: u64) -> String {
    payload::sparkpost_batch([payload::sparkpost(number, now().as_millis(), false)])
}

#[test]
fn it_starts_without_any_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(folder.path());
    // The documented ports may be taken on this machine; nothing else is configured.
    command.env("RELAYWATCH__LISTEN__PUBLIC", "127.0.0.1:0").env("RELAYWATCH__LISTEN__PRIVATE", "127.0.0.1:0");
    command.arg("serve");
    let daemon = Daemon::start(command);
    daemon.wait_for(NOTICE);
    let state = folder.path().join("state");
    daemon.wait_for(&format!("made the directory {}", state.display()));
    daemon.wait_for(&format!("made a new store at {}", state.join("relaywatch.db").display()));
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("relaywatch.key")), 0o600);
    assert!(state.join("relaywatch.db").exists());

    assert_eq!(daemon.get("/healthz").status, 200);
    assert_eq!(daemon.get("/readyz").status, 200);
    assert!(daemon.get("/metrics").text().contains("relaywatch_build_info{engine=\"sqlite\""));
    assert!(daemon.get("/").text().contains("No feed is connected yet"));
    assert_eq!(daemon.get("/in/ses").status, 404, "feeds are not on the private listener");

    let mut public = Client::new(daemon.public).expect("connected");
    for (method, path) in
        [("GET", "/"), ("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/in/ses")]
    {
        let answer = public.request(method, path, &[], b"").expect("an answer");
        assert_eq!(answer.status, 404, "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("a problem");
        assert_eq!(problem["status"], 404);
    }
    assert_eq!(public.request("GET", "/in/ses", &[], b"").expect("an answer").status, 404);

    // A file beside it is not read: the first line says how it would be, and so does a reload.
    std::fs::write(folder.path().join("relaywatch.toml"), "[feeds.braze]\ntoken = \"0123456789abcdef\"\n")
        .expect("file");
    let hint = daemon.wait_for("no feed is connected yet");
    assert!(hint.contains("relaywatch --config relaywatch.toml serve"), "{hint}");
    daemon.signal("HUP");
    let reloaded = daemon.wait_for("\"reloaded\"");
    assert!(reloaded.contains("no file: restart with --config FILE") && reloaded.contains("\"nothing\""), "{reloaded}");
    daemon.stop();
}

#[tokio::test]
async fn a_token_guards_the_private_listener_but_for_health() {
    let home = home().await;
    let token = "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\nprivate_token = \"private-secret-1\"\n\
                 previous_private_token = \"private-secret-0\"\n";
    std::fs::write(home.path("relaywatch.toml"), token).expect("written");
    let daemon = home.start();
    for path in ["/", "/metrics"] {
        let refused = daemon.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
        for wrong in ["Bearer private-secret-2", "Bearer ", "Basic private-secret-1", "private-secret-1"] {
            assert_eq!(daemon.get_with(path, &[("authorization", wrong)]).status, 401, "{path} {wrong}");
        }
        for right in ["Bearer private-secret-1", "bearer private-secret-0"] {
            assert_eq!(daemon.get_with(path, &[("authorization", right)]).status, 200, "{path} {right}");
        }
    }
    assert_eq!(daemon.get("/healthz").status, 200);
    assert_eq!(daemon.get("/readyz").status, 200);
    let log = daemon.stop();
    assert!(!log.contains("private-secret"), "{log}");
}

/// A request whose body is still to come when the signal arrives.
fn finish_what_is_begun(home: &Home, signal: &str, number: u64) {
    let mut daemon = home.start();
    let mut client = Client::new(daemon.public).expect("connected");
    let body = batch(number);
    let (first, rest) = body.split_at(100);
    let authorization = bearer(SPARKPOST_TOKEN);
    let head =
        head("POST", "/in/sparkpost", &[("authorization", &authorization), ("expect", "100-continue")], body.len());
    client.stream.write_all(head.as_bytes()).expect("sent");
    // The daemon asks for the body: now the request is in its hands.
    assert_eq!(client.answer().expect("an answer").status, 100);
    client.stream.write_all(first.as_bytes()).expect("sent");
    daemon.signal(signal);
    daemon.wait_for("draining");
    while Client::new(daemon.public).is_ok() {
        std::thread::yield_now();
    }
    client.stream.write_all(rest.as_bytes()).expect("sent");
    assert_eq!(client.answer().expect("an answer").status, 200, "what is begun is finished");
    let status = daemon.ended();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_finish_what_is_begun() {
    let home = home().await;
    finish_what_is_begun(&home, "TERM", 1);
    finish_what_is_begun(&home, "INT", 2);
    let store = home.store().await;
    let events = store.events_after(relaywatch::store::Position::START, 10).await.expect("the journal");
    assert_eq!(events.len(), 2, "each was acknowledged after its commit");
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let home = home().await;
    for signal in ["TERM", "INT"] {
        let mut daemon = home.start();
        let mut client = Client::new(daemon.public).expect("connected");
        let authorization = bearer(SPARKPOST_TOKEN);
        let headers = [("authorization", authorization.as_str()), ("expect", "100-continue")];
        client.stream.write_all(head("POST", "/in/sparkpost", &headers, 1_000).as_bytes()).expect("sent");
        assert_eq!(client.answer().expect("an answer").status, 100);
        daemon.signal(signal);
        daemon.wait_for("draining");
        let began = std::time::Instant::now();
        daemon.signal(signal);
        daemon.wait_for("a second signal: ending at once");
        daemon.ended();
        // The body's own time-out is 30 s, the drain's 60 s.
        assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_reload_takes_up_what_is_right_and_nothing_else() {
    let home = home().await;
    home.configure("");
    let daemon = home.start();
    let authorization = bearer(SPARKPOST_TOKEN);
    let post = || daemon.post("/in/sparkpost", &[("authorization", &authorization)], batch(1).as_bytes()).status;
    assert_eq!(post(), 404);

    home.configure(&format!("[feeds.sparkpost]\ntoken = \"{SPARKPOST_TOKEN}\"\n"));
    daemon.signal("HUP");
    let reloaded = daemon.wait_for("\"reloaded\"");
    assert!(reloaded.contains("\"feeds + sparkpost\"") && reloaded.contains("/relaywatch.toml\""), "{reloaded}");
    assert_eq!(post(), 200);

    // Line 7 is wrong; the feed, which is gone from the file, stays.
    home.configure("[limits]\nbody_bites = 7\n");
    daemon.signal("HUP");
    let refused = daemon.wait_for("reload refused");
    assert!(refused.contains("1 error in the configuration"), "{refused}");
    let mistake: serde_json::Value = serde_json::from_str(&daemon.wait_for("body_bites")).expect("JSON");
    assert_eq!((&mistake["level"], &mistake["setting"]), (&"ERROR".into(), &"limits.body_bites".into()), "{mistake}");
    assert!(mistake["place"].as_str().is_some_and(|place| place.ends_with("relaywatch.toml:7")), "{mistake}");
    assert_eq!(mistake["help"], "did you mean `body_bytes`?");
    assert_eq!(post(), 200, "the old settings stay in force");

    let text = format!(
        "[listen]\npublic = \"127.0.0.1:1\"\nprivate = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n[feeds.sparkpost]\n\
         token = \"another-secret\"\n",
        home.url
    );
    std::fs::write(home.path("relaywatch.toml"), text).expect("written");
    daemon.signal("HUP");
    daemon.wait_for("[listen] has changed and needs a restart");
    daemon.wait_for_nth("\"reloaded\"", 2);
    assert_eq!(post(), 401, "the rest is taken up");
    daemon.stop();
}

#[tokio::test]
async fn the_service_manager_hears_of_everything() {
    let home = home().await;
    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(std::time::Duration::from_mins(1))).expect("a time-out");
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut daemon = Daemon::start(command);
    let hear_until = |wanted: &str| {
        let mut heard = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let length = socket.recv(&mut buffer).expect("a message");
            let message = String::from_utf8_lossy(buffer.get(..length).expect("its bytes")).into_owned();
            let found = message.lines().any(|line| line == wanted);
            heard.push(message);
            if found {
                return heard;
            }
        }
    };
    let started = hear_until("READY=1");
    assert_eq!(started.len(), 1, "it is ready once, and says nothing before: {started:?}");
    hear_until("WATCHDOG=1");
    daemon.signal("HUP");
    let reloading = hear_until("RELOADING=1");
    assert!(reloading.last().is_some_and(|message| message.contains("MONOTONIC_USEC=")), "{reloading:?}");
    hear_until("READY=1");
    daemon.signal("TERM");
    hear_until("STOPPING=1");
    assert!(daemon.ended().success());
}

#[tokio::test]
async fn a_second_daemon_is_refused_on_the_same_file() {
    let home = home().await;
    let daemon = home.start();
    let mut second = Daemon::launch(home.command());
    assert_eq!(second.ended().code(), Some(1));
    let said = second.wait_for("relaywatch: ");
    assert!(said.contains("is open for writing in another process") && said.contains("test.db"), "{said}");
    assert_eq!(daemon.get("/readyz").status, 200, "the first one goes on");
    daemon.stop();
}

#[tokio::test]
async fn a_taken_address_is_named_with_its_setting() {
    let home = home().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let mut command = home.command();
    command.env("RELAYWATCH__LISTEN__PUBLIC", address.to_string());
    let mut daemon = Daemon::launch(command);
    assert_eq!(daemon.ended().code(), Some(1));
    let said = daemon.wait_for("can't listen on");
    assert!(said.contains(&address.to_string()) && said.contains("[listen] public"), "{said}");
    assert!(!daemon.log().contains("key file"), "{}", daemon.log());
    assert!(!home.path("state/relaywatch.key").exists(), "no keys are made for nothing");
}

#[tokio::test]
async fn a_store_whose_keys_are_gone_gets_no_new_ones() {
    let home = home().await;
    let daemon = home.start();
    daemon.wait_for("made a new key file");
    daemon.stop();
    let (key, away) = (home.path("state/relaywatch.key"), home.path("away.key"));
    std::fs::rename(&key, &away).expect("moved");
    let mut without = Daemon::launch(home.command());
    assert_eq!(without.ended().code(), Some(1));
    without.wait_for("there is no key file");
    assert!(!without.log().contains("made a new key file") && !key.exists(), "{}", without.log());
    std::fs::rename(&away, &key).expect("moved");
    assert!(!home.start().stop().contains("made a new key file"));
}

#[tokio::test]
async fn a_mistake_in_the_file_stops_the_start_with_its_line() {
    let home = home().await;
    home.configure("[limits]\nbody_bites = 7\n");
    let mut daemon = Daemon::launch(home.command());
    assert_eq!(daemon.ended().code(), Some(1));
    daemon.wait_for("unknown key `body_bites`");
    daemon.wait_for("relaywatch.toml:7");
    daemon.wait_for("body_bytes");
}
