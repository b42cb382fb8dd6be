//! Reading one DMARC record (RFC 9989 section 4.7).

use std::collections::BTreeSet;

use crate::sources::{
    answer::Name,
    tags::{Fault, FaultKind, MAX_TAGS, pasted, tags},
};

/// The most report addresses of one tag that are looked at.
const MAX_REPORTS: usize = 10;

/// What a domain asks receivers to do with mail that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing.
    None,
    /// To treat it as suspicious.
    Quarantine,
    /// To refuse it.
    Reject,
}

impl Policy {
    fn from_text(text: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject].into_iter().find(|word| text.eq_ignore_ascii_case(word.as_str()))
    }

    /// The word of a record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    /// One step weaker, as `t=y` makes it.
    #[must_use]
    pub const fn weaker(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            _ => Self::None,
        }
    }
}

/// How near two names must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `r`: one organisational domain.
    Relaxed,
    /// `s`: the same name.
    Strict,
}

/// `psd=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Psd {
    /// `y`: a public suffix.
    Yes,
    /// `n`: an organisational domain.
    No,
    /// `u`, or absent.
    Unsaid,
}

/// Where reports shall go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The domain of the `mailto:` address; the address itself is nobody's business here.
    pub host: Name,
    /// Whether it is of `rua=` (aggregate reports); else of `ruf=` (failure reports).
    pub aggregate: bool,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `p=`, where it is valid.
    pub p: Option<Policy>,
    /// `sp=`, where it is valid.
    pub sp: Option<Policy>,
    /// `np=`, where it is valid.
    pub np: Option<Policy>,
    /// `adkim=`.
    pub adkim: Mode,
    /// `aspf=`.
    pub aspf: Mode,
    /// `psd=`.
    pub psd: Psd,
    /// `t=y`.
    pub testing: bool,
    /// The addresses for reports.
    pub reports: Vec<Report>,
    /// How many report addresses are none.
    pub bad_reports: usize,
    /// The removed tags that it has: `pct`, `rf`, `ri`.
    pub removed: Vec<&'static str>,
    /// What `pct=` says, where it is a number up to 100: to receivers of the old RFC the share of mail that the policy is for.
    pub percent: Option<u8>,
    /// Whether `sp=` or `np=` is there and not valid.
    pub bad_below: bool,
    /// What cannot be read of it; each counts as not said.
    pub faults: Vec<Fault>,
}

impl Record {
    /// The policy for the domain of the record itself (`below` false) or for one below it, before `t=`. `None` where the record
    /// counts for nothing. Without a valid `p=`, or with an `sp=` or `np=` that is not valid, the record is taken as `p=none` where it
    /// has a valid `rua=`, and for nothing otherwise (RFC 9989 section 4.10.1).
    #[must_use]
    pub fn policy(&self, below: bool, exists: bool) -> Option<Policy> {
        let Some(own) = self.p.filter(|_| !self.bad_below) else {
            return self.reports.iter().any(|report| report.aggregate).then_some(Policy::None);
        };
        Some(match (below, exists) {
            (false, _) => own,
            (true, true) => self.sp.unwrap_or(own),
            (true, false) => self.np.or(self.sp).unwrap_or(own),
        })
    }
}

/// Whether a text is a DMARC record: `v=DMARC1` first, in these letters, then a semicolon or the end.
#[must_use]
pub fn is_record(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"v") else { return false };
    let Some(rest) = rest.trim_ascii_start().strip_prefix(b"=") else { return false };
    let Some(rest) = rest.trim_ascii_start().strip_prefix(b"DMARC1") else { return false };
    matches!(rest.trim_ascii_start().first(), None | Some(b';'))
}

/// Reads a record; `None` where it is no DMARC record. Unknown tags are ignored, and so is what cannot be read, with its place kept.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Record> {
    if !is_record(text) {
        return None;
    }
    let mut record = Record {
        p: None,
        sp: None,
        np: None,
        adkim: Mode::Relaxed,
        aspf: Mode::Relaxed,
        psd: Psd::Unsaid,
        testing: false,
        reports: Vec::new(),
        bad_reports: 0,
        removed: Vec::new(),
        percent: None,
        bad_below: false,
        faults: Vec::new(),
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut start = 0;
    for part in text.split(|byte| *byte == b';').take(MAX_TAGS) {
        let at = start;
        start += part.len() + 1;
        match tags(part) {
            Ok(found) => {
                for tag in found {
                    let name = tag.name.to_ascii_lowercase();
                    if seen.contains(&name) {
                        record.faults.push(Fault::new(at + tag.at, FaultKind::Twice(name)));
                        continue;
                    }
                    if let Some(fault) = pasted(&tag) {
                        record.faults.push(Fault::new(at + fault.at, fault.kind));
                        continue;
                    }
                    record.take(&name, tag.value, at + tag.value_at);
                    seen.insert(name);
                }
            }
            Err(fault) => record.faults.push(Fault::new(at + fault.at, fault.kind)),
        }
    }
    Some(record)
}

impl Record {
    fn take(&mut self, name: &str, value: &str, at: usize) {
        let mut wrong = || {
            let shown = value.chars().take(40).collect();
            self.faults.push(Fault::new(at, FaultKind::Value(shown)));
        };
        match name {
            "p" | "sp" | "np" => {
                let policy = Policy::from_text(value);
                if policy.is_none() {
                    wrong();
                }
                self.bad_below |= policy.is_none() && name != "p";
                match name {
                    "p" => self.p = policy,
                    "sp" => self.sp = policy,
                    _ => self.np = policy,
                }
            }
            "adkim" | "aspf" => {
                let mode = match value {
                    "r" | "R" => Mode::Relaxed,
                    "s" | "S" => Mode::Strict,
                    _ => return wrong(),
                };
                if name == "adkim" { self.adkim = mode } else { self.aspf = mode }
            }
            "psd" => match value {
                "y" | "Y" => self.psd = Psd::Yes,
                "n" | "N" => self.psd = Psd::No,
                "u" | "U" => {}
                _ => wrong(),
            },
            "t" => match value {
                "y" | "Y" => self.testing = true,
                "n" | "N" => {}
                _ => wrong(),
            },
            "rua" | "ruf" => {
                for uri in value.split(',').take(MAX_REPORTS) {
                    match report_host(uri.trim_ascii()) {
                        Some(host) => self.reports.push(Report { host, aggregate: name == "rua" }),
                        None => self.bad_reports += 1,
                    }
                }
            }
            "pct" => {
                self.removed.push("pct");
                self.percent = value.parse().ok().filter(|percent| *percent <= 100);
            }
            "rf" => self.removed.push("rf"),
            "ri" => self.removed.push("ri"),
            _ => {}
        }
    }
}

/// The report addresses of the first `rua=` of a record that can be read, as they stand there.
pub(super) fn rua(text: &[u8]) -> Option<String> {
    let part = text.split(|byte| *byte == b';').filter_map(|part| tags(part).ok()).flatten();
    let value = part.into_iter().find(|tag| tag.name.eq_ignore_ascii_case("rua")).map(|tag| tag.value)?;
    let good = |uri: &&str| report_host(uri).is_some() && uri.bytes().all(|byte| byte.is_ascii_graphic());
    let uris: Vec<&str> = value.split(',').take(MAX_REPORTS).map(str::trim_ascii).filter(good).collect();
    (!uris.is_empty()).then(|| uris.join(","))
}

/// The domain of a `mailto:` address; a size behind `!` is ignored.
fn report_host(uri: &str) -> Option<Name> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    let address = rest.split(['!', '?']).next()?;
    let (local, host) = address.rsplit_once('@')?;
    let plausible =
        !local.is_empty() && !address.contains(|c: char| c.is_ascii_whitespace() || matches!(c, '<' | '>' | '"'));
    Name::parse(host).ok().filter(|host| plausible && host.as_str().contains('.'))
}
