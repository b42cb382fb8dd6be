//! Any records under the right secret are taken, set aside or refused, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{Delivery, auth::Credentials, kumomta::KumoMta},
    model::Timestamp,
};

static FEED: LazyLock<KumoMta> = LazyLock::new(|| {
    KumoMta::new(&Credentials { tokens: vec!["fuzz".into()], ..Credentials::default() }).expect("feed")
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
    delivery.headers.insert("authorization", "Bearer fuzz".parse().expect("header"));
    let taken = FEED.receive(&delivery);
    assert_eq!(taken, FEED.receive(&delivery));
}
