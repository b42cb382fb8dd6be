//! `relaywatch rebuild`: throw the projections away and make them again from the journal.

use std::{io::Write, path::Path};

use clap::Args;
use serde_json::json;

use super::{Exit, Format, open, progress::Progress, text::count};
use crate::control::Rebuild;

/// Throw ledger and cells away and make them again from the journal.
#[derive(Debug, Args)]
#[command(after_help = "The journal is not touched, and the same journal gives the same ledger and cells. What was
sent on days whose deliveries have been let go is held by their checkpoints and stays as it is. It
works beside a running daemon, which goes on taking reports in; until it is done, `address show`
sees a part only, and nothing is judged.

Where it is stopped half-way, a running daemon goes on by itself, and so does the next one that
starts; or run it again.

Example: relaywatch rebuild")]
pub struct RebuildCommand {
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl RebuildCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Where the store can't be had, or a writer fails.
    pub fn run(&self, file: Option<&Path>, out: &mut impl Write) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        open::block_on(async {
            let writer = open::writer(&config).await?;
            let started = writer.call(Rebuild {}).await?;
            if started.resumed && matches!(self.format, Format::Text) {
                writeln!(out, "going on with a rebuild that was stopped half-way")?;
            }
            let mut progress = Progress::new();
            let folded = loop {
                let step = writer.call(started.mark).await?;
                if step.done {
                    break step.folded;
                }
                progress.show(|| {
                    let percent = (step.folded.saturating_mul(100) / started.events.max(1)).min(100);
                    format!("{} of {} folded, {percent} %", step.folded, count(started.events, "outcome"))
                });
            };
            progress.end();
            writer.close().await;
            match self.format {
                Format::Json => writeln!(
                    out,
                    "{}",
                    json!({ "events": started.events, "folded": folded, "resumed": started.resumed })
                )?,
                Format::Text => writeln!(out, "ledger and cells are made again from {}", count(folded, "outcome"))?,
            }
            Ok(Exit::Success)
        })
    }
}
