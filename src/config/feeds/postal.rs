//! `[feeds.postal]`: Postal's webhooks.

use super::{super::validate::Checks, table};

table! {
    /// Postal's webhooks.
    pub struct PostalFeed at "postal" with exposure, checked by check, connected by connect {
        secret "public key" {
            /// The public key of the installation: what `postal default-dkim-record` prints, or a PEM file.
            public_key, public_key_file, previous_public_key, previous_public_key_file,
        }
    }
}

fn check(feed: &PostalFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.public_key.is_none() {
        checks.error(
            path,
            "the Postal feed has no public key",
            "set `public_key_file`; the key is what `postal default-dkim-record` prints",
        );
    }
    super::no_sends("Postal", feed.exposure, path, checks);
}

fn connect(feed: &PostalFeed, at: &str) -> Vec<String> {
    let others = "MessageDelayed, MessageDeliveryFailed, MessageHeld, MessageBounced";
    vec![
        format!("Postal, each mail server, Webhooks: a new one with the URL {at}"),
        super::events(feed.exposure, "", "MessageSent", others),
        "`public_key` is what `postal default-dkim-record` prints".to_owned(),
    ]
}
