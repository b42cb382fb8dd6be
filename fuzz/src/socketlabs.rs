//! Any body, as JSON and as a form: taken with the secret key only, and none of it is in what is set aside.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        socketlabs::{Settings, SocketLabs},
    },
    model::Timestamp,
};

/// 2025-08-10T06:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

static FEED: LazyLock<SocketLabs> = LazyLock::new(|| {
    let validation_key = Some("fuzz-validation".into());
    SocketLabs::new(&Settings { secret_keys: vec!["fuzz-secret-key".into()], validation_key }).expect("feed")
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
    for _ in 0..2 {
        if let Ok(report) = FEED.receive(&delivery) {
            assert!(data.windows(4).any(|part| part == b"fuzz"), "the secret key was given");
            for aside in report.set_aside {
                let secret = b"\"SecretKey\"".as_slice();
                assert!(!aside.body.windows(secret.len()).any(|part| part == secret), "the secret key is kept");
            }
        }
        delivery.headers.insert("content-type", "application/x-www-form-urlencoded".parse().expect("header"));
    }
}
