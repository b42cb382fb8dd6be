//! Any event under the right key is taken, set aside or refused, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        auth::Credentials,
        ses_eventbridge::{SesEventBridge, Settings},
    },
    model::Timestamp,
};

/// 2025-08-10T06:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

static FEED: LazyLock<SesEventBridge> = LazyLock::new(|| {
    let header = Some("x-token".to_owned());
    let credentials = Credentials { tokens: vec!["fuzz".into()], header, ..Credentials::default() };
    SesEventBridge::new(&Settings { credentials, campaign_tag: None }).expect("feed")
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
    delivery.headers.insert("x-token", "fuzz".parse().expect("header"));
    let taken = FEED.receive(&delivery);
    assert_eq!(taken, FEED.receive(&delivery));
    drop(taken);
}
