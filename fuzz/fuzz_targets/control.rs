//! Any bytes as a call on the operators' socket: no call, or one that reads back as it was.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::control::check(data));
