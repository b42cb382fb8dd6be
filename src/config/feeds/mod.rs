//! The feeds: one table each, or an array of named tables where there are several of one kind.
//!
//! Each kind has a file here with its keys and what makes no sense in them, and a line in the list of kinds below. Paths, names,
//! changes and checks follow from the list; schema, defaults and the predecessors of secrets from the table.

mod apple;
mod azure;
mod braze;
mod brevo;
mod credentials;
mod customerio;
mod elasticemail;
mod generic;
mod iterable;
mod klaviyo;
mod kumomta;
mod mail;
mod mailersend;
mod mailgun;
mod mailjet;
mod mailtrap;
mod mandrill;
mod postal;
mod postfix;
mod postmark;
mod resend;
mod scaleway;
mod sendgrid;
mod ses;
mod ses_eventbridge;
mod ses_firehose;
mod socketlabs;
mod sparkpost;
mod sqs;
mod unisender;

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

pub use self::{
    apple::{AppleFeed, AppleMode},
    azure::AzureFeed,
    braze::BrazeFeed,
    brevo::BrevoFeed,
    customerio::CustomerioFeed,
    elasticemail::ElasticemailFeed,
    generic::GenericFeed,
    iterable::IterableFeed,
    klaviyo::KlaviyoFeed,
    kumomta::KumomtaFeed,
    mail::{MailAddress, MailFeed, MailProtocol, Network, RecipientPattern},
    mailersend::MailersendFeed,
    mailgun::MailgunFeed,
    mailjet::MailjetFeed,
    mailtrap::MailtrapFeed,
    mandrill::MandrillFeed,
    postal::PostalFeed,
    postfix::PostfixFeed,
    postmark::PostmarkFeed,
    resend::ResendFeed,
    scaleway::ScalewayFeed,
    sendgrid::SendgridFeed,
    ses::SesFeed,
    ses_eventbridge::SesEventbridgeFeed,
    ses_firehose::SesFirehoseFeed,
    socketlabs::SocketlabsFeed,
    sparkpost::SparkpostFeed,
    sqs::SqsFeed,
    unisender::UnisenderFeed,
};
use super::{validate::Checks, values::Secret};
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

/// The words that `exposure` may be.
fn exposure_schema(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = Exposure::ALL.iter().map(|word| word.as_str()).collect();
    json_schema!({ "type": "string", "enum": words })
}

/// What every feed's table has.
pub trait Named {
    /// The name, where several feeds of one kind stand beside each other: the last part of the feed's path.
    fn name(&self) -> Option<&str>;

    /// What the feed tells of mail that did not bounce; nothing, where it brings notices.
    fn exposure(&self) -> Exposure;

    /// Whether its reports are posted to it.
    fn is_posted(&self) -> bool;
}

/// A secret that others send, or with which they sign, and its predecessor.
pub(super) struct Rotating<'a> {
    /// The key under which it stands.
    pub(super) key: &'static str,
    /// The one in force.
    pub(super) now: Option<&'a Secret>,
    /// The one before the last rotation.
    pub(super) previous: Option<&'a Secret>,
}

/// What the checks ask of every feed's table.
pub(super) trait Table: Named {
    /// Its secrets, in the order of the table.
    fn secrets(&self) -> Vec<Rotating<'_>>;

    /// Finds what makes no sense in it, beside names and lone predecessors; it stands at `path`.
    fn check(&self, path: &str, checks: &mut Checks<'_>);

    /// What to set at the provider, a line each, in the words of its console; `at` is the feed's URL, or where else its reports
    /// come from. Secrets are named by their setting, never by their value.
    fn connect(&self, at: &str) -> Vec<String>;
}

/// The events to switch on: those that tell of sends where sends are declared, of deliveries unless nothing is, and all others. What
/// the provider does not report is empty.
fn events(exposure: Exposure, sends: &str, deliveries: &str, others: &str) -> String {
    let all = match exposure {
        Exposure::Sends => [sends, deliveries, others],
        Exposure::Outcomes => ["", deliveries, others],
        Exposure::None => ["", "", others],
    };
    let all: Vec<_> = all.into_iter().filter(|events| !events.is_empty()).collect();
    format!("Events: {}", all.join(", "))
}

/// Finds `sends` where the provider reports none: every rate would be one of nothing.
fn no_sends(provider: &str, exposure: Exposure, path: &str, checks: &mut Checks<'_>) {
    if exposure == Exposure::Sends {
        checks.wrong(
            &format!("{path}.exposure"),
            format!("{provider} reports no sends"),
            "leave it out: `outcomes` counts what was delivered and refused",
        );
    }
}

/// How a webhook is told its credentials, where the provider signs nothing.
fn credentials_lines(username: Option<&str>, header: Option<&str>, has_token: bool) -> Vec<String> {
    let basic = username.map(|name| format!("Basic authentication: user name {name}, the password of `password`"));
    let token = has_token.then(|| {
        let scheme = if header.is_some() { "" } else { "`Bearer ` and " };
        format!("A custom header: {} with {scheme}the token of `token`", header.unwrap_or("Authorization"))
    });
    basic.into_iter().chain(token).collect()
}

/// Declares a feed's table: `name`, its own keys, its secrets, each with a file and a predecessor, and `exposure` where it reports
/// outcomes (`with exposure none`, where it tells of failures only unless an operator says otherwise). All keys are optional, and
/// absent by default; own keys have their type's default. A feed to which nobody posts is `by_itself` instead of `at` a path.
///
/// A secret is declared by what people call it and by the names of its four keys. `$check` is what finds what makes no sense,
/// `$connect` says what to set at the provider.
macro_rules! table {
    (
        $(#[$meta:meta])*
        pub struct $table:ident $place:ident $kind:literal $(with $exposure:ident $($told:ident)?)?, checked by $check:path, connected by $connect:path {
            $( $(#[$own_meta:meta])* pub $own:ident: $type:ty, )*
            $( secret $word:literal {
                $(#[$secret_meta:meta])* $secret:ident, $file:ident, $previous:ident, $previous_file:ident,
            } )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $table {
            #[doc = $crate::config::feeds::name_doc!($place $kind)]
            pub name: Option<String>,
            $( $(#[$own_meta])* pub $own: $type, )*
            $(
                $(#[$secret_meta])*
                pub $secret: Option<$crate::config::Secret>,
                #[doc = concat!("A file that holds `", stringify!($secret), "`.")]
                pub $file: Option<$crate::config::FilePath>,
                #[doc = concat!("The ", $word, " before the last rotation, still taken.")]
                pub $previous: Option<$crate::config::Secret>,
                #[doc = concat!("A file that holds `", stringify!($previous), "`.")]
                pub $previous_file: Option<$crate::config::FilePath>,
            )*
            $(
                /// What the feed tells of mail that did not bounce: `sends`, `outcomes` (delivered and refused) or `none`.
                #[schemars(schema_with = "crate::config::feeds::exposure_schema")]
                pub $exposure: $crate::model::Exposure,
            )?
        }

        impl Default for $table {
            fn default() -> Self {
                Self {
                    name: None,
                    $( $own: Default::default(), )*
                    $( $secret: None, $file: None, $previous: None, $previous_file: None, )*
                    // Unless an operator says otherwise, a feed reports what was delivered and what was refused.
                    $( $exposure: $crate::config::feeds::told!($($told)?), )?
                }
            }
        }

        impl $crate::config::feeds::Named for $table {
            fn name(&self) -> Option<&str> {
                self.name.as_deref()
            }

            fn exposure(&self) -> $crate::model::Exposure {
                [$(self.$exposure)?].first().copied().unwrap_or($crate::model::Exposure::None)
            }

            fn is_posted(&self) -> bool {
                $crate::config::feeds::is_posted!($place)
            }
        }

        impl $crate::config::feeds::Table for $table {
            fn secrets(&self) -> Vec<$crate::config::feeds::Rotating<'_>> {
                vec![$( $crate::config::feeds::Rotating {
                    key: stringify!($secret),
                    now: self.$secret.as_ref(),
                    previous: self.$previous.as_ref(),
                } ),*]
            }

            fn check(&self, path: &str, checks: &mut $crate::config::validate::Checks<'_>) {
                $check(self, path, checks);
            }

            fn connect(&self, at: &str) -> Vec<String> {
                $connect(self, at)
            }
        }
    };
}
use table;

/// What is said of a feed's name: `at` the end of a path to which reports are posted, or `by_itself`.
macro_rules! name_doc {
    (at $kind:literal) => {
        concat!("The name of the feed where there are several; its path is then `/in/", $kind, "/<name>`.")
    };
    (by_itself $kind:literal) => {
        concat!("The name of the feed where there are several; it is then `", $kind, "/<name>`.")
    };
}
use name_doc;

/// Whether reports are posted to a feed that stands so.
macro_rules! is_posted {
    (at) => {
        true
    };
    (by_itself) => {
        false
    };
}
use is_posted;

/// What a feed tells of mail that did not bounce, unless an operator says otherwise.
macro_rules! told {
    () => {
        $crate::model::Exposure::Outcomes
    };
    (none) => {
        $crate::model::Exposure::None
    };
}
use told;

/// One feed's table with where it stands.
pub(super) struct Stands<'a> {
    /// The kind of feed.
    pub(super) kind: &'static str,
    /// Its place among those of the kind.
    pub(super) index: usize,
    /// The table.
    pub(super) table: &'a dyn Table,
}

/// Declares the kinds of feeds, each with the part of the path that is its own.
macro_rules! kinds {
    ($( $(#[$meta:meta])* $kind:ident: $table:ty, )+) => {
        /// Everything that reports come from.
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct Feeds {
            $(
                $(#[$meta])*
                #[serde(skip_serializing_if = "Routes::is_empty")]
                pub $kind: Routes<$table>,
            )+
        }

        impl Feeds {
            /// All feeds, kind by kind.
            pub(super) fn tables(&self) -> Vec<Stands<'_>> {
                let mut all = Vec::new();
                $( all.extend(self.$kind.iter().enumerate().map(|(index, table)| {
                    Stands { kind: stringify!($kind), index, table }
                })); )+
                all
            }

            /// What differs, in words: `feeds + braze`, `feeds: ses`.
            pub(super) fn changes(old: &Self, new: &Self) -> Vec<String> {
                let mut all = Vec::new();
                $( routes_changed(stringify!($kind), &old.$kind, &new.$kind, &mut all); )+
                all
            }
        }
    };
}

kinds! {
    /// Apple's notices, at `/in/apple`.
    apple: AppleFeed,
    /// Amazon SES through SNS, at `/in/ses`.
    ses: SesFeed,
    /// Amazon SES through a queue of Amazon SQS, which is asked.
    sqs: SqsFeed,
    /// SparkPost, at `/in/sparkpost`.
    sparkpost: SparkpostFeed,
    /// Braze Currents by the custom HTTP connector, at `/in/braze`.
    braze: BrazeFeed,
    /// Mailgun, at `/in/mailgun`.
    mailgun: MailgunFeed,
    /// SendGrid's event webhook, at `/in/sendgrid`.
    sendgrid: SendgridFeed,
    /// Postmark's webhooks, at `/in/postmark`.
    postmark: PostmarkFeed,
    /// Mandrill's webhooks, at `/in/mandrill`.
    mandrill: MandrillFeed,
    /// Mailjet's events, at `/in/mailjet`.
    mailjet: MailjetFeed,
    /// Brevo's webhooks, at `/in/brevo`.
    brevo: BrevoFeed,
    /// Resend's webhooks, and others' under Svix's or Standard Webhooks' signature, at `/in/resend`.
    resend: ResendFeed,
    /// MailerSend's webhooks, at `/in/mailersend`.
    mailersend: MailersendFeed,
    /// Postal's webhooks, at `/in/postal`.
    postal: PostalFeed,
    /// KumoMTA's log hooks, at `/in/kumomta`.
    kumomta: KumomtaFeed,
    /// Unisender Go's webhooks, at `/in/unisender`.
    unisender: UnisenderFeed,
    /// Mailtrap's webhooks, at `/in/mailtrap`.
    mailtrap: MailtrapFeed,
    /// Events of senders of your own, at `/in/generic`.
    generic: GenericFeed,
    /// Customer.io's reporting webhooks, at `/in/customerio`.
    customerio: CustomerioFeed,
    /// Klaviyo's system webhooks, at `/in/klaviyo`.
    klaviyo: KlaviyoFeed,
    /// Iterable's system webhooks, at `/in/iterable`.
    iterable: IterableFeed,
    /// SocketLabs' event webhooks, at `/in/socketlabs`.
    socketlabs: SocketlabsFeed,
    /// Elastic Email's HTTP notifications, at `/in/elasticemail`.
    elasticemail: ElasticemailFeed,
    /// Azure Communication Services through Event Grid, at `/in/azure`.
    azure: AzureFeed,
    /// Scaleway Transactional Email, at `/in/scaleway`.
    scaleway: ScalewayFeed,
    /// Amazon SES through EventBridge, at `/in/ses-eventbridge`.
    ses_eventbridge: SesEventbridgeFeed,
    /// Amazon SES through Firehose, at `/in/ses-firehose`.
    ses_firehose: SesFirehoseFeed,
    /// Bounces, abuse reports and DMARC aggregate reports, by SMTP or LMTP.
    mail: MailFeed,
    /// The log of Postfix, which is followed.
    postfix: PostfixFeed,
}

impl Feeds {
    /// Where people find each feed: `/in/ses/eu`, or the name of one to which nobody posts.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let place = |feed: &Stands<'_>| {
            let path = path(feed.kind, feed.table.name());
            if feed.table.is_posted() { format!("/in/{path}") } else { path }
        };
        self.tables().iter().map(place).collect()
    }

    /// The names of all feeds, which are the last parts of their paths where they have one: `ses`, `ses/eu`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.tables().iter().map(|feed| path(feed.kind, feed.table.name())).collect()
    }

    /// The URL that a feed's provider signs along, as it's configured; nothing where none does, and where there is no such feed.
    #[must_use]
    pub fn signed_url(&self, feed: &str) -> Option<&str> {
        let of = |table: &&MandrillFeed| path("mandrill", table.name.as_deref()) == feed;
        self.mandrill.iter().find(of)?.url.as_deref()
    }

    /// What to set at the provider of a feed, a line each; `at` is the feed's URL, or where else its reports come from. Holds no
    /// secret. Nothing where there is no such feed.
    #[must_use]
    pub fn connect(&self, feed: &str, at: &str) -> Vec<String> {
        let tables = self.tables();
        let stands = tables.iter().find(|stands| path(stands.kind, stands.table.name()) == feed);
        stands.map(|stands| stands.table.connect(at)).unwrap_or_default()
    }
}

/// The last part of a feed's path, by its kind as the table is called and its name.
pub(crate) fn path(kind: &str, name: Option<&str>) -> String {
    let kind = kind.replace('_', "-");
    match name {
        Some(name) => format!("{kind}/{name}"),
        None => kind,
    }
}

fn routes_changed<T: Named + PartialEq>(kind: &str, old: &Routes<T>, new: &Routes<T>, all: &mut Vec<String>) {
    fn same<'r, T: Named>(routes: &'r Routes<T>, feed: &T) -> Option<&'r T> {
        routes.iter().find(|other| other.name() == feed.name())
    }
    for feed in new {
        match same(old, feed) {
            None => all.push(format!("feeds + {}", path(kind, feed.name()))),
            Some(before) if before != feed => all.push(format!("feeds: {}", path(kind, feed.name()))),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|feed| same(new, feed).is_none());
    all.extend(gone.map(|feed| format!("feeds - {}", path(kind, feed.name()))));
}
