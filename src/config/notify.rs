//! Who is told.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{FilePath, PublicUrl, Secret};

/// Who is told of incidents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// What this installation is called on pages and in reports, where there are several.
    pub installation: Option<String>,
    /// Where people reach the private listener's page, as they write it in a browser. Pages and reports link to it.
    pub link: Option<PublicUrl>,
    /// Pages to Slack: an incoming webhook, or a bot and a channel.
    pub slack: Option<Slack>,
    /// Pages as JSON to an endpoint of yours.
    pub webhook: Option<Webhook>,
    /// A sign of life to a service that pages when it stops.
    pub heartbeat: Option<Heartbeat>,
}

impl Notify {
    /// The private page, at the place of an incident where one is given; `None` without `link`.
    #[must_use]
    pub fn link_to(&self, incident: Option<i64>) -> Option<String> {
        let mut url = self.link.as_ref()?.0.clone();
        if let Some(incident) = incident {
            url.set_fragment(Some(&format!("incident-{incident}")));
        }
        Some(url.into())
    }
}

/// Pages to Slack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// The incoming webhook's URL, which is a secret.
    pub webhook_url: Option<Secret>,
    /// A file that holds `webhook_url`.
    pub webhook_url_file: Option<FilePath>,
    /// The bot token (`xoxb-…`), with the scope `chat:write`; needs `channel`.
    pub bot_token: Option<Secret>,
    /// A file that holds `bot_token`.
    pub bot_token_file: Option<FilePath>,
    /// The channel to which the bot writes.
    pub channel: Option<String>,
}

/// Pages as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// The endpoint. It is kept as a secret, since many hold a token.
    pub url: Option<Secret>,
    /// A file that holds `url`.
    pub url_file: Option<FilePath>,
    /// The key with which each page is signed (HMAC-SHA256).
    pub secret: Option<Secret>,
    /// A file that holds `secret`.
    pub secret_file: Option<FilePath>,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// The URL that is fetched. It is kept as a secret, since it is one.
    pub url: Option<Secret>,
    /// A file that holds `url`.
    pub url_file: Option<FilePath>,
    /// Seconds from one sign of life to the next.
    #[schemars(range(min = 10, max = 86_400))]
    pub interval_seconds: u32,
}

impl Heartbeat {
    /// The time from one sign of life to the next.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds.into())
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { url: None, url_file: None, interval_seconds: 60 }
    }
}
