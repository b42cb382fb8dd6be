//! Addresses on shared domains that the map or a notice calls private: from the control group into the relay mail.

use sqlx::{SqliteConnection, query, query_as};

use super::SqliteStore;
use crate::store::{
    EventRecord, Position, StoreError, Turn,
    engine::{EventRow, event_columns, events},
};

impl SqliteStore {
    pub(in crate::store) async fn events_by_domain(
        &self,
        addresses: &[i64],
        up_to: Position,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "WITH wanted (address) AS MATERIALIZED (SELECT DISTINCT value FROM json_each($1)) \
             SELECT e.position AS \"transaction\", 0 AS row, ",
            event_columns!(by_domain),
            " FROM wanted w CROSS JOIN event e ON e.address = w.address WHERE e.position <= $2"
        ))
        .bind(serde_json::json!(addresses).to_string())
        .bind(up_to.transaction)
        .fetch_all(&self.readers)
        .await?;
        events(rows)
    }
}

/// Turns addresses within a step of the monitor, unless somebody else has.
pub(super) async fn turn(connection: &mut SqliteConnection, turns: &[Turn]) -> Result<(), StoreError> {
    for turn in turns {
        let turned = query("UPDATE relay_mark SET folded = $2 WHERE address = $1 AND folded <> $2")
            .bind(turn.address)
            .bind(turn.private)
            .execute(&mut *connection)
            .await?
            .rows_affected();
        if turned == 0 {
            return Err(StoreError::CursorMoved);
        }
        // Codes of `Destination`: 1 is relay, 2 is shared. An address on a relay domain stays what it is.
        query(
            "UPDATE ledger SET destination = CASE WHEN $2 THEN 1 ELSE 2 END WHERE address = $1 AND destination IN (1, 2) \
             AND ($2 OR EXISTS (SELECT 1 FROM event e WHERE e.address = $1 AND e.destination = 2))",
        )
        .bind(turn.address)
        .bind(turn.private)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
