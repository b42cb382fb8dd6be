//! New verdicts for stored replies.

use std::collections::BTreeMap;

use sqlx::{query, query_as, query_scalar};

use super::SqliteStore;
use crate::{
    model::{EventKind, FailureClass},
    store::{
        NewVerdict, ReplyKey, StoreError, Stretch, WordKind,
        batch::Numbers,
        both::Engine,
        relabel::{tally, tells_ledger},
    },
};

/// Rows of `event` that belong to a key of the list `$3`, with the key's place in the list. Without the
/// casts SQLite makes no index of the list by these columns, and looks through it for each row.
macro_rules! of_keys {
    ($columns:literal) => {
        concat!(
            "WITH k AS MATERIALIZED (SELECT key AS n, CAST(value ->> 0 AS INTEGER) AS stream, \
             CAST(value ->> 1 AS INTEGER) AS destination, CAST(value ->> 2 AS INTEGER) AS mx, \
             CAST(value ->> 3 AS INTEGER) AS template, CAST(value ->> 4 AS INTEGER) AS cause, \
             CAST(value ->> 5 AS INTEGER) AS rule, CAST(value ->> 6 AS INTEGER) AS confidence, \
             CAST(value ->> 7 AS INTEGER) AS label FROM json_each($3)) SELECT ",
            $columns,
            " FROM event e CROSS JOIN k ON k.template = e.template AND k.stream = e.stream \
             AND k.destination = e.destination AND k.mx = COALESCE(e.mx, 0) AND k.cause = e.cause AND k.rule = e.rule \
             AND k.confidence = COALESCE(e.confidence, 0) \
             AND k.label = COALESCE(e.label, 0) WHERE e.position > $1 AND e.position <= $2 \
             AND e.template IS NOT NULL"
        )
    };
}

fn list<'a>(keys: impl Iterator<Item = &'a ReplyKey>) -> String {
    let row = |key: &ReplyKey| {
        serde_json::json!([
            key.stream,
            key.destination.code(),
            key.mx.code(),
            key.template,
            key.cause.code(),
            key.rule,
            key.confidence,
            key.label.unwrap_or(0)
        ])
    };
    serde_json::Value::Array(keys.map(row).collect()).to_string()
}

impl SqliteStore {
    pub(in crate::store) async fn reply_stretch(
        &self,
        after: Option<i64>,
        rows: u32,
    ) -> Result<Option<Stretch>, StoreError> {
        let from = after.unwrap_or(0);
        let to: Option<i64> = query_scalar(
            "SELECT max(position) FROM (SELECT position FROM event WHERE position > $1 ORDER BY position LIMIT $2)",
        )
        .bind(from)
        .bind(rows)
        .fetch_one(&self.readers)
        .await?;
        Ok(to.map(|to| Stretch { from, to }))
    }

    pub(in crate::store) async fn reply_addresses(
        &self,
        stretch: Stretch,
        keys: &[ReplyKey],
        limit: u32,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        Ok(query_as(concat!(of_keys!("DISTINCT k.n, e.address"), " LIMIT $4"))
            .bind(stretch.from)
            .bind(stretch.to)
            .bind(list(keys.iter()))
            .bind(limit)
            .fetch_all(&self.readers)
            .await?)
    }

    pub(in crate::store) async fn relabel(
        &self,
        stretch: Stretch,
        changes: &[NewVerdict],
    ) -> Result<(u64, bool), StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let found: Vec<(i64, i64, i64, i64, i16, i16)> =
            query_as(concat!(of_keys!("k.n, e.position, e.address, e.at, e.kind, e.class"), " LIMIT $4"))
                .bind(stretch.from)
                .bind(stretch.to)
                .bind(list(changes.iter().map(|change| &change.of)))
                .bind(Self::STEP)
                .fetch_all(&mut *transaction)
                .await?;
        let change_of = |n: i64| usize::try_from(n).ok().and_then(|n| changes.get(n));
        let mut rows: BTreeMap<(i16, &str, u8), Vec<i64>> = BTreeMap::new();
        for (n, position, ..) in &found {
            if let Some(change) = change_of(*n) {
                let verdict = (change.cause.code(), change.rule.as_str(), change.confidence);
                rows.entry(verdict).or_default().push(*position);
            }
        }
        let mut numbers = Numbers::default();
        for ((cause, rule, confidence), positions) in &rows {
            self.number_word(&mut transaction, WordKind::Rule, rule, &mut numbers).await?;
            query(
                "UPDATE event SET cause = $2, rule = $3, confidence = $4 \
                 WHERE position IN (SELECT value FROM json_each($1))",
            )
            .bind(serde_json::json!(positions).to_string())
            .bind(*cause)
            .bind(numbers.word(WordKind::Rule, rule)?)
            .bind(*confidence)
            .execute(&mut *transaction)
            .await?;
        }
        let told = found.iter().filter(|(.., kind, class)| tells_ledger(*kind, *class));
        let told: Vec<(i64, i64)> = told.map(|(_, _, address, at, ..)| (*address, *at)).collect();
        // As the ledger is merged: at one millisecond the cause with the highest number stands.
        query(
            "UPDATE ledger SET last_cause = (SELECT max(e.cause) FROM event e WHERE e.address = ledger.address \
             AND +e.at = ledger.last_refused_at AND e.kind = $2 AND e.class = $3) \
             WHERE address IN (SELECT value ->> 0 FROM json_each($1)) \
             AND (address, last_refused_at) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))",
        )
        .bind(serde_json::json!(told).to_string())
        .bind(EventKind::Refused.code())
        .bind(FailureClass::Permanent.code())
        .execute(&mut *transaction)
        .await?;
        let given = found.iter().filter_map(|(n, ..)| change_of(*n));
        Self::count_relabelled(&mut transaction, &tally(given)).await?;
        transaction.commit().await?;
        self.caches.keep_words(numbers.words);
        let all = i64::try_from(found.len()).is_ok_and(|found| found < Self::STEP);
        Ok((found.len() as u64, all))
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    /// Else a step with many templates reads its list anew for each row of the journal.
    #[tokio::test]
    async fn the_replies_of_a_step_are_found_by_an_index_of_the_list() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("SQLite");
        super::super::MIGRATIONS.run(&mut connection).await.expect("the tables");
        let plan: Vec<(i64, i64, i64, String)> = query_as(concat!("EXPLAIN QUERY PLAN ", of_keys!("k.n, e.position")))
            .bind(0)
            .bind(10)
            .bind("[]")
            .fetch_all(&mut connection)
            .await
            .expect("a plan");
        assert!(plan.iter().any(|(.., step)| step.contains("INDEX (template=? AND stream=?")), "{plan:?}");
    }
}
