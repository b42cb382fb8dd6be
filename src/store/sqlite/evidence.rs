//! What an incident is explained from: set-based reads.

use sqlx::{query_as, query_scalar};

use super::SqliteStore;
use crate::{
    model::{Address, Bin, DAY_MILLIS, Destination, EventKind, FailureClass, StreamKey, Timestamp},
    store::{
        AddressNotice, ControlSum, Counts, EntryKind, EntryRecord, RefusedAddress, StoreError, WordKind,
        batch::stream_text,
        both::opened,
        engine::{EntryRow, digest_of, entries},
        evidence::{RefusedRow, SumRow, control, latest_notices, notices, refused, stream_keys, sums, texts, times},
    },
};

/// Deliveries that come later after the last bin are not looked for.
const LATEST_MILLIS: i64 = 2 * DAY_MILLIS;

impl SqliteStore {
    pub(in crate::store) async fn refused_with_ledger(
        &self,
        streams: &[i32],
        from: Bin,
        to: Bin,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RefusedAddress>, StoreError> {
        let rows: Vec<RefusedRow> = query_as(
            "SELECT r.address, r.first_bin, r.last_bin, l.first_event_at, l.last_delivered_at, l.last_refused_at, \
             l.last_cause, l.complained_at, l.unsubscribed_at FROM \
             (SELECT address, min(bin) AS first_bin, max(bin) AS last_bin FROM refused \
             WHERE stream IN (SELECT value FROM json_each($1)) AND bin BETWEEN $2 AND $3 AND address > $4 \
             GROUP BY address ORDER BY address LIMIT $5) r \
             LEFT JOIN ledger l ON l.address = r.address ORDER BY r.address",
        )
        .bind(serde_json::json!(streams).to_string())
        .bind(from.0)
        .bind(to.0)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        Ok(refused(rows))
    }

    pub(in crate::store) async fn accepted_sample(
        &self,
        streams: &[i32],
        from: Bin,
        to: Bin,
        limit: u32,
    ) -> Result<Vec<(i64, Timestamp)>, StoreError> {
        // Nothing is delivered before it is sent, so that the range of event times bounds what is read.
        let rows: Vec<(i64, i64)> = query_as(
            "SELECT address, max(at) FROM event WHERE at BETWEEN $1 AND $2 AND kind = $3 AND (destination = $4 \
             OR EXISTS (SELECT 1 FROM relay_mark m WHERE m.address = event.address AND m.folded)) \
             AND stream IN (SELECT value FROM json_each($5)) \
             AND COALESCE(sent_at, at) >= $1 AND COALESCE(sent_at, at) < $6 GROUP BY address ORDER BY address LIMIT $7",
        )
        .bind(from.start().as_millis())
        .bind(to.end().plus_millis(LATEST_MILLIS).as_millis())
        .bind(EventKind::Delivered.code())
        .bind(Destination::Relay.code())
        .bind(serde_json::json!(streams).to_string())
        .bind(to.end().as_millis())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        Ok(times(rows))
    }

    // The plus signs keep the planner from the index by kind and time, which holds all notices, and lead it to the one by address
    // or account, which holds a few.
    pub(in crate::store) async fn mapped_addresses(&self, addresses: &[i64]) -> Result<Vec<i64>, StoreError> {
        Ok(query_scalar(
            "WITH wanted (address) AS MATERIALIZED (SELECT DISTINCT value FROM json_each($1)) \
             SELECT w.address FROM wanted w WHERE EXISTS (SELECT 1 FROM account a WHERE a.address = w.address) \
             OR EXISTS (SELECT 1 FROM tombstone t WHERE t.address = w.address) \
             OR EXISTS (SELECT 1 FROM entry e WHERE e.address = w.address AND +e.kind = $2 AND e.account IS NOT NULL) \
             ORDER BY w.address",
        )
        .bind(serde_json::json!(addresses).to_string())
        .bind(EntryKind::Notice.code())
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn notices_of(
        &self,
        addresses: &[i64],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<AddressNotice>, StoreError> {
        let rows: Vec<(i64, i64, Option<String>)> = query_as(
            "WITH wanted (address) AS MATERIALIZED (SELECT DISTINCT value FROM json_each($1)), \
             who (address, account) AS (SELECT w.address, a.id FROM wanted w CROSS JOIN account a ON a.address = w.address \
             UNION SELECT t.address, t.account FROM wanted w CROSS JOIN tombstone t ON t.address = w.address \
             UNION SELECT w.address, e.account FROM wanted w CROSS JOIN entry e ON e.address = w.address \
             WHERE +e.kind = $2 AND e.account IS NOT NULL) \
             SELECT w.address AS address, e.at AS at, e.body ->> 'kind' AS kind FROM who w CROSS JOIN entry e \
             ON e.account = w.account WHERE +e.kind = $2 AND +e.at BETWEEN $3 AND $4 \
             UNION SELECT w.address, e.at, e.body ->> 'kind' FROM wanted w CROSS JOIN entry e \
             ON e.address = w.address WHERE +e.kind = $2 AND +e.at BETWEEN $3 AND $4 ORDER BY 1, 2, 3",
        )
        .bind(serde_json::json!(addresses).to_string())
        .bind(EntryKind::Notice.code())
        .bind(from.as_millis())
        .bind(to.as_millis())
        .fetch_all(&self.readers)
        .await?;
        Ok(notices(rows))
    }

    pub(in crate::store) async fn reply_texts(
        &self,
        addresses: &[i64],
        streams: &[i32],
        from: Timestamp,
        to: Timestamp,
        limit: u32,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = query_as(
            "WITH wanted (address) AS MATERIALIZED (SELECT DISTINCT value FROM json_each($1)) \
             SELECT w.text, count(DISTINCT e.address) FROM wanted a CROSS JOIN event e ON e.address = a.address \
             CROSS JOIN word w ON w.id = e.template \
             WHERE e.kind = $2 AND e.class = $3 \
             AND +e.at BETWEEN $4 AND $5 AND +e.stream IN (SELECT value FROM json_each($6)) GROUP BY w.id, w.text ORDER BY 2 DESC, w.text LIMIT $7",
        )
        .bind(serde_json::json!(addresses).to_string())
        .bind(EventKind::Refused.code())
        .bind(FailureClass::Permanent.code())
        .bind(from.as_millis())
        .bind(to.as_millis())
        .bind(serde_json::json!(streams).to_string())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        Ok(texts(rows))
    }

    pub(in crate::store) async fn latest_notices(&self, addresses: &[i64]) -> Result<Vec<AddressNotice>, StoreError> {
        let rows: Vec<(i64, i64, i16)> = query_as(
            "WITH wanted (address) AS MATERIALIZED (SELECT DISTINCT value FROM json_each($1)), \
             who (address, account) AS (SELECT w.address, a.id FROM wanted w CROSS JOIN account a ON a.address = w.address \
             UNION SELECT t.address, t.account FROM wanted w CROSS JOIN tombstone t ON t.address = w.address) \
             SELECT w.address, l.at, l.kind FROM who w CROSS JOIN latest_notice l ON l.id = w.account AND l.account = 1 \
             UNION SELECT w.address, l.at, l.kind FROM wanted w CROSS JOIN latest_notice l \
             ON l.id = w.address AND l.account = 0 ORDER BY 1, 2, 3",
        )
        .bind(serde_json::json!(addresses).to_string())
        .fetch_all(&self.readers)
        .await?;
        Ok(latest_notices(rows))
    }

    pub(in crate::store) async fn entries_of_kind(
        &self,
        kind: EntryKind,
        to: Timestamp,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, StoreError> {
        let rows: Vec<EntryRow> = query_as(
            "SELECT position AS \"transaction\", 0 AS row, at, hash, kind, account, address, body FROM entry \
             WHERE kind = $1 AND at <= $2 ORDER BY at DESC, hash LIMIT $3",
        )
        .bind(kind.code())
        .bind(to.as_millis())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        entries(rows)
    }

    pub(in crate::store) async fn cell_sums(
        &self,
        streams: &[i32],
        from: Bin,
        to: Bin,
    ) -> Result<Vec<(i32, Destination, Counts)>, StoreError> {
        let rows: Vec<SumRow> = query_as(
            "SELECT stream, destination, sum(exposed), sum(refused), sum(delivered), sum(transient), \
             sum(deferred), sum(complained), sum(suppressed), sum(unexposed), sum(refused_exposed) FROM cell \
             WHERE stream IN (SELECT value FROM json_each($1)) AND bin BETWEEN $2 AND $3 \
             GROUP BY stream, destination ORDER BY stream, destination",
        )
        .bind(serde_json::json!(streams).to_string())
        .bind(from.0)
        .bind(to.0)
        .fetch_all(&self.readers)
        .await?;
        sums(rows)
    }

    pub(in crate::store) async fn control_sums(&self, from: Bin, to: Bin) -> Result<Vec<ControlSum>, StoreError> {
        let rows: Vec<(i32, i64, i64, i64)> = query_as(
            "SELECT stream, sum(sent), sum(delivered), sum(refused) FROM control_cell \
             WHERE bin BETWEEN $1 AND $2 GROUP BY stream ORDER BY stream",
        )
        .bind(from.0)
        .bind(to.0)
        .fetch_all(&self.readers)
        .await?;
        Ok(control(rows))
    }

    pub(in crate::store) async fn known_streams(
        &self,
        keys: &[StreamKey],
    ) -> Result<Vec<(i32, StreamKey)>, StoreError> {
        let digests: Vec<String> = keys.iter().map(|key| hex::encode(digest_of(&stream_text(key)))).collect();
        let rows: Vec<(i32, String)> = query_as(
            "SELECT id, text FROM word WHERE kind = $1 AND digest IN (SELECT unhex(value) FROM json_each($2)) ORDER BY id",
        )
        .bind(WordKind::Stream.code())
        .bind(serde_json::json!(digests).to_string())
        .fetch_all(&self.readers)
        .await?;
        stream_keys(rows)
    }

    pub(in crate::store) async fn open_addresses(
        &self,
        ids: &[i64],
    ) -> Result<Vec<(i64, Option<Address>)>, StoreError> {
        let rows: Vec<(i64, Vec<u8>, Option<Vec<u8>>)> =
            query_as("SELECT id, hash, sealed FROM address WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id")
                .bind(serde_json::json!(ids).to_string())
                .fetch_all(&self.readers)
                .await?;
        rows.into_iter().map(|row| opened(&self.keyring, row)).collect()
    }
}
