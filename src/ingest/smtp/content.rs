//! A mail's content as it comes in: the end of DATA, and how much of it is held.

use super::super::http::body::{Budget, Taken};

/// Finds the end of what follows DATA, and takes away the dots that the sender put before others (RFC 5321, 4.5.2).
///
/// The end is `CRLF . CRLF` and nothing else, however the bytes are cut. A bare CR or LF ends no line: a peer that sends one and
/// means another end than we read could else put a mail of its own behind the first ("SMTP smuggling", CVE-2023-51764). Hence no
/// `smtp_proto::DataReceiver`, which also takes `CRLF . CR CRLF` for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dots {
    /// At the start of a line; content starts there, behind the command's own CRLF.
    Start,
    /// Within a line.
    Line,
    /// After a CR.
    Cr,
    /// After a dot at the start of a line, which is held back.
    Dot,
    /// After a CR behind such a dot, both held back.
    DotCr,
}

impl Dots {
    /// Reads on; gives how many bytes were used and whether the end was among them. Content goes to `put`, piece by piece.
    pub(super) fn read(&mut self, input: &[u8], mut put: impl FnMut(&[u8])) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let one = input.get(at..=at).unwrap_or_default();
            match (*self, byte) {
                (Self::Start, b'.') => *self = Self::Dot,
                (Self::Dot, b'\r') => *self = Self::DotCr,
                (Self::DotCr, b'\n') => return (at + 1, true),
                (Self::DotCr, _) => {
                    put(b"\r");
                    put(one);
                    *self = if byte == b'\r' { Self::Cr } else { Self::Line };
                }
                (Self::Cr, b'\n') => {
                    put(one);
                    *self = Self::Start;
                }
                (_, b'\r') => {
                    put(one);
                    *self = Self::Cr;
                }
                _ => {
                    let rest = input.get(at..).unwrap_or_default();
                    let run = rest.get(..memchr::memchr(b'\r', rest).unwrap_or(rest.len())).unwrap_or_default();
                    put(run);
                    *self = Self::Line;
                    at += run.len();
                    continue;
                }
            }
            at += 1;
        }
        (at, false)
    }
}

/// How much more than the largest mail is read and dropped so that the sender gets its answer: once more the same.
const DROPPED: usize = 2;

/// Why content is no longer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// It's larger than a mail may be.
    TooLarge,
    /// Other mails have used up what all together may take.
    NoRoom,
}

/// What has come of a mail so far, within its cap and the budget of all.
#[derive(Debug)]
pub(super) struct Content {
    bytes: Vec<u8>,
    taken: Taken,
    limit: usize,
    seen: usize,
    dropped: Option<Dropped>,
}

impl Content {
    /// Nothing yet of a mail of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), taken: Taken::default(), limit, seen: 0, dropped: None }
    }

    /// Takes more of it; what goes beyond is dropped, with all that came before.
    pub(super) fn put(&mut self, more: &[u8], budget: &Budget) {
        self.seen = self.seen.saturating_add(more.len());
        if self.dropped.is_some() {
            return;
        }
        if self.seen > self.limit {
            self.drop_it(Dropped::TooLarge);
        } else if budget.take(&mut self.taken, more.len()) {
            self.bytes.extend_from_slice(more);
        } else {
            self.drop_it(Dropped::NoRoom);
        }
    }

    /// Lets go of it, for this reason.
    pub(super) fn drop_it(&mut self, why: Dropped) {
        self.dropped = Some(why);
        self.bytes = Vec::new();
        self.taken = Taken::default();
    }

    /// Why it's no longer held, where it is not.
    pub(super) const fn dropped(&self) -> Option<Dropped> {
        self.dropped
    }

    /// Whether so much has come, or is said to come, that it's not worth waiting for the end.
    pub(super) fn is_hopeless(&self, announced: usize) -> bool {
        self.seen.saturating_add(announced) > self.limit.saturating_mul(DROPPED)
    }

    /// Its bytes and what they take of the budget.
    pub(super) fn finish(self) -> (Vec<u8>, Taken) {
        (self.bytes, self.taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The content up to the end, and what follows it; nothing where it does not end.
    fn read(pieces: &[&[u8]]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut dots, mut content) = (Dots::Start, Vec::new());
        for (number, piece) in pieces.iter().enumerate() {
            let (used, ended) = dots.read(piece, |more| content.extend_from_slice(more));
            if ended {
                let mut rest = piece[used..].to_vec();
                rest.extend(pieces[number + 1..].concat());
                return Some((content, rest));
            }
            assert_eq!(used, piece.len());
        }
        None
    }

    #[test]
    fn dots_are_taken_away_and_the_end_is_found() {
        for (sent, content, rest) in [
            (".\r\n", "", ""),
            ("a\r\n.\r\n", "a\r\n", ""),
            ("a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n"),
            ("..\r\n...a\r\n.b\r\n.\r\n", ".\r\n..a\r\nb\r\n", ""),
            ("a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", ""),
        ] {
            let read = read(&[sent.as_bytes()]).expect("it ends");
            assert_eq!((read.0, read.1), (content.as_bytes().to_vec(), rest.as_bytes().to_vec()), "{sent:?}");
        }
    }

    #[test]
    fn nothing_else_ends_it() {
        for smuggled in [
            "\n.\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\r",
            "\r\n.\r\r\n",
            "\r\r\n.\r",
            "\n.\r",
            "\r\n\0.\r\n",
            "\r\n. \r\n",
        ] {
            let sent = format!("a{smuggled}MAIL FROM:<x@example.com>\r\n");
            assert_eq!(read(&[sent.as_bytes()]), None, "{smuggled:?}");
            let whole = format!("{sent}.\r\n");
            let (content, rest) = read(&[whole.as_bytes()]).expect("it ends");
            assert!(rest.is_empty() && content.ends_with(b"MAIL FROM:<x@example.com>\r\n"), "{smuggled:?}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_reads_the_same(
            sent in prop::collection::vec(prop::sample::select(&b".\r\nab"[..]), 0..60),
            cuts in prop::collection::vec(0..60_usize, 0..6),
        ) {
            let whole = read(&[&sent]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(sent.len())).collect();
            cuts.extend([0, sent.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &sent[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&pieces), whole);
        }

        /// What a sender stuffs by the RFC comes out as it was.
        #[test]
        fn stuffing_is_undone(lines in prop::collection::vec("[.a\r\n]{0,6}", 0..12)) {
            let content = lines.iter().map(|line| line.replace(['\r', '\n'], "x") + "\r\n").collect::<String>();
            let stuffed = content.split_inclusive("\r\n").map(|line| {
                if line.starts_with('.') { format!(".{line}") } else { line.to_owned() }
            }).collect::<String>() + ".\r\n";
            prop_assert_eq!(read(&[stuffed.as_bytes()]), Some((content.into_bytes(), Vec::new())));
        }
    }

    #[test]
    fn content_keeps_to_its_cap_and_to_the_budget() {
        let budget = Budget::new(150);
        let mut one = Content::new(100);
        one.put(&[b'x'; 100], &budget);
        assert_eq!(one.dropped(), None);
        let mut other = Content::new(100);
        other.put(&[b'x'; 60], &budget);
        assert_eq!(other.dropped(), Some(Dropped::NoRoom));
        one.put(b"x", &budget);
        assert_eq!(one.dropped(), Some(Dropped::TooLarge));
        assert!(!one.is_hopeless(99) && one.is_hopeless(100));
        let mut third = Content::new(100);
        third.put(&[b'x'; 100], &budget);
        assert_eq!(third.dropped(), None, "what was dropped is free again");
        assert_eq!(third.finish().0.len(), 100);
    }
}
