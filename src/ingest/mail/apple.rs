//! Apple's "private email relay notifications" to the Account Holder.
//!
//! Documented is that Apple mails the Account Holder and admins from time to time about mail that could not be delivered, and that
//! there is a switch for it (account help, "Configure private email relay service"). No such mail was ever published, so that its
//! wording is unknown: what is recognised here is the sender's domain together with the service's documented name, and what it
//! says is told from documented words (register, SPF, DKIM, deliver) or left open. Nothing more is made of it.

use super::{
    MAX_NAME_BYTES,
    fields::{clean, cut},
    notice,
    parts::Mail,
};
use crate::model::{Address, RelayNotice, Timestamp, domain_of};

/// Names of the service, in lower case: both are Apple's own.
const SERVICE: &[&str] = &["private email relay", "private relay email", "hide my email", "sign in with apple"];
/// Domains and addresses that are kept.
const MAX_NAMED: usize = 20;

/// A notification of Apple's about the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayNotification {
    /// What it says, as far as its words tell.
    pub says: RelayNotice,
    /// Domains that it names, without Apple's own, lower case.
    pub domains: Vec<String>,
    /// Addresses that it names, without Apple's own: senders, never a relay address's owner.
    pub addresses: Vec<Address>,
    /// Its date.
    pub date: Option<Timestamp>,
    /// Whether one's own mail server found DKIM or DMARC passed for Apple's domain, by the topmost `Authentication-Results` field
    /// under its name. Anyone can write From, and that field too: without this, it is a claim.
    pub authenticated: bool,
}

/// Reads a notification, where the mail is one.
pub(super) fn read(mail: &Mail, authserv_id: Option<&str>) -> Option<RelayNotification> {
    let from = mail.header.get("from").and_then(domain_of)?;
    if !is_apple(&from) {
        return None;
    }
    let subject = mail.subject.to_lowercase();
    let text = cut(&mail.notice, 64 * 1024);
    let all = format!("{subject}\n{}", text.to_lowercase());
    let says_failure = ["deliver", "bounce", "reject", "regist", "authenticat", "spf", "dkim", "unauthorized"];
    let named = SERVICE.iter().any(|name| all.contains(name));
    if !named || !says_failure.iter().any(|word| all.contains(word)) {
        return None;
    }
    let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let says = if has(&[
        "not registered",
        "isn't registered",
        "isn’t registered",
        "unregistered",
        "register your",
        "must be registered",
        "unauthorized",
    ]) {
        RelayNotice::SourceNotRegistered
    } else if has(&["spf", "dkim", "authenticat"]) {
        RelayNotice::AuthenticationFailed
    } else if has(&[
        "not be delivered",
        "undeliver",
        "couldn't deliver",
        "couldn’t deliver",
        "unable to deliver",
        "not delivered",
        "bounce",
        "rejected",
    ]) {
        RelayNotice::NotDelivered
    } else {
        RelayNotice::Other
    };
    let addresses: Vec<Address> =
        notice::addresses(text, MAX_NAMED).into_iter().filter(|address| !is_apples(address.domain())).collect();
    let mut domains: Vec<String> = addresses.iter().map(|address| address.domain().to_owned()).collect();
    for word in text.split(|c: char| c.is_whitespace() || "<>()[]\"',;".contains(c)).take(20_000) {
        let word = word.trim_end_matches(['.', ':']);
        if domains.len() < MAX_NAMED
            && word.len() <= MAX_NAME_BYTES
            && let Some(domain) = domain_of(word)
            && is_domain(&domain)
            && !is_apples(&domain)
        {
            domains.push(domain);
        }
    }
    domains.sort();
    domains.dedup();
    Some(RelayNotification {
        says,
        domains,
        addresses,
        date: mail.header.date(&["date"]),
        authenticated: authserv_id.is_some_and(|own| is_authenticated(mail, own)),
    })
}

/// Where Apple itself writes from: any of its users can write from the others.
fn is_apple(domain: &str) -> bool {
    crate::classify::is_within(domain, "apple.com")
}

/// Domains of Apple's, its users' among them: none of a sender.
fn is_apples(domain: &str) -> bool {
    ["apple.com", "icloud.com", "appleid.com"].iter().any(|own| crate::classify::is_within(domain, own))
}

/// A name with a top-level domain of letters, so that no version number is one.
fn is_domain(text: &str) -> bool {
    text.rsplit_once('.').is_some_and(|(head, top)| {
        !head.is_empty()
            && top.len() >= 2
            && top.bytes().all(|b| b.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    })
}

/// Whether the topmost field of this name is by one's own server, and says so.
fn is_authenticated(mail: &Mail, own: &str) -> bool {
    let Some(results) = mail.header.get("authentication-results") else { return false };
    let results = clean(results, 4_000).to_ascii_lowercase();
    let mut parts = results.split(';');
    // Behind the name there can be a version (RFC 8601 section 2.2).
    let id = parts.next().and_then(|id| id.split_whitespace().next()).unwrap_or_default();
    id.trim_matches('"').eq_ignore_ascii_case(own)
        && parts.map(str::trim).filter(|part| ["dkim=pass", "dmarc=pass"].iter().any(|one| part.starts_with(one))).any(
            |part| {
                part.split_whitespace().any(|word| {
                    let value =
                        ["header.d=", "header.i=@", "header.from="].iter().find_map(|key| word.strip_prefix(key));
                    value.is_some_and(|domain| is_apple(domain.trim_matches(['"', ','])))
                })
            },
        )
}
