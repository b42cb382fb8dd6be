//! `[feeds.mailtrap]`: Mailtrap's webhooks.

use super::{super::validate::Checks, table};

table! {
    /// Mailtrap's webhooks.
    pub struct MailtrapFeed at "mailtrap" with exposure, checked by check, connected by connect {
        secret "signing secret" {
            /// The webhook's signing secret, as Mailtrap shows it.
            signing_secret, signing_secret_file, previous_signing_secret, previous_signing_secret_file,
        }
    }
}

fn check(feed: &MailtrapFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.signing_secret.is_none() {
        checks.error(path, "the Mailtrap feed has no signing secret", "set `signing_secret_file`");
    }
    super::no_sends("Mailtrap", feed.exposure, path, checks);
}

fn connect(feed: &MailtrapFeed, at: &str) -> Vec<String> {
    let others = "bounce, soft bounce, suspension, reject, spam complaint, unsubscribe";
    vec![
        format!("Mailtrap, Settings, Webhooks: a new one with the URL {at}, as JSON or JSON Lines"),
        super::events(feed.exposure, "", "delivery", others),
        "`signing_secret` is the secret that it shows".to_owned(),
    ]
}
