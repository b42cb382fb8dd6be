//! The clock that an `account-deleted` notice starts: 30 days later the account and its address are forgotten.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    model::{DAY_MILLIS, Timestamp},
    privacy::{Keyring, Purpose},
    store::{DueAccount, EntryKind, EventKey, Leader, NewEntry, OWN_FEED, StoreError, Submission, Whom},
};

/// How long after its Apple Account was deleted an account and its address are forgotten.
pub const FORGET_AFTER_MILLIS: i64 = 30 * DAY_MILLIS;
/// How often it's looked for accounts whose time has come.
const LOOK: Duration = Duration::from_mins(10);
/// Accounts that one step forgets.
const STEP: u32 = 100;

/// Forgets accounts whose time has come, now and then. The store has the clock: a restart changes nothing.
pub(super) async fn run(
    store: Leader,
    keyring: Arc<Keyring>,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    loop {
        match forget_due(&store, &keyring, clock.now()).await {
            Ok(0) => {}
            Ok(accounts) => tracing::info!(accounts, "forgot accounts whose Apple Account was deleted 30 days ago"),
            Err(StoreError::NotLeading) => return Err(StoreError::NotLeading),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "accounts whose Apple Account was deleted could not be forgotten; trying again later"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = clock.sleep(LOOK) => {}
        }
    }
}

/// Forgets every account whose time has come by `now`; gives how many there were.
///
/// Each is journalled before, under a key of its own: the same again after a crash is the same entry.
///
/// # Errors
/// [`StoreError::NotLeading`], or where the store is away.
pub async fn forget_due(store: &Leader, keyring: &Keyring, now: Timestamp) -> Result<u64, StoreError> {
    let until = now.plus_millis(-FORGET_AFTER_MILLIS);
    let mut forgotten = 0;
    loop {
        let due = store.due_accounts(until, STEP).await?;
        if due.is_empty() {
            return Ok(forgotten);
        }
        let entries = due.iter().map(|account| entry(keyring, account, now)).collect();
        store.commit(&[Submission { feed: OWN_FEED.to_owned(), entries, ..Submission::default() }]).await?;
        let people: Vec<Whom> = due.iter().map(|account| Whom::Deleted { account: account.account }).collect();
        let erased = store.forget(&people).await?;
        forgotten += erased.accounts;
        if erased.accounts == 0 {
            // Something later showed that they are still there, between the two reads.
            return Ok(forgotten);
        }
    }
}

/// What the journal keeps of it: random ids that mean nobody any more.
fn entry(keyring: &Keyring, account: &DueAccount, now: Timestamp) -> NewEntry {
    let deleted_at = account.deleted_at.as_millis();
    let unique = [account.account.to_le_bytes(), deleted_at.to_le_bytes()].concat();
    NewEntry {
        // Keys begin with a time: with the notice's, the entry is the same one whenever it's made.
        key: EventKey {
            at: account.deleted_at.plus_millis(FORGET_AFTER_MILLIS),
            hash: keyring.hash(Purpose::Event, &[b"account-deleted", &unique]),
        },
        kind: EntryKind::Action,
        account: None,
        address: None,
        app: None,
        body: serde_json::json!({
            "action": "address-forget",
            "by": "relaywatch",
            "reason": "account-deleted notice",
            "notice_at": account.deleted_at,
            "done_at": now,
            "account": format!("{:016x}", account.account),
            "address": account.address.map(|id| format!("{id:016x}")),
        }),
    }
}
