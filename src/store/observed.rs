//! What was last observed in DNS of everything that is watched: a projection of the journal's entries of that kind.

use super::{EntryKind, Leader, NewEntry, Store, StoreError, dispatch, lease::fenced};
use crate::model::Timestamp;

/// The field of an entry's body that names what an observation is about.
pub const ABOUT: &str = "about";

/// The last observation of something.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// What it is about.
    pub about: String,
    /// When it was observed.
    pub at: Timestamp,
    /// What the entry says.
    pub body: serde_json::Value,
    /// When it was last looked at, as far as that was noted.
    pub looked_at: Option<Timestamp>,
}

/// A row of `observed` as both engines read it.
pub(super) type ObservedRow = (String, i64, String, Option<i64>);

pub(super) fn observed(rows: Vec<ObservedRow>) -> Result<Vec<Observed>, StoreError> {
    rows.into_iter()
        .map(|(about, at, body, looked_at)| {
            let body = serde_json::from_str(&body).map_err(|error| StoreError::Unknown {
                table: "observed",
                what: "body",
                value: format!("no JSON at column {}", error.column()),
            })?;
            let looked_at = looked_at.map(Timestamp::from_millis);
            Ok(Observed { about, at: Timestamp::from_millis(at), body, looked_at })
        })
        .collect()
}

/// What an entry is an observation of; `None` where it is none.
pub(super) fn about(entry: &NewEntry) -> Option<&str> {
    if entry.kind != EntryKind::DnsObservation {
        return None;
    }
    entry.body.get(ABOUT).and_then(serde_json::Value::as_str)
}

impl Store {
    /// The last observation of everything that is or was watched in DNS, by what it is about.
    ///
    /// # Errors
    /// Where the store is away, or a row is none that this version knows.
    pub async fn observed(&self) -> Result<Vec<Observed>, StoreError> {
        dispatch!(self, store => store.observed().await)
    }
}

impl Leader {
    /// Notes when things were last looked at; what was never observed is left out.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn note_looks(&self, looks: &[(String, Timestamp)]) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.note_looks(epoch, looks).await)
    }
}
