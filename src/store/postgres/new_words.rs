//! Replies in words that no rule knows.

use sqlx::{query, query_as};

use super::PgStore;
use crate::{
    model::{EventKind, Timestamp},
    store::{
        Epoch, NewOutbox, NewWords, NewWordsFilter, StoreError,
        new_words::{NewWordsRow, new_words},
    },
};

impl PgStore {
    pub(in crate::store) async fn new_words(
        &self,
        filter: &NewWordsFilter,
        limit: u32,
    ) -> Result<Vec<NewWords>, StoreError> {
        let rows: Vec<NewWordsRow> = query_as(
            "SELECT e.template, count(*), count(DISTINCT e.address), count(DISTINCT e.stream), min(e.at), max(e.at), \
             min(e.cause), max(e.rule), t.at FROM event e LEFT JOIN new_words_told t ON t.template = e.template \
             WHERE e.rule IS NOT NULL AND e.rule = ANY ($1) AND e.template IS NOT NULL \
             AND e.kind IN ($2, $3) AND e.destination * 100 + coalesce(e.mx, 0) = ANY ($4) \
             AND (t.template IS NULL OR NOT $5) GROUP BY e.template, t.at ORDER BY 2 DESC, 1 LIMIT $6",
        )
        .bind(&filter.rules)
        .bind(EventKind::Refused.code())
        .bind(EventKind::Deferred.code())
        .bind(filter.pairs())
        .bind(filter.untold)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(new_words(rows))
    }

    pub(in crate::store) async fn new_words_totals(&self, filter: &NewWordsFilter) -> Result<(i64, i64), StoreError> {
        Ok(query_as(
            "SELECT count(DISTINCT e.template), count(*) FROM event e LEFT JOIN new_words_told t ON t.template = e.template \
             WHERE e.rule IS NOT NULL AND e.rule = ANY ($1) AND e.template IS NOT NULL \
             AND e.kind IN ($2, $3) AND e.destination * 100 + coalesce(e.mx, 0) = ANY ($4) \
             AND (t.template IS NULL OR NOT $5)",
        )
        .bind(&filter.rules)
        .bind(EventKind::Refused.code())
        .bind(EventKind::Deferred.code())
        .bind(filter.pairs())
        .bind(filter.untold)
        .fetch_one(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn tell_new_words(
        &self,
        epoch: Epoch,
        templates: &[i32],
        at: Timestamp,
        digest: bool,
        pages: &[NewOutbox],
    ) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        query(
            "INSERT INTO new_words_told (template, at, digest) SELECT w.id, $2, $3 FROM word w WHERE w.id = ANY ($1) \
             ON CONFLICT (template) DO NOTHING",
        )
        .bind(templates)
        .bind(at.as_millis())
        .bind(digest)
        .execute(&mut *transaction)
        .await?;
        self.enqueue_in(&mut transaction, pages).await?;
        transaction.commit().await?;
        Ok(())
    }
}
