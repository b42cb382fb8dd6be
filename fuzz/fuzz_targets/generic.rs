//! Any body that is signed is taken, set aside or refused, and twice in the same way; no other is.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::generic::check(data));
