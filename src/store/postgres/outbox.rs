//! The outbox: what has to leave, until its sending is recorded.

use sqlx::{PgConnection, query, query_as, query_scalar};

use super::PgStore;
use crate::{
    model::Timestamp,
    store::{
        Epoch, NewOutbox, OutboxDepth, OutboxFailure, OutboxItem, OutboxState, Route, StoreError,
        engine::{OutboxRow, outbox, outbox_error, seal_outbox},
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
            added += query(
                "INSERT INTO outbox (key, route, target, ordered, paced, created_at, due_at, state, sealed) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8) ON CONFLICT (route, key) DO NOTHING",
            )
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

    pub(in crate::store) async fn enqueue(&self, epoch: Epoch, items: &[NewOutbox]) -> Result<u64, StoreError> {
        let mut transaction = self.led(epoch).await?;
        let added = self.enqueue_in(&mut transaction, items).await?;
        transaction.commit().await?;
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

    pub(in crate::store) async fn claim_holds(
        &self,
        epoch: Epoch,
        item: &OutboxItem,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.led(epoch).await?;
        let holds = query_scalar(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE id = $1 AND attempts = $2 AND state = 2 AND claimed_until > $3)",
        )
        .bind(item.id)
        .bind(item.attempts)
        .bind(now.as_millis())
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(holds)
    }

    pub(in crate::store) async fn outbox_sent(
        &self,
        epoch: Epoch,
        item: &OutboxItem,
        now: Timestamp,
        receipt: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        query(
            "UPDATE outbox SET state = 3, ended_at = $2, receipt = $3, claimed_until = NULL, sealed = NULL, \
             last_error = NULL WHERE id = $1 AND state <> 3",
        )
        .bind(item.id)
        .bind(now.as_millis())
        .bind(receipt)
        .execute(&mut *transaction)
        .await?;
        supersede(&mut transaction, item, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn outbox_failed(
        &self,
        epoch: Epoch,
        item: &OutboxItem,
        now: Timestamp,
        failure: &OutboxFailure,
    ) -> Result<(), StoreError> {
        let statement = if failure.retry_at.is_some() {
            "UPDATE outbox SET state = 1, due_at = $4, claimed_until = NULL, last_error = $3, \
             possible_repeat = possible_repeat OR $5, ordered = ordered AND NOT $6 WHERE id = $1 AND attempts = $2 AND state = 2"
        } else {
            "UPDATE outbox SET state = 4, ended_at = $4, claimed_until = NULL, last_error = $3, \
             possible_repeat = possible_repeat OR $5, ordered = ordered AND NOT $6 WHERE id = $1 AND attempts = $2 AND state = 2"
        };
        let mut transaction = self.led(epoch).await?;
        query(statement)
            .bind(item.id)
            .bind(item.attempts)
            .bind(outbox_error(&failure.error))
            .bind(failure.retry_at.unwrap_or(now).as_millis())
            .bind(failure.may_have_arrived)
            .bind(failure.lets_pass)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn outbox_held(
        &self,
        epoch: Epoch,
        item: &OutboxItem,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        let held = query(
            "UPDATE outbox SET state = 5, due_at = $3, claimed_until = NULL \
             WHERE id = $1 AND attempts = $2 AND state = 2",
        )
        .bind(item.id)
        .bind(item.attempts)
        .bind(until.as_millis())
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        if held > 0 {
            supersede(&mut transaction, item, now).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn outbox_hurry(&self, epoch: Epoch, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.led(epoch).await?;
        query("UPDATE outbox SET due_at = $1 WHERE ended_at IS NULL AND state = 1 AND due_at > $1")
            .bind(now.as_millis())
            .execute(&mut *transaction)
            .await?;
        query(
            "UPDATE outbox SET state = 1, due_at = $1, ended_at = NULL \
             WHERE ended_at IS NOT NULL AND state = 4 AND sealed IS NOT NULL",
        )
        .bind(now.as_millis())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn outbox_pace(
        &self,
        route: Route,
        target: &str,
        since: Timestamp,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let times: Vec<i64> = query_scalar(
            "SELECT ended_at FROM outbox WHERE route = $1 AND target = $2 AND paced AND state = 3 AND ended_at > $3 \
             ORDER BY ended_at",
        )
        .bind(route.code())
        .bind(target)
        .bind(since.as_millis())
        .fetch_all(&self.pool)
        .await?;
        Ok(times.into_iter().map(Timestamp::from_millis).collect())
    }

    pub(in crate::store) async fn outbox_receipt(
        &self,
        route: Route,
        target: &str,
    ) -> Result<Option<String>, StoreError> {
        Ok(query_scalar(
            "SELECT receipt FROM outbox WHERE route = $1 AND target = $2 AND receipt IS NOT NULL ORDER BY id LIMIT 1",
        )
        .bind(route.code())
        .bind(target)
        .fetch_optional(&self.pool)
        .await?)
    }

    pub(in crate::store) async fn outbox_state(
        &self,
        route: Route,
        key: &str,
    ) -> Result<Option<OutboxState>, StoreError> {
        let state: Option<i16> = query_scalar("SELECT state FROM outbox WHERE route = $1 AND key = $2")
            .bind(route.code())
            .bind(key)
            .fetch_optional(&self.pool)
            .await?;
        Ok(state.and_then(OutboxState::from_code))
    }

    pub(in crate::store) async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        let (waiting, due, made): (i64, Option<i64>, Option<i64>) = query_as(
            "SELECT count(*), min(CASE WHEN state <> 5 THEN due_at END), min(CASE WHEN state <> 5 THEN created_at END) \
             FROM outbox WHERE ended_at IS NULL",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(OutboxDepth {
            waiting,
            oldest_due: due.map(Timestamp::from_millis),
            oldest_made: made.map(Timestamp::from_millis),
        })
    }
}

/// Ends the older rows of the item's target that are held back: the item tells what they tell.
async fn supersede(connection: &mut PgConnection, item: &OutboxItem, now: Timestamp) -> Result<(), StoreError> {
    query(
        "UPDATE outbox SET state = 6, ended_at = $4, sealed = NULL \
         WHERE route = $1 AND target = $2 AND id < $3 AND state = 5",
    )
    .bind(item.route.code())
    .bind(&item.target)
    .bind(item.id)
    .bind(now.as_millis())
    .execute(connection)
    .await?;
    Ok(())
}
