//! Incidents after they are opened: what operators say of them, the report, and the list to win back.
//!
//! Whatever an operator does is in the journal first: an incident is a projection, and a rebuild must not lose it.

mod body;
mod recovery;
mod report;
#[cfg(test)]
pub(crate) mod testing;

pub use body::{Body, BodyError, Label};
pub use recovery::{LeftOut, Recovery, RecoveryRequest, RecoveryRow, journal_recovery, list, recovery, write_csv};
pub use report::{markdown, summary, to_json};

use crate::{
    model::Timestamp,
    privacy::{Keyring, Purpose},
    store::{EntryKind, EventKey, IncidentRecord, NewEntry, Store, StoreError, Submission},
};

/// The name under which the store counts what operators do.
const OPERATOR_FEED: &str = "operator";

/// Why an incident can't be shown or changed.
#[derive(Debug, thiserror::Error)]
pub enum IncidentError {
    /// There is no such incident.
    #[error("there is no incident {0}; `relaywatch incident list` shows those that there are")]
    Unknown(i64),
    /// The stored body is foreign.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No address can be told.
    #[error(
        "no recovery list can be made: [privacy] addresses = \"hashed\" keeps only a keyed hash of each address, from which \
         nobody can tell the address; compare your own list with the refusals that your provider reports"
    )]
    Hashed,
    /// The operator's name or the reason can't be kept.
    #[error("{0}")]
    Request(&'static str),
}

/// An incident with its body.
///
/// # Errors
/// Where there is none with this number, another version wrote it, or the store is away.
pub async fn find(store: &Store, id: i64) -> Result<(IncidentRecord, Body), IncidentError> {
    let record = store.incident(id).await?.ok_or(IncidentError::Unknown(id))?;
    let body = Body::from_record(&record)?;
    Ok((record, body))
}

/// Keeps what an operator says of an incident.
///
/// # Errors
/// As [`find`].
pub async fn set_label(
    store: &Store,
    keyring: &Keyring,
    id: i64,
    label: Label,
    now: Timestamp,
) -> Result<(), IncidentError> {
    find(store, id).await?;
    journal(store, keyring, now, serde_json::json!({ "action": "label", "incident": id, "label": label })).await?;
    amend(store, id, now, |body| body.label = Some(label)).await
}

/// Takes the refusals of an incident as the new ordinary, so that the baseline that it froze learns on.
///
/// # Errors
/// As [`find`].
pub async fn accept_normal(store: &Store, keyring: &Keyring, id: i64, now: Timestamp) -> Result<(), IncidentError> {
    find(store, id).await?;
    journal(store, keyring, now, serde_json::json!({ "action": "accept-normal", "incident": id })).await?;
    amend(store, id, now, |body| body.accepted_normal = true).await
}

/// Changes an incident's body; what the monitor writes at the same time is not written over.
async fn amend(store: &Store, id: i64, now: Timestamp, change: impl Fn(&mut Body)) -> Result<(), IncidentError> {
    loop {
        let (before, mut body) = find(store, id).await?;
        change(&mut body);
        let updated_at = before.updated_at.max(now);
        let after = IncidentRecord { updated_at, body: body.to_value(), ..before.clone() };
        if store.amend_incident(&before, &after).await? {
            return Ok(());
        }
    }
}

/// Appends what an operator does to the journal.
async fn journal(
    store: &Store,
    keyring: &Keyring,
    now: Timestamp,
    body: serde_json::Value,
) -> Result<(), IncidentError> {
    let hash = keyring.hash(Purpose::Event, &[b"operator", body.to_string().as_bytes()]);
    let entry = NewEntry {
        key: EventKey { at: now, hash },
        kind: EntryKind::Action,
        account: None,
        address: None,
        app: None,
        body,
    };
    let feed = OPERATOR_FEED.to_owned();
    store.commit(&[Submission { feed, entries: vec![entry], ..Submission::default() }]).await?;
    Ok(())
}
