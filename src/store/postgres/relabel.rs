//! New verdicts for stored replies.

use sqlx::{query, query_as};

use super::{Lock, PgStore, lock};
use crate::{
    model::{EventKind, FailureClass},
    store::{
        NewVerdict, ReplyKey, StoreError, Stretch,
        both::Engine,
        engine::MONITOR_CURSOR,
        hash::Hash16,
        relabel::{tally, tells_ledger},
    },
};

/// Rows of `event` that belong to a key of the lists `$3` to `$10`, with the key's place in them, counted from one.
macro_rules! of_keys {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM event e JOIN unnest($3::integer[], $4::smallint[], $5::smallint[], $6::integer[], $7::smallint[], \
             $8::integer[], $9::smallint[], $10::integer[]) WITH ORDINALITY \
             AS k (stream, destination, mx, template, cause, rule, confidence, label, n) \
             ON k.template = e.template AND k.stream = e.stream AND k.destination = e.destination \
             AND k.mx = COALESCE(e.mx, 0::smallint) AND k.cause = e.cause AND k.rule = e.rule \
             AND k.confidence = COALESCE(e.confidence, 0::smallint) \
             AND k.label = COALESCE(e.label, 0) WHERE e.at >= $1 AND e.at < $2 \
             AND e.template IS NOT NULL"
        )
    };
}

/// Keys, column by column.
#[derive(Default)]
struct Keys {
    stream: Vec<i32>,
    destination: Vec<i16>,
    mx: Vec<i16>,
    template: Vec<i32>,
    cause: Vec<i16>,
    rule: Vec<i32>,
    confidence: Vec<i16>,
    /// Zero where there is none: words are numbered from one.
    label: Vec<i32>,
}

impl Keys {
    fn of<'a>(keys: impl Iterator<Item = &'a ReplyKey>) -> Self {
        let mut columns = Self::default();
        for key in keys {
            columns.stream.push(key.stream);
            columns.destination.push(key.destination.code());
            columns.mx.push(key.mx.code());
            columns.template.push(key.template);
            columns.cause.push(key.cause.code());
            columns.rule.push(key.rule);
            columns.confidence.push(i16::from(key.confidence));
            columns.label.push(key.label.unwrap_or(0));
        }
        columns
    }
}

/// Binds a stretch and keys.
macro_rules! bound {
    ($query:expr, $stretch:expr, $keys:expr) => {{
        let (stretch, keys) = ($stretch, $keys);
        $query
            .bind(stretch.from)
            .bind(stretch.to)
            .bind(keys.stream)
            .bind(keys.destination)
            .bind(keys.mx)
            .bind(keys.template)
            .bind(keys.cause)
            .bind(keys.rule)
            .bind(keys.confidence)
            .bind(keys.label)
    }};
}

/// One row that gets a new verdict: the key's place from one, time, hash, address, kind, class.
type FoundRow = (i64, i64, Hash16, i64, i16, i16);

impl PgStore {
    pub(in crate::store) async fn reply_stretch(
        &self,
        after: Option<i64>,
        rows: u32,
    ) -> Result<Option<Stretch>, StoreError> {
        let (from, last, found): (Option<i64>, Option<i64>, i64) = query_as(
            "SELECT min(at), max(at), count(*) FROM (SELECT at FROM event WHERE at >= $1 ORDER BY at LIMIT $2) AS looked",
        )
        .bind(after.unwrap_or(i64::MIN))
        .bind(i64::from(rows))
        .fetch_one(&self.pool)
        .await?;
        // Of the last millisecond a full stretch may have a part: the next one begins with it. One millisecond stays whole.
        let stretch = from.zip(last).map(|(from, last)| Stretch {
            from,
            to: if found < i64::from(rows) { last.saturating_add(1) } else { last.max(from.saturating_add(1)) },
        });
        Ok(stretch)
    }

    pub(in crate::store) async fn reply_addresses(
        &self,
        stretch: Stretch,
        keys: &[ReplyKey],
        limit: u32,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let statement = query_as(concat!(of_keys!("DISTINCT k.n - 1, e.address"), " LIMIT $11"));
        Ok(bound!(statement, stretch, Keys::of(keys.iter())).bind(i64::from(limit)).fetch_all(&self.pool).await?)
    }

    pub(in crate::store) async fn relabel(
        &self,
        stretch: Stretch,
        changes: &[NewVerdict],
    ) -> Result<(u64, bool), StoreError> {
        let rules = self.rule_ids(changes.iter().map(|change| change.rule.as_str())).await?;
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction, Lock::Relabel).await?;
        // The monitor's next step waits: it has the ledger's rows in its hands too.
        query("SELECT FROM journal_cursor WHERE name = $1 FOR UPDATE")
            .bind(MONITOR_CURSOR)
            .fetch_optional(&mut *transaction)
            .await?;
        let statement =
            query_as(concat!(of_keys!("k.n, e.at, e.hash, e.address, e.kind, e.class"), " LIMIT $11 FOR UPDATE OF e"));
        let keys = Keys::of(changes.iter().map(|change| &change.of));
        let found: Vec<FoundRow> =
            bound!(statement, stretch, keys).bind(Self::STEP).fetch_all(&mut *transaction).await?;
        let change_of = |n: i64| usize::try_from(n - 1).ok().and_then(|n| changes.get(n).zip(rules.get(n)));
        let found: Vec<(&FoundRow, (&NewVerdict, &i32))> =
            found.iter().filter_map(|row| Some((row, change_of(row.0)?))).collect();
        query(
            "UPDATE event e SET cause = c.cause, rule = c.rule, confidence = c.confidence \
             FROM unnest($3::bigint[], $4::uuid[], $5::smallint[], $6::integer[], $7::smallint[]) \
             AS c (at, hash, cause, rule, confidence) \
             WHERE e.at = c.at AND e.hash = c.hash AND e.at >= $1 AND e.at < $2 AND e.template IS NOT NULL",
        )
        .bind(stretch.from)
        .bind(stretch.to)
        .bind(found.iter().map(|(row, _)| row.1).collect::<Vec<_>>())
        .bind(found.iter().map(|(row, _)| row.2).collect::<Vec<_>>())
        .bind(found.iter().map(|(_, (change, _))| change.cause.code()).collect::<Vec<_>>())
        .bind(found.iter().map(|(_, (_, rule))| **rule).collect::<Vec<_>>())
        .bind(found.iter().map(|(_, (change, _))| i16::from(change.confidence)).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        let mut told: Vec<(i64, i64)> = found
            .iter()
            .filter(|((.., kind, class), _)| tells_ledger(*kind, *class))
            .map(|((_, at, _, address, ..), _)| (*address, *at))
            .collect();
        told.sort_unstable();
        told.dedup();
        // As the ledger is merged: at one millisecond the cause with the highest number stands.
        query(
            "UPDATE ledger l SET last_cause = (SELECT max(e.cause) FROM event e WHERE e.address = l.address \
             AND e.at = l.last_refused_at AND e.kind = $3 AND e.class = $4) \
             FROM unnest($1::bigint[], $2::bigint[]) AS t (address, at) \
             WHERE l.address = t.address AND l.last_refused_at = t.at",
        )
        .bind(told.iter().map(|(address, _)| *address).collect::<Vec<_>>())
        .bind(told.iter().map(|(_, at)| *at).collect::<Vec<_>>())
        .bind(EventKind::Refused.code())
        .bind(FailureClass::Permanent.code())
        .execute(&mut *transaction)
        .await?;
        let given = found.iter().map(|(_, (change, _))| *change);
        Self::count_relabelled(&mut transaction, &tally(given)).await?;
        transaction.commit().await?;
        let all = i64::try_from(found.len()).is_ok_and(|found| found < Self::STEP);
        Ok((found.len() as u64, all))
    }
}
