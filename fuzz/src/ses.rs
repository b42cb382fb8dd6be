//! Any bytes as the body of a post to the SES feed, as the message in a signed envelope, and as the SES payload itself.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        ses::{SesFeed, SesSettings, decode_bytes},
        sns::{
            MessageType, SignatureVersion,
            signing::{Draft, Signer, message_id},
        },
    },
    model::Timestamp,
};

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:ses-events";
/// 2025-08-11T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_754_870_400_000);

struct World {
    signer: Signer,
    feed: SesFeed,
    runtime: tokio::runtime::Runtime,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let signer = Signer::generate().expect("a key");
    let pem = signer
        .certificate("sns.amazonaws.com", NOW.plus_millis(-1_000), NOW.plus_millis(1_000))
        .expect("a certificate");
    let settings = SesSettings {
        topics: vec![TOPIC.to_owned()],
        signing_certificates: vec![pem.into_bytes()],
        ..SesSettings::default()
    };
    let feed = SesFeed::new(&settings).expect("settings");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    World { signer, feed, runtime }
});

/// Checks one input.
pub fn check(data: &[u8]) {
    let world = &*WORLD;
    let receive = |body: Vec<u8>| {
        let delivery = Delivery {
            method: Default::default(),
            query: String::new(),
            headers: Default::default(),
            body: body.into(),
            received_at: NOW,
        };
        world.runtime.block_on(world.feed.receive(&delivery))
    };
    assert!(receive(data.to_vec()).is_err(), "nobody can forge a signature");
    let direct = decode_bytes(data, None, NOW);
    if let Ok(message) = std::str::from_utf8(data) {
        let draft = Draft {
            kind: MessageType::Notification,
            topic: TOPIC,
            message_id: &message_id(1),
            message,
            subject: None,
            at: NOW,
            version: SignatureVersion::V2,
        };
        let envelope = world.signer.envelope(&draft).expect("signs");
        let received = receive(envelope.into_bytes());
        assert_eq!(received.ok(), direct.ok(), "the envelope changes nothing");
    }
}
