//! Addresses and accounts: looking up, importing, forgetting, sealing anew.

use sqlx::{query, query_as, query_scalar};

use super::SqliteStore;
use crate::{
    model::Timestamp,
    privacy::Purpose,
    store::{NewAccount, StoreError, batch::Numbers, both::again, engine::digest_of},
};

impl SqliteStore {
    pub(in crate::store) async fn import_accounts(&self, accounts: &[NewAccount]) -> Result<u64, StoreError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let erasures = super::commit::marks(&mut transaction).await?.heed(&self.caches, &self.keyring);
        let before: i64 = query_scalar("SELECT count(*) FROM account").fetch_one(&mut *transaction).await?;
        let mut numbers = Numbers { erasures, ..Numbers::default() };
        let recipients = accounts.iter().filter_map(|account| account.address.as_ref());
        self.number_addresses(&mut transaction, recipients, &mut numbers).await?;
        self.number_accounts(&mut transaction, accounts.iter().map(|account| &account.subject), &mut numbers).await?;
        for account in accounts {
            let address = account.address.as_ref().and_then(|recipient| numbers.addresses.get(&recipient.hash));
            query(
                "UPDATE account SET address = COALESCE($2, address), app = COALESCE($3, app), \
                 signed_up_at = COALESCE($4, signed_up_at), \
                 returned_at = max(ifnull(returned_at, $4), ifnull($4, returned_at)) WHERE id = $1",
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
        let after: i64 = query_scalar("SELECT count(*) FROM account").fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        self.caches.keep_addresses(numbers.addresses, numbers.erasures);
        Ok(u64::try_from(after - before).unwrap_or(0))
    }

    pub(in crate::store) async fn announce_key(&self) -> Result<(), StoreError> {
        // One process, one writer: whoever seals next does it after this.
        query(
            "INSERT INTO meta (key, value) VALUES ('sealing_key', $1) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(self.keyring.current_key().to_string())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    pub(in crate::store) async fn reseal(&self, limit: u32) -> Result<u64, StoreError> {
        let current = self.keyring.current_key().to_le_bytes();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut done = 0;
        for (read, write, purpose) in [
            (
                "SELECT id, hash, sealed FROM address WHERE substr(sealed, 1, 2) <> $1 LIMIT $2",
                "UPDATE address SET sealed = $2 WHERE id = $1",
                Purpose::Address,
            ),
            (
                "SELECT id, hash, sealed FROM account WHERE substr(sealed, 1, 2) <> $1 LIMIT $2",
                "UPDATE account SET sealed = $2 WHERE id = $1",
                Purpose::Subject,
            ),
            // A part can have a MiB.
            (
                "SELECT id, hash, sealed FROM set_aside WHERE substr(sealed, 1, 2) <> $1 LIMIT min($2, 50)",
                "UPDATE set_aside SET sealed = $2 WHERE id = $1",
                Purpose::Body,
            ),
            (
                "SELECT id, CAST(key AS BLOB), sealed FROM outbox WHERE substr(sealed, 1, 2) <> $1 LIMIT $2",
                "UPDATE outbox SET sealed = $2 WHERE id = $1",
                Purpose::Outbox,
            ),
        ] {
            let rows: Vec<(i64, Vec<u8>, Vec<u8>)> =
                query_as(read).bind(current.as_slice()).bind(limit).fetch_all(&mut *transaction).await?;
            for (id, owner, sealed) in rows {
                let sealed = again(&self.keyring, purpose, &owner, &sealed)?;
                query(write).bind(id).bind(sealed).execute(&mut *transaction).await?;
                done += 1;
            }
        }
        let samples: Vec<(i32, String, Vec<u8>)> = query_as(
            "SELECT w.id, w.text, s.sample FROM template_sample s JOIN word w ON w.id = s.template \
             WHERE substr(s.sample, 1, 2) <> $1 LIMIT $2",
        )
        .bind(current.as_slice())
        .bind(limit)
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
