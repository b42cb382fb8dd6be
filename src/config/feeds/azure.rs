//! `[feeds.azure]`: Azure Communication Services through Event Grid.

use super::{super::validate::Checks, table};

table! {
    /// Azure Communication Services' delivery reports through Event Grid.
    pub struct AzureFeed at "azure" with exposure, checked by check, connected by connect {
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
    super::no_sends("Azure", feed.exposure, path, checks);
}

fn connect(feed: &AzureFeed, at: &str) -> Vec<String> {
    let token = match &feed.header {
        Some(header) => format!("A delivery property: the secret header {header} with the token of `token`"),
        None => "The token of `token` stands behind it: ?token=<the token>".to_owned(),
    };
    vec![
        format!("Azure, the Communication Services resource, Events: a subscription of type Web Hook to {at}"),
        token,
        "Event type: Email Delivery Report Received, in either schema; a dead-letter destination".to_owned(),
    ]
}
