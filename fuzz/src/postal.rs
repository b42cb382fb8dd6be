//! Any event is taken, set aside or refused, as it is and signed, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        postal::{Postal, SIGNATURE_HEADERS, Settings, signing::Signer},
    },
    model::Timestamp,
};

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));
static FEED: LazyLock<Postal> = LazyLock::new(|| {
    Postal::new(&Settings { public_keys: vec![SIGNER.public_key().expect("a key").into()] }).expect("feed")
});

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut delivery = Delivery {
        method: Default::default(),
        query: String::new(),
        headers: Default::default(),
        body: data.to_vec().into(),
        received_at: Timestamp::from_seconds(1_754_805_600),
    };
    assert!(FEED.receive(&delivery).is_err(), "nothing comes in without the secret");
    let signature = SIGNER.signature(data).expect("signed");
    delivery.headers.insert(SIGNATURE_HEADERS[0], signature.parse().expect("header"));
    assert_eq!(FEED.receive(&delivery), FEED.receive(&delivery));
}
