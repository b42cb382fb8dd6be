//! What each feed reported, and signs of life.

use sqlx::{SqliteConnection, query, query_as, query_scalar};

use super::SqliteStore;
use crate::{
    model::{Bin, Destination, Timestamp},
    privacy::Keyring,
    store::{
        EntryKind, FeedCounts, FeedHour, StoreError,
        feeds::{FeedHourRow, feed_hours},
    },
};

impl SqliteStore {
    /// The keys that the store works with.
    pub(in crate::store) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub(in crate::store) async fn notice_hours(&self, since: Timestamp) -> Result<Vec<(i64, i64)>, StoreError> {
        Ok(query_as(
            "SELECT at / 3600000 AS hour, count(*) FROM entry WHERE kind = $1 AND at >= $2 GROUP BY 1 ORDER BY 1",
        )
        .bind(EntryKind::Notice.code())
        .bind(since.as_millis())
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn feed_hours(&self, since: i64) -> Result<Vec<(FeedHour, FeedCounts)>, StoreError> {
        let rows: Vec<FeedHourRow> = query_as(
            "SELECT feed, exposure, hour, events, sent, delivered, refused, unsent FROM feed_hour WHERE hour >= $1 \
             ORDER BY feed, hour, exposure",
        )
        .bind(since)
        .fetch_all(&self.readers)
        .await?;
        feed_hours(rows)
    }

    pub(in crate::store) async fn sign_of_life(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<i64> = query_scalar("SELECT at FROM sign_of_life WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        Ok(at.map(Timestamp::from_millis))
    }

    pub(in crate::store) async fn give_sign_of_life(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        query(
            "INSERT INTO sign_of_life (name, at) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE excluded.at > sign_of_life.at",
        )
        .bind(name)
        .bind(now.as_millis())
        .execute(&self.writer)
        .await?;
        Ok(())
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
