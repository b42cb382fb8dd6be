//! Any event under the right key is taken, set aside or refused, and twice in the same way.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::ses_eventbridge::check(data));
