use proptest::prelude::*;

use super::*;
use crate::{
    classify::{Parties, context, template},
    model::{Address, Destination, RelayDomains},
};

const RELAY: &str = "x7kq2m9abc@privaterelay.appleid.com";
const SENDER: &str = "bounces@mail.example.com";
const RELAY_MX: &str = "smtp3.privaterelay.appleid.com";
const ICLOUD_MX: &str = "mx01.mail.icloud.com";

fn rules() -> Rules {
    Rules::built_in().expect("built-in rules")
}

/// The verdict on a text with what is known beside it; `""` is not known.
fn judge(rules: &Rules, text: &str, recipient: &str, sender: &str, mx: &str) -> Verdict {
    let relay = RelayDomains::default();
    let read = |text: &str| (!text.is_empty()).then(|| Address::parse(text).expect("address"));
    let (recipient, sender) = (read(recipient), read(sender));
    let parties =
        Parties { recipient: recipient.as_ref(), envelope_sender: sender.as_ref(), ..Parties::unknown(&relay) };
    let context = context(None, recipient.as_ref(), (!mx.is_empty()).then_some(mx), &relay);
    rules.classify(template(text, &parties), &context)
}

#[test]
fn the_built_in_rules_are_clean() {
    let findings = rules().lint();
    assert!(findings.is_empty(), "{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

/// Every reply of the private relay and of iCloud: `§R` stands for the recipient, `§S` for the envelope sender.
const REPLIES: &[(&str, &str, Cause, Fault, Action, bool)] = {
    use Action::{FixSender, Hold, Retry};
    use Cause::{
        AuthenticationFailed, DmarcRejected, DomainBlocked, DomainRefusesMail, IpBlocked, MailboxDisabled, MailboxFull,
        PolicyRejected, ProviderOutage, RateLimited, ReceiverError, RecipientMoved, RecipientUnknown,
        RelaySenderUnregistered, RelayTransformationFailed, RelayingDenied, SenderRejected, Undetermined,
    };
    use Fault::{Apple, Recipient, Sender, Unknown};
    &[
        ("550 5.1.1 ", "<§S>: unauthorized sender", RelaySenderUnregistered, Sender, FixSender, false),
        ("550 5.1.1 ", "<§R>: user not found (in reply to RCPT TO command)", RecipientUnknown, Recipient, Hold, true),
        ("550 5.1.1 ", "bad mailbox name", RelaySenderUnregistered, Sender, FixSender, false),
        ("5.7.1 ", "Email rejected due to transformation error", RelayTransformationFailed, Unknown, Hold, false),
        ("550 5.7.1 ", "Relay not permitted for user.", Undetermined, Unknown, Hold, false),
        (
            "550 5.1.1 ",
            "<§R>: inactive email address (in reply to RCPT TO command)",
            MailboxDisabled,
            Recipient,
            Hold,
            false,
        ),
        ("550 5.1.1 ", "<§R>: user does not exist", RecipientUnknown, Recipient, Hold, true),
        ("550 5.1.1 ", "unknown or illegal alias: §R", RecipientUnknown, Recipient, Hold, true),
        ("550 5.1.1 ", ": user lookup success but no user record found", ProviderOutage, Apple, Retry, false),
        ("550 5.1.1 ", "<§R>: user lookup success but no user record found", ProviderOutage, Apple, Retry, false),
        ("550 5.1.6 ", "recipient no longer on server: §R", RecipientMoved, Recipient, Hold, true),
        ("552 5.2.2 ", "<§R>: user is over quota (in reply to RCPT TO command)", MailboxFull, Recipient, Retry, false),
        ("450 4.2.2 ", "user is overquota", MailboxFull, Recipient, Retry, false),
        (
            "554 5.7.1 ",
            "[HME1] This message was blocked for failing both SPF and DKIM authentication checks. See https://support.apple.com/en-us/HT204137 for mailing best practices",
            AuthenticationFailed,
            Sender,
            FixSender,
            false,
        ),
        (
            "554 5.7.1 ",
            "Your message was rejected due to example.jp's DMARC policy. See https://support.apple.com/en-us/HT204137 for info",
            DmarcRejected,
            Sender,
            FixSender,
            false,
        ),
        (
            "550 5.7.1 ",
            "Your message was rejected due to example.jp's DMARC policy. See https://support.apple.com/en-us/HT204137 for info",
            DmarcRejected,
            Sender,
            FixSender,
            false,
        ),
        (
            "550 5.7.1 ",
            "[CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
            PolicyRejected,
            Sender,
            FixSender,
            false,
        ),
        (
            "554 5.7.1 ",
            "[CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
            PolicyRejected,
            Sender,
            FixSender,
            false,
        ),
        ("554 5.7.1 ", "[CS02] ...", PolicyRejected, Sender, FixSender, false),
        ("554 5.7.1 ", "[HM07] Message rejected due to local policy.", PolicyRejected, Sender, FixSender, false),
        (
            "554 5.7.1 ",
            "[HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137. Txn ID 4fbc0af0-417e-4180-91d8-66754d53a162",
            PolicyRejected,
            Sender,
            FixSender,
            false,
        ),
        ("550 5.7.1 ", "Message rejected due to local policy. ...", PolicyRejected, Sender, FixSender, false),
        (
            "550 5.7.0 ",
            "Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1",
            IpBlocked,
            Sender,
            FixSender,
            false,
        ),
        (
            "550 5.7.1 ",
            "Your email was rejected due to having a domain present in the Spamhaus DBL -- see https://www.spamhaus.org/dbl/",
            DomainBlocked,
            Sender,
            FixSender,
            false,
        ),
        (
            "550 5.7.1 ",
            "Mail from IP 192.0.2.1 was rejected due to listing in Spamhaus SBL. For details please see http://www.spamhaus.org/query/bl?ip=192.0.2.1",
            IpBlocked,
            Sender,
            FixSender,
            false,
        ),
        ("554 5.7.1 ", "<§R>: Relay access denied", RelayingDenied, Sender, FixSender, false),
        ("554 ", "****-smtpin001.me.com ESMTP not accepting connections", ReceiverError, Unknown, Retry, false),
        ("", "host/domain does not accept mail", DomainRefusesMail, Unknown, Hold, false),
        ("450 4.1.8 ", "<§S>: Sender address rejected: Domain not found", SenderRejected, Sender, FixSender, false),
        (
            "421 4.7.1 ",
            "Messages to §R deferred due to excessive volume. Try again later - https://support.apple.com/en-us/HT204137",
            RateLimited,
            Sender,
            Retry,
            false,
        ),
        ("421 4.7.0 ", "me.com Error: too many errors", RateLimited, Sender, Retry, false),
        ("451 4.7.1 ", "Service unavailable - try again later", ReceiverError, Apple, Retry, false),
        ("451 ", "[BS02] Temporary server error. Please try again later.", ReceiverError, Apple, Retry, false),
        ("421 ", "[HCM1] Your mail from x.y.z.a was deferred.", RateLimited, Sender, Retry, false),
        ("421 ", "[HCM1] Your mail from 192.0.2.1 was deferred.", RateLimited, Sender, Retry, false),
        ("452 ", "try later", RateLimited, Sender, Retry, false),
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
    for (codes, text, cause, fault, action, hard) in REPLIES {
        let text = text.replace("§R", recipient).replace("§S", sender);
        for dress in dresses(codes, &text) {
            let verdict =
                if known { judge(rules, &dress, recipient, sender, mx) } else { judge(rules, &dress, "", "", mx) };
            prop_assert_eq!(
                (verdict.cause, verdict.fault, verdict.action, verdict.hard),
                (*cause, *fault, *action, *hard),
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

/// Words that stand in texts about dead addresses too, in texts about something else.
const TRAPS: &[&str] = &[
    "501 5.1.7 Bad address syntax",
    "550 5.1.8 mailbox does not exist",
    "553 5.1.7 Invalid address in MAIL command",
    "550 5.3.5 LDAP lookup failed",
    "550 5.4.3 no such user database; lookup failed",
    "550 5.6.1 address not recognized in header",
    "550 Unknown reason",
    "550 bad user agent",
    "550 No mailbox space left",
    "554 No account manager approved this message",
    "550 No recipient accepted your attachments",
    "550 the requested resource is unknown",
    "550 Return-Path address does not exist",
    "550 invalid address in Reply-To",
    "550 Your account does not exist",
    "550 5.1.0 Originator address does not exist",
    "550 5.1.1 Callout verification: mailbox unavailable for <bounce@example.com>",
    "550 Rejected: mailbox unavailable due to blacklisting of 192.0.2.1",
    "550 mailbox unavailable - greylisted",
    "554 5.3.0 mail undeliverable at this time",
    "550 mailbox rejected your message: language not allowed",
    "550 support for TLS 1.0 is no longer available",
    "550 Your authentication method is no longer available",
    "550 License no longer exists",
    "550 The mail server has been replaced by a new one",
    "550 relay host has moved",
    "554 MX record address has changed",
    "550 the account is closed for external senders",
    "550 user is no longer accepting mail from unlisted addresses",
    "550 Die Domain existiert nicht",
    "550 DNS-Eintrag existiert nicht",
    "550 Le domaine n'existe pas",
    "550 Absenderadresse existiert nicht",
    "550 L'EXPEDITEUR N'EXISTE PAS",
    "550 De afzender bestaat niet",
    "550 SPF include:foo.example NXDOMAIN (permerror)",
    "554 5.4.4 NXDOMAIN while looking up zen.spamhaus.org",
    "550 HELO name mx.example: NXDOMAIN",
    "550 Domain does not exist in HELO",
    "550 Unknown host in greeting",
    "550 Domain unknown in From header",
    "550 relay: host unknown, add your server",
    "554 5.7.1 <jo@corp.example>: Recipient address rejected: Access denied",
    "550 Requested action not taken: mailbox unavailable. Reject due to policy restrictions",
    "550 5.1.1 user lookup success but no user record found",
    "550 plain auth is disabled",
    "550 5.1.1 <a@example.com>: Recipient address rejected: unverified address: connect to 192.0.2.2: Connection refused",
    "450 5.1.1 user unknown",
    "550 4.2.1 user not found",
    "550 5.1.1 user not found (directory temporarily unavailable)",
    "550 5.1.1 user does not exist; try again later",
    "550 5.1.1 user lookup success, but no user record found",
    "550 5.1.1 Recipient not found: LDAP server is down",
    "550 5.1.1 user unknown (proxy error)",
    "535 no such user or wrong password",
    "550 account not found; please check SMTP credentials",
    "550 nadawca nie istnieje",
    "550 Unbekannter Benutzer, bitte später erneut versuchen",
    "550 5.1.2 Host unknown (Name server: ns.example.net: SERVFAIL)",
    "550 5.1.2 domain does not exist (resolver timeout)",
    "550 SURBL: domain does not exist",
    "550 5.5.0 all recipient addresses rejected : access denied",
    "550 5.1.0 undeliverable address: lost connection while receiving the initial greeting",
    "550 unable to validate recipient at this time",
    "550 Mailbox unavailable, storage node offline",
    "550 user doesn't have permission to receive from outside",
    "550 not in directory of allowed senders",
    "550 blocked: dictionary attack (no such user x20)",
    "550 our IP address has changed",
    "550 mailbox is closed for maintenance",
    "550 SRS address invalid",
    "550 recipient no longer accepts newsletters",
];

/// What stands in the brackets where a provider has taken an address out.
const MASKS: &[&str] =
    &["redacted", "***", "[email protected]", "bounces at mail.example.com", "null", "%s", "{email}", "postmaster"];

#[test]
fn a_masked_address_is_nobodys_at_apple() {
    let rules = rules();
    for mask in MASKS {
        for (recipient, mx, words) in [
            (RELAY, RELAY_MX, "user not found"),
            ("x7kq2m9abc@icloud.com", ICLOUD_MX, "user does not exist"),
            ("x7kq2m9abc@icloud.com", ICLOUD_MX, "unknown or illegal alias"),
        ] {
            let text = format!("550 5.1.1 <{mask}>: {words}");
            let verdict = judge(&rules, &text, recipient, SENDER, mx);
            assert!(!verdict.hard, "{text}: {}", verdict.rule);
        }
    }
    assert!(judge(&rules, "550 5.1.1 <>: user not found", RELAY, SENDER, RELAY_MX).hard, "empty ones hold nobody");
}

#[test]
fn a_relay_address_in_a_bare_text_says_who_received() {
    let rules = rules();
    let bare = |text: &str| judge(&rules, text, "", "", "");
    let known = bare(&format!("550 5.1.1 <{RELAY}>: user not found"));
    assert_eq!((known.cause, known.hard), (Cause::RecipientUnknown, true), "{known:?}");
    for text in ["user unknown", "this alias retired", "no such user here"] {
        let verdict = bare(&format!("550 5.1.1 <{RELAY}>: {text}"));
        assert_eq!((verdict.cause, verdict.hard), (Cause::Undetermined, false), "{verdict:?}");
    }
}

#[test]
fn words_about_something_else_call_no_address_dead() {
    let rules = rules();
    for text in TRAPS {
        for (recipient, mx) in [("", ""), ("jo@example.net", "mx.example.net"), (RELAY, RELAY_MX)] {
            let verdict = judge(&rules, text, recipient, "", mx);
            assert!(!verdict.hard, "{text} to {recipient:?}: {}", verdict.rule);
        }
    }
}

#[test]
fn what_receivers_in_general_say_is_a_guess_at_apple_and_never_hard() {
    let rules = rules();
    for text in ["550 5.1.1 no such user here", "550 5.2.2 mailbox full", "550 5.1.1 mailbox unavailable"] {
        let verdict = judge(&rules, text, "x7kq2m9abc@icloud.com", SENDER, ICLOUD_MX);
        assert!(!verdict.hard && verdict.confidence <= 0.5, "{text}: {verdict:?}");
    }
    // Somebody else in the brackets: nothing is said of the address.
    let verdict =
        judge(&rules, "550 5.1.1 <other@icloud.com>: no such user", "x7kq2m9abc@icloud.com", SENDER, ICLOUD_MX);
    assert_eq!(verdict.cause, Cause::Undetermined, "{verdict:?}");
    // Apple's new words are not those of a queue or a name server.
    for text in [
        "550 5.7.1 relay address registration expired",
        "550 5.7.1 domain must exist in registered sources",
        "550 5.1.1 forwarding loop detected",
    ] {
        assert_eq!(judge(&rules, text, RELAY, SENDER, RELAY_MX).cause, Cause::Undetermined, "{text}");
    }
}

#[test]
fn letters_before_the_codes_that_change_their_length_cut_no_whole_text() {
    let rules = Rules::with_extra(&[("x", format!("version = 1\n{}", own("a", "\"frobnicated\"", "whole = true")))])
        .expect("loads");
    // The Kelvin sign takes three bytes, its lower case one; a dotted capital I takes two, its lower case three.
    for before in ["\u{212a}\u{212a} said: ", "\u{130}\u{130} said: ", ""] {
        for text in ["550 5.7.1 Frobnicated.", "550 5.7.1: FROBNICATED"] {
            let text = format!("{before}{text}");
            assert_eq!(judge(&rules, &text, "", "", "").rule, "x/a", "{text}");
            assert_ne!(judge(&rules, &format!("{text} today"), "", "", "").rule, "x/a", "{text}");
        }
    }
}

#[test]
fn case_is_folded_beyond_ascii() {
    let rules = rules();
    for text in ["550 Пользователь не найден", "550 ПОЛЬЗОВАТЕЛЬ НЕ НАЙДЕН", "552 BOÎTE PLEINE", "550 宛先不明です"]
    {
        let verdict = judge(&rules, text, "", "", "");
        assert!(verdict.rule.starts_with("languages/"), "{text}: {}", verdict.rule);
    }
}

#[test]
fn a_relay_address_is_never_suppressed_by_one_refusal() {
    let rules = rules();
    for rule in &rules.ordered {
        let action = rule.raw.action.unwrap_or(rule.raw.cause.action());
        assert_ne!(action, Action::Suppress, "{}", rule.id);
        assert!(!rule.raw.hard || action == Action::Hold, "{}", rule.id);
    }
}

#[test]
fn the_verdict_needs_only_the_template_and_the_context() {
    let rules = rules();
    let relay = RelayDomains::default();
    let recipient = Address::parse(RELAY).expect("address");
    let parties = Parties { recipient: Some(&recipient), ..Parties::unknown(&relay) };
    let template = template(&format!("550 5.1.1 <{RELAY}>: user not found"), &parties);
    let context = ReplyContext { provider: None, destination: Destination::Relay, mx: MxFamily::AppleRelay };
    let at_ingest = rules.classify(&template, &context);
    let stored: String = template.into_string();
    assert_eq!(rules.classify(stored, &context), at_ingest);
}

#[test]
fn extra_rules_come_first_and_mistakes_name_file_rule_and_line() {
    let extra = "version = 5\n[[rule]]\nname = \"ours\"\nwording = [\"unauthorized  Sender\"]\ncause = \"policy_rejected\"\nfault = \"sender\"\naction = \"hold\"\nconfidence = 1.0\ndoc = \"us\"\n";
    let rules = Rules::with_extra(&[("our-rules.toml", extra)]).expect("extra");
    let verdict = judge(&rules, "550 unauthorized sender", RELAY, SENDER, RELAY_MX);
    assert_eq!((verdict.rule.as_str(), verdict.cause, verdict.version), ("our-rules/ours", Cause::PolicyRejected, 5));
    let findings = rules.lint();
    assert!(findings.iter().any(|f| f.rule == "our-rules/ours" && f.problem == LintProblem::NoSamples));
    assert!(
        findings.iter().any(|f| f.rule == "apple-relay/unauthorized-sender"
            && f.problem == LintProblem::Unreachable("our-rules/ours".to_owned())),
        "{findings:?}"
    );

    let broken = |from: &str, to: &str| {
        let mut errors = Rules::with_extra(&[("ours", extra.replace(from, to))]).expect_err("broken").0;
        assert_eq!(errors.len(), 1, "{errors:?}");
        let error = errors.remove(0);
        (error.file.clone(), error.rule.clone(), error.line, error.to_string())
    };
    let (file, rule, line, text) = broken("policy_rejected", "policy_refused");
    assert_eq!((file.as_str(), rule.as_deref(), line), ("ours", Some("ours"), 5), "{text}");
    assert!(text.starts_with("rule file ours.toml, line 5, rule \"ours\": "), "{text}");
    let (_, rule, line, text) = broken("\"hold\"", "\"suppress\"");
    assert_eq!((rule.as_deref(), line), (Some("ours"), 2), "{text}");
    assert!(text.contains("hold"), "{text}");
    assert_eq!(broken("confidence = 1.0", "confidence = 1.0\nhard = true").2, 2);
    assert_eq!(broken("confidence = 1.0", "confidence = 7.0").2, 2);
    assert_eq!(broken("wording", "wordings").2, 4);
    assert_eq!(broken("wording = [\"unauthorized  Sender\"]\n", "").2, 2);
    assert_eq!(broken("version = 5\n", "").2, 1);
}

/// A rule of the linter's tests; `more` are further keys.
pub(super) fn own(name: &str, wording: &str, more: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nwording = [{wording}]\ncause = \"policy_rejected\"\nconfidence = 1.0\ndoc = \"us\"\n{more}\n"
    )
}

#[test]
fn names_that_are_taken_are_refused() {
    let told = |files: &[(&str, String)]| Rules::with_extra(files).expect_err("taken").to_string();
    let text = format!("version = 1\n{}", own("a", "\"frobnicated\"", ""));
    assert!(told(&[("google", text.clone())]).contains("google.toml, line 1: a built-in file has this name"));
    assert!(told(&[("none", text.clone())]).contains("rename the file"));
    assert!(told(&[("mine", text.clone()), ("mine", text.clone())]).contains("another file has this name"));
    let twice = format!("{text}{}", own("a", "\"other\"", ""));
    assert_eq!(
        told(&[("mine", twice)]),
        "rule file mine.toml, line 9, rule \"a\": the rule at line 2 has this name too: rename one"
    );
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

#[test]
fn a_stored_reply_has_its_verdict_again_only_where_the_rules_still_give_it() {
    let (rules, relay) = (rules(), RelayDomains::default());
    let recipient = Address::parse("someone@icloud.com").expect("an address");
    let text = "550 5.1.1 <someone@icloud.com>: inactive email address";
    let template = template(text, &Parties { recipient: Some(&recipient), ..Parties::unknown(&relay) });
    let context = context(None, Some(&recipient), Some(ICLOUD_MX), &relay);
    let verdict = rules.classify(&template, &context);
    let recall = |cause| rules.recall(&template, &context, None, (cause, &verdict.rule));
    assert_eq!(recall(verdict.cause), Some(verdict.clone()));
    assert_eq!(recall(Cause::RecipientUnknown), None, "another meaning");

    // Not known to be a private address when the reply came in.
    let bare = "550 5.1.1 user unknown";
    let of = |destination| ReplyContext { provider: None, destination, mx: MxFamily::Unknown };
    let (then, now) = (of(Destination::Shared), of(Destination::Relay));
    let stored = rules.classify(bare, &then);
    assert_ne!(rules.classify(bare, &now).cause, stored.cause);
    let named = format!("{}@{}", stored.rule, stored.version);
    let recall = |rule: &str| rules.recall(bare, &now, None, (stored.cause, rule)).map(|verdict| verdict.cause);
    assert_eq!(recall(&named), Some(stored.cause));
    assert_eq!(recall("another/rule@1"), None, "another rule had given that meaning");
}

#[test]
fn own_rules_in_force_leave_no_verdict_of_the_domain_to_a_reply_that_another_rule_had_judged() {
    let text = "550 5.1.1 <{recipient}>: user not found";
    let relay = ReplyContext { provider: None, destination: Destination::Relay, mx: MxFamily::Unknown };
    let stored = rules().classify(text, &relay);
    let of_domain = rules().classify(text, &ReplyContext { destination: Destination::Shared, ..relay });
    assert_eq!((of_domain.cause, &of_domain.rule), (stored.cause, &stored.rule), "it would stand in");
    assert_eq!(stored.cause, Cause::RecipientUnknown);
    let own = "version = 1\n[[rule]]\nname = \"off\"\nreceiver = [\"apple-relay\"]\nwording = [\"user not found\"]\n\
               cause = \"mailbox_disabled\"\nconfidence = 0.9\ndoc = \"us\"\n";
    let changed = Rules::with_extra(&[("ours", own)]).expect("rules");
    assert_eq!(changed.classify(text, &relay).cause, Cause::MailboxDisabled);
    assert_eq!(changed.recall(text, &relay, None, (stored.cause, &stored.rule)), None);
}
