//! Resend: Svix's signature, with a window.

use serde_json::{Value, json};

use super::{Bad, Webhook, canary, of_every_webhook};
use crate::support::{
    daemon::now,
    webhooks::{self, RESEND_SECRET},
};

const PATH: &str = "/in/resend";

pub(super) const WEBHOOK: Webhook = Webhook {
    feed: "resend",
    event,
    delivered: "email.delivered",
    refused,
    by_authentication: &[
        "no signature",
        "a foreign key",
        "another body",
        "another id",
        "too old",
        "ahead of the clock",
    ],
};

fn event(word: &str, time: &Value) -> Value {
    json!({
        "type": word, "created_at": time,
        "data": { "email_id": "rs1", "to": [canary()], "from": "news@mail.example.com" },
    })
}

fn refused() -> Vec<Bad> {
    let good = WEBHOOK.post(WEBHOOK.delivered, &json!(now().as_seconds())).1;
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut all = of_every_webhook(PATH, &good, "{\"type\":\"a\",\"type\":\"b\"}");
    let signed = |secret: &str, seconds| webhooks::resend(secret, "msg_1", seconds, good.as_bytes());
    let ours = signed(RESEND_SECRET, 0);
    let mut renamed = ours.clone();
    "msg_2".clone_into(&mut renamed[0].1);
    let mut unversioned = ours.clone();
    unversioned[2].1 = unversioned[2].1.replacen("v1,", "v2,", 1);
    all.extend([
        bad("no signature", &[], (401, "unauthenticated")),
        bad("a signature of another version", &unversioned, (401, "unauthenticated")),
        bad("a foreign key", &signed("whsec_b3RoZXI=", 0), (401, "bad-signature")),
        bad("another id", &renamed, (401, "bad-signature")),
        Bad::new("another body", PATH, &ours, good.replace("delivered", "sent"), (401, "bad-signature")),
        bad("too old", &signed(RESEND_SECRET, -600), (503, "stale")),
        bad("ahead of the clock", &signed(RESEND_SECRET, 600), (503, "stale")),
    ]);
    all
}
