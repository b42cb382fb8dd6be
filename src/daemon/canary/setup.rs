//! What the configuration says of canaries, ready to be used.

use std::{fs, io::Read, sync::Arc};

use tokio_rustls::rustls::ClientConfig;

use crate::{
    config::{Canary, CanaryPath, CanarySmtp, Config, FilePath},
    model::{Address, MINUTE_MILLIS},
    sources::{
        canary::{Budget, CONTROLS_A_DAY, Kind, Plan},
        mailbox::{self, TrustError},
        submission,
    },
};

/// A file of certificates is not longer than this.
const MOST_CA_BYTES: u64 = 1024 * 1024;

/// What is wrong with the settings of canaries.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// A file of certificates can't be read.
    #[error("{setting}: the certificates can't be read: {source}")]
    Read {
        /// The setting, as `canary.0.imap.ca_file`.
        setting: String,
        /// Why.
        source: std::io::Error,
    },
    /// It holds nothing that can be trusted.
    #[error("{setting}: {source}")]
    Trust {
        /// The setting.
        setting: String,
        /// Why.
        source: TrustError,
    },
    /// An address is none: the configuration was not checked.
    #[error("{setting} is no mail address")]
    Address {
        /// The setting.
        setting: String,
    },
}

impl CanaryError {
    /// The setting that is wrong.
    #[must_use]
    pub fn setting(&self) -> &str {
        match self {
            Self::Read { setting, .. } | Self::Trust { setting, .. } | Self::Address { setting } => setting,
        }
    }
}

/// From whom to whom canaries go, and by whom.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name, and how often.
    pub plan: Plan,
    /// The From address.
    pub from: Address,
    /// The envelope sender.
    pub mail_from: Address,
    /// The recipient.
    pub to: Address,
    /// Which production mail it stands for.
    pub represents: String,
    /// Which it does not stand for.
    pub not_represented: String,
    /// Where it is submitted.
    pub server: submission::Server,
    /// How many mails its recipient may be sent in a day.
    pub budget: Budget,
}

/// A mailbox with what is sent to it.
#[derive(Debug, Clone)]
pub struct MailboxSetup {
    /// Its name.
    pub name: String,
    /// How it is read.
    pub server: mailbox::Server,
    /// Milliseconds from one look to the next.
    pub poll: i64,
    /// The control.
    pub control: Route,
    /// The paths.
    pub paths: Vec<Route>,
}

impl MailboxSetup {
    /// For how long a reading says that the reader works, in milliseconds.
    #[must_use]
    pub const fn reading_lasts(&self) -> i64 {
        reading_lasts(self.poll)
    }

    /// What [`Window::watched`](crate::monitor::blind::Window::watched) says of it.
    #[must_use]
    pub fn watched(&self) -> String {
        format!("{}{}", crate::monitor::blind::CANARY, self.name)
    }
}

/// For how long a reading says that the reader works, in milliseconds, where it reads so often: three looks, and time for one.
#[must_use]
pub const fn reading_lasts(poll: i64) -> i64 {
    3 * poll + 2 * MINUTE_MILLIS
}

/// All mailboxes.
#[derive(Debug, Clone, Default)]
pub struct CanarySetup {
    /// One for each.
    pub mailboxes: Vec<MailboxSetup>,
}

impl CanarySetup {
    /// What a configuration says. Reads the files of certificates, and connects to nothing.
    ///
    /// # Errors
    /// Where a file can't be read or holds no certificate.
    pub fn new(config: &Config) -> Result<Self, CanaryError> {
        let all = config.canary.iter().enumerate();
        let mailboxes: Result<_, _> = all.map(|(index, canary)| mailbox(&format!("canary.{index}"), canary)).collect();
        Ok(Self { mailboxes: mailboxes? })
    }

    /// The path of this name, with its mailbox.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<(&MailboxSetup, &Route)> {
        let mut all = self.mailboxes.iter().flat_map(|mailbox| mailbox.paths.iter().map(move |path| (mailbox, path)));
        all.find(|(_, path)| path.plan.name == name)
    }
}

fn mailbox(place: &str, canary: &Canary) -> Result<MailboxSetup, CanaryError> {
    let imap = &canary.imap;
    let server = mailbox::Server {
        host: imap.host.clone(),
        port: imap.port(),
        tls: imap.tls,
        trust: trust(&format!("{place}.imap.ca_file"), imap.ca_file.as_ref())?,
        user: imap.user.clone(),
        password: imap.password.clone().unwrap_or_else(|| crate::config::Secret::new("")),
        folders: imap.folders.clone(),
        after: imap.after,
    };
    let paths: Result<Vec<Route>, _> = canary
        .path
        .iter()
        .enumerate()
        .map(|(number, path)| path_route(&format!("{place}.path.{number}"), canary, path))
        .collect();
    let control = &canary.control;
    let at = format!("{place}.control");
    let control = Route {
        plan: Plan { name: canary.name.clone(), kind: Kind::Control, interval: 0, patience: canary.patience() },
        from: address(&format!("{at}.from"), &control.from)?,
        mail_from: address(&format!("{at}.mail_from"), control.mail_from.as_ref().unwrap_or(&control.from))?,
        to: address(&format!("{at}.to"), &control.to)?,
        represents: "control".to_owned(),
        not_represented: "mail through the relay".to_owned(),
        server: submission_server(&format!("{at}.smtp"), &control.smtp)?,
        budget: Budget(CONTROLS_A_DAY),
    };
    Ok(MailboxSetup {
        name: canary.name.clone(),
        server,
        poll: i64::from(imap.poll_seconds) * 1_000,
        control,
        paths: paths?,
    })
}

fn path_route(place: &str, canary: &Canary, path: &CanaryPath) -> Result<Route, CanaryError> {
    Ok(Route {
        plan: Plan {
            name: path.name.clone(),
            kind: Kind::Relay,
            interval: path.interval(),
            patience: canary.patience(),
        },
        from: address(&format!("{place}.from"), &path.from)?,
        mail_from: address(&format!("{place}.mail_from"), path.mail_from.as_ref().unwrap_or(&path.from))?,
        to: address(&format!("{place}.to"), &path.to)?,
        represents: path.represents.clone(),
        not_represented: path.not_represented.clone(),
        server: submission_server(&format!("{place}.smtp"), &path.smtp)?,
        budget: Budget(canary.budget),
    })
}

fn submission_server(place: &str, smtp: &CanarySmtp) -> Result<submission::Server, CanaryError> {
    let setting = format!("{place}.ca_file");
    // Whether it can be trusted is found here, and not at the first canary.
    trust(&setting, smtp.ca_file.as_ref())?;
    Ok(submission::Server {
        host: smtp.host.clone(),
        port: smtp.port(),
        tls: smtp.tls,
        ca: smtp.ca_file.as_ref().map(|file| pem(&setting, file)).transpose()?.map(Arc::new),
        login: smtp.user.clone().zip(smtp.password.clone()),
    })
}

fn address(setting: &str, text: &str) -> Result<Address, CanaryError> {
    Address::parse(text).map_err(|_| CanaryError::Address { setting: setting.to_owned() })
}

fn trust(setting: &str, file: Option<&FilePath>) -> Result<Arc<ClientConfig>, CanaryError> {
    let pem = file.map(|file| pem(setting, file)).transpose()?;
    mailbox::trust(pem.as_deref()).map_err(|source| CanaryError::Trust { setting: setting.to_owned(), source })
}

fn pem(setting: &str, file: &FilePath) -> Result<Vec<u8>, CanaryError> {
    let mut pem = Vec::new();
    let read = fs::File::open(&file.0).and_then(|file| file.take(MOST_CA_BYTES).read_to_end(&mut pem));
    read.map_err(|source| CanaryError::Read { setting: setting.to_owned(), source })?;
    Ok(pem)
}
