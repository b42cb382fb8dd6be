//! `[feeds.ses_firehose]`: Amazon SES through Firehose.

use super::{super::validate::Checks, table};

table! {
    /// Amazon SES through a Firehose stream that delivers to an HTTP endpoint.
    pub struct SesFirehoseFeed at "ses-firehose" with exposure, checked by check, connected by connect {
        /// The SES message tag that names the campaign.
        pub campaign_tag: Option<String>,
        secret "access key" {
            /// The access key of the stream's HTTP endpoint.
            access_key, access_key_file, previous_access_key, previous_access_key_file,
        }
    }
}

fn check(feed: &SesFirehoseFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.access_key.is_none() {
        checks.error(
            path,
            "the SES Firehose feed has no access key, so anybody could post to it",
            "set `access_key_file`: openssl rand -hex 32",
        );
    }
    checks.token(&format!("{path}.access_key"), feed.access_key.as_ref());
}

fn connect(feed: &SesFirehoseFeed, at: &str) -> Vec<String> {
    vec![
        format!("Firehose: a stream with the destination HTTP endpoint {at} and the key of `access_key`"),
        "SES, the configuration set of your mail: an event destination Firehose".to_owned(),
        super::events(feed.exposure, "Send", "Delivery", "Bounce, Complaint, Delivery delay, Reject"),
    ]
}
