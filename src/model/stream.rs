//! What is counted together.

use serde::{Deserialize, Serialize};

use super::{Provider, words};

words! {
    /// How coarse a stream is, from the coarsest to the finest.
    pub enum StreamLevel {
        /// All relay mail.
        Fleet = 0, "fleet";
        /// All relay mail of one provider.
        Provider = 1, "provider";
        /// All relay mail of one From domain, over all providers.
        Domain = 2, "domain";
        /// One provider and one From domain.
        ProviderDomain = 3, "provider-domain";
        /// Provider, From domain and envelope domain.
        Envelope = 4, "envelope";
        /// Provider, From domain, envelope domain and campaign; mail without a campaign is a stream of its own at this level.
        Campaign = 5, "campaign";
    }
}

/// Names a stream by its level and the parts that this level has.
///
/// A part that the level has and that no report tells is `None`: it stands for "unknown", never for "all".
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamKey {
    /// How coarse it is.
    pub level: StreamLevel,
    /// Who reports.
    pub provider: Option<Provider>,
    /// The domain of the From header, lower case.
    pub from_domain: Option<String>,
    /// The domain of the envelope sender (return-path), lower case.
    pub envelope_domain: Option<String>,
    /// The campaign, as the provider names it.
    pub campaign: Option<String>,
}

/// What stands in the place of a part whose stream is counted together with others, beyond the cap on live streams. No
/// domain has an at sign, and campaigns with one are dropped when a report is taken in.
pub const OTHER: &str = "@other";

impl StreamKey {
    /// Whether it counts what goes beyond the cap on live streams.
    #[must_use]
    pub fn is_other(&self) -> bool {
        [&self.from_domain, &self.envelope_domain, &self.campaign]
            .into_iter()
            .any(|part| part.as_deref() == Some(OTHER))
    }

    /// All relay mail.
    #[must_use]
    pub const fn fleet() -> Self {
        Self { level: StreamLevel::Fleet, provider: None, from_domain: None, envelope_domain: None, campaign: None }
    }

    /// The finest stream of an event. Its level is always [`StreamLevel::Campaign`]: transactional mail has no campaign.
    #[must_use]
    pub fn finest(
        provider: Provider,
        from_domain: Option<String>,
        envelope_domain: Option<String>,
        campaign: Option<String>,
    ) -> Self {
        Self { level: StreamLevel::Campaign, provider: Some(provider), from_domain, envelope_domain, campaign }
    }

    /// The same mail seen at a coarser level; `None` where `level` is not coarser.
    #[must_use]
    pub fn at(&self, level: StreamLevel) -> Option<Self> {
        if level >= self.level || (level == StreamLevel::Domain && self.level == StreamLevel::Provider) {
            return None;
        }
        let (provider, domain, envelope) = match level {
            StreamLevel::Fleet => (false, false, false),
            StreamLevel::Provider => (true, false, false),
            StreamLevel::Domain => (false, true, false),
            StreamLevel::ProviderDomain => (true, true, false),
            StreamLevel::Envelope | StreamLevel::Campaign => (true, true, true),
        };
        if level == StreamLevel::Provider && self.level == StreamLevel::Domain {
            return None;
        }
        Some(Self {
            level,
            provider: self.provider.filter(|_| provider),
            from_domain: self.from_domain.clone().filter(|_| domain),
            envelope_domain: self.envelope_domain.clone().filter(|_| envelope),
            campaign: None,
        })
    }

    /// The parents from the nearest to all relay mail.
    #[must_use]
    pub fn parents(&self) -> Vec<Self> {
        StreamLevel::ALL.iter().rev().filter_map(|level| self.at(*level)).collect()
    }

    /// Whether it holds all mail of `fine`, or they are the same.
    #[must_use]
    pub fn holds(&self, fine: &Self) -> bool {
        self == fine || fine.at(self.level).as_ref() == Some(self)
    }

    /// Whether one of them holds the other's mail, or they are the same.
    #[must_use]
    pub fn is_related(&self, other: &Self) -> bool {
        self.holds(other) || other.holds(self)
    }
}

impl std::fmt::Display for StreamKey {
    /// A domain that is in From and envelope is said once: `all relay mail`, `ses`, `ses/news.example.com`, `ses/news.example.com, envelope bounce.example.com, campaign spring`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let provider = self.provider.map_or("?", Provider::as_str);
        let domain = match self.from_domain.as_deref() {
            Some(OTHER) => "other From domains",
            domain => domain.unwrap_or("unknown From domain"),
        };
        let mut out = match self.level {
            StreamLevel::Fleet => "all relay mail".to_owned(),
            StreamLevel::Provider => provider.to_owned(),
            StreamLevel::Domain => domain.to_owned(),
            _ => format!("{provider}/{domain}"),
        };
        match (self.level >= StreamLevel::Envelope, self.envelope_domain.as_deref()) {
            (true, Some(OTHER)) => out.push_str(", other envelope domains"),
            (true, Some(envelope)) if self.from_domain.as_deref() != Some(envelope) => {
                out.push_str(", envelope ");
                out.push_str(envelope);
            }
            _ => {}
        }
        match (self.level, self.campaign.as_deref()) {
            (StreamLevel::Campaign, Some(OTHER)) => out.push_str(", other campaigns"),
            (StreamLevel::Campaign, Some(campaign)) => {
                out.push_str(", campaign ");
                out.push_str(campaign);
            }
            (StreamLevel::Campaign, None) => out.push_str(", no campaign"),
            _ => {}
        }
        f.pad(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> StreamKey {
        StreamKey::finest(
            Provider::Ses,
            Some("news.example.com".to_owned()),
            Some("bounce.example.com".to_owned()),
            Some("spring".to_owned()),
        )
    }

    #[test]
    fn parents_lead_to_the_fleet_each_once() {
        let levels: Vec<_> = full().parents().iter().map(|parent| parent.level).collect();
        assert_eq!(
            levels,
            [
                StreamLevel::Envelope,
                StreamLevel::ProviderDomain,
                StreamLevel::Domain,
                StreamLevel::Provider,
                StreamLevel::Fleet
            ]
        );
        assert!(StreamKey::fleet().parents().is_empty());
        for parent in full().parents() {
            let of_parent = parent.parents();
            assert!(of_parent.iter().all(|grand| full().parents().contains(grand)), "{parent} leaves the family");
        }
    }

    #[test]
    fn relations_follow_the_family() {
        let (a, b) = (full(), StreamKey::finest(Provider::Braze, None, None, None));
        assert!(a.is_related(&StreamKey::fleet()) && a.is_related(&a));
        assert!(a.at(StreamLevel::Provider).expect("a parent").is_related(&a));
        assert!(StreamKey::fleet().holds(&a) && !a.holds(&StreamKey::fleet()));
        assert!(!a.is_related(&b));
        let (provider, domain) = (a.at(StreamLevel::Provider), a.at(StreamLevel::Domain));
        assert!(!provider.expect("a parent").is_related(&domain.expect("a parent")), "neither holds the other");
    }

    #[test]
    fn unknown_parts_do_not_melt_into_the_parent() {
        let bare = StreamKey::finest(Provider::Braze, None, None, None);
        let provider = bare.at(StreamLevel::Provider).expect("a parent");
        assert_ne!(bare, provider);
        assert_eq!(provider.to_string(), "braze");
        assert_eq!(bare.to_string(), "braze/unknown From domain, no campaign");
        let same = StreamKey { envelope_domain: full().from_domain, ..full() };
        assert_eq!(same.to_string(), "ses/news.example.com, campaign spring", "one domain is said once");
        assert_eq!(full().to_string(), "ses/news.example.com, envelope bounce.example.com, campaign spring");
    }
}
