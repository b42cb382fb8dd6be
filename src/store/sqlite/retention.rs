//! Letting old rows go: what is to go is looked for by the readers, and deleted in small steps.

use sqlx::{query, query_as, query_scalar};

use super::SqliteStore;
use crate::store::{
    Epoch, Position, StoreError,
    both::{Engine, RESET, UNOBSERVE},
    engine::{MONITOR_CURSOR, OUTBOX_KEPT_MILLIS, REBUILD_CURSOR},
    retention::{Cutoffs, Straddlers, WordsRow, words},
};

/// Rows of the journal that one look for words reads.
const LOOK: i64 = 50_000;

impl SqliteStore {
    pub(in crate::store) async fn reset_projections(&self) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        query(
            "INSERT INTO journal_cursor (name, position, row) SELECT $2, position, row FROM journal_cursor WHERE name = $1 \
             ON CONFLICT (name) DO UPDATE SET position = excluded.position, row = excluded.row \
             WHERE (excluded.position, excluded.row) > (position, row)",
        )
        .bind(MONITOR_CURSOR)
        .bind(REBUILD_CURSOR)
        .execute(&mut *transaction)
        .await?;
        query("DELETE FROM journal_cursor WHERE name <> $1").bind(REBUILD_CURSOR).execute(&mut *transaction).await?;
        let sealed: Option<i64> = query_scalar("SELECT max(day) FROM checkpoint").fetch_one(&mut *transaction).await?;
        let from = sealed.map_or(i64::MIN / 86_400_000, |day| day + 1);
        for text in RESET {
            query(text).bind(from).execute(&mut *transaction).await?;
        }
        // What is folded from here on comes marked; what a checkpoint holds is not moved.
        query("UPDATE relay_mark SET folded = 0 WHERE folded").execute(&mut *transaction).await?;
        // Nothing has to be folded for these: of each the last entry stands.
        query(UNOBSERVE).execute(&mut *transaction).await?;
        query(
            "INSERT INTO observed (about, at, body) SELECT body ->> 'about', max(at), body FROM entry WHERE kind = 6 \
             AND body ->> 'about' IS NOT NULL GROUP BY 1 ON CONFLICT (about) DO NOTHING",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn meta_number(&self, key: &str) -> Result<Option<i64>, StoreError> {
        Ok(query_scalar("SELECT CAST(value AS INTEGER) FROM meta WHERE key = $1")
            .bind(key)
            .fetch_optional(&self.readers)
            .await?)
    }

    pub(in crate::store) async fn first_delivery_before(&self, before: i64) -> Result<Option<i64>, StoreError> {
        Ok(query_scalar("SELECT at FROM event WHERE at < $1 AND kind IN (1, 2, 3) ORDER BY at LIMIT 1")
            .bind(before)
            .fetch_optional(&self.readers)
            .await?)
    }

    /// Messages with a delivery in [from, to) and an outcome from `end` on, as far as they are folded.
    pub(in crate::store) async fn straddlers(
        &self,
        from: i64,
        to: i64,
        end: i64,
        folded: Position,
    ) -> Result<Straddlers, StoreError> {
        Ok(query_as(
            "SELECT e.address, e.message, max(f.at) FROM event e CROSS JOIN event f \
             ON f.address = e.address AND f.message = e.message WHERE e.at >= $1 AND e.at < $2 AND e.kind IN (1, 2, 3) \
             AND f.at >= $3 AND f.position <= $4 GROUP BY e.address, e.message",
        )
        .bind(from)
        .bind(to)
        .bind(end)
        .bind(folded.transaction)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn commit_checkpoint(
        &self,
        epoch: Epoch,
        day: i64,
        now: i64,
        first: i64,
        scanned: Position,
        straddlers: &Straddlers,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.led(epoch).await?;
        let folded: Option<i64> = query_scalar("SELECT position FROM journal_cursor WHERE name = $1")
            .bind(MONITOR_CURSOR)
            .fetch_optional(&mut *transaction)
            .await?;
        let folded = folded.unwrap_or(0);
        let unfolded: bool = query_scalar(
            "SELECT EXISTS (SELECT 1 FROM event WHERE position > $1 AND +at < $2 * 86400000 AND kind IN (1, 2, 3))",
        )
        .bind(folded)
        .bind(day)
        .fetch_one(&mut *transaction)
        .await?;
        if unfolded || folded < scanned.transaction {
            return Ok(false);
        }
        query(
            "INSERT INTO sealed_message (address, message, until, day) \
             SELECT value ->> 0, value ->> 1, value ->> 2, $2 FROM json_each($1) WHERE TRUE \
             ON CONFLICT (address, message) DO UPDATE SET until = max(until, excluded.until)",
        )
        .bind(serde_json::json!(straddlers).to_string())
        .bind(day)
        .execute(&mut *transaction)
        .await?;
        // Those that were folded since they were looked for.
        query(
            "INSERT INTO sealed_message (address, message, until, day) SELECT f.address, f.message, max(f.at), $1 \
             FROM event f WHERE f.position > $2 AND f.position <= $3 AND +f.at >= ($1 + 1) * 86400000 \
             AND EXISTS (SELECT 1 FROM event e WHERE e.address = f.address AND e.message = f.message \
             AND +e.at >= $4 AND +e.at < $1 * 86400000 AND e.kind IN (1, 2, 3)) GROUP BY f.address, f.message \
             ON CONFLICT (address, message) DO UPDATE SET until = max(until, excluded.until)",
        )
        .bind(day)
        .bind(scanned.transaction)
        .bind(folded)
        .bind(first)
        .execute(&mut *transaction)
        .await?;
        query("INSERT INTO checkpoint (day, committed_at) VALUES ($1, $2) ON CONFLICT (day) DO NOTHING")
            .bind(day)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    pub(in crate::store) async fn drop_deliveries(&self, epoch: Epoch, before: i64) -> Result<u64, StoreError> {
        let mut gone = 0;
        let mut from = i64::MIN;
        loop {
            let found: Vec<(i64, i64)> = query_as(
                "SELECT position, at FROM event WHERE at >= $1 AND at < $2 AND kind IN (1, 2, 3) ORDER BY at LIMIT $3",
            )
            .bind(from)
            .bind(before)
            .bind(Self::STEP)
            .fetch_all(&self.readers)
            .await?;
            let Some((_, last)) = found.last() else { return Ok(gone) };
            from = *last;
            let positions: Vec<i64> = found.iter().map(|(position, _)| *position).collect();
            let mut transaction = self.led(epoch).await?;
            gone += query("DELETE FROM event WHERE position IN (SELECT value FROM json_each($1))")
                .bind(serde_json::json!(positions).to_string())
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            transaction.commit().await?;
        }
    }

    pub(in crate::store) async fn expire_journal(
        &self,
        epoch: Epoch,
        now: i64,
        refusals: i64,
    ) -> Result<u64, StoreError> {
        let mut gone = 0;
        for (text, limit) in [
            ("DELETE FROM event WHERE position IN (SELECT position FROM event WHERE at < $1 LIMIT $2)", refusals),
            // What is in force stays: settings, who did what, and blind windows that last.
            (
                "DELETE FROM entry WHERE position IN (SELECT position FROM entry e WHERE at < $1 AND kind NOT IN (4, 5) AND NOT (kind = 2 AND e.body ->> 'until' IS NULL AND NOT EXISTS (SELECT 1 FROM entry c \
                 WHERE c.at = e.at AND c.kind = 2 AND c.body ->> 'until' IS NOT NULL \
                 AND c.body ->> 'watched' = e.body ->> 'watched')) LIMIT $2)",
                refusals,
            ),
            ("DELETE FROM set_aside WHERE id IN (SELECT id FROM set_aside WHERE expires_at < $1 LIMIT $2)", now),
            (
                "DELETE FROM import_file WHERE id IN (SELECT id FROM import_file WHERE updated_at < $1 LIMIT $2)",
                refusals,
            ),
            (
                "DELETE FROM one_time_token WHERE hash IN \
                 (SELECT hash FROM one_time_token WHERE expires_at < $1 LIMIT $2)",
                now,
            ),
            (
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE ended_at < $1 LIMIT $2)",
                now - OUTBOX_KEPT_MILLIS,
            ),
        ] {
            gone += self.in_steps(epoch, text, limit).await?;
        }
        Ok(gone)
    }

    pub(in crate::store) async fn expire_control(&self, epoch: Epoch, before: i64) -> Result<u64, StoreError> {
        self.in_steps(
            epoch,
            "DELETE FROM control_seen WHERE (at, hash) IN (SELECT at, hash FROM control_seen WHERE at < $1 LIMIT $2)",
            before,
        )
        .await
    }

    pub(in crate::store) async fn expire_projections(&self, epoch: Epoch, cutoffs: Cutoffs) -> Result<u64, StoreError> {
        let mut gone = 0;
        // Streams are few beside their bins; each one's old bins lie side by side.
        for (streams, text, limit) in [
            (
                "SELECT DISTINCT stream FROM cell",
                "DELETE FROM cell WHERE (stream, bin, destination) IN \
                 (SELECT stream, bin, destination FROM cell WHERE stream = $3 AND bin < $1 LIMIT $2)",
                cutoffs.cells,
            ),
            (
                "SELECT DISTINCT stream FROM control_cell",
                "DELETE FROM control_cell WHERE (stream, bin) IN \
                 (SELECT stream, bin FROM control_cell WHERE stream = $3 AND bin < $1 LIMIT $2)",
                cutoffs.control,
            ),
            (
                "SELECT DISTINCT stream FROM refused",
                "DELETE FROM refused WHERE (stream, bin, address) IN \
                 (SELECT stream, bin, address FROM refused WHERE stream = $3 AND bin < $1 LIMIT $2)",
                cutoffs.refused,
            ),
        ] {
            let streams: Vec<i32> = query_scalar(streams).fetch_all(&self.readers).await?;
            for stream in streams {
                loop {
                    let mut transaction = self.led(epoch).await?;
                    let statement = query(text).bind(limit).bind(Self::STEP).bind(stream);
                    let step = statement.execute(&mut *transaction).await?.rows_affected();
                    transaction.commit().await?;
                    gone += step;
                    if step == 0 {
                        break;
                    }
                }
            }
        }
        gone += self
            .in_steps(
                epoch,
                "DELETE FROM day_total WHERE (day, stream) IN (SELECT day, stream FROM day_total WHERE day < $1 LIMIT $2)",
                cutoffs.days,
            )
            .await?;
        gone += self
            .in_steps(
                epoch,
                "DELETE FROM feed_hour WHERE (feed, hour, exposure) IN \
                 (SELECT feed, hour, exposure FROM feed_hour WHERE hour < $1 * 24 LIMIT $2)",
                cutoffs.days,
            )
            .await?;
        gone += self
            .in_steps(
                epoch,
                "DELETE FROM latest_notice WHERE (id, account, kind) IN (SELECT id, account, kind FROM latest_notice l \
                 WHERE at < $1 AND NOT EXISTS (SELECT 1 FROM account a WHERE a.id = l.id) \
                 AND NOT EXISTS (SELECT 1 FROM address a WHERE a.id = l.id) LIMIT $2)",
                cutoffs.notices,
            )
            .await?;
        gone += self
            .in_steps(
                epoch,
                "DELETE FROM sealed_message WHERE (address, message) IN (SELECT address, message FROM sealed_message \
                 WHERE until < (SELECT max(day) * 86400000 FROM checkpoint) AND $1 = $1 LIMIT $2)",
                0,
            )
            .await?;
        gone += self
            .in_steps(
                epoch,
                "DELETE FROM checkpoint WHERE day IN (SELECT day FROM checkpoint WHERE day < $1 \
                 AND day < (SELECT max(day) FROM checkpoint) LIMIT $2)",
                cutoffs.days,
            )
            .await?;
        Ok(gone)
    }

    /// Words that a stretch of the journal refers to, and where the next one begins.
    pub(in crate::store) async fn words_of_events(
        &self,
        after: Option<i64>,
    ) -> Result<Option<(Vec<i32>, i64)>, StoreError> {
        let after = after.unwrap_or(0);
        let end: i64 = query_scalar("SELECT COALESCE(max(position), 0) FROM event").fetch_one(&self.readers).await?;
        if after >= end {
            return Ok(None);
        }
        let rows: Vec<WordsRow> = query_as(
            "SELECT DISTINCT stream, label, template, rule FROM event WHERE position > $1 AND position <= $1 + $2",
        )
        .bind(after)
        .bind(LOOK)
        .fetch_all(&self.readers)
        .await?;
        Ok(Some((words(&rows), after + LOOK)))
    }

    pub(in crate::store) async fn word_marks(&self, after: i32) -> Result<Vec<(i32, Option<i64>)>, StoreError> {
        Ok(query_as(
            "SELECT id, unused_since FROM word WHERE id > $1 AND id < (SELECT max(id) FROM word) ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(Self::STEP)
        .fetch_all(&self.readers)
        .await?)
    }

    pub(in crate::store) async fn mark_words(
        &self,
        epoch: Epoch,
        fresh: &[i32],
        back: &[i32],
        now: i64,
    ) -> Result<(), StoreError> {
        for (ids, since) in [(fresh, Some(now)), (back, None)] {
            if !ids.is_empty() {
                let mut transaction = self.led(epoch).await?;
                query("UPDATE word SET unused_since = $2 WHERE id IN (SELECT value FROM json_each($1))")
                    .bind(serde_json::json!(ids).to_string())
                    .bind(since)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    pub(in crate::store) async fn drop_words(&self, epoch: Epoch, ids: &[i32], before: i64) -> Result<u64, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let ids = serde_json::json!(ids).to_string();
        let mut transaction = self.led(epoch).await?;
        query(
            "DELETE FROM template_sample WHERE template IN (SELECT id FROM word WHERE unused_since < $2 \
             AND id IN (SELECT value FROM json_each($1)))",
        )
        .bind(&ids)
        .bind(before)
        .execute(&mut *transaction)
        .await?;
        let gone = query("DELETE FROM word WHERE unused_since < $2 AND id IN (SELECT value FROM json_each($1))")
            .bind(&ids)
            .bind(before)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        transaction.commit().await?;
        Ok(gone)
    }

    /// Lets every commit and look-up from here on ask for the numbers of words again.
    pub(in crate::store) async fn announce_sweep(&self, epoch: Epoch) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        let count: i64 = query_scalar(
            "INSERT INTO meta (key, value) VALUES ('sweeps', '1') \
             ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1 RETURNING CAST(value AS INTEGER)",
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.caches.see_sweeps(count);
        Ok(())
    }
}
