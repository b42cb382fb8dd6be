//! Any key record of DKIM: no panic, and faults within the record.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::dkim::check(data));
