//! The journal as it is read: events and entries, after a place, of a message, of an address, by time.

use super::{EntryRecord, EventFilter, EventKey, EventRecord, Mark, Position, Store, StoreError, Turn, dispatch};

impl Store {
    /// Outcomes after a place in the journal, in its order, at most `limit`.
    ///
    /// Never skips a transaction that commits late: on PostgreSQL it stops below the oldest one that still runs.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_after(&self, after: Position, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_after(after, limit).await)
    }

    /// Whether [`Store::events_after`] would give anything: cheap enough to be asked every second.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn has_events_after(&self, after: Position) -> Result<bool, StoreError> {
        dispatch!(self, store => store.has_events_after(after).await)
    }

    /// All outcomes up to a place in the journal of the given (address, message) pairs, in no particular order.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_of_messages(
        &self,
        messages: &[(i64, i64)],
        up_to: Position,
    ) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_of_messages(messages, up_to).await)
    }

    /// All outcomes of one address, by time.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_of_address(&self, address: i64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_of_address(address, limit).await)
    }

    /// The latest outcomes by place in the journal, newest first; those before `before` where it's given.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn latest_events(&self, before: Option<Position>, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.latest_events(before, limit).await)
    }

    /// Outcomes that pass the filter, latest event time first; those before `before` in that order where it's given.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_by_time(
        &self,
        filter: &EventFilter,
        before: Option<EventKey>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_by_time(filter, before, limit).await)
    }

    /// Outcomes that pass the filter, the latest that came in first; those before a place in the journal, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away, or an event is none that this version knows.
    pub async fn events_by_arrival(
        &self,
        filter: &EventFilter,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_by_arrival(filter, before, limit).await)
    }

    /// The end of the journal for a reader that follows it: whatever is committed later comes after it, or, on PostgreSQL,
    /// whatever a transaction that still runs will commit.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn journal_end(&self) -> Result<Position, StoreError> {
        dispatch!(self, store => store.journal_end().await)
    }

    /// Other entries after a place in the journal, in its order, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away, or an entry is none that this version knows.
    pub async fn entries_after(&self, after: Position, limit: u32) -> Result<Vec<EntryRecord>, StoreError> {
        dispatch!(self, store => store.entries_after(after, limit).await)
    }

    /// Entries about an address or about one of its accounts, by time.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn entries_of(&self, address: i64, accounts: &[i64]) -> Result<Vec<EntryRecord>, StoreError> {
        dispatch!(self, store => store.entries_of(address, accounts).await)
    }

    /// Addresses whose mail is not yet counted as the latest word on them has it, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn pending_turns(&self, limit: u32) -> Result<Vec<Turn>, StoreError> {
        dispatch!(self, store => store.pending_turns(limit).await)
    }

    /// What the map or a notice says of an address: private or not.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn mark_of(&self, address: i64) -> Result<Option<Mark>, StoreError> {
        dispatch!(self, store => store.mark_of(address).await)
    }

    /// All outcomes of these addresses up to a place in the journal, with the destination that the domain alone tells.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn events_by_domain(&self, addresses: &[i64], up_to: Position) -> Result<Vec<EventRecord>, StoreError> {
        dispatch!(self, store => store.events_by_domain(addresses, up_to).await)
    }

    /// Where a reader of the journal stands.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        dispatch!(self, store => store.cursor(name).await)
    }

    /// Throws away what the projections hold beyond the newest checkpoint, and puts the monitor's cursor back to the start, so
    /// that it makes them again from what the journal has.
    ///
    /// A rebuild that has not come to its end goes on from the start, too.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn reset_projections(&self) -> Result<(), StoreError> {
        dispatch!(self, store => store.reset_projections().await)
    }
}
