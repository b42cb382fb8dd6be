//! Any bytes as an envelope of Scaleway's are refused unless signed; any message in a signed one is taken, set aside or refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::scaleway::check(data));
