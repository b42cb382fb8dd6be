//! Any SPF records, any answers: no panic, an end within what is promised.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::spf::check(data));
