//! Follows systemd's journal, as `journalctl` prints it into a pipe: a child process that is started anew when it ends.
//!
//! Entries come as JSON, each with its cursor, so that reading goes on exactly where it was. What is read are all entries of the
//! facility mail, with which Postfix logs by default.

use std::{collections::VecDeque, io, path::PathBuf, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    cut::Cutter,
    follower::Lines,
    place::{Entry, Position},
};

/// The program that prints the journal.
pub(super) const JOURNALCTL: &str = "journalctl";
/// Syslog's number of the facility mail (RFC 5424 section 6.2.1), by which Postfix logs.
const FACILITY: &str = "SYSLOG_FACILITY=2";
/// How far before the last entry reading begins anew, in microseconds: mails in the queue are tried again within so long, and
/// their senders told. Postfix waits for 4,000 s at most (postconf(5), `maximal_backoff_time`), and looks at its queue every 300 s
/// (`queue_run_delay`).
const AGAIN_MICROS: i64 = 4_500_000_000;
/// How long it may be silent until it is taken for running: one that may not read the journal has ended by then.
const QUIET: Duration = Duration::from_secs(2);
/// How far apart entries are from which it can begin anew, in microseconds.
const APART_MICROS: i64 = 600_000_000;
/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// Follows the journal.
#[derive(Debug)]
pub(super) struct Journal {
    program: PathBuf,
    running: Option<Running>,
    /// The last entry that was handed out.
    last: Option<Entry>,
    /// Entries before it, the oldest first.
    earlier: VecDeque<Entry>,
    /// The entry up to which all was done before.
    known: Option<Entry>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    output: ChildStdout,
    cutter: Cutter,
}

impl Journal {
    /// One that goes on after a position.
    pub(super) fn new(program: PathBuf, from: Option<Position>) -> Self {
        let (last, earlier) = match from {
            Some(Position::Journal { last, earlier }) => (Some(last), VecDeque::from([earlier])),
            _ => (None, VecDeque::new()),
        };
        Self { program, running: None, known: last.clone(), last, earlier }
    }

    /// How far it is read, when everything that was handed out is done.
    pub(super) fn position(&self) -> Option<Position> {
        let last = self.last.clone()?;
        let earlier = self.earlier.front().cloned().unwrap_or_else(|| last.clone());
        Some(Position::Journal { last, earlier })
    }

    /// The next lines; nothing where it runs and has none to say.
    ///
    /// # Errors
    /// Where the program can't be started, or has ended. Asked again, it starts anew.
    pub(super) async fn next(&mut self) -> io::Result<Option<Lines>> {
        let running = if let Some(running) = &mut self.running {
            running
        } else {
            let begin = self.earlier.front().or(self.last.as_ref()).map(|entry| entry.cursor.clone());
            self.known.clone_from(&self.last);
            self.running.insert(start(&self.program, begin.as_deref())?)
        };
        let mut chunk = vec![0; CHUNK];
        let mut cut = Vec::new();
        // What was not read by then stays in the pipe.
        let Ok(read) = timeout(QUIET, running.output.read(&mut chunk)).await else { return Ok(None) };
        let bytes = read?;
        if bytes == 0 {
            let ended = self.stop().await;
            return Err(io::Error::other(ended.unwrap_or_else(|error| error.to_string())));
        }
        running.cutter.push(chunk.get(..bytes).unwrap_or_default(), &mut cut);
        Ok(Some(self.sort(&cut)))
    }

    /// Ends the program; says how it ended.
    pub(super) async fn stop(&mut self) -> io::Result<String> {
        let Some(mut running) = self.running.take() else { return Ok(String::new()) };
        // It may have ended by itself.
        drop(running.child.start_kill());
        Ok(running.child.wait().await?.to_string())
    }

    /// Tells lines that were done before from others, and takes note of where they are.
    fn sort(&mut self, cut: &[u8]) -> Lines {
        let mut lines = Lines::default();
        for line in cut.split_inclusive(|byte| *byte == b'\n') {
            let entry = entry(line);
            let target = match (&self.known, &entry) {
                (Some(known), Some(entry)) if entry.micros <= known.micros => &mut lines.known,
                (Some(_), None) => &mut lines.known,
                (Some(_), Some(_)) => {
                    self.known = None;
                    &mut lines.fresh
                }
                (None, _) => &mut lines.fresh,
            };
            target.extend_from_slice(line);
            if self.known.as_ref().is_some_and(|known| entry.as_ref().is_some_and(|entry| entry.cursor == known.cursor))
            {
                self.known = None;
            } else if let (None, Some(entry)) = (&self.known, entry) {
                self.note(entry);
            }
        }
        lines
    }

    fn note(&mut self, entry: Entry) {
        let due = |before: &Entry| entry.micros.saturating_sub(before.micros) >= APART_MICROS;
        if self.earlier.back().is_none_or(due) {
            self.earlier.push_back(entry.clone());
        }
        // The second is far enough back as well: the first is of no use.
        while self.earlier.get(1).is_some_and(|second| entry.micros.saturating_sub(second.micros) >= AGAIN_MICROS) {
            self.earlier.pop_front();
        }
        self.last = Some(entry);
    }
}

/// Where an entry is.
fn entry(line: &[u8]) -> Option<Entry> {
    #[derive(Deserialize)]
    struct Where {
        #[serde(rename = "__CURSOR")]
        cursor: String,
        #[serde(rename = "__REALTIME_TIMESTAMP")]
        micros: String,
    }
    let Where { cursor, micros } = serde_json::from_slice(line).ok()?;
    let plain = cursor.len() <= 512 && !cursor.is_empty() && cursor.bytes().all(|b| b.is_ascii_graphic());
    plain.then_some(Entry { cursor, micros: micros.parse().ok()? })
}

/// Starts the program, from an entry on, or from the first one. No shell; nothing of this process' environment, which may hold secrets.
fn start(program: &std::path::Path, begin: Option<&str>) -> io::Result<Running> {
    let mut command = Command::new(program);
    command.args(["--follow", "--no-tail", "--quiet", "--all", "--output=json"]);
    if let Some(cursor) = begin {
        command.arg(format!("--cursor={cursor}"));
    }
    command.arg(FACILITY).env_clear().env("LC_ALL", "C").env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
    Ok(Running { child, output, cutter: Cutter::default() })
}

#[cfg(test)]
mod tests;
