//! What a provider's own label says of an address, in one form.

use super::{Provider, words};

words! {
    /// What a provider's label says: kept beside our verdict and compared with it, never believed.
    pub enum LabelSays {
        /// The address is dead.
        Hard = 1, "hard";
        /// Trouble that passes.
        Soft = 2, "soft";
        /// Something else: a block, a policy, a word that tells neither.
        Other = 3, "other";
        /// There is no label.
        None = 0, "none";
    }
}

impl LabelSays {
    /// Reads a label as the feeds spell it ([`Event::provider_verdict`](super::Event::provider_verdict)).
    ///
    /// | provider | hard | soft | source |
    /// |---|---|---|---|
    /// | Amazon SES | `Permanent/…` | `Transient/…`, `TransientCommunicationFailure` | `bounceType` of its notifications |
    /// | SparkPost | `bounce_class` 10, 30, 90 | 20 to 24, 40, 60, 70, 100 | its bounce classification codes, categories hard and soft |
    /// | Mailgun | `permanent/…` | `temporary/…` | `severity` of its event `failed`; not `permanent/suppress-…`, which nobody tried |
    /// | SendGrid | `bounce`, `bounce/…` | `blocked`, `expired`, with or without `/…` | `type` of its event `bounce`; not `dropped`, which nobody tried |
    /// | Postmark | `HardBounce`, `BadEmailAddress` | `SoftBounce`, `Transient` | `Type` of its record `Bounce` |
    /// | Mandrill | `hard_bounce`, `hard_bounce/…` | `soft_bounce`, `deferral`, with or without `/…` | its events; not `reject`, which nobody tried |
    /// | Mailjet | `hard bounce/…` | `soft bounce/…` | `hard_bounce` of its event `bounce`; not `blocked` |
    /// | Brevo | `hard_bounce` | `soft_bounce`, `deferred` | its events; not `blocked`, `invalid_email`, `error` |
    /// | Resend | `Permanent/…` | `Transient/…` | `data.bounce.type`, which is SES's; not with a sub type of a suppression list |
    /// | MailerSend | `hard_bounced`, `hard_bounced/…` | `soft_bounced`, `deferred`, with or without `/…` | its types; not `suppressed` |
    /// | Postal | `HardFail` | `SoftFail` | `status` of a delivery |
    /// | KumoMTA | `Bounce/InvalidRecipient`, `…/InactiveMailbox` | `TransientFailure`, `Expiration`, with or without `/…` | `type` and `bounce_classification` (IANA's table) |
    /// | Unisender Go | `hard_bounced`, `hard_bounced/…` | `soft_bounced`, `soft_bounced/…` | `status`; not with `err_unsubscribed` |
    /// | Mailtrap | `bounce`, `bounce/…` | `soft bounce`, `soft bounce/…` | its events; not `reject` and `suspension` |
    /// | Braze | `Bounce` | `SoftBounce`, `Deferral` | the names of its events; not `Bounce (dropped)`, which nobody tried |
    /// | Klaviyo | `Hard` | `Soft` | `Bounce Type` of its events (inferred) |
    /// | Iterable | `HardBounce` | `SoftBounce` | `recipientState` of its events (inferred) |
    /// | SocketLabs | `Permanent`, `Permanent, …` | `Temporary`, `Deferred`, with or without `, …` | `FailureType` of its events (inferred) |
    /// | Elastic Email | `NoMailbox` | `GreyListed`, `Throttled`, `Timeout`, `ConnectionProblem`, `ConnectionTerminated` | `category` of its notifications |
    /// | Azure | `Bounced` | | `status` of its reports: a hard bounce by the documentation |
    /// | Scaleway | `email_dropped`, `email_mailbox_not_found` | `email_deferred` | `type` of its events |
    /// | Customer.io | | `deferred` | `metric` of its reports; `bounced` tells neither |
    /// | relaywatch's own format | `hard` | `soft` | `verdict` of its events |
    ///
    /// Everything else is [`Other`](Self::Other), as is any label of another provider.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one table")]
    pub fn read(provider: Provider, label: Option<&str>) -> Self {
        let Some(label) = label.map(str::trim).filter(|label| !label.is_empty()) else { return Self::None };
        match provider {
            // SES's words are read in any case, as its feed reads them.
            Provider::Ses => match label.to_ascii_lowercase().split('/').next().unwrap_or_default() {
                "permanent" => Self::Hard,
                "transient" | "transientcommunicationfailure" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Sparkpost => match label.rsplit_once("bounce_class ").map(|(_, class)| class) {
                Some("10" | "30" | "90") => Self::Hard,
                Some("20" | "21" | "22" | "23" | "24" | "40" | "60" | "70" | "100") => Self::Soft,
                _ => Self::Other,
            },
            Provider::Mailgun => {
                let mut parts = label.split('/');
                match (parts.next(), parts.next()) {
                    (Some("permanent"), Some(reason)) if reason.starts_with("suppress-") => Self::Other,
                    (Some("permanent"), _) => Self::Hard,
                    (Some("temporary"), _) => Self::Soft,
                    _ => Self::Other,
                }
            }
            Provider::Sendgrid => match label.split('/').next().unwrap_or_default() {
                "bounce" => Self::Hard,
                "blocked" | "expired" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Postmark => match label.split(',').next().unwrap_or_default() {
                "HardBounce" | "BadEmailAddress" => Self::Hard,
                "SoftBounce" | "Transient" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Mandrill => match label.split('/').next().unwrap_or_default() {
                "hard_bounce" => Self::Hard,
                "soft_bounce" | "deferral" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Mailjet => match label.split('/').next().unwrap_or_default() {
                "hard bounce" => Self::Hard,
                "soft bounce" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Brevo => match label {
                "hard_bounce" => Self::Hard,
                "soft_bounce" | "deferred" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Resend => {
                let label = label.to_ascii_lowercase();
                match label.split_once('/').unwrap_or((&label, "")) {
                    (_, sub_type) if sub_type.ends_with("suppressionlist") || sub_type == "suppressed" => Self::Other,
                    ("permanent", _) => Self::Hard,
                    ("transient", _) => Self::Soft,
                    _ => Self::Other,
                }
            }
            Provider::Mailersend => match label.split('/').next().unwrap_or_default() {
                "hard_bounced" => Self::Hard,
                "soft_bounced" | "deferred" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Postal => match label {
                "HardFail" => Self::Hard,
                "SoftFail" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Kumomta => match label.split_once('/').unwrap_or((label, "")) {
                ("TransientFailure" | "Expiration", _) => Self::Soft,
                (_, "InvalidRecipient" | "InactiveMailbox") => Self::Hard,
                _ => Self::Other,
            },
            Provider::Unisender => match label.split_once('/').unwrap_or((label, "")) {
                (_, "err_unsubscribed") => Self::Other,
                ("hard_bounced", _) => Self::Hard,
                ("soft_bounced", _) => Self::Soft,
                _ => Self::Other,
            },
            Provider::Mailtrap => match label.split('/').next().unwrap_or_default() {
                "bounce" => Self::Hard,
                "soft bounce" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Braze => match label.split(',').next().unwrap_or_default() {
                "Bounce" => Self::Hard,
                "SoftBounce" | "Deferral" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Klaviyo => match label {
                "Hard" => Self::Hard,
                "Soft" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Iterable => match label {
                "HardBounce" => Self::Hard,
                "SoftBounce" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Socketlabs => match label.split(',').next().unwrap_or_default() {
                "Permanent" => Self::Hard,
                "Temporary" | "Deferred" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Elasticemail => match label {
                "NoMailbox" => Self::Hard,
                "GreyListed" | "Throttled" | "Timeout" | "ConnectionProblem" | "ConnectionTerminated" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Azure if label.eq_ignore_ascii_case("Bounced") => Self::Hard,
            Provider::Scaleway => match label {
                "email_dropped" | "email_mailbox_not_found" => Self::Hard,
                "email_deferred" => Self::Soft,
                _ => Self::Other,
            },
            Provider::Customerio if label == "deferred" => Self::Soft,
            Provider::Generic => match label {
                "hard" => Self::Hard,
                "soft" => Self::Soft,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_the_providers_spell_them() {
        use LabelSays::{Hard, Other, Soft};
        use Provider::{
            Azure, Braze, Brevo, Customerio, Elasticemail, Generic, Iterable, Klaviyo, Kumomta, Mailersend, Mailgun,
            Mailjet, Mailtrap, Mandrill, Postal, Postmark, Resend, Scaleway, Sendgrid, Ses, Socketlabs, Sparkpost,
            Unisender,
        };
        for (provider, label, says) in [
            (Ses, "Permanent/General", Hard),
            (Ses, "Transient/MailboxFull", Soft),
            (Ses, "TransientCommunicationFailure", Soft),
            (Ses, "Undetermined/Undetermined", Other),
            (Ses, "PermanentX", Other),
            (Ses, "PERMANENT/General", Hard),
            (Ses, "transient/MailboxFull", Soft),
            (Sparkpost, "bounce_class 10", Hard),
            (Sparkpost, "out_of_band, bounce_class 30", Hard),
            (Sparkpost, "bounce_class 20", Soft),
            (Sparkpost, "policy_rejection, bounce_class 25", Other),
            (Sparkpost, "bounce_class 100", Soft),
            (Sparkpost, "bounce_class 1", Other),
            (Sparkpost, "generation_failure", Other),
            (Mailgun, "permanent/bounce/soft", Hard),
            (Mailgun, "permanent/suppress-bounce", Other),
            (Mailgun, "permanent", Hard),
            (Mailgun, "temporary/generic", Soft),
            (Mailgun, "rejected", Other),
            (Braze, "Bounce, esp SparkPost", Hard),
            (Braze, "Bounce (dropped), esp SparkPost", Other),
            (Braze, "SoftBounce, esp SendGrid", Soft),
            (Braze, "Deferral", Soft),
            (Sendgrid, "bounce/Invalid Address", Hard),
            (Sendgrid, "bounce", Hard),
            (Sendgrid, "blocked/Reputation", Soft),
            (Sendgrid, "expired", Soft),
            (Sendgrid, "Invalid Address", Other),
            (Sendgrid, "dropped", Other),
            (Postmark, "HardBounce, inactive", Hard),
            (Postmark, "BadEmailAddress", Hard),
            (Postmark, "SoftBounce", Soft),
            (Postmark, "Transient", Soft),
            (Postmark, "DMARCPolicy", Other),
            (Mandrill, "hard_bounce/bad_mailbox", Hard),
            (Mandrill, "soft_bounce", Soft),
            (Mandrill, "deferral", Soft),
            (Mandrill, "reject/hard-bounce", Other),
            (Mailjet, "hard bounce/recipient/user unknown", Hard),
            (Mailjet, "soft bounce", Soft),
            (Mailjet, "blocked/recipient/preblocked", Other),
            (Brevo, "hard_bounce", Hard),
            (Brevo, "deferred", Soft),
            (Brevo, "blocked", Other),
            (Resend, "Permanent/General", Hard),
            (Resend, "Permanent", Hard),
            (Resend, "Permanent/OnAccountSuppressionList", Other),
            (Resend, "Transient/MailboxFull", Soft),
            (Resend, "permanent/general", Hard),
            (Resend, "PERMANENT/OnAccountSuppressionLIST", Other),
            (Resend, "Undetermined/Undetermined", Other),
            (Mailersend, "hard_bounced/Host or domain name not found", Hard),
            (Mailersend, "soft_bounced", Soft),
            (Mailersend, "suppressed", Other),
            (Postal, "HardFail", Hard),
            (Postal, "SoftFail", Soft),
            (Postal, "MessageBounced", Other),
            (Kumomta, "Bounce/InvalidRecipient", Hard),
            (Kumomta, "Bounce", Other),
            (Kumomta, "TransientFailure/InvalidRecipient", Soft),
            (Unisender, "hard_bounced/err_user_unknown", Hard),
            (Unisender, "hard_bounced/err_unsubscribed", Other),
            (Unisender, "soft_bounced", Soft),
            (Mailtrap, "bounce/hard", Hard),
            (Mailtrap, "soft bounce/unavailable", Soft),
            (Mailtrap, "reject", Other),
            (Klaviyo, "Hard", Hard),
            (Klaviyo, "Soft", Soft),
            (Klaviyo, "bounced", Other),
            (Iterable, "HardBounce", Hard),
            (Iterable, "SoftBounce", Soft),
            (Iterable, "bounce", Other),
            (Socketlabs, "Permanent, failure_code 2003", Hard),
            (Socketlabs, "Temporary", Soft),
            (Socketlabs, "Suppressed, failure_code 4001", Other),
            (Elasticemail, "NoMailbox", Hard),
            (Elasticemail, "GreyListed", Soft),
            (Elasticemail, "Spam", Other),
            (Azure, "Bounced", Hard),
            (Azure, "Failed", Other),
            (Scaleway, "email_mailbox_not_found", Hard),
            (Scaleway, "email_deferred", Soft),
            (Scaleway, "email_spam", Other),
            (Customerio, "deferred", Soft),
            (Customerio, "bounced", Other),
            (Generic, "hard", Hard),
            (Generic, "soft", Soft),
            (Generic, "policy", Other),
        ] {
            assert_eq!(LabelSays::read(provider, Some(label)), says, "{provider}: {label}");
        }
        assert_eq!(LabelSays::read(Ses, None), LabelSays::None);
        assert_eq!(LabelSays::read(Ses, Some(" ")), LabelSays::None);
    }
}
