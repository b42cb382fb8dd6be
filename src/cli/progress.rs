//! How far a long command is: one line on stderr that is written over, on a terminal only.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// How often the line changes at most.
const EVERY: Duration = Duration::from_millis(200);

/// The line.
pub(super) struct Progress {
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { shown: None, terminal: io::stderr().is_terminal() }
    }

    /// Shows where the command is, if the last time is long enough ago.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.terminal && self.shown.is_none_or(|at| at.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            // Nobody misses a progress line that can't be written.
            drop(write!(io::stderr(), "\r\u{1b}[K{}", text()));
        }
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        if self.shown.take().is_some() {
            drop(write!(io::stderr(), "\r\u{1b}[K"));
        }
    }
}
