//! Any body, as JSON and as a form: taken with the secret key only, and none of it is in what is set aside.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::socketlabs::check(data));
