//! The list of feeds that arrive over HTTP. Adding a provider touches its file, this list, the configuration and the docs.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use secrecy::SecretString;

use super::{Delivery, Rejection, apple, auth::Login, braze, mailgun, ses, sns, sparkpost};
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
        /// The setting, as `feeds.apple.0.jwks_file`.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that it names holds something else.
    #[error("the feed {feed} names {}, which it can't use: {reason}", path.display())]
    Content {
        /// The feed.
        feed: String,
        /// The setting, as `feeds.apple.0.jwks_file`.
        setting: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Its settings make no feed.
    #[error("the feed {feed} can't be set up: {reason}")]
    Settings {
        /// The feed.
        feed: String,
        /// Its table, as `feeds.apple.0`.
        setting: String,
        /// What is wrong.
        reason: String,
    },
}

impl FeedError {
    /// The setting that is wrong, as `feeds.apple.0.jwks_file`.
    #[must_use]
    pub fn setting(&self) -> &str {
        match self {
            Self::File { setting, .. } | Self::Content { setting, .. } | Self::Settings { setting, .. } => setting,
        }
    }

    /// Whether a file is wrong that the settings name, whatever else is wrong with them.
    #[must_use]
    pub const fn is_of_a_named_file(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Content { .. })
    }
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
        let (feeds, mut wrong) = Self::build(config);
        if wrong.is_empty() { Ok(feeds) } else { Err(wrong.swap_remove(0)) }
    }

    /// Sets up every configured feed that can be, and says of each other one why it can't; of its files all that is wrong.
    #[must_use]
    pub fn build(config: &Config) -> (Self, Vec<FeedError>) {
        let mut feeds = Self::default();
        let mut wrong = Vec::new();
        let mut add = |name: &str, provider, exposure, kind: Result<Kind, Vec<FeedError>>| match kind {
            Ok(kind) => feeds.add(name, provider, exposure, kind),
            Err(errors) => wrong.extend(errors),
        };
        for (index, settings) in config.feeds.apple.iter().enumerate() {
            let place = Place::new(Provider::Apple, settings, index);
            let kind = apple_settings(config, settings, &place)
                .and_then(|settings| place.or_wrong(apple::Apple::new(settings)))
                .map(Kind::Apple);
            add(&place.feed, Provider::Apple, Exposure::None, kind);
        }
        for (index, settings) in config.feeds.ses.iter().enumerate() {
            let place = Place::new(Provider::Ses, settings, index);
            let files = settings.signing_certificates.iter().enumerate();
            let certificates = whole(files.map(|(number, file)| {
                place.read(&format!("signing_certificates.{number}"), file, sns::check_certificates)
            }));
            let kind = certificates.and_then(|certificates| {
                place.or_wrong(ses::SesFeed::new(&ses::SesSettings {
                    topics: settings.topics.clone(),
                    signing_certificates: certificates,
                    refuse_signature_version_1: settings.refuse_signature_version_1,
                    campaign_tag: settings.campaign_tag.clone(),
                    ..ses::SesSettings::default()
                }))
            });
            add(&place.feed, Provider::Ses, settings.exposure, kind.map(Kind::Ses));
        }
        for (index, settings) in config.feeds.sparkpost.iter().enumerate() {
            let place = Place::new(Provider::Sparkpost, settings, index);
            let username = settings.username.clone().unwrap_or_default();
            let logins = secrets(&[&settings.password, &settings.previous_password])
                .into_iter()
                .map(|password| Login { username: username.clone(), password })
                .collect();
            let tokens = secrets(&[&settings.token, &settings.previous_token]);
            let feed = sparkpost::SparkPost::new(&sparkpost::Settings { logins, tokens });
            add(&place.feed, Provider::Sparkpost, settings.exposure, place.or_wrong(feed).map(Kind::Sparkpost));
        }
        for (index, settings) in config.feeds.braze.iter().enumerate() {
            let place = Place::new(Provider::Braze, settings, index);
            let tokens = secrets(&[&settings.token, &settings.previous_token]);
            let feed = braze::Braze::new(&braze::Settings { tokens });
            add(&place.feed, Provider::Braze, settings.exposure, place.or_wrong(feed).map(Kind::Braze));
        }
        for (index, settings) in config.feeds.mailgun.iter().enumerate() {
            let place = Place::new(Provider::Mailgun, settings, index);
            let signing_keys = secrets(&[&settings.signing_key, &settings.previous_signing_key]);
            let window_millis = mailgun::DEFAULT_WINDOW_MILLIS;
            let feed = mailgun::Mailgun::new(&mailgun::Settings { signing_keys, window_millis });
            add(&place.feed, Provider::Mailgun, settings.exposure, place.or_wrong(feed).map(Kind::Mailgun));
        }
        (feeds, wrong)
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

    /// Who reports, once for each feed.
    pub fn providers(&self) -> impl Iterator<Item = Provider> + '_ {
        self.0.values().map(|feed| feed.provider)
    }

    /// The paths of all feeds, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = self.0.keys().map(String::as_str).collect();
        paths.sort_unstable();
        paths
    }
}

/// Where a feed stands: its name, and its table in the configuration.
struct Place {
    feed: String,
    table: String,
}

impl Place {
    fn new(provider: Provider, settings: &impl Named, index: usize) -> Self {
        let feed = settings.name().map_or_else(|| provider.to_string(), |name| format!("{provider}/{name}"));
        Self { feed, table: format!("feeds.{provider}.{index}") }
    }

    fn or_wrong<T>(&self, made: Result<T, impl std::fmt::Display>) -> Result<T, Vec<FeedError>> {
        made.map_err(|reason| {
            vec![FeedError::Settings {
                feed: self.feed.clone(),
                setting: self.table.clone(),
                reason: reason.to_string(),
            }]
        })
    }

    /// What a file holds, if `check` finds nothing wrong with it.
    fn read<E: std::fmt::Display>(
        &self,
        key: &str,
        file: &FilePath,
        check: impl Fn(&[u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, FeedError> {
        let (feed, setting, path) = (self.feed.clone(), format!("{}.{key}", self.table), file.0.clone());
        let held = match fs::read(&file.0) {
            Ok(held) => held,
            Err(source) => return Err(FeedError::File { feed, setting, path, source }),
        };
        match check(&held) {
            Ok(()) => Ok(held),
            Err(reason) => Err(FeedError::Content { feed, setting, path, reason: reason.to_string() }),
        }
    }
}

/// All of them, or everything that is wrong.
fn whole<T>(read: impl IntoIterator<Item = Result<T, FeedError>>) -> Result<Vec<T>, Vec<FeedError>> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(one) => all.push(one),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

fn apple_settings(
    config: &Config,
    settings: &crate::config::AppleFeed,
    place: &Place,
) -> Result<apple::Settings, Vec<FeedError>> {
    let apps = config.team.iter().flat_map(|team| {
        let app = |app: &crate::config::App| apple::App { client_id: app.client_id.clone(), team: team.id.clone() };
        team.app.iter().map(app)
    });
    let read = |key: &str, file: &Option<FilePath>| {
        whole(file.iter().map(|file| place.read(key, file, apple::check_keys).map(Bytes::from)))
    };
    let old = settings.archived_jwks_file.clone().filter(|_| settings.mode == AppleMode::Forwarded);
    let (pinned, archived_keys) = match (read("jwks_file", &settings.jwks_file), read("archived_jwks_file", &old)) {
        (Ok(pinned), Ok(archived)) => (pinned, archived),
        (pinned, archived) => {
            return Err([pinned.err(), archived.err()].into_iter().flatten().flatten().collect());
        }
    };
    let keys = match pinned.into_iter().next() {
        Some(pinned) => apple::KeySource::Pinned(pinned),
        None => apple::KeySource::Published(Arc::new(place.or_wrong(apple::AppleKeyServer::new())?)),
    };
    let mode = match settings.mode {
        AppleMode::Direct => {
            apple::Mode::Direct { forward_to: settings.forward_to.as_ref().map(|url| url.0.to_string()) }
        }
        AppleMode::Forwarded => {
            apple::Mode::Forwarded { secrets: secrets(&[&settings.secret, &settings.previous_secret]), archived_keys }
        }
    };
    Ok(apple::Settings { apps: apps.collect(), mode, keys })
}

/// The secrets that are set, the current one first.
fn secrets(given: &[&Option<Secret>]) -> Vec<SecretString> {
    given.iter().filter_map(|secret| secret.as_ref()).map(|secret| secret.expose().into()).collect()
}
