//! Any report that is signed is taken, set aside or refused, and twice in the same way; no other is.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        customerio::{CustomerIo, Settings, signing},
    },
    model::Timestamp,
};

/// 2025-08-10T06:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

static FEED: LazyLock<CustomerIo> =
    LazyLock::new(|| CustomerIo::new(&Settings { signing_keys: vec!["fuzz".into()] }).expect("feed"));

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut delivery = Delivery {
        method: Default::default(),
        query: String::new(),
        headers: Default::default(),
        body: data.to_vec().into(),
        received_at: NOW,
    };
    assert!(FEED.receive(&delivery).is_err(), "nothing comes in without a signature");
    for (name, value) in signing::headers("fuzz", NOW, data) {
        delivery.headers.insert(name, value.parse().expect("header"));
    }
    assert_eq!(FEED.receive(&delivery), FEED.receive(&delivery));
    delivery.body = [data, b" "].concat().into();
    assert!(FEED.receive(&delivery).is_err(), "nor with that of another body");
}
