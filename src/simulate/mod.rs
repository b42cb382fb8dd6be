//! The generator of senders, users, mail, incidents and decoys: pure, seeded, reproducible.
//!
//! [`plan`] makes a time-ordered list of [`Post`]s: what providers and Apple would send to relaywatch's feeds, and when;
//! [`Truth`] stands apart. [`wire`] renders a post as the provider's own payload; who signs and sends it is not this
//! room's business. The parameters are those of `detection.md` section 6.3; randomness comes in as a parameter, and time
//! is the generator's own.

mod cases;
mod chance;
mod people;
mod post;
mod run;
mod sender;
mod traffic;
mod trouble;
pub mod wire;

#[cfg(test)]
mod tests;

pub use cases::{Case, Plan, Size, plan};
pub use people::{APP, Account, TEAM};
pub use post::{Batch, Outcome, Post, What};
pub use run::Reporting;
pub use sender::Sender;
pub use trouble::{TrueCause, Truth};
