//! `relaywatch sources`: whether sources and streams are fit for Apple's relay, since when, and what changed.

use std::{io::Write, path::Path};

use clap::Args;

use super::{
    Exit, Format, open,
    text::{Safe, count},
};
use crate::{
    clock::Clock,
    config::Config,
    monitor::overview::{Overview, Row},
    sources::watch::{Fitness, SubjectKind},
};

/// How many letters of a record are shown.
const MAX_SHOWN: usize = 120;

/// Tell which sources and streams are fit for Apple's relay, and since when, as the daemon has seen it.
///
/// The daemon watches the DNS of everything that [[team.source]] and [[team.stream]] declare. This lists what it knows; `check`
/// asks DNS itself, now, and says what to change.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch sources                     all that is watched, what is not fit first
  relaywatch sources --format json       for machines

Exit code: 0 where nothing is unfit; 1 where something is.")]
pub struct SourcesCommand {
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl SourcesCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Where the configuration is wrong, the store is away, or the writer fails.
    pub fn run(&self, file: Option<&Path>, out: &mut impl Write) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        let overview = open::block_on(async {
            let (store, _) = open::reader(&config).await?;
            let overview = Overview::read(&store, Clock::System.now()).await;
            store.close().await;
            Ok(overview?)
        })?;
        match self.format {
            Format::Text => text(&overview, nothing(&config), out)?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, &overview)?;
                writeln!(out)?;
            }
        }
        Ok(if overview.count(Fitness::Unfit) > 0 { Exit::Finding } else { Exit::Success })
    }
}

/// Why nothing is known, where nothing is.
fn nothing(config: &Config) -> &'static str {
    if config.team.iter().all(|team| team.source.is_empty() && team.stream.is_empty()) {
        "Nothing is watched: declare [[team.source]] and [[team.stream]], and let `relaywatch serve` run."
    } else if !config.dns.watch {
        "Nothing is watched: [dns] watch is false. `relaywatch check` asks DNS now."
    } else {
        "Nothing is known yet: `relaywatch serve` has not had all its first answers from DNS. `relaywatch check` asks now."
    }
}

fn text(overview: &Overview, nothing: &str, out: &mut impl Write) -> std::io::Result<()> {
    if overview.sources.is_empty() {
        writeln!(out, "{nothing}")?;
    }
    for (kind, title) in [(SubjectKind::Source, "Sources"), (SubjectKind::Stream, "Streams")] {
        let rows: Vec<&Row> = overview.sources.iter().filter(|row| row.standing.subject.kind == kind).collect();
        if rows.is_empty() {
            continue;
        }
        writeln!(out, "{title}")?;
        for row in rows {
            told(row, out)?;
        }
    }
    for trouble in &overview.troubles {
        writeln!(out, "Lost since {}: mail from {}", trouble.since, Safe(&trouble.domain))?;
    }
    for finding in &overview.findings {
        writeln!(out, "{}: {}. {}", finding.grade, Safe(&finding.what), Safe(&finding.fix.step))?;
    }
    for blind in &overview.blind {
        writeln!(
            out,
            "Blind since {}: {} gets no answer; what was known is taken to stand",
            blind.since,
            Safe(&blind.watched)
        )?;
    }
    if !overview.changes.is_empty() {
        writeln!(out, "Last {}", count(overview.changes.len() as u64, "change"))?;
    }
    for change in &overview.changes {
        let grade = change.record.grade.map_or("notable", |grade| grade.as_str());
        writeln!(out, "  {}  {grade:<8}  {}", change.at, Safe(&change.record.says(MAX_SHOWN)))?;
    }
    Ok(())
}

fn told(row: &Row, out: &mut impl Write) -> std::io::Result<()> {
    let standing = &row.standing;
    let looked = row.looked_at.map_or_else(|| "not yet noted".to_owned(), |at| at.to_string());
    writeln!(
        out,
        "  {:<8} {}  by {}, since {}, last looked at {looked}",
        standing.fitness,
        Safe(&standing.subject.name),
        standing.path,
        standing.since
    )?;
    for finding in &standing.findings {
        writeln!(out, "           {}  {}  {}", finding.grade, finding.code, Safe(&finding.about))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn why_nothing_is_known_is_told_by_what_is_configured() {
        let said = |text: &str| {
            let config = Config::from_text(None, text.to_owned(), HashMap::new()).expect("a configuration");
            nothing(&config).to_owned()
        };
        let declared = "[[team]]\nid = \"A1B2C3D4E5\"\n[[team.source]]\ndomain = \"mydomain.example\"\n";
        assert!(said("").contains("declare [[team.source]]"));
        assert!(said(declared).contains("first answers from DNS"));
        assert!(said(&format!("{declared}[dns]\nwatch = false\n")).contains("[dns] watch is false"));
    }
}
