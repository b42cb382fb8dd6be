//! The sections of the configuration but for feeds and notifiers. The documentation of a field is what people read in
//! `docs/configuration.md` and in the JSON Schema.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{FilePath, ListenAddress, PublicUrl, Secret, StoreUrl};
use crate::{
    model::{RelayDomains, Timestamp},
    telemetry::LogFormat,
};

/// The two listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// The listener of the feeds, and of nothing else. Put a TLS proxy before it.
    pub public: ListenAddress,
    /// Where providers reach it, through the proxy: `https://hooks.example.com`. `doctor` shows the feeds' URLs with it, and asks
    /// there.
    pub public_url: Option<PublicUrl>,
    /// The listener of API, pages, metrics and health.
    pub private: ListenAddress,
    /// The bearer token that the private listener asks for; needed unless it is bound to loopback.
    pub private_token: Option<Secret>,
    /// A file that holds `private_token`.
    pub private_token_file: Option<FilePath>,
    /// The token before the last rotation, still taken.
    pub previous_private_token: Option<Secret>,
    /// A file that holds `previous_private_token`.
    pub previous_private_token_file: Option<FilePath>,
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| ListenAddress(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)));
        Self {
            public: loopback(8025),
            public_url: None,
            private: loopback(8026),
            private_token: None,
            private_token_file: None,
            previous_private_token: None,
            previous_private_token_file: None,
        }
    }
}

/// Where everything is kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `sqlite://` and a file, or `postgres://…`. The default is `relaywatch.db` in the state directory.
    pub url: StoreUrl,
    /// A file that holds `url`, for a URL with a password.
    pub url_file: Option<FilePath>,
    /// SQLite: connections that read.
    #[schemars(range(min = 1, max = 64))]
    pub readers: u32,
    /// PostgreSQL: connections at most.
    #[schemars(range(min = 2, max = 1000))]
    pub connections: u32,
    /// PostgreSQL: seconds after which another process takes over where the one that leads the monitors has gone silent.
    /// The leader renews three times as often.
    #[schemars(range(min = 2, max = 300))]
    pub lease_seconds: u32,
    /// Days for which deliveries and sends are kept one by one. Before they go, a checkpoint keeps what they counted; reports
    /// that come later than that count nowhere.
    #[schemars(range(min = 2, max = 3650))]
    pub retention_deliveries_days: u32,
    /// Days for which refusals, complaints and notices are kept.
    #[schemars(range(min = 30, max = 3650))]
    pub retention_refusals_days: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: StoreUrl::new("sqlite:///var/lib/relaywatch/relaywatch.db"),
            url_file: None,
            readers: 4,
            connections: 10,
            lease_seconds: 15,
            retention_deliveries_days: 14,
            retention_refusals_days: 365,
        }
    }
}

impl Store {
    /// How long the lead lasts without being renewed.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }
}

/// Which domains hold relay addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Relay {
    /// Domains on which every address is a relay address.
    pub domains: Vec<String>,
    /// Domains on which relay addresses stand among ordinary mailboxes; the account map and notices tell which.
    pub shared_domains: Vec<String>,
}

impl Relay {
    /// Both lists in the form that the other rooms use.
    #[must_use]
    pub fn to_domains(&self) -> RelayDomains {
        RelayDomains::new(&self.domains, &self.shared_domains)
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            domains: vec!["privaterelay.appleid.com".to_owned(), "private.icloud.com".to_owned()],
            shared_domains: vec!["icloud.com".to_owned()],
        }
    }
}

/// An Apple developer team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// The team id: ten capital letters and digits, from the developer account's membership page.
    pub id: String,
    /// `organization` or `individual`: Apple registers up to 100 sources for the one, 32 for the other.
    #[serde(default)]
    pub kind: TeamKind,
    /// The apps that offer Sign in with Apple.
    #[serde(default)]
    pub app: Vec<App>,
    /// The email sources registered with Apple for this team.
    #[serde(default)]
    pub source: Vec<Source>,
    /// What sends to these apps' users.
    #[serde(default)]
    pub stream: Vec<Sending>,
}

/// The kind of a developer account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TeamKind {
    /// Up to 100 registered sources.
    #[default]
    Organization,
    /// Up to 32 registered sources.
    Individual,
}

impl TeamKind {
    /// How many email sources Apple registers, domains and addresses together ("Configure private email relay service",
    /// Apple Developer account help).
    #[must_use]
    pub const fn max_sources(self) -> usize {
        match self {
            Self::Organization => 100,
            Self::Individual => 32,
        }
    }
}

/// An app or a website of a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The bundle id or services id: the `aud` of Apple's tokens.
    pub client_id: String,
}

/// An email source registered with Apple: a domain or an address, one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A registered domain. Its subdomains are not registered with it.
    pub domain: Option<String>,
    /// A registered single address.
    pub address: Option<String>,
    /// The day on which somebody last saw it in Apple's portal, as "2026-11-01". After 90 days it counts as unconfirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<String>,
    /// Who saw it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
}

impl Source {
    /// When it was last seen in Apple's portal: the beginning of that day, UTC. `None` where that was not said.
    #[must_use]
    pub fn confirmed(&self) -> Option<Timestamp> {
        self.confirmed_at.as_deref().and_then(Timestamp::from_date)
    }
}

/// What sends to relay addresses of a team's users, so that `relaywatch check` can tell whether a registered source carries it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sending {
    /// Who sends: "ses", "sparkpost", "sendgrid", …; "generic" for machines of your own.
    pub provider: String,
    /// The From address, or its domain.
    pub from: String,
    /// The domain of the envelope sender (MAIL FROM, return path), as it is set up at the provider.
    pub mail_from: Option<String>,
    /// The DKIM selectors in use; "s1" signs for the From domain, "s1@other.example" for another one.
    #[serde(default)]
    pub selectors: Vec<String>,
    /// The IP addresses that it is sent from, where they are your own; else they are those that the provider publishes.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The name whose SPF record lists the sending addresses, where it is another than the provider's own.
    pub spf_name: Option<String>,
    /// The AWS region, at SES.
    pub region: Option<String>,
    /// What SES is set to do where it does not find the MX record of `mail_from`.
    pub on_mx_failure: Option<MxFailure>,
}

/// `BehaviorOnMXFailure` of Amazon SES.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MxFailure {
    /// It sends with `amazonses.com` in the envelope.
    UseDefaultValue,
    /// It sends nothing.
    RejectMessage,
}

/// How DNS is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The DNS servers that are asked, as "9.9.9.9" or "127.0.0.1:5353"; without any, those of /etc/resolv.conf.
    pub resolvers: Vec<String>,
    /// Whether `serve` watches what the declared sources and streams depend on.
    pub watch: bool,
    /// How many queries the watch may send in a minute, to resolvers and zones together.
    #[schemars(range(min = 1, max = 100_000))]
    pub queries_per_minute: u32,
    /// The servers that the watch asks for every zone, in place of those that the zone names; for split DNS.
    pub zone_servers: Vec<String>,
    /// Whether addresses of private networks are believed, and servers with such addresses asked, though a zone names them.
    pub private_addresses: bool,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            watch: true,
            queries_per_minute: 120,
            zone_servers: Vec::new(),
            private_addresses: false,
        }
    }
}

/// How addresses are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    /// `sealed` keeps addresses encrypted; `hashed` keeps only a keyed hash, and then no recovery list can be made.
    pub addresses: AddressKeeping,
    /// The file with the keys. The default is made in the state directory, with mode 0600; back it up apart.
    pub key_file: Option<FilePath>,
}

/// What is kept of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressKeeping {
    /// A keyed hash, and the address under authenticated encryption.
    #[default]
    Sealed,
    /// A keyed hash only.
    Hashed,
}

/// What the detectors may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Detect {
    /// Days for each false page that is allowed, over the whole fleet. More days, fewer pages, later pages.
    #[schemars(range(min = 1, max = 3650))]
    pub days_per_false_page: u32,
    /// Streams of one day that are counted one by one; what goes beyond is counted together as `other`. One sender's campaigns
    /// get a hundredth of it, a provider's From domains a tenth.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub max_streams: u32,
}

impl Default for Detect {
    fn default() -> Self {
        Self { days_per_false_page: 30, max_streams: 100_000 }
    }
}

/// What replies mean, beyond what relaywatch knows by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleFiles {
    /// A folder of rule files (*.toml) that are asked before the built-in ones, in the order of their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<FilePath>,
}

/// What one client, and all together, may ask of the listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's body at most, also after decompression.
    #[schemars(range(min = 65_536, max = 268_435_456))]
    pub body_bytes: u32,
    /// Seconds for reading a request and answering it.
    #[schemars(range(min = 1, max = 600))]
    pub request_timeout_seconds: u32,
    /// Open connections at most, for each listener.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,
    /// Requests at work at the same time; the next are told to come again.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrent_requests: u32,
}

impl Limits {
    /// The time for reading a request and answering it.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds.into())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 * 1024 * 1024,
            request_timeout_seconds: 30,
            max_connections: 4_096,
            max_concurrent_requests: 512,
        }
    }
}

/// The logs. No line holds an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// error, warn, info, debug or trace, or pairs such as `info,relaywatch::ingest=debug`. `RELAYWATCH_LOG` goes before.
    pub level: String,
    /// `auto` (text on a terminal, else JSON), `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// Starting and stopping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lifecycle {
    /// Seconds for finishing what is begun after the first SIGTERM.
    #[schemars(range(min = 1, max = 3600))]
    pub drain_seconds: u32,
}

impl Lifecycle {
    /// The time for finishing what is begun.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { drain_seconds: 60 }
    }
}
