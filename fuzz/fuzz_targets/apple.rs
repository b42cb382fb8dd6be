//! Any body and any JWT is refused unless it is signed; any signed claims are taken, set aside or refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::apple::check(data));
