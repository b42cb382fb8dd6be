//! Any batch is refused without a signature; under a good one it is taken, set aside or refused, and twice in the same way.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::sendgrid::check(data));
