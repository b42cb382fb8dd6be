//! Who leads: the one process that folds, judges, announces and sends. Its writes are methods of [`Leader`] and of nothing
//! else, and each is refused, in its own transaction, once the reign is over.

use std::{ops::Deref, time::Duration};

use super::{Commit, Fold, IncidentRecord, NewOutbox, OutboxFailure, OutboxItem, Route, Store, StoreError, Submission};
use crate::model::Timestamp;

/// One reign: from when a process took the lead until it lost it or gave it up. Only a store makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub(in crate::store) i64);

impl Epoch {
    /// Its number, which rises from reign to reign.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

/// Sends a leader's call to the engine, with its epoch.
macro_rules! fenced {
    ($self:ident, $store:ident, $epoch:ident => $call:expr) => {{
        let $epoch = $self.epoch();
        match $self.store() {
            Store::Sqlite($store) => $call,
            Store::Postgres($store) => $call,
        }
    }};
}

pub(super) use fenced;

/// The store as the leader has it: whoever holds this may also write what only a leader writes.
///
/// Every method fails with [`StoreError::NotLeading`], and changes nothing, once the reign is over.
#[derive(Debug, Clone)]
pub struct Leader {
    store: Store,
    epoch: Epoch,
}

impl Deref for Leader {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Leader {
    /// The store with the writes of a reign.
    #[must_use]
    pub const fn new(store: Store, epoch: Epoch) -> Self {
        Self { store, epoch }
    }

    /// The store without them.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The reign.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Prolongs the reign: it ends `term` from now unless it's renewed again.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`] where it is over; or where the store is away.
    pub async fn renew(&self, term: Duration) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.renew(epoch, term).await)
    }

    /// Ends the reign, so that another process need not wait for its end.
    ///
    /// # Errors
    /// Where the store is away: the reign then ends by itself.
    pub async fn release(&self) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.release(epoch).await)
    }

    /// Commits what the leader itself says, in one transaction; see [`Store::commit`].
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away or full.
    pub async fn commit(&self, batch: &[Submission]) -> Result<Commit, StoreError> {
        fenced!(self, store, epoch => store.commit(Some(epoch), batch).await)
    }

    /// Applies one step of the monitor: projections and cursor in one transaction.
    ///
    /// # Errors
    /// [`StoreError::CursorMoved`] where the cursor doesn't stand at `fold.from`; [`StoreError::NotLeading`]; or where the
    /// store is away.
    pub async fn apply(&self, name: &str, fold: &Fold) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.apply(epoch, name, fold).await)
    }

    /// Writes an incident; a new one (id zero) gets its number, which is given back. What operators say of it is left alone,
    /// and one that an operator has closed stays closed.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn save_incident(&self, incident: &IncidentRecord) -> Result<i64, StoreError> {
        fenced!(self, store, epoch => store.save_incident(epoch, incident).await)
    }

    /// Puts things into the outbox, all or none; those whose key is there already change nothing. Gives how many are new.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away or full.
    pub async fn enqueue(&self, items: &[NewOutbox]) -> Result<u64, StoreError> {
        fenced!(self, store, epoch => store.enqueue(epoch, items).await)
    }

    /// Claims what is due by these routes, in the order in which it was put in, at most `limit`, until `claim_millis` from
    /// `now`.
    ///
    /// Nobody else gets it until then; after that it comes again, marked as a possible repeat. Of ordered rows with one
    /// target, only the oldest is ever claimed.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn claim_outbox(
        &self,
        routes: &[Route],
        now: Timestamp,
        claim_millis: i64,
        limit: u32,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        fenced!(self, store, epoch => store.claim_outbox(epoch, routes, now, claim_millis, limit).await)
    }

    /// Whether a claim still stands: what is sent without it may be sent by somebody else at the same time.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn claim_holds(&self, item: &OutboxItem, now: Timestamp) -> Result<bool, StoreError> {
        fenced!(self, store, epoch => store.claim_holds(epoch, item, now).await)
    }

    /// Records that a claimed row has left; `receipt` is the receiver's id of it. Older rows of its target that are held
    /// back end with it.
    ///
    /// It counts also where the claim has run out: what was sent was sent.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn outbox_sent(
        &self,
        item: &OutboxItem,
        now: Timestamp,
        receipt: Option<&str>,
    ) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.outbox_sent(epoch, item, now, receipt).await)
    }

    /// Records that a claimed row has not left. Nothing changes where the claim has run out and another worker has the row.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn outbox_failed(
        &self,
        item: &OutboxItem,
        now: Timestamp,
        failure: &OutboxFailure,
    ) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.outbox_failed(epoch, item, now, failure).await)
    }

    /// Holds a claimed row back until `until`. Younger rows of its target may overtake it, and
    /// older ones that are held end.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn outbox_held(&self, item: &OutboxItem, now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.outbox_held(epoch, item, now, until).await)
    }

    /// Makes everything due that waits for another attempt or was given up with its body kept: for when the receivers' settings have changed.
    ///
    /// # Errors
    /// [`StoreError::NotLeading`], or where the store is away.
    pub async fn outbox_hurry(&self, now: Timestamp) -> Result<(), StoreError> {
        fenced!(self, store, epoch => store.outbox_hurry(epoch, now).await)
    }
}
