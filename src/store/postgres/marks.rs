//! Addresses on shared domains that the map or a notice calls private: from the control group into the relay mail.

use sqlx::{PgConnection, query, query_as};

use super::PgStore;
use crate::store::{
    EventRecord, Position, StoreError, Turn,
    engine::{EventRow, event_columns, events},
};

impl PgStore {
    pub(in crate::store) async fn events_by_domain(
        &self,
        addresses: &[i64],
        up_to: Position,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS transaction, e.row, ",
            event_columns!(by_domain),
            " FROM event e WHERE e.address = ANY ($1) AND (e.position, e.row) <= ($2, $3)"
        ))
        .bind(addresses)
        .bind(up_to.transaction)
        .bind(up_to.row)
        .fetch_all(&self.pool)
        .await?;
        events(rows)
    }
}

/// Turns addresses within a step of the monitor, unless somebody else has.
pub(super) async fn turn(connection: &mut PgConnection, turns: &[Turn]) -> Result<(), StoreError> {
    if turns.is_empty() {
        return Ok(());
    }
    let addresses: Vec<i64> = turns.iter().map(|turn| turn.address).collect();
    let private: Vec<bool> = turns.iter().map(|turn| turn.private).collect();
    let turned = query(
        "UPDATE relay_mark m SET folded = t.private FROM unnest($1::bigint[], $2::boolean[]) AS t (address, private) \
         WHERE m.address = t.address AND m.folded <> t.private",
    )
    .bind(&addresses)
    .bind(&private)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if turned != turns.len() as u64 {
        return Err(StoreError::CursorMoved);
    }
    // Codes of `Destination`: 1 is relay, 2 is shared. An address on a relay domain stays what it is.
    query(
        "UPDATE ledger l SET destination = CASE WHEN t.private THEN 1 ELSE 2 END \
         FROM unnest($1::bigint[], $2::boolean[]) AS t (address, private) \
         WHERE l.address = t.address AND l.destination IN (1, 2) \
         AND (t.private OR EXISTS (SELECT FROM event e WHERE e.address = l.address AND e.destination = 2))",
    )
    .bind(&addresses)
    .bind(&private)
    .execute(&mut *connection)
    .await?;
    Ok(())
}
