//! Any event under the right secret is taken, set aside or refused, and twice in the same way.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::iterable::check(data));
