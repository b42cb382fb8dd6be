//! Bounces and robots as the big MTAs write them, outside of RFC 3464.

use super::*;

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
