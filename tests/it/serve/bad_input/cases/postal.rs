//! Postal: an RSA signature over the body.

use relaywatch::ingest::http::postal as feed;
use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::{daemon::now, webhooks};

const PATH: &str = "/in/postal";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "postal",
    event,
    delivered: "MessageSent",
    refused,
    by_authentication: &["no signature", "a foreign key", "another body", "no way down"],
};

fn event(word: &str, time: &Value) -> Value {
    json!({
        "event": word, "uuid": "pl1", "timestamp": time, "payload": { "message": { "id": 1, "to": canary() } },
    })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut all = of_every_webhook(PATH, &good, "{\"event\":\"a\",\"event\":\"b\"}");
    let [sha256, sha1] = feed::SIGNATURE_HEADERS;
    let headers = webhooks::headers("postal", good.as_bytes());
    let foreign = feed::signing::Signer::generate().expect("a key").signature(good.as_bytes()).expect("signed");
    let signature = headers[0].1.clone();
    all.extend([
        bad("no signature", &[], (401, "unauthenticated")),
        bad("a signature that is no base64", &[(sha256, "***".to_owned())], (401, "unauthenticated")),
        bad("a foreign key", &[(sha256, foreign)], (401, "bad-signature")),
        bad("a signature under the other digest's header", &[(sha1, signature.clone())], (401, "bad-signature")),
        bad("no way down to the weaker one", &[(sha256, "AAAA".to_owned()), (sha1, signature)], (401, "bad-signature")),
        Bad::new("another body", PATH, &headers, good.replace("MessageSent", "MessageHeld"), (401, "bad-signature")),
    ]);
    all
}
