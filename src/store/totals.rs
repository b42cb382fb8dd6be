//! Reads of what the monitor needs to place and to move streams.

use super::{CellKey, Counts, Horizon, RefusedChange, Store, StoreError, dispatch};

impl Store {
    /// Totals of relay mail of one UTC day, counted from the epoch: the finest stream's number and word, sends, refusals.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn day_totals(&self, day: i64) -> Result<Vec<(i32, String, i64, i64)>, StoreError> {
        dispatch!(self, store => store.day_totals(day).await)
    }

    /// Totals of these finest streams and days: stream, day, sends, refusals. Those that are not known are left out.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn day_totals_of(&self, wanted: &[(i32, i64)]) -> Result<Vec<(i32, i64, i64, i64)>, StoreError> {
        dispatch!(self, store => store.day_totals_of(wanted).await)
    }

    /// Cells of these streams in the bins from `from` to `to`, both included.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cells_within(
        &self,
        streams: &[i32],
        from: i64,
        to: i64,
    ) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        dispatch!(self, store => store.cells_within(streams, from, to).await)
    }

    /// Who was refused for good in these finest streams in the bins from `from` to `to`, both included.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_within(&self, streams: &[i32], from: i64, to: i64) -> Result<Vec<RefusedChange>, StoreError> {
        dispatch!(self, store => store.refused_within(streams, from, to).await)
    }

    /// Up to where the projections are final, and where a rebuild ends.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn horizon(&self) -> Result<Horizon, StoreError> {
        dispatch!(self, store => store.horizon().await)
    }

    /// Those of the (address, message) pairs that the checkpoints up to `day` hold though what is left of them in the journal
    /// does not tell.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn sealed_messages(&self, pairs: &[(i64, i64)], day: i64) -> Result<Vec<(i64, i64)>, StoreError> {
        dispatch!(self, store => store.sealed_messages(pairs, day).await)
    }
}
