//! One process has the file, so whoever asks leads; an older reign of the same process is over then.

use std::{sync::atomic::Ordering, time::Duration};

use sqlx::{Sqlite, Transaction};

use super::SqliteStore;
use crate::store::{Epoch, StoreError};

impl SqliteStore {
    pub(in crate::store) async fn lead(&self) -> Result<Option<Epoch>, StoreError> {
        // With the writer in hand nothing of an older reign is under way.
        let _writer = self.writer.acquire().await?;
        Ok(Some(Epoch(self.reign.fetch_add(1, Ordering::SeqCst) + 1)))
    }

    pub(in crate::store) async fn renew(&self, epoch: Epoch, _term: Duration) -> Result<(), StoreError> {
        let _writer = self.writer.acquire().await?;
        self.check_reign(epoch)
    }

    pub(in crate::store) async fn release(&self, epoch: Epoch) -> Result<(), StoreError> {
        let _writer = self.writer.acquire().await?;
        // Where it is over already there is nothing to end.
        if self.check_reign(epoch).is_ok() {
            self.reign.store(epoch.0 + 1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Begins a transaction of the leader's.
    pub(in crate::store) async fn led(&self, epoch: Epoch) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        self.check_reign(epoch)?;
        Ok(transaction)
    }

    /// Within a transaction of whoever writes: refuses where a reign is given that is over.
    pub(super) fn check_led(&self, reign: Option<Epoch>) -> Result<(), StoreError> {
        reign.map_or(Ok(()), |epoch| self.check_reign(epoch))
    }

    fn check_reign(&self, epoch: Epoch) -> Result<(), StoreError> {
        if self.reign.load(Ordering::SeqCst) == epoch.0 { Ok(()) } else { Err(StoreError::NotLeading) }
    }
}
