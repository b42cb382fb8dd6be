//! `[feeds.azure]`: Azure Communication Services through Event Grid.

use super::{super::validate::Checks, table};

table! {
    /// Azure Communication Services' delivery reports through Event Grid.
    pub struct AzureFeed at "azure" with exposure, checked by check {
        /// The header in which the subscription sends `token` (a delivery property), `X-Relaywatch-Token` by default. In the
        /// address, `?token=…`, it is taken as well.
        pub header: Option<String>,
        secret "token" {
            /// The token in the subscription's address or header.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &AzureFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.token.is_none() {
        checks.error(
            path,
            "the Azure feed has no token, so anybody could post to it",
            "set `token_file`, and put the token into the subscription's address: ?token=…",
        );
    }
    checks.token(&format!("{path}.token"), feed.token.as_ref());
}
