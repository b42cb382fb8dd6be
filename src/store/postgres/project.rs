//! Writing the projections.

use sqlx::{PgConnection, query, query_as, query_scalar};

use super::{PgStore, feeds::apply_feeds};
use crate::{
    model::{Cause, Timestamp},
    store::{Epoch, Fold, IncidentRecord, LedgerRow, Position, RefusedChange, StoreError},
};

impl PgStore {
    pub(in crate::store) async fn apply(&self, epoch: Epoch, name: &str, fold: &Fold) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        query("INSERT INTO journal_cursor (name, position, row) VALUES ($1, 0, 0) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        let stands: (i64, i32) = query_as("SELECT position, row FROM journal_cursor WHERE name = $1 FOR UPDATE")
            .bind(name)
            .fetch_one(&mut *transaction)
            .await?;
        let sealed: Option<i64> =
            query_scalar("SELECT max(day)::bigint FROM checkpoint").fetch_one(&mut *transaction).await?;
        if (Position { transaction: stands.0, row: stands.1 }) != fold.from || sealed != fold.sealed {
            return Err(StoreError::CursorMoved);
        }
        query("UPDATE journal_cursor SET position = $2, row = $3 WHERE name = $1")
            .bind(name)
            .bind(fold.to.transaction)
            .bind(fold.to.row)
            .execute(&mut *transaction)
            .await?;
        if !fold.cells.is_empty() {
            let column = |read: fn(&crate::store::Counts) -> i64| -> Vec<i64> {
                fold.cells.iter().map(|(_, counts)| read(counts)).collect()
            };
            query(
                "INSERT INTO cell (destination, stream, bin, exposed, refused, delivered, transient, deferred, \
                 complained, suppressed, unexposed, refused_exposed) SELECT * FROM unnest($1::smallint[], $2::integer[], $3::bigint[], \
                 $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], \
                 $11::bigint[], $12::bigint[]) ON CONFLICT (stream, bin, destination) DO UPDATE SET \
                 exposed = cell.exposed + excluded.exposed, refused = cell.refused + excluded.refused, \
                 delivered = cell.delivered + excluded.delivered, transient = cell.transient + excluded.transient, \
                 deferred = cell.deferred + excluded.deferred, complained = cell.complained + excluded.complained, \
                 suppressed = cell.suppressed + excluded.suppressed, unexposed = cell.unexposed + excluded.unexposed, \
                 refused_exposed = cell.refused_exposed + excluded.refused_exposed",
            )
            .bind(fold.cells.iter().map(|(key, _)| key.destination.code()).collect::<Vec<_>>())
            .bind(fold.cells.iter().map(|(key, _)| key.stream).collect::<Vec<_>>())
            .bind(fold.cells.iter().map(|(key, _)| key.bin).collect::<Vec<_>>())
            .bind(column(|c| c.exposed))
            .bind(column(|c| c.refused))
            .bind(column(|c| c.delivered))
            .bind(column(|c| c.transient))
            .bind(column(|c| c.deferred))
            .bind(column(|c| c.complained))
            .bind(column(|c| c.suppressed))
            .bind(column(|c| c.unexposed))
            .bind(column(|c| c.refused_exposed))
            .execute(&mut *transaction)
            .await?;
        }
        if !fold.ledger.is_empty() {
            let column = |read: fn(&LedgerRow) -> Option<Timestamp>| -> Vec<Option<i64>> {
                fold.ledger.iter().map(|row| read(row).map(Timestamp::as_millis)).collect()
            };
            query(
                "INSERT INTO ledger (address, first_event_at, last_sent_at, last_delivered_at, last_refused_at, \
                 last_cause, complained_at, unsubscribed_at, suppressed_at, destination) \
                 SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], \
                 $6::smallint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[]) \
                 ON CONFLICT (address) DO UPDATE SET \
                 first_event_at = least(ledger.first_event_at, excluded.first_event_at), \
                 last_sent_at = greatest(ledger.last_sent_at, excluded.last_sent_at), \
                 last_delivered_at = greatest(ledger.last_delivered_at, excluded.last_delivered_at), \
                 last_cause = CASE WHEN (COALESCE(excluded.last_refused_at, -1), COALESCE(excluded.last_cause, -1)) > \
                 (COALESCE(ledger.last_refused_at, -1), COALESCE(ledger.last_cause, -1)) \
                 THEN excluded.last_cause ELSE ledger.last_cause END, \
                 last_refused_at = greatest(ledger.last_refused_at, excluded.last_refused_at), \
                 complained_at = greatest(ledger.complained_at, excluded.complained_at), \
                 unsubscribed_at = greatest(ledger.unsubscribed_at, excluded.unsubscribed_at), \
                 suppressed_at = greatest(ledger.suppressed_at, excluded.suppressed_at), \
                 destination = greatest(ledger.destination, excluded.destination)",
            )
            .bind(fold.ledger.iter().map(|row| row.address).collect::<Vec<_>>())
            .bind(fold.ledger.iter().map(|row| row.first_event_at.as_millis()).collect::<Vec<_>>())
            .bind(column(|row| row.last_sent_at))
            .bind(column(|row| row.last_delivered_at))
            .bind(column(|row| row.last_refused_at))
            .bind(fold.ledger.iter().map(|row| row.last_cause.map(Cause::code)).collect::<Vec<_>>())
            .bind(column(|row| row.complained_at))
            .bind(column(|row| row.unsubscribed_at))
            .bind(column(|row| row.suppressed_at))
            .bind(fold.ledger.iter().map(|row| row.destination.code()).collect::<Vec<_>>())
            .execute(&mut *transaction)
            .await?;
        }
        apply_refused(&mut transaction, &fold.refused).await?;
        apply_days(&mut transaction, fold).await?;
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
        let text = if incident.id == 0 {
            "INSERT INTO incident (state, onset, opened_at, updated_at, closed_at, body) \
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING id"
        } else {
            "UPDATE incident SET onset = $2, opened_at = $3, updated_at = $4, body = $6, \
             state = CASE WHEN operator_closed_at IS NULL THEN $1 ELSE state END, \
             closed_at = CASE WHEN operator_closed_at IS NULL THEN $5 ELSE closed_at END WHERE id = $7 RETURNING id"
        };
        let statement = query_scalar(text)
            .bind(incident.state.code())
            .bind(incident.onset.as_millis())
            .bind(incident.opened_at.as_millis())
            .bind(incident.updated_at.as_millis())
            .bind(incident.closed_at.map(Timestamp::as_millis))
            .bind(incident.body.to_string());
        let statement = if incident.id == 0 { statement } else { statement.bind(incident.id) };
        let mut transaction = self.led(epoch).await?;
        let id = statement.fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(id)
    }
}

/// Books addresses in and out of the permanently refused.
async fn apply_refused(connection: &mut PgConnection, refused: &[RefusedChange]) -> Result<(), StoreError> {
    if refused.is_empty() {
        return Ok(());
    }
    query(
        "INSERT INTO refused (stream, bin, address, count) \
         SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[]) \
         ON CONFLICT (stream, bin, address) DO UPDATE SET count = refused.count + excluded.count",
    )
    .bind(refused.iter().map(|change| change.stream).collect::<Vec<_>>())
    .bind(refused.iter().map(|change| change.bin).collect::<Vec<_>>())
    .bind(refused.iter().map(|change| change.address).collect::<Vec<_>>())
    .bind(refused.iter().map(|change| change.change).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    let gone = || refused.iter().filter(|change| change.change < 0);
    if gone().next().is_some() {
        query(
            "DELETE FROM refused r USING unnest($1::integer[], $2::bigint[], $3::bigint[]) AS g (s, b, a) \
             WHERE r.stream = g.s AND r.bin = g.b AND r.address = g.a AND r.count <= 0",
        )
        .bind(gone().map(|change| change.stream).collect::<Vec<_>>())
        .bind(gone().map(|change| change.bin).collect::<Vec<_>>())
        .bind(gone().map(|change| change.address).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Books changes of days' totals.
async fn apply_days(connection: &mut PgConnection, fold: &Fold) -> Result<(), StoreError> {
    if !fold.days.is_empty() {
        query(
            "INSERT INTO day_total (day, stream, exposed, refused) \
             SELECT d::integer, s, e, r FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[]) \
             AS u (d, s, e, r) ON CONFLICT (day, stream) DO UPDATE SET \
             exposed = day_total.exposed + excluded.exposed, refused = day_total.refused + excluded.refused",
        )
        .bind(fold.days.iter().map(|change| change.day).collect::<Vec<_>>())
        .bind(fold.days.iter().map(|change| change.stream).collect::<Vec<_>>())
        .bind(fold.days.iter().map(|change| change.exposed).collect::<Vec<_>>())
        .bind(fold.days.iter().map(|change| change.refused).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    if !fold.gone.is_empty() {
        let (streams, days): (Vec<i32>, Vec<i64>) = fold.gone.iter().copied().unzip();
        for text in [
            "DELETE FROM day_total t USING unnest($1::integer[], $2::bigint[]) AS g (s, d) \
             WHERE t.stream = g.s AND t.day = g.d",
            // What was counted there has been taken away before.
            "DELETE FROM cell c USING unnest($1::integer[], $2::bigint[]) AS g (s, d) \
             WHERE c.stream = g.s AND c.bin BETWEEN g.d * 288 AND g.d * 288 + 287",
        ] {
            query(text).bind(&streams).bind(&days).execute(&mut *connection).await?;
        }
    }
    Ok(())
}
