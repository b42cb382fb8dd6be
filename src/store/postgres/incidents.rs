//! Reading incidents, and keeping what operators say of them.

use sqlx::{query, query_as};

use super::PgStore;
use crate::{
    model::Timestamp,
    store::{
        IncidentRecord, IncidentState, Label, OperatorWord, StoreError,
        engine::{IncidentRow, OperatorRow, incidents, operator_words},
    },
};

impl PgStore {
    pub(in crate::store) async fn incidents(
        &self,
        states: &[IncidentState],
        limit: u32,
    ) -> Result<Vec<IncidentRecord>, StoreError> {
        let states: Vec<i16> = states.iter().map(|state| state.code()).collect();
        let rows: Vec<IncidentRow> =
            query_as("SELECT * FROM incident WHERE state = ANY ($1) ORDER BY onset DESC, id DESC LIMIT $2")
                .bind(&states)
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?;
        incidents(rows)
    }

    pub(in crate::store) async fn incident(&self, id: i64) -> Result<Option<IncidentRecord>, StoreError> {
        let rows: Vec<IncidentRow> =
            query_as("SELECT * FROM incident WHERE id = $1").bind(id).fetch_all(&self.pool).await?;
        Ok(incidents(rows)?.pop())
    }

    pub(in crate::store) async fn operator_words(&self, ids: &[i64]) -> Result<Vec<(i64, OperatorWord)>, StoreError> {
        let rows: Vec<OperatorRow> = query_as(
            "SELECT id, label, accepted_normal, operator_closed_at FROM incident WHERE id = ANY ($1) \
             AND (label IS NOT NULL OR accepted_normal OR operator_closed_at IS NOT NULL) ORDER BY id",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        operator_words(rows)
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
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(in crate::store) async fn accept_incident(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        query(
            "UPDATE incident SET accepted_normal = TRUE, \
             updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at END WHERE id = $1",
        )
        .bind(id)
        .bind(now.as_millis())
        .execute(&self.pool)
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
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}
