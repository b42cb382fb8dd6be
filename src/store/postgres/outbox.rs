//! The outbox: what has to leave, until its sending is recorded.

use sqlx::{PgConnection, query, query_as};

use super::PgStore;
use crate::{
    model::Timestamp,
    store::{
        Epoch, NewOutbox, OutboxItem, Route, StoreError,
        both::ENQUEUE,
        engine::{OutboxRow, outbox, seal_outbox},
    },
};

impl PgStore {
    /// Puts things into the outbox within a transaction that writes what they are about. Gives how many are new.
    pub(in crate::store) async fn enqueue_in(
        &self,
        connection: &mut PgConnection,
        items: &[NewOutbox],
    ) -> Result<u64, StoreError> {
        // One order for all processes, so that two that bring the same keys wait for each other but never in a ring.
        let mut items: Vec<&NewOutbox> = items.iter().collect();
        items.sort_by_key(|item| (item.route, &item.key));
        let mut added = 0;
        for item in items {
            added += query(ENQUEUE)
                .bind(&item.key)
                .bind(item.route.code())
                .bind(&item.target)
                .bind(item.ordered)
                .bind(item.paced)
                .bind(item.created_at.as_millis())
                .bind(item.due_at.as_millis())
                .bind(seal_outbox(&self.keyring, item)?)
                .execute(&mut *connection)
                .await?
                .rows_affected();
        }
        Ok(added)
    }

    pub(in crate::store) async fn claim_outbox(
        &self,
        epoch: Epoch,
        routes: &[Route],
        now: Timestamp,
        claim_millis: i64,
        limit: u32,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        let routes: Vec<i16> = routes.iter().map(|route| route.code()).collect();
        let mut transaction = self.led(epoch).await?;
        let rows: Vec<OutboxRow> = query_as(
            "WITH due AS (SELECT o.id FROM outbox o WHERE o.ended_at IS NULL AND o.route = ANY ($1) \
             AND (CASE WHEN o.state = 2 THEN o.claimed_until ELSE o.due_at END) <= $2 \
             AND NOT (o.ordered AND EXISTS (SELECT 1 FROM outbox e WHERE e.route = o.route AND e.target = o.target \
             AND e.id < o.id AND e.ordered AND e.state IN (1, 2))) \
             ORDER BY o.due_at, o.id LIMIT $4 FOR UPDATE OF o SKIP LOCKED) \
             UPDATE outbox SET possible_repeat = possible_repeat OR state = 2, state = 2, claimed_until = $3, \
             attempts = attempts + 1 FROM due WHERE outbox.id = due.id \
             RETURNING outbox.id, key, route, target, paced, created_at, attempts, possible_repeat, sealed",
        )
        .bind(routes)
        .bind(now.as_millis())
        .bind(now.plus_millis(claim_millis).as_millis())
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        outbox(&self.keyring, rows)
    }
}
