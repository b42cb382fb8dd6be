//! The lease of the leader: one row, on the database's clock alone.
//!
//! A leader's transaction holds the row `FOR KEY SHARE` from its beginning to its end. Renewing changes no key and passes
//! that lock; taking over asks `FOR UPDATE` and waits for it. So when a takeover is done, every write of the older reign
//! is either committed and visible, or refused.

use std::time::Duration;

use sqlx::{PgConnection, Postgres, Transaction, query, query_scalar};

use super::PgStore;
use crate::{
    model::Timestamp,
    store::{Epoch, StoreError},
};

/// The database's clock, in milliseconds since the epoch; read when it is reached, not when the transaction began.
macro_rules! clock {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

impl PgStore {
    pub(in crate::store) async fn database_clock(&self) -> Result<Timestamp, StoreError> {
        let millis: i64 = query_scalar(concat!("SELECT ", clock!())).fetch_one(&self.pool).await?;
        Ok(Timestamp::from_millis(millis))
    }

    pub(in crate::store) async fn lead(&self, holder: &str, term: Duration) -> Result<Option<Epoch>, StoreError> {
        // A standby asks every second: a plain read, which no leader notices.
        let free: bool = query_scalar(concat!(
            "SELECT COALESCE(bool_and(expires_at <= ",
            clock!(),
            "), FALSE) FROM lease WHERE name = 'monitor'"
        ))
        .fetch_one(&self.pool)
        .await?;
        if !free {
            return Ok(None);
        }
        let mut transaction = self.pool.begin().await?;
        let free: Option<i32> = query_scalar(concat!(
            "SELECT 1 FROM lease WHERE name = 'monitor' AND expires_at <= ",
            clock!(),
            " FOR UPDATE"
        ))
        .fetch_optional(&mut *transaction)
        .await?;
        if free.is_none() {
            return Ok(None);
        }
        let epoch: i64 = query_scalar(concat!(
            "UPDATE lease SET epoch = epoch + 1, holder = $1, expires_at = ",
            clock!(),
            " + $2 WHERE name = 'monitor' RETURNING epoch"
        ))
        .bind(holder)
        .bind(millis(term))
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Some(Epoch(epoch)))
    }

    pub(in crate::store) async fn renew(&self, epoch: Epoch, term: Duration) -> Result<(), StoreError> {
        let renewed = query(concat!(
            "UPDATE lease SET expires_at = ",
            clock!(),
            " + $2 WHERE name = 'monitor' AND epoch = $1 AND expires_at > ",
            clock!()
        ))
        .bind(epoch.0)
        .bind(millis(term))
        .execute(&self.pool)
        .await?;
        if renewed.rows_affected() == 1 { Ok(()) } else { Err(StoreError::NotLeading) }
    }

    pub(in crate::store) async fn release(&self, epoch: Epoch) -> Result<(), StoreError> {
        query("UPDATE lease SET expires_at = 0 WHERE name = 'monitor' AND epoch = $1")
            .bind(epoch.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Begins a transaction: the leader's where a reign is given.
    ///
    /// Whatever else it locks comes after the row of the lease: one order for all, so that no two wait for each other.
    pub(super) async fn begin(&self, reign: Option<Epoch>) -> Result<Transaction<'static, Postgres>, StoreError> {
        match reign {
            Some(epoch) => self.led(epoch).await,
            None => Ok(self.pool.begin().await?),
        }
    }

    /// Begins a transaction of the leader's. Nobody takes over until it has ended.
    pub(in crate::store) async fn led(&self, epoch: Epoch) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        fence(&mut transaction, epoch).await?;
        Ok(transaction)
    }
}

async fn fence(connection: &mut PgConnection, epoch: Epoch) -> Result<(), StoreError> {
    let leads: Option<i32> = query_scalar(concat!(
        "SELECT 1 FROM lease WHERE name = 'monitor' AND epoch = $1 AND expires_at > ",
        clock!(),
        " FOR KEY SHARE"
    ))
    .bind(epoch.0)
    .fetch_optional(connection)
    .await?;
    leads.map(drop).ok_or(StoreError::NotLeading)
}

fn millis(term: Duration) -> i64 {
    i64::try_from(term.as_millis()).unwrap_or(i64::MAX / 2)
}
