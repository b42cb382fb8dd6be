//! Replies in words that no rule knows.

use sqlx::{query, query_as};

use super::PgStore;
use crate::{
    model::{EventKind, FailureClass, Timestamp},
    store::{
        Epoch, FoundWords, NewOutbox, NewWordsFilter, StoreError,
        new_words::{NewWordsRow, found_words, new_words_statement},
    },
};

impl PgStore {
    pub(in crate::store) async fn new_words(
        &self,
        filter: &NewWordsFilter,
        limit: u32,
    ) -> Result<FoundWords, StoreError> {
        let rows: Vec<NewWordsRow> = query_as(new_words_statement!("= ANY ($1)", "= ANY ($4)"))
            .bind(&filter.rules)
            .bind(EventKind::Refused.code())
            .bind(EventKind::Deferred.code())
            .bind(filter.pairs())
            .bind(filter.untold_first)
            .bind(i64::from(limit))
            .bind(FailureClass::Unknown.code())
            .fetch_all(&self.pool)
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
