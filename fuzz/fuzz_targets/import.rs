//! Any bytes as a file for `import`: whatever it is taken for, it is read to an end, twice in the same way.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::import::check(data));
