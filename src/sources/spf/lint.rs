//! What is wrong or unwise in a record by itself, without DNS: all of it, where, and what to write instead.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::{
    MAX_LOOKUPS,
    mistake::MistakeKind,
    record::{DomainSpec, Hosts, Mechanism, Policy, Qualifier, Term, TermKind, is_record},
    suggest,
};

/// At how many look-ups a record gets a warning: the includes that it leads to grow without asking (`email-auth.md` section
/// 3.3).
const MANY_LOOKUPS: u32 = 8;
/// A TXT answer beyond this may not fit a DNS message of 512 bytes (RFC 7208 section 3.4).
const LONG_RECORD_BYTES: usize = 450;
/// A prefix shorter than these lets in a good part of the Internet.
const WIDE_PREFIXES: [u8; 2] = [8, 16];

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Receivers see a permerror.
    Error,
    /// It works, not as its writer means it, or not for long.
    Warning,
    /// Worth knowing.
    Notice,
}

/// What a record is made of, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// All findings, in the order of the record.
    pub findings: Vec<Finding>,
    /// The terms of this record that ask DNS wherever the client is, without what its includes and redirect add.
    pub lookups: u32,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The bytes of the record.
    pub span: Range<usize>,
    /// What.
    pub kind: FindingKind,
    /// What to write, and in place of which bytes of the record, where that can be told. Empty: nothing.
    pub instead: Option<(Range<usize>, String)>,
}

impl Finding {
    /// How much it matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self.kind {
            FindingKind::NoVersion | FindingKind::Mistake(_) | FindingKind::TooManyLookups(_) => Severity::Error,
            FindingKind::ManyLookups(_)
            | FindingKind::AfterAll
            | FindingKind::RedirectBesideAll
            | FindingKind::EverybodyPasses
            | FindingKind::NoEnd
            | FindingKind::Ptr
            | FindingKind::EqualsForColon
            | FindingKind::WideNetwork
            | FindingKind::NoName
            | FindingKind::LongRecord(_) => Severity::Warning,
            FindingKind::NeutralAll
            | FindingKind::UnknownModifier
            | FindingKind::HostBits
            | FindingKind::PrivateNetwork
            | FindingKind::Duplicate => Severity::Notice,
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// The text does not begin with `v=spf1` and a blank, so that it is no SPF record.
    NoVersion,
    /// A mistake in the syntax.
    Mistake(MistakeKind),
    /// So many look-ups in this record alone, more than the limit.
    TooManyLookups(u32),
    /// So many look-ups in this record alone, close to the limit.
    ManyLookups(u32),
    /// Mechanisms behind `all` are never tried.
    AfterAll,
    /// `redirect` is ignored where there is an `all`.
    RedirectBesideAll,
    /// `+all` lets everybody send.
    EverybodyPasses,
    /// `?all` says nothing about others.
    NeutralAll,
    /// Neither `all` nor `redirect` at the end: others get `neutral`.
    NoEnd,
    /// `ptr` should not be published (RFC 7208 section 5.5).
    Ptr,
    /// A mechanism's name with an equals sign is an unknown modifier, which is ignored.
    EqualsForColon,
    /// A modifier that SPF does not know is ignored.
    UnknownModifier,
    /// A network that is a good part of the Internet.
    WideNetwork,
    /// An address with bits behind its prefix, which are ignored.
    HostBits,
    /// A network that receivers never see.
    PrivateNetwork,
    /// A domain that DNS cannot be asked for, so that the term never matches.
    NoName,
    /// The same term once more.
    Duplicate,
    /// So many bytes, which may not fit one DNS message over UDP.
    LongRecord(usize),
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoVersion => "an SPF record begins with 'v=spf1' and a blank",
            Self::Mistake(kind) => return kind.fmt(f),
            Self::TooManyLookups(lookups) => {
                return write!(
                    f,
                    "{lookups} terms ask DNS in this record alone; {MAX_LOOKUPS} may, with all that it includes"
                );
            }
            Self::ManyLookups(lookups) => {
                return write!(f, "{lookups} terms ask DNS in this record alone, of the {MAX_LOOKUPS} that may");
            }
            Self::AfterAll => "what stands behind 'all' is never tried",
            Self::RedirectBesideAll => "'redirect' is ignored beside 'all'",
            Self::EverybodyPasses => "'+all' lets everybody send for the domain",
            Self::NeutralAll => "'?all' says nothing about other senders",
            Self::NoEnd => "neither 'all' nor 'redirect': other senders are neutral",
            Self::Ptr => "'ptr' is slow and unreliable and should not be published",
            Self::EqualsForColon => "a mechanism takes ':'; with '=' it is an unknown modifier and ignored",
            Self::UnknownModifier => "SPF knows no such modifier and ignores it",
            Self::WideNetwork => "the network is a good part of the Internet",
            Self::HostBits => "the bits behind the prefix are ignored",
            Self::PrivateNetwork => "no receiver ever sees an address of this network",
            Self::NoName => "DNS cannot be asked for this name",
            Self::Duplicate => "the term stands here already",
            Self::LongRecord(bytes) => {
                return write!(f, "{bytes} bytes; above {LONG_RECORD_BYTES} an answer may not fit UDP's 512");
            }
        })
    }
}

/// Judges a record by itself. Any bytes give a judgement.
#[must_use]
pub fn lint(record: &[u8]) -> Lint {
    if !is_record(record) {
        let finding = Finding { span: 0..record.len().min(6), kind: FindingKind::NoVersion, instead: None };
        return Lint { findings: vec![finding], lookups: 0 };
    }
    let policy = Policy::parse(record);
    let mut found = Found { policy: &policy, findings: Vec::new() };
    for mistake in &policy.mistakes {
        let instead = suggest::instead(record, &mistake.span, mistake.kind);
        found.findings.push(Finding { span: mistake.span.clone(), kind: FindingKind::Mistake(mistake.kind), instead });
    }
    let lookups = found.terms();
    found.whole();
    found.findings.sort_by_key(|finding| (finding.span.start, finding.span.end));
    Lint { findings: found.findings, lookups }
}

struct Found<'a> {
    policy: &'a Policy,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn push(&mut self, span: &Range<usize>, kind: FindingKind, instead: Option<String>) {
        let instead = instead.map(|text| (span.clone(), text));
        self.findings.push(Finding { span: span.clone(), kind, instead });
    }

    /// Judges each term and counts those that ask DNS.
    fn terms(&mut self) -> u32 {
        let policy = self.policy;
        let mut lookups = 0_u32;
        let mut behind_all = false;
        let mut before: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for (index, term) in policy.terms.iter().enumerate() {
            let text = policy.text.get(term.span.clone()).unwrap_or_default();
            let ignored = behind_all && matches!(term.kind, TermKind::Directive(..));
            if ignored {
                self.push(&term.span, FindingKind::AfterAll, Some(String::new()));
                continue;
            }
            if before.insert(text.to_ascii_lowercase(), index).is_some() {
                self.push(&term.span, FindingKind::Duplicate, Some(String::new()));
            }
            let reached = !matches!(term.kind, TermKind::Redirect(_)) || policy.redirect == Some(index);
            if term.kind.counts() && reached {
                lookups += 1;
                if lookups == MAX_LOOKUPS + 1 {
                    let all = count(policy);
                    self.push(&term.span, FindingKind::TooManyLookups(all), None);
                }
            }
            self.term(term, text);
            behind_all |= matches!(term.kind, TermKind::Directive(_, Mechanism::All));
        }
        if (MANY_LOOKUPS..=MAX_LOOKUPS).contains(&lookups) {
            self.push(&(0..policy.text.len()), FindingKind::ManyLookups(lookups), None);
        }
        lookups
    }

    fn term(&mut self, term: &Term, text: &[u8]) {
        match &term.kind {
            TermKind::Directive(qualifier, mechanism) => self.directive(term, *qualifier, mechanism),
            TermKind::Redirect(domain) | TermKind::Explanation(domain) => self.domain(term, Some(domain)),
            TermKind::Unknown => match suggest::colon(text) {
                Some(instead) => self.push(&term.span, FindingKind::EqualsForColon, Some(instead)),
                None => self.push(&term.span, FindingKind::UnknownModifier, None),
            },
        }
    }

    fn directive(&mut self, term: &Term, qualifier: Qualifier, mechanism: &Mechanism) {
        match mechanism {
            Mechanism::All => match qualifier {
                Qualifier::Pass => self.push(&term.span, FindingKind::EverybodyPasses, Some("~all".to_owned())),
                Qualifier::Neutral => self.push(&term.span, FindingKind::NeutralAll, Some("~all".to_owned())),
                Qualifier::Fail | Qualifier::SoftFail => {}
            },
            Mechanism::Include(domain) | Mechanism::Exists(domain) => self.domain(term, Some(domain)),
            Mechanism::A(hosts) | Mechanism::Mx(hosts) => self.hosts(term, hosts),
            Mechanism::Ptr(domain) => {
                self.push(&term.span, FindingKind::Ptr, None);
                self.domain(term, domain.as_ref());
            }
            Mechanism::Ip4 { network, prefix } => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or_default();
                let masked = Ipv4Addr::from_bits(network.to_bits() & mask);
                let [wide, _] = WIDE_PREFIXES;
                if *prefix < wide {
                    self.push(&term.span, FindingKind::WideNetwork, None);
                } else if masked != *network {
                    let sign = sign(qualifier);
                    self.push(&term.span, FindingKind::HostBits, Some(format!("{sign}ip4:{masked}/{prefix}")));
                } else if network.is_private() || network.is_loopback() || network.is_link_local() {
                    self.push(&term.span, FindingKind::PrivateNetwork, Some(String::new()));
                }
            }
            Mechanism::Ip6 { network, prefix } => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*prefix)).unwrap_or_default();
                let masked = Ipv6Addr::from_bits(network.to_bits() & mask);
                let [_, wide] = WIDE_PREFIXES;
                if *prefix < wide {
                    self.push(&term.span, FindingKind::WideNetwork, None);
                } else if masked != *network {
                    let sign = sign(qualifier);
                    self.push(&term.span, FindingKind::HostBits, Some(format!("{sign}ip6:{masked}/{prefix}")));
                } else if network.is_unique_local() || network.is_loopback() || network.is_unicast_link_local() {
                    self.push(&term.span, FindingKind::PrivateNetwork, Some(String::new()));
                }
            }
        }
    }

    fn hosts(&mut self, term: &Term, hosts: &Hosts) {
        let [wide4, wide6] = WIDE_PREFIXES;
        if hosts.prefix4 < wide4 || hosts.prefix6 < wide6 {
            self.push(&term.span, FindingKind::WideNetwork, None);
        }
        self.domain(term, hosts.domain.as_ref());
    }

    fn domain(&mut self, term: &Term, domain: Option<&DomainSpec>) {
        if domain.is_some_and(|domain| !domain.has_macros() && domain.fixed().is_none()) {
            self.push(&term.span, FindingKind::NoName, None);
        }
    }

    /// What is to be said of the record as a whole.
    fn whole(&mut self) {
        let policy = self.policy;
        let end = policy.text.len();
        let all = policy.terms.iter().any(|term| matches!(term.kind, TermKind::Directive(_, Mechanism::All)));
        let redirect = policy.terms.iter().find(|term| matches!(term.kind, TermKind::Redirect(_)));
        match redirect {
            Some(redirect) if all => {
                self.push(&redirect.span, FindingKind::RedirectBesideAll, Some(String::new()));
            }
            None if !all && policy.mistakes.is_empty() => {
                self.push(&(end..end), FindingKind::NoEnd, Some(" ~all".to_owned()));
            }
            _ => {}
        }
        if end > LONG_RECORD_BYTES {
            self.push(&(0..end), FindingKind::LongRecord(end), None);
        }
    }
}

/// The terms that ask DNS and can be reached.
fn count(policy: &Policy) -> u32 {
    let mut lookups = 0;
    for (index, term) in policy.terms.iter().enumerate() {
        match &term.kind {
            TermKind::Directive(_, Mechanism::All) => break,
            TermKind::Redirect(_) if policy.redirect != Some(index) => {}
            kind => lookups += u32::from(kind.counts()),
        }
    }
    lookups
}

/// The qualifier as it's written: none for a pass.
const fn sign(qualifier: Qualifier) -> &'static str {
    match qualifier {
        Qualifier::Pass => "",
        Qualifier::Fail => "-",
        Qualifier::SoftFail => "~",
        Qualifier::Neutral => "?",
    }
}
