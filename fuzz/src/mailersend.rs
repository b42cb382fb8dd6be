//! Any event is taken, set aside or refused, as it is and signed, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        mailersend::{MailerSend, SIGNATURE_HEADER, Settings, signing},
    },
    model::Timestamp,
};

static FEED: LazyLock<MailerSend> =
    LazyLock::new(|| MailerSend::new(&Settings { signing_secrets: vec!["fuzz".into()] }).expect("feed"));

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
    let signature = signing::signature("fuzz", data);
    delivery.headers.insert(SIGNATURE_HEADER, signature.parse().expect("header"));
    assert_eq!(FEED.receive(&delivery), FEED.receive(&delivery));
}
