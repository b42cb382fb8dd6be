//! What an earlier import has left of a file: how far it is, as what it was read, and what was broken in it.

use std::{
    io::{self, Write},
    path::Path,
};

use super::Import;
use crate::{
    cli::text::count,
    control::{AskImport, FileId, ImportedSoFar, digest},
    ingest::import::{Faults, Form, Position, source},
};

/// How far a file was imported.
pub(super) enum Far {
    Nowhere,
    /// Up to here, with what was wrong before it.
    Here(Position, Faults),
    /// To its end: as what it was read, and what was wrong with it.
    End(String, Faults),
}

/// In what a file was imported otherwise than it is asked for now.
pub(super) struct Differs {
    /// What to do.
    pub(super) advice: String,
    /// What becomes of it where it is read again.
    pub(super) kept: String,
}

impl Import<'_> {
    /// What an earlier import has left of a file.
    pub(super) async fn known(&self, id: &FileId) -> anyhow::Result<Option<ImportedSoFar>> {
        let Some(writer) = &self.writer else { return Ok(None) };
        Ok(writer.call(AskImport { file: id.clone(), witness: None }).await?)
    }

    /// What an earlier import took a file for, where it is another thing than now. The exposure counts where somebody says it, or
    /// where there is more to read.
    pub(super) fn differs(&self, known: &ImportedSoFar, form: Form) -> Option<Differs> {
        let (format, exposure) = (known.format?, known.exposure?);
        if format != form.format {
            let told = if self.command.from.is_some() { "--from says" } else { "it looks like one of" };
            return Some(Differs {
                advice: format!(
                    "it was imported before as a file of {format}, now {told} {}. Say --from {format} to go on with it; \
                     --restart --from {} reads it again as that, and what came in as {format} stays",
                    form.format, form.format
                ),
                kept: format!("it was imported before as a file of {format}; what came in as that stays"),
            });
        }
        let now = self.command.exposure();
        let silent = self.command.exposure.is_none() && known.ended && known.unchanged && !self.command.restart;
        (exposure != now && !silent).then(|| Differs {
            advice: format!(
                "it was imported before with --exposure {exposure}, now with {now}. Say --exposure {exposure} to go on with \
                 it: events keep the exposure that they came with, also where --restart reads the file again"
            ),
            kept: format!(
                "it was imported before with --exposure {exposure}, now with {now}: what is known keeps the exposure that it \
                 came with, only what is new gets {now}"
            ),
        })
    }

    pub(super) fn refuse(
        &mut self,
        shown: &str,
        differs: &Differs,
        bytes: u64,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<()> {
        let Differs { advice, .. } = differs;
        if self.command.strict {
            anyhow::bail!("{shown}: {advice}; stopped (--strict)");
        }
        self.summary.files_refused += 1;
        self.progress.end(bytes);
        Ok(self.progress.say(diagnostics, &format!("{shown}: not read: {advice}"))?)
    }

    /// Tells again what an earlier import found broken in what is not read again.
    pub(super) fn tell_before(&mut self, shown: &str, faults: &Faults, diagnostics: &mut impl Write) -> io::Result<()> {
        if faults.wrong == 0 {
            return Ok(());
        }
        self.summary.broken_before += faults.wrong;
        let records = count(faults.wrong, "broken record");
        self.progress.say(diagnostics, &format!("{shown}: {records} in what was imported before:"))?;
        let most = usize::try_from(self.command.show_errors.saturating_sub(self.told)).unwrap_or(usize::MAX);
        let mut told = 0;
        for fault in faults.places.iter().take(most) {
            told += 1;
            self.progress.say(diagnostics, &format!("{shown}: {fault}"))?;
        }
        self.told += told;
        let left = faults.wrong.saturating_sub(told);
        if left > 0 {
            let text = format!(
                "{shown}: {left} more; --restart --show-errors {} reads the file again and tells each",
                faults.wrong
            );
            self.progress.say(diagnostics, &text)?;
        }
        Ok(())
    }

    /// How far a file was imported.
    pub(super) async fn far(
        &self,
        path: &Path,
        id: &FileId,
        known: Option<ImportedSoFar>,
        packed: bool,
    ) -> anyhow::Result<Far> {
        let (Some(writer), Some(known), false) = (&self.writer, known, self.command.restart) else {
            return Ok(Far::Nowhere);
        };
        let mut ask = AskImport { file: id.clone(), witness: None };
        let here = |known: ImportedSoFar| Far::Here(known.position, known.faults.before(known.position));
        if known.unchanged {
            let read_as = || Some(format!(" as {}, --exposure {}", known.format?, known.exposure?));
            return Ok(if known.ended { Far::End(read_as().unwrap_or_default(), known.faults) } else { here(known) });
        }
        // It has grown, or it is another one under the same name: what stands before the place tells.
        if packed || id.size <= known.size {
            return Ok(Far::Nowhere);
        }
        let Ok(before) = source::before(path, known.position.offset) else { return Ok(Far::Nowhere) };
        ask.witness = Some(digest(&before));
        let known = writer.call(ask).await?;
        let found = known.filter(|known| known.witnessed == Some(true));
        Ok(found.map_or(Far::Nowhere, here))
    }
}
