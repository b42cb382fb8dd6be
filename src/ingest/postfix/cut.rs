//! Bytes as they come, cut into lines.

use super::joiner::MAX_LINE_BYTES;

/// Holds back a line until its end has come. A line that is too long is handed out as far as it may go, and one byte more, so
/// that it is known for what it is.
#[derive(Debug, Default)]
pub struct Cutter {
    partial: Vec<u8>,
    /// Bytes of the current line that were passed over, the rest of it being of no use.
    skipped: u64,
    skips: bool,
}

impl Cutter {
    /// One that passes over everything up to the end of the first line, which has begun before.
    pub(super) fn within_a_line() -> Self {
        Self { skips: true, ..Self::default() }
    }

    /// Takes bytes; adds whole lines with their ends to `lines`.
    pub fn push(&mut self, mut bytes: &[u8], lines: &mut Vec<u8>) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            if !self.skips {
                lines.append(&mut self.partial);
                lines.extend_from_slice(line);
            }
            (self.skips, self.skipped) = (false, 0);
            bytes = rest;
        }
        if self.skips {
            self.skipped += bytes.len() as u64;
            return;
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > MAX_LINE_BYTES {
            self.skipped = self.partial.len() as u64;
            self.skips = true;
            self.partial.truncate(MAX_LINE_BYTES + 1);
            lines.append(&mut self.partial);
            lines.push(b'\n');
        }
    }

    /// How many bytes were taken of a line that has not ended.
    pub(super) fn held(&self) -> u64 {
        self.skipped + self.partial.len() as u64
    }

    /// Hands out what has no end and will have none.
    pub fn finish(&mut self, lines: &mut Vec<u8>) {
        if !self.partial.is_empty() {
            lines.append(&mut self.partial);
            lines.push(b'\n');
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wherever_it_is_cut_the_lines_are_the_same(
            text in "[a-c\n]{0,200}", ends in prop::collection::vec(0usize..200, 0..8),
        ) {
            let mut whole = Vec::new();
            let mut cutter = Cutter::default();
            cutter.push(text.as_bytes(), &mut whole);
            let held = cutter.held();
            let (mut ends, mut pieces, mut cutter, mut from) = (ends, Vec::new(), Cutter::default(), 0);
            ends.sort_unstable();
            ends.push(text.len());
            for end in ends {
                let end = end.min(text.len());
                cutter.push(text.as_bytes().get(from..end).unwrap_or_default(), &mut pieces);
                from = end;
            }
            prop_assert_eq!(&pieces, &whole);
            prop_assert_eq!(cutter.held(), held);
            prop_assert_eq!(whole.len() as u64 + held, text.len() as u64);
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
        for _ in 0..100 {
            cutter.push(&[b'x'; 10_000], &mut lines);
            assert!(cutter.partial.len() <= MAX_LINE_BYTES);
        }
        assert_eq!(cutter.held(), 1_000_000);
        assert_eq!(lines.len(), MAX_LINE_BYTES + 2, "once, and too long");
        cutter.push(b"x\nnext\n", &mut lines);
        assert!(lines.ends_with(b"x\nnext\n"));
        assert_eq!((lines.len(), cutter.held()), (MAX_LINE_BYTES + 7, 0));
        let mut cutter = Cutter::within_a_line();
        lines.clear();
        cutter.push(b"the rest\nnext\n", &mut lines);
        assert_eq!(lines, b"next\n");
    }
}
