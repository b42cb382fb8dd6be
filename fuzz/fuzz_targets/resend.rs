//! Any event is taken, set aside or refused, as it is and signed, and twice in the same way.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::resend::check(data));
