//! A record as it was read: its text, its terms, its mistakes.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
    sync::Arc,
};

use crate::sources::answer::{Answer, Name, Outcome, Text, Values};

use super::{
    macros::{Facts, MacroString, NoTarget, target_name},
    mistake::Mistake,
};

/// An SPF record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub(super) text: Box<[u8]>,
    pub(super) terms: Vec<Term>,
    pub(super) mistakes: Vec<Mistake>,
    /// The place in `terms` of the `redirect` that counts: none where an `all` stands anywhere (section 5.1).
    pub(super) redirect: Option<usize>,
    /// The place in `terms` of the `exp`.
    pub(super) explanation: Option<usize>,
}

impl Policy {
    /// The record, its bytes outside printable US-ASCII as `\xNN`.
    #[must_use]
    pub fn text(&self) -> String {
        self.text.escape_ascii().to_string()
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// Its terms without those that are wrong, in order.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// What is wrong with it, in order; any mistake makes it a permerror.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// A part of its text, as [`Policy::text()`] gives it.
    #[must_use]
    pub fn part(&self, span: &Range<usize>) -> String {
        self.text.get(span.clone()).unwrap_or_default().escape_ascii().to_string()
    }

    /// A term's own text.
    #[must_use]
    pub fn term_text(&self, index: usize) -> String {
        self.terms.get(index).map(|term| self.part(&term.span)).unwrap_or_default()
    }
}

/// One directive or modifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The bytes of the record.
    pub span: Range<usize>,
    /// What it is.
    pub kind: TermKind,
}

/// What a term is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TermKind {
    /// A mechanism with its qualifier.
    Directive(Qualifier, Mechanism),
    /// `redirect=`.
    Redirect(DomainSpec),
    /// `exp=`.
    Explanation(DomainSpec),
    /// A modifier that RFC 7208 does not know; it is ignored.
    Unknown,
}

impl TermKind {
    /// Whether the term counts towards the limit of ten (section 4.6.4).
    #[must_use]
    pub const fn counts(&self) -> bool {
        match self {
            Self::Directive(_, mechanism) => {
                !matches!(mechanism, Mechanism::All | Mechanism::Ip4 { .. } | Mechanism::Ip6 { .. })
            }
            Self::Redirect(_) => true,
            Self::Explanation(_) | Self::Unknown => false,
        }
    }
}

/// The result of a mechanism that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    /// `+`, or none.
    Pass,
    /// `-`.
    Fail,
    /// `~`.
    SoftFail,
    /// `?`.
    Neutral,
}

/// A mechanism (RFC 7208 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// Everything.
    All,
    /// Another domain's record passes.
    Include(DomainSpec),
    /// An address of a domain.
    A(Hosts),
    /// An address of a mail exchange of a domain.
    Mx(Hosts),
    /// The validated name of the address stands in a domain.
    Ptr(Option<DomainSpec>),
    /// An IPv4 network.
    Ip4 {
        /// Its address.
        network: Ipv4Addr,
        /// Its length in bits.
        prefix: u8,
    },
    /// An IPv6 network.
    Ip6 {
        /// Its address.
        network: Ipv6Addr,
        /// Its length in bits.
        prefix: u8,
    },
    /// A domain has an IPv4 address.
    Exists(DomainSpec),
}

impl Mechanism {
    /// Its name in a record.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Include(_) => "include",
            Self::A(_) => "a",
            Self::Mx(_) => "mx",
            Self::Ptr(_) => "ptr",
            Self::Ip4 { .. } => "ip4",
            Self::Ip6 { .. } => "ip6",
            Self::Exists(_) => "exists",
        }
    }
}

/// What `a` and `mx` take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// The domain; that of the record where there is none.
    pub domain: Option<DomainSpec>,
    /// The length in bits to which IPv4 addresses are compared.
    pub prefix4: u8,
    /// The length in bits to which IPv6 addresses are compared.
    pub prefix6: u8,
}

/// A domain in a term, with or without macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec(Target);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// The same name in every check.
    Fixed(Result<Name, NoTarget>),
    Macros(MacroString),
}

impl DomainSpec {
    pub(super) fn new(text: MacroString) -> Self {
        Self(match text.literal() {
            Some(literal) => Target::Fixed(target_name(literal)),
            None => Target::Macros(text),
        })
    }

    /// The name, where it has no macros and DNS can be asked for it.
    #[must_use]
    pub const fn fixed(&self) -> Option<&Name> {
        match &self.0 {
            Target::Fixed(Ok(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether it has macros, so that its name depends on the message.
    #[must_use]
    pub const fn has_macros(&self) -> bool {
        matches!(self.0, Target::Macros(_))
    }

    pub(super) fn needs_validated(&self) -> bool {
        match &self.0 {
            Target::Fixed(_) => false,
            Target::Macros(text) => text.needs_validated(),
        }
    }

    pub(super) fn target(&self, facts: &Facts<'_>) -> Result<Name, NoTarget> {
        match &self.0 {
            Target::Fixed(name) => name.clone(),
            Target::Macros(text) => text.target(facts),
        }
    }
}

/// What a domain publishes (RFC 7208 section 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// No SPF record.
    None,
    /// The one.
    One(Arc<Policy>),
    /// Several, which is a permerror whatever they say.
    Several(usize),
}

impl Selection {
    /// Selects among TXT records; others' are none of our business.
    #[must_use]
    pub fn of(answer: &Answer) -> Self {
        let Outcome::Found(Values::Txt(texts)) = &answer.outcome else { return Self::None };
        let mut records = texts.iter().map(Text::joined).filter(|text| is_record(text));
        match (records.next(), records.count()) {
            (None, _) => Self::None,
            (Some(record), 0) => Self::One(Arc::new(Policy::parse(&record))),
            (Some(_), others) => Self::Several(others + 1),
        }
    }
}

/// Whether a text is an SPF record: the version in any case, then a blank or the end (section 4.5).
#[must_use]
pub fn is_record(text: &[u8]) -> bool {
    text.split_at_checked(VERSION.len()).is_some_and(|(version, rest)| {
        version.eq_ignore_ascii_case(VERSION) && matches!(rest.first(), None | Some(b' '))
    })
}

/// How every record begins.
pub(super) const VERSION: &[u8] = b"v=spf1";

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "+",
            Self::Fail => "-",
            Self::SoftFail => "~",
            Self::Neutral => "?",
        })
    }
}
