//! Any DMARC record: no panic, faults within the record, and bounds kept.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::dmarc::check(data));
