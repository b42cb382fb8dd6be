//! Brevo: a bearer token, and nothing but 429 for what shall come again.

use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::{daemon::now, webhooks};

const PATH: &str = "/in/brevo";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "brevo",
    event,
    delivered: "delivered",
    refused,
    by_authentication: &["no secret", "a wrong secret", "two secrets"],
};

fn event(word: &str, time: &Value) -> Value {
    json!({ "event": word, "message-id": "<bv1@x>", "ts_epoch": time, "email": canary() })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut all = of_every_webhook(PATH, &good, "{\"event\":\"a\",\"event\":\"b\"}");
    // What is too large can be taken once the cap is raised.
    for bad in all.iter_mut().filter(|bad| bad.status == 413) {
        bad.status = 429;
    }
    let headers = webhooks::headers("brevo", good.as_bytes());
    all.extend([
        bad("no secret", &[], (429, "unauthenticated")),
        bad("two secrets", &[headers.clone(), headers].concat(), (429, "unauthenticated")),
        bad("a wrong secret", &[("authorization", "Bearer wrong".to_owned())], (429, "bad-credentials")),
    ]);
    all
}
