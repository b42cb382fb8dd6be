//! Which streams are counted one by one on a day, and which together as "other": pure.
//!
//! A sender who puts an id of each mail into the campaign's name (or into a domain) makes as many streams as mails. Of the
//! children of one stream on one UTC day only so many are kept; the others are counted in its child [`OTHER`]. Kept are those
//! whose names have the smallest digests: which these are depends on the set of streams that were met on the day alone, not on
//! the order in which they came, and takes no memory of those that were not kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{FNV1A_BASIS, OTHER, StreamKey, StreamLevel, fnv1a};

/// How many children of a kind one stream keeps on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Finest streams in all.
    total: usize,
    /// From domains of a provider.
    domains: usize,
    /// Envelope domains of a provider and From domain.
    envelopes: usize,
    /// Campaigns of an envelope domain, as long as all together stay within the total.
    campaigns: usize,
}

impl Limits {
    /// By the cap on all live streams: a tenth of it for the From domains of a provider, a hundredth for the campaigns of one
    /// sender, a thousandth for its envelope domains.
    #[must_use]
    pub fn new(max_streams: u32) -> Self {
        let total = usize::try_from(max_streams).unwrap_or(usize::MAX).max(1);
        let part = |divisor: usize| (total / divisor).max(1);
        Self { total, domains: part(10), envelopes: part(1_000), campaigns: part(100) }
    }
}

/// The kept children of one stream: digest and name of the part that tells them apart.
#[derive(Debug, Clone, Default)]
struct Children {
    kept: BTreeSet<(u64, Option<String>)>,
    /// How many it may keep since it has overflowed: never more than before.
    full: Option<usize>,
}

/// The streams of one day.
#[derive(Debug, Clone)]
struct Day {
    nodes: BTreeMap<StreamKey, Children>,
    /// How many campaigns a sender may keep by the total.
    campaigns: usize,
    /// Finest streams that are kept.
    kept: usize,
}

/// The streams of the days that are at hand.
#[derive(Debug, Clone)]
pub struct Live {
    limits: Limits,
    days: BTreeMap<i64, Day>,
}

/// Steps from a provider to a finest stream: the level of the parent, and the part that names the child.
const STEPS: [StreamLevel; 3] = [StreamLevel::Provider, StreamLevel::ProviderDomain, StreamLevel::Envelope];

impl Live {
    /// Knows no day.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, days: BTreeMap::new() }
    }

    /// How many children of a kind are kept.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether a day is at hand.
    #[must_use]
    pub fn has(&self, day: i64) -> bool {
        self.days.contains_key(&day)
    }

    /// Takes in a day as the store has it: its finest streams.
    pub fn load<'a>(&mut self, day: i64, streams: impl IntoIterator<Item = &'a StreamKey>) {
        let mut loaded = Day { nodes: BTreeMap::new(), campaigns: self.limits.campaigns, kept: 0 };
        for stream in streams {
            for level in STEPS {
                let (Some(parent), part) = (stream.at(level), part(stream, level)) else { continue };
                let node = loaded.nodes.entry(parent).or_default();
                if part.as_deref() == Some(OTHER) {
                    node.full = Some(0);
                    break;
                }
                let new = node.kept.insert((digest(part.as_deref()), part));
                loaded.kept += usize::from(new && level == StreamLevel::Envelope);
            }
        }
        for (key, node) in &mut loaded.nodes {
            if node.full.is_some() {
                node.full = Some(node.kept.len());
                if key.level == StreamLevel::Envelope {
                    loaded.campaigns = loaded.campaigns.min(node.kept.len().max(1));
                }
            }
        }
        self.days.insert(day, loaded);
    }

    /// Lets go of days before this one.
    pub fn forget_before(&mut self, day: i64) {
        self.days = self.days.split_off(&day);
    }

    /// How many streams are kept on a day, and how many streams have overflowed on it.
    #[must_use]
    pub fn count(&self, day: i64) -> (usize, usize) {
        self.days
            .get(&day)
            .map_or((0, 0), |day| (day.kept, day.nodes.values().filter(|node| node.full.is_some()).count()))
    }

    /// Streams that have overflowed on a day.
    pub fn overflowed(&self, day: i64) -> impl Iterator<Item = &StreamKey> {
        let nodes = self.days.get(&day).into_iter().flat_map(|day| &day.nodes);
        nodes.filter(|(_, node)| node.full.is_some()).map(|(key, _)| key)
    }

    /// Takes note that a finest stream has mail on a day, which is at hand; tells which finest streams have to make room: their
    /// mail is counted from now on where [`Self::place`] says.
    pub fn meet(&mut self, day: i64, stream: &StreamKey) -> Vec<StreamKey> {
        let mut moved = Vec::new();
        let limits = self.limits;
        let Some(known) = self.days.get_mut(&day) else { return moved };
        for level in STEPS {
            let (Some(parent), part) = (stream.at(level), part(stream, level)) else { return moved };
            let most = match level {
                StreamLevel::Provider => limits.domains,
                StreamLevel::ProviderDomain => limits.envelopes,
                _ => known.campaigns,
            };
            if !known.keep(&parent, part, most, &mut moved) {
                return moved;
            }
        }
        while known.kept > limits.total && known.campaigns > 1 {
            known.campaigns /= 2;
            let nodes: Vec<StreamKey> =
                known.nodes.keys().filter(|key| key.level == StreamLevel::Envelope).cloned().collect();
            for node in nodes {
                known.shrink(&node, known.campaigns, &mut moved);
            }
        }
        moved
    }

    /// Where a finest stream's mail of a day is counted: in itself, or in the stream that holds what overflowed.
    #[must_use]
    pub fn place(&self, day: i64, stream: &StreamKey) -> StreamKey {
        let Some(known) = self.days.get(&day) else { return stream.clone() };
        for level in STEPS {
            let (Some(parent), part) = (stream.at(level), part(stream, level)) else { break };
            let Some(node) = known.nodes.get(&parent) else { continue };
            if node.full.is_some() && !node.kept.contains(&(digest(part.as_deref()), part)) {
                return other(stream, level);
            }
        }
        stream.clone()
    }
}

impl Day {
    /// Keeps a child where it may; false where it is counted in "other".
    fn keep(&mut self, parent: &StreamKey, part: Option<String>, most: usize, moved: &mut Vec<StreamKey>) -> bool {
        let child = (digest(part.as_deref()), part);
        let node = self.nodes.entry(parent.clone()).or_default();
        if node.kept.contains(&child) {
            return true;
        }
        let most = node.full.map_or(most, |full| full.min(most));
        if node.kept.len() >= most && node.kept.last().is_none_or(|last| child > *last) {
            node.full = Some(most.min(node.kept.len()));
            return false;
        }
        node.kept.insert(child);
        self.kept += usize::from(parent.level == StreamLevel::Envelope);
        self.shrink(parent, most, moved);
        true
    }

    /// Drops the children of a stream that go beyond what it may keep.
    fn shrink(&mut self, parent: &StreamKey, most: usize, moved: &mut Vec<StreamKey>) {
        while let Some(node) = self.nodes.get_mut(parent).filter(|node| node.kept.len() > most) {
            node.full = Some(most);
            let Some((_, part)) = node.kept.pop_last() else { return };
            self.drop_below(child_of(parent, part), moved);
        }
    }

    /// Drops a child that is no longer kept, and everything below it.
    fn drop_below(&mut self, child: StreamKey, moved: &mut Vec<StreamKey>) {
        if child.level == StreamLevel::Campaign {
            self.kept -= 1;
            moved.push(child);
            return;
        }
        let Some(node) = self.nodes.remove(&child) else { return };
        for (_, part) in node.kept {
            self.drop_below(child_of(&child, part), moved);
        }
        // What had overflowed below goes with the rest; it was no kept stream.
        moved.extend(node.full.map(|_| other(&child, child.level)));
    }
}

/// The part of a stream that names it among the children of its parent at a level.
fn part(stream: &StreamKey, parent: StreamLevel) -> Option<String> {
    match parent {
        StreamLevel::Provider => stream.from_domain.clone(),
        StreamLevel::ProviderDomain => stream.envelope_domain.clone(),
        _ => stream.campaign.clone(),
    }
}

/// A child of a provider, of a provider and From domain, or of an envelope domain.
fn child_of(parent: &StreamKey, part: Option<String>) -> StreamKey {
    let mut child = parent.clone();
    match parent.level {
        StreamLevel::Provider => (child.level, child.from_domain) = (StreamLevel::ProviderDomain, part),
        StreamLevel::ProviderDomain => (child.level, child.envelope_domain) = (StreamLevel::Envelope, part),
        _ => (child.level, child.campaign) = (StreamLevel::Campaign, part),
    }
    child
}

/// The finest stream that counts what overflowed at a parent of this level.
fn other(stream: &StreamKey, parent: StreamLevel) -> StreamKey {
    let mut other = stream.clone();
    other.level = StreamLevel::Campaign;
    let name = Some(OTHER.to_owned());
    if parent <= StreamLevel::Provider {
        other.from_domain.clone_from(&name);
    }
    if parent <= StreamLevel::ProviderDomain {
        other.envelope_domain.clone_from(&name);
    }
    other.campaign = name;
    other
}

/// A digest of a name that is the same in every process and version (FNV-1a, then the finaliser of MurmurHash3, so that names
/// that differ in their last sign lie far apart).
fn digest(name: Option<&str>) -> u64 {
    let marked = name.map_or(&[][..], str::as_bytes);
    let mut hash = fnv1a(FNV1A_BASIS ^ u64::from(name.is_some()), marked);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
