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
    /// | Braze | `Bounce` | `SoftBounce`, `Deferral` | the names of its events; not `Bounce (dropped)`, which nobody tried |
    ///
    /// Everything else is [`Other`](Self::Other), as is any label of another provider.
    #[must_use]
    pub fn read(provider: Provider, label: Option<&str>) -> Self {
        let Some(label) = label.map(str::trim).filter(|label| !label.is_empty()) else { return Self::None };
        match provider {
            Provider::Ses => match label.split('/').next().unwrap_or_default() {
                "Permanent" => Self::Hard,
                "Transient" | "TransientCommunicationFailure" => Self::Soft,
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
            Provider::Braze => match label.split(',').next().unwrap_or_default() {
                "Bounce" => Self::Hard,
                "SoftBounce" | "Deferral" => Self::Soft,
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
        use Provider::{Braze, Mailgun, Postal, Postmark, Sendgrid, Ses, Sparkpost};
        for (provider, label, says) in [
            (Ses, "Permanent/General", Hard),
            (Ses, "Transient/MailboxFull", Soft),
            (Ses, "TransientCommunicationFailure", Soft),
            (Ses, "Undetermined/Undetermined", Other),
            (Ses, "PermanentX", Other),
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
            (Postal, "HardFail", Other),
        ] {
            assert_eq!(LabelSays::read(provider, Some(label)), says, "{provider}: {label}");
        }
        assert_eq!(LabelSays::read(Ses, None), LabelSays::None);
        assert_eq!(LabelSays::read(Ses, Some(" ")), LabelSays::None);
    }
}
