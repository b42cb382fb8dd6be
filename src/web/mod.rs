//! HTTP as relaywatch serves it.

pub mod server;
