//! One integration binary: it links once.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod commands;
mod crash;
mod monitor;
mod store;
mod support;
