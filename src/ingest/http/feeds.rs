//! The list of feeds that arrive over HTTP. Adding a provider touches its file, this list, the configuration and the docs.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use secrecy::SecretString;

use super::{Delivery, Rejection, apple, auth::Login, braze, mailgun, ses, sparkpost};
use crate::{
    config::{AppleMode, Config, FilePath, Named, Secret},
    ingest::{Report, intake::FeedName},
    model::{Exposure, Provider},
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
    Apple(apple::Apple),
    Braze(braze::Braze),
    Mailgun(mailgun::Mailgun),
    Ses(ses::SesFeed),
    Sparkpost(sparkpost::SparkPost),
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
            Kind::Apple(feed) => feed.receive(delivery).await,
            Kind::Braze(feed) => feed.receive(delivery),
            Kind::Mailgun(feed) => feed.receive(delivery),
            Kind::Ses(feed) => feed.receive(delivery).await,
            Kind::Sparkpost(feed) => feed.receive(delivery),
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
        for settings in &config.feeds.apple {
            let name = path(Provider::Apple, settings);
            let feed = apple::Apple::new(apple_settings(config, settings, &name)?);
            feeds.add(&name, Provider::Apple, Exposure::None, Kind::Apple(or_wrong(&name, feed)?));
        }
        for settings in &config.feeds.ses {
            let name = path(Provider::Ses, settings);
            let certificates = settings
                .signing_certificates
                .iter()
                .map(|file| read(&name, file))
                .collect::<Result<Vec<_>, FeedError>>()?;
            let feed = ses::SesFeed::new(&ses::SesSettings {
                topics: settings.topics.clone(),
                signing_certificates: certificates,
                refuse_signature_version_1: settings.refuse_signature_version_1,
                campaign_tag: settings.campaign_tag.clone(),
                ..ses::SesSettings::default()
            });
            feeds.add(&name, Provider::Ses, settings.exposure, Kind::Ses(or_wrong(&name, feed)?));
        }
        for settings in &config.feeds.sparkpost {
            let name = path(Provider::Sparkpost, settings);
            let username = settings.username.clone().unwrap_or_default();
            let logins = secrets(&[&settings.password, &settings.previous_password])
                .into_iter()
                .map(|password| Login { username: username.clone(), password })
                .collect();
            let tokens = secrets(&[&settings.token, &settings.previous_token]);
            let feed = sparkpost::SparkPost::new(&sparkpost::Settings { logins, tokens });
            feeds.add(&name, Provider::Sparkpost, settings.exposure, Kind::Sparkpost(or_wrong(&name, feed)?));
        }
        for settings in &config.feeds.braze {
            let name = path(Provider::Braze, settings);
            let tokens = secrets(&[&settings.token, &settings.previous_token]);
            let feed = braze::Braze::new(&braze::Settings { tokens });
            feeds.add(&name, Provider::Braze, settings.exposure, Kind::Braze(or_wrong(&name, feed)?));
        }
        for settings in &config.feeds.mailgun {
            let name = path(Provider::Mailgun, settings);
            let signing_keys = secrets(&[&settings.signing_key, &settings.previous_signing_key]);
            let window_millis = mailgun::DEFAULT_WINDOW_MILLIS;
            let feed = mailgun::Mailgun::new(&mailgun::Settings { signing_keys, window_millis });
            feeds.add(&name, Provider::Mailgun, settings.exposure, Kind::Mailgun(or_wrong(&name, feed)?));
        }
        Ok(feeds)
    }

    fn add(&mut self, name: &str, provider: Provider, exposure: Exposure, kind: Kind) {
        let feed = Feed { name: FeedName { name: name.to_owned(), exposure }, provider, kind };
        self.0.insert(name.to_owned(), Arc::new(feed));
    }

    /// The feed at `/in/<path>`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Arc<Feed>> {
        self.0.get(path)
    }

    /// What each feed declares of mail that did not bounce, by name; nothing for those that bring notices.
    #[must_use]
    pub fn exposures(&self) -> BTreeMap<String, Option<Exposure>> {
        let declared = |feed: &Feed| (feed.provider != Provider::Apple).then_some(feed.name.exposure);
        self.0.iter().map(|(path, feed)| (path.clone(), declared(feed))).collect()
    }

    /// The paths of all feeds, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = self.0.keys().map(String::as_str).collect();
        paths.sort_unstable();
        paths
    }
}

fn apple_settings(
    config: &Config,
    settings: &crate::config::AppleFeed,
    name: &str,
) -> Result<apple::Settings, FeedError> {
    let apps = config.team.iter().flat_map(|team| {
        let app = |app: &crate::config::App| apple::App { client_id: app.client_id.clone(), team: team.id.clone() };
        team.app.iter().map(app)
    });
    let file = |file: &FilePath| read(name, file).map(Bytes::from);
    let keys = match &settings.jwks_file {
        Some(pinned) => apple::KeySource::Pinned(file(pinned)?),
        None => apple::KeySource::Published(Arc::new(or_wrong(name, apple::AppleKeyServer::new())?)),
    };
    let mode = match settings.mode {
        AppleMode::Direct => {
            apple::Mode::Direct { forward_to: settings.forward_to.as_ref().map(|url| url.0.to_string()) }
        }
        AppleMode::Forwarded => apple::Mode::Forwarded {
            secrets: secrets(&[&settings.secret, &settings.previous_secret]),
            archived_keys: settings.archived_jwks_file.iter().map(file).collect::<Result<_, _>>()?,
        },
    };
    Ok(apple::Settings { apps: apps.collect(), mode, keys })
}

/// The secrets that are set, the current one first.
fn secrets(given: &[&Option<Secret>]) -> Vec<SecretString> {
    given.iter().filter_map(|secret| secret.as_ref()).map(|secret| secret.expose().into()).collect()
}

fn or_wrong<T>(feed: &str, made: Result<T, impl std::fmt::Display>) -> Result<T, FeedError> {
    made.map_err(|reason| FeedError::Settings { feed: feed.to_owned(), reason: reason.to_string() })
}

fn path(provider: Provider, settings: &impl Named) -> String {
    settings.name().map_or_else(|| provider.to_string(), |name| format!("{provider}/{name}"))
}

fn read(feed: &str, file: &FilePath) -> Result<Vec<u8>, FeedError> {
    fs::read(&file.0).map_err(|source| FeedError::File { feed: feed.to_owned(), path: file.0.clone(), source })
}
