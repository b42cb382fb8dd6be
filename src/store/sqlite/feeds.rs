//! What each feed reported, and signs of life.

use sqlx::{SqliteConnection, query, query_as};

use super::SqliteStore;
use crate::{
    model::{Bin, Destination, Timestamp},
    store::{EntryKind, FeedCounts, FeedHour, StoreError, feeds::FeedHourRow},
};

impl SqliteStore {
    pub(in crate::store) async fn notice_hours(&self, since: Timestamp) -> Result<Vec<(String, i64, i64)>, StoreError> {
        Ok(query_as(
            "SELECT COALESCE(body ->> 'app', ''), at / 3600000 AS hour, count(*) FROM entry \
             WHERE kind = $1 AND at >= $2 GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .bind(EntryKind::Notice.code())
        .bind(since.as_millis())
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn refused_by_hour(
        &self,
        streams: &[i32],
        from: Bin,
        to: Bin,
        bare_only: bool,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        Ok(query_as(
            "SELECT r.bin / 12 AS hour, count(DISTINCT r.address) FROM refused r WHERE r.stream IN (SELECT value FROM json_each($1)) \
             AND r.bin BETWEEN $2 AND $3 AND (NOT $4 OR EXISTS (SELECT 1 FROM cell c WHERE c.stream = r.stream \
             AND c.bin = r.bin AND c.destination = $5 AND c.refused - c.refused_exposed > c.unexposed)) \
             GROUP BY 1 ORDER BY 1",
        )
        .bind(serde_json::json!(streams).to_string())
        .bind(from.0)
        .bind(to.0)
        .bind(bare_only)
        .bind(Destination::Relay.code())
        .fetch_all(&self.readers)
        .await?)
    }
}

/// Books changes of what feeds reported.
pub(super) async fn apply_feeds(
    connection: &mut SqliteConnection,
    feeds: &[(FeedHour, FeedCounts)],
) -> Result<(), StoreError> {
    if feeds.is_empty() {
        return Ok(());
    }
    let rows: Vec<FeedHourRow> = feeds
        .iter()
        .map(|(of, counts)| {
            let FeedCounts { events, sent, delivered, refused, unsent } = *counts;
            (of.feed, of.exposure.code(), of.hour, events, sent, delivered, refused, unsent)
        })
        .collect();
    query(
        "INSERT INTO feed_hour (feed, exposure, hour, events, sent, delivered, refused, unsent) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7 \
         FROM json_each($1) WHERE TRUE ON CONFLICT (feed, hour, exposure) DO UPDATE SET \
         events = events + excluded.events, sent = sent + excluded.sent, delivered = delivered + excluded.delivered, \
         refused = refused + excluded.refused, unsent = unsent + excluded.unsent",
    )
    .bind(serde_json::json!(rows).to_string())
    .execute(connection)
    .await?;
    Ok(())
}
