//! What a batch needs on both engines: the numbers of its words and people, and the sums of its control group.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{NewControl, Recipient, StoreError, Submission, WordKind, recent::ByHash};
use crate::model::{EventKind, StreamKey};

/// Words with their numbers. Streams, which every outcome has, are also found by their key.
#[derive(Debug, Default)]
pub(super) struct Words {
    texts: HashMap<WordKind, HashMap<String, i32>>,
    streams: HashMap<StreamKey, i32>,
}

impl Words {
    pub(super) fn get(&self, kind: WordKind, text: &str) -> Option<i32> {
        self.texts.get(&kind)?.get(text).copied()
    }

    pub(super) fn stream(&self, key: &StreamKey) -> Option<i32> {
        self.streams.get(key).copied()
    }

    pub(super) fn insert(&mut self, kind: WordKind, text: String, id: i32) {
        self.texts.entry(kind).or_default().insert(text, id);
    }

    pub(super) fn insert_stream(&mut self, key: &StreamKey, id: i32) {
        self.streams.insert(key.clone(), id);
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len() + self.texts.values().map(HashMap::len).sum::<usize>()
    }

    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.streams.clear();
    }

    pub(super) fn extend(&mut self, other: Self) {
        for (kind, texts) in other.texts {
            self.texts.entry(kind).or_default().extend(texts);
        }
        self.streams.extend(other.streams);
    }
}

/// The numbers that a batch needs.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) words: Words,
    pub(super) addresses: ByHash<i64>,
    pub(super) accounts: HashMap<[u8; 16], i64>,
}

impl Numbers {
    pub(super) fn word(&self, kind: WordKind, text: &str) -> Result<i32, StoreError> {
        self.words.get(kind, text).ok_or_else(|| missing("word", kind.as_str()))
    }

    pub(super) fn stream(&self, key: &StreamKey) -> Result<i32, StoreError> {
        self.words.stream(key).ok_or_else(|| missing("word", WordKind::Stream.as_str()))
    }

    pub(super) fn address(&self, hash: &[u8; 16]) -> Result<i64, StoreError> {
        self.addresses.get(hash).copied().ok_or_else(|| missing("address", "row"))
    }
}

fn missing(table: &'static str, what: &'static str) -> StoreError {
    StoreError::Unknown { table, what, value: "missing after it was written".to_owned() }
}

/// The key under which the store keeps a stream's word.
pub(super) fn stream_text(key: &StreamKey) -> String {
    // A struct of strings, options and words always serialises.
    serde_json::to_string(key).unwrap_or_default()
}

/// Everybody whom a submission speaks of.
pub(super) fn recipients_of(submission: &Submission) -> impl Iterator<Item = &Recipient> {
    let entries = submission.entries.iter().filter_map(|entry| entry.address.as_ref());
    submission.events.iter().map(|event| &event.recipient).chain(entries)
}

/// Sums the fresh outcomes by stream and bin: sent, delivered, refused. Each key counts once.
pub(super) fn control_cells(
    control: &[&NewControl],
    mut fresh: HashSet<(i64, Vec<u8>)>,
    numbers: &Numbers,
) -> Result<BTreeMap<(i32, i64), [i64; 3]>, StoreError> {
    let mut sums: BTreeMap<(i32, i64), [i64; 3]> = BTreeMap::new();
    for outcome in control {
        if !fresh.remove(&(outcome.key.at.as_millis(), outcome.key.hash.to_vec())) {
            continue;
        }
        let counts = match outcome.kind {
            EventKind::Sent => [1, 0, 0],
            EventKind::Delivered => [0, 1, 0],
            EventKind::Refused => [0, 0, 1],
            _ => continue,
        };
        let sum = sums.entry((numbers.stream(&outcome.stream)?, outcome.sent_at.bin().0)).or_default();
        for (to, from) in sum.iter_mut().zip(counts) {
            *to += from;
        }
    }
    Ok(sums)
}
