//! Any batch under the right secret is taken, set aside or refused, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        sparkpost::{Settings, SparkPost},
    },
    model::Timestamp,
};

static FEED: LazyLock<SparkPost> =
    LazyLock::new(|| SparkPost::new(&Settings { tokens: vec!["fuzz".into()], ..Settings::default() }).expect("feed"));

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
    delivery.headers.insert("authorization", "Bearer fuzz".parse().expect("header"));
    assert_eq!(FEED.receive(&delivery), FEED.receive(&delivery));
}
