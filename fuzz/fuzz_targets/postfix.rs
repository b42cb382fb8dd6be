//! Any log: however it is cut, no panic, no more memory, and the same outcomes twice.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::postfix::check(data));
