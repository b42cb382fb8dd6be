//! `[feeds.unisender]`: Unisender Go's webhooks.

use super::{super::validate::Checks, table};

table! {
    /// Unisender Go's webhooks.
    pub struct UnisenderFeed at "unisender" with exposure, checked by check, connected by connect {
        secret "API key" {
            /// The API key of the account or project whose webhook it is.
            api_key, api_key_file, previous_api_key, previous_api_key_file,
        }
    }
}

fn check(feed: &UnisenderFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.api_key.is_none() {
        checks.error(path, "the Unisender Go feed has no API key", "set `api_key_file`");
    }
}

fn connect(feed: &UnisenderFeed, at: &str) -> Vec<String> {
    vec![
        format!("Unisender Go, Settings, Webhooks: a new one with the URL {at} in JSON, after a reload here"),
        super::events(feed.exposure, "sent", "delivered", "soft_bounced, hard_bounced, unsubscribed, spam"),
        "`api_key` is the key of the account or project whose webhook it is".to_owned(),
    ]
}
