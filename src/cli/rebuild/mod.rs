//! `relaywatch rebuild`: throw the projections away and make them again from the journal; with `--rules`, by the verdicts that the
//! rules in force give.

mod list;
mod rules;

use std::{
    io::{BufRead, Write},
    path::Path,
};

use clap::Args;
use serde_json::json;

use super::{Exit, Format, open, operator::Who, progress::Progress, text::count};
use crate::control::{CallError, Rebuild, RebuildStarted, Writer};

/// Throw ledger and cells away and make them again from the journal; with --rules, classify stored replies anew before.
#[derive(Debug, Args)]
#[command(after_help = "The journal is not touched, and the same journal gives the same ledger and cells. What was
sent on days whose deliveries have been let go is held by their checkpoints and stays as it is. It
works beside a running daemon, which goes on taking reports in; until it is done, `address show`
sees a part only, and nothing is judged.

Where it is stopped half-way, a running daemon goes on by itself, and so does the next one that
starts; or run it again.

With --rules it lists which stored replies the rules in force (built in, and the [rules] folder)
give another verdict, most frequent first, and changes nothing. With --apply as well it writes
these verdicts into the journal, says so there, and rebuilds; the ledger follows on all days. What
has been announced stays. Stopped half-way, it goes on when it is run again. A running daemon must
go by the same rules: send it SIGHUP after a change of the folder.

Examples:
  relaywatch rebuild
  relaywatch rebuild --rules
  relaywatch rebuild --rules --format json
  relaywatch rebuild --rules --apply --operator \"Jo Example\"")]
pub struct RebuildCommand {
    /// List the stored replies that the rules in force give another verdict.
    #[arg(long)]
    rules: bool,
    /// Give them these verdicts, then rebuild.
    #[arg(long, requires = "rules")]
    apply: bool,
    /// Do not ask before.
    #[arg(long, requires = "apply")]
    yes: bool,
    #[command(flatten)]
    who: Who,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl RebuildCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Where the store can't be had, or a writer fails; with `--rules`, where a daemon goes by other rules.
    pub fn run(
        &self,
        file: Option<&Path>,
        input: &mut impl BufRead,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        if self.rules {
            return open::block_on(rules::run(self, (file, &config), input, out, diagnostics));
        }
        open::block_on(async {
            let writer = open::writer(&config).await?;
            let started = writer.call(Rebuild { operator: self.who.name() }).await?;
            if started.resumed && matches!(self.format, Format::Text) {
                writeln!(out, "going on with a rebuild that was stopped half-way")?;
            }
            let folded = follow(&writer, &started).await?;
            writer.close().await;
            match self.format {
                Format::Json => writeln!(
                    out,
                    "{}",
                    json!({ "events": started.events, "folded": folded, "resumed": started.resumed })
                )?,
                Format::Text => writeln!(out, "{}", done(folded))?,
            }
            Ok(Exit::Success)
        })
    }
}

fn done(folded: u64) -> String {
    format!("ledger and cells are made again from {}", count(folded, "outcome"))
}

/// Waits for a rebuild to end, or folds where nobody else does; gives how many outcomes were folded.
async fn follow(writer: &Writer, started: &RebuildStarted) -> Result<u64, CallError> {
    let mut progress = Progress::new();
    loop {
        let step = writer.call(started.mark).await?;
        if step.done {
            progress.end();
            return Ok(step.folded);
        }
        progress.show(|| {
            let percent = (step.folded.saturating_mul(100) / started.events.max(1)).min(100);
            format!("{} of {} folded, {percent} %", step.folded, count(started.events, "outcome"))
        });
    }
}
