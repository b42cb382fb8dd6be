//! The list of feeds that arrive over HTTP. Adding a provider touches its file, its table in the configuration, this list and that
//! of the tables, and the docs.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    sync::Arc,
};

use axum::http::{HeaderMap, Method};
use secrecy::SecretString;

use super::{
    Answer, Delivery, Rejection, apple, auth::Login, azure, braze, brevo, customerio, elasticemail, generic, iterable,
    klaviyo, kumomta, mailersend, mailgun, mailjet, mailtrap, mandrill, postal, postmark, resend, scaleway, sendgrid,
    ses, ses_eventbridge, ses_firehose, socketlabs, sparkpost, unisender,
};
use crate::{
    config::{Config, FilePath, Named, Secret, feed_path},
    ingest::{Report, intake::FeedName},
    model::{Exposure, Provider, Timestamp},
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
    /// What it needs from the machine can't be had.
    #[error("the feed {feed} can't be opened: {reason}")]
    Open {
        /// The feed.
        feed: String,
        /// Its table, as `feeds.mail.0`.
        setting: String,
        /// What can't be had, and what to do.
        reason: String,
    },
}

impl FeedError {
    /// The setting that is wrong, as `feeds.apple.0.jwks_file`.
    #[must_use]
    pub fn setting(&self) -> &str {
        match self {
            Self::File { setting, .. }
            | Self::Content { setting, .. }
            | Self::Settings { setting, .. }
            | Self::Open { setting, .. } => setting,
        }
    }

    /// Whether a file is wrong that the settings name, whatever else is wrong with them.
    #[must_use]
    pub const fn is_of_a_named_file(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Content { .. })
    }
}

/// A feed that is made from its table in the configuration.
pub trait SetUp: Sized {
    /// The table.
    type Table: Named;
    /// Who reports.
    const PROVIDER: Provider;
    /// Its table under `[feeds]`; with `-` for `_` the feed's path as well.
    const TABLE: &'static str = Self::PROVIDER.as_str();
    /// The methods that the provider uses beside POST.
    const METHODS: &'static [Method] = &[];
    /// With which methods the provider asks, when its webhook is made, whether anybody is here. Each is answered with 200.
    const ASKS_BY: &'static [Method] = &[];
    /// Whether refusals are answered in a form of the provider's own ([`Self::shaped_refusal`]).
    const SHAPES_REFUSALS: bool = false;

    /// What becomes of a refusal, the endpoint's own ones included: the place to change a status that makes this provider give
    /// up what it could send again.
    #[must_use]
    fn refusal(rejection: Rejection) -> Rejection {
        rejection
    }

    /// A refusal in the provider's own form, by the headers of the request; without it, it's one of RFC 9457.
    #[must_use]
    fn shaped_refusal(_: &HeaderMap, _: &Rejection, _: Timestamp) -> Option<Answer> {
        None
    }

    /// Makes the feed.
    ///
    /// # Errors
    /// All that is wrong with the files that the table names, else why its settings make no feed.
    fn set_up(config: &Config, table: &Self::Table, place: &Place) -> Result<Self, Vec<FeedError>>;
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
    /// Whether the provider asks with this method if anybody is here, when its webhook is made.
    #[must_use]
    pub fn answers(&self, method: &Method) -> bool {
        self.asks_by().contains(method)
    }

    /// Whether it takes requests of this method.
    #[must_use]
    pub fn takes(&self, method: &Method) -> bool {
        method == Method::POST || self.methods().contains(method)
    }
}

/// Declares the kinds of feeds: the type, the tables in `[feeds]`, and whether receiving waits for anything.
macro_rules! kinds {
    ($( $kind:ident: $feed:ty, at $tables:ident $(, $wait:ident)?; )+) => {
        /// One provider's way of reporting.
        #[derive(Debug)]
        #[expect(clippy::large_enum_variant, reason = "there is one for each feed, and it stands in an Arc")]
        enum Kind {
            $( $kind($feed), )+
        }

        impl Feed {
            /// Authenticates and decodes one delivery.
            ///
            /// # Errors
            /// A rejection with the status that makes this provider do the right thing.
            pub async fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
                match &self.kind {
                    $( Kind::$kind(feed) => feed.receive(delivery)$(.$wait)?, )+
                }
            }

            /// The methods that it takes beside POST.
            #[must_use]
            pub const fn methods(&self) -> &'static [Method] {
                match &self.kind {
                    $( Kind::$kind(_) => <$feed as SetUp>::METHODS, )+
                }
            }

            const fn asks_by(&self) -> &'static [Method] {
                match &self.kind {
                    $( Kind::$kind(_) => <$feed as SetUp>::ASKS_BY, )+
                }
            }

            /// Whether refusals are answered in a form of the provider's own.
            #[must_use]
            pub const fn shapes_refusals(&self) -> bool {
                match &self.kind {
                    $( Kind::$kind(_) => <$feed as SetUp>::SHAPES_REFUSALS, )+
                }
            }

            /// What becomes of a refusal, so that this provider does the right thing.
            #[must_use]
            pub fn refusal(&self, rejection: Rejection) -> Rejection {
                match &self.kind {
                    $( Kind::$kind(_) => <$feed as SetUp>::refusal(rejection), )+
                }
            }

            /// A refusal in the provider's own form, where it has one.
            #[must_use]
            pub fn shaped_refusal(&self, headers: &HeaderMap, rejection: &Rejection, now: Timestamp) -> Option<Answer> {
                match &self.kind {
                    $( Kind::$kind(_) => <$feed as SetUp>::shaped_refusal(headers, rejection, now), )+
                }
            }
        }

        impl Feeds {
            /// Sets up every configured feed that can be, and says of each other one why it can't; of its files all that is
            /// wrong.
            #[must_use]
            pub fn build(config: &Config) -> (Self, Vec<FeedError>) {
                let mut feeds = Self::default();
                let mut wrong = Vec::new();
                $( for (index, table) in config.feeds.$tables.iter().enumerate() {
                    feeds.add(config, table, index, Kind::$kind, &mut wrong);
                } )+
                (feeds, wrong)
            }
        }
    };
}

kinds! {
    Apple: apple::Apple, at apple, await;
    Ses: ses::SesFeed, at ses, await;
    Sparkpost: sparkpost::SparkPost, at sparkpost;
    Braze: braze::Braze, at braze;
    Mailgun: mailgun::Mailgun, at mailgun;
    Sendgrid: sendgrid::SendGrid, at sendgrid;
    Postmark: postmark::Postmark, at postmark;
    Mandrill: mandrill::Mandrill, at mandrill;
    Mailjet: mailjet::Mailjet, at mailjet;
    Brevo: brevo::Brevo, at brevo;
    Resend: resend::Resend, at resend;
    Mailersend: mailersend::MailerSend, at mailersend;
    Postal: postal::Postal, at postal;
    Kumomta: kumomta::KumoMta, at kumomta;
    Unisender: unisender::Unisender, at unisender;
    Mailtrap: mailtrap::Mailtrap, at mailtrap;
    Generic: generic::Generic, at generic;
    Customerio: customerio::CustomerIo, at customerio;
    Klaviyo: klaviyo::Klaviyo, at klaviyo;
    Iterable: iterable::Iterable, at iterable;
    Socketlabs: socketlabs::SocketLabs, at socketlabs;
    Elasticemail: elasticemail::ElasticEmail, at elasticemail;
    Azure: azure::Azure, at azure;
    Scaleway: scaleway::Scaleway, at scaleway, await;
    SesEventbridge: ses_eventbridge::SesEventBridge, at ses_eventbridge;
    SesFirehose: ses_firehose::SesFirehose, at ses_firehose;
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

    fn add<F: SetUp>(
        &mut self,
        config: &Config,
        table: &F::Table,
        index: usize,
        kind: impl FnOnce(F) -> Kind,
        wrong: &mut Vec<FeedError>,
    ) {
        let place = Place::new(F::TABLE, table, index);
        match F::set_up(config, table, &place) {
            Ok(feed) => {
                let name = FeedName { name: place.feed.clone(), exposure: table.exposure() };
                self.0.insert(place.feed, Arc::new(Feed { name, provider: F::PROVIDER, kind: kind(feed) }));
            }
            Err(errors) => wrong.extend(errors),
        }
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
pub struct Place {
    feed: String,
    table: String,
}

impl Place {
    /// The place of a feed of this kind, the one at `index` among its tables.
    pub(in crate::ingest) fn new(kind: &str, settings: &impl Named, index: usize) -> Self {
        Self { feed: feed_path(kind, settings.name()), table: format!("feeds.{kind}.{index}") }
    }

    /// The feed's name.
    pub(in crate::ingest) fn name(&self) -> &str {
        &self.feed
    }

    /// The feed's table, as `feeds.mail.0`.
    pub(in crate::ingest) fn table(&self) -> &str {
        &self.table
    }

    /// What was made of the settings, or why they make no feed.
    pub(in crate::ingest) fn or_wrong<T>(&self, made: Result<T, impl std::fmt::Display>) -> Result<T, Vec<FeedError>> {
        made.map_err(|reason| {
            vec![FeedError::Settings {
                feed: self.feed.clone(),
                setting: self.table.clone(),
                reason: reason.to_string(),
            }]
        })
    }

    /// What a file holds, if `check` finds nothing wrong with it.
    pub(in crate::ingest) fn read<E: std::fmt::Display>(
        &self,
        key: &str,
        file: &FilePath,
        check: impl Fn(&[u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, FeedError> {
        match fs::read(&file.0) {
            Ok(held) => check(&held).map(|()| held).map_err(|reason| self.unusable(key, file, &reason)),
            Err(source) => {
                let (feed, setting, path) = (self.feed.clone(), format!("{}.{key}", self.table), file.0.clone());
                Err(FeedError::File { feed, setting, path, source })
            }
        }
    }

    /// Why the file of this key can't be used, though it was read.
    pub(in crate::ingest) fn unusable(&self, key: &str, file: &FilePath, reason: &dyn std::fmt::Display) -> FeedError {
        FeedError::Content {
            feed: self.feed.clone(),
            setting: format!("{}.{key}", self.table),
            path: file.0.clone(),
            reason: reason.to_string(),
        }
    }
}

/// All of them, or everything that is wrong.
pub(in crate::ingest) fn whole<T>(
    read: impl IntoIterator<Item = Result<T, FeedError>>,
) -> Result<Vec<T>, Vec<FeedError>> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(one) => all.push(one),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// The secrets that are set, the current one first.
pub(in crate::ingest) fn secrets(given: &[&Option<Secret>]) -> Vec<SecretString> {
    given.iter().filter_map(|secret| secret.as_ref()).map(|secret| secret.expose().into()).collect()
}

/// The logins under one user name: the password in force, and the one before it.
pub(in crate::ingest) fn logins(username: Option<&str>, passwords: &[&Option<Secret>]) -> Vec<Login> {
    let username = username.unwrap_or_default();
    secrets(passwords).into_iter().map(|password| Login { username: username.to_owned(), password }).collect()
}
