//! Any bytes as the body of a post to the SES feed, as the message in a signed envelope, and as the SES payload itself.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::ses::check(data));
