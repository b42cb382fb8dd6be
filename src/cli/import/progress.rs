//! How far an import is: a bar with rate and time left on a terminal, elsewhere a line now and then.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    bar: ProgressBar,
    terminal: bool,
    begun: Instant,
    shown: Instant,
    /// Bytes of all files; nothing where one has no length.
    whole: Option<u64>,
    /// Bytes of the files that are done.
    done: u64,
    /// Counts the bytes of the file that is read.
    meter: Option<Arc<AtomicU64>>,
}

impl Progress {
    pub(super) fn new(whole: Option<u64>) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = match whole {
            Some(whole) => ProgressBar::new(whole),
            None => ProgressBar::no_length(),
        };
        let target = if terminal { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
        bar.set_draw_target(target);
        let template = match whole {
            Some(_) => "{bar:30} {percent}%  {msg}, {eta} left",
            None => "{spinner} {msg}",
        };
        // A template that indicatif can't read would cost the bar alone.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { bar, terminal, begun: now, shown: now, whole, done: 0, meter: None }
    }

    /// A file is begun, whose bytes this counts.
    pub(super) fn begin(&mut self, meter: Arc<AtomicU64>) {
        self.meter = Some(meter);
    }

    /// A file of this length is done, or passed over.
    pub(super) fn end(&mut self, bytes: u64) {
        self.meter = None;
        self.done += bytes;
        self.bar.set_position(self.done);
    }

    /// So many records are read.
    pub(super) fn show(&mut self, records: u64, diagnostics: &mut impl Write) -> io::Result<()> {
        let at = self.done + self.meter.as_ref().map_or(0, |meter| meter.load(Ordering::Relaxed));
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "for people"
        )]
        let rate = (records as f64 / seconds) as u64;
        if self.terminal {
            self.bar.set_position(at);
            self.bar.set_message(format!("{records} records, {rate}/s"));
            return Ok(());
        }
        if self.shown.elapsed() < EVERY {
            return Ok(());
        }
        self.shown = Instant::now();
        write!(diagnostics, "{records} records read, {rate} a second")?;
        if let Some(whole) = self.whole.filter(|whole| *whole > 0 && at > 0) {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let (at, whole) = (at.min(whole) as f64, whole as f64);
            write!(diagnostics, ", {:.0} %, about {:.0} s left", at * 100.0 / whole, seconds * (whole - at) / at)?;
        }
        writeln!(diagnostics)
    }

    /// Says something without the bar in the way.
    pub(super) fn say(&self, diagnostics: &mut impl Write, text: &str) -> io::Result<()> {
        self.bar.suspend(|| writeln!(diagnostics, "{text}"))
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
