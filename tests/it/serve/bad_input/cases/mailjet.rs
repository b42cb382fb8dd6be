//! Mailjet: basic authentication.

use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::{daemon::now, webhooks};

const PATH: &str = "/in/mailjet";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "mailjet",
    event,
    delivered: "sent",
    refused,
    by_authentication: &["no secret", "a wrong secret", "two secrets"],
};

fn event(word: &str, time: &Value) -> Value {
    json!({ "event": word, "MessageID": 1, "time": time, "email": canary() })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut all = of_every_webhook(PATH, &good, "{\"event\":\"a\",\"event\":\"b\"}");
    let headers = webhooks::headers("mailjet", good.as_bytes());
    all.extend([
        bad("no secret", &[], (401, "unauthenticated")),
        bad("two secrets", &[headers.clone(), headers].concat(), (401, "unauthenticated")),
        bad("a wrong secret", &[("authorization", "Basic bWFpbGpldDp3cm9uZw==".to_owned())], (401, "bad-credentials")),
        bad(
            "the secret as a bearer token",
            &[("authorization", "Bearer mailjet-secret-2b0e".to_owned())],
            (401, "unauthenticated"),
        ),
    ]);
    all
}
