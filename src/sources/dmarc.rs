//! DMARC by RFC 9989, beside the public suffix list that RFC 7489 used: what a From domain publishes, who may be aligned with it,
//! and where the two ways of finding the organisational domain differ.
//!
//! It is a verdict of its own, never merged with Apple's rule: mail can pass DMARC and be refused by the relay.

mod judge;
mod record;
mod walk;

pub use judge::{Aligned, DmarcView};
pub(super) use judge::{alignment, view};
pub use record::{Mode, Policy, Psd, Record, Report, is_record, parse};
pub use walk::{Walk, org_by_list};

/// The most questions of one tree walk (RFC 9989 section 4.10).
pub const MAX_WALK_QUERIES: usize = 8;

#[cfg(test)]
use walk::walk;

#[cfg(test)]
mod tests;
