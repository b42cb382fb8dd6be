//! KumoMTA: a token in a header of one's own.

use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::{daemon::now, webhooks};

const PATH: &str = "/in/kumomta";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "kumomta",
    event,
    delivered: "Delivery",
    refused,
    by_authentication: &["no secret", "a wrong secret", "two secrets"],
};

fn event(word: &str, time: &Value) -> Value {
    json!({ "type": word, "id": "km1", "timestamp": time, "recipient": canary() })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut all = of_every_webhook(PATH, &good, "{\"type\":\"a\",\"type\":\"b\"}");
    let headers = webhooks::headers("kumomta", good.as_bytes());
    all.extend([
        bad("no secret", &[], (401, "unauthenticated")),
        bad("two secrets", &[headers.clone(), headers].concat(), (401, "unauthenticated")),
        bad("a wrong secret", &[("x-relaywatch-token", "wrong".to_owned())], (401, "bad-credentials")),
    ]);
    all
}
