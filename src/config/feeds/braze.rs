//! `[feeds.braze]`: Braze Currents.

use super::{super::validate::Checks, table};

table! {
    /// Braze Currents.
    pub struct BrazeFeed at "braze" with exposure, checked by check, connected by connect {
        secret "token" {
            /// The bearer token.
            token, token_file, previous_token, previous_token_file,
        }
    }
}

fn check(feed: &BrazeFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.token.is_none() {
        checks.error(path, "the Braze feed has no token, so anybody could post to it", "set `token_file`");
    }
    checks.token(&format!("{path}.token"), feed.token.as_ref());
}

fn connect(feed: &BrazeFeed, at: &str) -> Vec<String> {
    let others = "Bounce, Soft Bounce, Mark As Spam, Unsubscribe, Deferral, Abort";
    vec![
        format!("Braze, Currents: a custom HTTP connector with the endpoint {at} and the bearer token of `token`"),
        format!("{} (message engagement, email)", super::events(feed.exposure, "Send", "Delivery", others)),
    ]
}
