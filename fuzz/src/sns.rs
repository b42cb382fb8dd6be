//! Any bytes as an SNS envelope: refused unless signed; any message in a signed one comes out as it went in.

use std::sync::LazyLock;

use relaywatch::{
    ingest::http::{
        Delivery,
        sns::{
            MessageType, SignatureVersion, SnsSettings, Verifier,
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
    verifier: Verifier,
    runtime: tokio::runtime::Runtime,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let signer = Signer::generate().expect("a key");
    let pem = signer
        .certificate("sns.amazonaws.com", NOW.plus_millis(-1_000), NOW.plus_millis(1_000))
        .expect("a certificate");
    let settings = SnsSettings {
        topics: vec![TOPIC.to_owned()],
        signing_certificates: vec![pem.into_bytes()],
        ..SnsSettings::default()
    };
    let verifier = Verifier::new(&settings).expect("settings");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    World { signer, verifier, runtime }
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
///
/// It is an envelope as it stands; and a message and a subject behind each other, with a NUL between them.
pub fn check(data: &[u8]) {
    let world = &*WORLD;
    let forged = delivery(data.to_vec());
    let [message, subject] = super::texts(data);
    assert!(world.runtime.block_on(world.verifier.verify(&forged)).is_err(), "nobody can forge a signature");
    let draft = Draft {
        kind: MessageType::Notification,
        topic: TOPIC,
        message_id: &message_id(1),
        message: &message,
        subject: (!subject.is_empty()).then_some(subject.as_str()),
        at: NOW,
        version: if data.len().is_multiple_of(2) { SignatureVersion::V1 } else { SignatureVersion::V2 },
    };
    let signed = delivery(world.signer.envelope(&draft).expect("signs").into_bytes());
    match world.runtime.block_on(world.verifier.verify(&signed)) {
        Ok(verified) => assert_eq!(verified.message, message),
        // What stands in no real message may be refused, and only for its shape.
        Err(refused) => assert!(refused.detail.len() > 10),
    }
}
