//! Any header: fields of results are read within their bounds, written and read again alike, and nothing of a forged one counts.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::auth_results::check(data));
