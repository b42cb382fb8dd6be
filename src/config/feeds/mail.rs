//! `[feeds.mail]`: bounces, abuse reports and DMARC aggregate reports by SMTP or LMTP.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::validate::Checks, table};
use crate::{
    config::FilePath,
    model::{Exposure, normalise_domain},
};

table! {
    /// Bounces, abuse reports and DMARC aggregate reports, which come as mail.
    pub struct MailFeed by_itself "mail" with exposure none, checked by check, connected by connect {
        /// Where mail arrives: an IP address and a port ("127.0.0.1:2525"), or for LMTP also a socket
        /// ("unix:/run/relaywatch/lmtp.sock").
        pub listen: Option<String>,
        /// `smtp` (from anywhere, as an MX does) or `lmtp` (from a mail server of one's own).
        pub protocol: MailProtocol,
        /// Whom mail is taken for, and for nobody else: an address, an address with * for any characters of its local part
        /// ("bounces+*@example.com"), or a domain.
        pub recipients: Vec<String>,
        /// The name by which the listener greets. The default is the machine's.
        pub hostname: Option<String>,
        /// The certificate chain (PEM) with which STARTTLS is offered.
        pub tls_certificate: Option<FilePath>,
        /// The private key (PEM) of `tls_certificate`.
        pub tls_key: Option<FilePath>,
        /// Take nothing without STARTTLS.
        pub require_tls: bool,
        /// Bytes of a mail at most (default 10485760).
        #[schemars(range(min = 65_536, max = 16_777_216))]
        pub max_bytes: Option<u32>,
        /// Connections at once at most (default 100); one peer that is not trusted gets a half.
        #[schemars(range(min = 1, max = 10_000))]
        pub max_connections: Option<u32>,
        /// Connections that one peer may open in a minute (default 60).
        #[schemars(range(min = 1, max = 1_000_000))]
        pub connections_per_minute: Option<u32>,
        /// Mails that one peer may bring in a minute (default 600).
        #[schemars(range(min = 1, max = 1_000_000))]
        pub mails_per_minute: Option<u32>,
        /// Peers for whom these two do not hold, by IP address or network ("192.0.2.0/24"). This machine is always trusted.
        pub trusted_peers: Vec<String>,
        /// Seconds without a command after which a connection is ended (default 300, as RFC 5321 asks for).
        #[schemars(range(min = 10, max = 3_600))]
        pub idle_seconds: Option<u32>,
    }
}

impl MailFeed {
    /// Bytes of a mail at most.
    #[must_use]
    pub fn max_bytes(&self) -> u32 {
        self.max_bytes.unwrap_or(10 * 1024 * 1024)
    }

    /// Connections at once at most.
    #[must_use]
    pub fn max_connections(&self) -> u32 {
        self.max_connections.unwrap_or(100)
    }

    /// Connections of one peer in a minute at most.
    #[must_use]
    pub fn connections_per_minute(&self) -> u32 {
        self.connections_per_minute.unwrap_or(60)
    }

    /// Mails of one peer in a minute at most.
    #[must_use]
    pub fn mails_per_minute(&self) -> u32 {
        self.mails_per_minute.unwrap_or(600)
    }

    /// Seconds without a command after which a connection is ended.
    #[must_use]
    pub fn idle_seconds(&self) -> u32 {
        self.idle_seconds.unwrap_or(300)
    }
}

/// What a mail feed speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailProtocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// Where a mail feed listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl MailAddress {
    /// Reads `127.0.0.1:2525` or `unix:/path`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            // The kernel takes 107 bytes (unix(7)).
            Some(path) => (path.starts_with('/') && path.len() < 108).then(|| Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }
}

/// Whom mail is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientPattern {
    /// The local part between its stars, in lower case; nothing where any is taken.
    local: Option<Vec<String>>,
    /// The domain, in lower case.
    domain: String,
}

impl RecipientPattern {
    /// Reads an address, an address with stars in its local part, or a domain.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.rsplit_once('@').map_or((None, text), |(local, domain)| (Some(local), domain));
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '<' || c == '>';
        let domain = normalise_domain(domain);
        let is_domain = !domain.is_empty()
            && domain
                .split('.')
                .all(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_'));
        let local = local.filter(|local| !local.is_empty());
        if !is_domain || text.contains('@') && local.is_none() || local.is_some_and(|local| local.contains(bad)) {
            return None;
        }
        let local = local.map(|local| local.to_lowercase().split('*').map(ToOwned::to_owned).collect());
        Some(Self { local, domain })
    }

    /// Whether mail for this address is taken. Case makes no difference.
    #[must_use]
    pub fn takes(&self, address: &str) -> bool {
        let Some((local, domain)) = address.rsplit_once('@') else { return false };
        if normalise_domain(domain) != self.domain || local.is_empty() {
            return false;
        }
        let Some(parts) = &self.local else { return true };
        let local = local.to_lowercase();
        let [first, middle @ .., last] = parts.as_slice() else {
            return parts.first() == Some(&local);
        };
        let Some(mut rest) = local.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()))
        else {
            return false;
        };
        middle.iter().all(|part| {
            let found = rest.split_once(part.as_str());
            rest = found.map_or(rest, |(_, behind)| behind);
            found.is_some()
        })
    }
}

/// A peer's address, or those of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/32`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, width: u32| {
            let kept = u32::from(self.bits).min(width);
            kept == 0 || (one ^ other) >> (width - kept) == 0
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => same(one.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

fn check(feed: &MailFeed, path: &str, checks: &mut Checks<'_>) {
    let at = |key: &str| format!("{path}.{key}");
    let address = feed.listen.as_deref().map(MailAddress::parse);
    match &address {
        None => checks.error(path, "the mail feed listens nowhere", "set `listen`, such as \"127.0.0.1:2525\""),
        Some(None) => checks.wrong(
            &at("listen"),
            "`listen` is no place to listen",
            "write an IP address and a port, \"127.0.0.1:2525\", or for LMTP \"unix:/run/relaywatch/lmtp.sock\"",
        ),
        Some(Some(MailAddress::Unix(_))) if feed.protocol == MailProtocol::Smtp => checks.error(
            &at("listen"),
            "SMTP does not come through a socket in the file system",
            "set `protocol = \"lmtp\"`, or listen on an address and a port",
        ),
        Some(Some(_)) => {}
    }
    if feed.recipients.is_empty() {
        checks.error(
            path,
            "the mail feed takes mail for nobody",
            "set `recipients = [\"bounces@…\"]` to the addresses to which bounces go",
        );
    }
    for (number, recipient) in feed.recipients.iter().enumerate() {
        if RecipientPattern::parse(recipient).is_none() {
            checks.wrong(
                &at(&format!("recipients.{number}")),
                "this is neither an address nor a domain",
                "write \"bounces@example.com\", \"bounces+*@example.com\" or \"bounces.example.com\"",
            );
        }
    }
    if feed.hostname.as_deref().is_some_and(|name| !is_hostname(name)) {
        checks.wrong(&at("hostname"), "`hostname` is no host's name", "write it as \"mx.example.com\"");
    }
    if feed.tls_certificate.is_some() != feed.tls_key.is_some() {
        checks.error(path, "`tls_certificate` and `tls_key` go together", "set both, or neither");
    } else if feed.require_tls && feed.tls_key.is_none() {
        checks.error(
            &at("require_tls"),
            "TLS is required and there is no certificate, so nothing would be taken",
            "set `tls_certificate` and `tls_key`",
        );
    }
    for (number, peer) in feed.trusted_peers.iter().enumerate() {
        if Network::parse(peer).is_none() {
            checks.wrong(
                &at(&format!("trusted_peers.{number}")),
                "this is neither an IP address nor a network",
                "write \"192.0.2.1\" or \"192.0.2.0/24\"",
            );
        }
    }
    if feed.exposure == Exposure::Sends {
        checks.warning(
            &at("exposure"),
            "mail does not tell of every send",
            "leave it out, unless every message asks for a report of its delivery too (`outcomes`)",
        );
    }
    if let Some(Some(MailAddress::Tcp(tcp))) = address
        && feed.protocol == MailProtocol::Lmtp
        && !tcp.ip().is_loopback()
    {
        checks.warning(
            &at("listen"),
            "LMTP listens where others can reach it",
            "bind it to 127.0.0.1, or let none but the mail server reach the port",
        );
    }
}

/// Whether a listener can greet by it.
fn is_hostname(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            !label.is_empty() && label.len() <= 63 && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
}

fn connect(feed: &MailFeed, at: &str) -> Vec<String> {
    let recipients = feed.recipients.join(", ");
    let mut lines = vec![format!("Your mail server hands mail for {recipients} to {at}")];
    if let Some(hop) = feed.listen.as_deref().and_then(MailAddress::parse).map(|at| postfix_hop(feed.protocol, &at)) {
        let (exact, starred): (Vec<&String>, Vec<&String>) =
            feed.recipients.iter().partition(|recipient| !recipient.contains('*'));
        lines.extend(exact.iter().map(|recipient| format!("Postfix, transport_maps (hash:): {recipient} {hop}")));
        lines.extend(
            starred.iter().map(|recipient| format!("Postfix, transport_maps (regexp:): {} {hop}", regexp(recipient))),
        );
        if feed.recipients.iter().any(|recipient| !recipient.contains('@')) {
            lines.push("Postfix, relay_domains: the domains among them, unless they are in mydestination".to_owned());
        }
        if hop.starts_with("lmtp:unix:") {
            let chroot =
                "A chrooted lmtp (master.cf, as on Debian) looks for the socket under Postfix's queue_directory";
            lines.push(chroot.to_owned());
        }
    }
    lines.push(
        "The envelope sender of your mail is one of these, and carries the recipient (VERP) where it can".to_owned(),
    );
    lines
}

/// The listener as `transport:nexthop` (Postfix's transport(5); of LMTP's next hops lmtp(8), "LMTP destination syntax"). The same is
/// written in main.cf. Brackets keep Postfix from looking for an MX.
fn postfix_hop(protocol: MailProtocol, at: &MailAddress) -> String {
    let host = |address: &SocketAddr| match address.ip() {
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        ip => ip.to_string(),
    };
    match (protocol, at) {
        (_, MailAddress::Unix(path)) => format!("lmtp:unix:{}", path.display()),
        (MailProtocol::Lmtp, MailAddress::Tcp(at)) => format!("lmtp:inet:[{}]:{}", host(at), at.port()),
        (MailProtocol::Smtp, MailAddress::Tcp(at)) => format!("smtp:[{}]:{}", host(at), at.port()),
    }
}

/// An address with stars as a pattern of Postfix's regexp_table(5).
fn regexp(recipient: &str) -> String {
    let parts = recipient.split('*').map(|part| {
        part.chars().fold(String::new(), |text, c| match c {
            c if c.is_alphanumeric() || matches!(c, '@' | '-' | '_' | '=') => text + &c.to_string(),
            c => text + "\\" + &c.to_string(),
        })
    });
    format!("/^{}$/", parts.collect::<Vec<_>>().join(".*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_whom_they_name() {
        let takes = |pattern: &str, address: &str| RecipientPattern::parse(pattern).expect(pattern).takes(address);
        for (pattern, address) in [
            ("dmarc@example.com", "DMARC@Example.com"),
            ("bounces+*@example.com", "bounces+9-qx7zhzkndneko=privaterelay.appleid.com@example.com"),
            ("bounces+*@example.com", "bounces+@example.com"),
            ("b-*-v*@example.com", "b-1-v2@example.com"),
            ("b*-*-v@example.com", "b-1-2-v@example.com"),
            ("bounces.example.com", "anybody@bounces.example.com"),
            ("*@example.com", "x@example.com."),
            ("example.com", "\"a@b\"@example.com"),
        ] {
            assert!(takes(pattern, address), "{pattern} {address}");
        }
        for (pattern, address) in [
            ("dmarc@example.com", "dmarc2@example.com"),
            ("dmarc@example.com", "dmarc@mail.example.com"),
            ("bounces+*@example.com", "bounces@example.com"),
            ("b*b@example.com", "b@example.com"),
            ("b*-x-*-v@example.com", "b-x-v@example.com"),
            ("example.com", "anybody@bounces.example.com"),
            ("example.com", "example.com"),
            ("example.com", "@example.com"),
            ("example.com", "a@example.com@elsewhere.example"),
            ("example.com", ""),
        ] {
            assert!(!takes(pattern, address), "{pattern} {address}");
        }
        for wrong in
            ["", "*", "@", "@example.com", "a@", "a b@example.com", "a@*.example.com", "<a@example.com>", "a@b..c"]
        {
            assert_eq!(RecipientPattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn postfix_is_told_in_its_own_words() {
        let hop = |protocol, at: &str| postfix_hop(protocol, &MailAddress::parse(at).expect(at));
        assert_eq!(hop(MailProtocol::Lmtp, "127.0.0.1:2424"), "lmtp:inet:[127.0.0.1]:2424");
        assert_eq!(hop(MailProtocol::Lmtp, "unix:/run/relaywatch/lmtp.sock"), "lmtp:unix:/run/relaywatch/lmtp.sock");
        assert_eq!(hop(MailProtocol::Smtp, "0.0.0.0:2525"), "smtp:[127.0.0.1]:2525");
        assert_eq!(hop(MailProtocol::Smtp, "[::1]:2525"), "smtp:[::1]:2525");
        assert_eq!(regexp("bounces+*@example.com"), r"/^bounces\+.*@example\.com$/");
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| {
            Network::parse(network).expect(network).holds(address.parse().expect(address))
        };
        assert!(holds("192.0.2.1", "192.0.2.1") && holds("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("0.0.0.0/0", "203.0.113.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::1"));
        for wrong in ["", "localhost", "192.0.2.0/33", "192.0.2.0/x", "192.0.2/24"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(MailAddress::parse("127.0.0.1:2525"), Some(MailAddress::Tcp(([127, 0, 0, 1], 2525).into())));
        assert_eq!(MailAddress::parse("unix:/run/lmtp.sock"), Some(MailAddress::Unix("/run/lmtp.sock".into())));
        for wrong in ["", "localhost:25", "unix:lmtp.sock", "2525"] {
            assert_eq!(MailAddress::parse(wrong), None, "{wrong}");
        }
        assert_eq!(MailAddress::parse(&format!("unix:/{}", "x".repeat(107))), None);
    }
}
