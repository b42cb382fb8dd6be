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
    /// No ARN of a topic of Scaleway's.
    #[error("write the topic's whole ARN, as in arn:scw:sns:fr-par:project-<uuid>:<name>")]
    Scaleway,
}

/// Whose topics are taken: Amazon's, or those of a service that is made like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cloud {
    /// Amazon SNS.
    #[default]
    Amazon,
    /// Scaleway's Topics and Events. Source: Scaleway, "Verifying webhook signatures" (the host of certificates, the trust chain);
    /// the form of its ARNs and the host of subscriptions by Scaleway's own Terraform provider.
    Scaleway,
}

/// A topic whose messages are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    arn: String,
    host: String,
    certificates: Certificates,
}

/// Where a topic's signing certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Certificates {
    /// After this, hexadecimal digits and `.pem`.
    Named(String),
    /// Anywhere under one of these: buckets that are Scaleway's own. What is there is believed by its issuer only.
    Under([String; 2]),
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
        let certificates = Certificates::Named(format!("https://{host}/SimpleNotificationService-"));
        Ok(Self { arn: arn.to_owned(), host, certificates })
    }

    /// Reads an ARN of Scaleway's, `arn:scw:sns:<region>:project-<uuid>:<name>`.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse_scaleway(arn: &str) -> Result<Self, TopicError> {
        let parts: Vec<&str> = arn.split(':').collect();
        let [prefix, partition, service, region, project, name] = parts.as_slice() else {
            return Err(TopicError::Scaleway);
        };
        let word = |text: &str| {
            (1..=256).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        let project_ok = project.strip_prefix("project-").is_some_and(word);
        if (*prefix, *partition, *service) != ("arn", "scw", "sns") || !project_ok || !word(name) {
            return Err(TopicError::Scaleway);
        }
        if !is_scaleway_region(region) {
            return Err(TopicError::Region);
        }
        let bucket = |region: &str| format!("https://messaging.s3.{region}.scw.cloud/");
        // The certificates of other regions lie in the first one's bucket, as their trust chains do.
        let certificates = Certificates::Under([bucket(region), bucket("fr-par")]);
        Ok(Self { arn: arn.to_owned(), host: format!("sns.mnq.{region}.scaleway.com"), certificates })
    }

    /// Reads an ARN of a cloud.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn of(cloud: Cloud, arn: &str) -> Result<Self, TopicError> {
        match cloud {
            Cloud::Amazon => Self::parse(arn),
            Cloud::Scaleway => Self::parse_scaleway(arn),
        }
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
        match &self.certificates {
            Certificates::Named(prefix) => {
                url.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_suffix(".pem")).is_some_and(|id| {
                    (1..=128).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                })
            }
            Certificates::Under(prefixes) => {
                let path = prefixes.iter().find_map(|prefix| url.strip_prefix(prefix.as_str()));
                path.and_then(|path| path.strip_suffix(".pem")).is_some_and(|path| {
                    path.len() <= 256
                        && path.split('/').all(|part| {
                            !part.is_empty()
                                && !part.starts_with('.')
                                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                        })
                })
            }
        }
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

/// `xx-word`, as `fr-par`.
fn is_scaleway_region(text: &str) -> bool {
    let word = |w: &str| (2..=8).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_lowercase());
    text.split_once('-').is_some_and(|(area, city)| word(area) && word(city))
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
    fn scaleway_has_hosts_of_its_own() {
        const ARN: &str = "arn:scw:sns:nl-ams:project-8c8bfa06-0000-4000-8000-000000000001:mail-events";
        let topic = Topic::parse_scaleway(ARN).expect("a topic");
        assert_eq!(topic.host(), "sns.mnq.nl-ams.scaleway.com");
        for good in [
            "https://messaging.s3.nl-ams.scw.cloud/nl-ams/sns/0a1b2c.pem",
            "https://messaging.s3.fr-par.scw.cloud/nl-ams/sns/sns-cert_1.2.pem",
            "https://messaging.s3.fr-par.scw.cloud/cert.pem",
        ] {
            assert!(topic.owns_certificate_url(good), "{good}");
        }
        for bad in [
            "http://messaging.s3.nl-ams.scw.cloud/cert.pem",
            "https://messaging.s3.pl-waw.scw.cloud/cert.pem",
            "https://evil.s3.nl-ams.scw.cloud/cert.pem",
            "https://messaging.s3.nl-ams.scw.cloud.evil.example/cert.pem",
            "https://messaging.s3.nl-ams.scw.cloud:8443/cert.pem",
            "https://messaging.s3.nl-ams.scw.cloud@evil.example/cert.pem",
            "https://messaging.s3.nl-ams.scw.cloud/../cert.pem",
            "https://messaging.s3.nl-ams.scw.cloud//cert.pem",
            "https://messaging.s3.nl-ams.scw.cloud/cert.pem?x=.pem",
            "https://messaging.s3.nl-ams.scw.cloud/cert",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem",
        ] {
            assert!(!topic.owns_certificate_url(bad), "{bad}");
        }
        let base = "https://sns.mnq.nl-ams.scaleway.com/?Action=ConfirmSubscription";
        assert!(topic.subscribe_url(&format!("{base}&TopicArn={ARN}&Token=1"), "1").is_some());
        assert!(topic.subscribe_url(&base.replace("nl-ams", "fr-par"), "1").is_none());
        for (bad, error) in [
            ("arn:aws:sns:eu-west-1:123456789012:t", TopicError::Scaleway),
            ("arn:scw:sns:fr-par:8c8bfa06:t", TopicError::Scaleway),
            ("arn:scw:sns:fr-par:project-1:", TopicError::Scaleway),
            ("arn:scw:sns:fr-par.evil:project-1:t", TopicError::Region),
            ("arn:scw:sns:s3:project-1:t", TopicError::Region),
        ] {
            assert_eq!(Topic::parse_scaleway(bad), Err(error), "{bad}");
        }
        assert!(Topic::parse(ARN).is_err(), "a topic of Scaleway's is none of Amazon's");
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
