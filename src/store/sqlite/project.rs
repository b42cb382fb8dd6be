//! Writing the projections.

use std::sync::LazyLock;

use sqlx::{query, query_as, query_scalar};

use super::{SqliteStore, bulk::Bulk, feeds::apply_feeds};
use crate::{
    model::Timestamp,
    store::{CellKey, Counts, Epoch, Fold, IncidentRecord, Position, StoreError},
};

static LEDGER: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO ledger (address, first_event_at, last_sent_at, last_delivered_at, last_refused_at, last_cause, \
         complained_at, unsubscribed_at, suppressed_at, destination)",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ON CONFLICT (address) DO UPDATE SET \
         first_event_at = min(first_event_at, excluded.first_event_at), \
         last_sent_at = nullif(max(ifnull(last_sent_at, -1), ifnull(excluded.last_sent_at, -1)), -1), \
         last_delivered_at = nullif(max(ifnull(last_delivered_at, -1), ifnull(excluded.last_delivered_at, -1)), -1), \
         last_cause = CASE WHEN (ifnull(excluded.last_refused_at, -1), ifnull(excluded.last_cause, -1)) > \
         (ifnull(last_refused_at, -1), ifnull(last_cause, -1)) THEN excluded.last_cause ELSE last_cause END, \
         last_refused_at = nullif(max(ifnull(last_refused_at, -1), ifnull(excluded.last_refused_at, -1)), -1), \
         complained_at = nullif(max(ifnull(complained_at, -1), ifnull(excluded.complained_at, -1)), -1), \
         unsubscribed_at = nullif(max(ifnull(unsubscribed_at, -1), ifnull(excluded.unsubscribed_at, -1)), -1), \
         suppressed_at = nullif(max(ifnull(suppressed_at, -1), ifnull(excluded.suppressed_at, -1)), -1), \
         destination = max(destination, excluded.destination)",
    )
});
static CELLS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO cell (destination, stream, bin, exposed, refused, delivered, transient, deferred, complained, \
         suppressed, unexposed, refused_exposed)",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ON CONFLICT (stream, bin, destination) DO UPDATE SET exposed = exposed + excluded.exposed, \
         refused = refused + excluded.refused, delivered = delivered + excluded.delivered, \
         transient = transient + excluded.transient, deferred = deferred + excluded.deferred, \
         complained = complained + excluded.complained, suppressed = suppressed + excluded.suppressed, \
         unexposed = unexposed + excluded.unexposed, refused_exposed = refused_exposed + excluded.refused_exposed",
    )
});

static REFUSED: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO refused (stream, bin, address, count)",
        "(?, ?, ?, ?)",
        "ON CONFLICT (stream, bin, address) DO UPDATE SET count = count + excluded.count",
    )
});

static DAYS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        "INSERT INTO day_total (day, stream, exposed, refused)",
        "(?, ?, ?, ?)",
        "ON CONFLICT (day, stream) DO UPDATE SET exposed = exposed + excluded.exposed, \
         refused = refused + excluded.refused",
    )
});

/// Books changes of cells.
async fn apply_cells(connection: &mut sqlx::SqliteConnection, cells: &[(CellKey, Counts)]) -> Result<(), StoreError> {
    for (text, range) in CELLS.cut(cells.len()) {
        let mut statement = query(text);
        for (key, counts) in cells.get(range).unwrap_or_default() {
            statement = statement
                .bind(key.destination.code())
                .bind(key.stream)
                .bind(key.bin)
                .bind(counts.exposed)
                .bind(counts.refused)
                .bind(counts.delivered)
                .bind(counts.transient)
                .bind(counts.deferred)
                .bind(counts.complained)
                .bind(counts.suppressed)
                .bind(counts.unexposed)
                .bind(counts.refused_exposed);
        }
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

impl SqliteStore {
    pub(in crate::store) async fn apply(&self, epoch: Epoch, name: &str, fold: &Fold) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        let stands: Option<(i64, i32)> = query_as("SELECT position, row FROM journal_cursor WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await?;
        let stands = stands.map_or(Position::START, |(transaction, row)| Position { transaction, row });
        let sealed: Option<i64> = query_scalar("SELECT max(day) FROM checkpoint").fetch_one(&mut *transaction).await?;
        if stands != fold.from || sealed != fold.sealed {
            return Err(StoreError::CursorMoved);
        }
        query(
            "INSERT INTO journal_cursor (name, position, row) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET position = excluded.position, row = excluded.row",
        )
        .bind(name)
        .bind(fold.to.transaction)
        .bind(fold.to.row)
        .execute(&mut *transaction)
        .await?;
        apply_cells(&mut transaction, &fold.cells).await?;
        for (text, range) in LEDGER.cut(fold.ledger.len()) {
            let mut statement = query(text);
            for row in fold.ledger.get(range).unwrap_or_default() {
                statement = statement
                    .bind(row.address)
                    .bind(row.first_event_at.as_millis())
                    .bind(row.last_sent_at.map(Timestamp::as_millis))
                    .bind(row.last_delivered_at.map(Timestamp::as_millis))
                    .bind(row.last_refused_at.map(Timestamp::as_millis))
                    .bind(row.last_cause.map(crate::model::Cause::code))
                    .bind(row.complained_at.map(Timestamp::as_millis))
                    .bind(row.unsubscribed_at.map(Timestamp::as_millis))
                    .bind(row.suppressed_at.map(Timestamp::as_millis))
                    .bind(row.destination.code());
            }
            statement.execute(&mut *transaction).await?;
        }
        for (text, range) in REFUSED.cut(fold.refused.len()) {
            let mut statement = query(text);
            for change in fold.refused.get(range).unwrap_or_default() {
                statement = statement.bind(change.stream).bind(change.bin).bind(change.address).bind(change.change);
            }
            statement.execute(&mut *transaction).await?;
        }
        if fold.refused.iter().any(|change| change.change < 0) {
            let gone = fold.refused.iter().filter(|change| change.change < 0);
            let gone: Vec<(i32, i64, i64)> = gone.map(|change| (change.stream, change.bin, change.address)).collect();
            query(
                "DELETE FROM refused WHERE count <= 0 AND (stream, bin, address) IN \
                 (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1))",
            )
            .bind(serde_json::json!(gone).to_string())
            .execute(&mut *transaction)
            .await?;
        }
        for (text, range) in DAYS.cut(fold.days.len()) {
            let mut statement = query(text);
            for change in fold.days.get(range).unwrap_or_default() {
                statement = statement.bind(change.day).bind(change.stream).bind(change.exposed).bind(change.refused);
            }
            statement.execute(&mut *transaction).await?;
        }
        if !fold.gone.is_empty() {
            let gone = serde_json::json!(fold.gone).to_string();
            query("DELETE FROM day_total WHERE (stream, day) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))")
                .bind(&gone)
                .execute(&mut *transaction)
                .await?;
            // What was counted there has been taken away above.
            query(
                "DELETE FROM cell WHERE (stream, bin, destination) IN (SELECT c.stream, c.bin, c.destination \
                 FROM json_each($1) g CROSS JOIN cell c ON c.stream = g.value ->> 0 \
                 AND c.bin BETWEEN (g.value ->> 1) * 288 AND (g.value ->> 1) * 288 + 287)",
            )
            .bind(&gone)
            .execute(&mut *transaction)
            .await?;
        }
        super::marks::turn(&mut transaction, &fold.turns).await?;
        apply_feeds(&mut transaction, &fold.feeds).await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn save_incident(
        &self,
        epoch: Epoch,
        incident: &IncidentRecord,
    ) -> Result<i64, StoreError> {
        let mut transaction = self.led(epoch).await?;
        let id = query_scalar(
            "INSERT INTO incident (id, state, onset, opened_at, updated_at, closed_at, body) \
             VALUES (nullif($1, 0), $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET \
             state = CASE WHEN operator_closed_at IS NULL THEN excluded.state ELSE state END, \
             onset = excluded.onset, opened_at = excluded.opened_at, updated_at = excluded.updated_at, \
             closed_at = CASE WHEN operator_closed_at IS NULL THEN excluded.closed_at ELSE closed_at END, \
             body = excluded.body RETURNING id",
        )
        .bind(incident.id)
        .bind(incident.state.code())
        .bind(incident.onset.as_millis())
        .bind(incident.opened_at.as_millis())
        .bind(incident.updated_at.as_millis())
        .bind(incident.closed_at.map(Timestamp::as_millis))
        .bind(incident.body.to_string())
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(id)
    }
}
