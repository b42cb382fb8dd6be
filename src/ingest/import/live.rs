//! Lines that are still being written, through a pipe: `journalctl --follow | relaywatch import --from postfix -`.
//!
//! A thread of its own reads, since nothing else ends a read of a pipe that is silent. Whoever reads from it is told each second that
//! there is nothing just now (`WouldBlock`), whether anything came or not, so that what was read is committed by then.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

/// After how long what was read is handed on.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks that wait to be taken; then the writer of the pipe waits.
const AHEAD: usize = 4;

/// What comes from the thread.
enum Part {
    Bytes(Vec<u8>),
    Failed(io::Error),
    /// Nobody wants more.
    Stop,
}

/// Ends the reading of a stream; what was read by then is read to its last whole line.
#[derive(Debug, Clone)]
pub struct Stop {
    parts: SyncSender<Part>,
    stopped: Arc<AtomicBool>,
}

impl Stop {
    /// Ends it; tells whether that is new to it.
    #[must_use]
    pub fn stop(&self) -> bool {
        let is_new = !self.stopped.swap(true, Ordering::AcqRel);
        // Where there is no room, it looks at the flag soon.
        drop(self.parts.try_send(Part::Stop));
        is_new
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// A stream that is still being written.
pub struct Live {
    parts: Receiver<Part>,
    held: io::Cursor<Vec<u8>>,
    stopped: Arc<AtomicBool>,
    ended: bool,
    /// Chunks that may still come when it was ended.
    left: usize,
    /// When it's said next that there is nothing just now.
    due: Instant,
}

impl Live {
    /// Of any stream, and what ends it.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn of(mut input: impl Read + Send + 'static) -> io::Result<(Self, Stop)> {
        let (sender, parts) = sync_channel(AHEAD);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Stop { parts: sender.clone(), stopped: Arc::clone(&stopped) };
        std::thread::Builder::new().name("pipe".to_owned()).spawn(move || {
            let mut chunk = vec![0; CHUNK];
            loop {
                let part = match input.read(&mut chunk) {
                    Ok(0) => Part::Stop,
                    Ok(read) => Part::Bytes(chunk.get(..read).unwrap_or_default().to_vec()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Part::Failed(error),
                };
                let is_last = !matches!(part, Part::Bytes(_));
                if sender.send(part).is_err() || is_last {
                    return;
                }
            }
        })?;
        let held = io::Cursor::new(Vec::new());
        Ok((Self { parts, held, stopped, ended: false, left: AHEAD + 2, due: Instant::now() + PAUSE }, stop))
    }

    /// Whether somebody has ended it; what has no end then is half a line.
    pub(super) fn stopped(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopped)
    }
}

impl Read for Live {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let held = self.held.read(buffer)?;
            if held > 0 || buffer.is_empty() {
                return Ok(held);
            }
            if self.stopped.load(Ordering::Acquire) && !self.ended {
                // What was read by then, and no more of one that never pauses.
                self.left = self.left.saturating_sub(1);
                match self.parts.try_recv() {
                    Ok(Part::Bytes(bytes)) if self.left > 0 => {
                        self.held = io::Cursor::new(bytes);
                        continue;
                    }
                    _ => self.ended = true,
                }
            }
            if self.ended {
                return Ok(0);
            }
            match self.parts.recv_timeout(self.due.saturating_duration_since(Instant::now())) {
                Ok(Part::Bytes(bytes)) => self.held = io::Cursor::new(bytes),
                Ok(Part::Failed(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Ok(Part::Stop) | Err(RecvTimeoutError::Disconnected) => self.ended = true,
                Err(RecvTimeoutError::Timeout) => {
                    self.due = Instant::now() + PAUSE;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_comes_is_there_before_the_end_and_the_end_is_one() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let (mut live, _stop) = Live::of(reader).expect("a thread");
        writer.write_all(b"one\n").expect("written");
        let mut buffer = [0; 100];
        assert_eq!(live.read(&mut buffer).expect("there"), 4);
        let paused = live.read(&mut buffer).expect_err("nothing just now");
        assert_eq!(paused.kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"two\n").expect("written");
        assert_eq!(live.read(&mut buffer).expect("there"), 4);
        drop(writer);
        assert_eq!(live.read(&mut buffer).expect("the end"), 0);
    }

    #[test]
    fn it_is_ended_while_the_pipe_is_silent() {
        let (reader, _writer) = io::pipe().expect("a pipe");
        let (mut live, stop) = Live::of(reader).expect("a thread");
        assert!(!stop.is_stopped() && stop.stop() && !stop.stop() && stop.is_stopped());
        assert_eq!(live.read(&mut [0; 100]).expect("the end"), 0);
        assert!(live.stopped().load(Ordering::Acquire));
    }
}
