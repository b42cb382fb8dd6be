//! Mails that are too large, too deep or too many.

use super::*;

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
