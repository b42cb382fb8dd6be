//! Whose address a reply names: the discriminator that separates Apple's two meanings of 5.1.1.

use super::context::is_within;
use crate::model::{Address, Event, RelayDomains};

/// The two sides of the message that a reply is about, as far as they are known.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The address of RCPT TO.
    pub recipient: Option<&'a Address>,
    /// The address of MAIL FROM, only where it is truly known. What a provider merely calls the sender belongs in
    /// `header_from`: Mailgun's `envelope.sender` was seen to be the From address.
    pub envelope_sender: Option<&'a Address>,
    /// The address of the From header.
    pub header_from: Option<&'a Address>,
    /// The domain of the From header, where no more of it is known.
    pub from_domain: Option<&'a str>,
    /// The domain of MAIL FROM, where no more of it is known.
    pub envelope_domain: Option<&'a str>,
    /// The domains that hold relay addresses.
    pub relay: &'a RelayDomains,
}

impl<'a> Parties<'a> {
    /// Nobody is known.
    #[must_use]
    pub const fn unknown(relay: &'a RelayDomains) -> Self {
        Self {
            recipient: None,
            envelope_sender: None,
            header_from: None,
            from_domain: None,
            envelope_domain: None,
            relay,
        }
    }

    /// The parties of a decoded event.
    #[must_use]
    pub fn of(event: &'a Event, relay: &'a RelayDomains) -> Self {
        Self {
            recipient: Some(&event.recipient),
            envelope_sender: event.envelope_sender.as_ref(),
            header_from: None,
            from_domain: event.from_domain.as_deref(),
            envelope_domain: event.envelope_domain.as_deref(),
            relay,
        }
    }

    /// Whether a host name is a domain of the sender, lies under it or over it, or is the recipient's domain.
    pub(super) fn own_domain(&self, host: &str) -> bool {
        if self.recipient.is_some_and(|recipient| recipient.domain().eq_ignore_ascii_case(host)) {
            return true;
        }
        let senders = [self.envelope_sender, self.header_from].into_iter().flatten().map(Address::domain);
        senders
            .chain(self.from_domain)
            .chain(self.envelope_domain)
            .any(|domain| is_within(host, domain) || (host.contains('.') && is_within(domain, host)))
    }
}

/// What becomes of one address in a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Recipient,
    Sender,
    Address,
}

impl Role {
    pub(super) const fn token(self) -> &'static str {
        match self {
            Self::Recipient => "{recipient}",
            Self::Sender => "{sender}",
            Self::Address => "{address}",
        }
    }
}

/// Names under which a domain's operator answers (RFC 2142): never a customer's relay address.
const OPERATORS: &[&str] =
    &["postmaster", "abuse", "hostmaster", "noc", "security", "webmaster", "mailer-daemon", "support"];

/// The role of one address in a reply.
///
/// The order is that of the reference: the recipient, the envelope sender, the VERP form, then what is left. An address
/// that merely differs from the reported sender is no evidence for anything.
pub(super) fn role_of(address: &str, parties: &Parties<'_>) -> Role {
    if same(address, parties.recipient) {
        return Role::Recipient;
    }
    if same(address, parties.envelope_sender) || same(address, parties.header_from) {
        return Role::Sender;
    }
    let Some((local, domain)) = address.rsplit_once('@') else { return Role::Address };
    if local.contains('=') {
        // `name=value@` with nothing but an assignment before the address itself.
        if let Some((_, tail)) = address.rsplit_once('=') {
            if same(tail, parties.recipient) {
                return Role::Recipient;
            }
            if same(tail, parties.envelope_sender) || same(tail, parties.header_from) {
                return Role::Sender;
            }
        }
        if is_verp(local, parties) {
            return Role::Sender;
        }
    }
    let holds_relays = parties.relay.is_relay(domain) || parties.relay.is_shared(domain);
    match parties.recipient {
        // Nobody's recipient was reported, and no company sends from a domain that holds relay addresses.
        None if holds_relays && !OPERATORS.iter().any(|name| name.eq_ignore_ascii_case(local)) => Role::Recipient,
        // The relay names either side; with MAIL FROM unknown, what is on no relay domain is the sender's.
        Some(recipient)
            if parties.envelope_sender.is_none()
                && !holds_relays
                && (parties.relay.is_relay(recipient.domain()) || parties.relay.is_shared(recipient.domain()))
                && !OPERATORS.iter().any(|name| name.eq_ignore_ascii_case(local)) =>
        {
            Role::Sender
        }
        _ => Role::Address,
    }
}

/// Whether two addresses are the same; case, and quotes around the local part, do not count.
fn same(text: &str, address: Option<&Address>) -> bool {
    let Some(address) = address else { return false };
    if text.eq_ignore_ascii_case(address.expose()) {
        return true;
    }
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let bare = |local: &str| local.trim_matches('"').to_lowercase();
    domain.eq_ignore_ascii_case(address.domain()) && bare(local) == bare(address.local())
}

/// Whether a local part carries the recipient: `<recipient's local part>=<recipient's domain>`, or, where the recipient
/// is not known, anything `=` a domain that holds relay addresses.
fn is_verp(local: &str, parties: &Parties<'_>) -> bool {
    if let Some(recipient) = parties.recipient {
        let mut verp = String::with_capacity(recipient.expose().len());
        verp.push_str(recipient.local());
        verp.push('=');
        verp.push_str(recipient.domain());
        if find_ignoring_case(local, &verp) {
            return true;
        }
    }
    local.split('=').skip(1).any(|tail| {
        let end = tail.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(tail.len());
        let domain = tail.get(..end).unwrap_or_default();
        parties.relay.is_relay(domain) || parties.relay.is_shared(domain)
    })
}

fn find_ignoring_case(text: &str, needle: &str) -> bool {
    text.as_bytes().windows(needle.len().max(1)).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(address: &str, recipient: Option<&str>, sender: Option<&str>, header_from: Option<&str>) -> Role {
        let relay = RelayDomains::default();
        let parse = |text: Option<&str>| text.map(|text| Address::parse(text).expect("address"));
        let (recipient, sender, header_from) = (parse(recipient), parse(sender), parse(header_from));
        let parties = Parties {
            recipient: recipient.as_ref(),
            envelope_sender: sender.as_ref(),
            header_from: header_from.as_ref(),
            ..Parties::unknown(&relay)
        };
        role_of(address, &parties)
    }

    const RELAY: &str = "6qj4xaisn4k@privaterelay.appleid.com";
    const VERP: &str = "bounce+b53c9e.27949-6qj4xaisn4k=privaterelay.appleid.com@test.x.example.com";

    #[test]
    fn the_two_parties_are_known_in_any_case() {
        assert_eq!(role("6QJ4XAISN4K@PrivateRelay.AppleID.com", Some(RELAY), None, None), Role::Recipient);
        assert_eq!(role("\"6qj4xaisn4k\"@privaterelay.appleid.com", Some(RELAY), None, None), Role::Recipient);
        assert_eq!(role("Bounce@Mail.example.com", Some(RELAY), Some("bounce@mail.example.com"), None), Role::Sender);
        assert_eq!(role("news@example.com", None, None, Some("news@example.com")), Role::Sender);
        assert_eq!(role("rcpt=6qj4xaisn4k@privaterelay.appleid.com", Some(RELAY), None, None), Role::Recipient);
        assert_eq!(role("prvs=1a2b3c=news@example.com", None, Some("news@example.com"), None), Role::Sender);
    }

    #[test]
    fn verp_is_the_senders_whoever_is_known() {
        assert_eq!(role(VERP, Some(RELAY), None, None), Role::Sender);
        assert_eq!(role(VERP, None, None, None), Role::Sender);
        assert_eq!(role(VERP, Some(RELAY), Some("other@example.org"), None), Role::Sender);
        assert_eq!(role(&VERP.to_uppercase(), Some(RELAY), None, None), Role::Sender);
        assert_eq!(role("b-jo=example.net@mail.example.com", Some("jo@example.net"), None, None), Role::Sender);
    }

    #[test]
    fn with_mail_from_unknown_the_domain_decides() {
        assert_eq!(role("bounces@mail.example.com", Some(RELAY), None, None), Role::Sender);
        assert_eq!(role("bounces@mail.example.com", Some(RELAY), None, Some("news@example.com")), Role::Sender);
        assert_eq!(role("other@privaterelay.appleid.com", Some(RELAY), None, None), Role::Address);
        assert_eq!(
            role("someone@icloud.com", Some(RELAY), None, None),
            Role::Address,
            "it may be where it forwards to"
        );
        assert_eq!(role("someone@example.com", Some("jo@example.net"), None, None), Role::Address);
    }

    #[test]
    fn differing_from_the_reported_sender_proves_nothing() {
        assert_eq!(role("bounces@mail.example.com", Some(RELAY), Some("news@example.com"), None), Role::Address);
        assert_eq!(role("other@privaterelay.appleid.com", Some(RELAY), Some("news@example.com"), None), Role::Address);
    }

    #[test]
    fn with_no_recipient_reported_a_relay_address_stands_for_it() {
        assert_eq!(role(RELAY, None, None, None), Role::Recipient);
        assert_eq!(role("x@icloud.com", None, None, None), Role::Recipient);
        assert_eq!(role("postmaster@icloud.com", None, None, None), Role::Address);
        assert_eq!(role("x@example.com", None, None, None), Role::Address);
    }
}
