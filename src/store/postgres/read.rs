//! Reading the journal and the projections.

use sqlx::{query, query_as, query_scalar};

use super::PgStore;
use crate::{
    model::Timestamp,
    store::{
        Backlog, CellKey, Counts, EntryRecord, EventFilter, EventKey, EventRecord, Horizon, Position, RefusedChange,
        StoreError,
        engine::{
            CellRow, EntryRow, EventRow, REBUILD_CURSOR, cells, entries, event_columns, events, horizon,
            refused_changes,
        },
        hash::Hash16,
    },
};

/// Below this transaction id, none is still running: what lies below it is all there.
macro_rules! settled {
    ($base:literal) => {
        concat!($base, " + pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    };
}

/// Messages whose outcomes are looked up by one statement.
const MESSAGES_AT_ONCE: usize = 1_000;

impl PgStore {
    pub(in crate::store) async fn events_after(
        &self,
        after: Position,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS transaction, e.row, ",
            event_columns!(),
            " FROM event e WHERE e.position >= $1 AND (e.position, e.row) > ($1, $2) AND e.position < ",
            settled!("$3"),
            " ORDER BY e.position, e.row LIMIT $4"
        ))
        .bind(after.transaction)
        .bind(after.row)
        .bind(self.base)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn has_events_after(&self, after: Position) -> Result<bool, StoreError> {
        Ok(query_scalar(concat!(
            "SELECT EXISTS (SELECT 1 FROM event e WHERE e.position >= $1 AND (e.position, e.row) > ($1, $2) \
             AND e.position < ",
            settled!("$3"),
            ")"
        ))
        .bind(after.transaction)
        .bind(after.row)
        .bind(self.base)
        .fetch_one(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn events_of_messages(
        &self,
        messages: &[(i64, i64)],
        up_to: Position,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let mut found = Vec::new();
        // For many at once, the planner would rather read the whole journal than look each of them up.
        for part in messages.chunks(MESSAGES_AT_ONCE) {
            let (addresses, messages): (Vec<i64>, Vec<i64>) = part.iter().copied().unzip();
            let rows: Vec<EventRow> = query_as(concat!(
                "SELECT e.position AS transaction, e.row, ",
                event_columns!(),
                " FROM (SELECT DISTINCT a, m FROM unnest($1::bigint[], $2::bigint[]) AS u (a, m)) w \
                 JOIN event e ON e.address = w.a AND e.message = w.m WHERE (e.position, e.row) <= ($3, $4)"
            ))
            .bind(&addresses)
            .bind(&messages)
            .bind(up_to.transaction)
            .bind(up_to.row)
            .fetch_all(&self.pool)
            .await?;
            found.extend(events(rows)?);
        }
        Ok(found)
    }

    pub(in crate::store) async fn events_of_address(
        &self,
        address: i64,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS transaction, e.row, ",
            event_columns!(),
            " FROM event e WHERE e.address = $1 ORDER BY e.at DESC, e.hash LIMIT $2"
        ))
        .bind(address)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn latest_events(
        &self,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let before = before.unwrap_or(Position { transaction: i64::MAX, row: i32::MAX });
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS transaction, e.row, ",
            event_columns!(),
            " FROM event e WHERE (e.position, e.row) < ($1, $2) ORDER BY e.position DESC, e.row DESC LIMIT $3"
        ))
        .bind(before.transaction)
        .bind(before.row)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn events_by_time(
        &self,
        filter: &EventFilter,
        before: Option<EventKey>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        // The page's border is also a bound on the time, so that an index or a partition is read from there on.
        let until = filter.until.map_or(i64::MAX, |until| until.as_millis().saturating_sub(1));
        let border = before.map_or(i64::MAX, |key| key.at.as_millis());
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS transaction, e.row, ",
            event_columns!(),
            " FROM event e WHERE e.at >= $1 AND e.at <= $2 AND (e.at, e.hash) < ($3, $4) \
             AND ($5::smallint[] IS NULL OR e.kind = ANY ($5)) \
             AND ($6::smallint[] IS NULL OR e.cause = ANY ($6)) \
             AND ($7::integer[] IS NULL OR e.feed = ANY ($7)) \
             AND ($8::integer[] IS NULL OR e.stream = ANY ($8)) \
             ORDER BY e.at DESC, e.hash DESC LIMIT $9"
        ))
        .bind(filter.since.map_or(i64::MIN, Timestamp::as_millis))
        .bind(until.min(border))
        .bind(border)
        // Without a page before, the time alone lets everything pass: no event is of the end of time.
        .bind(Hash16(before.map_or([0xff; 16], |key| key.hash)))
        .bind(filter.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.code()).collect::<Vec<_>>()))
        .bind(filter.causes.as_ref().map(|causes| causes.iter().map(|cause| cause.code()).collect::<Vec<_>>()))
        .bind(filter.feeds.as_deref())
        .bind(filter.streams.as_deref())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn events_by_arrival(
        &self,
        filter: &EventFilter,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let before = before.unwrap_or(Position { transaction: i64::MAX, row: i32::MAX });
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS transaction, e.row, ",
            event_columns!(),
            " FROM event e WHERE (e.position, e.row) < ($1, $2) AND e.at >= $3 AND e.at < $4 \
             AND ($5::smallint[] IS NULL OR e.kind = ANY ($5)) \
             AND ($6::smallint[] IS NULL OR e.cause = ANY ($6)) \
             AND ($7::integer[] IS NULL OR e.feed = ANY ($7)) \
             AND ($8::integer[] IS NULL OR e.stream = ANY ($8)) \
             ORDER BY e.position DESC, e.row DESC LIMIT $9"
        ))
        .bind(before.transaction)
        .bind(before.row)
        .bind(filter.since.map_or(i64::MIN, Timestamp::as_millis))
        .bind(filter.until.map_or(i64::MAX, Timestamp::as_millis))
        .bind(filter.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.code()).collect::<Vec<_>>()))
        .bind(filter.causes.as_ref().map(|causes| causes.iter().map(|cause| cause.code()).collect::<Vec<_>>()))
        .bind(filter.feeds.as_deref())
        .bind(filter.streams.as_deref())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn journal_end(&self) -> Result<Position, StoreError> {
        let settled: i64 =
            query_scalar(concat!("SELECT ", settled!("$1"))).bind(self.base).fetch_one(&self.pool).await?;
        Ok(Position { transaction: settled - 1, row: i32::MAX })
    }

    pub(in crate::store) async fn backlog(&self) -> Result<Option<Backlog>, StoreError> {
        let (settled, newest): (i64, Option<i64>) =
            query_as(concat!("SELECT ", settled!("$1"), ", (SELECT max(position) FROM event)"))
                .bind(self.base)
                .fetch_one(&self.pool)
                .await?;
        Ok(newest.map(|newest| Backlog { settled, newest }))
    }

    pub(in crate::store) async fn oldest_writer(&self) -> Result<Option<String>, StoreError> {
        Ok(query_scalar(
            "SELECT told FROM (SELECT 'pid ' || pid || ' in database ' || COALESCE(datname, '?') || ', ' \
             || COALESCE(state, 'in an unknown state') || ', open for ' \
             || extract(epoch FROM clock_timestamp() - xact_start)::bigint || ' s' AS told, age(backend_xid) AS age \
             FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
             UNION ALL SELECT 'a prepared one in database ' || database || ', prepared ' \
             || extract(epoch FROM clock_timestamp() - prepared)::bigint || ' s ago', age(transaction) FROM pg_prepared_xacts) w \
             WHERE told IS NOT NULL ORDER BY age DESC LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn entries_after(
        &self,
        after: Position,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, StoreError> {
        let rows: Vec<EntryRow> = query_as(concat!(
            "SELECT position AS transaction, row, at, hash, kind, account, address, body FROM entry \
             WHERE position >= $1 AND (position, row) > ($1, $2) AND position < ",
            settled!("$3"),
            " ORDER BY position, row LIMIT $4"
        ))
        .bind(after.transaction)
        .bind(after.row)
        .bind(self.base)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        entries(rows)
    }

    pub(in crate::store) async fn entries_of(
        &self,
        address: i64,
        accounts: &[i64],
    ) -> Result<Vec<EntryRecord>, StoreError> {
        let rows: Vec<EntryRow> = query_as(
            "SELECT position AS transaction, row, at, hash, kind, account, address, body FROM entry \
             WHERE address = $1 OR account = ANY ($2) ORDER BY at, hash",
        )
        .bind(address)
        .bind(accounts)
        .fetch_all(&self.pool)
        .await?;
        entries(rows)
    }

    pub(in crate::store) async fn cells_of(&self, keys: &[CellKey]) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        let rows: Vec<CellRow> = query_as(
            "SELECT c.* FROM unnest($1::integer[], $2::bigint[], $3::smallint[]) AS w (s, b, d) \
             JOIN cell c ON c.stream = w.s AND c.bin = w.b AND c.destination = w.d",
        )
        .bind(keys.iter().map(|key| key.stream).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.bin).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.destination.code()).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await?;
        cells(rows)
    }

    pub(in crate::store) async fn day_totals_of(
        &self,
        wanted: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64, i64, i64)>, StoreError> {
        let (streams, days): (Vec<i32>, Vec<i64>) = wanted.iter().copied().unzip();
        Ok(query_as(
            "SELECT d.stream, d.day::bigint, d.exposed, d.refused FROM unnest($1::integer[], $2::bigint[]) AS w (s, d) \
             JOIN day_total d ON d.day = w.d AND d.stream = w.s",
        )
        .bind(&streams)
        .bind(&days)
        .fetch_all(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn cells_within(
        &self,
        streams: &[i32],
        from: i64,
        to: i64,
    ) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        let rows: Vec<CellRow> = query_as("SELECT * FROM cell WHERE stream = ANY ($1) AND bin BETWEEN $2 AND $3")
            .bind(streams)
            .bind(from)
            .bind(to)
            .fetch_all(&self.pool)
            .await?;
        cells(rows)
    }

    pub(in crate::store) async fn refused_within(
        &self,
        streams: &[i32],
        from: i64,
        to: i64,
    ) -> Result<Vec<RefusedChange>, StoreError> {
        let rows: Vec<(i32, i64, i64, i32)> = query_as(
            "SELECT stream, bin, address, count FROM refused WHERE stream = ANY ($1) AND bin BETWEEN $2 AND $3",
        )
        .bind(streams)
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await?;
        Ok(refused_changes(rows))
    }

    pub(in crate::store) async fn horizon(&self) -> Result<Horizon, StoreError> {
        let (sealed, place, row): (Option<i64>, Option<i64>, Option<i32>) = query_as(
            "SELECT (SELECT max(day)::bigint FROM checkpoint), c.position, c.row \
             FROM (SELECT 1) o LEFT JOIN journal_cursor c ON c.name = $1",
        )
        .bind(REBUILD_CURSOR)
        .fetch_one(&self.pool)
        .await?;
        Ok(horizon(sealed, place, row))
    }

    pub(in crate::store) async fn sealed_messages(
        &self,
        pairs: &[(i64, i64)],
        day: i64,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let (addresses, messages): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
        Ok(query_as(
            "SELECT s.address, s.message FROM unnest($1::bigint[], $2::bigint[]) AS w (a, m) \
             JOIN sealed_message s ON s.address = w.a AND s.message = w.m WHERE s.day <= $3",
        )
        .bind(&addresses)
        .bind(&messages)
        .bind(day)
        .fetch_all(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn refused_witnesses(
        &self,
        cells: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64, i64)>, StoreError> {
        let (streams, bins): (Vec<i32>, Vec<i64>) = cells.iter().copied().unzip();
        Ok(query_as(
            "SELECT w.s, w.b, r.address FROM (SELECT DISTINCT s, b FROM unnest($1::integer[], $2::bigint[]) AS u (s, b)) w \
             CROSS JOIN LATERAL (SELECT address FROM refused WHERE stream = w.s AND bin = w.b \
             ORDER BY address LIMIT 3) r ORDER BY 1, 2, 3",
        )
        .bind(&streams)
        .bind(&bins)
        .fetch_all(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn refused_addresses(
        &self,
        streams: &[i32],
        from: i64,
        to: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        Ok(query_scalar(
            "SELECT DISTINCT address FROM refused WHERE stream = ANY ($1) AND bin BETWEEN $2 AND $3 \
             ORDER BY address LIMIT $4",
        )
        .bind(streams)
        .bind(from)
        .bind(to)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn refused_count(&self, streams: &[i32], from: i64, to: i64) -> Result<i64, StoreError> {
        Ok(query_scalar(
            "SELECT count(DISTINCT address) FROM refused WHERE stream = ANY ($1) AND bin BETWEEN $2 AND $3",
        )
        .bind(streams)
        .bind(from)
        .bind(to)
        .fetch_one(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn words(&self, ids: &[i32]) -> Result<Vec<(i32, String)>, StoreError> {
        Ok(query_as("SELECT id, text FROM word WHERE id = ANY ($1) ORDER BY id")
            .bind(ids)
            .fetch_all(&self.pool)
            .await?)
    }

    pub(in crate::store) async fn bytes_by_table(&self) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(query_as(
            "SELECT COALESCE(p.parent, c.relname)::text AS name, sum(pg_total_relation_size(c.oid))::bigint \
             FROM pg_class c LEFT JOIN LATERAL (SELECT CASE WHEN c.relispartition THEN \
             regexp_replace(c.relname, '_[m0-9]+$', '') END AS parent) p ON TRUE \
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' GROUP BY 1 ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn ping(&self) -> Result<(), StoreError> {
        let standby: bool = query_scalar("SELECT pg_is_in_recovery()").fetch_one(&self.pool).await?;
        if standby {
            // A standby reads and does not write; say so by the error that a write would give.
            query("UPDATE meta SET value = value WHERE key = 'generation'").execute(&self.pool).await?;
        }
        Ok(())
    }
}
