//! `relaywatch check`: whether sources and streams are fit for Apple's relay, now.

pub(super) mod told;

use std::{
    io::{IsTerminal, Write},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;

pub(super) use self::told::told_finding;
use super::{Exit, Format, open, resolvers, text::count};
use crate::{
    clock::Clock,
    config::Config,
    model::{Provider, nearest_word},
    sources::{
        FindingCode, Grade,
        apple_rule::Registered,
        audit::{Audit, Selector, Setup, Stream},
        declared,
        spf::Known,
    },
};

/// How long the whole may take; what DNS has not answered by then counts as timed out.
const LIMIT: Duration = Duration::from_mins(1);

/// Audit the sources now: is each stream carried by a registered source, and what to change where it is not.
///
/// Without a name it looks at every [[team.stream]] of the configuration, and at every source that no stream is declared for.
/// With names it looks at the streams of these domains or addresses, or, where none is declared, at the name as it would be
/// used: give --provider, --mail-from and --selector to say how mail goes out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch check                                    all that the configuration declares
  relaywatch check mydomain.example                   one domain, as declared or by itself
  relaywatch check dev@mydomain.example --provider ses --mail-from mail.mydomain.example \\
      --selector s1 --region eu-west-1                a set-up before it is declared
  relaywatch check --resolver 9.9.9.9 --format json   for machines, by a resolver of your own

Apple's rule is a verdict of its own, told beside DMARC: by SPF the envelope domain must be
registered, exactly; by DKIM d= must be the From domain, and that registered. Either is enough.
Apple has no interface for registrations: they are what [[team.source]] declares, and count as
unconfirmed 90 days after `confirmed_at`. Each finding is explained in docs/sources.md.

Exit code: 0 where no finding is fatal or at risk; 1 where one is; 2 where DNS gave no answer to
something that matters, so that nobody can say, or the command line was not understood.")]
pub struct CheckCommand {
    /// Domains or From addresses to look at; without any, all that is declared.
    #[arg(value_name = "DOMAIN")]
    names: Vec<String>,
    /// Who sends: ses, sparkpost, sendgrid, …; generic for machines of your own.
    #[arg(long, value_name = "PROVIDER", requires = "names")]
    provider: Option<String>,
    /// The domain of the envelope sender (MAIL FROM, return path).
    #[arg(long, value_name = "DOMAIN", requires = "names")]
    mail_from: Option<String>,
    /// A DKIM selector in use, as s1, or s1@other.example where it signs for another domain. May be repeated.
    #[arg(long = "selector", value_name = "SELECTOR", requires = "names")]
    selectors: Vec<String>,
    /// An IP address that it is sent from, in place of those that the provider publishes. May be repeated.
    #[arg(long = "address", value_name = "IP", requires = "names")]
    addresses: Vec<IpAddr>,
    /// The AWS region, at SES.
    #[arg(long, value_name = "REGION", requires = "names")]
    region: Option<String>,
    /// A DNS server to ask, as 9.9.9.9 or 127.0.0.1:5353, before `resolvers` of the configuration and /etc/resolv.conf. May be repeated.
    #[arg(long = "resolver", value_name = "SERVER")]
    resolvers: Vec<String>,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl CheckCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Where the configuration is wrong, or a writer fails.
    pub fn run(
        &self,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let config = Config::load(file, environment)?;
        let (setup, asker) =
            match self.setup(&config).and_then(|setup| Ok((setup, resolvers::asker(&self.resolvers, &config)?))) {
                Ok(ready) => ready,
                Err(error) => {
                    writeln!(diagnostics, "relaywatch: {error:#}")?;
                    return Ok(Exit::Misuse);
                }
            };
        if std::io::stderr().is_terminal() {
            writeln!(diagnostics, "relaywatch: asking DNS about {} ...", count(setup.streams.len() as u64, "stream"))?;
        }
        let now = Clock::System.now();
        let audit = open::block_on(async { Ok(asker.audit(&setup, now, &mut Known::default(), LIMIT).await) })?;
        match self.format {
            Format::Text => told::text(&setup, &audit, out)?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, &told::json(&audit, now))?;
                writeln!(out)?;
            }
        }
        Ok(exit(&audit))
    }

    /// What is to be audited.
    fn setup(&self, config: &Config) -> anyhow::Result<Setup> {
        let declared = declared::setup(config);
        let mut streams = Vec::new();
        if self.names.is_empty() {
            streams.clone_from(&declared.streams);
            streams.extend(declared::undeclared(&declared));
            if streams.is_empty() {
                bail!(
                    "nothing is declared: name a domain, as `relaywatch check example.com`, or declare [[team.source]] and \
                     [[team.stream]] in the configuration"
                );
            }
        }
        for text in &self.names {
            let name = Registered::parse(text).with_context(|| {
                format!("{text:?} is neither a domain nor an address: write example.com or dev@example.com")
            })?;
            let known = declared.streams.iter().filter(|stream| declared::is_of(stream, &name));
            let before = streams.len();
            if !self.says_how() {
                streams.extend(known.cloned());
            }
            if streams.len() == before {
                streams.push(self.as_named(text)?);
            }
        }
        Ok(Setup { teams: declared.teams, streams })
    }

    /// Whether the command line says how the mail goes out, whatever is declared.
    const fn says_how(&self) -> bool {
        self.provider.is_some()
            || self.mail_from.is_some()
            || self.region.is_some()
            || !self.selectors.is_empty()
            || !self.addresses.is_empty()
    }

    /// A stream by what the command line says.
    fn as_named(&self, from: &str) -> anyhow::Result<Stream> {
        let provider = match &self.provider {
            None => Provider::Generic,
            Some(text) => Provider::from_name(&text.to_lowercase()).with_context(|| {
                let names = || Provider::ALL.iter().map(|provider| provider.as_str());
                match nearest_word(text, names()) {
                    Some(near) => format!("no provider is called {text:?}; did you mean {near}?"),
                    None => {
                        format!("no provider is called {text:?}; there are {}", names().collect::<Vec<_>>().join(", "))
                    }
                }
            })?,
        };
        let selectors: Option<Vec<Selector>> = self.selectors.iter().map(|text| declared::selector(text)).collect();
        Ok(Stream {
            envelope: self.mail_from.clone(),
            selectors: selectors
                .context("a selector is written as s1, or s1@example.com where it signs for that domain")?,
            addresses: self.addresses.clone(),
            region: self.region.clone(),
            ..Stream::new(provider, from)
        })
    }
}

/// How the audit ended, for a script.
fn exit(audit: &Audit) -> Exit {
    let trouble = audit
        .findings()
        .iter()
        .any(|finding| matches!(finding.code, FindingCode::DnsTrouble | FindingCode::DnssecBogus));
    match audit.worst() {
        Some(Grade::Fatal) => Exit::Finding,
        _ if trouble => Exit::Misuse,
        Some(Grade::AtRisk) => Exit::Finding,
        Some(Grade::Notable) | None => Exit::Success,
    }
}
