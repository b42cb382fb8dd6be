//! Replies in words that no rule knows.

use sqlx::{query, query_as};

use super::SqliteStore;
use crate::{
    model::{EventKind, FailureClass, Timestamp},
    store::{
        Epoch, FoundWords, NewOutbox, NewWordsFilter, StoreError,
        new_words::{NewWordsRow, found_words, new_words_statement},
    },
};

impl SqliteStore {
    pub(in crate::store) async fn new_words(
        &self,
        filter: &NewWordsFilter,
        limit: u32,
    ) -> Result<FoundWords, StoreError> {
        let rows: Vec<NewWordsRow> = query_as(new_words_statement!(
            "IN (SELECT value FROM json_each($1))",
            "IN (SELECT value FROM json_each($4))"
        ))
        .bind(serde_json::json!(filter.rules).to_string())
        .bind(EventKind::Refused.code())
        .bind(EventKind::Deferred.code())
        .bind(serde_json::json!(filter.pairs()).to_string())
        .bind(filter.untold_first)
        .bind(limit)
        .bind(FailureClass::Unknown.code())
        .fetch_all(&self.readers)
        .await?;
        Ok(found_words(rows))
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
            "INSERT INTO new_words_told (template, at, digest) SELECT w.id, $2, $3 FROM word w \
             WHERE w.id IN (SELECT value FROM json_each($1)) ON CONFLICT (template) DO NOTHING",
        )
        .bind(serde_json::json!(templates).to_string())
        .bind(at.as_millis())
        .bind(digest)
        .execute(&mut *transaction)
        .await?;
        self.enqueue_in(&mut transaction, pages).await?;
        transaction.commit().await?;
        Ok(())
    }
}
