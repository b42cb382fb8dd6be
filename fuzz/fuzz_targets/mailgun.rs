//! Any body is refused without a signature; any event under a good one is taken or set aside, with its token.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::mailgun::check(data));
