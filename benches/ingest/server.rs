//! The servers as processes of their own: the daemon, and one that only reads the body and answers.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::Request, http::StatusCode, routing::any};
use relaywatch::{
    ingest::http::{body, sns::signing::Signer},
    privacy::Keyring,
    store::{Access, Store, StoreOptions},
    web::server,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::Engine;

pub(crate) const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:ses-events";
pub(crate) const SPARKPOST_TOKEN: &str = "benchmark";
/// The kernel reports processor time in hundredths of a second to programs (`USER_HZ`).
const TICKS: f64 = 100.0;

/// A folder with what a daemon needs.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    url: String,
    pub(crate) signer: Arc<Signer>,
}

impl Home {
    /// A home with a fresh store; `None` where there is no PostgreSQL. Without an engine nothing can run in it.
    pub(crate) async fn new(engine: Option<Engine>) -> Option<Self> {
        let signer = Arc::new(Signer::generate().expect("a key"));
        let home = Self { folder: tempfile::tempdir().expect("a folder"), url: String::new(), signer };
        match engine {
            Some(engine) => home.with_store(engine).await,
            None => Some(home),
        }
    }

    /// Another home with the same signer and a fresh store.
    pub(crate) async fn with_store(&self, engine: Engine) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let url = match engine {
            Engine::Sqlite => format!("sqlite://{}/bench.db", folder.path().display()),
            Engine::Postgres => {
                let server = std::env::var("RELAYWATCH_TEST_POSTGRES").ok()?;
                let name = format!("bench_{:016x}", rand::random::<u64>());
                let mut admin = PgConnection::connect(&server).await.expect("PostgreSQL");
                let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
                sqlx::query(create).execute(&mut admin).await.expect("a database");
                let mut url = url::Url::parse(&server).expect("a URL");
                url.set_path(&name);
                url.to_string()
            }
        };
        let now = relaywatch::clock::Clock::System.now();
        let (from, until) = (now.plus_millis(-3_600_000), now.plus_millis(86_400_000));
        let certificate = self.signer.certificate("sns.amazonaws.com", from, until).expect("a certificate");
        std::fs::write(folder.path().join("sns.pem"), certificate).expect("written");
        let text = format!(
            "[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\n[store]\nurl = \"{url}\"\n\
             [feeds.ses]\ntopics = [\"{TOPIC}\"]\nsigning_certificates = [\"sns.pem\"]\n\
             [feeds.sparkpost]\ntoken = \"{SPARKPOST_TOKEN}\"\n"
        );
        std::fs::write(folder.path().join("relaywatch.toml"), text).expect("written");
        Some(Self { folder, url, signer: Arc::clone(&self.signer) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Bytes on disk by table, with all indexes.
    pub(crate) async fn bytes(&self) -> Vec<(String, i64)> {
        let keyring = Keyring::load(&self.path("relaywatch.key")).expect("the daemon's keys");
        let options = StoreOptions { connections: 1, ..StoreOptions::new(self.url.clone(), Access::Read) };
        let store = Store::open(&options, Arc::new(keyring)).await.expect("the store opens beside the daemon");
        let bytes = store.bytes_by_table().await.expect("sizes");
        store.close().await;
        bytes
    }
}

/// What a process has used.
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_mib: f64,
}

/// A server; killed when it's dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) public: SocketAddr,
    private: Option<SocketAddr>,
}

impl Process {
    /// The daemon with everything on.
    pub(crate) fn daemon(home: &Home) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relaywatch"));
        command
            .args(["serve", "--config"])
            .arg(home.path("relaywatch.toml"))
            .env("STATE_DIRECTORY", home.folder.path());
        Self::start(command)
    }

    /// This program as the server that does nothing.
    pub(crate) fn bare() -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("--bare");
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its stderr")).lines().map_while(Result::ok);
        let ready = lines.find(|line| line.contains("\"public\"")).expect("it becomes ready");
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        let address = |name: &str| ready.get(name)?.as_str()?.parse().ok();
        let (public, private) = (address("public").expect("an address"), address("private"));
        // What it says later is read, so that it never waits for us, and shown where it's trouble.
        std::thread::spawn(move || {
            for line in lines.filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\"")) {
                eprintln!("{line}");
            }
        });
        Self { child, public, private }
    }

    /// Processor time so far, and the most memory that was resident.
    pub(crate) fn usage(&self) -> Usage {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("procfs");
        let stat = read("stat");
        // proc(5): the fields after the name in brackets; user and system time are the 14th and 15th of all.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        let ticks: f64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().expect("ticks")).sum();
        let status = read("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let kib: f64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        Usage { cpu_seconds: ticks / TICKS, peak_mib: kib / 1_024.0 }
    }

    async fn metric(&self, name: &str) -> u64 {
        let url = format!("http://{}/metrics", self.private.expect("a daemon"));
        let text = reqwest::get(url).await.expect("metrics").text().await.expect("metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a count"))
    }

    /// Outcomes in the journal that the monitor has not folded.
    pub(crate) async fn lag(&self) -> u64 {
        let added = self.metric("relaywatch_journal_rows_added_total").await;
        added - self.metric("relaywatch_monitor_folded_events_total").await.min(added)
    }

    /// Waits until the monitor has folded everything.
    pub(crate) async fn caught_up(&self) {
        while self.lag().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything that was acknowledged is in the journal, and nothing else.
    pub(crate) async fn assert_all_durable(&self, events: u64) {
        assert_eq!(self.metric("relaywatch_journal_rows_added_total").await, events);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The listener of the daemon with a handler that reads the body and answers.
pub(crate) async fn serve_bare() {
    let handler = |request: Request| async {
        let (parts, content) = request.into_parts();
        let budget = body::Budget::new(64 << 20);
        match body::read(&parts.headers, content, 10 << 20, Duration::from_secs(30), &budget).await {
            Ok(_) => StatusCode::OK,
            Err(rejection) => rejection.status,
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    eprintln!("{}", serde_json::json!({ "public": address }));
    let router = Router::new().fallback(any(handler));
    let limits = server::Limits::default();
    match server::serve(listener, router, limits, CancellationToken::new()).await {
        Ok(()) => {}
        Err(never) => match never {},
    }
}
