//! Any notification under the right secret, as JSON, as a form and in the address, is taken, set aside or refused.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        elasticemail::{ElasticEmail, Settings},
    },
    model::Timestamp,
};

/// 2025-08-10T06:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

static FEED: LazyLock<ElasticEmail> = LazyLock::new(|| {
    ElasticEmail::new(&Settings { tokens: vec!["fuzz".into()], ..Settings::default() }).expect("feed")
});

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut delivery = Delivery {
        method: Default::default(),
        query: String::new(),
        headers: Default::default(),
        body: data.to_vec().into(),
        received_at: NOW,
    };
    assert!(FEED.receive(&delivery).is_err(), "nothing comes in without the secret");
    delivery.query = format!("token=fuzz&{}", String::from_utf8_lossy(data));
    // GET, the method's default.
    drop(FEED.receive(&delivery));
    "token=fuzz".clone_into(&mut delivery.query);
    delivery.method = "POST".parse().expect("method");
    assert_eq!(FEED.receive(&delivery), FEED.receive(&delivery));
    delivery.headers.insert("content-type", "application/x-www-form-urlencoded".parse().expect("header"));
    drop(FEED.receive(&delivery));
}
