//! One message, or what somebody has of it: who would refuse it by Apple's rule, and what is missing to be sure.
//!
//! Pure. [`mend`] undoes what pasting does to a header, [`Header::read`] reads it, [`Facts::of`] picks what the rule asks about, and
//! [`diagnose`] judges. What a message says of itself is a claim: only the trusted receiver's results (`auth_results`) and what was
//! checked here ([`Checked`]) decide; From, envelope and `d=` are what is compared, whoever wrote them.

mod facts;
mod header;
mod judge;
mod missing;
mod paste;

pub use facts::{Envelope, Facts, Form, SignatureField, ToldBy};
pub use header::{Field, Header};
pub use judge::{Alignment, Checked, Diagnosis, Dmarc, Place, Refusal, SignatureTold, SpfTold, Verified, diagnose};
pub use missing::{Missing, MissingKind};
pub use paste::{Mended, is_results, mend};

/// How much of a header is read, in bytes.
pub const MAX_HEADER_BYTES: usize = 2 * 1024 * 1024;
/// The fields of a header that are read.
pub const MAX_FIELDS: usize = 2_000;
/// The signatures of a message that are looked at.
pub const MAX_SIGNATURES: usize = 20;

#[cfg(test)]
mod tests;
