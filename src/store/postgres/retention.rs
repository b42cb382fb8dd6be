//! Letting old rows go, in small steps: a long transaction would hold up every reader of the journal.

use sqlx::{query, query_as, query_scalar};

use super::PgStore;
use crate::{
    model::DAY_MILLIS,
    store::{
        Epoch, Position, StoreError,
        both::{Engine, RESET, UNOBSERVE},
        engine::{MONITOR_CURSOR, OUTBOX_KEPT_MILLIS, REBUILD_CURSOR},
        retention::{Cutoffs, Straddlers, WordsRow, words},
    },
};

/// Time of the journal that one look for words reads.
const LOOK_MILLIS: i64 = DAY_MILLIS / 4;

impl PgStore {
    pub(in crate::store) async fn reset_projections(&self) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        query("SELECT FROM journal_cursor WHERE name = $1 FOR UPDATE")
            .bind(MONITOR_CURSOR)
            .fetch_optional(&mut *transaction)
            .await?;
        query(
            "INSERT INTO journal_cursor AS c (name, position, row) \
             SELECT $2, position, row FROM journal_cursor WHERE name = $1 \
             ON CONFLICT (name) DO UPDATE SET position = excluded.position, row = excluded.row \
             WHERE (excluded.position, excluded.row) > (c.position, c.row)",
        )
        .bind(MONITOR_CURSOR)
        .bind(REBUILD_CURSOR)
        .execute(&mut *transaction)
        .await?;
        query("DELETE FROM journal_cursor WHERE name <> $1").bind(REBUILD_CURSOR).execute(&mut *transaction).await?;
        let sealed: Option<i64> =
            query_scalar("SELECT max(day)::bigint FROM checkpoint").fetch_one(&mut *transaction).await?;
        if let Some(day) = sealed {
            for text in RESET {
                query(text).bind(day + 1).execute(&mut *transaction).await?;
            }
        } else {
            query("TRUNCATE cell, refused, day_total, feed_hour, ledger").execute(&mut *transaction).await?;
        }
        // What is folded from here on comes marked; what a checkpoint holds is not moved.
        query("UPDATE relay_mark SET folded = FALSE WHERE folded").execute(&mut *transaction).await?;
        // Nothing has to be folded for these: of each the last entry stands.
        query(UNOBSERVE).execute(&mut *transaction).await?;
        query(
            "INSERT INTO observed (about, at, body) SELECT DISTINCT ON (1) body::json ->> 'about', at, body FROM entry \
             WHERE kind = 6 AND body::json ->> 'about' IS NOT NULL ORDER BY 1, at DESC, position DESC, row DESC \
             ON CONFLICT (about) DO NOTHING",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn meta_number(&self, key: &str) -> Result<Option<i64>, StoreError> {
        Ok(query_scalar("SELECT value::bigint FROM meta WHERE key = $1").bind(key).fetch_optional(&self.pool).await?)
    }

    pub(in crate::store) async fn first_delivery_before(&self, before: i64) -> Result<Option<i64>, StoreError> {
        Ok(query_scalar("SELECT min(at) FROM event WHERE NOT kept_long AND at < $1")
            .bind(before)
            .fetch_one(&self.pool)
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
            "SELECT e.address, e.message, max(f.at) FROM event e JOIN event f \
             ON f.address = e.address AND f.message = e.message WHERE e.at >= $1 AND e.at < $2 AND NOT e.kept_long \
             AND f.at >= $3 AND (f.position, f.row) <= ($4, $5) GROUP BY e.address, e.message",
        )
        .bind(from)
        .bind(to)
        .bind(end)
        .bind(folded.transaction)
        .bind(folded.row)
        .fetch_all(&self.pool)
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
        // The monitor's next step waits, and sees the checkpoint then.
        let folded: Option<(i64, i32)> =
            query_as("SELECT position, row FROM journal_cursor WHERE name = $1 FOR UPDATE")
                .bind(MONITOR_CURSOR)
                .fetch_optional(&mut *transaction)
                .await?;
        let folded = folded.map_or(Position::START, |(transaction, row)| Position { transaction, row });
        let unfolded: bool = query_scalar(
            "SELECT EXISTS (SELECT FROM event WHERE (position, row) > ($1, $2) AND NOT kept_long AND at < $3 * 86400000)",
        )
        .bind(folded.transaction)
        .bind(folded.row)
        .bind(day)
        .fetch_one(&mut *transaction)
        .await?;
        if unfolded || folded < scanned {
            return Ok(false);
        }
        let column = |read: fn(&(i64, i64, i64)) -> i64| -> Vec<i64> { straddlers.iter().map(read).collect() };
        query(
            "INSERT INTO sealed_message AS s (address, message, until, day) \
             SELECT a, m, u, $4::integer FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (a, m, u) \
             ON CONFLICT (address, message) DO UPDATE SET until = greatest(s.until, excluded.until)",
        )
        .bind(column(|of| of.0))
        .bind(column(|of| of.1))
        .bind(column(|of| of.2))
        .bind(i32::try_from(day).unwrap_or(i32::MAX))
        .execute(&mut *transaction)
        .await?;
        // Those that were folded since they were looked for.
        query(
            "INSERT INTO sealed_message AS s (address, message, until, day) \
             SELECT f.address, f.message, max(f.at), $1::integer FROM event f \
             WHERE f.position >= $2 AND (f.position, f.row) > ($2, $3) AND (f.position, f.row) <= ($4, $5) \
             AND f.at >= ($1 + 1) * 86400000::bigint AND EXISTS (SELECT FROM event e WHERE e.address = f.address \
             AND e.message = f.message AND e.at >= $6 AND e.at < $1 * 86400000::bigint AND NOT e.kept_long) \
             GROUP BY f.address, f.message \
             ON CONFLICT (address, message) DO UPDATE SET until = greatest(s.until, excluded.until)",
        )
        .bind(day)
        .bind(scanned.transaction)
        .bind(scanned.row)
        .bind(folded.transaction)
        .bind(folded.row)
        .bind(first)
        .execute(&mut *transaction)
        .await?;
        query("INSERT INTO checkpoint (day, committed_at) VALUES ($1, $2) ON CONFLICT (day) DO NOTHING")
            .bind(i32::try_from(day).unwrap_or(i32::MAX))
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    pub(in crate::store) async fn drop_deliveries(&self, epoch: Epoch, before: i64) -> Result<u64, StoreError> {
        self.drop_partitions(epoch, false, before).await?;
        Ok(0)
    }

    pub(in crate::store) async fn expire_control(&self, epoch: Epoch, before: i64) -> Result<u64, StoreError> {
        self.in_steps(
            epoch,
            "DELETE FROM control_seen WHERE ctid = ANY (ARRAY(SELECT ctid FROM control_seen WHERE at < $1 LIMIT $2))",
            before,
        )
        .await
    }

    pub(in crate::store) async fn expire_journal(
        &self,
        epoch: Epoch,
        now: i64,
        refusals: i64,
    ) -> Result<u64, StoreError> {
        self.drop_partitions(epoch, true, refusals).await?;
        let mut gone = 0;
        for (text, limit) in [
            // What is in force stays: settings, who did what, and blind windows that last.
            (
                "DELETE FROM entry WHERE ctid = ANY (ARRAY(SELECT ctid FROM entry e WHERE at < $1 AND kind NOT IN (4, 5) AND NOT (kind = 2 AND body::json ->> 'until' IS NULL AND NOT EXISTS (SELECT FROM entry c \
                 WHERE c.at = e.at AND c.kind = 2 AND c.body::json ->> 'until' IS NOT NULL \
                 AND c.body::json ->> 'watched' = e.body::json ->> 'watched')) LIMIT $2))",
                refusals,
            ),
            (
                "DELETE FROM set_aside WHERE ctid = ANY (ARRAY(SELECT ctid FROM set_aside WHERE expires_at < $1 LIMIT $2))",
                now,
            ),
            (
                "DELETE FROM one_time_token WHERE ctid = ANY \
                 (ARRAY(SELECT ctid FROM one_time_token WHERE expires_at < $1 LIMIT $2))",
                now,
            ),
            (
                "DELETE FROM import_file WHERE id IN (SELECT id FROM import_file WHERE updated_at < $1 LIMIT $2)",
                refusals,
            ),
            (
                "DELETE FROM outbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox WHERE ended_at < $1 LIMIT $2))",
                now - OUTBOX_KEPT_MILLIS,
            ),
        ] {
            gone += self.in_steps(epoch, text, limit).await?;
        }
        Ok(gone)
    }

    pub(in crate::store) async fn expire_projections(&self, epoch: Epoch, cutoffs: Cutoffs) -> Result<u64, StoreError> {
        let mut gone = 0;
        for (text, limit) in [
            ("DELETE FROM cell WHERE ctid = ANY (ARRAY(SELECT ctid FROM cell WHERE bin < $1 LIMIT $2))", cutoffs.cells),
            (
                "DELETE FROM control_cell WHERE ctid = ANY (ARRAY(SELECT ctid FROM control_cell WHERE bin < $1 LIMIT $2))",
                cutoffs.control,
            ),
            (
                "DELETE FROM refused WHERE ctid = ANY (ARRAY(SELECT ctid FROM refused WHERE bin < $1 LIMIT $2))",
                cutoffs.refused,
            ),
            (
                "DELETE FROM day_total WHERE ctid = ANY (ARRAY(SELECT ctid FROM day_total WHERE day < $1 LIMIT $2))",
                cutoffs.days,
            ),
            (
                "DELETE FROM feed_hour WHERE ctid = ANY (ARRAY(SELECT ctid FROM feed_hour WHERE hour < $1 * 24 LIMIT $2))",
                cutoffs.days,
            ),
            (
                "DELETE FROM latest_notice WHERE ctid = ANY (ARRAY(SELECT ctid FROM latest_notice l WHERE at < $1 \
                 AND NOT EXISTS (SELECT FROM account a WHERE a.id = l.id) \
                 AND NOT EXISTS (SELECT FROM address a WHERE a.id = l.id) LIMIT $2))",
                cutoffs.notices,
            ),
            (
                "DELETE FROM sealed_message WHERE ctid = ANY (ARRAY(SELECT ctid FROM sealed_message \
                 WHERE until < (SELECT max(day) * 86400000::bigint FROM checkpoint) AND $1::bigint = 0 LIMIT $2))",
                0,
            ),
            (
                "DELETE FROM checkpoint WHERE ctid = ANY (ARRAY(SELECT ctid FROM checkpoint WHERE day < $1 \
                 AND day < (SELECT max(day) FROM checkpoint) LIMIT $2))",
                cutoffs.days,
            ),
        ] {
            gone += self.in_steps(epoch, text, limit).await?;
        }
        Ok(gone)
    }

    /// Words that a stretch of the journal refers to, and where the next one begins.
    pub(in crate::store) async fn words_of_events(
        &self,
        after: Option<i64>,
    ) -> Result<Option<(Vec<i32>, i64)>, StoreError> {
        // The next stretch begins where there is something: years may lie between.
        let from: Option<i64> = query_scalar("SELECT min(at) FROM event WHERE at >= $1")
            .bind(after.unwrap_or(i64::MIN))
            .fetch_one(&self.pool)
            .await?;
        let Some(from) = from else { return Ok(None) };
        let to = from.saturating_add(LOOK_MILLIS);
        let rows: Vec<WordsRow> =
            query_as("SELECT DISTINCT stream, label, template, rule FROM event WHERE at >= $1 AND at < $2")
                .bind(from)
                .bind(to)
                .fetch_all(&self.pool)
                .await?;
        Ok(Some((words(&rows), to)))
    }

    pub(in crate::store) async fn word_marks(&self, after: i32) -> Result<Vec<(i32, Option<i64>)>, StoreError> {
        Ok(query_as("SELECT id, unused_since FROM word WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(Self::STEP)
            .fetch_all(&self.pool)
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
                query("UPDATE word SET unused_since = $2 WHERE id = ANY ($1)")
                    .bind(ids)
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
        let mut transaction = self.led(epoch).await?;
        // Locked first, so that nobody takes one of them up again in between.
        let ids: Vec<i32> =
            query_scalar("SELECT id FROM word WHERE id = ANY ($1) AND unused_since < $2 ORDER BY id FOR UPDATE")
                .bind(ids)
                .bind(before)
                .fetch_all(&mut *transaction)
                .await?;
        query("DELETE FROM template_sample WHERE template = ANY ($1)").bind(&ids).execute(&mut *transaction).await?;
        let gone =
            query("DELETE FROM word WHERE id = ANY ($1)").bind(&ids).execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(gone)
    }

    /// Lets every commit and look-up from here on ask for the numbers of words again.
    pub(in crate::store) async fn announce_sweep(&self, epoch: Epoch) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        query(
            "INSERT INTO meta AS m (key, value) VALUES ('sweeps', '1') \
             ON CONFLICT (key) DO UPDATE SET value = (m.value::bigint + 1)::text",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}
