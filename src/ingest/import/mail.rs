//! Mails: where one ends and the next begins, and what each says.

use std::io::{self, BufRead, BufReader, Read};

use super::{Position, json::Numbered};
use crate::{
    ingest::{
        Report,
        mail::{self, Envelope, MAX_MAIL_BYTES},
    },
    model::Timestamp,
};

/// What is said of a mail that is larger than [`MAX_MAIL_BYTES`].
const TOO_LONG: &str = "it is longer than 16 MiB";

/// What a mail that was kept tells, as the listener would have understood it: to whom it went, the fields of delivery say.
pub(super) fn understand(raw: &[u8], now: Timestamp) -> Report {
    let to = mail::delivered_to(raw);
    mail::report(&mail::understand(raw), raw, &Envelope { rcpt_to: to.as_ref(), received_at: now })
}

/// The mails of an mbox, one after the other (RFC 4155; quoting as in mboxrd, which undoes what mboxo does, too).
pub(super) struct Mbox {
    input: BufReader<Box<dyn Read + Send>>,
    at: Position,
    done: Position,
    /// Whether the line that begins a mail was read.
    begun: bool,
}

impl Mbox {
    pub(super) fn new(input: Box<dyn Read + Send>, at: Position) -> Self {
        Self { input: BufReader::with_capacity(64 * 1024, input), at, done: at, begun: false }
    }

    /// Up to where everything was given out.
    pub(super) const fn position(&self) -> Position {
        self.done
    }

    /// A line with its end, of which no more is kept than a record may have.
    fn line(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let read = (&mut self.input).take(MAX_MAIL_BYTES as u64 + 1).read_until(b'\n', line)?;
        if read == 0 {
            return Ok(false);
        }
        self.at.offset += read as u64;
        if line.last() != Some(&b'\n') {
            self.at.offset += self.input.skip_until(b'\n')? as u64;
        }
        self.at.lines += 1;
        Ok(true)
    }

    /// The next mail with the line that it begins on.
    pub(super) fn next(&mut self) -> io::Result<Option<Numbered>> {
        let (mut mail, mut line, mut too_long, mut blank) = (Vec::new(), Vec::new(), false, !self.begun);
        let mut began = self.at.lines + u64::from(!self.begun);
        loop {
            let before = self.at;
            if !self.line(&mut line)? {
                self.done = Position { records: self.done.records + u64::from(self.begun), ..self.at };
                let last = std::mem::take(&mut self.begun);
                return Ok(last.then_some((began, if too_long { Err(TOO_LONG) } else { Ok(mail) })));
            }
            if blank && is_separator(&line) {
                if self.begun {
                    // The line is the next mail's; it is read again where reading goes on from here.
                    self.done = Position { records: self.done.records + 1, ..before };
                    return Ok(Some((began, if too_long { Err(TOO_LONG) } else { Ok(mail) })));
                }
                (self.begun, blank) = (true, false);
                began = self.at.lines;
                continue;
            }
            blank = line.trim_ascii().is_empty();
            if mail.len() + line.len() > MAX_MAIL_BYTES {
                too_long = true;
                mail.clear();
            }
            if !too_long {
                let quoted = line.iter().position(|byte| *byte != b'>').filter(|at| *at > 0);
                let is_quoted = quoted.is_some_and(|at| line.get(at..).is_some_and(|rest| rest.starts_with(b"From ")));
                mail.extend_from_slice(line.get(usize::from(is_quoted)..).unwrap_or_default());
            }
        }
    }
}

/// Whether a line begins a mail: `From `, an address and a date with a time of day. Other lines that begin so are prose that
/// nobody quoted.
fn is_separator(line: &[u8]) -> bool {
    let is_time = |part: &[u8]| matches!(part, [a, b':', b] if a.is_ascii_digit() && b.is_ascii_digit());
    line.starts_with(b"From ") && line.windows(3).any(is_time)
}

/// A single mail.
pub(super) fn whole(input: Box<dyn Read + Send>) -> io::Result<Result<Vec<u8>, &'static str>> {
    let mut mail = Vec::new();
    input.take(MAX_MAIL_BYTES as u64 + 1).read_to_end(&mut mail)?;
    Ok(if mail.len() > MAX_MAIL_BYTES { Err(TOO_LONG) } else { Ok(mail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mails(text: &str) -> Vec<(u64, String)> {
        let mut mbox = Mbox::new(Box::new(io::Cursor::new(text.as_bytes().to_vec())), Position::default());
        let mut all = Vec::new();
        while let Some((line, mail)) = mbox.next().expect("reads") {
            all.push((line, String::from_utf8(mail.expect("short")).expect("text")));
        }
        all
    }

    #[test]
    fn mails_begin_after_a_blank_line() {
        let text = "From a@example.com Sat Aug  9 06:00:00 2025\nSubject: 1\n\nFrom the start\n>From quoted\n>>From twice\n\n\
             From b@example.com Sat Aug  9 06:00:01 2025\nSubject: 2\n\nlast";
        assert_eq!(
            mails(text),
            [
                (1, "Subject: 1\n\nFrom the start\nFrom quoted\n>From twice\n\n".to_owned()),
                (8, "Subject: 2\n\nlast".to_owned())
            ]
        );
        assert_eq!(mails(""), []);
    }
}
