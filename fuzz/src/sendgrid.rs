//! Any batch is refused without a signature; under a good one it is taken, set aside or refused, and twice in the same way.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        sendgrid::{SIGNATURE_HEADER, SendGrid, Settings, TIMESTAMP_HEADER, signing::Signer},
    },
    model::Timestamp,
};

const NOW: &str = "1754805600";

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));
static FEED: LazyLock<SendGrid> = LazyLock::new(|| {
    let settings = Settings {
        verification_keys: vec![SIGNER.verification_key().expect("a key").into()],
        from_argument: Some("from_domain".to_owned()),
        envelope_argument: Some("return_path".to_owned()),
        ..Settings::default()
    };
    SendGrid::new(&settings).expect("feed")
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
    delivery.headers.insert(TIMESTAMP_HEADER, NOW.parse().expect("header"));
    assert!(FEED.receive(&delivery).is_err(), "nothing comes in without a signature");
    let signature = SIGNER.signature(NOW, data).expect("signed");
    delivery.headers.insert(SIGNATURE_HEADER, signature.parse().expect("header"));
    assert_eq!(FEED.receive(&delivery), FEED.receive(&delivery));
}
