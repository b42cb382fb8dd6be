//! The protocol, without I/O.

use proptest::prelude::*;

use super::*;

/// The terms of these tests: two recipients and a domain, 1,000 bytes.
fn terms(protocol: MailProtocol) -> Terms {
    let recipients = ["bounces+*@example.com", "dmarc@example.com", "lists.example.com"];
    Terms {
        hostname: "mx.example.com".to_owned(),
        protocol,
        recipients: recipients.iter().map(|text| RecipientPattern::parse(text).expect("a pattern")).collect(),
        max_bytes: 1_000,
        tls: false,
        require_tls: false,
        budget: Budget::new(10_000),
    }
}

fn session(terms: Terms) -> Session {
    Session::new(Arc::new(terms), Box::new(Open))
}

/// A mail that was taken: sender, recipients, content.
type Told = (Option<String>, Vec<String>, String);

/// Lets a session read pieces; gives what it said, the mails, and whether it closed. Handshakes succeed at once.
fn talk(mut session: Session, pieces: &[&[u8]]) -> (String, Vec<Told>, bool) {
    let (mut said, mut mails) = (Vec::new(), Vec::new());
    let mut input = BytesMut::new();
    session.greet();
    said.extend(session.take_output());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let turn = session.advance(&mut input);
            said.extend(session.take_output());
            match turn {
                Turn::More => break,
                Turn::Mail(mail) => {
                    let content = String::from_utf8_lossy(&mail.content).into_owned();
                    mails.push((mail.sender, mail.recipients, content));
                    session.answer(Taking::Committed);
                }
                Turn::StartTls => {
                    input.clear();
                    session.secured();
                }
                Turn::Close => return (String::from_utf8(said).expect("text"), mails, true),
            }
        }
    }
    (String::from_utf8(said).expect("text"), mails, false)
}

/// The codes of what a session of SMTP says after its greeting, the last line of each answer.
fn codes(input: &str) -> Vec<String> {
    codes_of(session(terms(MailProtocol::Smtp)), input)
}

fn codes_of(session: Session, input: &str) -> Vec<String> {
    let said = talk(session, &[input.as_bytes()]).0;
    let last = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
    said.lines().filter(last).skip(1).map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

const MAIL: &str = "EHLO a.example\r\nMAIL FROM:<> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<bounces+1@example.com>\r\n";

#[test]
fn a_mail_is_taken() {
    let input = format!(
        "{MAIL}RCPT TO:<x@lists.example.com> NOTIFY=NEVER ORCPT=rfc822;x@y.example\r\nDATA\r\nSubject: a\r\n\r\n..b\r\n.\r\nQUIT\r\n"
    );
    let (said, mails, closed) = talk(session(terms(MailProtocol::Smtp)), &[input.as_bytes()]);
    insta::assert_snapshot!(said.replace("\r\n", "\n"));
    let recipients = vec!["bounces+1@example.com".to_owned(), "x@lists.example.com".to_owned()];
    assert_eq!(mails, [(None, recipients, "Subject: a\r\n\r\n.b\r\n".to_owned())]);
    assert!(closed);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let mut terms = terms(MailProtocol::Lmtp);
    terms.tls = true;
    let mail = MAIL.replace("EHLO", "LHLO");
    let input = format!(
        "EHLO a.example\r\n{mail}RCPT TO:<x@elsewhere.example>\r\nRCPT TO:<dmarc@example.com>\r\nDATA\r\na\r\n.\r\n"
    );
    let (said, mails, _) = talk(session(terms), &[input.as_bytes()]);
    insta::assert_snapshot!(said.replace("\r\n", "\n"));
    assert_eq!(mails.len(), 1);
}

#[test]
fn lmtp_refuses_for_each_recipient() {
    let big = "x".repeat(1_001);
    let mail = MAIL.replace("EHLO", "LHLO") + "RCPT TO:<dmarc@example.com>\r\n";
    let codes = codes_of(session(terms(MailProtocol::Lmtp)), &format!("{mail}DATA\r\n{big}\r\n.\r\nNOOP\r\n"));
    assert_eq!(codes[4..], ["354 send", "552 5.3.4", "552 5.3.4", "250 2.0.0"]);
    let none = codes_of(session(terms(MailProtocol::Lmtp)), "LHLO a\r\nMAIL FROM:<a@b.example>\r\nDATA\r\n");
    assert_eq!(none[2..], ["503 5.5.1"], "RFC 2033, 4.2");
}

#[test]
fn commands_have_their_codes() {
    for (input, expected) in [
        ("HELO a\r\n", &["250 mx.example.com"][..]),
        (
            "NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\nQUIT\r\n",
            &["250 2.0.0", "250 2.0.0", "252 2.5.2", "214 2.0.0", "221 2.0.0"],
        ),
        ("MAIL FROM:<>\r\n", &["503 5.5.1"]),
        ("EHLO a\r\nRCPT TO:<dmarc@example.com>\r\nDATA\r\n", &["250 ENHANCEDSTATUSCODES", "503 5.5.1", "503 5.5.1"]),
        ("HELO a\r\nMAIL FROM:<>\r\nDATA\r\n", &["250 mx.example.com", "250 2.1.0", "554 5.5.1"]),
        ("HELO a\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", &["250 mx.example.com", "250 2.1.0", "503 5.5.1"]),
        ("HELO a\r\nMAIL FROM:<> SIZE=1001\r\n", &["250 mx.example.com", "552 5.3.4"]),
        ("HELO a\r\nMAIL FROM:<> RET=HDRS ENVID=x AUTH=<>\r\n", &["250 mx.example.com", "250 2.1.0"]),
        ("HELO a\r\nMAIL FROM:<> BODY=BINARYMIME\r\n", &["250 mx.example.com", "555 5.5.4"]),
        ("HELO a\r\nMAIL FROM:<> REQUIRETLS\r\n", &["250 mx.example.com", "555 5.5.4"]),
        ("HELO a\r\nMAIL FROM:<> HOLDFOR=5\r\n", &["250 mx.example.com", "555 5.5.4"]),
        ("HELO a\r\nMAIL FROM:<> X=1\r\n", &["250 mx.example.com", "555 5.5.4"]),
        ("HELO a\r\nMAIL FROM:<> SIZE=x\r\n", &["250 mx.example.com", "501 5.5.4"]),
        ("HELO a\r\nMAIL FROM:a\r\n", &["250 mx.example.com", "501 5.5.2"]),
        ("HELO a\r\nMAIL FROM:<a@@b>\r\n", &["250 mx.example.com", "553 5.1.7"]),
        ("HELO a\r\nMAIL FROM:<ü@b.example>\r\n", &["250 mx.example.com", "553 5.6.7"]),
        (
            "EHLO a\r\nMAIL FROM:<ü@b.example> SMTPUTF8\r\nRCPT TO:<ü@lists.example.com>\r\n",
            &["250 ENHANCEDSTATUSCODES", "250 2.1.0", "250 2.1.5"],
        ),
        (
            "HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<who@elsewhere.example>\r\nRCPT TO:<@example.com:who@elsewhere.example>\r\nRCPT TO:<who%elsewhere.example@example.com>\r\nRCPT TO:<>\r\nRCPT TO:<postmaster>\r\n",
            &["250 mx.example.com", "250 2.1.0", "550 5.7.1", "550 5.7.1", "550 5.7.1", "550 5.7.1", "550 5.7.1"],
        ),
        ("STARTTLS\r\nAUTH PLAIN AAA=\r\nEXPN x\r\nETRN x\r\n", &["502 5.5.1"; 4]),
        ("LHLO a\r\nGET / HTTP/1.1\r\n\r\n", &["500 5.5.1"; 3]),
        ("NOOP\nNOOP\r\n", &["500 5.5.2", "250 2.0.0"]),
        ("NO\rOP\r\nNO\0OP\r\nNOOP\r\r\n", &["500 5.5.2"; 3]),
    ] {
        assert_eq!(codes(input), expected, "{input:?}");
    }
    let latin = talk(session(terms(MailProtocol::Smtp)), &[b"NOOP \xfc\r\n"]).0;
    assert!(latin.contains("\r\n500 5.5.2"), "{latin}");
}

#[test]
fn a_new_mail_begins_anew() {
    let input = format!("{MAIL}RSET\r\nRCPT TO:<dmarc@example.com>\r\n{MAIL}EHLO b\r\nDATA\r\n");
    assert_eq!(codes(&input)[3..5], ["250 2.0.0", "503 5.5.1"]);
    assert_eq!(codes(&input).last().map(String::as_str), Some("503 5.5.1"), "a second greeting is a reset");
}

#[test]
fn too_much_is_said_to_be_too_much() {
    let rcpt = |count: usize| "RCPT TO:<dmarc@example.com>\r\n".repeat(count);
    let codes_of_101 = codes(&format!("{MAIL}{}DATA\r\n.\r\n", rcpt(100)));
    assert_eq!(codes_of_101[102..], ["452 4.5.3", "354 send", "250 2.6.0"]);
    let (said, mails, closed) =
        talk(session(terms(MailProtocol::Smtp)), &[format!("{MAIL}{}", rcpt(100_000)).as_bytes()]);
    assert!(closed && mails.is_empty() && said.ends_with("421 4.7.0 too many mistakes; good bye\r\n"));
    assert!(said.lines().count() < 1_100, "it does not answer all of them");

    let strangers = "RCPT TO:<who@elsewhere.example>\r\n".repeat(30);
    let (said, _, closed) = talk(session(terms(MailProtocol::Smtp)), &[format!("{MAIL}{strangers}").as_bytes()]);
    assert!(closed && said.matches("\r\n550").count() == 20, "harvesting ends soon: {said}");
    let (said, _, closed) = talk(session(terms(MailProtocol::Smtp)), &["NOOP\r\n".repeat(1_000).as_bytes()]);
    assert!(closed && said.ends_with("421 4.7.0 too many commands without a mail; good bye\r\n"), "{said}");
    let (_, _, closed) =
        talk(session(terms(MailProtocol::Smtp)), &[format!("{MAIL}{}", "BDAT 0\r\n".repeat(200)).as_bytes()]);
    assert!(closed);
    let (said, _, closed) = talk(session(terms(MailProtocol::Smtp)), &["x".repeat(MAX_LINE).as_bytes()]);
    assert!(closed && said.contains("\r\n500 5.5.6"), "{said}");
}

#[test]
fn mails_that_are_too_large_are_read_to_their_end() {
    let at = |bytes: usize| codes(&format!("{MAIL}DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(bytes - 2)))[3..].to_vec();
    assert_eq!(at(1_000), ["354 send", "250 2.6.0", "250 2.0.0"]);
    assert_eq!(at(1_001), ["354 send", "552 5.3.4", "250 2.0.0"]);
    assert_eq!(at(2_000), ["354 send", "552 5.3.4", "250 2.0.0"]);
    assert_eq!(at(2_001), ["354 send", "552 5.3.4"], "and not for ever");
}

#[test]
fn mails_keep_to_the_budget_of_all() {
    let terms = Arc::new(Terms { budget: Budget::new(1_000), ..terms(MailProtocol::Smtp) });
    let open = || Session::new(Arc::clone(&terms), Box::new(Open));
    let mut first = open();
    let mut input = BytesMut::from(format!("{MAIL}DATA\r\n{}", "x".repeat(600)).as_bytes());
    assert!(matches!(first.advance(&mut input), Turn::More));
    let second = format!("{MAIL}DATA\r\n{}\r\n.\r\n", "x".repeat(600));
    assert_eq!(codes_of(open(), &second)[3..], ["354 send", "451 4.3.0"]);
    drop(first);
    assert_eq!(codes_of(open(), &second)[3..], ["354 send", "250 2.6.0"]);
}

#[test]
fn chunks_make_a_mail() {
    let input = format!("{MAIL}BDAT 5\r\na\r\n.\r\r\nBDAT 0\r\n");
    let (_, mails, _) = talk(session(terms(MailProtocol::Smtp)), &[input.replace("\r\r\n", "\r\n").as_bytes()]);
    assert!(mails.is_empty());
    let input = format!("{MAIL}BDAT 6\r\na\r\n.\r\nBDAT 0\r\nBDAT 2 LAST\r\nzzNOOP\r\n");
    let (said, mails, _) = talk(session(terms(MailProtocol::Smtp)), &[input.as_bytes()]);
    assert_eq!(mails.first().map(|mail| mail.2.as_str()), Some("a\r\n.\r\nzz"), "{said}");
    assert_eq!(codes(&input)[3..], ["250 2.0.0", "250 2.0.0", "250 2.6.0", "250 2.0.0"]);
    assert_eq!(codes(&format!("{MAIL}BDAT 1\r\nxDATA\r\n"))[3..], ["250 2.0.0", "503 5.5.1"], "RFC 3030, 2");
}

#[test]
fn chunks_that_belong_to_no_mail_are_read_over() {
    assert_eq!(codes("EHLO a\r\nBDAT 10 LAST\r\nQUIT\r\nRSET\r\n")[1..], ["503 5.5.1", "500 5.5.1"]);
    assert_eq!(codes("EHLO a\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n")[1..], ["503 5.5.1", "250 2.0.0"]);
    let stranger = "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n";
    assert_eq!(codes(stranger)[2..], ["550 5.7.1", "503 5.5.1", "250 2.0.0"]);
    let over = format!("{MAIL}BDAT 1001\r\n{}BDAT 1 LAST\r\nxRSET\r\n", "x".repeat(1_001));
    assert_eq!(codes(&over)[3..], ["552 5.3.4", "503 5.5.1", "250 2.0.0"]);
}

#[test]
fn a_chunk_that_lies_about_its_size_is_not_waited_for() {
    for size in ["2001", "99999999999", "18446744073709551614"] {
        for begun in [MAIL, "EHLO a\r\n"] {
            let (said, mails, closed) =
                talk(session(terms(MailProtocol::Smtp)), &[format!("{begun}BDAT {size} LAST\r\nx").as_bytes()]);
            assert!(closed && mails.is_empty() && said.contains("\r\n552 5.3.4"), "{size} {said}");
        }
    }
    assert_eq!(codes(&format!("{MAIL}BDAT 18446744073709551616\r\n"))[3..], ["501 5.5.2"]);
    assert_eq!(codes(&format!("{MAIL}BDAT -1\r\n"))[3..], ["501 5.5.2"]);
}

#[test]
fn a_handshake_forgets_what_was_said_before() {
    let secure = |require_tls| session(Terms { tls: true, require_tls, ..terms(MailProtocol::Smtp) });
    // Three pieces: what is pipelined behind STARTTLS is no command of the secured session (CVE-2011-0411).
    let pieces: [&[u8]; 3] = [
        b"EHLO a\r\nMAIL FROM:<>\r\nSTARTTLS\r\nMAIL FROM:<injected@a.example>\r\n",
        b"RCPT TO:<dmarc@example.com>\r\nMAIL FROM:<>\r\n",
        b"EHLO a\r\nMAIL FROM:<>\r\nSTARTTLS\r\n",
    ];
    let (said, mails, _) = talk(secure(true), &pieces);
    insta::assert_snapshot!(said.replace("\r\n", "\n"));
    assert!(mails.is_empty());
}

#[test]
fn a_peer_that_may_bring_no_more_is_told_so() {
    struct Shut;
    impl Gate for Shut {
        fn admits_mail(&self) -> bool {
            false
        }
    }
    let session = Session::new(Arc::new(terms(MailProtocol::Smtp)), Box::new(Shut));
    assert_eq!(
        codes_of(session, "HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<dmarc@example.com>\r\n")[1..],
        ["450 4.7.1", "503 5.5.1"]
    );
}

#[test]
fn what_became_of_a_mail_is_said() {
    for (taking, expected) in
        [(Taking::Committed, "250 2.6.0 taken\r\n"), (Taking::Later, "451 4.3.0 not taken just now; come again\r\n")]
    {
        let mut session = session(terms(MailProtocol::Smtp));
        let mut input = BytesMut::from(format!("{MAIL}DATA\r\n.\r\nNOOP\r\n").as_bytes());
        assert!(matches!(session.advance(&mut input), Turn::Mail(_)));
        assert!(matches!(session.advance(&mut input), Turn::More), "nothing is read before it's answered");
        drop(session.take_output());
        session.answer(taking);
        assert_eq!(String::from_utf8(session.take_output()).expect("text"), expected);
        assert!(matches!(session.advance(&mut input), Turn::More));
        assert_eq!(session.take_output(), b"250 2.0.0 done\r\n", "what was pipelined is obeyed then");
    }
}

/// What peers say, with mistakes in it.
fn scripts() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "EHLO a\r\n",
        "LHLO a\r\n",
        "MAIL FROM:<>\r\n",
        "RCPT TO:<dmarc@example.com>\r\n",
        "RCPT TO:<x@y.example>\r\n",
        "DATA\r\n",
        ".\r\n",
        "\r\n.\r\n",
        "\n.\n",
        "BDAT 4\r\nab\r\n",
        "BDAT 9 LAST\r\n",
        "BDAT 5000\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "QUIT\r\n",
        "a\r\n",
        "..\r\n",
        "\r",
        "\n",
        "NOOP\n",
        "MAIL FROM:<\u{fc}@a.example> SMTPUTF8 SIZE=7\r\n",
        "x",
        "a line that is longer than this session takes\r\n",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_answers_are_the_same(
        script in prop_oneof![scripts(), prop::collection::vec(any::<u8>(), 0..300)],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        lmtp in any::<bool>(),
    ) {
        let protocol = if lmtp { MailProtocol::Lmtp } else { MailProtocol::Smtp };
        let open = || session(Terms { max_bytes: 30, ..terms(protocol) });
        let whole = talk(open(), &[&script]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(script.len() + 1)).collect();
        cuts.extend([0, script.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &script[cut[0]..cut[1]]).collect();
        prop_assert_eq!(talk(open(), &pieces), whole.clone());
        let single: Vec<&[u8]> = script.chunks(1).collect();
        prop_assert_eq!(talk(open(), &single), whole);
    }
}

/// What the fuzzer begins with is also read here: the first byte chooses protocol and cut.
#[test]
fn the_seeds_of_the_fuzzer_are_read_alike_however_they_are_cut() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/smtp");
    let seeds: Vec<_> = std::fs::read_dir(folder).expect("seeds").map(|file| file.expect("a file").path()).collect();
    assert!(seeds.len() >= 9);
    for path in seeds {
        let seed = std::fs::read(&path).expect("a seed");
        let (choice, script) = seed.split_first().expect("a choice");
        let protocol = if choice & 1 == 0 { MailProtocol::Smtp } else { MailProtocol::Lmtp };
        let open = || session(Terms { max_bytes: 200, ..terms(protocol) });
        let pieces: Vec<&[u8]> = script.chunks(usize::from(choice >> 1).max(1)).collect();
        assert_eq!(talk(open(), &pieces), talk(open(), &[script]), "{}", path.display());
    }
}
