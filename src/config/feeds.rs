//! The feeds: one table each, or an array of named tables where there are several of one kind.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::values::{FilePath, PublicUrl, Secret};
use crate::model::Exposure;

/// The feeds of one kind: a table, or an array of tables with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes<T>(pub Vec<T>);

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Routes<T> {
    /// The feeds in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a, T> IntoIterator for &'a Routes<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Serialize> Serialize for Routes<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Routes<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableOrTables<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for TableOrTables<T> {
            type Value = Routes<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table or an array of tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Ok(Routes(vec![T::deserialize(MapAccessDeserializer::new(map))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut routes = Vec::new();
                while let Some(route) = seq.next_element()? {
                    routes.push(route);
                }
                Ok(Routes(routes))
            }
        }

        deserializer.deserialize_any(TableOrTables(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Routes<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Routes_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

fn exposure_schema(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = Exposure::ALL.iter().map(|word| word.as_str()).collect();
    json_schema!({ "type": "string", "enum": words })
}

/// Unless an operator says otherwise, a feed reports what was delivered and what was refused.
const fn outcomes() -> Exposure {
    Exposure::Outcomes
}

/// Everything that reports come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Feeds {
    /// Apple's notices, at `/in/apple`.
    #[serde(skip_serializing_if = "Routes::is_empty")]
    pub apple: Routes<AppleFeed>,
    /// Amazon SES through SNS, at `/in/ses`.
    #[serde(skip_serializing_if = "Routes::is_empty")]
    pub ses: Routes<SesFeed>,
    /// SparkPost, at `/in/sparkpost`.
    #[serde(skip_serializing_if = "Routes::is_empty")]
    pub sparkpost: Routes<SparkpostFeed>,
    /// Braze Currents by the custom HTTP connector, at `/in/braze`.
    #[serde(skip_serializing_if = "Routes::is_empty")]
    pub braze: Routes<BrazeFeed>,
    /// Mailgun, at `/in/mailgun`.
    #[serde(skip_serializing_if = "Routes::is_empty")]
    pub mailgun: Routes<MailgunFeed>,
}

impl Feeds {
    /// The last parts of all feeds' paths, which are their names as well: `ses`, `ses/eu`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        fn of<T: Named>(kind: &str, routes: &Routes<T>, all: &mut Vec<String>) {
            all.extend(routes.iter().map(|feed| match feed.name() {
                Some(name) => format!("{kind}/{name}"),
                None => kind.to_owned(),
            }));
        }
        let Self { apple, ses, sparkpost, braze, mailgun } = self;
        let mut all = Vec::new();
        of("apple", apple, &mut all);
        of("ses", ses, &mut all);
        of("sparkpost", sparkpost, &mut all);
        of("braze", braze, &mut all);
        of("mailgun", mailgun, &mut all);
        all
    }
}

/// What every feed's table has.
pub trait Named {
    /// The name, where several feeds of one kind stand beside each other: the last part of the feed's path.
    fn name(&self) -> Option<&str>;
}

macro_rules! named {
    ($($feed:ty),+) => {$(
        impl Named for $feed {
            fn name(&self) -> Option<&str> {
                self.name.as_deref()
            }
        }
    )+};
}
named!(AppleFeed, SesFeed, SparkpostFeed, BrazeFeed, MailgunFeed);

/// Apple's server-to-server notices.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppleFeed {
    /// The name of the feed where there are several; its path is then `/in/apple/<name>`.
    pub name: Option<String>,
    /// Pinned keys (a JWK set). Without it, Apple's published set is fetched.
    pub jwks_file: Option<FilePath>,
    /// Keys that Apple has retired (a JWK set), for notices that a backend passes on late.
    pub archived_jwks_file: Option<FilePath>,
    /// `direct`: Apple posts here. `forwarded`: your backend passes copies on under `secret`.
    pub mode: AppleMode,
    /// Mode `direct`: your backend's endpoint, which gets every notice after it is committed.
    pub forward_to: Option<PublicUrl>,
    /// Mode `forwarded`: the bearer token that your backend sends.
    pub secret: Option<Secret>,
    /// A file that holds `secret`.
    pub secret_file: Option<FilePath>,
    /// The secret before the last rotation, still taken.
    pub previous_secret: Option<Secret>,
    /// A file that holds `previous_secret`.
    pub previous_secret_file: Option<FilePath>,
}

/// How Apple's notices come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppleMode {
    /// Apple posts them.
    #[default]
    Direct,
    /// The company's backend passes copies on.
    Forwarded,
}

/// Amazon SES through SNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SesFeed {
    /// The name of the feed where there are several; its path is then `/in/ses/<name>`.
    pub name: Option<String>,
    /// The SNS topics that are taken, by ARN. Subscriptions to others are not confirmed.
    pub topics: Vec<String>,
    /// Pinned signing certificates (PEM). With them nothing is fetched.
    pub signing_certificates: Vec<FilePath>,
    /// Refuse the older signatures (SHA-1). Set the topic's `SignatureVersion` to 2 first.
    pub refuse_signature_version_1: bool,
    /// The SES message tag that names the campaign.
    pub campaign_tag: Option<String>,
    /// What the feed tells of mail that did not bounce: `sends`, `outcomes` (delivered and refused) or `none`.
    #[schemars(schema_with = "exposure_schema")]
    pub exposure: Exposure,
}

impl Default for SesFeed {
    fn default() -> Self {
        Self {
            name: None,
            topics: Vec::new(),
            signing_certificates: Vec::new(),
            refuse_signature_version_1: false,
            campaign_tag: None,
            exposure: outcomes(),
        }
    }
}

/// SparkPost's event webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SparkpostFeed {
    /// The name of the feed where there are several; its path is then `/in/sparkpost/<name>`.
    pub name: Option<String>,
    /// Basic authentication: the user name.
    pub username: Option<String>,
    /// Basic authentication: the password.
    pub password: Option<Secret>,
    /// A file that holds `password`.
    pub password_file: Option<FilePath>,
    /// The password before the last rotation, still taken.
    pub previous_password: Option<Secret>,
    /// A file that holds `previous_password`.
    pub previous_password_file: Option<FilePath>,
    /// Bearer authentication: the token.
    pub token: Option<Secret>,
    /// A file that holds `token`.
    pub token_file: Option<FilePath>,
    /// The token before the last rotation, still taken.
    pub previous_token: Option<Secret>,
    /// A file that holds `previous_token`.
    pub previous_token_file: Option<FilePath>,
    /// What the feed tells of mail that did not bounce: `sends`, `outcomes` (delivered and refused) or `none`.
    #[schemars(schema_with = "exposure_schema")]
    pub exposure: Exposure,
}

impl Default for SparkpostFeed {
    fn default() -> Self {
        Self {
            name: None,
            username: None,
            password: None,
            password_file: None,
            previous_password: None,
            previous_password_file: None,
            token: None,
            token_file: None,
            previous_token: None,
            previous_token_file: None,
            exposure: outcomes(),
        }
    }
}

/// Braze Currents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BrazeFeed {
    /// The name of the feed where there are several; its path is then `/in/braze/<name>`.
    pub name: Option<String>,
    /// The bearer token.
    pub token: Option<Secret>,
    /// A file that holds `token`.
    pub token_file: Option<FilePath>,
    /// The token before the last rotation, still taken.
    pub previous_token: Option<Secret>,
    /// A file that holds `previous_token`.
    pub previous_token_file: Option<FilePath>,
    /// What the feed tells of mail that did not bounce: `sends`, `outcomes` (delivered and refused) or `none`.
    #[schemars(schema_with = "exposure_schema")]
    pub exposure: Exposure,
}

impl Default for BrazeFeed {
    fn default() -> Self {
        Self {
            name: None,
            token: None,
            token_file: None,
            previous_token: None,
            previous_token_file: None,
            exposure: outcomes(),
        }
    }
}

/// Mailgun's webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MailgunFeed {
    /// The name of the feed where there are several; its path is then `/in/mailgun/<name>`.
    pub name: Option<String>,
    /// The HTTP webhook signing key of the account, as Mailgun shows it (not the API key).
    pub signing_key: Option<Secret>,
    /// A file that holds `signing_key`.
    pub signing_key_file: Option<FilePath>,
    /// The signing key before the last rotation, still taken.
    pub previous_signing_key: Option<Secret>,
    /// A file that holds `previous_signing_key`.
    pub previous_signing_key_file: Option<FilePath>,
    /// What the feed tells of mail that did not bounce: `sends`, `outcomes` (delivered and refused) or `none`.
    #[schemars(schema_with = "exposure_schema")]
    pub exposure: Exposure,
}

impl Default for MailgunFeed {
    fn default() -> Self {
        Self {
            name: None,
            signing_key: None,
            signing_key_file: None,
            previous_signing_key: None,
            previous_signing_key_file: None,
            exposure: outcomes(),
        }
    }
}
