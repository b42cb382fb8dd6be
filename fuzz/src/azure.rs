//! Any batch under the right token is taken, set aside or refused, and a handshake echoes what is plain only.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        azure::{Azure, Settings},
    },
    model::Timestamp,
};

/// 2025-08-10T06:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

static FEED: LazyLock<Azure> =
    LazyLock::new(|| Azure::new(&Settings { tokens: vec!["fuzz".into()], header: None }).expect("feed"));

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
    delivery.headers.insert("x-relaywatch-token", "fuzz".parse().expect("header"));
    let taken = FEED.receive(&delivery);
    assert_eq!(taken, FEED.receive(&delivery));
    if let Err(refused) = taken {
        assert!(![401, 403].contains(&refused.status.as_u16()), "Event Grid would give up");
    }
    delivery.method = "OPTIONS".parse().expect("method");
    if let Ok(origin) = String::from_utf8_lossy(data).parse() {
        delivery.headers.insert("webhook-request-origin", origin);
    }
    if let Ok(report) = FEED.receive(&delivery) {
        let answer = report.answer.expect("an answer");
        assert!(answer.headers.iter().all(|(_, value)| !value.as_bytes().contains(&b' ')));
    }
}
