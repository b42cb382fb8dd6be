//! Any bytes as an envelope of Scaleway's are refused unless signed; any message in a signed one is taken, set aside or refused.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        scaleway::{Scaleway, Settings},
        sns::{
            MessageType, SignatureVersion,
            signing::{Draft, Signer, message_id},
        },
    },
    model::Timestamp,
};

const TOPIC: &str = "arn:scw:sns:fr-par:project-8c8bfa06-0000-4000-8000-000000000001:mail-events";
/// 2025-08-10T06:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

struct World {
    signer: Signer,
    feed: Scaleway,
    runtime: tokio::runtime::Runtime,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let signer = Signer::generate().expect("a key");
    let (from, until) = (NOW.plus_millis(-1_000), NOW.plus_millis(1_000));
    let pem = signer.certificate("sns.mnq.fr-par.scaleway.com", from, until).expect("a certificate");
    let settings = Settings {
        topics: vec![TOPIC.to_owned()],
        signing_certificates: vec![pem.into_bytes()],
        ..Settings::default()
    };
    let feed = Scaleway::new(&settings).expect("settings");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    World { signer, feed, runtime }
});

fn delivery(body: Vec<u8>) -> Delivery {
    Delivery {
        method: Default::default(),
        query: String::new(),
        headers: Default::default(),
        body: body.into(),
        received_at: NOW,
    }
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let world = &*WORLD;
    let forged = delivery(data.to_vec());
    assert!(world.runtime.block_on(world.feed.receive(&forged)).is_err(), "nobody can forge a signature");
    let Ok(message) = std::str::from_utf8(data) else { return };
    let draft = Draft {
        kind: MessageType::Notification,
        topic: TOPIC,
        message_id: &message_id(1),
        message,
        subject: None,
        at: NOW,
        version: SignatureVersion::V2,
    };
    let signed = delivery(world.signer.envelope(&draft).expect("signs").into_bytes());
    let taken = world.runtime.block_on(world.feed.receive(&signed));
    assert_eq!(taken, world.runtime.block_on(world.feed.receive(&signed)));
}
