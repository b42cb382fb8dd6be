//! What each feed reported, and signs of life.

use sqlx::{PgConnection, query, query_as};

use super::PgStore;
use crate::{
    model::{Bin, Destination, Timestamp},
    store::{EntryKind, FeedCounts, FeedHour, StoreError},
};

impl PgStore {
    pub(in crate::store) async fn notice_hours(&self, since: Timestamp) -> Result<Vec<(String, i64, i64)>, StoreError> {
        Ok(query_as(
            "SELECT COALESCE(body::json ->> 'app', ''), at / 3600000 AS hour, count(*) FROM entry \
             WHERE kind = $1 AND at >= $2 GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .bind(EntryKind::Notice.code())
        .bind(since.as_millis())
        .fetch_all(&self.pool)
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
            "SELECT r.bin / 12 AS hour, count(DISTINCT r.address) FROM refused r WHERE r.stream = ANY ($1) \
             AND r.bin BETWEEN $2 AND $3 AND (NOT $4 OR EXISTS (SELECT 1 FROM cell c WHERE c.stream = r.stream \
             AND c.bin = r.bin AND c.destination = $5 AND c.refused - c.refused_exposed > c.unexposed)) \
             GROUP BY 1 ORDER BY 1",
        )
        .bind(streams)
        .bind(from.0)
        .bind(to.0)
        .bind(bare_only)
        .bind(Destination::Relay.code())
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Books changes of what feeds reported.
pub(super) async fn apply_feeds(
    connection: &mut PgConnection,
    feeds: &[(FeedHour, FeedCounts)],
) -> Result<(), StoreError> {
    if feeds.is_empty() {
        return Ok(());
    }
    let column = |read: fn(&FeedCounts) -> i64| feeds.iter().map(|(_, counts)| read(counts)).collect::<Vec<_>>();
    query(
        "INSERT INTO feed_hour (feed, exposure, hour, events, sent, delivered, refused, unsent) \
         SELECT * FROM unnest($1::integer[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], \
         $7::bigint[], $8::bigint[]) ON CONFLICT (feed, hour, exposure) DO UPDATE SET \
         events = feed_hour.events + excluded.events, sent = feed_hour.sent + excluded.sent, \
         delivered = feed_hour.delivered + excluded.delivered, refused = feed_hour.refused + excluded.refused, \
         unsent = feed_hour.unsent + excluded.unsent",
    )
    .bind(feeds.iter().map(|(of, _)| of.feed).collect::<Vec<_>>())
    .bind(feeds.iter().map(|(of, _)| of.exposure.code()).collect::<Vec<_>>())
    .bind(feeds.iter().map(|(of, _)| of.hour).collect::<Vec<_>>())
    .bind(column(|c| c.events))
    .bind(column(|c| c.sent))
    .bind(column(|c| c.delivered))
    .bind(column(|c| c.refused))
    .bind(column(|c| c.unsent))
    .execute(connection)
    .await?;
    Ok(())
}
