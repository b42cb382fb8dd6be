//! Personal data: private addresses on shared domains, forgetting with every copy, the clock of deleted accounts.

mod deleted;
mod forgetting;
mod marks;

use relaywatch::{
    model::NoticeKind,
    store::{EntryKind, Mark, NewAccount, NewEntry, Recipient, Submission},
};

use crate::support::{TestStore, at};

const TEAM: &str = "A1B2C3D4E5";

/// An address on a domain that holds ordinary mailboxes too.
pub(super) fn alias(test: &TestStore, number: usize) -> Recipient {
    test.recipient(&format!("alias{number}@icloud.com"))
}

/// A word of a notice on alias `number`.
pub(super) fn word(test: &TestStore, number: usize, millis: i64, private: bool) -> NewEntry {
    NewEntry {
        key: test.key(50_000 + number * 2 + usize::from(private), millis),
        kind: EntryKind::Notice,
        account: Some(test.subject(TEAM, &format!("alias{number}"))),
        address: Some(alias(test, number)),
        app: None,
        body: serde_json::json!({ "kind": NoticeKind::EmailEnabled, "private": private }),
    }
}

pub(super) fn apple(entries: Vec<NewEntry>) -> Submission {
    Submission { feed: "apple".to_owned(), entries, ..Submission::default() }
}

/// A row of the map about alias `number`.
pub(super) fn row(test: &TestStore, number: usize, millis: i64, private: bool) -> NewAccount {
    NewAccount {
        subject: test.subject(TEAM, &format!("alias{number}")),
        address: Some(alias(test, number)),
        app: None,
        signed_up_at: None,
        mark: Some(Mark { private, at: at(millis) }),
    }
}

pub(super) async fn id(test: &TestStore, who: &Recipient) -> i64 {
    test.store.address_by_hash(&who.hash).await.expect("read").expect("known").id
}
