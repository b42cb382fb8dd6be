//! The real program in a process of its own, with a folder of its own, spoken to over the wire.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use relaywatch::{
    ingest::http::{apple, sendgrid, sns},
    model::Timestamp,
    privacy::Keyring,
    store::{Access, Store, StoreOptions},
};
use serde_json::Value;

use super::{Engine, fresh_url, webhooks};

/// How long anything may take before the test has failed.
const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:ses-events";
pub(crate) const SPARKPOST_TOKEN: &str = "sparkpost-secret-5c1f";
pub(crate) const BRAZE_TOKEN: &str = "braze-secret-77aa";
pub(crate) const MAILGUN_KEY: &str = "mailgun-secret-03bd";
pub(crate) const POSTMARK_TOKEN: &str = "postmark-secret-a81e";
pub(crate) const GENERIC_KEY: &str = "generic-secret-51c0";
pub(crate) const CUSTOMERIO_KEY: &str = "customerio-secret-77d1";
pub(crate) const KLAVIYO_KEY: &str = "klaviyo-secret-0b9e";
pub(crate) const ITERABLE_TOKEN: &str = "iterable-secret-4f2a";
pub(crate) const SOCKETLABS_KEY: &str = "socketlabs-secret-c3d4";
pub(crate) const SOCKETLABS_VALIDATION: &str = "socketlabs-validation-88e1";
pub(crate) const ELASTICEMAIL_TOKEN: &str = "elasticemail-secret-2b7f";
pub(crate) const AZURE_TOKEN: &str = "azure-secret-6a90-x";
pub(crate) const SCALEWAY_TOPIC: &str = "arn:scw:sns:fr-par:project-8c8bfa06-0000-4000-8000-000000000001:mail-events";
pub(crate) const EVENTBRIDGE_KEY: &str = "eventbridge-secret-19ab";
pub(crate) const FIREHOSE_KEY: &str = "firehose-secret-e0d7";
pub(crate) const BACKEND_TOKEN: &str = "backend-secret-9e42";

/// Now, by the clock that the daemon goes by as well.
pub(crate) fn now() -> Timestamp {
    relaywatch::clock::Clock::System.now()
}

/// A folder with everything that a daemon needs; outlives each of its daemons.
pub(crate) struct Home {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) url: String,
    pub(crate) sns: sns::signing::Signer,
    pub(crate) apple: apple::signing::Signer,
    pub(crate) sendgrid: sendgrid::signing::Signer,
}

impl Home {
    /// A home with a fresh store; `None` where the engine is not there (named as skipped).
    pub(crate) async fn new(engine: Engine) -> Option<Self> {
        let Some((url, folder)) = fresh_url(engine).await else {
            println!("skipped: no PostgreSQL (RELAYWATCH_TEST_POSTGRES is not set)");
            return None;
        };
        let sns = sns::signing::Signer::generate().expect("a key");
        let (from, until) = (now().plus_millis(-3_600_000), now().plus_millis(86_400_000));
        let certificate = sns.certificate("sns.amazonaws.com", from, until).expect("a certificate");
        std::fs::write(folder.path().join("sns.pem"), certificate).expect("written");
        let apple = apple::signing::Signer::generate("K1").expect("a key");
        std::fs::write(folder.path().join("apple-keys.json"), apple.jwks()).expect("written");
        let sendgrid = sendgrid::signing::Signer::generate().expect("a key");
        std::fs::write(folder.path().join("sendgrid-key"), sendgrid.verification_key().expect("a key"))
            .expect("written");
        let home = Self { folder, engine, url, sns, apple, sendgrid };
        home.configure(&Self::feeds());
        Some(home)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One feed of every kind, and Apple's in both modes.
    pub(crate) fn feeds() -> String {
        format!(
            r#"
[[team]]
id = "A1B2C3D4E5"
kind = "organization"
[[team.app]]
client_id = "com.example.app"

[[feeds.apple]]
name = "direct"
jwks_file = "apple-keys.json"
[[feeds.apple]]
name = "backend"
mode = "forwarded"
jwks_file = "apple-keys.json"
secret = "{BACKEND_TOKEN}"
[feeds.ses]
topics = ["{TOPIC}"]
signing_certificates = ["sns.pem"]
[feeds.sparkpost]
token = "{SPARKPOST_TOKEN}"
[feeds.braze]
token = "{BRAZE_TOKEN}"
[feeds.mailgun]
signing_key = "{MAILGUN_KEY}"
[feeds.sendgrid]
verification_key_file = "sendgrid-key"
[feeds.postmark]
header = "X-Relaywatch-Token"
token = "{POSTMARK_TOKEN}"
[feeds.generic]
signing_key = "{GENERIC_KEY}"
[feeds.customerio]
signing_key = "{CUSTOMERIO_KEY}"
[feeds.klaviyo]
secret_key = "{KLAVIYO_KEY}"
[feeds.iterable]
header = "X-Relaywatch-Token"
token = "{ITERABLE_TOKEN}"
[feeds.socketlabs]
secret_key = "{SOCKETLABS_KEY}"
validation_key = "{SOCKETLABS_VALIDATION}"
[feeds.elasticemail]
token = "{ELASTICEMAIL_TOKEN}"
[feeds.azure]
token = "{AZURE_TOKEN}"
[feeds.scaleway]
topics = ["{SCALEWAY_TOPIC}"]
signing_certificates = ["sns.pem"]
[feeds.ses_eventbridge]
header = "X-Relaywatch-Token"
token = "{EVENTBRIDGE_KEY}"
[feeds.ses_firehose]
access_key = "{FIREHOSE_KEY}"
{}"#,
            webhooks::tables()
        )
    }

    /// Writes the configuration: listeners on free ports, the store, and `rest`.
    pub(crate) fn configure(&self, rest: &str) {
        let text = format!(
            "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n{rest}",
            self.url
        );
        std::fs::write(self.path("relaywatch.toml"), text).expect("written");
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = program(self.folder.path());
        command.arg("serve").arg("--config").arg(self.path("relaywatch.toml"));
        command
    }

    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(self.command())
    }

    /// The store beside the daemon, for reading.
    pub(crate) async fn store(&self) -> Store {
        let options = StoreOptions { connections: 2, ..StoreOptions::new(self.url.clone(), Access::Read) };
        Store::open(&options, self.keyring()).await.expect("the store opens beside the daemon")
    }

    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        Arc::new(Keyring::load(&self.path("state/relaywatch.key")).expect("the daemon's keys"))
    }

    /// The headers of a batch that SendGrid signs at `at`.
    pub(crate) fn sendgrid_headers(&self, at: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
        let at = at.as_seconds().to_string();
        let signature = self.sendgrid.signature(&at, body).expect("signed");
        vec![(sendgrid::TIMESTAMP_HEADER, at), (sendgrid::SIGNATURE_HEADER, signature)]
    }

    /// An SNS notification of the configured topic, signed as SNS does now.
    pub(crate) fn notification(&self, message: &str) -> String {
        let draft = sns::signing::Draft {
            kind: sns::MessageType::Notification,
            topic: TOPIC,
            message_id: &sns::signing::message_id(rand::random()),
            message,
            subject: None,
            at: now(),
            version: sns::SignatureVersion::V2,
        };
        self.sns.envelope(&draft).expect("signed")
    }
}

/// The program with an environment in which only the test's own settings stand.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relaywatch"));
    command
        .env_clear()
        .env("HOME", folder)
        .env("STATE_DIRECTORY", folder.join("state"))
        // The fixtures are of 2025, and the program goes by the machine's clock.
        .env("RELAYWATCH__STORE__RETENTION_DELIVERIES_DAYS", "3650")
        .env("RELAYWATCH__STORE__RETENTION_REFUSALS_DAYS", "3650")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// What a daemon has written to stderr so far.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

/// A running daemon; killed when the test drops it.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Log>,
    pub(crate) public: SocketAddr,
    pub(crate) private: SocketAddr,
}

impl Daemon {
    /// Starts a program and waits until it says that it is ready.
    pub(crate) fn start(command: Command) -> Self {
        let mut daemon = Self::launch(command);
        let ready = daemon.wait_for("relaywatch is ready");
        let ready: Value = serde_json::from_str(&ready).expect("logs are JSON where nobody sits at a terminal");
        let address = |name: &str| ready[name].as_str().expect("an address").parse().expect("an address");
        daemon.private = address("private");
        if ready.get("public").is_some() {
            daemon.public = address("public");
        }
        daemon
    }

    /// Starts a program that may never be ready.
    pub(crate) fn launch(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("its stderr");
        let log = Arc::new(Log::default());
        let pen = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                pen.lines.lock().expect("the log").0.push(line);
                pen.more.notify_all();
            }
            pen.lines.lock().expect("the log").1 = true;
            pen.more.notify_all();
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { child, log, public: nowhere, private: nowhere }
    }

    /// The first line of the log that holds `text`, once it comes.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_nth(text, 1)
    }

    /// The nth line of the log that holds `text`, once it comes.
    pub(crate) fn wait_for_nth(&self, text: &str, nth: usize) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut log = self.log.lines.lock().expect("the log");
        loop {
            if let Some(line) = log.0.iter().filter(|line| line.contains(text)).nth(nth - 1) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!log.1 && !left.is_zero(), "{text:?} was not logged:\n{}", log.0.join("\n"));
            log = self.log.more.wait_timeout(log, left).expect("the log").0;
        }
    }

    /// Everything that was logged until now.
    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().expect("the log").0.join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Waits for the end, which must come by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(mut self) -> String {
        self.signal("TERM");
        let status = self.ended();
        let log = self.log();
        assert!(status.success(), "{status}:\n{log}");
        log
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut client = Client::new(self.public).expect("connected");
        client.request("POST", path, headers, body).expect("an answer")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        Client::new(self.private).expect("connected").request("GET", path, headers, b"").expect("an answer")
    }

    /// The value of one series of `/metrics`; 0 where it is not there yet.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let text = self.get("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// Waits until a series has this value.
    pub(crate) fn wait_for_metric(&self, series: &str, value: u64) {
        let deadline = Instant::now() + LIMIT;
        while self.metric(series) != value {
            assert!(Instant::now() < deadline, "{series} is {} instead of {value}", self.metric(series));
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One connection of HTTP/1.1, kept alive.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        let read = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, read })
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut out = head(method, path, headers, body.len()).into_bytes();
        out.extend_from_slice(body);
        self.stream.write_all(&out)?;
        self.answer()
    }

    /// Reads one answer. An answer that breaks off is an error.
    pub(crate) fn answer(&mut self) -> std::io::Result<Answer> {
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.read.read_line(&mut head)? == 0 {
                return Err(broken());
            }
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        answer.body.resize(length, 0);
        self.read.read_exact(&mut answer.body)?;
        Ok(answer)
    }
}

/// The head of a request with a body of `length` bytes.
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut out = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        out.extend([name, ": ", value, "\r\n"]);
    }
    out.push_str("\r\n");
    out
}
