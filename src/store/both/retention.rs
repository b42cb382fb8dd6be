//! Letting old rows go, and making projections anew.

use sqlx::{query, query_scalar};

use super::{Engine, on_both};
use crate::store::{Epoch, StoreError, WordKind};

/// Throws away of the projections what was sent on day `$1` or later.
pub(in crate::store) const RESET: [&str; 6] = [
    "DELETE FROM cell WHERE bin >= $1 * 288",
    "DELETE FROM refused WHERE bin >= $1 * 288",
    "DELETE FROM day_total WHERE day >= $1",
    "DELETE FROM feed_hour WHERE hour >= $1 * 24",
    // What is older stays: a later value hid it at most, and comes again from the journal.
    "DELETE FROM ledger WHERE first_event_at >= $1 * 86400000",
    "UPDATE ledger SET last_sent_at = CASE WHEN last_sent_at < $1 * 86400000 THEN last_sent_at END, \
     last_delivered_at = CASE WHEN last_delivered_at < $1 * 86400000 THEN last_delivered_at END, \
     last_cause = CASE WHEN last_refused_at < $1 * 86400000 THEN last_cause END, \
     last_refused_at = CASE WHEN last_refused_at < $1 * 86400000 THEN last_refused_at END, \
     complained_at = CASE WHEN complained_at < $1 * 86400000 THEN complained_at END, \
     unsubscribed_at = CASE WHEN unsubscribed_at < $1 * 86400000 THEN unsubscribed_at END, \
     suppressed_at = CASE WHEN suppressed_at < $1 * 86400000 THEN suppressed_at END",
];

on_both! {
    pub(in crate::store) async fn set_meta_number(
        &self,
        epoch: Epoch,
        key: &str,
        value: i64,
    ) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        query("INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
            .bind(key)
            .bind(value.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Deletes until a step finds no more.
    pub(in crate::store) async fn in_steps(
        &self,
        epoch: Epoch,
        text: &'static str,
        limit: i64,
    ) -> Result<u64, StoreError> {
        let mut gone = 0;
        loop {
            let mut transaction = self.led(epoch).await?;
            let step = query(text).bind(limit).bind(Self::STEP).execute(&mut *transaction).await?.rows_affected();
            transaction.commit().await?;
            gone += step;
            if step == 0 {
                return Ok(gone);
            }
        }
    }

    pub(in crate::store) async fn words_of_projections(&self) -> Result<Vec<i32>, StoreError> {
        Ok(query_scalar(
            "SELECT stream FROM cell UNION SELECT stream FROM day_total UNION SELECT stream FROM refused \
             UNION SELECT stream FROM control_cell UNION SELECT id FROM word WHERE kind = $1",
        )
        .bind(WordKind::Feed.code())
        .fetch_all(self.reading())
        .await?)
    }
}
