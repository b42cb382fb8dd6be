//! `[feeds.customerio]`: Customer.io's reporting webhooks.

use super::{
    super::validate::{Checks, SHORT_TOKEN},
    table,
};

table! {
    /// Customer.io's reporting webhooks.
    pub struct CustomerioFeed at "customerio" with exposure, checked by check, connected by connect {
        secret "signing key" {
            /// The signing key of the reporting webhook, as Customer.io shows it.
            signing_key, signing_key_file, previous_signing_key, previous_signing_key_file,
        }
    }
}

fn check(feed: &CustomerioFeed, path: &str, checks: &mut Checks<'_>) {
    match &feed.signing_key {
        None => checks.error(path, "the Customer.io feed has no signing key", "set `signing_key_file`"),
        // Customer.io makes the key, so nothing can be said of how to choose one: a short one was copied badly.
        Some(key) if key.expose().len() < SHORT_TOKEN => checks.warning(
            &format!("{path}.signing_key"),
            format!("`signing_key` is shorter than {SHORT_TOKEN} bytes, and Customer.io's are not"),
            "copy the signing key of the reporting webhook from Customer.io again; it is no API key",
        ),
        Some(_) => {}
    }
}

fn connect(feed: &CustomerioFeed, at: &str) -> Vec<String> {
    vec![
        format!("Customer.io, Integrations, Reporting Webhooks: a new one with the endpoint {at}"),
        super::events(
            feed.exposure,
            "Sent",
            "Delivered",
            "Bounced, Deferred, Dropped, Failed, Marked as spam, Unsubscribed",
        ),
        "`signing_key` is the key that it shows; Body Content stays off".to_owned(),
    ]
}
