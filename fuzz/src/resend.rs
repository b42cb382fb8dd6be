//! Any event is taken, set aside or refused, as it is and signed, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        resend::{Resend, Settings},
        svix::{HEADERS, signing},
    },
    model::Timestamp,
};

const SECRET: &str = "whsec_ZnV6eg==";
static FEED: LazyLock<Resend> =
    LazyLock::new(|| Resend::new(&Settings { signing_secrets: vec![SECRET.into()] }).expect("feed"));

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
    let signature = signing::signature(SECRET, "msg_1", "1754805600", data).expect("signed");
    for (name, value) in HEADERS[0].into_iter().zip(["msg_1", "1754805600", &signature]) {
        delivery.headers.insert(name, value.parse().expect("header"));
    }
    assert_eq!(FEED.receive(&delivery), FEED.receive(&delivery));
}
