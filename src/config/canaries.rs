//! Canaries: the mailbox where they are looked for, the control, and the paths.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    forms::is_feed_name,
    shape::nearest_word,
    validate::{Checks, is_team_id},
    values::{FilePath, Secret},
};
use crate::{
    model::{Address, DAY_MILLIS, MINUTE_MILLIS, Provider},
    sources::canary::MAILS_A_DAY,
};

/// A mailbox of your own behind relay addresses of your own, and the paths by which canaries are sent to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// What the mailbox is called: a-z, 0-9 and -. Pages, metrics and the journal name it so.
    pub name: String,
    /// Canaries that one relay address is sent in 24 hours at most. Apple takes 100, answers included.
    #[serde(default = "budget")]
    #[schemars(range(min = 1, max = 100))]
    pub budget: u32,
    /// Minutes after which a canary that has not come counts as missed.
    #[serde(default = "patience_minutes")]
    #[schemars(range(min = 1, max = 1440))]
    pub patience_minutes: u32,
    /// The mailbox, by IMAP.
    pub imap: CanaryImap,
    /// The control: the same message to the same mailbox, not through the relay.
    pub control: CanaryControl,
    /// The paths.
    #[serde(default)]
    pub path: Vec<CanaryPath>,
}

/// How a mailbox is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryImap {
    /// The IMAP server's name, as its certificate has it.
    pub host: String,
    /// Its port; 993 by default, 143 with `starttls`.
    pub port: Option<u16>,
    /// `implicit`, `starttls`, or `none`, which is taken for loopback only.
    #[serde(default)]
    pub tls: MailTls,
    /// A file with the certificates (PEM) that are trusted instead of the platform's.
    pub ca_file: Option<FilePath>,
    /// The user.
    pub user: String,
    /// The password; at Apple and others one made for this program.
    pub password: Option<Secret>,
    /// A file that holds `password`.
    pub password_file: Option<FilePath>,
    /// Folders to look in, as the server writes them. The one for junk is found by itself.
    #[serde(default = "folders")]
    pub folders: Vec<String>,
    /// Seconds from one look to the next.
    #[serde(default = "poll_seconds")]
    #[schemars(range(min = 5, max = 3600))]
    pub poll_seconds: u32,
    /// What is done with canaries that were found, and with nothing else: `keep`, `mark-read` or `delete`.
    #[serde(default)]
    pub after: AfterReading,
}

/// Who sends the control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryControl {
    /// The From address.
    pub from: String,
    /// The mailbox's own address.
    pub to: String,
    /// The envelope sender; `from` by default.
    pub mail_from: Option<String>,
    /// Where it is submitted.
    pub smtp: CanarySmtp,
}

/// A path: who sends, as whom, to which relay address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryPath {
    /// What it is called: a-z, 0-9 and -. Pages, metrics and the journal name it so.
    pub name: String,
    /// Who sends: "ses", "sparkpost", "sendgrid", …; "generic" for machines of your own.
    pub provider: String,
    /// The team whose app the relay address was made for.
    pub team: String,
    /// The From address.
    pub from: String,
    /// The relay address.
    pub to: String,
    /// The envelope sender; `from` by default. Many providers put their own in its place.
    pub mail_from: Option<String>,
    /// The production mail that it stands for, in your words: "orders through SES, eu-west-1".
    pub represents: String,
    /// What it does not stand for, in your words: "the marketing pool of Braze". Every result says so.
    pub not_represented: String,
    /// Minutes from one canary to the next, give or take a tenth.
    #[serde(default = "interval_minutes")]
    #[schemars(range(min = 1, max = 10_080))]
    pub interval_minutes: u32,
    /// Where it is submitted.
    pub smtp: CanarySmtp,
}

/// A submission server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanarySmtp {
    /// The server's name, as its certificate has it.
    pub host: String,
    /// Its port; 587 by default, 465 with `implicit`.
    pub port: Option<u16>,
    /// `starttls`, `implicit`, or `none`, which is taken for loopback only.
    #[serde(default = "starttls")]
    pub tls: MailTls,
    /// A file with the certificates (PEM) that are trusted instead of the platform's.
    pub ca_file: Option<FilePath>,
    /// The user; without one nobody logs in.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A file that holds `password`.
    pub password_file: Option<FilePath>,
}

/// How a connection is made private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// From the first byte (RFC 8314 section 3).
    #[default]
    Implicit,
    /// After a command in the clear, and never without it (RFC 3207, RFC 9051 section 6.2.1).
    Starttls,
    /// Not at all: for loopback.
    None,
}

/// What is done with canaries that were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AfterReading {
    /// Nothing.
    #[default]
    Keep,
    /// They are marked as read.
    MarkRead,
    /// They are deleted.
    Delete,
}

const fn budget() -> u32 {
    48
}

const fn patience_minutes() -> u32 {
    30
}

const fn interval_minutes() -> u32 {
    60
}

const fn poll_seconds() -> u32 {
    60
}

const fn starttls() -> MailTls {
    MailTls::Starttls
}

fn folders() -> Vec<String> {
    vec!["INBOX".to_owned()]
}

impl Canary {
    /// Milliseconds after which a canary counts as missed.
    #[must_use]
    pub fn patience(&self) -> i64 {
        i64::from(self.patience_minutes) * MINUTE_MILLIS
    }
}

impl CanaryPath {
    /// Milliseconds from one canary to the next.
    #[must_use]
    pub fn interval(&self) -> i64 {
        i64::from(self.interval_minutes) * MINUTE_MILLIS
    }
}

impl CanaryImap {
    /// The port in force.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls == MailTls::Implicit { 993 } else { 143 })
    }
}

impl CanarySmtp {
    /// The port in force.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls == MailTls::Implicit { 465 } else { 587 })
    }
}

impl Checks<'_> {
    pub(super) fn canaries(&mut self) {
        let config = self.config;
        let mut names: Vec<&str> = Vec::new();
        for (index, canary) in config.canary.iter().enumerate() {
            let path = format!("canary.{index}");
            self.canary_name(&format!("{path}.name"), &canary.name, &mut names);
            self.server(&format!("{path}.imap"), &canary.imap.host, canary.imap.tls);
            if canary.imap.password.is_none() {
                self.error(&format!("{path}.imap"), "the mailbox has no password", "set `password_file` or `password`");
            }
            let folders = &canary.imap.folders;
            if folders.is_empty() || folders.len() > 16 || folders.iter().any(|name| name.chars().any(char::is_control))
            {
                let help = "name 1 to 16, as \"INBOX\"";
                self.wrong(&format!("{path}.imap.folders"), "these can't be the folders to look in", help);
            }
            let control = &canary.control;
            self.mail_address(&format!("{path}.control.from"), &control.from);
            self.mail_address(&format!("{path}.control.to"), &control.to);
            self.submission(&format!("{path}.control"), control.mail_from.as_deref(), &control.smtp);
            let relay = config.relay.to_domains();
            if Address::parse(&control.to).is_ok_and(|to| relay.is_relay(to.domain())) {
                let help = "write the mailbox's own address: the control must not go through the relay";
                self.wrong(&format!("{path}.control.to"), "the control goes to a relay address", help);
            }
            if canary.path.is_empty() {
                self.warning(&path, "there is no path, so no canary is sent", "add [[canary.path]]");
            }
            for (number, sent) in canary.path.iter().enumerate() {
                self.canary_name(&format!("{path}.path.{number}.name"), &sent.name, &mut names);
                self.canary_path(&format!("{path}.path.{number}"), sent);
            }
        }
        self.canary_budgets();
    }

    fn canary_name<'a>(&mut self, path: &str, name: &'a str, names: &mut Vec<&'a str>) {
        if !is_feed_name(name) {
            self.wrong(path, "this can't be the name of a canary's mailbox or path", "1 to 32 of a-z, 0-9 and -");
        } else if names.contains(&name) {
            self.error(path, "another mailbox or path of canaries has this name", "give each a name of its own");
        }
        names.push(name);
    }

    fn canary_path(&mut self, place: &str, path: &CanaryPath) {
        let at = |key: &str| format!("{place}.{key}");
        if Provider::from_name(&path.provider).is_none() {
            let words: Vec<&str> = Provider::ALL.iter().map(|provider| provider.as_str()).collect();
            let help = match nearest_word(&path.provider, words.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("one of {}; \"generic\" for machines of your own", words.join(", ")),
            };
            self.wrong(&at("provider"), "no provider has this name", help);
        }
        if !is_team_id(&path.team) {
            self.wrong(&at("team"), "this is no team id", "write ten capital letters and digits, as in [[team]]");
        } else if !self.config.team.iter().any(|team| team.id == path.team) {
            self.warning(&at("team"), "no [[team]] has this id", "add the team, or mend the id");
        }
        self.mail_address(&at("from"), &path.from);
        self.mail_address(&at("to"), &path.to);
        self.submission(place, path.mail_from.as_deref(), &path.smtp);
        let relay = self.config.relay.to_domains();
        if Address::parse(&path.to).is_ok_and(|to| !relay.is_relay(to.domain()) && !relay.is_shared(to.domain())) {
            let help = "write a relay address of your own; its domain has to stand in [relay]";
            self.wrong(&at("to"), "the canary does not go through the relay", help);
        }
        for (key, text) in [("represents", &path.represents), ("not_represented", &path.not_represented)] {
            let length = text.trim().chars().count();
            if !(1..=200).contains(&length) || text.chars().any(|c| c.is_control() || c == '@') {
                let help = "say in 1 to 200 characters, without @, what mail it is: pages show it";
                self.wrong(&at(key), format!("`{key}` can't be shown"), help);
            }
        }
    }

    /// No address is sent more than its budget, whatever paths lead to it.
    fn canary_budgets(&mut self) {
        let config = self.config;
        let all = || {
            config.canary.iter().enumerate().flat_map(|(index, canary)| {
                canary.path.iter().enumerate().map(move |(number, path)| (index, number, canary, path))
            })
        };
        for (index, number, canary, path) in all() {
            let same = |other: &CanaryPath| other.to.trim().eq_ignore_ascii_case(path.to.trim());
            let a_day: i64 =
                all().filter(|(.., other)| same(other)).map(|(.., other)| DAY_MILLIS / other.interval()).sum();
            if a_day > i64::from(canary.budget) {
                self.warning(
                    &format!("canary.{index}.path.{number}.interval_minutes"),
                    format!(
                        "{a_day} canaries a day would go to this relay address, and its budget is {}",
                        canary.budget
                    ),
                    format!("make the intervals longer, or raise `budget` (Apple takes {MAILS_A_DAY} a day)"),
                );
            }
        }
    }

    fn mail_address(&mut self, path: &str, text: &str) {
        if !Address::parse(text).is_ok_and(|address| address.expose().is_ascii()) {
            self.wrong(path, "this is no mail address", "write it as \"dev@example.com\"");
        }
    }

    fn submission(&mut self, path: &str, mail_from: Option<&str>, smtp: &CanarySmtp) {
        if let Some(sender) = mail_from {
            self.mail_address(&format!("{path}.mail_from"), sender);
        }
        self.server(&format!("{path}.smtp"), &smtp.host, smtp.tls);
        match (&smtp.user, &smtp.password) {
            (Some(_), None) => {
                self.error(&format!("{path}.smtp"), "the user has no password", "set `password_file` or `password`");
            }
            (None, Some(_)) => self.error(&format!("{path}.smtp"), "the password has no user", "set `user`"),
            _ => {}
        }
    }

    fn server(&mut self, path: &str, host: &str, tls: MailTls) {
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "::1");
        if !loopback && host.parse::<std::net::IpAddr>().is_err() {
            self.host(&format!("{path}.host"), host);
        }
        if tls == MailTls::None && !loopback {
            let help = "\"implicit\" or \"starttls\"; \"none\" is taken for loopback only";
            self.wrong(&format!("{path}.tls"), "the password would go over the network in the clear", help);
        }
    }
}
