//! Who sends, and by which provider.

use crate::model::{Exposure, Provider};

/// A sender: one From address at one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Who sends for it and reports.
    pub provider: Provider,
    /// The name in the From header.
    pub name: String,
    /// The local part of the From address.
    pub local: String,
    /// The domain of the From address.
    pub from_domain: String,
    /// The domain of the envelope sender.
    pub envelope_domain: String,
    /// What the provider is told to report of mail that did not bounce.
    pub exposure: Exposure,
}

impl Sender {
    /// The From header: `Name <local@domain>`.
    #[must_use]
    pub fn from(&self) -> String {
        format!("{} <{}@{}>", self.name, self.local, self.from_domain)
    }

    /// The envelope sender of one mail, made as the provider makes it: SES and SparkPost give each message its own.
    #[must_use]
    pub fn return_path(&self, mail: u64) -> String {
        match self.provider {
            Provider::Ses => format!("{}-000000@{}", super::wire::ses_stem(mail), self.envelope_domain),
            _ => format!("msprvs1=20310{mail:08x}=bounces-1234@{}", self.envelope_domain),
        }
    }
}
