//! Who reports.

use super::{DAY_MILLIS, HOUR_MILLIS, MINUTE_MILLIS, words};

words! {
    /// Who reports outcomes: an ESP, an MTA, Apple.
    pub enum Provider {
        /// Amazon Simple Email Service.
        Ses = 1, "ses";
        /// SparkPost (Bird), and Momentum.
        Sparkpost = 2, "sparkpost";
        /// Braze, which sends through SparkPost, SendGrid or SES.
        Braze = 3, "braze";
        /// Mailgun.
        Mailgun = 4, "mailgun";
        /// Apple itself: server-to-server notices.
        Apple = 5, "apple";
        /// Twilio SendGrid.
        Sendgrid = 6, "sendgrid";
        /// Postmark.
        Postmark = 7, "postmark";
        /// Mailchimp Transactional (Mandrill).
        Mandrill = 8, "mandrill";
        /// Mailjet.
        Mailjet = 9, "mailjet";
        /// Brevo.
        Brevo = 10, "brevo";
        /// Resend.
        Resend = 11, "resend";
        /// MailerSend.
        Mailersend = 12, "mailersend";
        /// Postal.
        Postal = 13, "postal";
        /// KumoMTA.
        Kumomta = 14, "kumomta";
        /// Customer.io.
        Customerio = 15, "customerio";
        /// Iterable.
        Iterable = 16, "iterable";
        /// Klaviyo.
        Klaviyo = 17, "klaviyo";
        /// SocketLabs.
        Socketlabs = 18, "socketlabs";
        /// Elastic Email.
        Elasticemail = 19, "elasticemail";
        /// Azure Communication Services.
        Azure = 20, "azure";
        /// Scaleway Transactional Email.
        Scaleway = 21, "scaleway";
        /// Unisender Go.
        Unisender = 22, "unisender";
        /// Mailtrap.
        Mailtrap = 23, "mailtrap";
        /// Postfix, by its log.
        Postfix = 24, "postfix";
        /// Bounce mail itself.
        Mail = 25, "mail";
        /// A sender of one's own, by relaywatch's own event format.
        Generic = 26, "generic";
    }
}

/// What the names of feeds begin with whose events were imported from files: `import/ses`.
pub const IMPORTED_PREFIX: &str = "import/";

impl Provider {
    /// Who reports through a feed of this name: `ses/eu` is one feed of SES, and so are `sqs` and `import/ses`. `None` where this version has no such feed.
    #[must_use]
    pub fn of_feed(feed: &str) -> Option<Self> {
        let feed = feed.strip_prefix(IMPORTED_PREFIX).unwrap_or(feed);
        match feed.split('/').next()? {
            "sqs" | "ses-eventbridge" | "ses-firehose" => Some(Self::Ses),
            kind => Self::from_name(kind),
        }
    }

    /// For how long it holds every report that nobody takes, and sends it again, in milliseconds. Nil for those that give up
    /// within minutes, and for those that do not send every kind again: what is missing then is missing for good.
    ///
    /// Sources, as of November 2026: SparkPost support, "12 attempts over 8 hours"; Twilio SendGrid Event Webhook, "up to 24
    /// hours"; Braze Currents, five days of failure until the connector is switched off; Resend, the eight attempts of Svix, the last
    /// 27 hours after the first; Mailjet, the shorter of the two times that its pages name; Customer.io, "over a period of seven days";
    /// Azure Event Grid, 1440 minutes by default; Mailtrap, 40 times every 5 minutes. Amazon SNS tries three times 20 s
    /// apart by default; Mailgun does not retry the notification of a delivery; Brevo gives up at once on a proxy's 5xx; Postal
    /// tries for 36 minutes. A mail server tries for four or five days (RFC 5321 section 4.5.4.1). Of others nothing is documented. Postfix's log stays where it is until it's rotated away twice, at the
    /// earliest after a day where it is rotated daily (Debian's and Fedora's `logrotate.d`: weekly).
    #[must_use]
    pub const fn holds_reports_millis(self) -> i64 {
        match self {
            Self::Sparkpost => 8 * HOUR_MILLIS,
            Self::Sendgrid | Self::Azure | Self::Postfix => DAY_MILLIS,
            Self::Braze | Self::Mail => 5 * DAY_MILLIS,
            Self::Resend => 27 * HOUR_MILLIS,
            Self::Mailjet => 100 * MINUTE_MILLIS,
            Self::Mailtrap => 200 * MINUTE_MILLIS,
            Self::Customerio => 7 * DAY_MILLIS,
            _ => 0,
        }
    }
}

/// For how long what a feed of this name brings is held while nobody takes it, in milliseconds: by its provider
/// ([`Provider::holds_reports_millis`]), or by what lies between. A queue of SQS keeps messages for 4 days by default (SQS API
/// Reference, `MessageRetentionPeriod`); a file stays.
#[must_use]
pub fn holds_reports_millis(feed: &str) -> i64 {
    if feed.starts_with(IMPORTED_PREFIX) {
        return i64::MAX;
    }
    match feed.split('/').next() {
        Some("sqs") => 4 * DAY_MILLIS,
        _ => Provider::of_feed(feed).map_or(0, Provider::holds_reports_millis),
    }
}
