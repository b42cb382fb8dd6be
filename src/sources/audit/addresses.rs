//! The addresses that a stream is sent from: those that are told, else some of those that the provider's own SPF record lists.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    super::{
        answer::{Kind, Name, Outcome, Question},
        asking::Asking,
        providers::{self, Known},
        spf::{Answers, Mechanism, Qualifier, Selection, TermKind},
    },
    Stream,
};

/// How many addresses are tried of each family; more would be the same networks again.
const MAX_SAMPLES: usize = 6;
/// How many addresses that are told are tried.
const MAX_TOLD: usize = 64;
/// How many records of the provider's tree are read.
const MAX_RECORDS: usize = 16;

/// What is known of the sending addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sending {
    /// The addresses to try.
    pub(super) addresses: Vec<IpAddr>,
    /// The name that they were taken from, where nobody told them.
    pub(super) sampled_from: Option<Name>,
    /// Whether the result for them decides: not where the name is only recalled.
    pub(super) decides: bool,
    /// Whether DNS did not answer for the provider's record or one that it includes.
    pub(super) trouble: bool,
    /// Whether all addresses that are told are tried.
    pub(super) whole: bool,
}

/// The name that the provider's customers include.
pub(super) fn include_of(stream: &Stream) -> Option<(Name, bool)> {
    if let Some(text) = &stream.spf_name {
        return Name::parse(text).ok().map(|name| (name, true));
    }
    let names = providers::names(stream.provider)?;
    Some((Name::parse(names.include).ok()?, names.known == Known::Reference))
}

/// The addresses to try. `None` where something is still to be asked.
pub(super) fn sending<A: Answers>(stream: &Stream, asking: &Asking<'_, A>) -> Option<Sending> {
    if !stream.addresses.is_empty() {
        let addresses = stream.addresses.iter().copied().take(MAX_TOLD).collect();
        let whole = stream.addresses.len() <= MAX_TOLD;
        return Some(Sending { addresses, sampled_from: None, decides: true, trouble: false, whole });
    }
    let Some((include, decides)) = include_of(stream) else {
        return Some(Sending {
            addresses: Vec::new(),
            sampled_from: None,
            decides: false,
            trouble: false,
            whole: true,
        });
    };
    let (networks, trouble) = networks(&include, asking)?;
    let (four, six): (Vec<IpAddr>, Vec<IpAddr>) = networks.into_iter().partition(IpAddr::is_ipv4);
    let addresses = spread(&four).chain(spread(&six)).collect();
    Some(Sending { addresses, sampled_from: Some(include), decides, trouble, whole: true })
}

/// Some of them, from the first to the last.
fn spread(all: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let step = all.len().div_ceil(MAX_SAMPLES).max(1);
    all.iter().copied().step_by(step)
}

/// One address of each network that the record of a name passes, and those that it includes.
fn networks<A: Answers>(include: &Name, asking: &Asking<'_, A>) -> Option<(Vec<IpAddr>, bool)> {
    let (mut found, mut trouble, mut missing) = (Vec::new(), false, false);
    let mut seen = vec![include.clone()];
    let mut queue = VecDeque::from([include.clone()]);
    while let Some(name) = queue.pop_front() {
        let Some((answer, selection)) = asking.answers().published(&Question::new(name.clone(), Kind::Txt)) else {
            // Noted as needed; its siblings are looked at in the same step.
            missing |= asking.ask(&name, Kind::Txt).is_none();
            continue;
        };
        trouble |= answer.outcome.is_trouble();
        let Selection::One(policy) = selection else { continue };
        for term in policy.terms() {
            let next = match &term.kind {
                TermKind::Directive(Qualifier::Pass, Mechanism::Ip4 { network, prefix }) => {
                    found.push(IpAddr::V4(inside4(*network, *prefix)));
                    None
                }
                TermKind::Directive(Qualifier::Pass, Mechanism::Ip6 { network, prefix }) => {
                    found.push(IpAddr::V6(inside6(*network, *prefix)));
                    None
                }
                TermKind::Directive(Qualifier::Pass, Mechanism::A(hosts)) => {
                    if let Some(host) = hosts.domain.as_ref().map_or(Some(&name), |domain| domain.fixed()) {
                        match asking.ask(host, Kind::A).map(|answer| &answer.outcome) {
                            Some(Outcome::Found(values)) => found.extend(values.addresses()),
                            Some(outcome) => trouble |= outcome.is_trouble(),
                            None => missing = true,
                        }
                    }
                    None
                }
                TermKind::Directive(Qualifier::Pass, Mechanism::Include(domain)) | TermKind::Redirect(domain) => {
                    domain.fixed()
                }
                _ => None,
            };
            if let Some(next) = next.filter(|next| seen.len() < MAX_RECORDS && !seen.contains(next)) {
                seen.push(next.clone());
                queue.push_back(next.clone());
            }
        }
    }
    (!missing).then_some((found, trouble))
}

/// The second address of a network, the first one of a network of one or two.
fn inside4(network: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(network.to_bits() | u32::from(prefix < 31))
}

fn inside6(network: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(network.to_bits() | u128::from(prefix < 127))
}
