//! Mail addresses, and which of them can be relay addresses.

use std::fmt;

/// The longest address that is taken: RFC 5321 section 4.5.3.1 allows 64 octets, `@` and 255 octets.
const MAX_ADDRESS_BYTES: usize = 320;

/// Why a text is no address. Holds no part of the text, since errors reach logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing is left after trimming.
    #[error("the address is empty")]
    Empty,
    /// There is no `@`, or nothing on one side of it.
    #[error("the address has no local part or no domain")]
    Incomplete,
    /// Longer than RFC 5321 allows.
    #[error("the address is longer than {MAX_ADDRESS_BYTES} bytes")]
    TooLong,
    /// Control characters or blanks where none may stand.
    #[error("the address holds a control character or a blank")]
    Forbidden,
}

/// A mail address: the local part as given, the domain in lower case.
///
/// It prints as `<address@domain>` with the local part masked, so that it can stand in a debug line without leaking;
/// [`Address::expose`] gives the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: String,
    at: usize,
}

impl Address {
    /// Reads `local@domain`, `<local@domain>` or `Name <local@domain>`.
    ///
    /// # Errors
    /// Says what is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let mut text = text.trim();
        if let Some((_, tail)) = text.rsplit_once('<') {
            text = tail.split_once('>').map_or(tail, |(inner, _)| inner).trim();
        }
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.len() > MAX_ADDRESS_BYTES {
            return Err(AddressError::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::Incomplete)?;
        let domain = normalise_domain(domain);
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::Incomplete);
        }
        let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
        let bad = |c: char| c.is_control() || c.is_whitespace();
        if domain.chars().any(bad) || local.chars().any(|c| if quoted { c.is_control() } else { bad(c) }) {
            return Err(AddressError::Forbidden);
        }
        Ok(Self { at: local.len(), text: format!("{local}@{domain}") })
    }

    /// The address in the clear. Never for a log, a metric, a URL or a page to people.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The part before the last `@`, as given.
    #[must_use]
    pub fn local(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The domain, in lower case, without a trailing dot.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// The form by which addresses are compared and hashed: all of it in lower case.
    ///
    /// RFC 5321 lets local parts differ by case; no relay or ESP does, and SparkPost lower-cases what it reports.
    #[must_use]
    pub fn key(&self) -> String {
        self.text.to_lowercase()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<address@{}>", self.domain())
    }
}

/// A domain as relaywatch compares it: trimmed, lower case, without a trailing dot.
#[must_use]
pub fn normalise_domain(domain: &str) -> String {
    domain.trim().trim_end_matches('.').to_lowercase()
}

/// The domain of a text that may be an address, a display form or a bare domain.
#[must_use]
pub fn domain_of(text: &str) -> Option<String> {
    if let Ok(address) = Address::parse(text) {
        return Some(address.domain().to_owned());
    }
    let domain = normalise_domain(text);
    let plausible = domain.contains('.') && domain.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    plausible.then_some(domain)
}

/// Which domains hold relay addresses only, and which can hold them among others.
///
/// The lists are configuration (`[relay]`), since Apple changes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayDomains {
    relay: Vec<String>,
    shared: Vec<String>,
}

impl RelayDomains {
    /// From the configured lists; they are normalised here.
    #[must_use]
    pub fn new<A: AsRef<str>, B: AsRef<str>>(relay: &[A], shared: &[B]) -> Self {
        Self {
            relay: relay.iter().map(|d| normalise_domain(d.as_ref())).collect(),
            shared: shared.iter().map(|d| normalise_domain(d.as_ref())).collect(),
        }
    }

    /// Whether every address on the domain is a relay address.
    #[must_use]
    pub fn is_relay(&self, domain: &str) -> bool {
        self.relay.iter().any(|d| d.eq_ignore_ascii_case(domain))
    }

    /// Whether addresses on the domain may be relay addresses, which only the account map or a notice can tell.
    #[must_use]
    pub fn is_shared(&self, domain: &str) -> bool {
        self.shared.iter().any(|d| d.eq_ignore_ascii_case(domain))
    }

    /// The relay domains, normalised.
    #[must_use]
    pub fn relay(&self) -> &[String] {
        &self.relay
    }
}

impl Default for RelayDomains {
    /// Apple's domains as of 2026-11-24, and `icloud.com`, on which iCloud+ aliases and ordinary mailboxes are mixed.
    fn default() -> Self {
        Self::new(&["privaterelay.appleid.com", "private.icloud.com"], &["icloud.com"])
    }
}

/// Whether a text may hold an address, however the sign in its middle is written: such a text is on no page.
#[must_use]
pub fn may_hold_address(text: &str) -> bool {
    text.contains(['@', '\u{ff20}', '\u{fe6b}']) || text.contains("%40")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn display_forms_and_brackets_are_read() {
        let plain = Address::parse("a.b@Example.COM.").expect("plain");
        assert_eq!(plain.expose(), "a.b@example.com");
        assert_eq!(Address::parse("Some One <A.b@example.com>").expect("display").key(), plain.key());
        assert_eq!(Address::parse(" <a.b@example.com> ").expect("brackets"), plain);
        assert_eq!(Address::parse("\"odd local\"@example.com").expect("quoted").domain(), "example.com");
        let verp = Address::parse("bounce+b5.2-x=privaterelay.appleid.com@mail.example.com").expect("verp");
        assert_eq!(verp.domain(), "mail.example.com");
    }

    #[test]
    fn what_is_no_address_is_refused_without_leaking_it() {
        assert_eq!(Address::parse("  "), Err(AddressError::Empty));
        assert_eq!(Address::parse("nobody"), Err(AddressError::Incomplete));
        assert_eq!(Address::parse("@example.com"), Err(AddressError::Incomplete));
        assert_eq!(Address::parse("a b@example.com"), Err(AddressError::Forbidden));
        assert_eq!(Address::parse("a\r\nb@example.com"), Err(AddressError::Forbidden));
        assert_eq!(Address::parse(&format!("{}@example.com", "a".repeat(400))), Err(AddressError::TooLong));
        let secret = Address::parse("zhzkndneko@privaterelay.appleid.com").expect("valid");
        assert_eq!(format!("{secret:?}"), "<address@privaterelay.appleid.com>");
    }

    #[test]
    fn a_shared_domain_is_no_relay_domain() {
        let domains = RelayDomains::default();
        assert!(domains.is_relay("PrivateRelay.AppleID.com"));
        assert!(domains.is_relay("private.icloud.com"));
        assert!(!domains.is_relay("icloud.com"));
        assert!(domains.is_shared("icloud.com"));
        assert!(!domains.is_relay("xprivaterelay.appleid.com"));
    }

    #[test]
    fn domains_come_out_of_addresses_and_bare_names() {
        assert_eq!(domain_of("News <news@Mail.Example.com>").as_deref(), Some("mail.example.com"));
        assert_eq!(domain_of("Mail.Example.com").as_deref(), Some("mail.example.com"));
        assert_eq!(domain_of("no domain at all"), None);
        assert_eq!(domain_of(""), None);
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent_and_never_panics(text in "\\PC{0,60}") {
            if let Ok(address) = Address::parse(&text) {
                let again = Address::parse(address.expose());
                prop_assert_eq!(again.as_ref().map(Address::key), Ok(address.key()));
                prop_assert!(!address.local().is_empty() && !address.domain().is_empty());
            }
        }
    }
}
