//! What an incident is explained from: set-based reads.

use sqlx::{query_as, query_scalar};

use super::PgStore;
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

impl PgStore {
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
             WHERE stream = ANY ($1) AND bin BETWEEN $2 AND $3 AND address > $4 \
             GROUP BY address ORDER BY address LIMIT $5) r \
             LEFT JOIN ledger l ON l.address = r.address ORDER BY r.address",
        )
        .bind(streams)
        .bind(from.0)
        .bind(to.0)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
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
            "SELECT address, max(at) FROM event WHERE NOT kept_long AND at BETWEEN $1 AND $2 AND kind = $3 AND (destination = $4 \
             OR EXISTS (SELECT 1 FROM relay_mark m WHERE m.address = event.address AND m.folded)) \
             AND stream = ANY ($5) \
             AND COALESCE(sent_at, at) >= $1 AND COALESCE(sent_at, at) < $6 GROUP BY address ORDER BY address LIMIT $7",
        )
        .bind(from.start().as_millis())
        .bind(to.end().plus_millis(LATEST_MILLIS).as_millis())
        .bind(EventKind::Delivered.code())
        .bind(Destination::Relay.code())
        .bind(streams)
        .bind(to.end().as_millis())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(times(rows))
    }

    pub(in crate::store) async fn mapped_addresses(&self, addresses: &[i64]) -> Result<Vec<i64>, StoreError> {
        Ok(query_scalar(
            "WITH wanted (address) AS (SELECT DISTINCT a FROM unnest($1::bigint[]) AS u (a)) \
             SELECT w.address FROM wanted w WHERE EXISTS (SELECT 1 FROM account a WHERE a.address = w.address) \
             OR EXISTS (SELECT 1 FROM tombstone t WHERE t.address = w.address) \
             OR EXISTS (SELECT 1 FROM entry e WHERE e.address = w.address AND e.kind = $2 AND e.account IS NOT NULL) \
             ORDER BY w.address",
        )
        .bind(addresses)
        .bind(EntryKind::Notice.code())
        .fetch_all(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn notices_of(
        &self,
        addresses: &[i64],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<AddressNotice>, StoreError> {
        let rows: Vec<(i64, i64, Option<String>)> = query_as(
            "WITH wanted (address) AS (SELECT DISTINCT a FROM unnest($1::bigint[]) AS u (a)), \
             who (address, account) AS (SELECT w.address, a.id FROM wanted w JOIN account a ON a.address = w.address \
             UNION SELECT t.address, t.account FROM wanted w JOIN tombstone t ON t.address = w.address \
             UNION SELECT w.address, e.account FROM wanted w JOIN entry e ON e.address = w.address \
             WHERE e.kind = $2 AND e.account IS NOT NULL) \
             SELECT w.address AS address, e.at AS at, e.body::json ->> 'kind' AS kind FROM who w JOIN entry e \
             ON e.account = w.account WHERE e.kind = $2 AND e.at BETWEEN $3 AND $4 \
             UNION SELECT w.address, e.at, e.body::json ->> 'kind' FROM wanted w JOIN entry e \
             ON e.address = w.address WHERE e.kind = $2 AND e.at BETWEEN $3 AND $4 ORDER BY 1, 2, 3",
        )
        .bind(addresses)
        .bind(EntryKind::Notice.code())
        .bind(from.as_millis())
        .bind(to.as_millis())
        .fetch_all(&self.pool)
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
            "SELECT w.text, count(DISTINCT e.address) FROM event e JOIN word w ON w.id = e.template \
             WHERE e.kept_long AND e.address = ANY ($1) AND e.kind = $2 AND e.class = $3 \
             AND e.at BETWEEN $4 AND $5 AND e.stream = ANY ($6) GROUP BY w.id, w.text ORDER BY 2 DESC, w.text LIMIT $7",
        )
        .bind(addresses)
        .bind(EventKind::Refused.code())
        .bind(FailureClass::Permanent.code())
        .bind(from.as_millis())
        .bind(to.as_millis())
        .bind(streams)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(texts(rows))
    }

    pub(in crate::store) async fn latest_notices(&self, addresses: &[i64]) -> Result<Vec<AddressNotice>, StoreError> {
        let rows: Vec<(i64, i64, i16)> = query_as(
            "WITH wanted (address) AS (SELECT DISTINCT a FROM unnest($1::bigint[]) AS u (a)), \
             who (address, account) AS (SELECT w.address, a.id FROM wanted w JOIN account a ON a.address = w.address \
             UNION SELECT t.address, t.account FROM wanted w JOIN tombstone t ON t.address = w.address) \
             SELECT w.address, l.at, l.kind FROM who w JOIN latest_notice l ON l.id = w.account AND l.account \
             UNION SELECT w.address, l.at, l.kind FROM wanted w JOIN latest_notice l \
             ON l.id = w.address AND NOT l.account ORDER BY 1, 2, 3",
        )
        .bind(addresses)
        .fetch_all(&self.pool)
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
            "SELECT position AS transaction, row, at, hash, kind, account, address, body FROM entry \
             WHERE kind = $1 AND at <= $2 ORDER BY at DESC, hash LIMIT $3",
        )
        .bind(kind.code())
        .bind(to.as_millis())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
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
            "SELECT stream, destination, sum(exposed)::bigint, sum(refused)::bigint, sum(delivered)::bigint, sum(transient)::bigint, \
             sum(deferred)::bigint, sum(complained)::bigint, sum(suppressed)::bigint, sum(unexposed)::bigint, sum(refused_exposed)::bigint FROM cell \
             WHERE stream = ANY ($1) AND bin BETWEEN $2 AND $3 \
             GROUP BY stream, destination ORDER BY stream, destination",
        )
        .bind(streams)
        .bind(from.0)
        .bind(to.0)
        .fetch_all(&self.pool)
        .await?;
        sums(rows)
    }

    pub(in crate::store) async fn control_sums(&self, from: Bin, to: Bin) -> Result<Vec<ControlSum>, StoreError> {
        let rows: Vec<(i32, i64, i64, i64)> = query_as(
            "SELECT stream, sum(sent)::bigint, sum(delivered)::bigint, sum(refused)::bigint FROM control_cell \
             WHERE bin BETWEEN $1 AND $2 GROUP BY stream ORDER BY stream",
        )
        .bind(from.0)
        .bind(to.0)
        .fetch_all(&self.pool)
        .await?;
        Ok(control(rows))
    }

    pub(in crate::store) async fn known_streams(
        &self,
        keys: &[StreamKey],
    ) -> Result<Vec<(i32, StreamKey)>, StoreError> {
        let digests: Vec<Vec<u8>> = keys.iter().map(|key| digest_of(&stream_text(key)).to_vec()).collect();
        let rows: Vec<(i32, String)> =
            query_as("SELECT id, text FROM word WHERE kind = $1 AND digest = ANY ($2) ORDER BY id")
                .bind(WordKind::Stream.code())
                .bind(&digests)
                .fetch_all(&self.pool)
                .await?;
        stream_keys(rows)
    }

    pub(in crate::store) async fn open_addresses(
        &self,
        ids: &[i64],
    ) -> Result<Vec<(i64, Option<Address>)>, StoreError> {
        let rows: Vec<(i64, Vec<u8>, Option<Vec<u8>>)> =
            query_as("SELECT id, hash, sealed FROM address WHERE id = ANY ($1) ORDER BY id")
                .bind(ids)
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter().map(|row| opened(&self.keyring, row)).collect()
    }
}
