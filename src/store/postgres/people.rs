//! Addresses and accounts: looking up, importing, forgetting, sealing anew.

use std::time::Duration;

use sqlx::{Postgres, Transaction, query, query_as, query_scalar};

use super::{PgStore, is_lock_timeout};
use crate::{
    model::Timestamp,
    privacy::Purpose,
    store::{Epoch, NewAccount, StoreError, batch::Numbers, both::again, engine::digest_of},
};

/// How often the lock that keeps all commits out is asked for, a second each time …
const LOCK_ATTEMPTS: u32 = 8;
/// … and how long commits run in between.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

impl PgStore {
    pub(in crate::store) async fn import_accounts(&self, accounts: &[NewAccount]) -> Result<u64, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let erasures = super::commit::marks(&mut transaction).await?.heed(&self.caches, &self.keyring);
        let hashes: Vec<Vec<u8>> = accounts.iter().map(|account| account.subject.hash.to_vec()).collect();
        let known: i64 = query_scalar("SELECT count(*) FROM account WHERE hash = ANY ($1)")
            .bind(&hashes)
            .fetch_one(&mut *transaction)
            .await?;
        let mut numbers = Numbers { erasures, ..Numbers::default() };
        let recipients = accounts.iter().filter_map(|account| account.address.as_ref());
        self.number_addresses(&mut transaction, recipients, &mut numbers).await?;
        self.number_accounts(&mut transaction, accounts.iter().map(|account| &account.subject), &mut numbers).await?;
        for account in accounts {
            let address = account.address.as_ref().and_then(|recipient| numbers.addresses.get(&recipient.hash));
            query(
                "UPDATE account SET address = COALESCE($2, address), app = COALESCE($3, app), \
                 signed_up_at = COALESCE($4, signed_up_at), returned_at = greatest(returned_at, $4) WHERE id = $1",
            )
            .bind(numbers.accounts.get(&account.subject.hash))
            .bind(address)
            .bind(&account.app)
            .bind(account.signed_up_at.map(Timestamp::as_millis))
            .execute(&mut *transaction)
            .await?;
            if let (Some(address), Some(mark)) = (address, account.mark) {
                super::commit::insert_mark(&mut transaction, *address, mark).await?;
            }
        }
        transaction.commit().await?;
        self.caches.keep_addresses(numbers.addresses, numbers.erasures);
        Ok((numbers.accounts.len() as u64).saturating_sub(u64::try_from(known).unwrap_or(0)))
    }

    /// Begins a transaction beside which none that seals or numbers addresses is under way, in any process: each of them
    /// has read `meta` before, and this one locks it. So nobody goes on under an address that this transaction forgets.
    ///
    /// Commits queue behind a lock that is waited for, and a backup holds it off for as long as it runs: it is asked for
    /// briefly, again and again, and then given up.
    pub(super) async fn alone(&self, reign: Option<Epoch>) -> Result<Transaction<'static, Postgres>, StoreError> {
        for attempt in 0..LOCK_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            let mut transaction = self.begin(reign).await?;
            query("SET LOCAL lock_timeout = '1s'").execute(&mut *transaction).await?;
            match query("LOCK TABLE meta IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await {
                Ok(_) => return Ok(transaction),
                Err(error) if is_lock_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Busy)
    }

    pub(in crate::store) async fn announce_key(&self) -> Result<(), StoreError> {
        let mut transaction = self.alone(None).await?;
        query(
            "INSERT INTO meta (key, value) VALUES ('sealing_key', $1) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(self.keyring.current_key().to_string())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(in crate::store) async fn reseal(&self, limit: u32) -> Result<u64, StoreError> {
        let current = self.keyring.current_key().to_le_bytes();
        let mut transaction = self.pool.begin().await?;
        let mut done = 0;
        for (read, write, purpose) in [
            (
                "SELECT id, hash, sealed FROM address WHERE substr(sealed, 1, 2) <> $1 LIMIT $2 FOR UPDATE",
                "UPDATE address SET sealed = $2 WHERE id = $1",
                Purpose::Address,
            ),
            (
                "SELECT id, hash, sealed FROM account WHERE substr(sealed, 1, 2) <> $1 LIMIT $2 FOR UPDATE",
                "UPDATE account SET sealed = $2 WHERE id = $1",
                Purpose::Subject,
            ),
            // A part can have a MiB.
            (
                "SELECT id, hash, sealed FROM set_aside WHERE substr(sealed, 1, 2) <> $1 LIMIT least($2, 50) FOR UPDATE",
                "UPDATE set_aside SET sealed = $2 WHERE id = $1",
                Purpose::Body,
            ),
            (
                "SELECT id, convert_to(key, 'UTF8'), sealed FROM outbox WHERE substr(sealed, 1, 2) <> $1 LIMIT $2 \
                 FOR UPDATE",
                "UPDATE outbox SET sealed = $2 WHERE id = $1",
                Purpose::Outbox,
            ),
        ] {
            let rows: Vec<(i64, Vec<u8>, Vec<u8>)> =
                query_as(read).bind(current.as_slice()).bind(i64::from(limit)).fetch_all(&mut *transaction).await?;
            for (id, owner, sealed) in rows {
                let sealed = again(&self.keyring, purpose, &owner, &sealed)?;
                query(write).bind(id).bind(sealed).execute(&mut *transaction).await?;
                done += 1;
            }
        }
        let samples: Vec<(i32, String, Vec<u8>)> = query_as(
            "SELECT w.id, w.text, s.sample FROM template_sample s JOIN word w ON w.id = s.template \
             WHERE substr(s.sample, 1, 2) <> $1 LIMIT $2 FOR UPDATE OF s",
        )
        .bind(current.as_slice())
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await?;
        for (id, text, sealed) in samples {
            let sealed = again(&self.keyring, Purpose::Sample, &digest_of(&text), &sealed)?;
            query("UPDATE template_sample SET sample = $2 WHERE template = $1")
                .bind(id)
                .bind(sealed)
                .execute(&mut *transaction)
                .await?;
            done += 1;
        }
        transaction.commit().await?;
        Ok(done)
    }
}
