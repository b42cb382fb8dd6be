//! Any batch under the right token is taken, set aside or refused, and twice in the same way.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::braze::check(data));
