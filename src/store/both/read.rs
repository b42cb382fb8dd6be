//! Reading the journal, the projections and what was set aside.

use sqlx::{query_as, query_scalar};

use super::{Engine, on_both};
use crate::{
    model::{Address, Bin, Destination, StreamKey, Timestamp},
    privacy::{Keyring, PrivacyError, Purpose},
    store::{
        CellKey, Counts, EntryKind, LedgerRow, Position, SetAsideRecord, Span, StoreError, WordKind,
        engine::{CellRow, cells},
        evidence::{stream_keys, times},
        listing::{SealedPart, SealedRow, SetAsideRow, set_aside},
    },
};

/// The tables whose rows `row_counts` counts.
const COUNTED: [&str; 18] = [
    "event",
    "entry",
    "control_seen",
    "set_aside",
    "one_time_token",
    "address",
    "account",
    "word",
    "template_sample",
    "cell",
    "ledger",
    "outbox",
    "day_total",
    "refused",
    "control_cell",
    "checkpoint",
    "sealed_message",
    "feed_hour",
];

on_both! {
    pub(in crate::store) async fn words_of(&self, kind: WordKind) -> Result<Vec<(i32, String)>, StoreError> {
        Ok(query_as("SELECT id, text FROM word WHERE kind = $1 ORDER BY id")
            .bind(kind.code())
            .fetch_all(self.reading())
            .await?)
    }

    pub(in crate::store) async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        let found: Option<(i64, i32)> = query_as("SELECT position, row FROM journal_cursor WHERE name = $1")
            .bind(name)
            .fetch_optional(self.reading())
            .await?;
        Ok(found.map_or(Position::START, |(transaction, row)| Position { transaction, row }))
    }

    pub(in crate::store) async fn cells(
        &self,
        stream: i32,
        from: i64,
        to: i64,
    ) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        let rows: Vec<CellRow> =
            query_as("SELECT * FROM cell WHERE stream = $1 AND bin BETWEEN $2 AND $3 ORDER BY bin, destination")
                .bind(stream)
                .bind(from)
                .bind(to)
                .fetch_all(self.reading())
                .await?;
        cells(rows)
    }

    pub(in crate::store) async fn cells_since(&self, from: i64) -> Result<Vec<(CellKey, Counts)>, StoreError> {
        let rows: Vec<CellRow> = query_as("SELECT * FROM cell WHERE bin >= $1 ORDER BY stream, bin, destination")
            .bind(from)
            .fetch_all(self.reading())
            .await?;
        cells(rows)
    }

    pub(in crate::store) async fn day_totals(&self, day: i64) -> Result<Vec<(i32, String, i64, i64)>, StoreError> {
        Ok(query_as(
            "SELECT d.stream, w.text, d.exposed, d.refused FROM day_total d JOIN word w ON w.id = d.stream \
             WHERE d.day = $1 ORDER BY d.stream",
        )
        .bind(day)
        .fetch_all(self.reading())
        .await?)
    }

    pub(in crate::store) async fn ledger(&self, address: i64) -> Result<Option<LedgerRow>, StoreError> {
        Ok(query_as("SELECT * FROM ledger WHERE address = $1").bind(address).fetch_optional(self.reading()).await?)
    }

    pub(in crate::store) async fn control_since(
        &self,
        from: i64,
    ) -> Result<Vec<(i32, i64, i64, i64, i64)>, StoreError> {
        Ok(query_as(
            "SELECT stream, bin, sent, delivered, refused FROM control_cell WHERE bin >= $1 ORDER BY stream, bin",
        )
        .bind(from)
        .fetch_all(self.reading())
        .await?)
    }

    pub(in crate::store) async fn template_sample(
        &self,
        template: i32,
    ) -> Result<Option<(i64, Option<Vec<u8>>)>, StoreError> {
        Ok(query_as("SELECT first_seen, sample FROM template_sample WHERE template = $1")
            .bind(template)
            .fetch_optional(self.reading())
            .await?)
    }

    pub(in crate::store) async fn row_counts(&self) -> Result<Vec<(&'static str, i64)>, StoreError> {
        let counts: Vec<i64> = query_scalar(
            "SELECT count(*) FROM event UNION ALL SELECT count(*) FROM entry \
             UNION ALL SELECT count(*) FROM control_seen UNION ALL SELECT count(*) FROM set_aside \
             UNION ALL SELECT count(*) FROM one_time_token UNION ALL SELECT count(*) FROM address \
             UNION ALL SELECT count(*) FROM account UNION ALL SELECT count(*) FROM word \
             UNION ALL SELECT count(*) FROM template_sample UNION ALL SELECT count(*) FROM cell \
             UNION ALL SELECT count(*) FROM ledger UNION ALL SELECT count(*) FROM outbox \
             UNION ALL SELECT count(*) FROM day_total UNION ALL SELECT count(*) FROM refused \
             UNION ALL SELECT count(*) FROM control_cell UNION ALL SELECT count(*) FROM checkpoint \
             UNION ALL SELECT count(*) FROM sealed_message UNION ALL SELECT count(*) FROM feed_hour",
        )
        .fetch_all(self.reading())
        .await?;
        Ok(COUNTED.into_iter().zip(counts).collect())
    }

    pub(in crate::store) async fn first_notice(&self) -> Result<Option<Timestamp>, StoreError> {
        let first: Option<i64> = query_scalar("SELECT min(at) FROM entry WHERE kind = $1")
            .bind(EntryKind::Notice.code())
            .fetch_one(self.reading())
            .await?;
        Ok(first.map(Timestamp::from_millis))
    }

    pub(in crate::store) async fn refused_streams(
        &self,
        from: Bin,
        to: Bin,
    ) -> Result<Vec<(i32, StreamKey)>, StoreError> {
        let rows: Vec<(i32, String)> = query_as(
            "SELECT w.id, w.text FROM word w WHERE w.kind = $1 AND EXISTS \
             (SELECT 1 FROM refused r WHERE r.stream = w.id AND r.bin BETWEEN $2 AND $3) ORDER BY w.id",
        )
        .bind(WordKind::Stream.code())
        .bind(from.0)
        .bind(to.0)
        .fetch_all(self.reading())
        .await?;
        stream_keys(rows)
    }

    pub(in crate::store) async fn set_aside_part(
        &self,
        id: i64,
        now: Timestamp,
    ) -> Result<Option<SealedPart>, StoreError> {
        let row: Option<SealedRow> = query_as(
            "SELECT id, received_at, expires_at, feed, reason, label, hash, sealed FROM set_aside \
             WHERE id = $1 AND expires_at > $2",
        )
        .bind(id)
        .bind(now.as_millis())
        .fetch_optional(self.reading())
        .await?;
        Ok(row.map(|(id, received_at, expires_at, feed, reason, label, hash, sealed)| {
            ((id, received_at, expires_at, feed, reason, label), hash, sealed)
        }))
    }

    pub(in crate::store) async fn sealed_part(&self, hash: &[u8], now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> = query_as("SELECT sealed FROM set_aside WHERE hash = $1 AND expires_at > $2")
            .bind(hash)
            .bind(now.as_millis())
            .fetch_optional(self.reading())
            .await?;
        Ok(row.map(|(sealed,)| sealed))
    }

    pub(in crate::store) async fn set_aside_by_time(
        &self,
        span: Span,
        before: Option<(Timestamp, i64)>,
        limit: u32,
    ) -> Result<Vec<SetAsideRecord>, StoreError> {
        let (since, until) = span.bounds();
        let (border, id) = before.map_or((i64::MAX, i64::MAX), |(at, id)| (at.as_millis(), id));
        let rows: Vec<SetAsideRow> = query_as(
            "SELECT id, received_at, expires_at, feed, reason, label FROM set_aside \
             WHERE received_at >= $1 AND received_at <= $2 AND (received_at, id) < ($3, $4) \
             ORDER BY received_at DESC, id DESC LIMIT $5",
        )
        .bind(since)
        .bind(until)
        .bind(border)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(self.reading())
        .await?;
        set_aside(rows)
    }

    pub(in crate::store) async fn delivered_sample(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<(i64, Timestamp)>, StoreError> {
        let rows: Vec<(i64, i64)> = query_as(
            "SELECT address, last_delivered_at FROM ledger WHERE last_delivered_at >= $1 AND destination = $2 \
             ORDER BY address LIMIT $3",
        )
        .bind(since.as_millis())
        .bind(Destination::Relay.code())
        .bind(i64::from(limit))
        .fetch_all(self.reading())
        .await?;
        Ok(times(rows))
    }
}

/// Opens one address of the table.
pub(in crate::store) fn opened(
    keyring: &Keyring,
    (id, owner, sealed): (i64, Vec<u8>, Option<Vec<u8>>),
) -> Result<(i64, Option<Address>), StoreError> {
    let Some(sealed) = sealed else { return Ok((id, None)) };
    let text = keyring.open(Purpose::Address, &owner, &sealed)?;
    let address = std::str::from_utf8(&text).ok().and_then(|text| Address::parse(text).ok());
    // What was sealed was an address: anything else is another value in its place.
    Ok((id, Some(address.ok_or(PrivacyError::Broken)?)))
}
