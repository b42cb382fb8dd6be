//! Incidents after they are opened: what operators say of them, the report, the list to win back, and what to do about an
//! address meanwhile.
//!
//! Whatever an operator does is in the journal first: an incident is a projection, and a rebuild must not lose it.

pub mod advice;
mod body;
mod own_word;
mod recovery;
mod report;
#[cfg(test)]
pub(crate) mod testing;

pub use crate::store::Label;
pub use body::{Basis, Body, BodyError};
pub use own_word::OwnWord;
pub use recovery::{LeftOut, Recovery, RecoveryRequest, RecoveryRow, journal_recovery, list, recovery, write_csv};
pub use report::{Beside, Closing, closing, markdown, summary, to_json};

use crate::{
    model::Timestamp,
    privacy::{Keyring, Purpose},
    store::{EntryKind, EventKey, IncidentRecord, IncidentState, NewEntry, Store, StoreError, Submission},
};

/// The name under which the store counts what operators do.
pub const OPERATOR_FEED: &str = "operator";

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
    /// It can't be closed twice.
    #[error("incident {id} is {state}: only an incident that is open or masked can be closed")]
    Over {
        /// Its number.
        id: i64,
        /// Where it stands.
        state: IncidentState,
    },
    /// The operator's name or the reason can't be kept.
    #[error("{0}")]
    Request(&'static str),
}

/// How the refused addresses are won back once it's decided: for wherever a hold is advised.
#[must_use]
pub fn win_back(incident: i64) -> String {
    format!(
        "Once it is decided, the list to win back: relaywatch incident recovery {incident} --reason \"why\" --out win-back.csv"
    )
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
    (label, operator): (Label, &str),
    now: Timestamp,
) -> Result<(), IncidentError> {
    find(store, id).await?;
    let action = serde_json::json!({ "action": "label", "incident": id, "label": label, "operator": operator });
    journal(store, keyring, now, action).await?;
    Ok(store.label_incident(id, label, now).await?)
}

/// Takes the refusals of an incident as the new ordinary, so that the baseline that it froze learns on.
///
/// # Errors
/// As [`find`].
pub async fn accept_normal(
    store: &Store,
    keyring: &Keyring,
    id: i64,
    operator: &str,
    now: Timestamp,
) -> Result<(), IncidentError> {
    find(store, id).await?;
    let action = serde_json::json!({ "action": "accept-normal", "incident": id, "operator": operator });
    journal(store, keyring, now, action).await?;
    Ok(store.accept_incident(id, now).await?)
}

/// Closes an incident that is open or masked. Refusals from now on are another incident; the hold stays.
///
/// # Errors
/// As [`find`]; where it is over already; where name or reason can't be kept.
pub async fn close(
    store: &Store,
    keyring: &Keyring,
    id: i64,
    (operator, reason): (&str, &str),
    now: Timestamp,
) -> Result<(), IncidentError> {
    let (record, _) = find(store, id).await?;
    let over = |state: IncidentState| IncidentError::Over { id, state };
    if !matches!(record.state, IncidentState::Open | IncidentState::Masked) {
        return Err(over(record.state));
    }
    let action = serde_json::json!({ "action": "close", "incident": id, "operator": operator, "reason": reason });
    journal(store, keyring, now, action).await?;
    if store.close_incident(id, now).await? { Ok(()) } else { Err(over(IncidentState::Closed)) }
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
