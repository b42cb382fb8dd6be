//! The last 96 hours of a stream, bin by bin, so that late reports can still be put where they belong.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Alarm, Counts, SrState};
use crate::model::{BIN_MILLIS, Bin, Day, HOUR_MILLIS};

/// Bins in an hour.
const HOUR_BINS: i64 = HOUR_MILLIS / BIN_MILLIS;
/// How long every bin keeps a checkpoint: 6 hours. Older bins keep one an hour.
const FINE_HOURS: i64 = 6;
/// How far back reports are taken: 96 hours.
const RING_HOURS: i64 = 96;

/// How many different addresses a cell remembers; no rule can ask for more.
pub const WITNESSES: usize = 3;

/// Up to three different addresses that were refused: enough to tell whether three different ones were, in a cell or over many.
///
/// It keeps the three smallest marks, so that a union holds the same ones in whatever order addresses come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Witnesses {
    marks: [u32; WITNESSES],
    len: u8,
}

impl Witnesses {
    /// Adds an address by its id in the store; the same id again changes nothing. Two ids share a mark once in 2^32, which can
    /// only delay an alarm.
    #[must_use]
    pub fn with(self, address: u64) -> Self {
        // Ids may be small or share their upper half; the multiplication spreads them (Knuth, 6.4).
        let mark = (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
        let mut all = self;
        all.add(mark);
        all
    }

    /// Both together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let mut all = self;
        for mark in other.marks.iter().take(usize::from(other.len)) {
            all.add(*mark);
        }
        all
    }

    /// How many different addresses there are at least; exact up to three.
    #[must_use]
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    fn add(&mut self, mark: u32) {
        let mut mark = mark;
        // Carries the larger one of each pair on to the next place; what falls off the end is not needed.
        for known in self.marks.iter_mut().take(usize::from(self.len)) {
            if *known == mark {
                return;
            }
            if mark < *known {
                std::mem::swap(known, &mut mark);
            }
        }
        if let Some(free) = self.marks.get_mut(usize::from(self.len)) {
            *free = mark;
            self.len += 1;
        }
    }
}

/// What is judged together under one Beta-distributed rate: one campaign on one UTC day, or one day of transactional mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub(super) day: Day,
    pub(super) campaign: u64,
}

impl Cluster {
    pub(super) const fn new(bin: Bin, campaign: u64) -> Self {
        Self { day: bin.start().day(), campaign }
    }
}

/// The counts of one cluster in one bin: all that is known of them, not what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cell {
    /// Relay messages handed to the provider, unique by message and recipient.
    pub sends: u32,
    /// Of them, permanently refused.
    pub refused: u32,
    /// Addresses that were refused.
    pub addresses: Witnesses,
}

/// Whether the exposure of a bin is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Completeness {
    /// Sends and refusals are counted.
    #[default]
    Complete,
    /// The bin overlaps an outage of ours, its refusals came before their sends, or its feed has no exposure: it moves nothing.
    Incomplete,
}

/// One thing that is now known of a stream. It sets and never adds, so that neither order nor repetition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// The counts of a campaign in a bin. A campaign on one UTC day is a cluster: what is judged under one rate.
    Cell {
        /// The bin of send time.
        bin: Bin,
        /// The caller's number of the campaign, 0 for transactional mail. Numbers come from the capped table of live streams,
        /// which bounds how many clusters a bin can have.
        campaign: u64,
        /// Its counts, in all.
        cell: Cell,
    },
    /// Whether a bin is complete.
    Completeness {
        /// The bin of send time.
        bin: Bin,
        /// Whether it is.
        completeness: Completeness,
    },
}

impl Update {
    /// The bin that it is about.
    #[must_use]
    pub const fn bin(&self) -> Bin {
        match self {
            Self::Cell { bin, .. } | Self::Completeness { bin, .. } => *bin,
        }
    }
}

/// One cluster's counts in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) cluster: Cluster,
    pub(super) cell: Cell,
}

impl Entry {
    pub(super) fn counts(&self) -> Counts {
        Counts { sends: self.cell.sends.into(), refused: self.cell.refused.into() }
    }
}

/// One bin, and what was known after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) bin: Bin,
    pub(super) marked: Completeness,
    /// Sorted by cluster.
    pub(super) entries: Vec<Entry>,
    /// The checkpoint, where this slot keeps one.
    pub(super) after: Option<Box<SrState>>,
    /// The alarm that this bin raised.
    pub(super) alarm: Option<Box<Alarm>>,
}

impl Slot {
    pub(super) fn new(bin: Bin) -> Self {
        Self { bin, marked: Completeness::Complete, entries: Vec::new(), after: None, alarm: None }
    }

    /// Whether it may move the detector. More refusals than sends in a cluster show that sends are missing.
    pub(super) fn is_complete(&self) -> bool {
        self.marked == Completeness::Complete && self.entries.iter().all(|e| e.cell.refused <= e.cell.sends)
    }

    /// Whether it says no more than no slot at all.
    pub(super) fn is_void(&self) -> bool {
        self.marked == Completeness::Complete && self.entries.is_empty()
    }

    pub(super) fn counts(&self) -> Counts {
        self.entries.iter().map(Entry::counts).fold(Counts::default(), Counts::plus)
    }

    pub(super) fn addresses(&self) -> Witnesses {
        self.entries.iter().fold(Witnesses::default(), |all, entry| all.union(entry.cell.addresses))
    }

    /// Sets what an update says; false where that was known.
    pub(super) fn set(&mut self, update: &Update) -> bool {
        match *update {
            Update::Completeness { completeness, .. } => {
                std::mem::replace(&mut self.marked, completeness) != completeness
            }
            Update::Cell { bin, campaign, cell } => {
                let cluster = Cluster::new(bin, campaign);
                let at = self.entries.partition_point(|entry| entry.cluster < cluster);
                let known = self.entries.get_mut(at).filter(|entry| entry.cluster == cluster);
                match (known, cell.sends == 0 && cell.refused == 0) {
                    (Some(entry), false) => std::mem::replace(&mut entry.cell, cell) != cell,
                    (Some(_), true) => {
                        self.entries.remove(at);
                        true
                    }
                    (None, true) => false,
                    (None, false) => {
                        self.entries.insert(at, Entry { cluster, cell });
                        true
                    }
                }
            }
        }
    }
}

/// The hour that a bin lies in, counted from the epoch.
pub(super) const fn hour(bin: Bin) -> i64 {
    bin.0.div_euclid(HOUR_BINS)
}

/// The oldest bin that a ring with its newest bin at `head` still takes. Whole hours leave at once, so that the ring spans 96
/// hours and what has begun of the current one.
pub(super) const fn oldest(head: Bin) -> Bin {
    Bin(hour(head).saturating_sub(RING_HOURS).saturating_mul(HOUR_BINS))
}

/// Drops the checkpoints that are no longer needed: bins older than 6 hours keep one an hour, that of its last slot.
pub(super) fn thin(slots: &mut VecDeque<Slot>, from: usize, head: Bin) {
    let fine_from = hour(head).saturating_sub(FINE_HOURS);
    let mut at = from;
    while let (Some(this), Some(next)) = (slots.get(at).map(|s| hour(s.bin)), slots.get(at + 1).map(|s| hour(s.bin))) {
        if this >= fine_from {
            break;
        }
        if this == next
            && let Some(slot) = slots.get_mut(at)
        {
            slot.after = None;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hour_leaves_the_ring_as_a_whole() {
        assert_eq!(oldest(Bin(96 * 12)), Bin(0));
        assert_eq!(oldest(Bin(96 * 12 + 11)), Bin(0));
        assert_eq!(oldest(Bin(97 * 12)), Bin(12));
    }

    proptest! {
        #[test]
        fn witnesses_count_different_addresses_up_to_three_in_any_order(
            ids in prop::collection::vec(0_u64..6, 0..12), split in 0_usize..12,
        ) {
            let all = |ids: &[u64]| ids.iter().fold(Witnesses::default(), |w, id| w.with(*id));
            let different: std::collections::BTreeSet<_> = ids.iter().collect();
            prop_assert_eq!(all(&ids).len(), different.len().min(WITNESSES));
            let (left, right) = ids.split_at(split.min(ids.len()));
            prop_assert_eq!(all(right).union(all(left)), all(&ids));
            prop_assert_eq!(all(&ids).is_empty(), ids.is_empty());
        }
    }
}
