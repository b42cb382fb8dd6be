//! What calls no address dead.

use super::*;

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
