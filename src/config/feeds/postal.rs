//! `[feeds.postal]`: Postal's webhooks.

use super::{super::validate::Checks, table};

table! {
    /// Postal's webhooks.
    pub struct PostalFeed at "postal" with exposure, checked by check {
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
}
