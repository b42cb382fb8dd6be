//! Addresses and accounts, and the keys that keep them.

use super::{AccountRecord, AddressRecord, MapCoverage, NewAccount, Store, StoreError, dispatch};

impl Store {
    /// The address with this keyed hash.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn address_by_hash(&self, hash: &[u8; 16]) -> Result<Option<AddressRecord>, StoreError> {
        dispatch!(self, store => store.address_by_hash(hash).await)
    }

    /// The address with this random id.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn address_by_id(&self, id: i64) -> Result<Option<AddressRecord>, StoreError> {
        dispatch!(self, store => store.address_by_id(id).await)
    }

    /// How many of the relay addresses that mail went to have a known account.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn map_coverage(&self) -> Result<MapCoverage, StoreError> {
        dispatch!(self, store => store.map_coverage().await)
    }

    /// The account with this keyed hash.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn account_by_hash(&self, hash: &[u8; 16]) -> Result<Option<AccountRecord>, StoreError> {
        dispatch!(self, store => store.account_by_hash(hash).await)
    }

    /// Accounts of an address.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn accounts_of_address(&self, address: i64) -> Result<Vec<AccountRecord>, StoreError> {
        dispatch!(self, store => store.accounts_of_address(address).await)
    }

    /// Puts accounts into the account map; known ones get what they lacked and the newer values. Gives how many are new.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn import_accounts(&self, accounts: &[NewAccount]) -> Result<u64, StoreError> {
        dispatch!(self, store => store.import_accounts(accounts).await)
    }

    /// Tells every process of this store which key seals now. When this returns, no transaction that seals with an older
    /// key is under way; a process whose keyring is older looks into its key file before it seals again.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn announce_key(&self) -> Result<(), StoreError> {
        dispatch!(self, store => store.announce_key().await)
    }

    /// The key that was announced last; none before the first rotation.
    ///
    /// # Errors
    /// Where the store is away.
    pub async fn announced_key(&self) -> Result<Option<u16>, StoreError> {
        dispatch!(self, store => store.announced_key().await)
    }

    /// Seals again, with the current key, up to `limit` values that an older key had sealed. Gives how many there were;
    /// zero when all are done.
    ///
    /// # Errors
    /// Where the store is away, or a value does not open.
    pub async fn reseal(&self, limit: u32) -> Result<u64, StoreError> {
        dispatch!(self, store => store.reseal(limit).await)
    }
}
