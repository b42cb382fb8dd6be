//! `[feeds.klaviyo]`: Klaviyo's system webhooks.

use super::{
    super::validate::{Checks, SHORT_TOKEN},
    table,
};

table! {
    /// Klaviyo's system webhooks.
    pub struct KlaviyoFeed at "klaviyo" with exposure, checked by check, connected by connect {
        secret "secret key" {
            /// The secret key of the webhook, as it was set when the webhook was made.
            secret_key, secret_key_file, previous_secret_key, previous_secret_key_file,
        }
    }
}

fn check(feed: &KlaviyoFeed, path: &str, checks: &mut Checks<'_>) {
    match &feed.secret_key {
        None => checks.error(path, "the Klaviyo feed has no secret key", "set `secret_key_file`"),
        // Klaviyo makes the key, so nothing can be said of how to choose one: a short one was copied badly.
        Some(key) if key.expose().len() < SHORT_TOKEN => checks.warning(
            &format!("{path}.secret_key"),
            format!("`secret_key` is shorter than {SHORT_TOKEN} bytes, and Klaviyo's are not"),
            "copy the secret key of the webhook again; Klaviyo asks for 16 characters at least",
        ),
        Some(_) => {}
    }
    super::no_sends("Klaviyo", feed.exposure, path, checks);
}

fn connect(feed: &KlaviyoFeed, at: &str) -> Vec<String> {
    let others = "Bounced Email, Dropped Email, Marked Email as Spam, Unsubscribed";
    vec![
        format!("Klaviyo, a system webhook (Advanced KDP, or by the API) with the endpoint {at}"),
        super::events(feed.exposure, "", "Received Email", others),
        "Its secret key is the setting `secret_key`".to_owned(),
    ]
}
