//! relaywatch watches whether email to Apple private relay addresses arrives and, when it stops arriving, says why.
//!
//! One crate, a library with a thin binary. A folder is a room; see `docs/architecture.md` for the map and its arrows.

pub mod classify;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod detect;
pub mod explain;
pub mod http_client;
pub mod incident;
pub mod ingest;
pub mod lifecycle;
pub mod metrics;
pub mod model;
pub mod monitor;
pub mod notify;
pub mod privacy;
pub mod rule_files;
pub mod simulate;
pub mod sources;
pub mod store;
pub mod telemetry;
pub mod web;
