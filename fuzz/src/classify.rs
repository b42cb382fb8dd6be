//! Any text is templated and judged: no panic, a bounded template that is its own template, no verdict that changes.

use std::sync::LazyLock;

use relaywatch::{
    classify::{MAX_TEMPLATE_BYTES, Parties, Rules, context, template},
    model::{Address, RelayDomains},
};

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::built_in().expect("built-in rules"));
static RELAY: LazyLock<RelayDomains> = LazyLock::new(RelayDomains::default);

/// Checks one input.
///
/// The reply, its recipient and its sender stand behind each other, with a NUL between them.
pub fn check(data: &[u8]) {
    let [text, recipient, sender] = super::texts(data);
    let (recipient, sender) = (Address::parse(&recipient).ok(), Address::parse(&sender).ok());
    let parties =
        Parties { recipient: recipient.as_ref(), envelope_sender: sender.as_ref(), ..Parties::unknown(&RELAY) };
    let once = template(&text, &parties);
    assert!(once.as_str().len() <= MAX_TEMPLATE_BYTES);
    assert_eq!(template(once.as_str(), &parties), once);
    let context = context(None, recipient.as_ref(), None, &RELAY);
    let verdict = RULES.classify(&once, &context);
    assert_eq!(RULES.classify(&once, &context), verdict);
}
