//! What logs become. The fixtures are made up after lines of real ones.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::Joiner;
use crate::{
    ingest::{
        Report,
        http::testing::{NOW, fixture, fixtures, render},
    },
    model::{Event, EventKind, FailureClass, Timestamp},
};

fn joiner() -> Joiner {
    Joiner::new(TimeZone::UTC, &["smtp.example.com".to_owned()])
}

fn joined<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>) -> Report {
    let (mut joiner, mut report) = (joiner(), Report::default());
    for line in lines {
        joiner.line(line.as_ref(), NOW, &mut report);
    }
    report
}

fn events(text: &str) -> Vec<Event> {
    joined(text.lines()).events
}

#[test]
fn logs_are_read_in_every_form() {
    for (name, text) in fixtures("postfix") {
        let report = joined(text.lines());
        insta::assert_snapshot!(format!("postfix_{name}"), render(&report));
        assert_eq!(joined(text.lines()), report, "{name}: twice the same");
    }
}

#[test]
fn a_line_is_the_same_event_by_file_and_by_journal() {
    let (file, journal) = (events(&fixture("postfix", "traditional")), events(&fixture("postfix", "journal")));
    let by_file = file.iter().find(|event| event.kind == EventKind::Refused).expect("a refusal");
    let [by_journal] = journal.as_slice() else { panic!("one event") };
    assert_eq!((by_file.at, &by_file.dedupe), (by_journal.at, &by_journal.dedupe));
}

#[test]
fn what_is_not_joined_does_not_change_the_identity() {
    let text = fixture("postfix", "traditional");
    let whole = events(&text);
    let alone = events(&text.lines().filter(|line| line.contains(": to=<")).collect::<Vec<_>>().join("\n"));
    assert_eq!(alone.len(), whole.len());
    for (one, other) in whole.iter().zip(&alone) {
        assert_eq!((one.at, &one.dedupe, one.sent_at), (other.at, &other.dedupe, other.sent_at));
        assert_eq!(other.envelope_domain, None, "the line with `from=` is lost, and nothing is made up");
        assert_eq!(other.message_id.as_deref(), Some("mx1 4F0A2C1D3E"));
    }
}

#[test]
fn only_the_receiving_side_has_codes() {
    for event in events(&fixture("postfix", "own")) {
        if event.kind == EventKind::Refused {
            let reply = event.reply.as_ref().expect("words");
            assert_eq!((reply.code, reply.enhanced), (None, None), "{}", reply.text);
            assert_eq!(event.failure_class(), FailureClass::Unknown);
            assert!(event.provider_verdict.is_some_and(|verdict| verdict.ends_with(", own")));
        }
    }
}

#[test]
fn a_mail_that_is_given_up_is_refused_and_not_for_good() {
    let events = events(&fixture("postfix", "deferred"));
    let given_up: Vec<_> = events.iter().filter(|event| event.kind == EventKind::Refused).collect();
    assert_eq!(given_up.len(), 2, "not the one that was sent in the end");
    for event in given_up {
        assert_eq!(event.failure_class(), FailureClass::Transient);
        assert_eq!(event.envelope_domain.as_deref(), Some("mail.example.com"));
    }
    let relay =
        events.iter().find(|event| event.kind == EventKind::Refused && event.recipient.local() == "ab7cde2fgh3jk");
    let code = relay.and_then(|event| event.reply.as_ref()?.code);
    assert_eq!(code, Some(451), "what the receiving side said last, not that its host was not asked again");
}

#[test]
fn short_queue_ids_are_used_again() {
    let first = "Aug  9 06:00:01 mx1 postfix/cleanup[1]: 4F0A2C1D01: message-id=<one@example.com>\n\
                 Aug  9 06:00:01 mx1 postfix/qmgr[9]: 4F0A2C1D01: from=<a@one.example.com>, size=1, nrcpt=1 (queue active)\n";
    let line = |program: &str, text: &str| format!("Aug  9 07:00:00 mx1 postfix/{program}[1]: 4F0A2C1D01: {text}\n");
    let sent = line(
        "smtp",
        "to=<b@example.net>, relay=mx.example.net[192.0.2.9]:25, delay=1, dsn=2.0.0, status=sent (250 ok)",
    );
    let told = |between: &str| {
        let event = events(&format!("{first}{between}{sent}")).remove(0);
        (event.message_id.expect("an id"), event.envelope_domain)
    };
    let none = ("mx1 4F0A2C1D01".to_owned(), None);
    assert_eq!(
        told(""),
        ("one@example.com".to_owned(), Some("one.example.com".to_owned())),
        "the same mail, an hour later"
    );
    assert_eq!(told(&line("smtpd", "client=app.example.com[10.0.0.7]")), none);
    assert_eq!(told(&line("pickup", "uid=33 from=<www-data>")), none);
    assert_eq!(told(&line("cleanup", "message-id=<two@example.com>")), ("two@example.com".to_owned(), None));
}

#[test]
fn hostile_lines_are_passed_over() {
    let long = format!("Aug  9 06:00:01 mx1 postfix/smtp[1]: 4F0A2C1D01: to=<{}>", "x".repeat(1_000_000));
    let report = joined([
        long.as_bytes(),
        b"\xff\xfe\x00",
        b"{",
        "(".repeat(60_000).as_bytes(),
        b"Aug  9 06:00:01 mx1 postfix/smtp[1]: ",
    ]);
    assert_eq!(report.events, []);
    assert_eq!(report.ignored, ["too-long", "unreadable", "unreadable", "unreadable", "no-mail"]);
    let deep = format!(
        "Aug  9 06:00:01 mx1 postfix/smtp[1]: 4F0A2C1D01: to=<a@example.net>, relay=mx.example.net[192.0.2.9]:25, delay=1, \
         dsn=5.0.0, status=bounced (host mx.example.net[192.0.2.9] said: 550 {} \0 (in reply to RCPT TO command))",
        "(".repeat(50_000)
    );
    let event = joined([deep]).events.remove(0);
    let reply = event.reply.expect("a reply");
    assert_eq!((reply.code, reply.text.len(), reply.text.contains('\0')), (Some(550), 4_096, false));
}

#[test]
fn what_a_mail_holds_passes_for_no_line() {
    for text in [
        "cleanup[1]: 4F0A2C1D01: warning: header From: x to=<a@example.net>, relay=h[192.0.2.9]:25, status=sent (250 ok)",
        "cleanup[1]: 4F0A2C1D01: milter-reject: x; from=<a@x.example> to=<a@example.net>, relay=h[192.0.2.9]:25, status=sent (y)",
        "smtpd[1]: 4F0A2C1D01: to=<a@example.net>, relay=h[192.0.2.9]:25, delay=1, status=sent (250 ok)",
        "smtp[1]: warning: to=<a@example.net>, relay=h[192.0.2.9]:25, delay=1, status=sent (250 ok)",
        "smtp[1]: 4F0A2C1D01: host h[192.0.2.9] said: 250 x to=<a@example.net>, relay=h[192.0.2.9]:25, status=sent (250 ok)",
    ] {
        let report = joined([format!("Aug  9 06:00:01 mx1 postfix/{text}")]);
        assert_eq!((report.events.len(), report.set_aside.len()), (0, 0), "{text}");
    }
}

/// A made-up log of many mails, each with its lines in order.
fn mails(count: usize) -> Vec<Vec<String>> {
    (0..count)
        .map(|mail| {
            let line = |second: usize, program: &str, text: &str| {
                let (minute, second) = ((mail / 7 + second / 60) % 60, second % 60);
                format!("Aug  9 06:{minute:02}:{second:02} mx{} postfix/{program}[{mail}]: {:010X}: {text}", mail % 3, 0xA_0000_0000 + mail)
            };
            let to = |status: &str| {
                format!(
                    "to=<u{mail}@privaterelay.appleid.com>, relay=mx-in.privaterelay.appleid.com[17.57.152.5]:25, delay=1.5, \
                     delays=0/0/1/0.5, dsn=4.7.1, status={status}"
                )
            };
            let said = "host mx-in.privaterelay.appleid.com[17.57.152.5] said: 451 4.7.1 later (in reply to DATA command)";
            vec![
                line(0, "smtpd", "client=app.example.com[10.0.0.7]"),
                line(0, "cleanup", &format!("message-id=<{mail}@mail.example.com>")),
                line(1, "qmgr", &format!("from=<b+{mail}@m{}.example.com>, size=1, nrcpt=1 (queue active)", mail % 5)),
                line(2, "smtp", &to(&format!("deferred ({said})"))),
                line(9, "smtp", &to(if mail.is_multiple_of(2) { "sent (250 ok)" } else { "bounced (Host not found)" })),
                line(9, "qmgr", "removed"),
            ]
        })
        .collect()
}

/// The same events, in whatever order.
fn sorted(report: &Report) -> BTreeMap<(Timestamp, Vec<u8>), &Event> {
    report.events.iter().map(|event| ((event.at, event.dedupe.expose().to_vec()), event)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_of_different_mails_come_in_any_order(seed in any::<u64>()) {
        let mails = mails(40);
        let whole = joined(mails.iter().flatten());
        prop_assert_eq!(whole.events.len(), 80);
        let (mut left, mut mixed, mut state) = (mails.iter().map(|lines| lines.iter()).collect::<Vec<_>>(), Vec::new(), seed | 1);
        while !left.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = usize::try_from(state >> 33).expect("31 bits") % left.len();
            match left.get_mut(pick).and_then(Iterator::next) {
                Some(line) => mixed.push(line),
                None => drop(left.swap_remove(pick)),
            }
        }
        let mixed = joined(mixed);
        prop_assert_eq!(sorted(&mixed), sorted(&whole));
    }

    #[test]
    fn any_line_is_taken(
        program in prop::sample::select(vec!["smtp", "qmgr", "cleanup", "smtpd", "error"]), id in "[0-9A-F]{5,11}", text in "\\PC{0,120}",
        start in prop::sample::select(vec!["", "to=<", "to=<a@example.com>, ", "from=<", "to=<a@example.com>, status=sent ("]),
    ) {
        let report = joined([format!("Aug  9 06:00:01 mx1 postfix/{program}[1]: {id}: {start}{text}")]);
        prop_assert!(report.events.len() + report.set_aside.len() + report.ignored.len() == 1);
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let report = joined([&bytes]);
        prop_assert!(report.events.is_empty());
    }
}

#[test]
fn a_long_log_takes_no_more_memory_than_a_short_one() {
    let mut joiner = joiner();
    let mut known = 0;
    for mail in 0..250_000_u32 {
        let mut report = Report::default();
        // No line says that it left the queue.
        let line = format!("Aug  9 06:00:01 mx1 postfix/cleanup[1]: {mail:010X}: message-id=<{mail}@mail.example.com>");
        joiner.line(line.as_bytes(), NOW, &mut report);
        known = known.max(joiner.open());
    }
    assert!((90_000..=100_000).contains(&known), "{known}");
}

#[tokio::test]
async fn a_log_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let probe = async |log| {
        let keeper = super::Keeper::new(folder.path(), "postfix");
        let feed = super::Postfix { log, zone: TimeZone::UTC, smarthosts: Vec::new(), keeper };
        crate::ingest::workers::Work::probe(&feed).await
    };
    let path = folder.path().join("mail.log");
    assert!(matches!(probe(super::Log::File(path.clone())).await, Some(Err(_))));
    assert_eq!(probe(super::Log::File(folder.path().to_owned())).await, Some(Err("it is no ordinary file".to_owned())));
    std::fs::write(&path, "").expect("written");
    assert_eq!(probe(super::Log::File(path)).await, Some(Ok(())));
    assert_eq!(probe(super::Log::Journal("journalctl".into())).await, None);
}
