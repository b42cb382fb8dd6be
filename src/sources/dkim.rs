//! Keys of DKIM as DNS has them (RFC 6376 section 3.6.1, RFC 8301, RFC 8463), and what is wrong with them.
//!
//! The chain of CNAMEs is kept apart from the key: a key that changes behind an ESP's CNAME is rotation, a CNAME that leads
//! nowhere is a fault. An absent key is a finding only where the selector is known to be in use.

mod der;
mod judge;
mod record;

pub(super) use judge::view;
pub use judge::{KeyState, SelectorView};
pub use record::{Key, KeyRecord, parse};

pub use super::tags::{Fault, FaultKind};

/// The shortest RSA key that receivers accept, in bits (RFC 8301 section 3.2).
pub const MIN_RSA_BITS: u32 = 1_024;
/// The RSA key that signers should use at least, in bits (RFC 8301 section 3.2).
pub const GOOD_RSA_BITS: u32 = 2_048;
/// The longest RSA key that receivers must verify, in bits (RFC 8301 section 3.2).
pub const MAX_RSA_BITS: u32 = 4_096;

#[cfg(test)]
mod tests;
