use proptest::prelude::*;

use super::*;
use crate::model::{Address, RelayDomains};

const RELAY: &str = "zhzkndneko@privaterelay.appleid.com";

struct Known {
    recipient: Option<Address>,
    sender: Option<Address>,
    header_from: Option<Address>,
    relay: RelayDomains,
}

impl Known {
    fn new(recipient: &str, sender: &str, header_from: &str) -> Self {
        let parse = |text: &str| (!text.is_empty()).then(|| Address::parse(text).expect("address"));
        Self {
            recipient: parse(recipient),
            sender: parse(sender),
            header_from: parse(header_from),
            relay: RelayDomains::default(),
        }
    }

    fn parties(&self) -> Parties<'_> {
        Parties {
            recipient: self.recipient.as_ref(),
            envelope_sender: self.sender.as_ref(),
            header_from: self.header_from.as_ref(),
            ..Parties::unknown(&self.relay)
        }
    }

    fn template(&self, text: &str) -> String {
        template(text, &self.parties()).into_string()
    }
}

fn nobody(text: &str) -> String {
    Known::new("", "", "").template(text)
}

fn sided(text: &str) -> String {
    Known::new(RELAY, "bounce+b5.2=x@mail.example.com", "news@example.com").template(text)
}

#[test]
fn both_sides_of_the_message_become_roles() {
    assert_eq!(
        sided(&format!("550 5.1.1 <{RELAY}>: user not found (in reply to RCPT TO command)")),
        "550 5.1.1 <{recipient}>: user not found (in reply to RCPT TO command)"
    );
    assert_eq!(
        sided("550 5.1.1 <Bounce+B5.2=x@mail.Example.com>: unauthorized sender"),
        "550 5.1.1 <{sender}>: unauthorized sender"
    );
    assert_eq!(sided("550 <someone@else.example.net>... no"), "550 <{address}>... no");
    assert_eq!(
        nobody(
            "550 5.1.1 <bounce+b53c9e.27949-6qj4xaisn4k=privaterelay.appleid.com@test.x.domain.com>: unauthorized sender"
        ),
        "550 5.1.1 <{sender}>: unauthorized sender"
    );
    assert_eq!(
        nobody("550 5.1.1 unknown or illegal alias: x@icloud.com"),
        "550 5.1.1 unknown or illegal alias: {recipient}"
    );
}

#[test]
fn the_role_is_that_of_the_first_brackets_after_the_codes() {
    let role = |text: &str| {
        let known = Known::new(RELAY, "bounces@mail.example.com", "");
        template(text, &known.parties()).address_role()
    };
    assert_eq!(role(&format!("550 5.1.1 <{RELAY}>: x <bounces@mail.example.com>")), AddressRole::Recipient);
    assert_eq!(role(&format!("550 5.1.1 <bounces@mail.example.com>: x <{RELAY}>")), AddressRole::Sender);
    assert_eq!(role("550 5.1.1 <other@example.org>: x"), AddressRole::Unknown);
    assert_eq!(role("550 5.1.1 : user not found"), AddressRole::Absent);
    assert_eq!(role(&format!("550 5.1.1 {RELAY}: x <bounces@mail.example.com>")), AddressRole::Sender);
    assert_eq!(
        role(&format!(
            "<{RELAY}>: host smtp1.privaterelay.appleid.com[17.57.152.15] said: 550 5.1.1 <bounces@mail.example.com>: unauthorized sender"
        )),
        AddressRole::Sender,
        "the address that the log line begins with stands before the reply"
    );
}

#[test]
fn addresses_are_found_in_every_dress() {
    for dress in [
        "john.smith@example.org",
        "<john.smith@example.org>",
        "[john.smith@example.org]",
        "\"john.smith\"@example.org",
        "\"john smith\"@example.org",
        "\"john \\\" smith\"@example.org",
        "'john.smith@example.org'",
        "JOHN.SMITH@EXAMPLE.ORG",
        "john.smith @example.org",
        "john.smith@ example.org",
        "john.smith(comment)@example.org",
        "john.smith%40example.org",
        "john+smith%40example.org",
        "john.smith=40example.org",
        "john.smith(at)example.org",
        "john.smith&#64;example.org",
        "john.smith=example.org",
        "b+1.2-john.smith=example.org",
        "example.org!john.smith",
        "rfc822;john.smith@example.org",
        "mailto:john.smith@example.org",
        "john.smith@[192.0.2.1]",
        "john.smith@",
        "@relay.example.net:john.smith@example.org",
        "john.smith\u{ff20}example.org",
        "https://example.org/unsubscribe/john.smith@example.org?x=1",
        "https://support.apple.com/en-us/john.smith@example.org",
        "https://support.apple.com/en-us?u=john.smith@example.org",
    ] {
        let text = nobody(&format!("550 5.1.1 {dress} not here"));
        let lower = text.to_lowercase();
        assert!(!lower.contains("john") && !lower.contains("smith"), "{dress} gives {text}");
    }
}

#[test]
fn a_partys_name_alone_is_masked_too() {
    assert_eq!(sided("550 User zhzkndneko unknown"), "550 User {recipient} unknown");
    assert_eq!(sided("550 mailbox ZHZKNDNEKO-x is full"), "550 mailbox {id} is full");
    assert_eq!(sided("550 see https://support.apple.com/en-us/zhzkndneko now"), "550 see {url} now");
    let plain = Known::new("sender@example.net", "", "");
    assert_eq!(
        plain.template("550 unauthorized sender"),
        "550 unauthorized sender",
        "a word of every reply is no secret"
    );
}

#[test]
fn what_tells_one_message_or_machine_from_another_becomes_its_role() {
    for (text, expected) in [
        (
            "554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137. Txn ID 4fbc0af0-417e-4180-91d8-66754d53a162",
            "554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137. Txn ID {id}",
        ),
        (
            "550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1",
            "550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?{query}",
        ),
        (
            "552 5.2.2 see https://support.google.com/mail/?p=OverQuotaPerm c2-202229zmZBNM3agi23.222 - gsmtp",
            "552 5.2.2 see https://support.google.com/mail/?p=OverQuotaPerm {id} - gsmtp",
        ),
        ("550 5.7.1 Mail from IP 192.0.2.1 was rejected", "550 5.7.1 Mail from IP {ip} was rejected"),
        ("550 [2001:db8::1]:25 and ::1 refused", "550 [{ip}]:25 and {ip} refused"),
        (
            "554 5.7.1 Your message was rejected due to example.jp's DMARC policy.",
            "554 5.7.1 Your message was rejected due to {domain}'s DMARC policy.",
        ),
        (
            "554 st11p00im-smtpin001.me.com ESMTP not accepting connections",
            "554 {host} ESMTP not accepting connections",
        ),
        ("554 ****-smtpin001.me.com ESMTP not accepting connections", "554 ****{host} ESMTP not accepting connections"),
        ("421 4.7.0 me.com Error: too many errors", "421 4.7.0 me.com Error: too many errors"),
        ("421 [HCM1] Your mail from x.y.z.a was deferred.", "421 [HCM1] Your mail from x.y.z.a was deferred."),
        ("451 at 2025-08-20T12:34:56.789Z or 12:34:56, queue 4BcXyz12345", "451 at {time} or {time}, queue {id}"),
        ("451 since Wed, 20 Aug 2025 12:34:56 +0000 (UTC)", "451 since {time} {time} +0000 (UTC)"),
        ("250 2.0.0 OK 1700000000 a17-20020a056512abcdef.123 - gsmtp", "250 2.0.0 OK {id} {id} - gsmtp"),
        (
            "550 spf=fail smtp.mailfrom=example.com header.d=mail.example.com",
            "550 spf=fail smtp.mailfrom={host} header.d={host}",
        ),
        ("550 see www.example.com/help/abc for more", "550 see {url} for more"),
        ("550 rejected.Please call 555-12345678", "550 rejected.Please call {id}"),
        ("452 try later", "452 try later"),
        ("", ""),
    ] {
        assert_eq!(nobody(text), expected);
    }
}

#[test]
fn the_same_reply_to_many_people_is_one_template() {
    let mut seen = std::collections::HashSet::new();
    for n in 0..50 {
        let recipient = format!("x{n}q7abcdefg@privaterelay.appleid.com");
        let known = Known::new(&recipient, &format!("b+{n}@mail.example.com"), "");
        seen.insert(known.template(&format!(
            "550-5.1.1 <{recipient}>: user\r\n550 5.1.1 not found, id {n:08x}ab at 192.0.2.{n} on 2025-08-{:02}",
            n % 28 + 1
        )));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn codes_reported_beside_the_text_are_put_before_it() {
    let relay = RelayDomains::default();
    let with = |text, code, enhanced: Option<&str>| {
        let reply = Reply::with_codes(text, code, enhanced.and_then(EnhancedCode::parse));
        template_of(&reply, &Parties::unknown(&relay)).into_string()
    };
    assert_eq!(with("unauthorized sender", Some(550), Some("5.1.1")), "550 5.1.1 unauthorized sender");
    assert_eq!(with("550 unauthorized sender", Some(550), Some("5.1.1")), "550 5.1.1 unauthorized sender");
    assert_eq!(with("5.1.1 x", Some(550), None), "550 5.1.1 x");
    assert_eq!(with("550 5.1.1 x", Some(554), Some("5.7.1")), "550 5.1.1 x");
    assert_eq!(with("smtp; 550 5.1.1 x", None, None), "550 5.1.1 x");
}

#[test]
fn heads_are_read_at_the_start_or_where_a_reply_is_quoted() {
    let head = |text: &str| {
        let head = Head::read(text);
        (head.code, head.enhanced.map(|code| code.to_string()), text.get(head.end..).unwrap_or_default().to_owned())
    };
    let full = |rest: &str| (Some(550), Some("5.1.1".to_owned()), rest.to_owned());
    assert_eq!(head("550 5.1.1 x"), full(" x"));
    assert_eq!(head("550 #5.1.1 x"), full(" x"));
    assert_eq!(head("host {host} said: 550 5.1.1 x"), full(" x"));
    assert_eq!(head("5.1.1 x"), (None, Some("5.1.1".to_owned()), " x".to_owned()));
    assert_eq!(head("room 550 is full"), (None, None, "room 550 is full".to_owned()));
}

#[test]
fn a_date_at_the_end_of_a_long_reply_keeps_to_the_bound() {
    // An address becomes a role that is longer, and so does the day of a short date.
    let long = "a@b.c ".repeat(400);
    for blanks in 0..12 {
        for date in ["1 Aug 2025", "Mon, 12 Aug 2025, "] {
            let text = format!("{}{long}{}", "x ".repeat(blanks), date.repeat(2));
            let fill = "a ".repeat(8);
            for tail in [date.to_owned(), format!("{fill}{date}"), format!("{date} {fill}{date}")] {
                let text = format!("{text} {}", format!("{tail} ").repeat(120));
                let once = sided(&text);
                assert!(once.len() <= MAX_TEMPLATE_BYTES, "{}", once.len());
                assert_eq!(sided(&once), once);
            }
        }
    }
}

#[test]
fn hostile_texts_stay_bounded() {
    for piece in
        ["a@", "\"@", "{recipient}", "://", "=a.com", "[", "1.", "\u{0}", "a@b", ":", "%40", "é@", " @ ", "550-"]
    {
        let text = piece.repeat(20_000 / piece.len());
        let once = sided(&text);
        assert!(once.len() <= MAX_TEMPLATE_BYTES, "{piece}");
        assert_eq!(sided(&once), once, "{piece}");
    }
}

/// Pieces that replies are made of, hostile ones among them.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "550",
        "550-",
        "5.1.1",
        "smtp;",
        "<",
        ">",
        ":",
        "@",
        " @ ",
        "=",
        "{recipient}",
        "{sender}",
        "{id}",
        "{url}",
        "{",
        "}",
        "\"",
        "(",
        ")",
        "[",
        "]",
        "://",
        "https://support.apple.com/en-us/HT204137",
        "https://",
        "example.com",
        "me.com",
        "/",
        "?",
        "a=b",
        "?p=Topic",
        "%40",
        "%2e",
        "\r\n",
        "\n",
        "\t",
        ".",
        "...",
        "-",
        "'s",
        "!",
        "&#64;",
        "(at)",
        "192.0.2.1",
        "::1",
        "2001:db8::1",
        "12:34:56",
        "2025-08-20",
        "Wed, 20 Aug 2025",
        "20",
        "Aug",
        "2025",
        "user not found",
        "4BcXyz12345",
        "\\",
        "é",
        "\u{ff20}",
        "zhzkndneko",
        "news",
        "mail.example.com",
        "header.d=",
        "privaterelay.appleid.com",
        "\u{1}",
        "\u{2}",
        "_",
        "+",
        ",",
        ";",
    ]);
    prop_oneof![
        6 => fixed.prop_map(str::to_owned),
        2 => Just(" ".to_owned()),
        1 => "[a-zA-Z0-9._+-]{1,12}",
        1 => "\\PC{0,6}",
    ]
}

fn patched() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_template_of_a_template_is_itself(text in patched()) {
        let once = sided(&text);
        prop_assert_eq!(&sided(&once), &once);
        let again = nobody(&text);
        prop_assert_eq!(nobody(&again), again);
    }

    #[test]
    fn no_local_part_of_a_party_survives(
        recipient in "[a-z0-9]{6,16}",
        sender in "[a-z0-9]{6,16}",
        before in patched(),
        after in patched(),
        dress in 0..12usize,
        upper in any::<bool>(),
    ) {
        let known = Known::new(&format!("{recipient}@privaterelay.appleid.com"), &format!("{sender}@mail.example.com"), "");
        let (r, s) = (&recipient, &sender);
        let dressed = match dress {
            0 => format!("<{r}@privaterelay.appleid.com>"),
            1 => format!("<bounce+{r}=privaterelay.appleid.com@mail.example.com>"),
            2 => format!("{r}%40privaterelay.appleid.com and {s}"),
            3 => format!("\"{r}\"@privaterelay.appleid.com"),
            4 => format!("User {r} unknown; {s}"),
            5 => format!("{s}@mail.example.com"),
            6 => format!("https://example.com/{r}?{s}"),
            7 => format!("https://support.apple.com/{r}/{s}"),
            8 => format!("{r} (at) privaterelay.appleid.com"),
            9 => format!("prvs=1a2b={s}@mail.example.com"),
            10 => format!("{r}=privaterelay.appleid.com"),
            _ => format!("mailbox-{r}, {s}."),
        };
        let dressed = if upper { dressed.to_uppercase() } else { dressed };
        let text = known.template(&format!("{before} {dressed} {after}"));
        let lower = text.to_lowercase();
        let word = |local: &str| template(local, &Parties::unknown(&known.relay)).as_str() == local
            && known.template(local) == local;
        prop_assert!(word(r) || !lower.contains(r.as_str()), "{} in {}", r, text);
        prop_assert!(word(s) || !lower.contains(s.as_str()), "{} in {}", s, text);
    }

}

#[test]
fn a_role_behind_the_path_of_a_help_page_is_read_alike_again() {
    for text in [
        "([HM08]support.|55 apple.com/en-us:410///HT204135.@ Txn ID",
        "apple.com/en-us;a@example.com",
        "https://support.apple.com/x?a@example.com",
        "apple.com/'a@example.com'",
    ] {
        let once = nobody(text);
        assert_eq!(nobody(&once), once, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_text_has_a_bounded_template(text in "\\PC{0,5000}") {
        let once = nobody(&text);
        prop_assert!(once.len() <= MAX_TEMPLATE_BYTES);
        prop_assert_eq!(nobody(&once), once);
    }
}
