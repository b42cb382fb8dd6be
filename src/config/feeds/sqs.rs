//! `[feeds.sqs]`: Amazon SES through a queue of Amazon SQS.

use url::Url;

use super::{super::validate::Checks, table};
use crate::config::{PublicUrl, forms::is_region};

table! {
    /// Amazon SES through a queue of Amazon SQS.
    pub struct SqsFeed by_itself "sqs" with exposure, checked by check, connected by connect {
        /// The queue's URL, as the SQS console shows it.
        pub queue_url: Option<PublicUrl>,
        /// The queue's region. Without it, the one in `queue_url`.
        pub region: Option<String>,
        /// Where SQS is asked instead of the region's own endpoint: a VPC endpoint, or one on loopback.
        pub endpoint: Option<PublicUrl>,
        /// Seconds for which SQS holds a request until a message comes: 20 unless set.
        #[schemars(range(min = 1, max = 20))]
        pub wait_seconds: Option<u32>,
        /// The SES message tag that names the campaign.
        pub campaign_tag: Option<String>,
    }
}

impl SqsFeed {
    /// The queue's region, as set or as its URL tells it.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        self.region.clone().or_else(|| region_of(&self.queue_url.as_ref()?.0))
    }
}

fn check(feed: &SqsFeed, path: &str, checks: &mut Checks<'_>) {
    let Some(PublicUrl(queue)) = &feed.queue_url else {
        let help = "set `queue_url`; the SQS console shows it: \"https://sqs.eu-west-1.amazonaws.com/123456789012/ses-events\"";
        checks.error(path, "the SQS feed has no queue", help);
        return;
    };
    let place = format!("{path}.queue_url");
    checks.https(&place, queue);
    let names_a_queue =
        queue.path_segments().is_some_and(|mut parts| parts.next_back().is_some_and(|name| !name.is_empty()));
    if !names_a_queue || queue.query().is_some() || queue.fragment().is_some() || !queue.username().is_empty() {
        let help =
            "write it as the SQS console shows it: \"https://sqs.eu-west-1.amazonaws.com/123456789012/ses-events\"";
        checks.wrong(&place, "this is no URL of a queue", help);
    }
    let told = region_of(queue);
    match &feed.region {
        Some(region) if !is_region(region) => {
            checks.wrong(&format!("{path}.region"), "this is no region of AWS", "write it as \"eu-west-1\"");
        }
        Some(region) if told.as_ref().is_some_and(|told| told != region) => {
            let help = "take `region` away: the queue's URL tells it";
            checks.error(&format!("{path}.region"), "`queue_url` tells another region", help);
        }
        None if told.is_none() => {
            checks.error(path, "`queue_url` does not tell the region", "set `region`, as \"eu-west-1\"");
        }
        _ => {}
    }
    match &feed.endpoint {
        Some(PublicUrl(endpoint)) => checks.https(&format!("{path}.endpoint"), endpoint),
        None if !is_public(queue) => {
            let origin = queue.origin().ascii_serialization();
            checks.error(path, "`queue_url` is not on SQS's own host", format!("add `endpoint = \"{origin}\"`"));
        }
        None => {}
    }
}

/// Whether the host is one of a region's public endpoints (AWS General Reference, "Amazon SQS endpoints and quotas"), or the
/// legacy form in which older queues' URLs are written.
fn is_public(queue: &Url) -> bool {
    let Some(host) = queue.host_str() else { return false };
    let parts: Vec<&str> = host.split('.').collect();
    match parts.as_slice() {
        ["sqs" | "sqs-fips", region, "amazonaws", "com"]
        | ["sqs" | "sqs-fips", region, "amazonaws", "com", "cn"]
        | ["sqs" | "sqs-fips", region, "api", "aws"]
        | [region, "queue", "amazonaws", "com"] => is_region(region),
        ["queue", "amazonaws", "com"] => true,
        _ => false,
    }
}

/// The region that a queue's URL tells: the part of the host that looks like one.
fn region_of(queue: &Url) -> Option<String> {
    let host = queue.host_str()?;
    if host == "queue.amazonaws.com" {
        return Some("us-east-1".to_owned());
    }
    host.split('.').find(|part| is_region(part)).map(ToOwned::to_owned)
}

fn connect(feed: &SqsFeed, at: &str) -> Vec<String> {
    vec![
        format!("SNS: a subscription of the queue {at} to the topic of SES's events; the queue's policy lets it in"),
        super::events(feed.exposure, "Sends", "Deliveries", "Hard bounces, Complaints, Delivery delays, Rejects"),
        "AWS: credentials by the ordinary chain, with sqs:ReceiveMessage, DeleteMessage and ChangeMessageVisibility"
            .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_url_tells_region_and_host() {
        for (url, region, public) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/ses-events", Some("eu-west-1"), true),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/ses-events", Some("cn-north-1"), true),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/q", Some("us-gov-west-1"), true),
            ("https://eu-west-1.queue.amazonaws.com/123456789012/q", Some("eu-west-1"), true),
            ("https://queue.amazonaws.com/123456789012/q", Some("us-east-1"), true),
            ("https://vpce-0a1b-2c3d.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q", Some("eu-west-1"), false),
            ("http://127.0.0.1:5000/123456789012/q", None, false),
            ("https://sqs.example.com/123456789012/q", None, false),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!((region_of(&url).as_deref(), is_public(&url)), (region, public), "{url}");
        }
    }
}
