//! Any notification under the right secret, as JSON, as a form and in the address, is taken, set aside or refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::elasticemail::check(data));
