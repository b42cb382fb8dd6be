//! The outbox: what is to be announced, and what came of it.

use super::{OutboxDepth, OutboxState, Route, Store, StoreError, dispatch};
use crate::model::Timestamp;

impl Store {
    /// When the paced rows of a target were sent that were sent after `since`, oldest first.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_pace(
        &self,
        route: Route,
        target: &str,
        since: Timestamp,
    ) -> Result<Vec<Timestamp>, StoreError> {
        dispatch!(self, store => store.outbox_pace(route, target, since).await)
    }

    /// The receiver's id of the first row of a target that was sent and has one: the thread of an incident.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_receipt(&self, route: Route, target: &str) -> Result<Option<String>, StoreError> {
        dispatch!(self, store => store.outbox_receipt(route, target).await)
    }

    /// Where a row of the outbox stands; `None` where there's none of this key.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_state(&self, route: Route, key: &str) -> Result<Option<OutboxState>, StoreError> {
        dispatch!(self, store => store.outbox_state(route, key).await)
    }

    /// Whether anything of this key is in the outbox, or was and is still remembered.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_knows(&self, key: &str) -> Result<bool, StoreError> {
        dispatch!(self, store => store.outbox_knows(key).await)
    }

    /// How full the outbox is.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        dispatch!(self, store => store.outbox_depth().await)
    }
}
