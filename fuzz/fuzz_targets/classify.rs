//! Any text is templated and judged: no panic, a bounded template that is its own template, no verdict that changes.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use relaywatch::{
    classify::{MAX_TEMPLATE_BYTES, Parties, Rules, context, template},
    model::{Address, RelayDomains},
};

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::built_in().expect("built-in rules"));
static RELAY: LazyLock<RelayDomains> = LazyLock::new(RelayDomains::default);

fuzz_target!(|input: (String, String, String)| {
    let (text, recipient, sender) = input;
    let (recipient, sender) = (Address::parse(&recipient).ok(), Address::parse(&sender).ok());
    let parties =
        Parties { recipient: recipient.as_ref(), envelope_sender: sender.as_ref(), ..Parties::unknown(&RELAY) };
    let once = template(&text, &parties);
    assert!(once.as_str().len() <= MAX_TEMPLATE_BYTES);
    assert_eq!(template(once.as_str(), &parties), once);
    let context = context(None, recipient.as_ref(), None, &RELAY);
    let verdict = RULES.classify(&once, &context);
    assert_eq!(RULES.classify(&once, &context), verdict);
});
