//! The facts beside a reply's wording: whose mail exchanger spoke, and what the recipient's domain can hold.

use crate::model::{Address, Destination, MxFamily, Provider, RelayDomains, ReplyContext, words};

/// Domains of mail exchangers, most specific first; a host belongs to a family when it is one of them or lies under it.
///
/// Kept apart from the relay domains on purpose: an exchanger's name tells who speaks, an address's domain what it can be.
/// Apple's names are those of iCloud and private relay exchangers seen in replies and DNS; the others are the names under
/// which Google, Microsoft and Yahoo publish theirs.
const MX_DOMAINS: &[(&str, MxFamily)] = &[
    ("privaterelay.appleid.com", MxFamily::AppleRelay),
    ("private.icloud.com", MxFamily::AppleRelay),
    ("mail.icloud.com", MxFamily::AppleIcloud),
    ("icloud.com", MxFamily::AppleIcloud),
    ("me.com", MxFamily::AppleIcloud),
    ("me.com.akadns.net", MxFamily::AppleIcloud),
    ("mac.com", MxFamily::AppleIcloud),
    ("apple.com", MxFamily::AppleIcloud),
    ("google.com", MxFamily::Google),
    ("googlemail.com", MxFamily::Google),
    ("smtp.goog", MxFamily::Google),
    ("protection.outlook.com", MxFamily::Microsoft),
    ("mx.microsoft", MxFamily::Microsoft),
    ("outlook.com", MxFamily::Microsoft),
    ("hotmail.com", MxFamily::Microsoft),
    ("yahoodns.net", MxFamily::Yahoo),
    ("yahoo.com", MxFamily::Yahoo),
    ("aol.com", MxFamily::Yahoo),
];

/// The longest host name that DNS allows (RFC 1035 section 2.3.4), with room for a type word, a port and an IP address.
const MAX_HOST_BYTES: usize = 400;

/// The family of a mail exchanger by its host name, as providers report it: bare, with a final dot, as `dns; host`
/// (RFC 3464 section 2.3.5), with an address or a port behind it.
///
/// An empty text, a bare IP address or what is no host name with a domain is [`MxFamily::Unknown`]; a name under no known domain is
/// [`MxFamily::Other`].
#[must_use]
pub fn mx_family(host: &str) -> MxFamily {
    let host = host.trim();
    if host.is_empty() || host.len() > MAX_HOST_BYTES {
        return MxFamily::Unknown;
    }
    let host = host.split_once(';').map_or(host, |(_, tail)| tail).trim_start();
    let end = host.find(|c: char| c.is_whitespace() || matches!(c, '[' | '(' | ':' | ',' | '/'));
    let host = end.and_then(|end| host.get(..end)).unwrap_or(host).trim_end_matches('.');
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if !host.bytes().any(|b| b.is_ascii_alphabetic()) || !host.contains('.') || !host.bytes().all(named) {
        return MxFamily::Unknown;
    }
    MX_DOMAINS.iter().find(|(domain, _)| is_within(host, domain)).map_or(MxFamily::Other, |(_, family)| *family)
}

/// The host that a reply itself names as the one that spoke, as Postfix writes it: `host NAME[IP] said: …`.
#[must_use]
pub fn host_that_said(text: &str) -> Option<&str> {
    let (host, rest) = text.trim_start().strip_prefix("host ")?.split_once('[')?;
    let (_, said) = rest.split_once(']')?;
    (said.starts_with(" said:") && !host.contains(char::is_whitespace)).then_some(host)
}

/// Whether a host name is the domain or lies under it; case does not count.
pub(crate) fn is_within(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.as_bytes(), domain.as_bytes());
    let Some(at) = host.len().checked_sub(domain.len()) else { return false };
    let (head, tail) = host.split_at(at);
    (head.is_empty() || head.ends_with(b".")) && tail.eq_ignore_ascii_case(domain)
}

/// What the recipient's domain can hold; [`Destination::Unknown`] where the recipient is not known.
#[must_use]
pub fn destination(recipient: Option<&Address>, relay: &RelayDomains) -> Destination {
    match recipient.map(Address::domain) {
        None => Destination::Unknown,
        Some(domain) if relay.is_relay(domain) => Destination::Relay,
        Some(domain) if relay.is_shared(domain) => Destination::Shared,
        Some(_) => Destination::Other,
    }
}

/// The context of a reply, from what an event tells.
#[must_use]
pub fn context(
    provider: Option<Provider>,
    recipient: Option<&Address>,
    remote_mta: Option<&str>,
    relay: &RelayDomains,
) -> ReplyContext {
    ReplyContext {
        provider,
        destination: destination(recipient, relay),
        mx: remote_mta.map_or(MxFamily::Unknown, mx_family),
    }
}

words! {
    /// Who received, as rules ask for it: the mail exchanger and the destination taken together.
    pub enum Receiver {
        /// Apple's private relay.
        AppleRelay = 1, "apple-relay";
        /// Apple's iCloud mail, where aliases and ordinary mailboxes are mixed.
        AppleIcloud = 2, "apple-icloud";
        /// Somebody else.
        Other = 3, "other";
        /// Neither the mail exchanger nor the recipient is known.
        Unknown = 0, "unknown";
    }
}

impl Receiver {
    /// Who received, by the facts that are stored with the reply.
    #[must_use]
    pub const fn of(context: &ReplyContext) -> Self {
        match (context.mx, context.destination) {
            (MxFamily::AppleRelay, _) | (_, Destination::Relay) => Self::AppleRelay,
            (MxFamily::AppleIcloud, _) | (MxFamily::Unknown | MxFamily::Other, Destination::Shared) => {
                Self::AppleIcloud
            }
            (MxFamily::Unknown, Destination::Unknown) => Self::Unknown,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exchanger_of_apple_is_known_in_every_dress() {
        for (host, family) in [
            ("smtp3.privaterelay.appleid.com", MxFamily::AppleRelay),
            ("SMTP1.PrivateRelay.AppleID.com.", MxFamily::AppleRelay),
            ("smtp1.private.icloud.com", MxFamily::AppleRelay),
            ("dns; smtp1.privaterelay.appleid.com (17.57.152.15, the server for the domain)", MxFamily::AppleRelay),
            ("mx01.mail.icloud.com[17.57.154.33]:25", MxFamily::AppleIcloud),
            ("mx2.me.com.akadns.net", MxFamily::AppleIcloud),
            ("smtp-mx5.mac.com", MxFamily::AppleIcloud),
            ("st11p00im-smtpin013.me.com", MxFamily::AppleIcloud),
            ("mail-in2.apple.com", MxFamily::AppleIcloud),
            ("gmail-smtp-in.l.google.com", MxFamily::Google),
            ("example-com.mail.protection.outlook.com", MxFamily::Microsoft),
            ("mta7.am0.yahoodns.net", MxFamily::Yahoo),
            ("mx.example.com", MxFamily::Other),
            ("notprivaterelay.appleid.com.example.org", MxFamily::Other),
            ("xprivaterelay.appleid.com", MxFamily::Other),
            ("", MxFamily::Unknown),
            ("17.57.152.15", MxFamily::Unknown),
            ("n/a", MxFamily::Unknown),
            ("garbage", MxFamily::Unknown),
            ("not a host !!", MxFamily::Unknown),
            ("mx!.example.com", MxFamily::Unknown),
        ] {
            assert_eq!(mx_family(host), family, "{host}");
        }
    }

    #[test]
    fn a_reply_may_name_the_host_that_spoke() {
        let said =
            "host smtp1.privaterelay.appleid.com[17.57.156.30] said: 550 5.1.1 <a@example.com>: unauthorized sender";
        assert_eq!(host_that_said(said), Some("smtp1.privaterelay.appleid.com"));
        assert_eq!(host_that_said("host mx.example.net[2001:db8::1] said: 550 no"), Some("mx.example.net"));
        for none in [
            "550 host mx.example.net[192.0.2.1] said: 550 no",
            "host mx.example.net refused",
            "host a b[1] said: x",
            "",
        ] {
            assert_eq!(host_that_said(none), None, "{none}");
        }
    }

    #[test]
    fn the_receiver_is_apple_by_either_fact() {
        let of = |mx, destination| Receiver::of(&ReplyContext { provider: None, destination, mx });
        assert_eq!(of(MxFamily::Unknown, Destination::Relay), Receiver::AppleRelay);
        assert_eq!(of(MxFamily::Other, Destination::Relay), Receiver::AppleRelay);
        assert_eq!(of(MxFamily::AppleRelay, Destination::Unknown), Receiver::AppleRelay);
        assert_eq!(of(MxFamily::AppleIcloud, Destination::Other), Receiver::AppleIcloud);
        assert_eq!(of(MxFamily::Unknown, Destination::Shared), Receiver::AppleIcloud);
        assert_eq!(of(MxFamily::Google, Destination::Shared), Receiver::Other);
        assert_eq!(of(MxFamily::Unknown, Destination::Other), Receiver::Other);
        assert_eq!(of(MxFamily::Unknown, Destination::Unknown), Receiver::Unknown);
    }

    #[test]
    fn the_context_follows_the_configured_domains() {
        let relay = RelayDomains::new(&["relay.example"], &["shared.example"]);
        let address = |text| Address::parse(text).expect("address");
        assert_eq!(destination(Some(&address("a@Relay.example")), &relay), Destination::Relay);
        assert_eq!(destination(Some(&address("a@shared.example")), &relay), Destination::Shared);
        assert_eq!(destination(Some(&address("a@privaterelay.appleid.com")), &relay), Destination::Other);
        assert_eq!(destination(None, &relay), Destination::Unknown);
        let context = context(Some(Provider::Ses), Some(&address("a@relay.example")), None, &relay);
        assert_eq!((context.mx, context.provider), (MxFamily::Unknown, Some(Provider::Ses)));
    }
}
