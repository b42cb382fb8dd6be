//! Any file of aggregate reports: no panic, within its bounds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::reports::check(data));
