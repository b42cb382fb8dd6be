//! What the shape can't tell: whether the settings make sense together.

use std::collections::HashMap;

use super::{
    Config, Heartbeat, Secret, Slack, Webhook,
    clashes::{BINDV6ONLY, Clash, clash},
    feeds::{Rotating, Stands},
    forms::{is_feed_name, is_name},
    report::Report,
    store_url,
    tree::{Node, Origin},
    values::PublicUrl,
};
use crate::{
    model::{may_hold_address, normalise_domain},
    telemetry,
};

/// Shorter tokens than this can be guessed.
pub(super) const SHORT_TOKEN: usize = 16;

/// Finds what does not make sense in a configuration of the right shape.
pub(super) fn check(config: &Config, tree: &Node, report: &mut Report) {
    let mut checks = Checks { config, tree, report };
    checks.listen();
    checks.store();
    checks.relay();
    checks.teams();
    checks.canaries();
    checks.feeds();
    checks.clashes();
    checks.notify();
    if telemetry::parse_filter(&config.log.level).is_err() {
        let help = "write a level (error, warn, info, debug, trace) or `info,relaywatch::ingest=debug`";
        checks.wrong("log.level", "`log.level` is no log filter", help);
    }
}

/// What has been found so far, and what it is looked for in.
pub(super) struct Checks<'a> {
    pub(super) config: &'a Config,
    tree: &'a Node,
    report: &'a mut Report,
}

/// Whether a text has the form of a team's id: ten capital letters and digits.
pub(crate) fn is_team_id(text: &str) -> bool {
    text.len() == 10 && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

fn is_domain(text: &str) -> bool {
    let name = normalise_domain(text);
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

impl Checks<'_> {
    fn origin(&self, path: &str) -> Origin {
        self.tree.nearest(path).origin.clone()
    }

    /// A path as the operator writes it.
    pub(super) fn written(&self, path: &str) -> String {
        self.tree.written(path)
    }

    pub(super) fn error(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let origin = self.origin(path);
        self.report.error(&origin, path, message, Some(help.into()));
    }

    /// An error about one value, whatever stands beside it.
    pub(super) fn wrong(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let origin = self.origin(path);
        self.report.wrong_value(&origin, path, message, Some(help.into()));
    }

    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let origin = self.origin(path);
        self.report.warning(&origin, path, message, Some(help.into()));
    }

    /// Whether something in this part is wrong, so that what is missing in it may be but the echo of that.
    pub(super) fn broken(&self, part: &str) -> bool {
        self.report
            .error_paths()
            .any(|path| path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }

    fn listen(&mut self) {
        let listen = &self.config.listen;
        let (public, private) = (listen.public.0, listen.private.0);
        match clash(public, private) {
            Clash::Sure => self.error(
                "listen.private",
                "both listeners have the same address and port (`listen.public`)",
                "give `listen.private` a port of its own: it must not be reachable where the feeds are",
            ),
            Clash::Likely => self.warning(
                "listen.private",
                "`listen.public` has the same port: where one is on all of IPv6, mostly only one can listen",
                BINDV6ONLY,
            ),
            Clash::None => {}
        }
        if !private.ip().is_loopback() && listen.private_token.is_none() {
            self.error(
                "listen.private",
                "the private listener is not bound to loopback and has no token",
                "set `private_token_file` in [listen], or bind it to 127.0.0.1",
            );
        }
        self.token("listen.private_token", listen.private_token.as_ref());
        if let Some(PublicUrl(url)) = &listen.public_url {
            self.https("listen.public_url", url);
            if url.query().is_some()
                || url.fragment().is_some()
                || !url.username().is_empty()
                || url.password().is_some()
            {
                self.wrong(
                    "listen.public_url",
                    "`public_url` holds more than an address",
                    "write what comes before /in/ in the feeds' URLs: \"https://hooks.example.com\"",
                );
            }
        }
    }

    pub(super) fn token(&mut self, path: &str, token: Option<&Secret>) {
        if token.is_some_and(|token| token.expose().len() < SHORT_TOKEN) {
            let what = path.rsplit('.').next().unwrap_or_default();
            self.warning(
                path,
                format!("`{what}` is shorter than {SHORT_TOKEN} bytes"),
                "make one: openssl rand -hex 32",
            );
        }
    }

    fn store(&mut self) {
        for (message, help) in store_url::check(&self.config.store.url) {
            self.wrong("store.url", message, help);
        }
        if self.config.store.retention_refusals_days < self.config.store.retention_deliveries_days {
            self.error(
                "store.retention_refusals_days",
                "refusals would be forgotten before deliveries",
                "make `retention_refusals_days` at least `retention_deliveries_days`",
            );
        }
    }

    pub(super) fn domain(&mut self, path: &str, domain: &str) {
        if !is_domain(domain) {
            self.wrong(path, "this is no domain name", "write the domain only, such as \"mail.example.com\"");
        }
    }

    /// A host that Postfix hands mail to. Its own settings have brackets and a port around it; its log has not.
    pub(super) fn host(&mut self, path: &str, host: &str) {
        // Postfix logs a host as `relayhost` names it, which can be a single label.
        let is_host = |name: &str| is_domain(name) || (!name.contains('.') && is_domain(&format!("{name}.example")));
        if is_host(host) {
            return;
        }
        let inner = host.trim_start_matches('[').split([']', ':']).next().unwrap_or_default();
        let help = if is_host(inner) && inner != host {
            format!("write \"{inner}\", without brackets and port")
        } else {
            "write the host's name alone, as Postfix logs it behind relay=: \"smtp.example.net\"".to_owned()
        };
        self.wrong(path, "this is no host's name", help);
    }

    fn relay(&mut self) {
        let relay = &self.config.relay;
        for (list, domains) in [("domains", &relay.domains), ("shared_domains", &relay.shared_domains)] {
            for (index, domain) in domains.iter().enumerate() {
                self.domain(&format!("relay.{list}.{index}"), domain);
            }
        }
        for (index, domain) in relay.shared_domains.iter().enumerate() {
            if relay.domains.iter().any(|other| normalise_domain(other) == normalise_domain(domain)) {
                self.error(
                    &format!("relay.shared_domains.{index}"),
                    "the domain is also in `relay.domains`",
                    "keep it in one list: `domains` where every address is a relay address, else `shared_domains`",
                );
            }
        }
        if relay.domains.is_empty() {
            self.warning("relay.domains", "there is no relay domain, so nothing is watched", "leave the key out");
        }
    }

    fn teams(&mut self) {
        let mut ids = HashMap::new();
        let mut clients = HashMap::new();
        for (index, team) in self.config.team.iter().enumerate() {
            let path = format!("team.{index}");
            if !is_team_id(&team.id) {
                self.wrong(
                    &format!("{path}.id"),
                    "this is no team id",
                    "a team id has ten capital letters and digits; it stands on the membership page of the developer account",
                );
            }
            if ids.insert(team.id.as_str(), index).is_some() {
                self.error(
                    &format!("{path}.id"),
                    "this team stands here twice",
                    "put its apps and sources under one [[team]]",
                );
            }
            for (number, app) in team.app.iter().enumerate() {
                let path = format!("{path}.app.{number}.client_id");
                if app.client_id.is_empty() || app.client_id.chars().any(|c| c.is_whitespace() || c.is_control()) {
                    self.wrong(
                        &path,
                        "this is no client id",
                        "write the bundle id or services id, such as \"com.example.app\"",
                    );
                }
                if let Some(other) = clients.insert(app.client_id.as_str(), team.id.as_str()) {
                    let message = if other == team.id {
                        "this client id stands twice in the team".to_owned()
                    } else {
                        format!("this client id stands in team {other} too")
                    };
                    self.error(&path, message, "an app belongs to one team; where it moved, name the new one");
                }
            }
            self.sources(index);
            self.streams(index);
        }
        self.resolvers();
    }

    /// Every feed of a kind has a name of its own; one can go without.
    fn names(&mut self, tables: &[Stands<'_>]) {
        let mut seen: HashMap<(&str, Option<&str>), usize> = HashMap::new();
        for Stands { kind, index, table } in tables {
            let path = format!("feeds.{kind}.{index}");
            let name = table.name();
            if name.is_some_and(|name| !is_feed_name(name)) {
                self.wrong(
                    &format!("{path}.name"),
                    "this can't be a feed's name",
                    "1 to 32 of a-z, 0-9 and -, since it's the last part of the feed's path",
                );
            }
            // Told of each but the first, which is named by its place: both have the same name.
            let first = *seen.entry((*kind, name)).or_insert(*index);
            if first != *index {
                match name {
                    Some(_) => self.error(
                        &format!("{path}.name"),
                        format!(
                            "two {kind} feeds have this name: [[feeds.{kind}]] number {} and {}",
                            first + 1,
                            index + 1
                        ),
                        "give each a name of its own",
                    ),
                    None => self.error(
                        &path,
                        format!(
                            "two {kind} feeds have no name: [[feeds.{kind}]] number {} and {}",
                            first + 1,
                            index + 1
                        ),
                        "add `name = \"…\"`; only one feed of a kind can go without",
                    ),
                }
            }
        }
    }

    fn feeds(&mut self) {
        let tables = self.config.feeds.tables();
        self.names(&tables);
        for Stands { kind, index, table } in tables {
            let path = format!("feeds.{kind}.{index}");
            table.check(&path, self);
            for secret in table.secrets() {
                self.lone_previous(&path, &secret);
            }
        }
    }

    /// A predecessor does not stand alone.
    fn lone_previous(&mut self, path: &str, secret: &Rotating<'_>) {
        if secret.previous.is_some() && secret.now.is_none() {
            let key = secret.key;
            let what = format!("`previous_{key}` is given without `{key}`");
            self.error(&format!("{path}.previous_{key}"), what, format!("rename it to `{key}`"));
        }
    }

    /// Whether any app of a team is configured.
    pub(super) fn has_apps(&self) -> bool {
        self.config.team.iter().any(|team| !team.app.is_empty())
    }

    pub(super) fn https(&mut self, path: &str, url: &url::Url) {
        let loopback = match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            let name = path.rsplit('.').next().unwrap_or_default();
            self.wrong(path, format!("`{name}` must start with https://"), "plain http is taken for loopback only");
        }
    }

    fn secret_url(&mut self, path: &str, secret: &Secret) {
        if let Ok(url) = url::Url::parse(secret.expose()) {
            self.https(path, &url);
        } else {
            let name = path.rsplit('.').next().unwrap_or_default();
            self.wrong(path, format!("`{name}` is no URL"), "write it in full: \"https://host/path\"");
        }
    }

    fn notify(&mut self) {
        let notify = &self.config.notify;
        if notify.installation.as_deref().is_some_and(|name| !is_name(name)) {
            self.wrong(
                "notify.installation",
                "this can't be an installation's name",
                "1 to 80 letters, digits, spaces and signs, without @: \"acme production\"",
            );
        }
        if let Some(PublicUrl(url)) = &notify.link {
            self.page_link(url);
        }
        if let Some(slack) = &notify.slack {
            self.slack(slack);
        }
        if let Some(Webhook { url, .. }) = &notify.webhook {
            self.needed_url("notify.webhook", url.as_ref());
        }
        if let Some(Heartbeat { url, .. }) = &notify.heartbeat {
            self.needed_url("notify.heartbeat", url.as_ref());
        }
    }

    /// A link that people follow: no key of its own, and nothing in it that a page must not show.
    fn page_link(&mut self, url: &url::Url) {
        let path = "notify.link";
        if !matches!(url.scheme(), "http" | "https") {
            self.wrong(path, "`link` must start with https:// or http://", "write it as people open it in a browser");
        } else if !url.username().is_empty() || url.password().is_some() || may_hold_address(url.as_str()) {
            self.wrong(
                path,
                "`link` holds credentials or an @, and pages show it to everybody",
                "write the address alone: \"https://relaywatch.example.com/\"",
            );
        } else if url.query().is_some() || url.as_str().contains(['|', '<', '>']) {
            self.wrong(
                path,
                "`link` has a query, or one of | < >",
                "write the page's address alone: pages show it to everybody",
            );
        } else if url.fragment().is_some() {
            self.wrong(path, "`link` has a part after #", "leave it out: the incident's place is put there");
        }
    }

    fn needed_url(&mut self, path: &str, url: Option<&Secret>) {
        match url {
            Some(url) => self.secret_url(&format!("{path}.url"), url),
            None => self.error(path, format!("[{path}] has no URL"), "set `url_file` or `url`"),
        }
    }

    fn slack(&mut self, slack: &Slack) {
        let path = "notify.slack";
        match (&slack.webhook_url, &slack.bot_token) {
            (Some(url), None) => {
                self.secret_url("notify.slack.webhook_url", url);
                if slack.channel.is_some() {
                    self.warning("notify.slack.channel", "a webhook has its own channel", "remove `channel`");
                }
            }
            (None, Some(_)) if slack.channel.is_some() => {}
            (None, Some(_)) => self.error(path, "the bot does not know where to write", "set `channel`"),
            (Some(_), Some(_)) => self.error(path, "Slack has both a webhook and a bot", "keep one of them"),
            (None, None) => {
                self.error(
                    path,
                    "Slack has neither a webhook nor a bot",
                    "set `webhook_url_file`, or `bot_token_file` and `channel`",
                );
            }
        }
    }
}
