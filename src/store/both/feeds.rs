//! What feeds report, and signs of life.

use sqlx::{query, query_as, query_scalar};

use super::{Engine, on_both};
use crate::{
    model::Timestamp,
    store::{
        FeedCounts, FeedHour, StoreError,
        feeds::{FeedHourRow, feed_hours},
    },
};

on_both! {
    pub(in crate::store) async fn feed_hours(&self, since: i64) -> Result<Vec<(FeedHour, FeedCounts)>, StoreError> {
        let rows: Vec<FeedHourRow> = query_as(
            "SELECT feed, exposure, hour, events, sent, delivered, refused, unsent FROM feed_hour WHERE hour >= $1 \
             ORDER BY feed, hour, exposure",
        )
        .bind(since)
        .fetch_all(self.reading())
        .await?;
        feed_hours(rows)
    }

    pub(in crate::store) async fn sign_of_life(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<i64> = query_scalar("SELECT at FROM sign_of_life WHERE name = $1")
            .bind(name)
            .fetch_optional(self.reading())
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
        .execute(self.writing())
        .await?;
        Ok(())
    }
}
