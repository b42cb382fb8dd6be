//! What lists read beside outcomes.

use sqlx::query_as;

use super::PgStore;
use crate::{
    model::Timestamp,
    store::{
        EntryKind, EntryRecord, EventKey, Position, SetAsideRecord, Span, StoreError,
        engine::{EntryRow, entries},
        listing::{SealedPart, SealedRow, SetAsideRow, set_aside},
    },
};

impl PgStore {
    pub(in crate::store) async fn entries_by_time(
        &self,
        kind: EntryKind,
        span: Span,
        before: Option<EventKey>,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, StoreError> {
        let (since, until) = span.bounds();
        let border = before.map_or(i64::MAX, |key| key.at.as_millis());
        let rows: Vec<EntryRow> = query_as(
            "SELECT position AS transaction, row, at, hash, kind, account, address, body FROM entry \
             WHERE kind = $1 AND at >= $2 AND at <= $3 AND (at, hash) < ($4, $5) ORDER BY at DESC, hash DESC LIMIT $6",
        )
        .bind(kind.code())
        .bind(since)
        .bind(until.min(border))
        .bind(border)
        // Without a page before, every hash at the end of time is below this: hashes have 16 bytes.
        .bind(before.map_or_else(|| vec![0xff; 17], |key| key.hash.to_vec()))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        entries(rows)
    }

    pub(in crate::store) async fn entries_end(&self) -> Result<Position, StoreError> {
        // Transactions number outcomes and other entries alike.
        self.journal_end().await
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
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(id, received_at, expires_at, feed, reason, label, hash, sealed)| {
            ((id, received_at, expires_at, feed, reason, label), hash, sealed)
        }))
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
        .fetch_all(&self.pool)
        .await?;
        set_aside(rows)
    }
}
