//! `[feeds.resend]`: Resend's webhooks, and those of others that post the same under Svix's or Standard Webhooks' signature.

use super::{super::validate::Checks, table};

table! {
    /// Resend's webhooks, and those of others that post the same under Svix's or Standard Webhooks' signature.
    pub struct ResendFeed at "resend" with exposure, checked by check, connected by connect {
        secret "signing secret" {
            /// The webhook's signing secret as Resend shows it: `whsec_…`.
            signing_secret, signing_secret_file, previous_signing_secret, previous_signing_secret_file,
        }
    }
}

fn check(feed: &ResendFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.signing_secret.is_none() {
        checks.error(path, "the Resend feed has no signing secret", "set `signing_secret_file`");
    }
}

fn connect(feed: &ResendFeed, at: &str) -> Vec<String> {
    let others = "email.delivery_delayed, bounced, complained, failed, suppressed";
    vec![
        format!("Resend, Webhooks, Add Webhook: the URL {at}"),
        super::events(feed.exposure, "email.sent", "email.delivered", others),
        "`signing_secret` is the secret that it shows (whsec_…)".to_owned(),
    ]
}
