//! Reading the journal and the projections.

use sqlx::{query_as, query_scalar};

use super::SqliteStore;
use crate::{
    model::Timestamp,
    store::{
        CellKey, Counts, EntryRecord, EventFilter, EventKey, EventRecord, Horizon, Position, RefusedChange, StoreError,
        engine::{
            CellRow, EntryRow, EventRow, REBUILD_CURSOR, cells, entries, event_columns, events, horizon,
            refused_changes,
        },
    },
};

impl SqliteStore {
    pub(in crate::store) async fn events_after(
        &self,
        after: Position,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS \"transaction\", 0 AS row, ",
            event_columns!(),
            " FROM event e WHERE e.position > $1 ORDER BY e.position LIMIT $2"
        ))
        .bind(after.transaction)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn has_events_after(&self, after: Position) -> Result<bool, StoreError> {
        Ok(query_scalar("SELECT EXISTS (SELECT 1 FROM event WHERE position > $1)")
            .bind(after.transaction)
            .fetch_one(&self.readers)
            .await?)
    }

    pub(in crate::store) async fn events_of_messages(
        &self,
        messages: &[(i64, i64)],
        up_to: Position,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "WITH wanted (address, message) AS MATERIALIZED \
             (SELECT DISTINCT value ->> 0, value ->> 1 FROM json_each($1)) \
             SELECT e.position AS \"transaction\", 0 AS row, ",
            event_columns!(),
            " FROM wanted w CROSS JOIN event e ON e.address = w.address AND e.message = w.message \
             WHERE e.position <= $2"
        ))
        .bind(serde_json::json!(messages).to_string())
        .bind(up_to.transaction)
        .fetch_all(&self.readers)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn events_of_address(
        &self,
        address: i64,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS \"transaction\", 0 AS row, ",
            event_columns!(),
            " FROM event e WHERE e.address = $1 ORDER BY e.at DESC, e.hash LIMIT $2"
        ))
        .bind(address)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn latest_events(
        &self,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS \"transaction\", 0 AS row, ",
            event_columns!(),
            " FROM event e WHERE e.position < $1 ORDER BY e.position DESC LIMIT $2"
        ))
        .bind(before.map_or(i64::MAX, |position| position.transaction))
        .bind(limit)
        .fetch_all(&self.readers)
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
            "SELECT e.position AS \"transaction\", 0 AS row, ",
            event_columns!(),
            " FROM event e WHERE e.at >= $1 AND e.at <= $2 AND (e.at, e.hash) < ($3, $4) \
             AND ($5 IS NULL OR e.kind IN (SELECT value FROM json_each($5))) \
             AND ($6 IS NULL OR e.cause IN (SELECT value FROM json_each($6))) \
             AND ($7 IS NULL OR e.feed IN (SELECT value FROM json_each($7))) \
             AND ($8 IS NULL OR e.stream IN (SELECT value FROM json_each($8))) \
             ORDER BY e.at DESC, e.hash DESC LIMIT $9"
        ))
        .bind(filter.since.map_or(i64::MIN, Timestamp::as_millis))
        .bind(until.min(border))
        .bind(border)
        // Without a page before, every hash at the end of time is below this: hashes have 16 bytes.
        .bind(before.map_or_else(|| vec![0xff; 17], |key| key.hash.to_vec()))
        .bind(list(filter.kinds.as_deref(), |kind| kind.code().into()))
        .bind(list(filter.causes.as_deref(), |cause| cause.code().into()))
        .bind(list(filter.feeds.as_deref(), |feed| *feed))
        .bind(list(filter.streams.as_deref(), |stream| *stream))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn events_by_arrival(
        &self,
        filter: &EventFilter,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventRow> = query_as(concat!(
            "SELECT e.position AS \"transaction\", 0 AS row, ",
            event_columns!(),
            " FROM event e WHERE e.position < $1 AND e.at >= $2 AND e.at < $3 \
             AND ($4 IS NULL OR e.kind IN (SELECT value FROM json_each($4))) \
             AND ($5 IS NULL OR e.cause IN (SELECT value FROM json_each($5))) \
             AND ($6 IS NULL OR e.feed IN (SELECT value FROM json_each($6))) \
             AND ($7 IS NULL OR e.stream IN (SELECT value FROM json_each($7))) \
             ORDER BY e.position DESC LIMIT $8"
        ))
        .bind(before.map_or(i64::MAX, |place| place.transaction))
        .bind(filter.since.map_or(i64::MIN, Timestamp::as_millis))
        .bind(filter.until.map_or(i64::MAX, Timestamp::as_millis))
        .bind(list(filter.kinds.as_deref(), |kind| kind.code().into()))
        .bind(list(filter.causes.as_deref(), |cause| cause.code().into()))
        .bind(list(filter.feeds.as_deref(), |feed| *feed))
        .bind(list(filter.streams.as_deref(), |stream| *stream))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        events(rows)
    }

    pub(in crate::store) async fn journal_end(&self) -> Result<Position, StoreError> {
        let last: Option<i64> = query_scalar("SELECT max(position) FROM event").fetch_one(&self.readers).await?;
        Ok(Position { transaction: last.unwrap_or(0), row: 0 })
    }

    pub(in crate::store) async fn entries_after(
        &self,
        after: Position,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, StoreError> {
        let rows: Vec<EntryRow> = query_as(
            "SELECT position AS \"transaction\", 0 AS row, at, hash, kind, account, address, body FROM entry \
             WHERE position > $1 ORDER BY position LIMIT $2",
        )
        .bind(after.transaction)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        entries(rows)
    }

    pub(in crate::store) async fn entries_of(
        &self,
        address: i64,
        accounts: &[i64],
    ) -> Result<Vec<EntryRecord>, StoreError> {
        let rows: Vec<EntryRow> = query_as(
            "SELECT position AS \"transaction\", 0 AS row, at, hash, kind, account, address, body FROM entry \
             WHERE address = $1 OR account IN (SELECT value FROM json_each($2)) ORDER BY at, hash",
        )
        .bind(address)
        .bind(serde_json::json!(accounts).to_string())
        .fetch_all(&self.readers)
        .await?;
        entries(rows)
    }

    pub(in crate::store) async fn cells_of(&self, keys: &[CellKey]) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        let wanted: Vec<(i32, i64, i16)> =
            keys.iter().map(|key| (key.stream, key.bin, key.destination.code())).collect();
        let rows: Vec<CellRow> = query_as(
            "WITH wanted (stream, bin, destination) AS MATERIALIZED \
             (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)) \
             SELECT c.* FROM wanted w CROSS JOIN cell c ON c.stream = w.stream AND c.bin = w.bin \
             AND c.destination = w.destination",
        )
        .bind(serde_json::json!(wanted).to_string())
        .fetch_all(&self.readers)
        .await?;
        cells(rows)
    }

    pub(in crate::store) async fn day_totals_of(
        &self,
        wanted: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64, i64, i64)>, StoreError> {
        Ok(query_as(
            "WITH wanted (stream, day) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each($1)) \
             SELECT d.stream, d.day, d.exposed, d.refused FROM wanted w \
             CROSS JOIN day_total d ON d.day = w.day AND d.stream = w.stream",
        )
        .bind(serde_json::json!(wanted).to_string())
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn cells_within(
        &self,
        streams: &[i32],
        from: i64,
        to: i64,
    ) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        let rows: Vec<CellRow> = query_as(
            "WITH wanted (stream) AS MATERIALIZED (SELECT value FROM json_each($1)) SELECT c.* FROM wanted w \
             CROSS JOIN cell c ON c.stream = w.stream WHERE c.bin BETWEEN $2 AND $3",
        )
        .bind(serde_json::json!(streams).to_string())
        .bind(from)
        .bind(to)
        .fetch_all(&self.readers)
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
            "WITH wanted (stream) AS MATERIALIZED (SELECT value FROM json_each($1)) \
             SELECT r.stream, r.bin, r.address, r.count FROM wanted w \
             CROSS JOIN refused r ON r.stream = w.stream WHERE r.bin BETWEEN $2 AND $3",
        )
        .bind(serde_json::json!(streams).to_string())
        .bind(from)
        .bind(to)
        .fetch_all(&self.readers)
        .await?;
        Ok(refused_changes(rows))
    }

    pub(in crate::store) async fn horizon(&self) -> Result<Horizon, StoreError> {
        let (sealed, place, row): (Option<i64>, Option<i64>, Option<i32>) = query_as(
            "SELECT (SELECT max(day) FROM checkpoint), c.position, c.row \
             FROM (SELECT 1) LEFT JOIN journal_cursor c ON c.name = $1",
        )
        .bind(REBUILD_CURSOR)
        .fetch_one(&self.readers)
        .await?;
        Ok(horizon(sealed, place, row))
    }

    pub(in crate::store) async fn sealed_messages(
        &self,
        pairs: &[(i64, i64)],
        day: i64,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        Ok(query_as(
            "WITH wanted (address, message) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each($1)) \
             SELECT s.address, s.message FROM wanted w CROSS JOIN sealed_message s \
             ON s.address = w.address AND s.message = w.message WHERE s.day <= $2",
        )
        .bind(serde_json::json!(pairs).to_string())
        .bind(day)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn refused_witnesses(
        &self,
        cells: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64, i64)>, StoreError> {
        Ok(query_as(
            "WITH wanted (stream, bin) AS MATERIALIZED \
             (SELECT DISTINCT value ->> 0, value ->> 1 FROM json_each($1)) \
             SELECT stream, bin, address FROM (SELECT r.stream, r.bin, r.address, \
             row_number() OVER (PARTITION BY r.stream, r.bin ORDER BY r.address) AS n FROM wanted w \
             CROSS JOIN refused r ON r.stream = w.stream AND r.bin = w.bin) WHERE n <= 3",
        )
        .bind(serde_json::json!(cells).to_string())
        .fetch_all(&self.readers)
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
            "SELECT DISTINCT address FROM refused WHERE stream IN (SELECT value FROM json_each($1)) \
             AND bin BETWEEN $2 AND $3 ORDER BY address LIMIT $4",
        )
        .bind(serde_json::json!(streams).to_string())
        .bind(from)
        .bind(to)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn refused_count(&self, streams: &[i32], from: i64, to: i64) -> Result<i64, StoreError> {
        Ok(query_scalar(
            "SELECT count(DISTINCT address) FROM refused WHERE stream IN (SELECT value FROM json_each($1)) AND bin BETWEEN $2 AND $3",
        )
        .bind(serde_json::json!(streams).to_string())
        .bind(from)
        .bind(to)
        .fetch_one(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn words(&self, ids: &[i32]) -> Result<Vec<(i32, String)>, StoreError> {
        Ok(query_as("SELECT id, text FROM word WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id")
            .bind(serde_json::json!(ids).to_string())
            .fetch_all(&self.readers)
            .await?)
    }

    pub(in crate::store) async fn bytes_by_table(&self) -> Result<Vec<(String, i64)>, StoreError> {
        // Without the dbstat table of a debugging build, SQLite tells only the whole.
        let bytes: i64 = query_scalar("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
            .fetch_one(&self.readers)
            .await?;
        Ok(vec![("all".to_owned(), bytes)])
    }

    pub(in crate::store) async fn ping(&self) -> Result<(), StoreError> {
        // Takes the write lock and gives it back: a full disk or a foreign lock shows here.
        self.writer.begin_with("BEGIN IMMEDIATE").await?.rollback().await?;
        Ok(())
    }
}

/// A list as JSON, for `json_each`.
fn list<T>(items: Option<&[T]>, number: impl Fn(&T) -> i32) -> Option<String> {
    items.map(|items| serde_json::json!(items.iter().map(number).collect::<Vec<_>>()).to_string())
}
