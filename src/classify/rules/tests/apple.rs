//! What Apple says, in every dress.

use proptest::prelude::*;

use super::*;

/// Cause, fault, action, and whether it is hard.
type Judged = (Cause, Fault, Action, bool);

/// What the sender is to mend.
const fn senders(cause: Cause) -> Judged {
    (cause, Fault::Sender, Action::FixSender, false)
}

/// What says that nobody is there.
const fn gone(cause: Cause) -> Judged {
    (cause, Fault::Recipient, Action::Hold, true)
}

/// Every reply of the private relay and of iCloud, with the codes that it comes under: `§R` stands for the recipient, `§S` for the
/// envelope sender.
const REPLIES: &[(&[&str], &str, Judged)] = {
    use Action::{Hold, Retry};
    use Cause::{
        AuthenticationFailed, DmarcRejected, DomainBlocked, DomainRefusesMail, IpBlocked, MailboxDisabled, MailboxFull,
        PolicyRejected, ProviderOutage, RateLimited, ReceiverError, RecipientMoved, RecipientUnknown,
        RelaySenderUnregistered, RelayTransformationFailed, RelayingDenied, SenderRejected, Undetermined,
    };
    use Fault::{Apple, Recipient, Sender, Unknown};
    &[
        (&["550 5.1.1 "], "<§S>: unauthorized sender", senders(RelaySenderUnregistered)),
        (&["550 5.1.1 "], "<§R>: user not found (in reply to RCPT TO command)", gone(RecipientUnknown)),
        (&["550 5.1.1 "], "bad mailbox name", senders(RelaySenderUnregistered)),
        (&["5.7.1 "], "Email rejected due to transformation error", (RelayTransformationFailed, Unknown, Hold, false)),
        (&["550 5.7.1 "], "Relay not permitted for user.", (Undetermined, Unknown, Hold, false)),
        (
            &["550 5.1.1 "],
            "<§R>: inactive email address (in reply to RCPT TO command)",
            (MailboxDisabled, Recipient, Hold, false),
        ),
        (&["550 5.1.1 "], "<§R>: user does not exist", gone(RecipientUnknown)),
        (&["550 5.1.1 "], "unknown or illegal alias: §R", gone(RecipientUnknown)),
        (&["550 5.1.1 "], ": user lookup success but no user record found", (ProviderOutage, Apple, Retry, false)),
        (&["550 5.1.1 "], "<§R>: user lookup success but no user record found", (ProviderOutage, Apple, Retry, false)),
        (&["550 5.1.6 "], "recipient no longer on server: §R", gone(RecipientMoved)),
        (
            &["552 5.2.2 "],
            "<§R>: user is over quota (in reply to RCPT TO command)",
            (MailboxFull, Recipient, Retry, false),
        ),
        (&["450 4.2.2 "], "user is overquota", (MailboxFull, Recipient, Retry, false)),
        (
            &["554 5.7.1 "],
            "[HME1] This message was blocked for failing both SPF and DKIM authentication checks. See https://support.apple.com/en-us/HT204137 for mailing best practices",
            senders(AuthenticationFailed),
        ),
        (
            &["554 5.7.1 ", "550 5.7.1 "],
            "Your message was rejected due to example.jp's DMARC policy. See https://support.apple.com/en-us/HT204137 for info",
            senders(DmarcRejected),
        ),
        (
            &["550 5.7.1 ", "554 5.7.1 "],
            "[CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
            senders(PolicyRejected),
        ),
        (&["554 5.7.1 "], "[CS02] ...", senders(PolicyRejected)),
        (&["554 5.7.1 "], "[HM07] Message rejected due to local policy.", senders(PolicyRejected)),
        (
            &["554 5.7.1 "],
            "[HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137. Txn ID 4fbc0af0-417e-4180-91d8-66754d53a162",
            senders(PolicyRejected),
        ),
        (&["550 5.7.1 "], "Message rejected due to local policy. ...", senders(PolicyRejected)),
        (
            &["550 5.7.0 "],
            "Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1",
            senders(IpBlocked),
        ),
        (
            &["550 5.7.1 "],
            "Your email was rejected due to having a domain present in the Spamhaus DBL -- see https://www.spamhaus.org/dbl/",
            senders(DomainBlocked),
        ),
        (
            &["550 5.7.1 "],
            "Mail from IP 192.0.2.1 was rejected due to listing in Spamhaus SBL. For details please see http://www.spamhaus.org/query/bl?ip=192.0.2.1",
            senders(IpBlocked),
        ),
        (&["554 5.7.1 "], "<§R>: Relay access denied", senders(RelayingDenied)),
        (&["554 "], "****-smtpin001.me.com ESMTP not accepting connections", (ReceiverError, Unknown, Retry, false)),
        (&[""], "host/domain does not accept mail", (DomainRefusesMail, Unknown, Hold, false)),
        (&["450 4.1.8 "], "<§S>: Sender address rejected: Domain not found", senders(SenderRejected)),
        (
            &["421 4.7.1 "],
            "Messages to §R deferred due to excessive volume. Try again later - https://support.apple.com/en-us/HT204137",
            (RateLimited, Sender, Retry, false),
        ),
        (&["421 4.7.0 "], "me.com Error: too many errors", (RateLimited, Sender, Retry, false)),
        (&["451 4.7.1 "], "Service unavailable - try again later", (ReceiverError, Apple, Retry, false)),
        (&["451 "], "[BS02] Temporary server error. Please try again later.", (ReceiverError, Apple, Retry, false)),
        (&["421 "], "[HCM1] Your mail from x.y.z.a was deferred.", (RateLimited, Sender, Retry, false)),
        (&["421 "], "[HCM1] Your mail from 192.0.2.1 was deferred.", (RateLimited, Sender, Retry, false)),
        (&["452 "], "try later", (RateLimited, Sender, Retry, false)),
    ]
};

fn mixed_case(text: &str) -> String {
    text.chars()
        .enumerate()
        .map(|(at, c)| if at % 3 == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect()
}

/// The reply over several lines, as SMTP folds it: a break after every third word.
fn over_lines(codes: &str, text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let lines: Vec<String> = words.chunks(3).map(|words| words.join(" ")).collect();
    let (basic, enhanced) = codes.trim_end().split_once(' ').unwrap_or((codes.trim_end(), ""));
    if !(basic.len() == 3 && basic.bytes().all(|b| b.is_ascii_digit())) {
        return format!("{codes}{}", lines.join("\r\n  "));
    }
    let last = lines.len() - 1;
    let line = |(at, line): (usize, &String)| {
        let mark = if at == last { ' ' } else { '-' };
        if enhanced.is_empty() { format!("{basic}{mark}{line}") } else { format!("{basic}{mark}{enhanced} {line}") }
    };
    lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
}

/// A reply in each of its dresses.
fn dresses(codes: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for text in [text.to_owned(), text.to_uppercase(), text.to_lowercase(), mixed_case(text)] {
        out.push(format!("{codes}{text}"));
        out.push(text.clone());
        out.push(over_lines(codes, &text));
        out.push(format!("smtp; {codes}{text}"));
        out.push(format!("  {codes}{text}\r\n"));
    }
    out
}

fn check(rules: &Rules, recipient: &str, sender: &str, mx: &str, known: bool) -> Result<(), TestCaseError> {
    for (codes, text, judged) in REPLIES {
        let text = text.replace("§R", recipient).replace("§S", sender);
        for dress in codes.iter().flat_map(|codes| dresses(codes, &text)) {
            let verdict =
                if known { judge(rules, &dress, recipient, sender, mx) } else { judge(rules, &dress, "", "", mx) };
            prop_assert_eq!(
                (verdict.cause, verdict.fault, verdict.action, verdict.hard),
                *judged,
                "{} by {} at {:?}",
                dress,
                verdict.rule,
                mx
            );
        }
    }
    Ok(())
}

#[test]
fn every_reply_of_apple_is_right_in_every_dress() {
    let rules = rules();
    for (recipient, mx) in
        [(RELAY, RELAY_MX), (RELAY, ""), ("x7kq2m9abc@private.icloud.com", "smtp1.private.icloud.com")]
    {
        check(&rules, recipient, SENDER, mx, true).expect("relay");
    }
    for mx in [ICLOUD_MX, "", "mx2.me.com.akadns.net"] {
        check(&rules, "x7kq2m9abc@icloud.com", SENDER, mx, true).expect("iCloud");
    }
}

#[test]
fn every_reply_of_apple_is_right_with_nothing_known_beside_it() {
    let rules = rules();
    let verp = "bounce+b53c9e.27949-x7kq2m9abc=privaterelay.appleid.com@test.x.example.com";
    for recipient in [RELAY, "x7kq2m9abc@icloud.com"] {
        check(&rules, recipient, verp, "", false).expect("nothing known");
        check(&rules, recipient, "a@example.jp", "", false).expect("nothing known");
    }
}

#[test]
fn the_seven_texts_under_one_code_are_told_apart() {
    let rules = rules();
    let cause = |text: &str| judge(&rules, &format!("550 5.1.1 {text}"), RELAY, SENDER, RELAY_MX).cause;
    let mut causes = vec![
        cause(&format!("<{SENDER}>: unauthorized sender")),
        cause(&format!("<{RELAY}>: user not found")),
        cause("bad mailbox name"),
        cause(&format!("<{RELAY}>: inactive email address")),
        cause(&format!("unknown or illegal alias: {RELAY}")),
        cause(&format!("<{RELAY}>: user does not exist")),
        cause("user lookup success but no user record found"),
    ];
    assert_eq!(
        causes,
        [
            Cause::RelaySenderUnregistered,
            Cause::RecipientUnknown,
            Cause::RelaySenderUnregistered,
            Cause::MailboxDisabled,
            Cause::RecipientUnknown,
            Cause::RecipientUnknown,
            Cause::ProviderOutage,
        ]
    );
    causes.dedup();
    assert!(causes.len() > 4);
}

#[test]
fn whose_address_is_in_the_brackets_outweighs_the_words() {
    let rules = rules();
    let verdict = |bracket: &str, sender: &str| {
        judge(&rules, &format!("550 5.1.1 <{bracket}>: user not found"), RELAY, sender, RELAY_MX)
    };
    let named = verdict(RELAY, SENDER);
    assert_eq!((named.cause, named.hard, named.action), (Cause::RecipientUnknown, true, Action::Hold));
    let sender = verdict(SENDER, SENDER);
    assert_eq!((sender.cause, sender.hard), (Cause::RelaySenderUnregistered, false));
    let verp = verdict("b-x7kq2m9abc=privaterelay.appleid.com@mail.example.com", "news@example.com");
    assert_eq!((verp.cause, verp.hard), (Cause::RelaySenderUnregistered, false));
    // Mailgun reports the From address as the sender: an address that differs from it proves nothing.
    let trap = verdict("other@mail.example.org", "news@example.com");
    assert_eq!((trap.cause, trap.hard, trap.action), (Cause::Undetermined, false, Action::Hold));
    let stranger = verdict("other@privaterelay.appleid.com", SENDER);
    assert_eq!((stranger.cause, stranger.hard), (Cause::Undetermined, false));
    assert_eq!(named.evidence.first().map(|e| e.kind), Some(EvidenceKind::AddressRole));
}

#[test]
fn unknown_words_are_undetermined_and_never_hard() {
    let rules = rules();
    for (text, action) in [
        ("550 5.1.1 something that nobody has seen", Action::Hold),
        ("550 5.1.1 <x7kq2m9abc@privaterelay.appleid.com>: gone fishing", Action::Hold),
        ("450 4.2.0 come back", Action::Retry),
        ("4.2.0 come back", Action::Retry),
        ("550", Action::Hold),
        ("", Action::Hold),
    ] {
        let verdict = judge(&rules, text, RELAY, SENDER, RELAY_MX);
        assert_eq!((verdict.cause, verdict.hard, verdict.action), (Cause::Undetermined, false, action), "{text}");
        assert_eq!(verdict.rule, NO_RULE);
    }
    let new = judge(&rules, &format!("550 5.1.1 <{SENDER}>: gone fishing"), RELAY, SENDER, RELAY_MX);
    assert_eq!((new.cause, new.fault), (Cause::Undetermined, Fault::Sender));
}

#[test]
fn apples_words_from_somebody_elses_exchanger_are_not_apples() {
    let rules = rules();
    for text in ["550 5.1.1 unauthorized sender", "550 5.1.1 bad mailbox name", "550 5.1.1 user not found"] {
        let verdict = judge(&rules, text, "jo@example.net", SENDER, "mx.example.net");
        assert!(!verdict.rule.starts_with("apple-"), "{text}: {}", verdict.rule);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_reply_of_apple_is_right_whoever_is_named(
        local in "[a-z0-9][a-z0-9._-]{5,14}[a-z0-9]",
        sender_local in "[a-z0-9][a-z0-9+._-]{4,12}[a-z0-9]",
        sender_domain in "[a-z]{3,9}\\.[a-z]{3,9}\\.(com|org|jp|de)",
        domain in prop::sample::select(vec!["privaterelay.appleid.com", "private.icloud.com", "icloud.com"]),
        verp in any::<bool>(),
        known in any::<bool>(),
        mx in prop::sample::select(vec!["", RELAY_MX, ICLOUD_MX]),
    ) {
        prop_assume!(!local.contains("..") && !sender_local.contains(".."));
        let recipient = format!("{local}@{domain}");
        let sender = if verp {
            format!("{sender_local}-{local}={domain}@{sender_domain}")
        } else {
            format!("{sender_local}@{sender_domain}")
        };
        check(&rules(), &recipient, &sender, mx, known)?;
    }

    #[test]
    fn any_text_gets_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..600), mx in prop::sample::select(vec!["", RELAY_MX])) {
        let rules = rules();
        let text = String::from_utf8_lossy(&bytes);
        let verdict = judge(&rules, &text, RELAY, SENDER, mx);
        let again = judge(&rules, &text, RELAY, SENDER, mx);
        prop_assert_eq!(&verdict, &again);
        prop_assert!((0.0..=1.0).contains(&verdict.confidence));
        prop_assert!(!verdict.hard || verdict.rule != NO_RULE);
    }
}
