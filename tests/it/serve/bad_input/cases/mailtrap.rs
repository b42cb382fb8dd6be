//! Mailtrap: a signature over the body.

use relaywatch::ingest::http::mailtrap::SIGNATURE_HEADER;
use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::{daemon::now, webhooks};

const PATH: &str = "/in/mailtrap";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "mailtrap",
    event,
    delivered: "delivery",
    refused,
    by_authentication: &["no signature", "a foreign key", "another body"],
};

fn event(word: &str, time: &Value) -> Value {
    json!({ "event": word, "event_id": "mt1", "timestamp": time, "email": canary() })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut all = of_every_webhook(PATH, &good, "{\"events\":[],\"events\":[]}");
    let headers = webhooks::headers("mailtrap", good.as_bytes());
    all.extend([
        bad("no signature", &[], (401, "unauthenticated")),
        bad("a signature that is no hex", &[(SIGNATURE_HEADER, "no hex".to_owned())], (401, "unauthenticated")),
        bad("a foreign key", &[(SIGNATURE_HEADER, webhooks::foreign_tag(good.as_bytes()))], (401, "bad-signature")),
        Bad::new("another body", PATH, &headers, good.replace("delivery", "spam"), (401, "bad-signature")),
        Bad::new("a line end after it", PATH, &headers, format!("{good}\n"), (401, "bad-signature")),
    ]);
    all
}
