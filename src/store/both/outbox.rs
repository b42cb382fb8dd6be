//! The outbox: what has to leave, until its sending is recorded.
//!
//! States stand in the statements by their code: 1 waiting, 2 claimed, 3 sent, 4 given up, 5 held, 6 superseded (see
//! [`OutboxState`]).

use sqlx::{query, query_as, query_scalar};

use super::{ConnectionOf, Engine, on_both};
use crate::{
    model::Timestamp,
    store::{
        Epoch, NewOutbox, OutboxDepth, OutboxFailure, OutboxItem, OutboxState, Route, StoreError, engine::outbox_error,
    },
};

/// Puts one thing into the outbox, to wait (1), unless it is there.
pub(in crate::store) const ENQUEUE: &str = "INSERT INTO outbox (key, route, target, ordered, paced, created_at, due_at, state, sealed) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8) ON CONFLICT (route, key) DO NOTHING";

on_both! {
    pub(in crate::store) async fn outbox_knows(&self, key: &str) -> Result<bool, StoreError> {
        Ok(query_scalar("SELECT EXISTS (SELECT 1 FROM outbox WHERE key = $1)").bind(key).fetch_one(self.reading()).await?)
    }

    pub(in crate::store) async fn enqueue(&self, epoch: Epoch, items: &[NewOutbox]) -> Result<u64, StoreError> {
        let mut transaction = self.led(epoch).await?;
        let added = self.enqueue_in(&mut transaction, items).await?;
        transaction.commit().await?;
        Ok(added)
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
        Self::supersede(&mut transaction, item, now).await?;
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
            Self::supersede(&mut transaction, item, now).await?;
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
        .fetch_all(self.reading())
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
        .fetch_optional(self.reading())
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
            .fetch_optional(self.reading())
            .await?;
        Ok(state.and_then(OutboxState::from_code))
    }

    pub(in crate::store) async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        let (waiting, due, made): (i64, Option<i64>, Option<i64>) = query_as(
            "SELECT count(*), min(CASE WHEN state <> 5 THEN due_at END), min(CASE WHEN state <> 5 THEN created_at END) \
             FROM outbox WHERE ended_at IS NULL",
        )
        .fetch_one(self.reading())
        .await?;
        Ok(OutboxDepth {
            waiting,
            oldest_due: due.map(Timestamp::from_millis),
            oldest_made: made.map(Timestamp::from_millis),
        })
    }

    /// Ends the older rows of the item's target that are held back: the item tells what they tell.
    async fn supersede(
        connection: &mut ConnectionOf<Self>,
        item: &OutboxItem,
        now: Timestamp,
    ) -> Result<(), StoreError> {
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
}
