//! Any record under the right secret is taken, set aside or refused, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{Delivery, auth::Credentials, postmark::Postmark},
    model::Timestamp,
};

static FEED: LazyLock<Postmark> = LazyLock::new(|| {
    let header = Some("x-token".to_owned());
    Postmark::new(&Credentials { tokens: vec!["fuzz".into()], header, ..Credentials::default() }).expect("feed")
});

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
    delivery.headers.insert("x-token", "fuzz".parse().expect("header"));
    let taken = FEED.receive(&delivery);
    assert_eq!(taken, FEED.receive(&delivery));
    if let Err(refused) = taken {
        assert_ne!(refused.status.as_u16(), 403, "Postmark would not come again");
    }
}
