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

    /// Whether both feeds are of one queue. At AWS it has several URLs: by its region's host, a legacy one, a VPC endpoint. Elsewhere
    /// another host is another service, with queues of its own.
    pub(in crate::config) fn is_same_queue(&self, other: &Self) -> bool {
        let (Some(PublicUrl(own)), Some(PublicUrl(others))) = (&self.queue_url, &other.queue_url) else { return false };
        let elsewhere = |feed: &Self, queue: &Url| {
            let asked = feed.endpoint.as_ref().map_or(queue, |PublicUrl(endpoint)| endpoint);
            (!is_aws(asked)).then(|| asked.origin())
        };
        let same_service = match (elsewhere(self, own), elsewhere(other, others)) {
            (Some(one), Some(other)) => one == other,
            (None, None) => true,
            // An endpoint of one's own can lead to AWS; then the queue's URL is AWS's.
            (Some(_), None) => is_aws(own),
            (None, Some(_)) => is_aws(others),
        };
        let region = self.region();
        same_service && region.is_some() && region == other.region() && own.path() == others.path()
    }
}

/// Whether the host is one of AWS's.
fn is_aws(url: &Url) -> bool {
    let of_aws = |host: &str| [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|own| host.ends_with(own));
    url.host_str().is_some_and(of_aws)
}

/// What a queue's URL looks like.
const FORM: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/ses-events";

fn check(feed: &SqsFeed, path: &str, checks: &mut Checks<'_>) {
    if feed.region.as_ref().is_some_and(|region| !is_region(region)) {
        checks.wrong(&format!("{path}.region"), "this is no region of AWS", "write it as \"eu-west-1\"");
    }
    if let Some(PublicUrl(endpoint)) = &feed.endpoint {
        checks.https(&format!("{path}.endpoint"), endpoint);
    }
    match &feed.queue_url {
        None => {
            let help = format!("set `queue_url`; the SQS console shows it: \"{FORM}\"");
            checks.error(path, "the SQS feed has no queue", help);
        }
        Some(PublicUrl(queue)) => check_queue(feed, queue, path, checks),
    }
}

fn check_queue(feed: &SqsFeed, queue: &Url, path: &str, checks: &mut Checks<'_>) {
    let place = format!("{path}.queue_url");
    if queue.scheme() == "arn" {
        let (message, help) = match url_of_arn(queue.as_str()) {
            Some(url) => ("this is the queue's ARN, and its URL is needed", format!("write `queue_url = \"{url}\"`")),
            None => ("this is an ARN, and not of a queue", format!("a queue's URL looks like \"{FORM}\"")),
        };
        return checks.wrong(&place, message, help);
    }
    if !names_a_queue(queue) {
        let help = format!("write it as the SQS console shows it: \"{FORM}\"");
        return checks.wrong(&place, "this is no URL of a queue", help);
    }
    checks.https(&place, queue);
    let told = region_of(queue);
    if feed.endpoint.is_none() && !is_public(queue) {
        let message = "`queue_url` is not on SQS's own host";
        if is_own(queue) {
            let origin = queue.origin().ascii_serialization();
            checks.error(path, message, format!("add `endpoint = \"{origin}\"`"));
        } else {
            // Its region would be a guess as well.
            let help = format!(
                "a queue's URL looks like \"{FORM}\"; where SQS is asked elsewhere (a VPC endpoint of your own name), `endpoint` says where"
            );
            return checks.error(&place, message, help);
        }
    }
    match &feed.region {
        Some(region) if is_region(region) && told.as_ref().is_some_and(|told| told != region) => {
            let help = "take `region` away: the queue's URL tells it";
            checks.error(&format!("{path}.region"), "`queue_url` tells another region", help);
        }
        None if told.is_none() => {
            checks.error(path, "`queue_url` does not tell the region", "set `region`, as \"eu-west-1\"");
        }
        _ => {}
    }
}

/// Whether the path is a queue's: on SQS's own hosts the account's twelve digits and the queue's name.
fn names_a_queue(queue: &Url) -> bool {
    let parts: Vec<&str> = queue.path_segments().into_iter().flatten().collect();
    let fits = match parts.as_slice() {
        [account, name] if is_public(queue) => is_account(account) && is_name(name),
        [.., name] => !is_public(queue) && is_name(name),
        [] => false,
    };
    fits && queue.query().is_none() && queue.fragment().is_none() && queue.username().is_empty()
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.chars().all(|c| c.is_ascii_digit())
}

/// Whether it is a queue's name (SQS API reference, `CreateQueue`).
fn is_name(text: &str) -> bool {
    let plain = text.strip_suffix(".fifo").unwrap_or(text);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !plain.is_empty() && text.len() <= 80 && plain.chars().all(fits)
}

/// The URL of the queue of this ARN, `arn:aws:sqs:eu-west-1:123456789012:ses-events`.
fn url_of_arn(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.split(':').collect();
    let &["arn", partition, "sqs", region, account, name] = parts.as_slice() else { return None };
    let domain = match partition {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        _ => return None,
    };
    let fits = is_region(region) && is_account(account) && is_name(name);
    fits.then(|| format!("https://sqs.{region}.{domain}/{account}/{name}"))
}

/// Whether a queue's URL on this host is asked there: on this machine, and at a VPC endpoint by the name that AWS gives it.
fn is_own(queue: &Url) -> bool {
    match queue.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Some(url::Host::Domain(name)) => {
            name == "localhost" || name.ends_with(".vpce.amazonaws.com") || name.ends_with(".vpce.amazonaws.com.cn")
        }
        None => false,
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
    fn an_arn_tells_the_queues_url() {
        for (arn, url) in [
            (
                "arn:aws:sqs:eu-west-1:123456789012:ses-events",
                Some("https://sqs.eu-west-1.amazonaws.com/123456789012/ses-events"),
            ),
            (
                "arn:aws-cn:sqs:cn-north-1:123456789012:q",
                Some("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q"),
            ),
            ("arn:aws:sns:eu-west-1:123456789012:topic", None),
            ("arn:aws:sqs:eu-west-1:1234:q", None),
            ("arn:aws:sqs:eu-west-1:123456789012", None),
            ("arn:aws:sqs:eu-west-1:123456789012:a/b", None),
        ] {
            assert_eq!(url_of_arn(arn).as_deref(), url, "{arn}");
        }
    }

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
