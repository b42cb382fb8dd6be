//! `relaywatch reports import`: files of reports into the journal.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::{
    cli::{
        Exit, Format as Output,
        import::files,
        open,
        progress::Progress,
        text::{Safe, count},
    },
    config::Config,
    control::{ImportEvents, Writer},
    ingest::{
        Kept,
        import::Format,
        mail::{ReportFile, Understood, aggregate, mails_of, report_file, understand},
    },
    model::{Exposure, Timestamp},
    sources::reports::{self, Report, packing},
};

/// The largest file that is read, in bytes: a mailbox.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// How much one commit holds at most, in bytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Files and folders; `-` reads standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Read everything, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Make the store where there is none yet.
    #[arg(long)]
    create: bool,
    /// How the summary is written.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Output,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Files that hold reports.
    files: u64,
    /// Files of which something can't be read.
    broken: u64,
    /// Reports in them.
    reports: u64,
    /// Messages that these are about.
    messages: u64,
    /// New to the journal.
    new: u64,
    /// Known before.
    known: u64,
    /// Older than refusals are kept.
    too_old: u64,
    /// Of a time that can't be.
    implausible: u64,
    /// Whether nothing was changed.
    dry_run: bool,
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Holds {
    pub(super) kept: Vec<Kept>,
    pub(super) reports: Vec<Report>,
    pub(super) faults: Vec<String>,
}

impl Import {
    pub(super) async fn run(
        &self,
        config: &Config,
        now: Timestamp,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let files = files::of(&self.paths)?;
        let writer = if self.dry_run {
            None
        } else {
            let rules = Arc::new(open::rules(config)?);
            Some(open::writer_or_new(config, self.create, diagnostics).await?.with_rules(rules))
        };
        let mut summary = Summary { dry_run: self.dry_run, ..Summary::default() };
        let done = self.all(&files, writer.as_ref(), now, &mut summary, diagnostics).await;
        if let Some(writer) = writer {
            writer.close().await;
        }
        done?;
        match self.format {
            Output::Json => {
                serde_json::to_writer(&mut *out, &summary).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Output::Text => summary.text(out)?,
        }
        Ok(if summary.broken + summary.implausible == 0 { Exit::Success } else { Exit::Finding })
    }

    async fn all(
        &self,
        files: &[PathBuf],
        writer: Option<&Writer>,
        now: Timestamp,
        summary: &mut Summary,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<()> {
        let mut progress = Progress::new();
        let mut batch: Vec<Kept> = Vec::new();
        for (number, path) in files.iter().enumerate() {
            progress.show(|| format!("file {} of {}", number + 1, files.len()));
            let holds = match bytes_of(path) {
                Ok(bytes) => holds(&bytes, path.file_name().and_then(|name| name.to_str()), now),
                Err(error) => Holds { faults: vec![error.to_string()], ..Holds::default() },
            };
            if !holds.faults.is_empty() {
                progress.end();
                summary.broken += 1;
                for fault in &holds.faults {
                    writeln!(diagnostics, "{}: {fault}", Safe(&path.display().to_string()))?;
                }
            }
            summary.files += u64::from(!holds.reports.is_empty());
            summary.reports += holds.reports.len() as u64;
            summary.messages = holds.reports.iter().map(Report::messages).fold(summary.messages, u64::saturating_add);
            for kept in holds.kept {
                let waits: usize = batch.iter().map(Kept::bytes).sum();
                if !batch.is_empty() && waits + kept.bytes() > MAX_BATCH_BYTES {
                    commit(std::mem::take(&mut batch), writer, summary).await?;
                }
                batch.push(kept);
            }
        }
        progress.end();
        commit(batch, writer, summary).await
    }
}

async fn commit(kept: Vec<Kept>, writer: Option<&Writer>, summary: &mut Summary) -> anyhow::Result<()> {
    let Some(writer) = writer.filter(|_| !kept.is_empty()) else { return Ok(()) };
    let (events, files) = (Vec::new(), Vec::new());
    let call = ImportEvents { format: Format::Mail, exposure: Exposure::None, events, kept, files };
    let done = writer.call(call).await.context(
        "not everything could be committed; run the same command again, what is known already changes nothing",
    )?;
    summary.new += done.kept_new;
    summary.known += done.kept_known;
    summary.too_old += done.too_old;
    summary.implausible += done.implausible;
    Ok(())
}

fn bytes_of(path: &Path) -> anyhow::Result<Vec<u8>> {
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).context("it can't be read")?)
    };
    let mut bytes = Vec::new();
    input.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).context("it can't be read")?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        anyhow::bail!(
            "it is larger than {} MiB; `relaywatch import` takes in mailboxes of any size",
            MAX_FILE_BYTES >> 20
        );
    }
    Ok(bytes)
}

/// What a file holds: a report, packed or not, or mails that carry them.
pub(super) fn holds(bytes: &[u8], name: Option<&str>, now: Timestamp) -> Holds {
    let mut found = Holds::default();
    if bytes.trim_ascii().is_empty() {
        found.faults.push("it is empty".to_owned());
    } else if packing(bytes).is_some() {
        found.file(bytes, || report_file(&ReportFile { name, ..ReportFile::default() }, bytes, now));
    } else {
        for raw in mails_of(bytes) {
            match understand(raw) {
                Understood::Aggregate(report) => {
                    let kept = aggregate(&report, now);
                    for (attachment, kept) in report.attachments.iter().zip(kept) {
                        found.file(&attachment.bytes, || kept);
                    }
                }
                Understood::Unreadable(_) => {
                    found.faults.push("it is neither XML, nor packed by gzip or zip, nor a mail".to_owned());
                }
                other => found.faults.push(format!("it is a mail, and no aggregate report: {}", other.kind())),
            }
        }
    }
    found
}

impl Holds {
    /// Takes a file, if there is a report in it that can be read.
    fn file(&mut self, bytes: &[u8], kept: impl FnOnce() -> Kept) {
        let before = self.reports.len();
        match reports::read(bytes) {
            Ok(documents) => {
                for document in documents {
                    match document {
                        Ok(report) => self.reports.push(report),
                        Err(fault) => self.faults.push(fault.to_string()),
                    }
                }
            }
            Err(fault) => self.faults.push(fault.to_string()),
        }
        if self.reports.len() > before {
            self.kept.push(kept());
        }
    }
}

impl Summary {
    #[cfg(test)]
    pub(super) fn of(numbers: [u64; 8], dry_run: bool) -> Self {
        let [files, broken, reports, messages, new, known, too_old, implausible] = numbers;
        Self { files, broken, reports, messages, new, known, too_old, implausible, dry_run }
    }

    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let about = count(self.messages, "message");
        write!(out, "{} about {about} in {}", count(self.reports, "report"), count(self.files, "file"))?;
        if self.broken > 0 {
            write!(out, "; of {} something could not be read", count(self.broken, "file"))?;
        }
        if self.dry_run {
            return writeln!(out, "; nothing was changed");
        }
        writeln!(out)?;
        write!(out, "{} new to the journal, {} known before", self.new, self.known)?;
        if self.too_old > 0 {
            write!(out, ", {} older than refusals are kept and left out", self.too_old)?;
        }
        if self.implausible > 0 {
            write!(out, ", {} of a time that can't be and left out", self.implausible)?;
        }
        writeln!(out)
    }
}
