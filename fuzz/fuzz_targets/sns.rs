//! Any bytes as an SNS envelope: refused unless signed; any message in a signed one comes out as it went in.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::sns::check(data));
