//! In which dimension the trouble sits, and how others fare: pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    detect::{Counts, stats::count},
    explain::{Concentration, Control},
    model::{OTHER, Provider, StreamKey},
};

/// The smallest element that holds this share of the excess is the one to name; source: detection.md 5.5, EP >= .8.
const HOLDS: f64 = 0.8;
/// What a control group without a history is supposed to be refused: half a percent, worth a hundred messages.
const SUPPOSED: Counts = Counts { sends: 100, refused: 0 };

/// Who sends: provider and From domain together.
pub(super) struct Senders<'a>(BTreeSet<(Option<Provider>, Option<&'a str>)>);

impl<'a> Senders<'a> {
    pub(super) fn of(keys: impl IntoIterator<Item = &'a StreamKey>) -> Self {
        Self(keys.into_iter().map(|key| (key.provider, key.from_domain.as_deref())).collect())
    }

    pub(super) fn contains(&self, key: &StreamKey) -> bool {
        self.0.contains(&(key.provider, key.from_domain.as_deref()))
    }
}

/// Where the refusals sit, dimension by dimension.
#[derive(Default)]
pub(super) struct Found {
    pub(super) senders: Option<Concentration>,
    pub(super) providers: Option<Concentration>,
    pub(super) campaigns: Option<Concentration>,
}

/// One value of a dimension. Of two that hold the same mail the one that sorts first is named: a From domain goes before the
/// envelope domain that always comes with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Element {
    Named(String),
    Envelope(String),
    Unnamed(&'static str),
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Envelope(domain) => write!(f, "envelope {domain}"),
            Self::Unnamed(what) => f.write_str(what),
        }
    }
}

/// Looks for the element of each dimension with the most refusals beyond what its share of the mail makes expect at the
/// ordinary `rate`.
pub(super) fn concentration(cells: &[(&StreamKey, Counts)], rate: f64) -> Found {
    let name = |name: &Option<String>, none: &'static str| name.clone().map_or(Element::Unnamed(none), Element::Named);
    let (mut senders, mut providers, mut campaigns) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut total = Counts::default();
    for (key, counts) in cells.iter().filter(|(_, counts)| counts.sends > 0) {
        total = total.plus(*counts);
        let add = |elements: &mut BTreeMap<Element, Counts>, element: Element| {
            let sum = elements.entry(element).or_default();
            *sum = sum.plus(*counts);
        };
        // What goes beyond the cap on streams is in the whole, and no domain or campaign by itself.
        let told = |part: &Option<String>| part.as_deref() != Some(OTHER);
        if told(&key.from_domain) {
            add(&mut senders, name(&key.from_domain, "unknown From domain"));
        }
        if let Some(envelope) = key.envelope_domain.as_ref().filter(|_| told(&key.envelope_domain)) {
            add(&mut senders, Element::Envelope(envelope.clone()));
        }
        let provider = key.provider.map_or("unknown provider", Provider::as_str);
        add(&mut providers, Element::Named(provider.to_owned()));
        if told(&key.campaign) {
            add(&mut campaigns, name(&key.campaign, "mail without a campaign"));
        }
    }
    let worst = |elements: &BTreeMap<Element, Counts>| worst(elements, total, rate);
    Found { senders: worst(&senders), providers: worst(&providers), campaigns: worst(&campaigns) }
}

fn worst(elements: &BTreeMap<Element, Counts>, total: Counts, rate: f64) -> Option<Concentration> {
    let excess = |counts: Counts| count(counts.refused) - rate * count(counts.sends);
    let whole = excess(total);
    let holding = elements.iter().filter(|(_, counts)| whole > 0.0 && excess(**counts) >= HOLDS * whole);
    let smallest = holding.min_by_key(|(element, counts)| (counts.sends, *element));
    let largest = || {
        // The first one of several that are equal, so that the answer does not waver.
        elements.iter().rev().max_by(|(_, one), (_, other)| excess(**one).total_cmp(&excess(**other)))
    };
    let (top, inside) = smallest.or_else(largest)?;
    let outside = Counts {
        sends: total.sends.saturating_sub(inside.sends),
        refused: total.refused.saturating_sub(inside.refused),
    };
    Some(Concentration { top: top.to_string(), inside: *inside, outside, elements: elements.len() as u64 })
}

/// A group outside the relay in the same mail; `None` where it got none.
pub(super) fn control_group(now: Counts, before: Counts) -> Option<Control> {
    let known = before.plus(SUPPOSED);
    let usual_rate = (count(known.refused) + 0.5) / count(known.sends);
    (now.sends > 0).then_some(Control { counts: now, usual_rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(provider: Provider, from: &str, envelope: &str, campaign: Option<&str>) -> StreamKey {
        StreamKey::finest(provider, Some(from.to_owned()), Some(envelope.to_owned()), campaign.map(ToOwned::to_owned))
    }

    const fn counts(sends: u64, refused: u64) -> Counts {
        Counts { sends, refused }
    }

    #[test]
    fn the_smallest_element_that_holds_the_excess_is_named() {
        let a = key(Provider::Ses, "a.example", "bounce.a.example", None);
        let b = key(Provider::Ses, "b.example", "bounce.b.example", Some("spring"));
        let c = key(Provider::Mailgun, "a.example", "other.a.example", None);
        let cells = [(&a, counts(1_000, 900)), (&b, counts(2_000, 10)), (&c, counts(3_000, 20))];
        let found = concentration(&cells, 0.005);
        let senders = found.senders.expect("senders");
        // a.example holds all of it too, but with mail that goes through.
        assert_eq!(senders.top, "envelope bounce.a.example");
        assert_eq!((senders.inside, senders.outside), (counts(1_000, 900), counts(5_000, 30)));
        assert_eq!(found.providers.expect("providers").top, "ses");
        assert_eq!(found.campaigns.expect("campaigns").top, "mail without a campaign");
    }

    #[test]
    fn what_is_counted_together_beyond_the_cap_is_no_campaign() {
        let other = key(Provider::Ses, "a.example", "bounce.a.example", Some(OTHER));
        let one = key(Provider::Ses, "a.example", "bounce.a.example", Some("spring"));
        let found = concentration(&[(&other, counts(1_000, 900)), (&one, counts(100, 5))], 0.005);
        let campaigns = found.campaigns.expect("a campaign");
        assert_eq!((campaigns.top.as_str(), campaigns.outside), ("spring", counts(1_000, 900)));
        assert_eq!(found.senders.expect("senders").top, "a.example");
    }

    #[test]
    fn a_from_domain_goes_before_its_own_envelope_domain() {
        let a = key(Provider::Ses, "mail.mydomain.fr", "bounce.mydomain.fr", None);
        let b = key(Provider::Ses, "b.example", "bounce.b.example", None);
        let found = concentration(&[(&a, counts(500, 480)), (&b, counts(900, 4))], 0.005);
        assert_eq!(found.senders.expect("senders").top, "mail.mydomain.fr");
    }

    #[test]
    fn trouble_that_is_spread_evenly_has_a_largest_part_and_no_concentration() {
        let a = key(Provider::Ses, "a.example", "bounce.a.example", None);
        let b = key(Provider::Ses, "b.example", "bounce.b.example", None);
        let found = concentration(&[(&a, counts(1_000, 330)), (&b, counts(1_100, 370))], 0.005);
        let senders = found.senders.expect("senders");
        assert_eq!((senders.top.as_str(), senders.inside), ("b.example", counts(1_100, 370)));
        assert!(concentration(&[], 0.01).senders.is_none());
    }

    #[test]
    fn a_control_group_without_history_has_a_modest_usual_rate() {
        assert_eq!(control_group(Counts::default(), counts(9, 9)), None);
        let fresh = control_group(counts(50, 1), Counts::default()).expect("mail");
        assert!((fresh.usual_rate - 0.005).abs() < 1e-12);
        let known = control_group(counts(50, 1), counts(100_000, 1_000)).expect("mail");
        assert!((known.usual_rate - 0.01).abs() < 1e-4);
    }
}
