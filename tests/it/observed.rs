//! The last observation of each record, source and stream that is watched in DNS: a projection of the journal.

use relaywatch::{
    model::Timestamp,
    store::{EntryKind, EventKey, NewEntry, OWN_FEED, Submission},
};
use serde_json::{Value, json};

use crate::{
    on_both_engines,
    support::{TestStore, at},
};

fn entry(about: &str, millis: i64, says: &str) -> NewEntry {
    let mut hash = [0; 16];
    for (to, from) in hash.iter_mut().zip(about.bytes().rev().chain(says.bytes())) {
        *to ^= from;
    }
    NewEntry {
        key: EventKey { at: at(millis), hash },
        kind: EntryKind::DnsObservation,
        account: None,
        address: None,
        app: None,
        body: json!({ "about": about, "says": says }),
    }
}

async fn commit(test: &TestStore, entries: Vec<NewEntry>) -> u64 {
    let submission = Submission { feed: OWN_FEED.to_owned(), entries, ..Submission::default() };
    test.leader().commit(&[submission]).await.expect("committed").added
}

/// What stands: about, when, what it says, when it was looked at.
async fn stands(test: &TestStore) -> Vec<(String, Timestamp, Value, Option<Timestamp>)> {
    let rows = test.store.observed().await.expect("read").into_iter();
    rows.map(|row| (row.about, row.at, row.body["says"].clone(), row.looked_at)).collect()
}

on_both_engines! {
async fn the_last_observation_of_each_stands_and_is_made_again(test: TestStore) {
    let (spf, key) = ("record TXT of example.com", "record TXT of s1._domainkey.example.com");
    assert_eq!(commit(&test, vec![entry(spf, 1_000, "first"), entry(key, 1_000, "key")]).await, 2);
    assert_eq!(commit(&test, vec![entry(spf, 3_000, "third")]).await, 1);
    // What comes late hides nothing, and what comes again changes nothing.
    assert_eq!(commit(&test, vec![entry(spf, 2_000, "second")]).await, 1);
    assert_eq!(commit(&test, vec![entry(spf, 1_000, "first")]).await, 0);
    let expected = [
        (spf.to_owned(), at(3_000), json!("third"), None),
        (key.to_owned(), at(1_000), json!("key"), None),
    ];
    assert_eq!(stands(&test).await, expected);
    test.leader().note_looks(&[(spf.to_owned(), at(9_000)), ("nobody".to_owned(), at(9_000))]).await.expect("noted");
    let looked: Vec<_> = stands(&test).await.into_iter().map(|row| row.3).collect();
    assert_eq!(looked, [Some(at(9_000)), None]);
    test.store.reset_projections().await.expect("reset");
    assert_eq!(stands(&test).await, expected, "made again; looks are no facts of the journal");
}

async fn other_entries_are_no_observations(test: TestStore) {
    let note = NewEntry { kind: EntryKind::Note, ..entry("record A of example.com", 1_000, "a note") };
    commit(&test, vec![note]).await;
    test.store.reset_projections().await.expect("reset");
    assert!(stands(&test).await.is_empty());
}
}
