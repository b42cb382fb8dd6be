//! Any batch under the right access key is taken, set aside or refused, and what is taken is answered.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        ses_firehose::{ACCESS_KEY_HEADER, SesFirehose, Settings},
    },
    model::Timestamp,
};

/// 2025-08-10T06:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

static FEED: LazyLock<SesFirehose> = LazyLock::new(|| {
    SesFirehose::new(&Settings { access_keys: vec!["fuzz".into()], campaign_tag: None }).expect("feed")
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
    delivery.headers.insert(ACCESS_KEY_HEADER, "fuzz".parse().expect("header"));
    let taken = FEED.receive(&delivery);
    assert_eq!(taken, FEED.receive(&delivery));
    if let Ok(report) = taken {
        assert!(report.answer.is_some_and(|answer| answer.body.contains("\"requestId\"")));
    }
}
