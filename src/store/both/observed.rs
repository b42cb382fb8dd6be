//! What was last observed in DNS.

use sqlx::{query, query_as};

use super::{Engine, on_both};
use crate::{
    model::Timestamp,
    store::{
        Epoch, StoreError,
        observed::{Observed, ObservedRow, observed},
    },
};

/// Takes an observation into the projection, unless a later one of the same is there.
pub(in crate::store) const OBSERVE: &str = "INSERT INTO observed (about, at, body) VALUES ($1, $2, $3) \
     ON CONFLICT (about) DO UPDATE SET at = excluded.at, body = excluded.body WHERE excluded.at >= observed.at";

/// Throws away what the journal can tell again. What is older than everything it has is the last that is known.
pub(in crate::store) const UNOBSERVE: &str =
    "DELETE FROM observed WHERE at >= (SELECT min(at) FROM entry WHERE kind = 6)";

on_both! {
    pub(in crate::store) async fn observed(&self) -> Result<Vec<Observed>, StoreError> {
        let rows: Vec<ObservedRow> = query_as("SELECT about, at, body, looked_at FROM observed ORDER BY about")
            .fetch_all(self.reading())
            .await?;
        observed(rows)
    }

    pub(in crate::store) async fn note_looks(
        &self,
        epoch: Epoch,
        looks: &[(String, Timestamp)],
    ) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        for (about, at) in looks {
            query("UPDATE observed SET looked_at = $2 WHERE about = $1")
                .bind(about)
                .bind(at.as_millis())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
