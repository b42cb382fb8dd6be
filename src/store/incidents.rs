//! Incidents in the store: the monitor's part of a row, and the operators'.

use super::{IncidentRecord, IncidentState, Label, OperatorWord, Store, StoreError, dispatch};
use crate::model::Timestamp;

impl Store {
    /// Incidents in any of these states, newest onset first, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away, or one is none that this version knows.
    pub async fn incidents(&self, states: &[IncidentState], limit: u32) -> Result<Vec<IncidentRecord>, StoreError> {
        dispatch!(self, store => store.incidents(states, limit).await)
    }

    /// Incidents that are over and were not withdrawn, which ended (or, where that is later, began) at `since` or later; newest
    /// onset first.
    ///
    /// # Errors
    /// Where the store is away, or one is none that this version knows.
    pub async fn ended_incidents(&self, since: Timestamp) -> Result<Vec<IncidentRecord>, StoreError> {
        dispatch!(self, store => store.ended_incidents(since).await)
    }

    /// One incident.
    ///
    /// # Errors
    /// Where the store is away, or it is none that this version knows.
    pub async fn incident(&self, id: i64) -> Result<Option<IncidentRecord>, StoreError> {
        dispatch!(self, store => store.incident(id).await)
    }

    /// What operators say of these incidents, by number; those of which they say nothing are left out.
    ///
    /// # Errors
    /// Where the store is away, or one is none that this version knows.
    pub async fn operator_words(&self, ids: &[i64]) -> Result<Vec<(i64, OperatorWord)>, StoreError> {
        dispatch!(self, store => store.operator_words(ids).await)
    }

    /// Keeps what an operator says that an incident was.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn label_incident(&self, id: i64, label: Label, now: Timestamp) -> Result<(), StoreError> {
        dispatch!(self, store => store.label_incident(id, label, now).await)
    }

    /// Keeps that an operator takes an incident's refusals as the new ordinary.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn accept_incident(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        dispatch!(self, store => store.accept_incident(id, now).await)
    }

    /// Closes an incident that is open or masked; gives whether it was.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn close_incident(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        dispatch!(self, store => store.close_incident(id, now).await)
    }
}
