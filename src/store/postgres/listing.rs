//! What lists read beside outcomes.

use sqlx::query_as;

use super::PgStore;
use crate::store::{
    EntryKind, EntryRecord, EventKey, Position, Span, StoreError,
    engine::{EntryRow, entries},
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
}
