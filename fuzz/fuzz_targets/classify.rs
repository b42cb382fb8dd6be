//! Any text is templated and judged: no panic, a bounded template that is its own template, no verdict that changes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::classify::check(data));
