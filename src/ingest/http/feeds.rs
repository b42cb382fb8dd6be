//! The list of feeds that arrive over HTTP. Adding a provider touches its file, this list, the configuration and the docs.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc};

use super::{Delivery, Rejection, ses};
use crate::{
    config::{Config, Named},
    ingest::{Report, intake::FeedName},
    model::Provider,
};

/// Why a feed can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// A file that it names can't be read.
    #[error("the feed {feed} names {}, which can't be read", path.display())]
    File {
        /// The feed.
        feed: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its settings make no feed.
    #[error("the feed {feed} can't be set up: {reason}")]
    Settings {
        /// The feed.
        feed: String,
        /// What is wrong.
        reason: String,
    },
}

/// One provider's way of reporting.
#[derive(Debug)]
enum Kind {
    Ses(ses::SesFeed),
}

/// One feed.
#[derive(Debug)]
pub struct Feed {
    /// Its name and exposure.
    pub name: FeedName,
    /// Who reports.
    pub provider: Provider,
    kind: Kind,
}

impl Feed {
    /// Authenticates and decodes one delivery.
    ///
    /// # Errors
    /// A rejection with the status that makes this provider do the right thing.
    pub async fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        match &self.kind {
            Kind::Ses(feed) => feed.receive(delivery).await,
        }
    }
}

/// All feeds by the part of their path after `/in/`.
#[derive(Debug, Default)]
pub struct Feeds(HashMap<String, Arc<Feed>>);

impl Feeds {
    /// Sets up every configured feed.
    ///
    /// # Errors
    /// The first that can't be set up.
    pub fn new(config: &Config) -> Result<Self, FeedError> {
        let mut feeds = Self::default();
        for settings in &config.feeds.ses {
            let name = path(Provider::Ses, settings);
            let wrong = |reason: String| FeedError::Settings { feed: name.clone(), reason };
            let certificates = settings
                .signing_certificates
                .iter()
                .map(|file| read(&name, &file.0))
                .collect::<Result<Vec<_>, FeedError>>()?;
            let feed = ses::SesFeed::new(&ses::SesSettings {
                topics: settings.topics.clone(),
                signing_certificates: certificates,
                refuse_signature_version_1: settings.refuse_signature_version_1,
                campaign_tag: settings.campaign_tag.clone(),
                ..ses::SesSettings::default()
            })
            .map_err(|error| wrong(error.to_string()))?;
            feeds.add(name, Provider::Ses, settings.exposure, Kind::Ses(feed));
        }
        Ok(feeds)
    }

    fn add(&mut self, name: String, provider: Provider, exposure: crate::model::Exposure, kind: Kind) {
        let feed = Feed { name: FeedName { name: name.clone(), exposure }, provider, kind };
        self.0.insert(name, Arc::new(feed));
    }

    /// The feed at `/in/<path>`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Arc<Feed>> {
        self.0.get(path)
    }

    /// The paths of all feeds, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = self.0.keys().map(String::as_str).collect();
        paths.sort_unstable();
        paths
    }
}

fn path(provider: Provider, settings: &impl Named) -> String {
    settings.name().map_or_else(|| provider.to_string(), |name| format!("{provider}/{name}"))
}

fn read(feed: &str, path: &PathBuf) -> Result<Vec<u8>, FeedError> {
    fs::read(path).map_err(|source| FeedError::File { feed: feed.to_owned(), path: path.clone(), source })
}
