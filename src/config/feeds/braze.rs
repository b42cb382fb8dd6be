//! `[feeds.braze]`: Braze Currents.

use super::{super::validate::Checks, table};

table! {
    /// Braze Currents.
    pub struct BrazeFeed at "braze" with exposure, checked by check {
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
