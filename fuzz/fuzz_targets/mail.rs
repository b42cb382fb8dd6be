//! Any mail is understood, twice in the same way, and within its bounds; with LF for CRLF it says the same.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::mail::check(data));
