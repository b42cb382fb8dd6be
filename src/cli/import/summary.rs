//! What an import has done, at its end.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    cli::text::{Safe, count},
    control::EventsImported,
    ingest::import::Counts,
    model::Exposure,
};

/// What became of files, records and outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Files that were read to their end, from wherever on.
    pub(super) files: u64,
    /// Of them, those that went on where an earlier import had stopped.
    pub(super) resumed: u64,
    /// Files that had been imported before.
    pub(super) files_known: u64,
    /// Files with nothing in them.
    pub(super) files_empty: u64,
    /// Files that can't be read, or not to their end.
    pub(super) files_failed: u64,
    /// Files that an earlier import read as something else, or with another exposure.
    pub(super) files_refused: u64,
    /// What the records were.
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Broken records that earlier imports found in the parts of files that are not read again.
    pub(super) broken_before: u64,
    /// Reports kept whole that are new.
    pub(super) kept_new: u64,
    /// Reports kept whole that were known before.
    pub(super) kept_known: u64,
    /// Outcomes that are new.
    pub(super) new: u64,
    /// Outcomes that were known before.
    pub(super) known: u64,
    /// Outcomes that have outlived their retention.
    pub(super) too_old: u64,
    /// By which exposure they count.
    pub(super) exposure: Exposure,
    /// Whether nothing was changed.
    pub(super) dry_run: bool,
}

impl Summary {
    pub(super) fn new(exposure: Exposure, dry_run: bool) -> Self {
        Self {
            files: 0,
            resumed: 0,
            files_known: 0,
            files_empty: 0,
            files_failed: 0,
            files_refused: 0,
            counts: Counts::default(),
            broken_before: 0,
            kept_new: 0,
            kept_known: 0,
            new: 0,
            known: 0,
            too_old: 0,
            exposure,
            dry_run,
        }
    }

    pub(super) const fn add(&mut self, done: &EventsImported) {
        self.new += done.new;
        self.known += done.known;
        self.too_old += done.too_old;
        self.kept_new += done.kept_new;
        self.kept_known += done.kept_known;
        self.counts.implausible += done.implausible;
    }

    /// Whether everything is as it should be.
    pub(super) const fn is_clean(&self) -> bool {
        self.files_failed + self.files_refused + self.broken_before + self.counts.wrong() == 0
    }

    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { counts, .. } = self;
        write!(out, "{} read", count(self.files, "file"))?;
        for (number, words) in [
            (self.resumed, "from where an earlier import stopped"),
            (self.files_known, "imported before"),
            (self.files_empty, "empty"),
            (self.files_failed, "that can't be read, or not to the end"),
            (self.files_refused, "refused"),
        ] {
            if number > 0 {
                write!(out, ", {number} {words}")?;
            }
        }
        writeln!(out)?;
        writeln!(
            out,
            "{}: {} ({} sent, {} delivered, {} deferred, {} refused, {} complained, {} suppressed by provider, \
             {} unsubscribed), {} ignored, {} of unknown type, {} implausible, {} broken",
            count(counts.records, "record"),
            count(counts.outcomes, "event"),
            counts.sent,
            counts.delivered,
            counts.deferred,
            counts.refused,
            counts.complained,
            counts.suppressed,
            counts.unsubscribed,
            counts.ignored,
            counts.unknown,
            counts.implausible,
            counts.broken
        )?;
        if counts.unknown > 0 {
            let types: Vec<String> =
                counts.unknown_types.iter().map(|(word, count)| format!("{count} {}", Safe(word))).collect();
            writeln!(out, "types that relaywatch has no use for: {}", types.join(", "))?;
        }
        if counts.kept > 0 {
            write!(out, "{} of DMARC's, or of Apple's about the relay", count(counts.kept, "report"))?;
            if self.dry_run {
                writeln!(out)?;
            } else {
                writeln!(out, ": {} new, {} known before", self.kept_new, self.kept_known)?;
            }
        }
        if self.broken_before > 0 {
            let records = count(self.broken_before, "broken record");
            writeln!(out, "{records} in what earlier imports read; they are told above, by file")?;
        }
        if self.dry_run {
            writeln!(out, "nothing was changed")?;
        } else {
            let (new, known, too_old) = (self.new, self.known, self.too_old);
            writeln!(out, "{new} new, {known} known before, {too_old} older than their retention and left out")?;
        }
        if self.exposure == Exposure::None && counts.sent + counts.delivered > 0 {
            let shown =
                if counts.sent >= counts.outcomes.saturating_sub(counts.sent) / 2 { "sends" } else { "outcomes" };
            let said = if self.dry_run { "would be" } else { "are" };
            writeln!(
                out,
                "sends and deliveries {said} no denominator (--exposure none); the files look like --exposure {shown}, if \
                 nothing of their time is missing in them. What is in the journal keeps the exposure that it came with"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_became_of_everything() {
        let mut summary = Summary::new(Exposure::None, false);
        let counts = Counts {
            records: 9,
            outcomes: 9,
            sent: 3,
            delivered: 2,
            deferred: 1,
            refused: 2,
            complained: 1,
            unknown: 3,
            unknown_types: [("new".to_owned(), 2), ("newer".to_owned(), 1)].into(),
            kept: 2,
            ignored: 1,
            broken: 1,
            ..Counts::default()
        };
        (summary.files, summary.resumed, summary.files_known, summary.counts) = (2, 1, 1, counts);
        summary.add(&EventsImported { new: 4, known: 2, too_old: 1, implausible: 0, kept_new: 1, kept_known: 1 });
        summary.broken_before = 3;
        let mut text = Vec::new();
        summary.text(&mut text).expect("writes");
        summary = Summary { dry_run: true, exposure: Exposure::Sends, files_failed: 1, ..summary };
        summary.text(&mut text).expect("writes");
        insta::assert_snapshot!(String::from_utf8(text).expect("text"));
        assert!(!summary.is_clean());
    }
}
