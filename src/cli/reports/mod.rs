//! `relaywatch reports`: DMARC aggregate reports, taken in and added up.

mod import;
mod journal;
mod list;
mod show;
#[cfg(test)]
mod tests;

use std::{io::Write, path::Path};

use clap::{Args, Subcommand};

use super::{Exit, open};
use crate::{clock::Clock, model::Timestamp};

/// Take in DMARC aggregate reports, and show what receivers saw of your mail.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch reports import downloads/             reports that lie in files, packed or not
  relaywatch reports list --since 7d               which there are
  relaywatch reports show example.com              who sends in its name, and how it fares

Receivers send these reports to the address that `rua=` of a DMARC record names. They tell for
each sending address how many messages passed by SPF and by DKIM. What the mail feed and
`relaywatch import` took in counts as well: a report counts once, whatever it came by.")]
pub struct ReportsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Take in files of reports: XML, gzip, zip, or mails that carry them.
    #[command(after_help = "Examples:
  relaywatch reports import report.xml.gz reports.zip
  relaywatch reports import ~/dmarc/ --dry-run         what lies below a folder; changes nothing
  fetch-report | relaywatch reports import -

How a file is packed is told from what it holds. A report is known by organisation, id and domain:
importing twice changes nothing, nor does importing what the mail feed brought. It works beside a
running daemon. For a mailbox larger than 64 MiB use `relaywatch import`, which takes in reports
too.

A file that can't be read is told with its reason, and the rest goes on. Documents with a document
type (DTD) or entities are refused, and what unpacks to more than 64 MiB or 200 times its size.

Exit code: 0; 1 where a file could not be read, or the store can't be had.")]
    Import(import::Import),
    /// List the reports that were taken in, latest first.
    #[command(after_help = "Example: relaywatch reports list --since 7d --format json | jq -r .organisation")]
    List(list::List),
    /// Show, for each From domain and sending address, how mail fared, and what is wrong.
    #[command(after_help = "Examples:
  relaywatch reports show                              all domains of the last 30 days
  relaywatch reports show example.com --since 7d       one domain, and those below it
  relaywatch reports show --format json | jq -r '.domains[].senders[].address'

An address is known by the provider of the [[team.stream]] that names it in `addresses`; or `by
its SPF`, where the domain's own SPF record passed it in one of these reports; else it is unknown:
a forwarder, a mailing list, or a stranger. Trouble is what known addresses send and what fails by
SPF and by DKIM: forwarding breaks SPF alone, and what strangers send should fail. Findings are
explained in docs/sources.md.

Anybody can send such a report, and nothing in it is proved.

Exit code: 0; 1 where a finding is fatal or at risk, or the store can't be read.")]
    Show(show::Show),
}

impl ReportsCommand {
    /// Runs the command; broken files are told on `diagnostics`.
    ///
    /// # Errors
    /// Where a path or the store can't be had, a time makes no sense, or a writer fails.
    pub fn run(&self, file: Option<&Path>, out: &mut impl Write, diagnostics: &mut impl Write) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        let now = Clock::System.now();
        open::block_on(async {
            match &self.action {
                Action::Import(import) => import.run(&config, now, out, diagnostics).await,
                Action::List(list) => list.run(&config, now, out).await,
                Action::Show(show) => show.run(&config, now, out).await,
            }
        })
    }
}

/// Reads `--since`.
fn since(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    super::time::parse(text, now).map_err(|error| anyhow::anyhow!("--since: {error}"))
}
