//! A real Postfix in an instance of its own: it meets refusals with Apple's texts, and its bounces come to the feed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::Arc,
};

use relaywatch::{
    model::{Cause, Destination, EventKind},
    store::Store,
};
use sqlx::{Connection, SqliteConnection};

use super::{Client, is_there, outcomes, run, start};
use crate::support::{Engine, daemon::Home};

const POSTFIX: &str = "/usr/sbin/postfix";

/// A server that refuses as Apple's do, by the recipient's local part.
struct Apple {
    address: SocketAddr,
}

impl Apple {
    fn start(texts: BTreeMap<String, String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let texts = Arc::new(texts);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let texts = Arc::clone(&texts);
                std::thread::spawn(move || Self::serve(stream, &texts));
            }
        });
        Self { address }
    }

    fn serve(mut stream: TcpStream, texts: &BTreeMap<String, String>) {
        let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok);
        let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).is_ok();
        if !say("220 smtp1.privaterelay.appleid.com ESMTP") {
            return;
        }
        let mut refusal_of_content = None;
        while let Some(line) = lines.next() {
            let answer = match line.split(' ').next().unwrap_or_default() {
                "RCPT" => {
                    let local = line.split(['<', '@']).nth(1).unwrap_or_default();
                    match texts.get(local) {
                        // As Apple does it, some refusals come at the end of the content only.
                        Some(text) if text.contains("[CS01]") => {
                            refusal_of_content = Some(text.clone());
                            "250 2.1.5 Ok".to_owned()
                        }
                        Some(text) => text.clone(),
                        None => "250 2.1.5 Ok".to_owned(),
                    }
                }
                "DATA" => {
                    if !say("354 go") || !lines.by_ref().any(|line| line == ".") {
                        return;
                    }
                    refusal_of_content.take().unwrap_or_else(|| "250 2.0.0 Ok".to_owned())
                }
                "QUIT" => return,
                _ => "250 2.1.0 Ok".to_owned(),
            };
            if !say(&answer) {
                return;
            }
        }
    }
}

/// An instance of Postfix in a folder of its own; stopped when the test drops it.
struct Postfix {
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Postfix {
    /// Starts one that brings relay mail to `apple` and bounces to `bounces` (a transport and its next hop).
    fn start(apple: SocketAddr, bounces: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        // Its daemons run as users of their own.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
        for name in ["queue", "data", "etc"] {
            fs::create_dir(path.join(name)).expect("a folder");
        }
        assert!(run(Command::new("chown").arg("postfix").arg(path.join("data"))).status.success());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let root = path.display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {root}/queue\ndata_directory = {root}/data\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\n\
             setgid_group = postdrop\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = mta.example.com\n\
             mydestination =\nmynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject\n\
             smtp_dns_support_level = disabled\nsmtpd_peername_lookup = no\nalias_maps =\nalias_database =\n\
             smtp_tls_security_level = may\nqueue_run_delay = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\n\
             maillog_file = {root}/log\nmaillog_file_prefixes = {root}\n\
             transport_maps = inline:{{ {{privaterelay.appleid.com = smtp:[127.0.0.1]:{}}}, \
             {{bounces.example.com = {bounces}}} }}\n",
            apple.port()
        );
        fs::write(path.join("etc/main.cf"), main).expect("written");
        let mut master = format!("127.0.0.1:{port} inet n - n - - smtpd\n");
        for (service, private, wakeup, limit, program) in [
            ("cleanup unix", "n", "-", "0", "cleanup"),
            // Woken each second: what was deferred is looked at then.
            ("qmgr unix", "n", "1", "1", "qmgr"),
            ("tlsmgr unix", "-", "1000?", "1", "tlsmgr"),
            ("rewrite unix", "-", "-", "-", "trivial-rewrite"),
            ("bounce unix", "-", "-", "0", "bounce"),
            ("defer unix", "-", "-", "0", "bounce"),
            ("trace unix", "-", "-", "0", "bounce"),
            ("smtp unix", "-", "-", "-", "smtp"),
            ("lmtp unix", "-", "-", "-", "lmtp"),
            ("error unix", "-", "-", "-", "error"),
            ("retry unix", "-", "-", "-", "error"),
            ("anvil unix", "-", "-", "1", "anvil"),
            ("scache unix", "-", "-", "1", "scache"),
            ("proxymap unix", "-", "-", "-", "proxymap"),
            ("postlog unix-dgram", "n", "-", "1", "postlogd"),
        ] {
            writeln!(master, "{service} {private} - n {wakeup} {limit} {program}").expect("a line");
        }
        fs::write(path.join("etc/master.cf"), master).expect("written");
        let postfix = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), folder };
        let output = run(postfix.command().arg("start"));
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), postfix.log());
        postfix
    }

    fn command(&self) -> Command {
        let mut command = Command::new(POSTFIX);
        command.arg("-c").arg(self.folder.path().join("etc"));
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Hands it a message from `sender`, VERP and all, to each of these local parts on the relay's domain.
    fn send(&self, sender: &str, recipients: &[&str]) {
        let mut client = Client::new(self.address);
        for (number, local) in recipients.iter().enumerate() {
            let relay = format!("{local}@privaterelay.appleid.com");
            let from = sender.replace("{verp}", &relay.replace('@', "="));
            assert!(client.say(&format!("MAIL FROM:<{from}>\r\n")).starts_with("250 "));
            assert!(client.say(&format!("RCPT TO:<{relay}>\r\n")).starts_with("250 "));
            assert!(client.say("DATA\r\n").starts_with("354 "));
            let message = format!(
                "From: Shop <shop@mail.example.com>\r\nTo: {relay}\r\nSubject: Your order\r\n\
                 Message-Id: <order-{number}@mail.example.com>\r\n\r\nThank you.\r\n.\r\n"
            );
            assert!(client.say(&message).starts_with("250 "));
        }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // By the process id in its own folder.
        drop(self.command().arg("stop").output());
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// The causes of all refusals, sorted, once there are so many.
async fn causes(store: &Store, count: usize) -> Vec<Cause> {
    let events = outcomes(store, count).await;
    assert!(events.iter().all(|event| event.kind == EventKind::Refused && event.destination == Destination::Relay));
    let mut causes: Vec<Cause> = events.iter().map(|event| event.reply.expect("a reply").cause).collect();
    causes.sort_by_key(|cause| cause.as_str());
    causes
}

const VERP: &str = "bounces+7-{verp}@bounces.example.com";

/// Apple's texts (reference: replies of the private relay and of iCloud), each with what it means.
fn texts() -> Vec<(&'static str, String, Cause)> {
    let relay = |local: &str| format!("{local}@privaterelay.appleid.com");
    let sender = VERP.replace("{verp}", &relay("unauthorized0").replace('@', "="));
    vec![
        ("doesnotexist0", format!("550 5.1.1 <{}>: user does not exist", relay("doesnotexist0")), Cause::RecipientUnknown),
        ("notfound00000", format!("550 5.1.1 <{}>: user not found", relay("notfound00000")), Cause::RecipientUnknown),
        ("unauthorized0", format!("550 5.1.1 <{sender}>: unauthorized sender"), Cause::RelaySenderUnregistered),
        (
            "policy0000000",
            "550 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137".to_owned(),
            Cause::PolicyRejected,
        ),
    ]
}

async fn bounces(protocol: &str, transport: &str) {
    if !is_there(POSTFIX) {
        return;
    }
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    for name in ["certificate.pem", "key.pem"] {
        fs::copy(format!("tests/fixtures/tls/{name}"), home.path(name)).expect("copied");
    }
    let tls = if protocol == "smtp" { "tls_certificate = \"certificate.pem\"\ntls_key = \"key.pem\"\n" } else { "" };
    let (daemon, address) = start(&home, &format!("protocol = \"{protocol}\"\n{tls}"));
    let texts = texts();
    let apple = Apple::start(texts.iter().map(|(local, text, _)| ((*local).to_owned(), text.clone())).collect());
    let postfix = Postfix::start(apple.address, &transport.replace("{port}", &address.port().to_string()));

    // The store is away at first: Postfix comes again, and each bounce is there once.
    let mut other = SqliteConnection::connect(&home.url).await.expect("the file opens");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("locked");
    let locals: Vec<&str> = texts.iter().map(|(local, ..)| *local).chain(["delivered0000"]).collect();
    tokio::task::block_in_place(|| {
        postfix.send(VERP, &locals);
        let answered = "relaywatch_feed_deliveries_total{answer=\"unavailable\",feed=\"mail\"}";
        let began = std::time::Instant::now();
        while daemon.metric(answered) == 0 {
            assert!(began.elapsed() < std::time::Duration::from_mins(1), "no bounce comes:\n{}", postfix.log());
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    });
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("unlocked");

    let store = home.store().await;
    let mut expected: Vec<Cause> = texts.iter().map(|(_, _, cause)| *cause).collect();
    expected.sort_by_key(|cause| cause.as_str());
    assert_eq!(causes(&store, expected.len()).await, expected, "{}", postfix.log());
    // All have been answered: nothing is left in Postfix's queue, and nothing came twice.
    super::once("an empty queue", async || {
        let queued = ["incoming", "active", "deferred"]
            .iter()
            .any(|name| holds_files(&postfix.folder.path().join("queue").join(name)));
        (!queued).then_some(())
    })
    .await;
    assert_eq!(outcomes(&store, expected.len()).await.len(), expected.len());
    assert_eq!(daemon.metric("relaywatch_feed_set_aside_total{feed=\"mail\",reason=\"unknown-type\"}"), 0);
    drop(postfix);
    let log = daemon.stop();
    assert!(!log.contains("doesnotexist0"), "an address is in the log:\n{log}");
}

fn holds_files(folder: &std::path::Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() { holds_files(&path) } else { path.is_file() }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bounces_of_a_real_postfix_come_in_by_lmtp() {
    bounces("lmtp", "lmtp:inet:127.0.0.1:{port}").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bounces_of_a_real_postfix_come_in_by_smtp() {
    bounces("smtp", "smtp:[127.0.0.1]:{port}").await;
}
