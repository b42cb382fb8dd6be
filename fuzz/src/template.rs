//! Any text with addresses in any place: no panic, a bounded template that is its own template, and no address left in it.

use std::sync::LazyLock;

use relaywatch::{
    classify::{MAX_TEMPLATE_BYTES, Parties, template},
    model::{Address, RelayDomains},
};

const RECIPIENT: &str = "x7kq2m9abc@privaterelay.appleid.com";
const SENDER: &str = "bounces+17@mail.example.com";

static RELAY: LazyLock<RelayDomains> = LazyLock::new(RelayDomains::default);
static PARTIES: LazyLock<(Address, Address)> =
    LazyLock::new(|| (Address::parse(RECIPIENT).expect("address"), Address::parse(SENDER).expect("address")));

/// Checks one input.
pub fn check(data: &[u8]) {
    // Two control characters stand for the two addresses, so that mutation puts them anywhere.
    let text = String::from_utf8_lossy(data).replace('\u{1}', RECIPIENT).replace('\u{2}', SENDER);
    let (recipient, sender) = &*PARTIES;
    let parties = Parties { recipient: Some(recipient), envelope_sender: Some(sender), ..Parties::unknown(&RELAY) };
    let once = template(&text, &parties);
    assert!(once.as_str().len() <= MAX_TEMPLATE_BYTES);
    assert_eq!(template(once.as_str(), &parties), once);
    for address in [RECIPIENT, SENDER] {
        assert!(!once.as_str().to_ascii_lowercase().contains(address), "{:?}", once.as_str());
    }
}
