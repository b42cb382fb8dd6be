//! Any batch under the right access key is taken, set aside or refused, and what is taken is answered.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relaywatch_fuzz::ses_firehose::check(data));
