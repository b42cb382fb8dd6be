//! What a batch needs on both engines: the numbers of its words and people, and the sums of its control group.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{EntryKind, Mark, NewControl, NewEntry, Recipient, StoreError, Submission, WordKind, recent::ByHash};
use crate::model::{EventKind, NoticeKind, StreamKey, Timestamp};

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
    /// The count of erasures under which the addresses are found.
    pub(super) erasures: i64,
    /// Addresses and accounts that the batch made rows for.
    pub(super) fresh_addresses: Vec<i64>,
    pub(super) fresh_accounts: Vec<i64>,
}

impl Numbers {
    /// Whether it made rows for people.
    pub(super) fn has_fresh_people(&self) -> bool {
        !self.fresh_addresses.is_empty() || !self.fresh_accounts.is_empty()
    }

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

/// What a notice says of its account and its address, beside naming them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Teaching {
    /// What the notice says, where this version knows it.
    pub(super) kind: Option<NoticeKind>,
    /// The Apple Account was deleted at this time.
    pub(super) deleted_at: Option<Timestamp>,
    /// Its user was there at this time: forwarding was restored.
    pub(super) returned_at: Option<Timestamp>,
    /// Whether the address is a private one.
    pub(super) mark: Option<Mark>,
}

impl Teaching {
    pub(super) fn of(entry: &NewEntry) -> Self {
        if entry.kind != EntryKind::Notice {
            return Self::default();
        }
        let at = entry.key.at;
        let kind = entry.body.get("kind").and_then(serde_json::Value::as_str).and_then(NoticeKind::from_name);
        // On a relay domain the word says nothing new.
        let told = |key: &str| entry.body.get(key).and_then(serde_json::Value::as_bool);
        let private = told("private").filter(|_| told("relay_domain") != Some(true));
        Self {
            kind,
            deleted_at: (kind == Some(NoticeKind::AccountDeleted)).then_some(at),
            returned_at: (kind == Some(NoticeKind::EmailEnabled)).then_some(at),
            mark: private.map(|private| Mark { private, at }),
        }
    }
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
