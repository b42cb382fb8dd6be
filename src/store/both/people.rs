//! Addresses, accounts and marks: looking them up, and sealing anew.

use sqlx::{query_as, query_scalar};

use super::{Engine, on_both};
use crate::{
    model::{Destination, Timestamp},
    privacy::{Keyring, Purpose},
    store::{AccountRecord, AddressRecord, DueAccount, MapCoverage, Mark, StoreError, Turn, engine::address},
};

/// One row of `account`.
type AccountRow = (i64, String, Option<String>, Option<i64>, Option<i64>, Option<i64>);

/// The columns of [`AccountRow`].
macro_rules! account_columns {
    () => {
        "id, team, app, address, signed_up_at, \
         CASE WHEN deleted_at >= COALESCE(returned_at, deleted_at) THEN deleted_at END"
    };
}

fn account((id, team, app, address, signed_up_at, deleted_at): AccountRow) -> AccountRecord {
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    AccountRecord { id, team, app, address, signed_up_at: time(signed_up_at), deleted_at: time(deleted_at) }
}

on_both! {
    pub(in crate::store) async fn address_by_hash(&self, hash: &[u8; 16]) -> Result<Option<AddressRecord>, StoreError> {
        query_as("SELECT id, hash, sealed FROM address WHERE hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(self.reading())
            .await?
            .map(address)
            .transpose()
    }

    pub(in crate::store) async fn address_by_id(&self, id: i64) -> Result<Option<AddressRecord>, StoreError> {
        query_as("SELECT id, hash, sealed FROM address WHERE id = $1")
            .bind(id)
            .fetch_optional(self.reading())
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
        .fetch_one(self.reading())
        .await?;
        Ok(MapCoverage { addresses, mapped })
    }

    pub(in crate::store) async fn account_by_hash(&self, hash: &[u8; 16]) -> Result<Option<AccountRecord>, StoreError> {
        let found: Option<AccountRow> =
            query_as(concat!("SELECT ", account_columns!(), " FROM account WHERE hash = $1"))
                .bind(hash.as_slice())
                .fetch_optional(self.reading())
                .await?;
        Ok(found.map(account))
    }

    pub(in crate::store) async fn accounts_of_address(&self, address: i64) -> Result<Vec<AccountRecord>, StoreError> {
        let found: Vec<AccountRow> =
            query_as(concat!("SELECT ", account_columns!(), " FROM account WHERE address = $1 ORDER BY team, id"))
                .bind(address)
                .fetch_all(self.reading())
                .await?;
        Ok(found.into_iter().map(account).collect())
    }

    pub(in crate::store) async fn announced_key(&self) -> Result<Option<u16>, StoreError> {
        let key: Option<String> =
            query_scalar("SELECT value FROM meta WHERE key = 'sealing_key'").fetch_optional(self.reading()).await?;
        Ok(key.and_then(|key| key.parse().ok()))
    }

    pub(in crate::store) async fn mark_of(&self, address: i64) -> Result<Option<Mark>, StoreError> {
        let row: Option<(bool, i64)> = query_as("SELECT private, at FROM relay_mark WHERE address = $1")
            .bind(address)
            .fetch_optional(self.reading())
            .await?;
        Ok(row.map(|(private, at)| Mark { private, at: Timestamp::from_millis(at) }))
    }

    pub(in crate::store) async fn pending_turns(&self, limit: u32) -> Result<Vec<Turn>, StoreError> {
        let rows: Vec<(i64, bool)> =
            query_as("SELECT address, private FROM relay_mark WHERE private <> folded ORDER BY address LIMIT $1")
                .bind(i64::from(limit))
                .fetch_all(self.reading())
                .await?;
        Ok(rows.into_iter().map(|(address, private)| Turn { address, private }).collect())
    }

    pub(in crate::store) async fn due_accounts(
        &self,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueAccount>, StoreError> {
        let rows: Vec<(i64, Option<i64>, i64)> = query_as(
            "SELECT id, address, deleted_at FROM account WHERE deleted_at <= $1 \
             AND deleted_at >= COALESCE(returned_at, deleted_at) ORDER BY deleted_at, id LIMIT $2",
        )
        .bind(until.as_millis())
        .bind(i64::from(limit))
        .fetch_all(self.reading())
        .await?;
        let due = rows.into_iter().map(|(account, address, deleted_at)| DueAccount {
            account,
            address,
            deleted_at: Timestamp::from_millis(deleted_at),
        });
        Ok(due.collect())
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
