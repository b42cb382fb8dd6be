//! Any text as the body of a message in the queue, and as the message in an envelope there.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::sqs::check(data));
