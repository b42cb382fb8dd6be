//! One integration binary: it links once.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod crash;
mod facts;
mod incident;
mod monitor;
mod store;
mod support;
