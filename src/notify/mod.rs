//! What leaves by itself: pages to people, notices to the endpoint behind a feed, a sign of life.
//!
//! Pages and notices go through the store's outbox: written in the commit that makes them, sent by the [`Worker`], ended
//! when their sending is recorded. What was begun and not recorded is sent again, marked as a possible repeat.

mod answer;
pub mod forward;
pub mod heartbeat;
mod page;
mod retry;
pub mod slack;
pub mod webhook;
mod worker;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tokio::sync::{Notify as Wake, watch};
use url::Url;

pub use self::{
    page::{Link, Page, PageKind, Severity},
    worker::{Worker, WorkerError},
};
use crate::{
    config::{Config, Notify, PublicUrl, Secret},
    store::{NewOutbox, Route},
};

/// What is wrong with the settings of a notifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A URL is none.
    #[error("{setting} is no URL; write it in full: \"https://host/path\"")]
    Url {
        /// The setting.
        setting: &'static str,
    },
    /// The key of the webhook looks like one of Standard Webhooks and is not.
    #[error("notify.webhook.secret begins with whsec_ and is no base64 after it; copy it again, or use another key")]
    WebhookSecret,
}

impl SetupError {
    /// The setting that is wrong, as `notify.slack.webhook_url`.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::Url { setting } => setting,
            Self::WebhookSecret => "notify.webhook.secret",
        }
    }
}

/// A URL that is a secret, or may hold one: it doesn't print.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// An endpoint at this URL.
    #[must_use]
    pub const fn new(url: Url) -> Self {
        Self(url)
    }

    fn parse(setting: &'static str, url: &Secret) -> Result<Self, SetupError> {
        Url::parse(url.expose()).map(Self).map_err(|_| SetupError::Url { setting })
    }

    fn url(&self) -> Url {
        self.0.clone()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::config::MASK)
    }
}

/// Where everything goes, by one configuration.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// What the installation is called.
    pub installation: Option<String>,
    /// Where people reach the private page.
    pub link: Option<PublicUrl>,
    /// Pages to Slack.
    pub slack: Option<slack::Slack>,
    /// Pages as JSON.
    pub webhook: Option<webhook::Webhook>,
    /// The endpoint behind each feed that passes its notices on, by the feed's name.
    pub forward: HashMap<String, Endpoint>,
    /// The sign of life, and how often.
    pub heartbeat: Option<(Endpoint, Duration)>,
}

impl Setup {
    /// What the configuration says.
    ///
    /// # Errors
    /// Where a URL or a key is none.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let notify = &config.notify;
        let heartbeat = notify.heartbeat.as_ref().and_then(|heartbeat| Some((heartbeat.url.as_ref()?, heartbeat)));
        let feeds = config.feeds.apple.iter();
        Ok(Self {
            installation: notify.installation.clone(),
            link: notify.link.clone(),
            slack: notify.slack.as_ref().map(slack::Slack::new).transpose()?.flatten(),
            webhook: notify.webhook.as_ref().map(webhook::Webhook::new).transpose()?.flatten(),
            forward: feeds
                .filter_map(|feed| {
                    let name = feed.name.as_ref().map_or_else(|| "apple".to_owned(), |name| format!("apple/{name}"));
                    Some((name, Endpoint(feed.forward_to.as_ref()?.0.clone())))
                })
                .collect(),
            heartbeat: heartbeat
                .map(|(url, heartbeat)| {
                    Ok::<_, SetupError>((Endpoint::parse("notify.heartbeat.url", url)?, heartbeat.interval()))
                })
                .transpose()?,
        })
    }

    /// The routes that lead somewhere. What waits for another one goes on waiting: another process may have it.
    fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        Route::ALL.iter().copied().filter(|route| match route {
            Route::Slack => self.slack.is_some(),
            Route::Webhook => self.webhook.is_some(),
            Route::Forward => !self.forward.is_empty(),
        })
    }
}

/// The setup in force, which a reload exchanges, and the bell of the worker. Clones share both.
#[derive(Debug, Clone)]
pub struct Notifiers {
    setup: watch::Sender<Arc<Setup>>,
    wake: Arc<Wake>,
}

impl Notifiers {
    /// Notifiers with this setup.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self { setup: watch::Sender::new(Arc::new(setup)), wake: Arc::new(Wake::new()) }
    }

    /// Puts another setup in force; what is being sent goes on with the old one.
    pub fn exchange(&self, setup: Setup) {
        self.setup.send_replace(Arc::new(setup));
    }

    /// What to ring after something was put into the outbox. Without it, the worker looks every five seconds.
    #[must_use]
    pub fn wake(&self) -> Arc<Wake> {
        Arc::clone(&self.wake)
    }

    /// A page for the outbox, once for each route of the setup in force.
    #[must_use]
    pub fn pages(&self, page: &Page) -> Vec<NewOutbox> {
        let setup = Arc::clone(&self.setup.borrow());
        let notify = Notify {
            installation: setup.installation.clone(),
            link: setup.link.clone(),
            slack: setup.slack.as_ref().map(|_| crate::config::Slack::default()),
            webhook: setup.webhook.as_ref().map(|_| crate::config::Webhook::default()),
            heartbeat: None,
        };
        pages(page, &notify)
    }

    /// What the installation is called, by the setup in force.
    #[must_use]
    pub fn installation(&self) -> Option<String> {
        self.setup.borrow().installation.clone()
    }

    /// Whether pages go anywhere, by the setup in force.
    #[must_use]
    pub fn reach_somebody(&self) -> bool {
        let setup = self.setup.borrow();
        setup.slack.is_some() || setup.webhook.is_some()
    }

    fn watch(&self) -> watch::Receiver<Arc<Setup>> {
        self.setup.subscribe()
    }
}

/// A page for the outbox, once for each configured route. Addresses are taken out of it first.
#[must_use]
pub fn pages(page: &Page, notify: &Notify) -> Vec<NewOutbox> {
    let mut page = page.clone();
    page.installation.clone_from(&notify.installation);
    // What is over, and what is wrong with the set-up, has no place of its own there.
    let incident = page
        .incident
        .parse()
        .ok()
        .filter(|_| page.kind.is_of_incident() && !matches!(page.kind, PageKind::Closed | PageKind::Withdrawn));
    page.links.extend(notify.link_to(incident).map(|url| Link { title: "relaywatch".to_owned(), url }));
    let page = page.without_addresses();
    // A struct of strings, numbers and words always serialises.
    let body = serde_json::to_vec(&page).unwrap_or_default();
    let routes = [(Route::Slack, notify.slack.is_some()), (Route::Webhook, notify.webhook.is_some())];
    let configured = routes.into_iter().filter(|(_, configured)| *configured);
    configured
        .map(|(route, _)| NewOutbox {
            key: page.key.clone(),
            route,
            target: page.incident.clone(),
            ordered: true,
            // The limit spares people; a program wants to hear everything.
            paced: route == Route::Slack && page.is_update(),
            created_at: page.at,
            due_at: page.at,
            body: body.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{page::tests::page, *};

    fn config(text: &str) -> Config {
        Config::from_text(None, text.to_owned(), HashMap::new()).expect("a configuration")
    }

    #[test]
    fn a_page_goes_out_once_by_each_configured_route() {
        let both = config(
            "[notify.slack]\nwebhook_url = \"https://hooks.slack.com/x\"\n[notify.webhook]\nurl = \"https://a.example/\"",
        );
        let made = pages(&page(PageKind::Worse, Severity::Page), &both.notify);
        let routes: Vec<(Route, bool)> = made.iter().map(|item| (item.route, item.paced)).collect();
        assert_eq!(routes, [(Route::Slack, true), (Route::Webhook, false)]);
        assert!(made.iter().all(|item| item.ordered && item.key == "inc-7/worse/1" && item.target == "inc-7"));
        assert!(pages(&page(PageKind::Opened, Severity::Page), &Notify::default()).is_empty());
        let raised = Page { raised: true, ..page(PageKind::Worse, Severity::Page) };
        let exempt = [raised, page(PageKind::Closed, Severity::Page), page(PageKind::Withdrawn, Severity::Ticket)];
        for page in exempt {
            assert!(pages(&page, &both.notify).iter().all(|item| !item.paced), "{}", page.kind);
        }
    }

    #[test]
    fn a_page_says_whose_it_is_and_where_to_look() {
        let sent = |text: &str, page: &Page| {
            let made = pages(page, &config(text).notify);
            serde_json::from_slice::<Page>(&made.first().expect("a route").body).expect("a page")
        };
        let route = "[notify.webhook]\nurl = \"https://a.example/\"\n";
        let opened = Page { incident: "7".to_owned(), ..page(PageKind::Opened, Severity::Page) };
        let plain = sent(route, &opened);
        assert_eq!((plain.installation, plain.links.len()), (None, opened.links.len()), "nothing changes without them");
        let named =
            format!("[notify]\ninstallation = \"acme production\"\nlink = \"https://rw.example.com/\"\n{route}");
        let told = sent(&named, &opened);
        assert_eq!(told.installation.as_deref(), Some("acme production"));
        assert_eq!(told.links.last().expect("a link").url, "https://rw.example.com/#incident-7");
        for kind in [PageKind::Setup, PageKind::Closed, PageKind::Withdrawn] {
            let told = sent(&named, &Page { kind, ..opened.clone() });
            assert_eq!(told.links.last().expect("a link").url, "https://rw.example.com/", "it has no place there");
        }
    }

    #[test]
    fn no_address_leaves_in_a_page() {
        let config = config("[notify.webhook]\nurl = \"https://a.example/\"");
        for (field, value) in
            serde_json::to_value(page(PageKind::Opened, Severity::Page)).expect("json").as_object().expect("fields")
        {
            let mut tainted = serde_json::to_value(page(PageKind::Opened, Severity::Page)).expect("json");
            let dirty = "seen at a@privaterelay.appleid.com";
            let dirty = match value {
                serde_json::Value::String(_) if !["kind", "severity"].contains(&field.as_str()) => dirty.into(),
                serde_json::Value::Array(_) if field == "links" => {
                    serde_json::json!([{"title": dirty, "url": "https://a.example/?who=a%40b.example"}])
                }
                serde_json::Value::Array(_) => serde_json::json!([dirty, "clean", "a\u{ff20}b.example"]),
                _ => continue,
            };
            tainted[field] = dirty;
            let page: Page = serde_json::from_value(tainted).expect("a page");
            for item in pages(&page, &config.notify) {
                let body = String::from_utf8(item.body).expect("text") + &item.key + &item.target;
                assert!(!body.contains(['@', '\u{ff20}']) && !body.contains("%40"), "{field}: {body}");
            }
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let config = config(
            "[notify.slack]\nwebhook_url = \"https://hooks.slack.com/hush\"\n\
             [notify.webhook]\nurl = \"https://a.example/hush\"\nsecret = \"hush\"\n\
             [notify.heartbeat]\nurl = \"https://hc.example.com/hush\"\n\
             [[team]]\nid = \"A1B2C3D4E5\"\nkind = \"organization\"\n[[team.app]]\nclient_id = \"com.example.app\"\n\
             [feeds.apple]\nforward_to = \"https://a.example/hush\"",
        );
        let setup = Setup::new(&config).expect("a setup");
        assert_eq!(setup.routes().count(), 3);
        assert!(setup.heartbeat.is_some() && setup.forward.contains_key("apple"));
        assert!(!format!("{setup:?}").contains("hush"));
    }
}
