//! Tests of what is understood of a mail.

mod bounds;
mod dress;
mod habits;

use std::fmt::Write as _;

use super::*;
use crate::model::{Address, EventKind, FailureClass, Timestamp};

fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const FIXTURES: &[&str] = &[
    "relay-unauthorized",
    "exim-two",
    "abuse",
    "aggregate",
    "apple-notification",
    "vacation",
    "person",
    "no-status",
    "global",
    "delayed",
    "unsubscribe",
];

fn envelope() -> Envelope<'static> {
    // 2026-11-25: a day after the fixtures.
    Envelope { rcpt_to: None, received_at: Timestamp::from_seconds(1_795_564_800) }
}

/// A report in a few words, with addresses: for tests only.
fn told(raw: &[u8]) -> String {
    let understood = understand(raw);
    let mut out = format!("{}\n", understood.kind());
    let made = report(&understood, raw, &envelope());
    for event in &made.events {
        writeln!(
            out,
            "{} {} to {} sent {:?} id {:?}\n  from {:?} by {:?} ({:?}) campaign {:?}\n  {:?} {:?} {:?}",
            event.kind,
            event.at,
            event.recipient.expose(),
            event.sent_at.map(|at| at.to_string()),
            event.message_id,
            event.from_domain,
            event.envelope_sender.as_ref().map(Address::expose),
            event.envelope_domain,
            event.campaign,
            event.remote_mta,
            event.failure_class(),
            event.reply,
        )
        .expect("written");
    }
    for kept in &made.kept {
        writeln!(out, "{kept:?}").expect("written");
    }
    writeln!(out, "ignored {:?}, set aside {:?}", made.ignored, made.set_aside).expect("written");
    out
}

#[test]
fn every_fixture_becomes_what_it_says() {
    for name in FIXTURES {
        insta::assert_snapshot!(*name, told(&fixture(&format!("{name}.eml"))));
    }
}

#[test]
fn the_envelope_sender_tells_whom_the_sender_knows() {
    let address = |text: &str| Address::parse(text).expect("an address");
    let found = |sender: &str, known: &[Address]| {
        recipient_in(&address(sender), known).map(|(address, certain)| (address.expose().to_owned(), certain))
    };
    let own = Some(("jo@example.net".to_owned(), true));
    assert_eq!(found("b-jo=example.net@mail.example.com", &[]), own);
    assert_eq!(found("jo=example.net@mail.example.com", &[]), own);
    assert_eq!(found("bounce+47.11-jo=example.net@mail.example.com", &[]).map(|(_, certain)| certain), Some(false));
    assert_eq!(
        found("bounce+47.11-jo=example.net@mail.example.com", &[address("Jo@example.net")]),
        Some(("Jo@example.net".to_owned(), true))
    );
    let hyphen = address("anna-jo@example.net");
    assert_eq!(
        found("b-anna-jo=example.net@mail.example.com", &[hyphen]),
        Some(("anna-jo@example.net".to_owned(), true))
    );
    // Nobody knows whether the sign is the address's own.
    for two in [
        "anna-jo=example.net@mail.example.com",
        "bounces.jo=example.net@mail.example.com",
        "bounces+anna-jo=example.net@mail.example.com",
        "bounces+4711-anna-jo=example.net@mail.example.com",
        "bounces+4711-abcd-jo=example.net@mail.example.com",
        "b-12-34=example.net@mail.example.com",
        "news+4711-jo=example.net@mail.example.com",
    ] {
        assert_eq!(found(two, &[]), None, "{two}");
        assert_eq!(found(two, &[address("jo@example.net")]).is_some(), !two.starts_with("b-12"), "{two}");
    }
    // A number or a hash is part of no name.
    let likely = Some(("jo@example.net".to_owned(), false));
    for id in ["bounces+4711-jo", "b-123-jo", "b=4711=jo", "bounce+8c58f6.4711-jo", "bounces+4711-a1b2-jo"] {
        assert_eq!(found(&format!("{id}=example.net@mail.example.com"), &[]), likely, "{id}");
    }
    assert_eq!(found("prvs=1a2b3c@mail.example.com", &[]), None);
    for signed in [
        "prvs=1a2b3c=jo.doe@example.com",
        "PRVS=1a2b3c=jo.doe@example.com",
        "btv1==067c7bfa==jo.doe=example.com@mail.example.com",
        "msprvs1=20000abc=jo.doe@example.com",
        "SRS0=HHH=TT=example.net=jo.doe@forwarder.example",
        "SRS0+HHH=TT=example.net=jo.doe@forwarder.example",
        "SRS1=HHH=forwarder.example==HHH=TT=example.net=jo.doe@other.example",
    ] {
        assert_eq!(found(signed, &[]), None, "{signed}");
    }
    assert_eq!(found("news@example.com", &[]), None);
}

/// Somebody forwards: the report names where to; the sender's own word for the recipient counts.
#[test]
fn a_forwarded_address_is_not_the_recipient() {
    let raw = String::from_utf8(fixture("delayed.eml")).expect("UTF-8").replace(
        "Final-Recipient: RFC822; qwertyuiopasd@privaterelay.appleid.com",
        "Final-Recipient: RFC822; hidden@example.net",
    );
    let verp = Address::parse("b-qwertyuiopasd=privaterelay.appleid.com@mail.example.com").expect("an address");
    let envelope = Envelope { rcpt_to: Some(&verp), ..envelope() };
    let made = report(&understand(raw.as_bytes()), raw.as_bytes(), &envelope);
    assert_eq!(made.events[0].recipient.expose(), "qwertyuiopasd@privaterelay.appleid.com");
    assert_eq!(made.events[0].kind, EventKind::Deferred);
    assert_eq!(made.events[0].failure_class(), FailureClass::Transient);
}

/// Whoever sent what came back wrote its return path, which need not be the operator's.
#[test]
fn the_return_path_of_what_came_back_does_not_outdo_the_report() {
    let own = "bounce+4711-qwertyuiopasd=privaterelay.appleid.com@mail.example.com";
    let raw =
        String::from_utf8(fixture("relay-unauthorized.eml")).expect("UTF-8").replace(own, "bounces@mail.example.com");
    let recipient = |path: &str| {
        let raw = raw.replace("Return-Path: <bounces@mail.example.com>", &format!("Return-Path: <{path}>"));
        assert!(raw.contains(path));
        report(&understand(raw.as_bytes()), raw.as_bytes(), &envelope()).events[0].recipient.expose().to_owned()
    };
    assert_eq!(recipient("b-someone=elsewhere.example@lists.example.org"), "qwertyuiopasd@privaterelay.appleid.com");
    assert_eq!(recipient(own), "qwertyuiopasd@privaterelay.appleid.com");
}

/// What may be cut wrongly does not outdo the address that the report names.
#[test]
fn an_uncertain_envelope_sender_does_not_outdo_the_report() {
    let raw = fixture("relay-unauthorized.eml");
    let named = report(&understand(&raw), &raw, &envelope()).events[0].recipient.clone();
    for sender in ["anna-jo=example.net@mail.example.com", "prvs=1a2b3c=jo.doe@example.com"] {
        let sender = Address::parse(sender).expect("an address");
        let made = report(&understand(&raw), &raw, &Envelope { rcpt_to: Some(&sender), ..envelope() });
        assert_eq!(made.events[0].recipient, named);
    }
}

/// A mail that is given up after five days is given up then, and not when it came.
#[test]
fn a_bounce_is_of_its_last_try_or_of_its_date() {
    let at = |last: &str| {
        let raw = format!(
            "From: MAILER-DAEMON@mx.example.org\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: x\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\nArrival-Date: Wed, 18 Nov 2026 12:00:00 +0000\n\nFinal-Recipient: rfc822; jo@example.net\nAction: failed\nStatus: 4.4.7\n{last}\n--b--\n"
        );
        let event = report(&understand(raw.as_bytes()), raw.as_bytes(), &envelope()).events[0].clone();
        (event.at.to_string(), event.sent_at.map(|at| at.to_string()))
    };
    let sent = Some("2026-11-18T12:00:00Z".to_owned());
    assert_eq!(at(""), ("2026-11-23T12:00:05Z".to_owned(), sent.clone()));
    assert_eq!(at("Last-Attempt-Date: Mon, 23 Nov 2026 11:59:00 +0000\n"), ("2026-11-23T11:59:00Z".to_owned(), sent));
}

/// An abuse report with this type and this envelope sender, redacted.
fn feedback(kind: &str, sender: &str) -> crate::ingest::Report {
    let raw = format!(
        "From: feedback@mx.example.org\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: x\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nUser-Agent: a/1\nVersion: 1\nOriginal-Mail-From: <{sender}>\n\n--b--\n"
    );
    report(&understand(raw.as_bytes()), raw.as_bytes(), &envelope())
}

#[test]
fn failed_checks_and_viruses_are_no_complaints() {
    for kind in ["auth-failure", "virus", "not-spam"] {
        let made = feedback(kind, "b-jo=example.net@mail.example.com");
        assert_eq!((made.events.len(), made.set_aside.len(), made.ignored), (0, 0, vec![kind]), "{kind}");
    }
    let made = feedback("abuse", "b-jo=example.net@mail.example.com");
    assert_eq!(made.events[0].recipient.expose(), "jo@example.net");
}

#[test]
fn who_may_have_complained_is_no_complainant() {
    for sender in ["anna-jo=example.net@mail.example.com", "prvs=1a2b3c=jo.doe@example.com"] {
        let made = feedback("abuse", sender);
        assert!(made.events.is_empty(), "{sender}");
        assert_eq!(made.set_aside[0].reason, crate::ingest::SetAsideReason::NoRecipient);
    }
}

#[test]
fn what_makes_no_event_is_set_aside_with_its_reason() {
    use crate::ingest::SetAsideReason::{ImplausibleTime, Malformed, NoRecipient};
    let made = |raw: &str| {
        let made = report(&understand(raw.as_bytes()), raw.as_bytes(), &envelope());
        (made.events.len(), made.set_aside.iter().map(|aside| aside.reason).collect::<Vec<_>>(), made.ignored)
    };
    let report = |date: &str, recipient: &str| {
        format!(
            "From: MAILER-DAEMON@mx.example.org\n{date}Subject: x\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\nFinal-Recipient: {recipient}\nAction: failed\nStatus: 5.1.1\n\n--b--\n"
        )
    };
    let date = "Date: Mon, 23 Nov 2026 12:00:05 +0000\n";
    assert_eq!(made(&report(date, "rfc822; jo@example.net")), (1, vec![], vec![]));
    assert_eq!(made(&report(date, "x400; /S=jo/")), (0, vec![NoRecipient], vec![]));
    assert_eq!(made(&report("", "rfc822; jo@example.net")), (0, vec![Malformed], vec![]));
    assert_eq!(
        made(&report("Date: Mon, 23 Nov 1998 12:00:05 +0000\n", "rfc822; jo@example.net")),
        (0, vec![ImplausibleTime], vec![])
    );
    assert_eq!(made("no mail"), (0, vec![Malformed], vec![]));
    assert_eq!(made("From: jo@example.net\n\nhello\n"), (0, vec![], vec!["other"]));
}

#[test]
fn an_mbox_file_is_its_mails() {
    let mails = |text: &str| {
        mails_of(text.as_bytes()).map(|mail| String::from_utf8_lossy(mail).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        mails("From a\nSubject: x\n\nFrom here\n\nFrom b\nSubject: y\n"),
        ["From a\nSubject: x\n\n", "From here\n\n", "From b\nSubject: y\n"]
    );
    assert_eq!(mails("Subject: x\n\nFrom here\n"), ["Subject: x\n\nFrom here\n"]);
    assert_eq!(mails("From a\r\nSubject: x\r\n\r\ny\r\n\r\nFrom b\r\n").len(), 2);
}

/// The listener knows the null reverse path; nobody has written it into the mail.
#[test]
fn a_bounce_is_known_by_the_envelope_alone() {
    let raw = b"From: Jo <jo@example.net>\nTo: bounces@mail.example.com\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: x\n\n<kim@example.net>: 550 5.1.1 no such user\n";
    let by = |reverse_path| understand_received(raw, &Receipt { reverse_path, ..Receipt::default() }).kind();
    assert_eq!((by(Some("")), by(Some("jo@example.net")), by(None)), ("delivery-report", "other", "other"));
    // What stands in the mail is its sender's word.
    let mut claimed = b"Return-Path: <>\n".to_vec();
    claimed.extend_from_slice(raw);
    let receipt = Receipt { reverse_path: Some("jo@example.net"), ..Receipt::default() };
    assert_eq!(understand_received(&claimed, &receipt).kind(), "other");
    let exchange = b"From: jo@example.net\nX-Auto-Response-Suppress: All\nSubject: x\n\nI am away\n";
    let receipt = Receipt { reverse_path: Some(""), ..Receipt::default() };
    assert_eq!(understand_received(exchange, &receipt).kind(), "auto-reply");
}

#[test]
fn only_apple_writes_for_apple() {
    let text = String::from_utf8(fixture("apple-notification.eml")).expect("UTF-8");
    let read = |text: &str, authserv_id| match understand_received(
        text.as_bytes(),
        &Receipt { authserv_id, ..Receipt::default() },
    ) {
        Understood::Relay(notification) => Some(notification.authenticated),
        _ => None,
    };
    let own = Some("mx.example.com");
    assert_eq!((read(&text, own), read(&text, None)), (Some(true), Some(false)));
    assert_eq!(read(&text, Some("mx.example.org")), Some(false), "by another server");
    assert_eq!(read(&text.replace("header.d=email.apple.com", "header.d=example.com"), own), Some(false));
    assert_eq!(read(&text.replace("header.d=email.apple.com", "header.d=icloud.com"), own), Some(false));
    let forged = format!("Authentication-Results: mx.example.org; dkim=fail\n{text}");
    assert_eq!(read(&forged, own), Some(false), "the topmost one counts");
    for user in ["icloud.com", "privaterelay.appleid.com", "notapple.com"] {
        assert_eq!(read(&text.replace("no_reply@email.apple.com", &format!("jo@{user}")), own), None, "{user}");
    }
}
