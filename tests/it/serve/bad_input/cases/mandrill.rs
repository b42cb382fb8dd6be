//! Mandrill: a signature over URL and form.

use relaywatch::ingest::http::mandrill as feed;
use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::{
    daemon::now,
    webhooks::{self, MANDRILL_KEY, MANDRILL_URL},
};

const PATH: &str = "/in/mandrill";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "mandrill",
    event,
    delivered: "delivered",
    refused,
    by_authentication: &["no signature", "a foreign key", "another body", "another URL"],
};

fn event(word: &str, time: &Value) -> Value {
    json!({ "event": word, "_id": "md1", "ts": time, "msg": { "email": canary() } })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut all = of_every_webhook(PATH, &good, &feed::signing::form("{\"event\":\"a\",\"event\":\"b\"}"));
    let signed =
        |key: &str, url: &str| vec![(feed::SIGNATURE_HEADER, feed::signing::signature(key, url, good.as_bytes()))];
    let headers = webhooks::headers("mandrill", good.as_bytes());
    all.extend([
        bad("no signature", &[], (401, "unauthenticated")),
        bad("an empty signature", &[(feed::SIGNATURE_HEADER, String::new())], (401, "unauthenticated")),
        bad("a foreign key", &signed("another-key", MANDRILL_URL), (401, "bad-signature")),
        bad("another URL", &signed(MANDRILL_KEY, "https://relaywatch.example.com/in/mandrill"), (401, "bad-signature")),
        Bad::new("another body", PATH, &headers, good.replace("delivered", "send"), (401, "bad-signature")),
        Bad::new("a field more", PATH, &headers, format!("{good}&a=b"), (401, "bad-signature")),
    ]);
    all
}
