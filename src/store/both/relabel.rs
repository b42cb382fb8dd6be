//! What a relabelling counts.

use std::collections::BTreeMap;

use sqlx::{query, query_as, query_scalar};

use super::{ConnectionOf, Engine, on_both};
use crate::store::{StoreError, relabel::RelabelledRow};

on_both! {
    pub(in crate::store) async fn relabelled(&self) -> Result<Vec<RelabelledRow>, StoreError> {
        Ok(query_as("SELECT from_cause, from_rule, to_cause, to_rule, replies FROM relabelled ORDER BY replies DESC, 1, 2, 3, 4")
            .fetch_all(self.reading())
            .await?)
    }

    pub(in crate::store) async fn forget_relabelled(&self) -> Result<(), StoreError> {
        query("DELETE FROM relabelled").execute(self.writing()).await?;
        Ok(())
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
