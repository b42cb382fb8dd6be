//! Any batch under the right token is taken, set aside or refused, and a handshake echoes what is plain only.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::azure::check(data));
