//! One installation for the tests of commands: its place, its daemon, what a command has said.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use relaywatch::{clock::Clock, model::Timestamp};
use serde_json::{Value, json};

use crate::support::{Engine, fresh_url};

pub(super) const TOKEN: &str = "a-token-of-the-tests";
pub(super) const TEAM: &str = "A1B2C3D4E5";
/// How long anything may take before a test gives up.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// One installation: a state directory, a configuration, a store.
pub(super) struct Place {
    pub(super) folder: tempfile::TempDir,
    pub(super) url: String,
    pub(super) start: Timestamp,
}

/// What a command has said.
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {} {}", self.out, self.err))
    }

    pub(super) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }
}

impl Place {
    pub(super) async fn new(engine: Engine) -> Option<Self> {
        let Some((url, folder)) = fresh_url(engine).await else {
            println!("skipped: no PostgreSQL (RELAYWATCH_TEST_POSTGRES is not set)");
            return None;
        };
        let config = format!(
            "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\n[store]\nurl = \"{url}\"\n\
             [[team]]\nid = \"{TEAM}\"\n[[team.app]]\nclient_id = \"com.example.app\"\n\
             [feeds.braze]\ntoken = \"{TOKEN}\"\n"
        );
        std::fs::write(folder.path().join("relaywatch.toml"), config).expect("configuration");
        // An hour ago, in whole seconds as Braze writes them: nothing has outlived its retention.
        let start = Timestamp::from_seconds(Clock::System.now().as_seconds() - 3_600);
        Some(Self { folder, url, start })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relaywatch"));
        command
            .args(arguments)
            .env("STATE_DIRECTORY", self.folder.path())
            .env("RELAYWATCH_CONFIG", self.path("relaywatch.toml"))
            .env("USER", "tester")
            .env_remove("SUDO_USER")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    pub(super) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("the command starts");
        // A command that reads nothing may be gone already.
        drop(child.stdin.take().expect("its input").write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("the command ends");
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Runs a command until what it prints satisfies `ready`: the monitor and PostgreSQL's snapshots take their time.
    pub(super) fn until(&self, arguments: &[&str], input: &str, ready: impl Fn(&Said) -> bool) -> Said {
        let begin = std::time::Instant::now();
        loop {
            let said = self.run_with(arguments, input);
            if ready(&said) {
                return said;
            }
            assert!(begin.elapsed() < PATIENCE, "not ready: {}\n{}", said.out, said.err);
        }
    }

    /// Times and ids of this run by names.
    pub(super) fn redacted(&self, text: &str) -> String {
        let mut text = text.replace(&self.folder.path().display().to_string(), "{state}");
        for seconds in 0..120 {
            let at = self.start.plus_millis(seconds * 1_000);
            text = text.replace(&at.to_string(), &format!("{{start+{seconds}s}}"));
            let next_day = at.plus_millis(86_400_000);
            text = text.replace(&next_day.to_string(), &format!("{{start+1d+{seconds}s}}"));
        }
        let ids = regex::Regex::new(r"\b[0-9a-f]{16}\b").expect("a pattern");
        ids.replace_all(&text, "{id}").into_owned()
    }

    pub(super) fn event(&self, kind: &str, number: usize, seconds: i64, extra: &Value) -> Value {
        let mut event = json!({
            "event_type": format!("users.messages.email.{kind}"), "id": format!("{kind}-{number}"),
            "time": self.start.as_seconds() + seconds, "dispatch_id": format!("dispatch-{number}"),
            "email_address": address(number), "from_domain": "news.example.com", "campaign_name": "Spring",
        });
        for (key, value) in extra.as_object().expect("an object") {
            event[key] = value.clone();
        }
        event
    }

    /// Three messages: one arrives, one is refused, one is only sent.
    pub(super) fn traffic(&self) -> Vec<Value> {
        let none = json!({});
        let reply = json!({ "bounce_reason": format!("550 5.1.1 <{}>: user does not exist", address(2)) });
        vec![
            self.event("Send", 1, 0, &none),
            self.event("Delivery", 1, 2, &none),
            self.event("Send", 2, 10, &none),
            self.event("Bounce", 2, 13, &reply),
            self.event("Send", 3, 20, &none),
        ]
    }
}

pub(super) fn address(number: usize) -> String {
    format!("qx7user{number}@privaterelay.appleid.com")
}

/// A running `serve`.
pub(super) struct Daemon {
    child: Child,
    pub(super) public: String,
    pub(super) log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(super) fn start(place: &Place) -> Self {
        let mut child = place.command(&["serve", "--log", "trace"]).spawn().expect("the daemon starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut public = None;
        while public.is_none() {
            let Some(Ok(line)) = lines.next() else { panic!("no start: {}", read(&log)) };
            push(&log, &line);
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            public = entry
                .pointer("/public")
                .or_else(|| entry.pointer("/fields/public"))
                .and_then(Value::as_str)
                .map(ToOwned::to_owned);
        }
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                push(&kept, &line);
            }
        });
        Self { child, public: public.expect("its address"), log, reader: Some(reader) }
    }

    pub(super) async fn post(&self, events: &[Value]) {
        let client = relaywatch::http_client::build(PATIENCE).expect("a client");
        let answer = client
            .post(format!("http://{}/in/braze", self.public))
            .bearer_auth(TOKEN)
            .json(&json!({ "events": events }))
            .send()
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Ends it as systemd does, and gives its log.
    pub(super) fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let status = self.child.wait().expect("it ends");
        self.reader.take().expect("its log").join().expect("the log");
        let log = read(&self.log);
        assert!(status.success(), "{log}");
        log
    }

    /// Ends it as a power cut does.
    pub(super) fn crash(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone after a stop; after a failed test it must not stay.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(super) fn read(log: &Mutex<String>) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub(super) fn push(log: &Mutex<String>, line: &str) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.push_str(line);
    log.push('\n');
}

pub(super) fn key_file(place: &Place) -> Value {
    serde_json::from_str(&std::fs::read_to_string(place.path("relaywatch.key")).expect("key file")).expect("JSON")
}
