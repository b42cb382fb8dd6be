//! Addresses and accounts, and what is to be forgotten of them.

use super::{Recipient, Subject};
use crate::model::{Address, Timestamp};

/// One account, as `accounts import` brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// Team and `sub`.
    pub subject: Subject,
    /// The relay address, where there is one.
    pub address: Option<Recipient>,
    /// The client id.
    pub app: Option<String>,
    /// When the user signed up.
    pub signed_up_at: Option<Timestamp>,
    /// Whether the map calls the address a private one, where it says so.
    pub mark: Option<Mark>,
}

/// A word of the account map or of a notice: whether an address is a private one (`is_private_email`). The latest stands;
/// of two at one time, the one that calls it private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Whether it's private.
    pub private: bool,
    /// When that was said: a notice's own time, or the time of the import.
    pub at: Timestamp,
}

/// One account as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its random id.
    pub id: i64,
    /// The team.
    pub team: String,
    /// The client id.
    pub app: Option<String>,
    /// The address's random id.
    pub address: Option<i64>,
    /// When the user signed up.
    pub signed_up_at: Option<Timestamp>,
    /// When the Apple Account was deleted, by the latest notice; `None` where something later shows its user still there.
    pub deleted_at: Option<Timestamp>,
}

/// How much of the relay mail's addresses the account map covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct MapCoverage {
    /// Relay addresses that mail went to and that are not forgotten.
    pub addresses: i64,
    /// Those among them whose account is known.
    pub mapped: i64,
}

/// An address as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRecord {
    /// Its random id.
    pub id: i64,
    /// The keyed hash of its comparison form.
    pub hash: [u8; 16],
    /// Its sealed form; `None` in `hashed` mode.
    pub sealed: Option<Vec<u8>>,
}

/// An address whose mail on a shared domain is counted as relay mail from here on, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The address's random id.
    pub address: i64,
    /// Whether it is counted as a relay address from here on.
    pub private: bool,
}

/// Whom to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// An address with all its accounts, and every copy of it elsewhere in the store. Where the address itself is given,
    /// copies are looked for even if no row knows it.
    Address {
        /// The keyed hash of its comparison form.
        hash: [u8; 16],
        /// The address, where whoever asks knows it.
        address: Option<Address>,
    },
    /// An account whose Apple Account is deleted, unless something later shows that its user is still there; and its
    /// address, unless another account has the same.
    Deleted {
        /// The account's random id.
        account: i64,
    },
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Addresses that were known.
    pub addresses: u64,
    /// Accounts.
    pub accounts: u64,
    /// Copies elsewhere: samples of replies, and parts that were set aside.
    pub copies: u64,
}

/// An account whose Apple Account was deleted, and whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueAccount {
    /// Its random id.
    pub account: i64,
    /// The address's random id.
    pub address: Option<i64>,
    /// When the Apple Account was deleted, by the notice.
    pub deleted_at: Timestamp,
}
