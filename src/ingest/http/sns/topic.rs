//! Topics, and the addresses that may be asked on their behalf.
//!
//! Which host may serve a certificate or confirm a subscription follows from the configured topic alone, never from the
//! message. The comparison is equality, since patterns such as `sns.*.amazonaws.com` also match
//! the legacy S3 host of a bucket that is named `sns`.

use url::Url;

use crate::config::is_region;

/// Why a configured topic is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No ARN of an SNS topic.
    #[error("write the topic's whole ARN, as in arn:aws:sns:eu-west-1:123456789012:ses-events")]
    Shape,
    /// A partition whose certificate host is not known.
    #[error("topics are taken from the partitions aws, aws-us-gov and aws-cn only")]
    Partition,
    /// A region that does not look like one.
    #[error("the region of the topic's ARN must look like eu-west-1")]
    Region,
}

/// A topic whose messages are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    arn: String,
    host: String,
    certificate_prefix: String,
}

impl Topic {
    /// Reads an ARN, `arn:<partition>:sns:<region>:<account>:<name>`.
    ///
    /// To configure a topic of another partition than `aws` is the consent to that partition's host.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(arn: &str) -> Result<Self, TopicError> {
        let parts: Vec<&str> = arn.split(':').collect();
        let [prefix, partition, service, region, account, name] = parts.as_slice() else {
            return Err(TopicError::Shape);
        };
        let name_ok = !name.is_empty()
            && name.len() <= 256
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let account_ok = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if *prefix != "arn" || *service != "sns" || !account_ok || !name_ok {
            return Err(TopicError::Shape);
        }
        let suffix = match *partition {
            "aws" | "aws-us-gov" => "amazonaws.com",
            "aws-cn" => "amazonaws.com.cn",
            _ => return Err(TopicError::Partition),
        };
        if !is_region(region) {
            return Err(TopicError::Region);
        }
        let host = format!("sns.{region}.{suffix}");
        let certificate_prefix = format!("https://{host}/SimpleNotificationService-");
        Ok(Self { arn: arn.to_owned(), host, certificate_prefix })
    }

    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The one host that speaks for the topic: `sns.<region>.<suffix>`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether this is the address of a signing certificate on the topic's own host, letter by letter: no port, user,
    /// query, fragment, other path or other spelling.
    #[must_use]
    pub fn owns_certificate_url(&self, url: &str) -> bool {
        url.strip_prefix(self.certificate_prefix.as_str()).and_then(|rest| rest.strip_suffix(".pem")).is_some_and(
            |id| (1..=128).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        )
    }

    /// The address that confirms a subscription of this topic, where it's one: https on the topic's own host,
    /// `Action=ConfirmSubscription` once, and no other topic or token than the envelope's.
    #[must_use]
    pub fn subscribe_url(&self, text: &str, token: &str) -> Option<Url> {
        if text.len() > 4096 || !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
            return None;
        }
        let tail = text.strip_prefix("https://")?.strip_prefix(self.host.as_str())?;
        if !(tail.starts_with('/') || tail.starts_with('?')) {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let plain = url.scheme() == "https"
            && url.host_str() == Some(self.host.as_str())
            && url.port().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && url.path() == "/";
        if !plain {
            return None;
        }
        let (mut actions, mut topics, mut tokens) = (0, 0, 0);
        for (key, value) in url.query_pairs() {
            let (count, wanted) = match &*key {
                "Action" => (&mut actions, "ConfirmSubscription"),
                "TopicArn" => (&mut topics, self.arn.as_str()),
                "Token" => (&mut tokens, token),
                _ => continue,
            };
            *count += 1;
            if value != wanted {
                return None;
            }
        }
        (actions == 1 && topics <= 1 && tokens <= 1).then_some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:sns:eu-west-1:123456789012:ses-events";

    #[test]
    fn the_host_follows_from_the_topic() {
        let host = |arn: &str| Topic::parse(arn).map(|t| t.host().to_owned());
        assert_eq!(host(ARN), Ok("sns.eu-west-1.amazonaws.com".to_owned()));
        assert_eq!(
            host("arn:aws-us-gov:sns:us-gov-west-1:123456789012:t"),
            Ok("sns.us-gov-west-1.amazonaws.com".to_owned())
        );
        assert_eq!(
            host("arn:aws-cn:sns:cn-north-1:123456789012:t.fifo"),
            Ok("sns.cn-north-1.amazonaws.com.cn".to_owned())
        );
        assert_eq!(host("arn:aws-iso:sns:us-iso-east-1:123456789012:t"), Err(TopicError::Partition));
        assert_eq!(host("arn:aws:sns:s3:123456789012:t"), Err(TopicError::Region));
        assert_eq!(host("arn:aws:sns:s3-accelerate:123456789012:t"), Err(TopicError::Region));
        assert_eq!(host("arn:aws:sns:eu-west-1.evil.example:123456789012:t"), Err(TopicError::Region));
        assert_eq!(host("arn:aws:sqs:eu-west-1:123456789012:t"), Err(TopicError::Shape));
        assert_eq!(host("arn:aws:sns:eu-west-1:12:t"), Err(TopicError::Shape));
        assert_eq!(host("arn:aws:sns:eu-west-1:123456789012:t:subscription-id"), Err(TopicError::Shape));
        assert_eq!(host("arn:aws:sns:eu-west-1:123456789012:*"), Err(TopicError::Shape));
    }

    #[test]
    fn a_certificate_url_is_compared_letter_by_letter() {
        let topic = Topic::parse(ARN).expect("a topic");
        let good = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem";
        assert!(topic.owns_certificate_url(good));
        for bad in [
            "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem",
            "https://sns.eu-west-1.amazonaws.com.cn/SimpleNotificationService-0a1b2c.pem",
            "https://sns.eu-west-1.amazonaws.com./SimpleNotificationService-0a1b2c.pem",
            "https://sns.eu-west-1.amazonaws.com:443/SimpleNotificationService-0a1b2c.pem",
            "https://user@sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem",
            "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0a1b2c.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem?x=.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem#.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a/../x.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-.pem",
            "https://sns.eu-west-1.amazonaws.com/other.pem",
            "HTTPS://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem",
            "",
        ] {
            assert!(!topic.owns_certificate_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_subscribe_url_confirms_this_topic_and_does_nothing_else() {
        let topic = Topic::parse(ARN).expect("a topic");
        let base = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription";
        for good in [
            base.to_owned(),
            format!("{base}&TopicArn={ARN}&Token=2336"),
            format!("{base}&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A123456789012%3Ases-events&Token=2336"),
        ] {
            assert!(topic.subscribe_url(&good, "2336").is_some(), "{good}");
        }
        for bad in [
            format!("{base}&TopicArn=arn:aws:sns:eu-west-1:123456789012:other"),
            format!("{base}&TopicArn={ARN}&TopicArn={ARN}"),
            format!("{base}&Token=9999"),
            format!("{base}&Action=DeleteTopic"),
            format!("{base}#x"),
            "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe".to_owned(),
            "https://sns.eu-west-1.amazonaws.com/".to_owned(),
            base.replace("https", "http"),
            base.replace("eu-west-1", "us-east-1"),
            base.replace(".com/", ".com.evil.example/"),
            base.replace(".com/", ".com@evil.example/"),
            base.replace(".com/", ".com:8443/"),
            base.replace("sns.", "user:pass@sns."),
            base.replace(".com/", ".com/path"),
            base.replace("/?", "\\?"),
            base.replace("/?", "/\t?"),
            "https://169.254.169.254/?Action=ConfirmSubscription".to_owned(),
            "file:///etc/passwd".to_owned(),
        ] {
            assert!(topic.subscribe_url(&bad, "2336").is_none(), "{bad}");
        }
    }
}
