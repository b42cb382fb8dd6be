//! Any body, as JSON and as a form: what is taken is answered with the validation key, and twice in the same way.

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
        let taken = FEED.receive(&delivery);
        assert_eq!(taken, FEED.receive(&delivery));
        if let Ok(report) = taken {
            assert!(report.answer.is_some_and(|answer| answer.body == "fuzz-validation"));
        }
        delivery.headers.insert("content-type", "application/x-www-form-urlencoded".parse().expect("header"));
    }
}
