//! HTTP as relaywatch serves it.

pub mod private;
pub mod server;
