//! Any text with addresses in any place: no panic, a bounded template that is its own template, and no address left in it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::template::check(data));
