//! What reading mail costs on one core: mails a second, from the bytes to the events, for each kind of mail.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use relaywatch::{
    ingest::mail::{Envelope, report, understand},
    model::Timestamp,
};

/// Mails that one round reads of each kind.
const MAILS: u32 = 2_000;
/// How often each is measured, all in turn, so that a busy moment of the machine meets all alike.
const ROUNDS: usize = 15;
/// The fixtures of the tests, by the kind of mail that each stands for.
const KINDS: &[(&str, &str)] = &[
    ("a delivery report by its fields", "relay-unauthorized"),
    ("a bounce by its text, two recipients", "exim-two"),
    ("a bounce by its text, one recipient", "no-status"),
    ("an abuse report", "abuse"),
    ("a DMARC aggregate report", "aggregate"),
    ("an auto-reply", "vacation"),
    ("a person's mail", "person"),
];

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail");
    let mails: Vec<(&str, Vec<u8>)> = KINDS
        .iter()
        .map(|(name, file)| {
            let path = folder.join(format!("{file}.eml"));
            (*name, std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    let mut times = vec![Vec::new(); mails.len()];
    for _ in 0..ROUNDS {
        for ((_, raw), times) in mails.iter().zip(&mut times) {
            times.push(timed(|| (0..MAILS).for_each(|_| read(raw))));
        }
    }
    println!("{:42} {:>6} {:>9} {:>9}", "mails a second, on one core", "bytes", "median", "best");
    for ((name, raw), mut times) in mails.iter().zip(times) {
        times.sort_unstable();
        let a_second = |time: Option<&Duration>| time.map_or(0.0, |time| f64::from(MAILS) / time.as_secs_f64());
        println!(
            "{name:42} {:>6} {:>9.0} {:>9.0}",
            raw.len(),
            a_second(times.get(ROUNDS / 2)),
            a_second(times.first())
        );
    }
    let large = large();
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| timed(|| read(&large))).collect();
    times.sort_unstable();
    let middle = times.get(ROUNDS / 2).copied().unwrap_or_default();
    println!("\na bounce that returns a message of {} KiB: {:.1} ms", large.len() >> 10, middle.as_secs_f64() * 1e3);
}

fn read(raw: &[u8]) {
    let envelope = Envelope { rcpt_to: None, received_at: Timestamp::from_seconds(1_795_564_800) };
    let understood = understand(black_box(raw));
    black_box(report(&understood, raw, &envelope));
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

/// A delivery report with the whole message, a picture of a megabyte in it.
fn large() -> Vec<u8> {
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAx\r\n";
    let picture = line.repeat(1_048_576 / line.len());
    format!(
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.org\r\nDate: Mon, 23 Nov 2026 12:00:05 +0000\r\nSubject: Undelivered\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822; jo@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: news@example.com\r\nMessage-ID: <1@example.com>\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n{picture}\r\n--c--\r\n\r\n--b--\r\n"
    )
    .into_bytes()
}
