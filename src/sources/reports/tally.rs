//! Reports added up: by From domain and sending address.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use serde::Serialize;

use super::{Alignment, Disposition, Override, Record, Report};
use crate::{
    model::normalise_domain,
    sources::{answer::Name, apple_rule::Registered, audit::Setup},
};

/// Pairs of domain and address that are kept apart; what comes after them is counted together.
pub const MAX_ROWS: usize = 100_000;

/// How mail fared, in messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// All.
    pub messages: u64,
    /// Aligned by SPF, whatever DKIM says.
    pub spf: u64,
    /// Aligned by DKIM, whatever SPF says.
    pub dkim: u64,
    /// Aligned by both.
    pub both: u64,
    /// Failed by both.
    pub none: u64,
    /// Of these: passed on by a forwarder or a mailing list, as the receiver says.
    pub none_forwarded: u64,
    /// Aligned by neither, where the report does not say of both that they failed.
    pub unknown: u64,
    /// What the receivers did.
    pub dispositions: BTreeMap<Disposition, u64>,
    /// Why they did something else than the policy asks for.
    pub overrides: BTreeMap<Override, u64>,
}

impl Counts {
    fn take(&mut self, record: &Record) {
        let add = |sum: &mut u64| *sum = sum.saturating_add(record.count);
        let (spf, dkim) = (record.spf == Alignment::Pass, record.dkim == Alignment::Pass);
        add(&mut self.messages);
        if spf {
            add(&mut self.spf);
        }
        if dkim {
            add(&mut self.dkim);
        }
        if spf && dkim {
            add(&mut self.both);
        }
        if record.spf == Alignment::Fail && record.dkim == Alignment::Fail {
            add(&mut self.none);
            if record.overrides.iter().any(|why| why.is_forwarding()) {
                add(&mut self.none_forwarded);
            }
        } else if !spf && !dkim {
            add(&mut self.unknown);
        }
        add(self.dispositions.entry(record.disposition).or_default());
        for why in &record.overrides {
            add(self.overrides.entry(*why).or_default());
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.messages, other.messages);
        add(&mut self.spf, other.spf);
        add(&mut self.dkim, other.dkim);
        add(&mut self.both, other.both);
        add(&mut self.none, other.none);
        add(&mut self.none_forwarded, other.none_forwarded);
        add(&mut self.unknown, other.unknown);
        for (disposition, more) in &other.dispositions {
            add(self.dispositions.entry(*disposition).or_default(), *more);
        }
        for (why, more) in &other.overrides {
            add(self.overrides.entry(*why).or_default(), *more);
        }
    }

    /// Failed by both, and not since somebody passed it on.
    #[must_use]
    pub const fn trouble(&self) -> u64 {
        self.none.saturating_sub(self.none_forwarded)
    }
}

/// Whose address it is, as far as anybody knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "known", content = "provider")]
pub enum Sender {
    /// A stream of the configuration names it, by this provider.
    Declared(String),
    /// No stream does, yet the domain's own SPF record passed it in one of the reports.
    Authorised,
    /// Neither: forwarders, mailing lists, strangers.
    Unknown,
}

/// One sending address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SenderRow {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    #[serde(flatten)]
    pub sender: Sender,
    /// How its mail fared.
    #[serde(flatten)]
    pub counts: Counts,
}

/// All of one From domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainReport {
    /// The From domain.
    pub domain: String,
    /// The declared sources that are this domain or an address in it.
    pub sources: Vec<String>,
    /// The sum of all rows.
    #[serde(flatten)]
    pub counts: Counts,
    /// The addresses, those with the most messages first.
    pub senders: Vec<SenderRow>,
}

/// Sums that grow report by report. The order of reports and of their records makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    counted: BTreeSet<(String, String, String)>,
    domains: BTreeMap<String, BTreeMap<IpAddr, Counts>>,
    rows: usize,
    others: Counts,
}

impl Tally {
    /// Adds a report; `false` where it was added before.
    pub fn add(&mut self, report: &Report) -> bool {
        if !self.counted.insert(report.identity()) {
            return false;
        }
        for record in &report.records {
            let senders = self.domains.get_mut(&record.header_from);
            if let Some(counts) = senders.and_then(|senders| senders.get_mut(&record.address)) {
                counts.take(record);
            } else if self.rows < MAX_ROWS {
                self.rows += 1;
                let senders = self.domains.entry(record.header_from.clone()).or_default();
                senders.entry(record.address).or_default().take(record);
            } else {
                self.others.take(record);
            }
        }
        true
    }

    /// The reports that were added.
    #[must_use]
    pub fn reports(&self) -> usize {
        self.counted.len()
    }

    /// What found no row of its own any more.
    #[must_use]
    pub const fn others(&self) -> &Counts {
        &self.others
    }

    /// The domains, each with its addresses, beside what is declared. The domains of declared sources and streams come first.
    #[must_use]
    pub fn domains(&self, setup: &Setup) -> Vec<DomainReport> {
        let mut declared: HashMap<IpAddr, BTreeSet<&str>> = HashMap::new();
        let mut own: BTreeSet<String> = BTreeSet::new();
        for stream in &setup.streams {
            own.extend(domain_of(&stream.from));
            for address in &stream.addresses {
                declared.entry(address.to_canonical()).or_default().insert(stream.provider.as_str());
            }
        }
        let mut sources: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for source in setup.teams.iter().flat_map(|team| &team.sources) {
            if let Some(domain) = domain_of(&source.name) {
                sources.entry(domain).or_default().insert(&source.name);
            }
        }
        let mut all: Vec<DomainReport> = self
            .domains
            .iter()
            .map(|(domain, addresses)| {
                let mut counts = Counts::default();
                let mut senders: Vec<SenderRow> = Vec::with_capacity(addresses.len());
                for (address, of) in addresses {
                    counts.add(of);
                    let sender = match declared.get(address) {
                        Some(providers) => Sender::Declared(providers.iter().copied().collect::<Vec<_>>().join(", ")),
                        None if of.spf > 0 => Sender::Authorised,
                        None => Sender::Unknown,
                    };
                    senders.push(SenderRow { address: *address, sender, counts: of.clone() });
                }
                senders.sort_by_key(|row| (std::cmp::Reverse(row.counts.messages), row.address));
                let sources = sources.get(domain).into_iter().flatten().map(|name| (*name).to_owned()).collect();
                DomainReport { domain: domain.clone(), sources, counts, senders }
            })
            .collect();
        all.sort_by_key(|one| {
            let is_own = !one.sources.is_empty() || own.contains(&one.domain);
            (!is_own, std::cmp::Reverse(one.counts.messages), one.domain.clone())
        });
        all
    }
}

/// The domain of a declared domain or address.
fn domain_of(text: &str) -> Option<String> {
    let name: Name = match Registered::parse(text)? {
        Registered::Domain(domain) | Registered::Address { domain, .. } => domain,
    };
    Some(normalise_domain(name.as_str()))
}
