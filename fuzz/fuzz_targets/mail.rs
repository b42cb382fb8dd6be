//! Any mail or mailbox is understood twice alike, within its bounds.

#![no_main]

libfuzzer_sys::fuzz_target!(init: {
    // mail-parser has debug assertions that broken multiparts don't hold; no release has them, and they are caught.
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|place| place.file().contains("mail-parser")) {
            abort(info);
        }
    }));
}, |data: &[u8]| relaywatch_fuzz::mail::check(data));
