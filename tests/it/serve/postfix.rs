//! The log of Postfix, followed by a daemon: rotated and killed in the middle, and written by a real Postfix.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use relaywatch::{
    model::{Cause, EventKind, Timestamp},
    store::{EventRecord, Position, Store},
};

use crate::support::{
    Engine,
    daemon::{Daemon, Home, now},
    payload,
};

const LOG: &str = "[feeds.postfix]\nlog_file = \"mail.log\"\n";
/// Mails that a round brings, and rounds, each of which ends by a kill.
const MAILS: u64 = 300;
const ROUNDS: u64 = 6;

/// So many rows of the journal.
async fn rows(store: &Store, least: usize) -> Vec<EventRecord> {
    let read = async {
        loop {
            let found = store.events_after(Position::START, 10_000).await.expect("the journal");
            if found.len() >= least {
                return found;
            }
            // On PostgreSQL a transaction of another test can hide the last rows for a while.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), read).await.expect("all rows come")
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("opened");
    file.write_all(text.as_bytes()).expect("written");
}

/// The lines of one mail that is refused; each mail has a second of its own.
fn mail(base: Timestamp, number: u64) -> String {
    let at = payload::rfc3339(base.as_millis() + i64::try_from(number).expect("small") * 1_000);
    let (id, to) = (format!("{:010X}", 0xA_0000_0000 + number), payload::relay_address(number));
    format!(
        "{at} mx1 postfix/qmgr[9]: {id}: from=<b+{number}@mail.example.com>, size=1, nrcpt=1 (queue active)\n\
         {at} mx1 postfix/smtp[7]: {id}: to=<{to}>, relay=mx-in.privaterelay.appleid.com[17.57.152.5]:25, delay=1, delays=0/0/1/0, \
         dsn=5.1.1, status=bounced (host mx-in.privaterelay.appleid.com[17.57.152.5] said: 550 5.1.1 <{to}>: user does not exist \
         (in reply to RCPT TO command))\n{at} mx1 postfix/qmgr[9]: {id}: removed\n"
    )
}

async fn survive(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    home.configure(LOG);
    let (log, base) = (home.path("mail.log"), now().plus_millis(-3_600_000).as_seconds());
    let base = Timestamp::from_seconds(base);
    let mut written = 0;
    let mut write = |count: u64| {
        for number in written..written + count {
            append(&log, &mail(base, number));
        }
        written += count;
    };
    for round in 0..ROUNDS {
        let mut daemon = home.start();
        if round == 0 {
            daemon.wait_for("the log is not there; it is waited for");
        }
        write(MAILS / 3);
        // In the middle: something of this round is committed, and the log goes on.
        let metric = "relaywatch_feed_events_total{feed=\"postfix\",kind=\"refused\"}";
        while daemon.metric(metric) == 0 {
            std::thread::yield_now();
        }
        write(MAILS / 3);
        match round % 3 {
            0 => fs::rename(&log, home.path(&format!("mail.log.{round}"))).expect("renamed"),
            1 => {
                fs::copy(&log, home.path(&format!("mail.log.{round}"))).expect("copied");
                fs::write(&log, "").expect("cut");
            }
            _ => {}
        }
        write(MAILS / 3);
        daemon.kill();
        assert!(!daemon.log().contains("\"ERROR\""), "{}", daemon.log());
    }
    let daemon = home.start();
    let store = home.store().await;
    let all = usize::try_from(MAILS * ROUNDS).expect("small");
    let events = rows(&store, all).await;
    let times: BTreeSet<i64> = events.iter().map(|event| event.key.at.as_seconds() - base.as_seconds()).collect();
    assert_eq!((events.len(), times.len()), (all, all), "each once");
    assert!(events.iter().all(|event| event.kind == EventKind::Refused));
    assert!(events.iter().all(|event| event.reply.is_some_and(|reply| reply.cause == Cause::RecipientUnknown)));
    let streams: BTreeSet<i32> = events.iter().map(|event| event.stream).collect();
    assert_eq!(streams.len(), 1, "the sender of each is known, whichever line the daemon was killed at");
    let told = daemon.stop();
    assert!(!told.contains("@privaterelay"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_reads_on_where_it_was_sqlite() {
    survive(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_reads_on_where_it_was_postgres() {
    survive(Engine::Postgres).await;
}

/// A server that takes and refuses recipients as Apple does, by what their addresses begin with.
fn apple(stream: &TcpStream) -> std::io::Result<()> {
    let (mut out, mut sender) = (stream, String::new());
    out.write_all(b"220 mx-in.privaterelay.appleid.com ESMTP\r\n")?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next().transpose()? {
        let address = line.split(['<', '>']).nth(1).unwrap_or_default();
        let answer = match line.get(..4).unwrap_or_default() {
            "EHLO" => "250-mx-in\r\n250 ENHANCEDSTATUSCODES".to_owned(),
            "MAIL" => {
                address.clone_into(&mut sender);
                "250 2.1.0 Ok".to_owned()
            }
            "RCPT" if address.starts_with("gone") => format!("550 5.1.1 <{address}>: user does not exist"),
            "RCPT" if address.starts_with("unre") => format!("550 5.1.1 <{sender}>: unauthorized sender"),
            "RCPT" if address.starts_with("late") => "451 4.7.1 Service unavailable - try again later".to_owned(),
            "RCPT" => "250 2.1.5 Ok".to_owned(),
            "DATA" => {
                out.write_all(b"354 go on\r\n")?;
                while lines.next().transpose()?.is_some_and(|line| line != ".") {}
                "250 2.0.0 Ok: queued as 4c1XyZ".to_owned()
            }
            "QUIT" => return out.write_all(b"221 2.0.0 Bye\r\n"),
            _ => "250 2.0.0 Ok".to_owned(),
        };
        out.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    Ok(())
}

/// A Postfix of its own, stopped when the test ends.
struct RealPostfix(PathBuf);

impl RealPostfix {
    /// Starts one that logs to `log` and delivers to a port of this machine; nothing where there is none, or no right to.
    fn start(folder: &Path, log: &Path, port: u16) -> Option<Self> {
        let may = Path::new("/usr/sbin/postfix").exists()
            && Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"));
        if !may {
            println!("skipped: no Postfix, or not root");
            return None;
        }
        let (etc, queue, data) = (folder.join("etc"), folder.join("queue"), folder.join("data"));
        for made in [&etc, &queue, &data] {
            fs::create_dir_all(made).expect("made");
        }
        let run = |program: &str, arguments: &[&str]| {
            let done = Command::new(program)
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .output()
                .expect("it runs");
            assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        };
        // Its programs run as a user of their own, who has to get there.
        run("chmod", &["755", folder.to_str().expect("text")]);
        run("chown", &["postfix", data.to_str().expect("text")]);
        fs::write(
            etc.join("main.cf"),
            format!(
                "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmaillog_file = {}\n\
                 maillog_file_prefixes = /\nmyhostname = mx1.example.com\nmydestination =\ninet_interfaces = loopback-only\n\
                 inet_protocols = ipv4\nalias_maps =\nlocal_recipient_maps =\ndefault_transport = smtp:[127.0.0.1]:{port}\n\
                 smtp_tls_security_level = none\nmulti_instance_enable = yes\n",
                queue.display(),
                data.display(),
                log.display()
            ),
        )
        .expect("written");
        let services = [
            ("pickup", "pickup"),
            ("cleanup", "cleanup"),
            ("qmgr", "qmgr"),
            ("rewrite", "trivial-rewrite"),
            ("bounce", "bounce"),
            ("defer", "bounce"),
            ("trace", "bounce"),
            ("flush", "flush"),
            ("smtp", "smtp"),
            ("error", "error"),
            ("retry", "error"),
        ];
        let mut table = "postlog unix-dgram n - n - 1 postlogd\n".to_owned();
        for (name, program) in services {
            let wake = if name == "pickup" || name == "qmgr" { "1" } else { "-" };
            table.extend([name, " unix n - n ", wake, " - ", program, "\n"]);
        }
        fs::write(etc.join("master.cf"), table).expect("written");
        let postfix = Self(etc);
        run("/usr/sbin/postfix", &["-c", postfix.etc(), "start"]);
        Some(postfix)
    }

    fn etc(&self) -> &str {
        self.0.to_str().expect("text")
    }

    /// Hands in a mail for these recipients.
    fn send(&self, recipients: &[&str]) {
        let arguments = ["-C", self.etc(), "-f", "bounces@mail.example.com"];
        let mut child = Command::new("/usr/sbin/sendmail")
            .args(arguments)
            .args(recipients)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sendmail starts");
        let mut input = child.stdin.take().expect("its input");
        input.write_all(b"From: news@example.com\nSubject: hello\n\nhello\n").expect("written");
        drop(input);
        assert!(child.wait().expect("it ends").success());
    }
}

impl Drop for RealPostfix {
    fn drop(&mut self) {
        // Whatever became of it, the test has its verdict.
        drop(Command::new("/usr/sbin/postfix").args(["-c", self.etc(), "abort"]).stderr(Stdio::null()).status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_postfix_is_understood() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || apple(&stream));
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("mail.log");
    let Some(postfix) = RealPostfix::start(folder.path(), &log, port) else { return };
    home.configure(&format!("[feeds.postfix]\nlog_file = \"{}\"\n", log.display()));
    let daemon: Daemon = home.start();
    let to = |begin: &str| format!("{begin}zhzkndneko@privaterelay.appleid.com");
    postfix.send(&[&to("gone"), &to("unreg"), &to("later"), &to("fine")]);
    let store = home.store().await;
    let events = rows(&store, 4).await;
    let mut seen: Vec<_> =
        events.iter().map(|event| (event.kind.as_str(), event.reply.and_then(|reply| reply.code))).collect();
    seen.sort_unstable();
    // The fake has an address of this machine, so that what it takes is handed on only.
    assert_eq!(seen, [("deferred", Some(451)), ("refused", Some(550)), ("refused", Some(550)), ("sent", None)]);
    let templates: BTreeSet<i32> = events.iter().filter_map(|event| Some(event.reply?.template)).collect();
    assert_eq!(templates.len(), 3, "whose address is in the brackets tells the two refusals apart");
    drop(postfix);
    daemon.stop();
}
