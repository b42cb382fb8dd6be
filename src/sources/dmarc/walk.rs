//! The organisational domain: by DNS tree walk (RFC 9989 section 4.10) and by the public suffix list.

use super::{
    super::{
        answer::{Answer, Kind, Name, Outcome, Text, Values},
        asking::{Asking, trouble},
        finding::Finding,
        spf::Answers,
    },
    MAX_WALK_QUERIES,
    record::{Psd, Record, parse},
};

/// What a tree walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The records on the way from the name up, with the domains that they are for.
    pub found: Vec<(Name, Record)>,
    /// The domains with several records, none of which counts.
    pub several: Vec<Name>,
    /// The organisational domain; `None` where DNS did not answer.
    pub org: Option<Name>,
    /// What DNS did in place of answering.
    pub troubles: Vec<Finding>,
}

impl Walk {
    /// The record of this domain.
    #[must_use]
    pub fn record_of(&self, domain: &Name) -> Option<&Record> {
        self.found.iter().find(|(name, _)| name == domain).map(|(_, record)| record)
    }
}

/// The domains that a walk asks for, from the name itself to its top-level domain: at most [`MAX_WALK_QUERIES`], of long names the
/// name itself and the last seven labels.
fn steps(domain: &Name) -> Vec<Name> {
    let mut steps = vec![domain.clone()];
    let mut current = domain.clone();
    while let Some(parent) = current.parent().filter(|parent| !parent.is_root()) {
        if parent.labels().count() < MAX_WALK_QUERIES {
            steps.push(parent.clone());
        }
        current = parent;
    }
    steps
}

/// The name one label below `above` on the way from `domain` up.
fn below(above: &Name, domain: &Name) -> Option<Name> {
    let mut current = domain.clone();
    loop {
        let parent = current.parent()?;
        if parent == *above {
            return Some(current);
        }
        current = parent;
    }
}

/// Walks up from a domain. `None` where something is still to be asked; all steps are asked at once, since only `psd=` would save
/// any.
pub(in super::super) fn walk<A: Answers>(domain: &Name, asking: &Asking<'_, A>) -> Option<Walk> {
    let names: Vec<(Name, Name)> = steps(domain)
        .into_iter()
        .filter_map(|step| Name::parse(&format!("_dmarc.{step}")).ok().map(|at| (step, at)))
        .collect();
    let answers: Vec<Option<&Answer>> = names.iter().map(|(_, at)| asking.ask(at, Kind::Txt)).collect();
    let mut walk = Walk { found: Vec::new(), several: Vec::new(), org: None, troubles: Vec::new() };
    let mut org = None;
    for ((step, at), answer) in names.iter().zip(answers) {
        let answer = answer?;
        walk.troubles.extend(trouble(at, Kind::Txt, &answer.outcome));
        let texts: &[Text] = match &answer.outcome {
            Outcome::Found(Values::Txt(texts)) => texts,
            _ => &[],
        };
        let mut records = texts.iter().filter_map(|text| parse(&text.joined()));
        match (records.next(), records.next()) {
            (Some(record), None) => {
                let psd = record.psd;
                walk.found.push((step.clone(), record));
                match psd {
                    Psd::No => org = Some(step.clone()),
                    Psd::Yes if step != domain => org = below(step, domain),
                    Psd::Yes | Psd::Unsaid => {}
                }
                if psd != Psd::Unsaid {
                    break;
                }
            }
            (Some(_), Some(_)) => walk.several.push(step.clone()),
            _ => {}
        }
    }
    // The walk goes up, so that the last record found is the one with the fewest labels.
    let org = org.or_else(|| walk.found.last().map(|(name, _)| name.clone())).unwrap_or_else(|| domain.clone());
    walk.org = walk.troubles.is_empty().then_some(org);
    Some(walk)
}

/// The organisational domain by the public suffix list that is compiled in: the suffix and one label; the name itself where it is a
/// suffix.
#[must_use]
pub fn org_by_list(name: &Name) -> Name {
    psl::domain_str(name.as_str()).and_then(|org| Name::parse(org).ok()).unwrap_or_else(|| name.clone())
}
