//! Partitions of the journal: a day each for traffic that went well, 32 days each for what is kept long.

use std::sync::PoisonError;

use sqlx::{AssertSqlSafe, query, query_scalar};

use super::{Lock, PgStore, is_lock_timeout, lock};
use crate::{
    model::DAY_MILLIS,
    store::{Epoch, NewEvent, StoreError, engine::kept_long},
};

/// Days in a partition of what is kept long.
const LONG_DAYS: i64 = 32;

const fn width(long: bool) -> i64 {
    if long { LONG_DAYS * DAY_MILLIS } else { DAY_MILLIS }
}

const fn parent(long: bool) -> &'static str {
    if long { "event_long" } else { "event_short" }
}

impl PgStore {
    /// Makes the partitions that the events fall into, where they don't exist yet.
    pub(super) async fn ensure_partitions(&self, events: &[(&str, &NewEvent)]) -> Result<(), StoreError> {
        let mut missing: Vec<(bool, i64)> = {
            let known = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            events
                .iter()
                .map(|(_, event)| {
                    let long = kept_long(event.kind);
                    (long, event.key.at.as_millis().div_euclid(width(long)))
                })
                .filter(|partition| !known.contains(partition))
                .collect()
        };
        missing.sort_unstable();
        missing.dedup();
        for (long, number) in missing {
            self.make_partition(long, number).await?;
            self.partitions.lock().unwrap_or_else(PoisonError::into_inner).insert((long, number));
        }
        Ok(())
    }

    /// Looks anew which partitions there are.
    pub(super) fn forget_partitions(&self) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn make_partition(&self, long: bool, number: i64) -> Result<(), StoreError> {
        let parent = parent(long);
        // A minus sign is no part of a name: days before the epoch get an `m`.
        let name = format!("{parent}_{}", number.to_string().replace('-', "m"));
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction, Lock::Partitions).await?;
        let exists: bool =
            query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(&name).fetch_one(&mut *transaction).await?;
        if !exists {
            let from = number * width(long);
            let to = from + width(long);
            // Built apart and then attached: attaching does not block inserts into other partitions. The unique index is
            // each leaf's own, since the kind of keeping is no part of the key.
            for text in [
                format!("CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS)"),
                format!("CREATE UNIQUE INDEX {name}_key ON {name} (at, hash)"),
                format!("ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"),
            ] {
                query(AssertSqlSafe(text)).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Drops the partitions that end before a time.
    ///
    /// Dropping locks the whole journal: behind whoever reads it, and before whoever writes. It is not waited for; where
    /// somebody reads for long, the rest stays until the next time.
    pub(super) async fn drop_partitions(&self, epoch: Epoch, long: bool, before: i64) -> Result<(), StoreError> {
        let parent = parent(long);
        let names: Vec<String> = query_scalar(
            "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = to_regclass($1) ORDER BY 1",
        )
        .bind(parent)
        .fetch_all(&self.pool)
        .await?;
        for name in names {
            let number = name.strip_prefix(parent).and_then(|rest| rest.strip_prefix('_'));
            let Some(number) = number.and_then(|text| text.replace('m', "-").parse::<i64>().ok()) else { continue };
            if (number + 1).saturating_mul(width(long)) <= before {
                let mut transaction = self.led(epoch).await?;
                lock(&mut transaction, Lock::Partitions).await?;
                query("SET LOCAL lock_timeout = '500ms'").execute(&mut *transaction).await?;
                let drop = format!("DROP TABLE IF EXISTS {name}");
                match query(AssertSqlSafe(drop)).execute(&mut *transaction).await {
                    Ok(_) => transaction.commit().await?,
                    Err(error) if is_lock_timeout(&error) => {
                        tracing::warn!(
                            partition = name,
                            "somebody reads the journal for long: an old day is let go later"
                        );
                        return Ok(());
                    }
                    Err(error) => return Err(error.into()),
                }
                self.partitions.lock().unwrap_or_else(PoisonError::into_inner).remove(&(long, number));
            }
        }
        Ok(())
    }
}
