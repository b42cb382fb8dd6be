//! What providers have in DNS: the name whose SPF record lists their sending addresses, and the domains of their own.
//!
//! `reference` stands in the project's reference files or in the vendor's documentation named there; `recalled` is general
//! knowledge that no source at hand confirms: it decides nothing by itself, and whoever configures a source can name another.

use serde::Serialize;

use crate::model::Provider;

use super::answer::Name;

/// Where a fact comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// From a reference.
    Reference,
    /// From general knowledge.
    Recalled,
}

/// What is known of a provider's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderNames {
    /// What a sender includes in its SPF record.
    pub include: &'static str,
    /// Where that comes from.
    pub known: Known,
    /// Domains that belong to the provider: an envelope domain there cannot be registered by its customers.
    pub own: &'static [&'static str],
}

const fn recalled(include: &'static str, own: &'static [&'static str]) -> ProviderNames {
    ProviderNames { include, known: Known::Recalled, own }
}

/// The names of a provider; `None` where mail does not go out through names of its own (an MTA, Apple) or none are known.
#[must_use]
pub const fn names(provider: Provider) -> Option<ProviderNames> {
    Some(match provider {
        // docs.aws.amazon.com, "Authenticating email with SPF" and "Using a custom MAIL FROM domain".
        Provider::Ses => ProviderNames { include: "amazonses.com", known: Known::Reference, own: &["amazonses.com"] },
        // Resend sends through SES.
        Provider::Resend => recalled("amazonses.com", &["amazonses.com", "resend.com"]),
        Provider::Sparkpost => recalled("_spf.sparkpostmail.com", &["sparkpostmail.com", "sparkpostmail1.com"]),
        Provider::Mailgun => recalled("mailgun.org", &["mailgun.org", "mailgun.net"]),
        Provider::Sendgrid => recalled("sendgrid.net", &["sendgrid.net"]),
        Provider::Postmark => recalled("spf.mtasv.net", &["mtasv.net"]),
        Provider::Mandrill => recalled("spf.mandrillapp.com", &["mandrillapp.com", "mcsv.net"]),
        Provider::Mailjet => recalled("spf.mailjet.com", &["mailjet.com"]),
        Provider::Brevo => recalled("spf.brevo.com", &["brevo.com", "sendinblue.com"]),
        Provider::Mailersend => recalled("_spf.mailersend.net", &["mailersend.net"]),
        Provider::Customerio => recalled("customeriomail.com", &["customeriomail.com"]),
        Provider::Socketlabs => recalled("email-od.com", &["email-od.com"]),
        Provider::Elasticemail => recalled("_spf.elasticemail.com", &["elasticemail.com"]),
        Provider::Azure => recalled("spf.protection.outlook.com", &["azurecomm.net"]),
        Provider::Scaleway => recalled("_spf.tem.scaleway.com", &["tem.scaleway.com"]),
        Provider::Mailtrap => recalled("_spf.smtp.mailtrap.live", &["mailtrap.live"]),
        Provider::Klaviyo => recalled("sendgrid.net", &["klaviyomail.com", "sendgrid.net"]),
        // Braze and Iterable send through others; Unisender's name is not known; the rest are one's own machines.
        Provider::Braze
        | Provider::Iterable
        | Provider::Unisender
        | Provider::Apple
        | Provider::Postal
        | Provider::Kumomta
        | Provider::Postfix
        | Provider::Mail
        | Provider::Generic => return None,
    })
}

/// Whether a domain is the provider's own, so that none of its customers can register it.
#[must_use]
pub fn owns(provider: Provider, domain: &Name) -> bool {
    names(provider)
        .is_some_and(|names| names.own.iter().filter_map(|own| Name::parse(own).ok()).any(|own| domain.is_within(&own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_table_is_one() {
        for names in Provider::ALL.iter().filter_map(|provider| names(*provider)) {
            for text in names.own.iter().chain([&names.include]) {
                assert_eq!(Name::parse(text).expect(text).as_str(), *text);
            }
        }
    }

    #[test]
    fn what_is_below_a_providers_domain_is_its_own() {
        let name = |text: &str| Name::parse(text).expect(text);
        assert!(owns(Provider::Ses, &name("eu-west-1.amazonses.com")));
        assert!(!owns(Provider::Ses, &name("notamazonses.com")));
        assert!(!owns(Provider::Postfix, &name("amazonses.com")));
    }
}
