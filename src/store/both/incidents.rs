//! One incident, and what operators say of it.

use sqlx::{query, query_as, query_scalar};

use super::{Engine, on_both};
use crate::{
    model::Timestamp,
    store::{
        IncidentRecord, IncidentState, Label, StoreError,
        engine::{IncidentRow, incidents},
    },
};

on_both! {
    pub(in crate::store) async fn ended_incidents(&self, since: Timestamp) -> Result<Vec<IncidentRecord>, StoreError> {
        let rows: Vec<IncidentRow> = query_as(
            "SELECT * FROM incident WHERE state NOT IN ($1, $2) \
             AND (closed_at IS NULL OR closed_at >= $3 OR onset >= $3) ORDER BY onset DESC, id DESC",
        )
        .bind(IncidentState::Open.code())
        .bind(IncidentState::Withdrawn.code())
        .bind(since.as_millis())
        .fetch_all(self.reading())
        .await?;
        incidents(rows)
    }

    pub(in crate::store) async fn incident(&self, id: i64) -> Result<Option<IncidentRecord>, StoreError> {
        let rows: Vec<IncidentRow> =
            query_as("SELECT * FROM incident WHERE id = $1").bind(id).fetch_all(self.reading()).await?;
        Ok(incidents(rows)?.pop())
    }

    pub(in crate::store) async fn label_incident(
        &self,
        id: i64,
        label: Label,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query("UPDATE incident SET label = $2, updated_at = CASE WHEN updated_at < $3 THEN $3 ELSE updated_at END WHERE id = $1")
            .bind(id)
            .bind(label.code())
            .bind(now.as_millis())
            .execute(self.writing())
            .await?;
        Ok(())
    }

    pub(in crate::store) async fn close_incident(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE incident SET state = $3, closed_at = COALESCE(closed_at, $2), operator_closed_at = $2, \
             updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at END \
             WHERE id = $1 AND state IN ($4, $5) AND operator_closed_at IS NULL",
        )
        .bind(id)
        .bind(now.as_millis())
        .bind(IncidentState::Closed.code())
        .bind(IncidentState::Open.code())
        .bind(IncidentState::Masked.code())
        .execute(self.writing())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(in crate::store) async fn earliest_open_onset(&self) -> Result<Option<i64>, StoreError> {
        Ok(query_scalar("SELECT min(onset) FROM incident WHERE state = $1")
            .bind(IncidentState::Open.code())
            .fetch_one(self.reading())
            .await?)
    }
}
