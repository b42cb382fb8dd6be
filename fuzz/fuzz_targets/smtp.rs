//! Whatever a peer says, and however it is cut, the answers are the same and well formed, and mail is taken within the limits and for

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::smtp::check(data));
