//! Any body is refused without a signature; any event under a good one is taken or set aside, with its token.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        mailgun::{DEFAULT_WINDOW_MILLIS, Mailgun, Settings, signing},
    },
    model::Timestamp,
};

const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

static FEED: LazyLock<Mailgun> = LazyLock::new(|| {
    let settings = Settings { signing_keys: vec!["fuzz".into()], window_millis: DEFAULT_WINDOW_MILLIS };
    Mailgun::new(&settings).expect("feed")
});

/// Checks one input.
pub fn check(data: &[u8]) {
    let delivery = |body| Delivery {
        method: Default::default(),
        query: String::new(),
        headers: Default::default(),
        body,
        received_at: NOW,
    };
    assert!(FEED.receive(&delivery(data.to_vec().into())).is_err(), "nothing comes in without a signature");
    if let Ok(event_data) = std::str::from_utf8(data)
        && let Ok(report) = FEED.receive(&delivery(signing::body("fuzz", NOW, "token", event_data)))
    {
        assert!(report.token.is_some());
    }
}
