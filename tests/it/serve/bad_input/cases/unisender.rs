//! Unisender Go: a digest of body and key in the body.

use relaywatch::ingest::http::unisender as feed;
use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::daemon::now;

const PATH: &str = "/in/unisender";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "unisender",
    event,
    delivered: "delivered",
    refused,
    by_authentication: &["no signature", "a foreign key", "another body"],
};

fn event(word: &str, time: &Value) -> Value {
    json!({
        "event_name": "transactional_email_status",
        "event_data": { "job_id": "us1", "status": word, "event_time": time, "email": canary() },
    })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let mut all = of_every_webhook(PATH, &good, "{\"auth\":\"a\",\"auth\":\"b\"}");
    let body = |what: &str, body: String, expected| Bad::new(what, PATH, &[], body, expected);
    let foreign = feed::signing::body("api-key-of-somebody-else", "\"events_by_user\":[]");
    all.extend([
        body("no signature", good.replacen("\"auth\"", "\"other\"", 1), (401, "unauthenticated")),
        body(
            "a signature that is no MD5",
            "{\"auth\":\"00\",\"events_by_user\":[]}".to_owned(),
            (401, "unauthenticated"),
        ),
        body("a foreign key", foreign, (401, "bad-signature")),
        body("another body", good.replace("delivered", "sent"), (401, "bad-signature")),
        body("a line end after it", format!("{good}\n"), (401, "bad-signature")),
    ]);
    all
}
