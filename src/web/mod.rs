//! HTTP as relaywatch serves it.

mod page;
pub mod private;
pub mod server;
mod sources;
