//! `[feeds.generic]`: events in relaywatch's own format.

use super::{super::validate::Checks, table};

table! {
    /// Events of senders of your own, in relaywatch's own format.
    pub struct GenericFeed at "generic" with exposure, checked by check, connected by connect {
        secret "signing key" {
            /// The key with which the senders sign.
            signing_key, signing_key_file, previous_signing_key, previous_signing_key_file,
        }
    }
}

fn check(feed: &GenericFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.signing_key.is_none() {
        checks.error(
            path,
            "the feed of your own events has no signing key",
            "set `signing_key_file`: openssl rand -hex 32",
        );
    }
    checks.token(&format!("{path}.signing_key"), feed.signing_key.as_ref());
}

fn connect(feed: &GenericFeed, at: &str) -> Vec<String> {
    vec![
        format!(
            "Your sender posts to {at}, signed with the key of `signing_key`; docs/providers/generic.md has the format"
        ),
        super::events(
            feed.exposure,
            "sent",
            "delivered",
            "refused, deferred, complained, unsubscribed, suppressed-by-provider",
        ),
    ]
}
