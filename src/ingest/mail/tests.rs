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
    assert_eq!(found("prvs=1a2b3c@mail.example.com", &[]), None);
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

/// Mail made to be slow: each is a megabyte of one thing. Takes time in proportion to its length, so that all of them together
/// end within what a quadratic reading of a single one would need.
#[test]
fn hostile_mail_is_read_in_time() {
    let head = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.org\nTo: b@mail.example.com\nDate: Mon, 23 Nov 2026 12:00:05 +0000\nSubject: failure notice\n";
    let mega = |unit: &str| unit.repeat(1_000_000 / unit.len());
    let hostile = [
        format!("{head}\n{}", mega("<jo@example.net>:\n")),
        format!(
            "{head}\n{}",
            (0..50_000).fold(String::new(), |mut all, n| {
                writeln!(all, "<r{n}@example.net>:").expect("written");
                all
            })
        ),
        format!("{head}\n{}", mega("a@b.c ")),
        format!("{head}\n{}", mega("550-")),
        format!("{head}\n{}", mega("550 5.1.1 ")),
        format!("{head}\n{}", mega("<<<<<<<<")),
        format!("{head}\n{}", mega("Received: x\n\n")),
        format!("{head}X-Failed-Recipients: {}\n\n550 no\n", mega("jo@example.net, ")),
        format!("{head}{}\n\n550 no\n", mega("X-A: b\n")),
        format!("{head}X-A: b\n{}\n\n550 no\n", mega(" c\n")),
        format!("{head}Content-Type: multipart/mixed; boundary=b\n\n{}", mega("--b\n")),
        format!("{head}Content-Type: multipart/mixed; boundary=b\n\n{}", mega("--b\nContent-Type: message/rfc822\n\n")),
        format!(
            "{head}Content-Type: multipart/mixed; boundary=b\n\n{}",
            mega("--b\nContent-Type: multipart/mixed; boundary=b\n\n")
        ),
        format!(
            "{head}Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n{}",
            mega("Final-Recipient: rfc822; a@b.c\n")
        ),
        format!("{head}Content-Type: text/html\n\n{}", mega("<a><b>&lt;")),
        format!("{head}Subject: {}\n\nx", mega("=?utf-8?q?a?= ")),
        format!("{head}\n{{\"notificationType\":{}", mega("[")),
    ];
    let began = std::time::Instant::now();
    for raw in &hostile {
        let understood = understand(raw.as_bytes());
        drop(report(&understood, raw.as_bytes(), &envelope()));
    }
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
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

/// The seeds of the fuzz target, and the fixtures from which it starts too: read on the stable compiler.
#[test]
fn seeds_of_the_fuzz_target_are_read() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for folder in ["fuzz/seeds/mail", "tests/fixtures/mail"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("the folder") {
            let raw = std::fs::read(entry.expect("an entry").path()).expect("a seed");
            let understood = understand(&raw);
            assert_eq!(understood, understand(&raw));
            drop(report(&understood, &raw, &envelope()));
            seen += 1;
        }
    }
    assert!(seen > FIXTURES.len(), "{seen}");
}
