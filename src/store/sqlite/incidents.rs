//! Reading incidents, and keeping what operators say of them.

use sqlx::{query, query_as};

use super::SqliteStore;
use crate::{
    model::Timestamp,
    store::{
        IncidentRecord, IncidentState, OperatorWord, StoreError,
        engine::{IncidentRow, OperatorRow, incidents, operator_words},
    },
};

impl SqliteStore {
    pub(in crate::store) async fn incidents(
        &self,
        states: &[IncidentState],
        limit: u32,
    ) -> Result<Vec<IncidentRecord>, StoreError> {
        let states: Vec<i16> = states.iter().map(|state| state.code()).collect();
        let rows: Vec<IncidentRow> = query_as(
            "SELECT * FROM incident WHERE state IN (SELECT value FROM json_each($1)) \
             ORDER BY onset DESC, id DESC LIMIT $2",
        )
        .bind(serde_json::json!(states).to_string())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        incidents(rows)
    }

    pub(in crate::store) async fn operator_words(&self, ids: &[i64]) -> Result<Vec<(i64, OperatorWord)>, StoreError> {
        let rows: Vec<OperatorRow> = query_as(
            "SELECT id, label, accepted_normal, operator_closed_at FROM incident WHERE id IN (SELECT value FROM json_each($1)) \
             AND (label IS NOT NULL OR accepted_normal OR operator_closed_at IS NOT NULL) ORDER BY id",
        )
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(&self.readers)
        .await?;
        operator_words(rows)
    }

    pub(in crate::store) async fn accept_incident(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        query(
            "UPDATE incident SET accepted_normal = 1, \
             updated_at = CASE WHEN updated_at < $2 THEN $2 ELSE updated_at END WHERE id = $1",
        )
        .bind(id)
        .bind(now.as_millis())
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}
