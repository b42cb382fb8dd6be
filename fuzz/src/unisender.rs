//! Any event is taken, set aside or refused, as it is and signed, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        unisender::{Settings, Unisender, signing},
    },
    model::Timestamp,
};

static FEED: LazyLock<Unisender> =
    LazyLock::new(|| Unisender::new(&Settings { api_keys: vec!["fuzz".into()] }).expect("feed"));

/// Checks one input.
pub fn check(data: &[u8]) {
    let receive = |body: Vec<u8>| {
        let received_at = Timestamp::from_seconds(1_754_805_600);
        FEED.receive(&Delivery {
            method: Default::default(),
            query: String::new(),
            headers: Default::default(),
            body: body.into(),
            received_at,
        })
    };
    assert!(receive(data.to_vec()).is_err(), "nothing comes in unsigned");
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = text.trim();
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let body = signing::body("fuzz", inner);
    assert_eq!(receive(body.clone().into_bytes()), receive(body.into_bytes()));
}
