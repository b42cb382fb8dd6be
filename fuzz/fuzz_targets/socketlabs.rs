//! Any body, as JSON and as a form: what is taken is answered with the validation key, and twice in the same way.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::socketlabs::check(data));
