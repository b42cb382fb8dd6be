//! Any form is taken, set aside or refused, as it is and signed, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        mandrill::{Mandrill, SIGNATURE_HEADER, Settings, signing},
    },
    model::Timestamp,
};

const URL: &str = "https://relaywatch.example.com/in/mandrill";
static FEED: LazyLock<Mandrill> =
    LazyLock::new(|| Mandrill::new(&Settings { url: URL.to_owned(), keys: vec!["fuzz".into()] }).expect("feed"));

/// Checks one input.
pub fn check(data: &[u8]) {
    let events = std::str::from_utf8(data).map(signing::form).unwrap_or_default();
    for body in [data.to_vec(), events.into_bytes()] {
        let mut delivery = Delivery {
            method: Default::default(),
            query: String::new(),
            headers: Default::default(),
            body: body.clone().into(),
            received_at: Timestamp::from_seconds(1_754_805_600),
        };
        if let Ok(report) = FEED.receive(&delivery) {
            assert!(report.is_question && report.events.is_empty(), "nothing comes in unsigned");
        }
        let signature = signing::signature("fuzz", URL, &body);
        delivery.headers.insert(SIGNATURE_HEADER, signature.parse().expect("header"));
        assert_eq!(FEED.receive(&delivery), FEED.receive(&delivery));
    }
}
