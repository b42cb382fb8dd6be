//! The relaywatch command.

fn main() {}
