//! Any file of accounts, as CSV and as JSON lines: each row is good or broken, twice in the same way.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::accounts::check(data));
