//! The mail feed, spoken to by real mail servers and over the wire.

mod kept;
mod postfix;
mod store;
mod swaks;

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Output},
    sync::LazyLock,
    time::Duration,
};

use relaywatch::store::{EventRecord, Position, Store};
use serde_json::Value;

use crate::support::daemon::{Daemon, Home, now};

/// The address to which the bounces of these tests go, with the recipient in it.
const RETURN_PATH: &str = "bounces+7-qx7zhzkndneko=privaterelay.appleid.com@bounces.example.com";
/// A relay address that is made up.
const RECIPIENT: &str = "qx7zhzkndneko@privaterelay.appleid.com";

/// Whether a program of Debian's is there; it may only be missing on a laptop.
pub(crate) fn is_there(path: &str) -> bool {
    let there = Path::new(path).exists();
    assert!(
        there || std::env::var("CI").as_deref() != Ok("true"),
        "{path} is missing: in CI no test of it may be skipped; run scripts/test"
    );
    if !there {
        println!("skipped: no {path}");
    }
    there
}

/// Waits for a thing that comes by itself.
async fn once<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// The journal, once it has so many outcomes.
async fn outcomes(store: &Store, count: usize) -> Vec<EventRecord> {
    once("an outcome", async || {
        let events = store.events_after(Position::START, 1_000).await.expect("the journal");
        (events.len() >= count).then_some(events)
    })
    .await
}

/// A daemon with a mail feed, and where that listens.
fn start(home: &Home, settings: &str) -> (Daemon, SocketAddr) {
    home.configure(&format!(
        "[feeds.mail]\nlisten = \"127.0.0.1:0\"\nhostname = \"mx.example.com\"\n\
         recipients = [\"bounces+*@bounces.example.com\", \"dmarc@example.com\"]\n{settings}"
    ));
    let daemon = home.start();
    let address = listening(&daemon, 1);
    (daemon, address)
}

/// Where it listens, after so many openings.
fn listening(daemon: &Daemon, nth: usize) -> SocketAddr {
    let line: Value = serde_json::from_str(&daemon.wait_for_nth("mail is taken", nth)).expect("a log line");
    line["address"].as_str().and_then(|text| text.parse().ok()).expect("an address")
}

/// A minute ago, the same for all of a test's mails: a mail that comes again is the same one.
static DATE: LazyLock<String> = LazyLock::new(|| {
    let at = jiff::Timestamp::from_second(now().as_seconds() - 60).expect("a time");
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_string(&at).expect("a date")
});

/// A bounce of the message of this number, as Postfix writes it.
fn bounce(number: u32) -> String {
    let date = &*DATE;
    format!(
        "Date: {date}\r\nFrom: Mail Delivery System <MAILER-DAEMON@mta.example.com>\r\n\
         Subject: Undelivered Mail Returned to Sender\r\nTo: {RETURN_PATH}\r\nAuto-Submitted: auto-replied\r\n\
         Message-Id: <bounce-{number}@mta.example.com>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\n<{RECIPIENT}>: host smtp1.privaterelay.appleid.com said: 550 5.1.1\r\n\
         \x20   <{RECIPIENT}>: user not found (in reply to RCPT TO command)\r\n\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mta.example.com\r\n\
         Arrival-Date: {date}\r\n\r\nFinal-Recipient: rfc822; {RECIPIENT}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Remote-MTA: dns; smtp1.privaterelay.appleid.com\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 <{RECIPIENT}>: user not found\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nReturn-Path: <{RETURN_PATH}>\r\nDate: {date}\r\n\
         From: Shop <shop@mail.example.com>\r\nTo: {RECIPIENT}\r\nMessage-Id: <order-{number}@mail.example.com>\r\n\r\n--b--\r\n"
    )
}

/// A client of SMTP.
pub(crate) struct Client {
    stream: TcpStream,
    read: BufReader<TcpStream>,
}

impl Client {
    /// Connects and greets.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        let read = BufReader::new(stream.try_clone().expect("cloned"));
        let mut client = Self { stream, read };
        assert!(client.answer().starts_with("220 "));
        assert!(client.say("EHLO client.example.com\r\n").starts_with("250 "));
        client
    }

    /// The last line of an answer.
    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.read.read_line(&mut line).expect("an answer") > 0, "the connection is gone");
            if line.get(3..4) == Some(" ") {
                return line;
            }
        }
    }

    pub(crate) fn say(&mut self, text: &str) -> String {
        self.stream.write_all(text.as_bytes()).expect("sent");
        self.answer()
    }

    /// Sends a mail up to its end, and leaves the answer to that unread.
    fn send(&mut self, mail: &str) {
        assert!(self.say("MAIL FROM:<>\r\n").starts_with("250 "));
        assert!(self.say(&format!("RCPT TO:<{RETURN_PATH}>\r\n")).starts_with("250 "));
        assert!(self.say("DATA\r\n").starts_with("354 "));
        self.stream.write_all(format!("{mail}.\r\n").as_bytes()).expect("sent");
    }

    fn bring(&mut self, mail: &str) -> String {
        self.send(mail);
        self.answer()
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
