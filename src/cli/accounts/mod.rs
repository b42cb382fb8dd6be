//! `relaywatch accounts`: the map from Sign in with Apple accounts to addresses.

mod rows;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use self::rows::Rows;
use super::{
    Exit, Format, open,
    progress::Progress,
    text::{Safe, count},
};
use crate::{
    classify::destination,
    clock::Clock,
    config::{Config, nearest_word},
    control::{Account, ImportAccounts, Writer},
    model::{Address, Destination, RelayDomains, Timestamp},
    store::MapCoverage,
};

/// Accounts of one step.
const BATCH: usize = crate::control::MAX_ACCOUNTS;
/// Broken rows and unknown teams that are told one by one.
const TOLD: u64 = 50;

/// Reads a file of accounts without importing it: how many rows are good, and how many are not.
///
/// # Errors
/// Where the file as a whole is none.
pub fn examine(file: &[u8], csv: bool, now: Timestamp) -> anyhow::Result<(u64, u64)> {
    let mut rows = if csv { Rows::csv(Box::new(file), false)? } else { Rows::lines(Box::new(file), false) };
    let (mut good, mut broken) = (0, 0);
    while let Some((_, row)) = rows.next(now)? {
        *if row.is_ok() { &mut good } else { &mut broken } += 1;
    }
    Ok((good, broken))
}

/// Import the map from Sign in with Apple accounts to their addresses.
#[derive(Debug, Args)]
#[command(after_help = "Apple's notices about revoked consent and deleted accounts name only the `sub`. With the map,
relaywatch knows which address is meant, and how much of an incident such notices explain.

Examples:
  relaywatch accounts import accounts.csv
  relaywatch accounts import accounts.csv --dry-run            checks every row, changes nothing
  psql -qAt -c \"SELECT row_to_json(a) FROM accounts a\" \\
      | relaywatch accounts import - --format jsonl

CSV needs a header; team and sub are needed, the others may be missing or empty:
  team,app,sub,email,signed_up_at,is_private_email
  A1B2C3D4E5,com.example.app,001234.abcd.0123,xyz@privaterelay.appleid.com,2025-03-01,true

signed_up_at is RFC 3339, a date, or seconds or milliseconds since 1970. is_private_email is
Apple's own word from the id token. It matters on domains that hold ordinary mailboxes too, such
as icloud.com: an address there counts as a relay address only where the map or a notice calls it
private. Importing a file twice changes nothing.")]
pub struct AccountsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Import accounts from a file; known ones get the newer values.
    ///
    /// Broken rows are told with their line, the rest is taken, and the exit code is 1.
    #[command(after_help = "Columns of the CSV file, and keys of a JSON line:
  team               Apple's team id, as in [[team]]; needed
  sub                the account's id at Apple, as your backend has it; needed
  app                the client_id that it signed up with
  email              the address that Apple gave you; without it the row maps nothing
  signed_up_at       RFC 3339 with an offset, a date, or seconds since 1970
  is_private_email   true or false, as in Apple's token

  team,sub,email,signed_up_at
  A1B2C3D4E5,001234.0a1b2c3d.0042,x7kq2m9abc@privaterelay.appleid.com,2026-03-01

Example: relaywatch accounts import accounts.csv --dry-run")]
    Import(Import),
}

/// How the rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Comma-separated, with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
struct Import {
    /// The file; `-` reads standard input.
    file: PathBuf,
    /// How the rows are written; by default told from the name, else from the first character.
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Every address in the file is a relay address unless its is_private_email says otherwise.
    #[arg(long)]
    private: bool,
    /// Leave out columns that no account has, instead of stopping.
    #[arg(long)]
    ignore_unknown: bool,
    /// Make the store where there is none yet.
    #[arg(long)]
    create: bool,
    /// Check every row and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Stop at the first broken row.
    #[arg(long)]
    strict: bool,
    /// How the summary is written.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    summary: Format,
}

/// What became of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Summary {
    read: u64,
    new: u64,
    updated_or_unchanged: u64,
    rejected: u64,
    outside_relay_domains: u64,
    not_told_private: u64,
    dry_run: bool,
    coverage: Option<MapCoverage>,
}

impl AccountsCommand {
    /// Runs the command. `input` is standard input; broken rows are told on `diagnostics`.
    ///
    /// # Errors
    /// Where the file or the store can't be had, a writer fails, or the file breaks off in a row that can't be skipped.
    pub fn run(
        &self,
        file: Option<&Path>,
        input: &mut impl BufRead,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let Action::Import(import) = &self.action;
        let config = open::config(file)?;
        let summary = if import.file.as_os_str() == "-" {
            import.read(input, &config, diagnostics)?
        } else {
            let file = File::open(&import.file)
                .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", import.file.display()))?;
            import.read(&mut BufReader::new(file), &config, diagnostics)?
        };
        match import.summary {
            Format::Json => {
                serde_json::to_writer(&mut *out, &summary).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Text => summary.text(out)?,
        }
        Ok(if summary.rejected == 0 { Exit::Success } else { Exit::Finding })
    }
}

impl Summary {
    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let (read, rejected) = (count(self.read, "row"), self.rejected);
        if self.dry_run {
            writeln!(out, "{read} read, {} good, {rejected} rejected; nothing was changed", self.read - rejected)?;
        } else {
            let (new, old) = (self.new, self.updated_or_unchanged);
            writeln!(out, "{read} read: {new} new, {old} updated or unchanged, {rejected} rejected")?;
        }
        if self.outside_relay_domains > 0 {
            let outside = count(self.outside_relay_domains, "account");
            writeln!(out, "{outside} with an address that can't be a relay address: the address was not kept")?;
        }
        if self.not_told_private > 0 {
            let untold = count(self.not_told_private, "account");
            writeln!(
                out,
                "{untold} with an address on a domain of ordinary mailboxes, and no word on whether it is a private one: \
                 such an address counts as a relay address once the column is_private_email, --private or a notice says so"
            )?;
        }
        if let Some(MapCoverage { addresses, mapped }) = self.coverage {
            let percent = if addresses > 0 { mapped * 100 / addresses } else { 0 };
            writeln!(out, "map coverage: {mapped} of {addresses} relay addresses that mail went to ({percent} %)")?;
        }
        Ok(())
    }
}

impl Import {
    fn form(&self, input: &mut impl BufRead) -> anyhow::Result<Form> {
        if let Some(form) = self.format {
            return Ok(form);
        }
        match self.file.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Form::Csv),
            Some("jsonl" | "ndjson") => Ok(Form::Jsonl),
            _ => {
                let first = input.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
                Ok(if first == Some(b'{') { Form::Jsonl } else { Form::Csv })
            }
        }
    }

    fn read(&self, input: &mut impl BufRead, config: &Config, diagnostics: &mut impl Write) -> anyhow::Result<Summary> {
        let rows = match self.form(input)? {
            Form::Csv => Rows::csv(Box::new(input) as Box<dyn Read + '_>, self.ignore_unknown)?,
            Form::Jsonl => Rows::lines(Box::new(input), self.ignore_unknown),
        };
        open::block_on(async {
            let writer =
                if self.dry_run { None } else { Some(open::writer_or_new(config, self.create, diagnostics).await?) };
            let summary = self.import(rows, writer.as_ref(), config, diagnostics).await;
            if let Some(writer) = writer {
                writer.close().await;
            }
            summary
        })
    }

    async fn import(
        &self,
        mut rows: Rows<'_>,
        writer: Option<&Writer>,
        config: &Config,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Summary> {
        let now = Clock::System.now();
        let relay = config.relay.to_domains();
        let mut summary = Summary { dry_run: self.dry_run, ..Summary::default() };
        let mut strangers = Strangers::default();
        let mut progress = Progress::new();
        let mut batch = Vec::with_capacity(BATCH);
        while let Some((line, row)) = rows.next(now)? {
            summary.read += 1;
            match row.and_then(|account| known_team(account, config)) {
                Ok(mut account) => {
                    strangers.meet(&account, config, diagnostics)?;
                    if self.private && account.email.is_some() {
                        account.private = account.private.or(Some(true));
                    }
                    match holds(&account, &relay) {
                        Some(Destination::Other) => summary.outside_relay_domains += 1,
                        Some(Destination::Shared) if account.private.is_none() => summary.not_told_private += 1,
                        _ => {}
                    }
                    batch.push(account);
                }
                Err(reason) => {
                    progress.end();
                    if self.strict {
                        anyhow::bail!(
                            "line {line}: {reason}; stopped (--strict). Earlier rows may be imported already; import the \
                             mended file again, that changes nothing twice"
                        );
                    }
                    summary.rejected += 1;
                    match summary.rejected {
                        ..=TOLD => writeln!(diagnostics, "line {line}: {reason}")?,
                        rejected if rejected == TOLD + 1 => writeln!(diagnostics, "more broken rows are only counted")?,
                        _ => {}
                    }
                }
            }
            if batch.len() == BATCH {
                flush(writer, &mut batch, false, &mut summary).await?;
            }
            progress.show(|| format!("{} read, {} rejected", count(summary.read, "row"), summary.rejected));
        }
        flush(writer, &mut batch, true, &mut summary).await?;
        progress.end();
        Ok(summary)
    }
}

async fn flush(
    writer: Option<&Writer>,
    batch: &mut Vec<Account>,
    coverage: bool,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let accounts = std::mem::take(batch);
    let Some(writer) = writer else { return Ok(()) };
    let count = accounts.len() as u64;
    let done = writer.call(ImportAccounts { accounts, coverage }).await?;
    summary.new += done.new;
    summary.updated_or_unchanged += count.saturating_sub(done.new);
    summary.coverage = done.coverage;
    Ok(())
}

/// What the domain of the account's address can hold.
fn holds(account: &Account, relay: &RelayDomains) -> Option<Destination> {
    let address = account.email.as_deref().and_then(|email| Address::parse(email).ok());
    address.map(|address| destination(Some(&address), relay))
}

/// A team that the configuration lacks while it has others is a mistake: no notice would ever find the account.
fn known_team(account: Account, config: &Config) -> Result<Account, String> {
    let mut teams = config.team.iter().map(|team| team.id.as_str());
    if config.team.is_empty() || teams.clone().any(|id| id == account.team) {
        return Ok(account);
    }
    let id = Safe(&account.team);
    Err(match nearest_word(&account.team, &mut teams) {
        Some(meant) => format!("team {id} is not in the configuration; did you mean {meant}? Else add it as [[team]]"),
        None => format!("team {id} is not in the configuration; add it as [[team]], or mend the file"),
    })
}

/// Teams and apps that the configuration lacks: each is told once.
#[derive(Default)]
struct Strangers {
    met: BTreeSet<(String, Option<String>)>,
}

impl Strangers {
    fn meet(&mut self, account: &Account, config: &Config, diagnostics: &mut impl Write) -> io::Result<()> {
        let team = config.team.iter().find(|team| team.id == account.team);
        let name = match (team, &account.app) {
            (Some(team), Some(app)) if !team.app.iter().any(|known| known.client_id == *app) => Some(app.clone()),
            (Some(_), _) => return Ok(()),
            (None, _) => None,
        };
        // Bounded, since every row of a hostile file can name another team.
        if self.met.len() as u64 >= TOLD || !self.met.insert((account.team.clone(), name.clone())) {
            return Ok(());
        }
        let id = Safe(&account.team);
        match name {
            Some(app) => writeln!(
                diagnostics,
                "warning: team {id} has no app {} in the configuration; add it as [[team.app]], or mend the file",
                Safe(&app)
            ),
            None => writeln!(
                diagnostics,
                "warning: team {id} is not in the configuration; add it as [[team]], or mend the file"
            ),
        }
    }
}
