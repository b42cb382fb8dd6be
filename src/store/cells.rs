//! The projections that judgements read: cells with their witnesses, and the ledger.

use super::{CellKey, Counts, LedgerRow, Store, StoreError, dispatch};
use crate::model::StreamKey;

impl Store {
    /// Cells of a stream between two bins, both included, by bin.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cells(&self, stream: i32, from: i64, to: i64) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        dispatch!(self, store => store.cells(stream, from, to).await)
    }

    /// All cells from a bin on, by stream and bin.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cells_since(&self, from: i64) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        dispatch!(self, store => store.cells_since(from).await)
    }

    /// Absolute counts of the given cells; those that count nothing are left out.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn cells_of(&self, keys: &[CellKey]) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        dispatch!(self, store => store.cells_of(keys).await)
    }

    /// Of each of these (finest stream, bin), up to three of the addresses that were refused for good, the smallest ids
    /// first.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_witnesses(&self, cells: &[(i32, i64)]) -> Result<Vec<(i32, i64, i64)>, StoreError> {
        dispatch!(self, store => store.refused_witnesses(cells).await)
    }

    /// The different addresses that were refused for good in these finest streams in the bins from `from` to `to`, both
    /// included, by id, at most `limit`.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_addresses(
        &self,
        streams: &[i32],
        from: i64,
        to: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        dispatch!(self, store => store.refused_addresses(streams, from, to, limit).await)
    }

    /// How many different addresses were refused for good in these finest streams in the bins from `from` to `to`, both included.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn refused_count(&self, streams: &[i32], from: i64, to: i64) -> Result<u64, StoreError> {
        let counted = dispatch!(self, store => store.refused_count(streams, from, to).await)?;
        Ok(u64::try_from(counted).unwrap_or(0))
    }

    /// What the ledger knows of an address.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn ledger(&self, address: i64) -> Result<Option<LedgerRow>, StoreError> {
        dispatch!(self, store => store.ledger(address).await)
    }

    /// Counts of the control group outside the relay domains, since a bin: (stream, bin, sent, delivered, refused).
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn control_since(&self, from: i64) -> Result<Vec<(i32, i64, i64, i64, i64)>, StoreError> {
        dispatch!(self, store => store.control_since(from).await)
    }

    /// The numbers of streams; those that are new get one.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn stream_ids(&self, keys: &[StreamKey]) -> Result<Vec<i32>, StoreError> {
        dispatch!(self, store => store.stream_ids(keys).await)
    }
}
