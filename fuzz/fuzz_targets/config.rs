//! Any file and any variables: settings, or mistakes that can be shown and hold no secret.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::config::check(data));
