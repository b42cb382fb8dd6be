//! Addresses and accounts: looking up, importing, forgetting, sealing anew.

use sqlx::{query, query_as, query_scalar};

use super::SqliteStore;
use crate::{
    model::{Destination, Timestamp},
    privacy::{Keyring, Purpose},
    store::{
        AccountRecord, AddressRecord, MapCoverage, NewAccount, StoreError,
        batch::Numbers,
        engine::{address, digest_of},
    },
};

/// One row of `account`.
pub(in crate::store) type AccountRow = (i64, String, Option<String>, Option<i64>, Option<i64>, Option<i64>);

/// The columns of [`AccountRow`].
macro_rules! account_columns {
    () => {
        "id, team, app, address, signed_up_at, \
         CASE WHEN deleted_at >= COALESCE(returned_at, deleted_at) THEN deleted_at END"
    };
}
pub(in crate::store) use account_columns;

pub(in crate::store) fn account((id, team, app, address, signed_up_at, deleted_at): AccountRow) -> AccountRecord {
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    AccountRecord { id, team, app, address, signed_up_at: time(signed_up_at), deleted_at: time(deleted_at) }
}

impl SqliteStore {
    pub(in crate::store) async fn address_by_hash(&self, hash: &[u8; 16]) -> Result<Option<AddressRecord>, StoreError> {
        query_as("SELECT id, hash, sealed FROM address WHERE hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(&self.readers)
            .await?
            .map(address)
            .transpose()
    }

    pub(in crate::store) async fn address_by_id(&self, id: i64) -> Result<Option<AddressRecord>, StoreError> {
        query_as("SELECT id, hash, sealed FROM address WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?
            .map(address)
            .transpose()
    }

    pub(in crate::store) async fn map_coverage(&self) -> Result<MapCoverage, StoreError> {
        let (addresses, mapped) = query_as(
            "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM account c WHERE c.address = a.id)) \
             FROM ledger l JOIN address a ON a.id = l.address WHERE l.destination = $1",
        )
        .bind(Destination::Relay.code())
        .fetch_one(&self.readers)
        .await?;
        Ok(MapCoverage { addresses, mapped })
    }

    pub(in crate::store) async fn account_by_hash(&self, hash: &[u8; 16]) -> Result<Option<AccountRecord>, StoreError> {
        let found: Option<AccountRow> =
            query_as(concat!("SELECT ", account_columns!(), " FROM account WHERE hash = $1"))
                .bind(hash.as_slice())
                .fetch_optional(&self.readers)
                .await?;
        Ok(found.map(account))
    }

    pub(in crate::store) async fn accounts_of_address(&self, address: i64) -> Result<Vec<AccountRecord>, StoreError> {
        let found: Vec<AccountRow> =
            query_as(concat!("SELECT ", account_columns!(), " FROM account WHERE address = $1 ORDER BY team, id"))
                .bind(address)
                .fetch_all(&self.readers)
                .await?;
        Ok(found.into_iter().map(account).collect())
    }

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

    pub(in crate::store) async fn announced_key(&self) -> Result<Option<u16>, StoreError> {
        let key: Option<String> =
            query_scalar("SELECT value FROM meta WHERE key = 'sealing_key'").fetch_optional(&self.readers).await?;
        Ok(key.and_then(|key| key.parse().ok()))
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
            (
                "SELECT id, hash, sealed FROM set_aside WHERE substr(sealed, 1, 2) <> $1 LIMIT $2",
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

/// Opens a value with its key and seals it with the current one.
pub(in crate::store) fn again(
    keyring: &Keyring,
    purpose: Purpose,
    owner: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let value = keyring.open(purpose, owner, sealed)?;
    Ok(keyring.seal(purpose, owner, &value)?)
}
