//! MailerSend: a signature over the body.

use relaywatch::ingest::http::mailersend::SIGNATURE_HEADER;
use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::{daemon::now, webhooks};

const PATH: &str = "/in/mailersend";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "mailersend",
    event,
    delivered: "delivered",
    refused,
    by_authentication: &["no signature", "a foreign key", "another body"],
};

fn event(word: &str, time: &Value) -> Value {
    json!({
        "type": format!("activity.{word}"), "data": { "id": "ms1", "created_at": time, "recipient": canary() },
    })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut all = of_every_webhook(PATH, &good, "{\"type\":\"a\",\"type\":\"b\"}");
    let headers = webhooks::headers("mailersend", good.as_bytes());
    all.extend([
        bad("no signature", &[], (401, "unauthenticated")),
        bad("a signature that is no hex", &[(SIGNATURE_HEADER, "no hex".to_owned())], (401, "unauthenticated")),
        bad("a foreign key", &[(SIGNATURE_HEADER, webhooks::foreign_tag(good.as_bytes()))], (401, "bad-signature")),
        Bad::new("another body", PATH, &headers, good.replace("delivered", "sent"), (401, "bad-signature")),
        Bad::new("a line end after it", PATH, &headers, format!("{good}\n"), (401, "bad-signature")),
    ]);
    all
}
