//! Reads a record by the grammar of RFC 7208 section 12, and goes on after a mistake, so that all of them are told.
//!
//! `redirect`, `exp` and the mechanisms are no unknown modifiers, however wrong they are written: the published suite has it
//! so, and the grammar means it ("where name is not any known modifier").

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::{
    macros::{MacroString, Place},
    mistake::{Mistake, MistakeKind},
    record::{DomainSpec, Hosts, Mechanism, Policy, Qualifier, Term, TermKind, VERSION},
};

impl Policy {
    /// Reads a record. Any bytes give one; what is wrong stands in [`Policy::mistakes()`].
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut policy =
            Self { text: text.into(), terms: Vec::new(), mistakes: Vec::new(), redirect: None, explanation: None };
        let mut all = false;
        for span in spans(text) {
            let term = text.get(span.clone()).unwrap_or_default();
            match read(term) {
                Ok(kind) => {
                    let known = match &kind {
                        TermKind::Redirect(_) => Some(&mut policy.redirect),
                        TermKind::Explanation(_) => Some(&mut policy.explanation),
                        TermKind::Directive(_, mechanism) => {
                            all |= *mechanism == Mechanism::All;
                            None
                        }
                        TermKind::Unknown => None,
                    };
                    if let Some(place) = known {
                        if place.is_some() {
                            policy.mistakes.push(Mistake { span, kind: MistakeKind::Twice });
                            continue;
                        }
                        *place = Some(policy.terms.len());
                    }
                    policy.terms.push(Term { span, kind });
                }
                Err(wrong) => policy
                    .mistakes
                    .push(Mistake { span: span.start + wrong.0.start..span.start + wrong.0.end, kind: wrong.1 }),
            }
        }
        if all {
            policy.redirect = None;
        }
        policy
    }
}

/// Where the terms stand: after the version, between blanks.
fn spans(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = VERSION.len().min(text.len());
    std::iter::from_fn(move || {
        while text.get(at) == Some(&b' ') {
            at += 1;
        }
        let start = at;
        while text.get(at).is_some_and(|byte| *byte != b' ') {
            at += 1;
        }
        (at > start).then_some(start..at)
    })
}

type Wrong = (Range<usize>, MistakeKind);

/// Reads one term; a mistake's place is relative to the term.
pub(super) fn read(term: &[u8]) -> Result<TermKind, Wrong> {
    if let Some(at) = term.iter().position(|byte| !byte.is_ascii_graphic()) {
        return Err((at..at + 1, MistakeKind::Byte(term.get(at).copied().unwrap_or_default())));
    }
    let whole = 0..term.len();
    let end = term.iter().position(|byte| b":/=".contains(byte)).unwrap_or(term.len());
    let (name, rest) = term.split_at_checked(end).unwrap_or_default();
    if let Some((b'=', value)) = rest.split_first() {
        return modifier(name, value, end + 1);
    }
    let (qualifier, name) = match name.split_first() {
        Some((b'+', name)) => (Qualifier::Pass, name),
        Some((b'-', name)) => (Qualifier::Fail, name),
        Some((b'~', name)) => (Qualifier::SoftFail, name),
        Some((b'?', name)) => (Qualifier::Neutral, name),
        _ => (Qualifier::Pass, name),
    };
    let argument = Argument { text: rest, at: end };
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    let mechanism = if is("ip4") {
        argument.ip4()?
    } else if is("include") {
        Mechanism::Include(argument.domain()?)
    } else if is("a") {
        Mechanism::A(argument.hosts()?)
    } else if is("mx") {
        Mechanism::Mx(argument.hosts()?)
    } else if is("ip6") {
        argument.ip6()?
    } else if is("all") {
        if !rest.is_empty() {
            return Err((end..term.len(), MistakeKind::NoArgument));
        }
        Mechanism::All
    } else if is("exists") {
        Mechanism::Exists(argument.domain()?)
    } else if is("ptr") {
        Mechanism::Ptr(if rest.is_empty() { None } else { Some(argument.domain()?) })
    } else if is("redirect") || is("exp") {
        return Err((whole, MistakeKind::ColonForEquals));
    } else {
        return Err((whole, MistakeKind::UnknownTerm));
    };
    Ok(TermKind::Directive(qualifier, mechanism))
}

/// Reads a modifier; `at` is where its value begins in the term.
fn modifier(name: &[u8], value: &[u8], at: usize) -> Result<TermKind, Wrong> {
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    let domain = || DomainSpec::read(value).map_err(|(span, kind)| (at + span.start..at + span.end, kind));
    if is("redirect") {
        return Ok(TermKind::Redirect(domain()?));
    }
    if is("exp") {
        return Ok(TermKind::Explanation(domain()?));
    }
    let well_named = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    if !well_named {
        let qualified = name.first().is_some_and(|first| b"+-~?".contains(first)) && name.len() > 1;
        let kind = if qualified { MistakeKind::QualifiedModifier } else { MistakeKind::ModifierName };
        return Err((0..at, kind));
    }
    MacroString::parse(value, Place::Modifier).map_err(|(span, kind)| (at + span.start..at + span.end, kind))?;
    Ok(TermKind::Unknown)
}

impl DomainSpec {
    /// Reads a domain-spec; a mistake's place is relative to it.
    pub(super) fn read(text: &[u8]) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Err((0..0, MistakeKind::MissingArgument));
        }
        let parsed = MacroString::parse(text, Place::Domain)?;
        if !ends_well(text) {
            return Err((0..text.len(), MistakeKind::DomainEnd));
        }
        Ok(Self::new(parsed))
    }
}

/// Whether a macro-string ends as a domain-spec must: in a macro, or in a dot and a top-level label with or without a dot.
fn ends_well(text: &[u8]) -> bool {
    let Some(last) = last_piece(text) else { return true };
    let last = last.strip_suffix(b".").unwrap_or(last);
    let Some(dot) = memchr::memrchr(b'.', last) else { return false };
    let label = last.get(dot + 1..).unwrap_or_default();
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    alphanumeric(label.first())
        && alphanumeric(label.last())
        && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && label.iter().any(|byte| !byte.is_ascii_digit())
}

/// What stands behind the last macro; `None` where the text ends in it. The text is a valid macro-string.
fn last_piece(text: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    let mut piece = 0;
    while let Some(byte) = text.get(at) {
        if *byte == b'%' {
            at += match text.get(at + 1) {
                Some(b'{') => memchr::memchr(b'}', text.get(at..).unwrap_or_default()).map_or(2, |length| length + 1),
                _ => 2,
            };
            piece = at;
        } else {
            at += 1;
        }
    }
    text.get(piece..).filter(|piece| !piece.is_empty())
}

/// What follows a mechanism's name: nothing, or a colon or a slash and more; `at` is where it begins in the term.
struct Argument<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Argument<'a> {
    fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// What stands behind the colon, and where.
    fn value(&self) -> Result<(&'a [u8], usize), Wrong> {
        match self.text.split_first() {
            Some((b':', value)) if !value.is_empty() => Ok((value, self.at + 1)),
            Some((b'/', _)) => Err((self.at..self.end(), MistakeKind::NoPrefixLength)),
            _ => Err((self.at..self.end(), MistakeKind::MissingArgument)),
        }
    }

    fn domain(&self) -> Result<DomainSpec, Wrong> {
        let (value, at) = self.value()?;
        DomainSpec::read(value).map_err(|(span, kind)| (at + span.start..at + span.end, kind))
    }

    /// A domain, prefix lengths, both or neither. A slash may stand in a domain too, so that prefixes are read from the end.
    fn hosts(&self) -> Result<Hosts, Wrong> {
        let mut rest = self.text;
        let [mut prefix4, mut prefix6] = [32, 128];
        if let Some((head, digits)) = number_behind(rest, b"//") {
            prefix6 = length(digits, 128).ok_or((self.at + head.len()..self.end(), MistakeKind::PrefixLength))?;
            rest = head;
        }
        if let Some((head, digits)) = number_behind(rest, b"/") {
            let wrong = (self.at + head.len()..self.at + rest.len(), MistakeKind::PrefixLength);
            prefix4 = length(digits, 32).ok_or(wrong)?;
            rest = head;
        }
        let domain = match rest.split_first() {
            None => None,
            Some((b':', _)) => {
                let (value, at) = Argument { text: rest, at: self.at }.value()?;
                let wrong = |(span, kind): Wrong| {
                    let address = kind == MistakeKind::DomainEnd && is_address(value);
                    let kind = if address { MistakeKind::AddressForDomain } else { kind };
                    (at + span.start..at + span.end, kind)
                };
                Some(DomainSpec::read(value).map_err(wrong)?)
            }
            Some(_) => return Err((self.at..self.at + rest.len(), MistakeKind::PrefixLength)),
        };
        Ok(Hosts { domain, prefix4, prefix6 })
    }

    fn ip4(&self) -> Result<Mechanism, Wrong> {
        let (value, at) = self.value()?;
        let (address, prefix) = network(value, at, 32)?;
        let network: Option<Ipv4Addr> = text(address).and_then(|text| text.parse().ok());
        let network = network.ok_or((at..at + address.len(), MistakeKind::Ip4))?;
        Ok(Mechanism::Ip4 { network, prefix })
    }

    fn ip6(&self) -> Result<Mechanism, Wrong> {
        let (value, at) = self.value()?;
        let (address, prefix) = network(value, at, 128)?;
        let network: Option<Ipv6Addr> = text(address).and_then(|text| text.parse().ok());
        let network = network.ok_or((at..at + address.len(), MistakeKind::Ip6))?;
        Ok(Mechanism::Ip6 { network, prefix })
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn is_address(value: &[u8]) -> bool {
    text(value).is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok())
}

/// An address and the length of its prefix, all bits where there is none.
fn network(value: &[u8], at: usize, bits: u8) -> Result<(&[u8], u8), Wrong> {
    let Some(slash) = memchr::memchr(b'/', value) else { return Ok((value, bits)) };
    let (address, rest) = value.split_at_checked(slash).unwrap_or_default();
    let prefix = rest.get(1..).and_then(|digits| length(digits, bits));
    Ok((address, prefix.ok_or((at + slash..at + value.len(), MistakeKind::PrefixLength))?))
}

/// The digits at the end and what stands before the mark in front of them.
fn number_behind<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (head, digits) = text.split_at_checked(text.len() - digits)?;
    let head = head.strip_suffix(mark)?;
    (!digits.is_empty()).then_some((head, digits))
}

/// A prefix length: digits without leading zeros, at most `bits`.
fn length(digits: &[u8], bits: u8) -> Option<u8> {
    let leading_zero = digits.len() > 1 && digits.first() == Some(&b'0');
    let number = text(digits).filter(|text| !leading_zero && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    number.parse().ok().filter(|length| *length <= bits)
}
