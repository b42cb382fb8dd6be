//! What a relabelling counts.

use std::collections::BTreeMap;

use sqlx::{query, query_as, query_scalar};

use super::{ConnectionOf, Engine, on_both};
use crate::store::{
    StoreError, Stretch,
    relabel::{GroupRow, RelabelledRow},
};

on_both! {
    pub(in crate::store) async fn relabelled(&self) -> Result<Vec<RelabelledRow>, StoreError> {
        Ok(query_as("SELECT from_cause, from_rule, to_cause, to_rule, replies FROM relabelled ORDER BY replies DESC, 1, 2, 3, 4")
            .fetch_all(self.reading())
            .await?)
    }

    pub(in crate::store) async fn forget_relabelled(&self) -> Result<(), StoreError> {
        let mut transaction = self.writing().begin().await?;
        query("DELETE FROM relabelled").execute(&mut *transaction).await?;
        query("DELETE FROM meta WHERE key = 'relabelling'").execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    pub(in crate::store) async fn relabelling(&self) -> Result<Option<String>, StoreError> {
        Ok(query_scalar("SELECT value FROM meta WHERE key = 'relabelling'").fetch_optional(self.reading()).await?)
    }

    pub(in crate::store) async fn begin_relabelling(&self, kept: &str, new: bool) -> Result<(), StoreError> {
        let mut transaction = self.writing().begin().await?;
        if new {
            query("DELETE FROM relabelled").execute(&mut *transaction).await?;
        }
        query(
            "INSERT INTO meta (key, value) VALUES ('relabelling', $1) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(kept)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    pub(in crate::store) async fn replies_in(&self, stretch: Stretch) -> Result<Vec<GroupRow>, StoreError> {
        Ok(query_as(Self::REPLIES_IN).bind(stretch.from).bind(stretch.to).fetch_all(self.reading()).await?)
    }

    pub(in crate::store) async fn first_known(&self) -> Result<Option<i64>, StoreError> {
        Ok(query_scalar("SELECT min(first_event_at) FROM ledger").fetch_one(self.reading()).await?)
    }

    /// Books what a step has changed, in its transaction.
    pub(in crate::store) async fn count_relabelled(
        connection: &mut ConnectionOf<Self>,
        counts: &BTreeMap<(i16, &str, i16, &str), i64>,
    ) -> Result<(), StoreError> {
        for ((from_cause, from_rule, to_cause, to_rule), replies) in counts {
            query(
                "INSERT INTO relabelled (from_cause, from_rule, to_cause, to_rule, replies) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (from_cause, from_rule, to_cause, to_rule) \
                 DO UPDATE SET replies = relabelled.replies + excluded.replies",
            )
            .bind(*from_cause)
            .bind(*from_rule)
            .bind(*to_cause)
            .bind(*to_rule)
            .bind(*replies)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
