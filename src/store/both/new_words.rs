//! Which words that no rule knows were announced.

use sqlx::query_as;

use super::{Engine, on_both};
use crate::store::StoreError;

on_both! {
    pub(in crate::store) async fn new_words_told(&self) -> Result<(Option<i64>, Option<i64>), StoreError> {
        Ok(query_as(
            "SELECT max(CASE WHEN digest THEN at END), max(CASE WHEN NOT digest THEN at END) FROM new_words_told",
        )
        .fetch_one(self.reading())
        .await?)
    }
}
