use std::fmt::Write as _;

use proptest::prelude::*;

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

/// What is understood of one recipient: the address, the reply's code, the status, the reply.
type Told = (Option<String>, Option<u16>, Option<String>, String);

/// A bounce without the fields of RFC 3464, from its text.
fn bounce(subject: &str, text: &str) -> Vec<Told> {
    let raw = format!(
        "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.org\nTo: bounces@mail.example.com\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: {subject}\n\n{text}"
    );
    let Understood::Delivery(report) = understand(raw.as_bytes()) else { panic!("{subject} is a bounce: {text}") };
    let told = report.recipients.iter().map(|one| {
        let reply = one.reply.clone().unwrap_or_default();
        let address = one.recipient.as_ref().map(|address| address.expose().to_owned());
        (address, reply.code, one.status.map(|(code, _)| code.to_string()), reply.text)
    });
    told.collect()
}

/// The habits of many mail systems, in made-up mails: what stands in the brackets is who writes so.
#[test]
#[expect(clippy::too_many_lines, clippy::type_complexity, reason = "one table")]
fn habits_of_writing_are_read() {
    let jo = || Some("jo@example.net".to_owned());
    let five = |code: &str| Some(code.to_owned());
    let cases: &[(&str, &str, Option<u16>, Option<String>, &str)] = &[
        (
            "James",
            "Hi. This is the James mail server.\nI could not deliver your message.\n\nMessage details:\n  Subject: News\n  MAIL FROM: bounces@mail.example.com\n  RCPT TO: jo@example.net\n\nError message below:\n550 5.1.1 no such user\n",
            Some(550),
            five("5.1.1"),
            "550 5.1.1 no such user",
        ),
        (
            "a Japanese provider",
            "   ----- The following addresses had delivery problems -----\njo@example.net\n\n   ----- Non-delivered information -----\nThe number of messages in recipient's mailbox exceeded the local limit.\n",
            None,
            None,
            "The number of messages in recipient's mailbox exceeded the local limit.",
        ),
        (
            "a hosting company",
            "The following address failed:\n\njo@example.net\n\nFor the following reason:\n\nMail size limit exceeded.\n",
            None,
            None,
            "Mail size limit exceeded.",
        ),
        (
            "Exchange 2003",
            "Your message\n\n  To:      Jo\n  Subject: News\n\ndid not reach the following recipient(s):\n\njo@example.net on Mon, 23 Nov 2026 12:00:00 +0000\n    The recipient name is not recognized\n",
            None,
            None,
            "The recipient name is not recognized",
        ),
        (
            "GMX",
            "A message that you sent could not be delivered.\n\n\"jo@example.net\":\nSMTP error from remote server after RCPT command:\nhost: mx.example.net\n550 5.1.1 <jo@example.net>... User unknown\n",
            Some(550),
            five("5.1.1"),
            "550 5.1.1 <jo@example.net>... User unknown",
        ),
        (
            "a gateway",
            "Unable to deliver message.\n\nSent <<< RCPT TO:<jo@example.net>\nReceived >>> 550 5.1.1 <jo@example.net>... user unknown\n",
            Some(550),
            five("5.1.1"),
            "550 5.1.1 <jo@example.net>... user unknown",
        ),
        (
            "a phone company",
            "Your mail sent on: Mon, 23 Nov 2026 12:00:00 +0900\n    Could not be delivered to: <jo@example.net>\n    As their mailbox is full.\n",
            None,
            None,
            "As their mailbox is full.",
        ),
        (
            "MailMarshal",
            "Your message:\n   From:    bounces@mail.example.com\n   Subject: News\nCould not be delivered because of\n\n550 5.1.1 User unknown\n\nThe following recipients were affected:\n    jo@example.net\n",
            Some(550),
            five("5.1.1"),
            "550 5.1.1 User unknown",
        ),
        (
            "McAfee",
            " --- The following addresses had delivery problems ---\n\n<jo@example.net>   (User unknown jo@example.net)\n",
            None,
            None,
            "User unknown jo@example.net",
        ),
        (
            "Notes",
            "------- Failure Reasons  --------\n\nUser not listed in public Name & Address Book\njo@example.net\n\n------- Returned Message --------\n",
            None,
            None,
            "User not listed in public Name & Address Book",
        ),
        (
            "a list in brackets",
            "---The following addresses had delivery errors---\n\njo@example.net [User unknown]\n",
            None,
            None,
            "User unknown",
        ),
        (
            "a sentence with the reply in brackets",
            "1 error(s):\n\nSMTP Server <mx.example.net> rejected recipient <jo@example.net>\n  (Error following RCPT command). It responded as follows: [550 5.1.1 User unknown]\n",
            Some(550),
            five("5.1.1"),
            "",
        ),
        (
            "Zoho",
            "This is a permanent error.\n\njo@example.net Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 <jo@example.net>... User Unknown\n",
            Some(550),
            five("5.1.1"),
            "",
        ),
        (
            "Postfix",
            "This is the mail system at host mx.example.org.\n\n<jo@example.net>: host mx.example.net[192.0.2.1] said: 452 4.2.2 <jo@example.net>:\n    mailbox full (in reply to RCPT TO command)\n",
            Some(452),
            five("4.2.2"),
            "",
        ),
        (
            "Gmail",
            "Delivery to the following recipient failed permanently:\n\n     jo@example.net\n\nTechnical details of permanent failure:\nGoogle tried to deliver your message, but it was rejected by the server for the recipient domain example.net by mx.example.net. [192.0.2.1].\n\nThe error that the other server returned was:\n550 5.7.1 Access denied\n\n----- Original message -----\n",
            Some(550),
            five("5.7.1"),
            "550 5.7.1 Access denied",
        ),
        (
            "Sendmail",
            "   ----- The following addresses had permanent fatal errors -----\n<jo@example.net>\n    (reason: 550 5.1.1 <jo@example.net>... User unknown)\n\n   ----- Transcript of session follows -----\n... while talking to mx.example.net.:\n>>> RCPT To:<jo@example.net>\n<<< 550 5.1.1 <jo@example.net>... User unknown\n550 5.1.1 <jo@example.net>... User unknown\n",
            Some(550),
            five("5.1.1"),
            "",
        ),
        (
            "Exchange",
            "Delivery has failed to these recipients or groups:\n\njo@example.net<mailto:jo@example.net>\nThe address was not found.\n\nDiagnostic information for administrators:\n\nGenerating server: mx.example.org\n\njo@example.net\nRemote Server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found'\n\nOriginal message headers:\n\nReceived: from a\nFrom: news@example.com\nMessage-ID: <1@example.com>\n",
            Some(550),
            five("5.1.10"),
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found",
        ),
    ];
    for (who, text, code, status, reply) in cases {
        let found = bounce("Undeliverable", text);
        assert_eq!(found.len(), 1, "{who}: {found:?}");
        let (address, found_code, found_status, said) = &found[0];
        assert_eq!((address, found_code, found_status), (&jo(), code, status), "{who}: {said}");
        assert!(reply.is_empty() || said == reply, "{who}: {said:?} is not {reply:?}");
    }
}

#[test]
fn a_number_in_the_prose_is_no_code() {
    let found = bounce("failure notice", "Your message of 550 bytes to <jo@example.net> was not delivered.\n");
    assert_eq!((found[0].1, &found[0].2), (None, &None), "{found:?}");
}

#[test]
fn nothing_is_made_of_a_persons_mail() {
    for (from, subject) in
        [("jo@example.net", "Re: failure notice"), ("jo@example.net", "our bounce rates"), ("jo@example.net", "hello")]
    {
        let raw = format!(
            "From: {from}\nTo: news@example.com\nSubject: {subject}\n\nWrite to\n\nkim@example.org\n\nor call 550 5000.\n"
        );
        assert_eq!(understand(raw.as_bytes()), Understood::Other, "{subject}");
    }
}

#[test]
fn robots_are_no_bounces() {
    let kind = |header: &str| {
        let raw = format!(
            "Return-Path: <>\nFrom: jo@example.net\nTo: news@example.com\nDate: Mon, 23 Nov 2026 12:00:05 +0000\n{header}\n\n550 5.1.1 I am away\njo@example.net\n"
        );
        understand(raw.as_bytes()).kind()
    };
    for header in [
        "Subject: x\nAuto-Submitted: auto-replied",
        "Subject: x\nAuto-Submitted: auto-replied (vacation)",
        "Subject: x\nX-Autoreply: yes",
        "Subject: x\nPrecedence: auto_reply",
        "Subject: Out of office: News",
        "Subject: Abwesenheitsnotiz: News",
        "Subject: =?utf-8?B?6Ieq5YuV5b+c562U?=: News",
        "Subject: Re: Automatic reply: News",
    ] {
        assert_eq!(kind(header), "auto-reply", "{header}");
    }
    assert_eq!(kind("Subject: Please confirm your message"), "challenge");
    assert_eq!(kind("Subject: x\nAuto-Submitted: no"), "delivery-report", "a null return path and a reply");
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
fn everything_is_bounded() {
    let mut text = String::from(
        "From: MAILER-DAEMON@mx.example.org\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: x\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n",
    );
    for number in 0..5_000 {
        write!(text, "Final-Recipient: rfc822; r{number}@example.net\nAction: failed\nStatus: 5.1.1\n\n")
            .expect("written");
    }
    text.push_str("--b--\n");
    let Understood::Delivery(report) = understand(text.as_bytes()) else { panic!("a report") };
    assert_eq!(report.recipients.len(), MAX_RECIPIENTS);
    assert_eq!(understand(&vec![b'a'; MAX_MAIL_BYTES + 1]), Understood::Unreadable(Unreadable::TooLarge));
    assert_eq!(understand(b" \r\n "), Understood::Unreadable(Unreadable::Empty));
}

/// Messages within messages, far more than a stack could hold.
#[test]
fn deep_nesting_ends_nothing() {
    let head = "From: a@example.net\nDate: Mon, 23 Nov 2026 12:00:05 +0000\n";
    for unit in [
        "Content-Type: message/rfc822\n\n",
        "--b\nContent-Type: message/rfc822\n\n",
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\n",
    ] {
        let raw =
            format!("{head}Content-Type: multipart/mixed; boundary=b\n\n--b\n{}", unit.repeat(8_000_000 / unit.len()));
        assert_eq!(understand(raw.as_bytes()), Understood::Other);
    }
}

/// Mail made to be slow, each of so many bytes of one thing.
fn hostile(bytes: usize) -> Vec<String> {
    let head = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.org\nTo: b@mail.example.com\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: failure notice\n";
    let mega = |unit: &str| unit.repeat(bytes / unit.len());
    let numbered = |times: usize, unit: &str| {
        (0..times).fold(String::new(), |mut all, n| {
            all.push_str(&unit.replace('#', &n.to_string()));
            all
        })
    };
    let mixed = format!("{head}Content-Type: multipart/mixed; boundary=b\n\n");
    let part = "--b\nContent-Type: multipart/mixed; boundary=b#\n\n";
    vec![
        format!("{head}\n{}", mega("<jo@example.net>:\n")),
        format!("{head}\n{}", numbered(bytes / 20, "<r#@example.net>:\n")),
        // Many recipients, and far below one reply for all.
        format!(
            "{head}\nThese failed:\n\n{}\n{}\n550 5.1.1 no\n",
            numbered(bytes / 1_000, "r#@example.net\n"),
            mega("----------------\n"),
        ),
        format!("{head}\n{}", mega("a@b.c ")),
        format!("{head}\n{}", mega("550-")),
        format!("{head}\n{}", mega("550 5.1.1 ")),
        format!("{head}\n{}", mega("<<<<<<<<")),
        format!("{head}\n{}", mega("Received: x\n\n")),
        format!("{head}X-Failed-Recipients: {}\n\n550 no\n", mega("jo@example.net, ")),
        format!("{head}{}\n\n550 no\n", mega("X-A: b\n")),
        format!("{head}X-A: b\n{}\n\n550 no\n", mega(" c\n")),
        format!("{mixed}{}", mega("--b\n")),
        format!("{mixed}{}", mega("--b\nContent-Type: message/rfc822\n\n")),
        format!("{mixed}{}", mega("--b\nContent-Type: multipart/mixed; boundary=b\n\n")),
        // Parts whose ends never come, and much behind them.
        format!("{mixed}{}{}", numbered(bytes / 2_500, part), mega("--c\n")),
        format!("{mixed}{}{}", numbered(MAX_TYPED_PARTS - 1, part), mega("--c\n")),
        format!(
            "{head}Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n{}",
            mega("Final-Recipient: rfc822; a@b.c\n")
        ),
        format!("{head}Content-Type: text/html\n\n{}", mega("<a><b>&lt;")),
        format!("{head}Subject: {}\n\nx", mega("=?utf-8?q?a?= ")),
        format!("{head}\n{{\"notificationType\":{}", mega("[")),
    ]
}

/// Four times as much takes about four times as long: a quadratic reading would take sixteen times. The best of three is taken,
/// and so much time is given beside, that a busy machine breaks nothing.
#[test]
fn hostile_mail_is_read_in_time() {
    let best = |raw: &str| {
        let times = (0..3).map(|_| {
            let began = std::time::Instant::now();
            let understood = understand(raw.as_bytes());
            drop(report(&understood, raw.as_bytes(), &envelope()));
            began.elapsed()
        });
        times.min().unwrap_or_default()
    };
    for (number, (less, more)) in hostile(250_000).iter().zip(&hostile(1_000_000)).enumerate() {
        let (short, long) = (best(less), best(more));
        assert!(long < 8 * short + std::time::Duration::from_millis(100), "{number}: {short:?}, then {long:?}");
    }
}

/// What the parser may search is bounded for the largest mail, too: each of its parts would be looked for up to the end.
#[test]
fn the_largest_mail_is_given_to_the_parser_in_part() {
    let head = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.org\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n";
    let late = |typed: usize, padding: usize| {
        let parts = "--b\nContent-Type: text/plain\n\nx\n".repeat(typed);
        let raw = format!(
            "{head}{parts}{}\n--b\n\n<jo@example.net>: 550 5.1.1 no such user\n--b--\n",
            "x\n".repeat(padding / 2)
        );
        parts::take_apart(raw.as_bytes()).expect("a mail").notice.contains("jo@example.net")
    };
    assert!(late(40, 100_000), "within the least");
    assert!(!late(40, 8_000_000), "many parts, and far behind");
    assert!(!late(60, 0), "behind too many parts");
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

/// What line ends are made of, in which order fields come and where they are folded makes no difference.
fn redressed(raw: &str, order: &[usize], fold: bool, crlf: bool) -> String {
    let (header, body) = raw.split_once("\n\n").expect("a header");
    let mut fields: Vec<String> = Vec::new();
    for line in header.lines() {
        match fields.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push('\n');
                last.push_str(line);
            }
            _ => fields.push(line.to_owned()),
        }
    }
    let mut shuffled: Vec<(usize, String)> =
        fields.into_iter().enumerate().map(|(at, field)| (order.get(at).copied().unwrap_or(at), field)).collect();
    shuffled.sort_by_key(|(rank, _)| *rank);
    let fields: Vec<String> = shuffled
        .into_iter()
        .map(|(_, field)| match field.split_once(": ") {
            // Structured fields may be folded before any blank.
            Some((name, value)) if fold && !field.contains('\n') && !name.eq_ignore_ascii_case("content-type") => {
                format!("{name}:\n {value}")
            }
            _ => field,
        })
        .collect();
    let all = format!("{}\n\n{body}", fields.join("\n"));
    if crlf { all.replace('\n', "\r\n") } else { all }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn dress_makes_no_difference(name in 0..FIXTURES.len(), order in prop::collection::vec(0_usize..100, 20), fold: bool, crlf: bool) {
        let raw = String::from_utf8(fixture(&format!("{}.eml", FIXTURES[name]))).expect("UTF-8");
        let dressed = redressed(&raw, &order, fold, crlf);
        let (plain, other) = (understand(raw.as_bytes()), understand(dressed.as_bytes()));
        let made = |understood: &Understood| report(understood, b"", &envelope());
        prop_assert_eq!(made(&plain), made(&other));
        if !matches!(plain, Understood::Aggregate(_)) {
            prop_assert_eq!(plain, other);
        }
    }

    #[test]
    fn any_bytes_are_understood_alike_twice(raw in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert_eq!(understand(&raw), understand(&raw));
    }

    #[test]
    fn a_cut_mail_is_still_read(name in 0..FIXTURES.len(), at in 0_usize..1_000) {
        let raw = fixture(&format!("{}.eml", FIXTURES[name]));
        let cut = raw.len() * at / 1_000;
        let part = raw.get(..cut).unwrap_or_default();
        let understood = understand(part);
        let made = report(&understood, part, &envelope());
        prop_assert!(made.events.len() <= 2);
    }
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

/// The recipients that were read are events, and the mail is kept for the others.
#[test]
fn recipients_that_are_left_out_are_set_aside() {
    let made = |number: usize| {
        let groups = (0..number).fold(String::new(), |mut all, number| {
            write!(all, "Final-Recipient: rfc822; r{number}@example.net\nAction: failed\nStatus: 5.1.1\n\n")
                .expect("written");
            all
        });
        let raw = format!(
            "From: MAILER-DAEMON@mx.example.org\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: x\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n{groups}--b--\n"
        );
        let made = report(&understand(raw.as_bytes()), raw.as_bytes(), &envelope());
        (made.events.len(), made.set_aside.into_iter().map(|aside| aside.label).collect::<Vec<_>>())
    };
    assert_eq!(made(MAX_RECIPIENTS), (MAX_RECIPIENTS, vec![]));
    let left_out = vec!["more than 1,000 recipients".to_owned()];
    assert_eq!(made(MAX_RECIPIENTS + 1), (MAX_RECIPIENTS, left_out.clone()));
    assert_eq!(made(5_000), (MAX_RECIPIENTS, left_out.clone()));
    let complainants = (0..=MAX_RECIPIENTS).fold(String::new(), |mut all, number| {
        writeln!(all, "Original-Rcpt-To: <r{number}@example.net>").expect("written");
        all
    });
    let made = feedback(&format!("abuse\n{}", complainants.trim_end()), "b@mail.example.com");
    // A block of fields is read to its 500th.
    assert!((400..500).contains(&made.events.len()));
    assert_eq!(made.set_aside.into_iter().map(|aside| aside.label).collect::<Vec<_>>(), left_out);
}
