//! Many lines of an SMTP reply become one.

use std::borrow::Cow;

use super::MAX_TEMPLATE_BYTES;
use crate::model::EnhancedCode;

/// Folds the reply into `out`: at most [`MAX_TEMPLATE_BYTES`] of it, cut where a word ends; blanks and control characters
/// as one blank, Unicode's too; `smtp;` (RFC 3464 section 2.3.6) dropped; the codes of further lines (RFC 5321 section 4.2.1) dropped.
pub(super) fn fold(text: &str, out: &mut Vec<u8>) {
    let text = plain_blanks(text);
    let text = text.as_bytes();
    let start = text.iter().position(|b| !is_blank(*b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !is_blank(*b)).map_or(start, |at| at + 1);
    let text = text.get(start..end).unwrap_or_default();
    let kept = match text.get(..MAX_TEMPLATE_BYTES) {
        // A word that is cut could be the half of an address: it goes.
        Some(kept) if text.len() > MAX_TEMPLATE_BYTES => {
            kept.get(..kept.iter().rposition(|b| is_blank(*b)).unwrap_or(0)).unwrap_or_default()
        }
        _ => text,
    };
    let mut words = Words { rest: kept };
    let mut code: Option<&[u8]> = None;
    let mut enhanced: Option<&[u8]> = None;
    let mut count = 0;
    while let Some((mut word, mut line_start)) = words.next() {
        if count == 0 || line_start {
            while let Some(tail) = strip_type(word) {
                word = tail;
            }
            if word.is_empty() {
                continue;
            }
        }
        if count == 0 {
            if let Some((head, tail)) = split_code(word) {
                code = Some(head);
                push(out, head);
                count = 1;
                word = tail;
                line_start = false;
            }
            if word.is_empty() {
                continue;
            }
        }
        if let Some(head) = code {
            if count == 1 && is_enhanced(word) {
                enhanced = Some(word);
            } else if count == 2 && enhanced == Some(word) {
                continue;
            } else if let Some(tail) = word.strip_prefix(head)
                && (tail.is_empty() || tail.starts_with(b"-"))
            {
                // The code of a further line that was joined with a blank: `550-Sender` is no id.
                let joined = matches!(tail, [b'-', letter, ..] if letter.is_ascii_alphabetic());
                let tail = tail.strip_prefix(b"-").unwrap_or(tail);
                let mut ahead = words.clone();
                let next = if tail.is_empty() { ahead.next().map(|(word, _)| word) } else { Some(tail) };
                if enhanced.is_some() && next == enhanced {
                    // Some providers join the lines and leave the codes in.
                    words = ahead;
                    continue;
                }
                if line_start || joined {
                    word = tail;
                }
                if word.is_empty() || (count == 1 && word == head) {
                    continue;
                }
            }
        }
        push(out, word);
        count += 1;
        if count > 2 {
            out.extend_from_slice(words.as_they_are(code));
        }
    }
}

/// The text with a plain blank for each blank beyond ASCII and each mark of a byte order: Unicode's spaces, U+FEFF, U+200B.
fn plain_blanks(text: &str) -> Cow<'_, str> {
    let is_other = |c: char| !c.is_ascii() && (c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'));
    if text.is_ascii() || !text.contains(is_other) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.replace(is_other, " "))
    }
}

fn push(out: &mut Vec<u8>, word: &[u8]) {
    if !out.is_empty() {
        out.push(b' ');
    }
    out.extend_from_slice(word);
}

const fn is_blank(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// How many bytes are looked at in one go.
const CHUNK: usize = 16;

/// The words of a text, each with whether it begins a line.
#[derive(Clone)]
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// Takes the words that follow with one blank before each, up to one that may be a code of a further line: behind the
    /// codes of the first line nothing becomes of them.
    fn as_they_are(&mut self, code: Option<&[u8]>) -> &'a [u8] {
        // Where there is no code, none is repeated; a word begins with no blank.
        let barred = code.and_then(|code| code.first().copied()).unwrap_or(b' ');
        let stops = |byte: u8, next: u8| {
            if byte == b' ' { is_blank(next) || next == barred } else { is_blank(byte) }
        };
        let next = self.rest.get(1..).unwrap_or_default();
        // Chunk by chunk, with as many comparisons at once as the processor can.
        let (chunks, _) = self.rest.as_chunks::<CHUNK>();
        let (next_chunks, _) = next.as_chunks::<CHUNK>();
        let pairs = chunks.iter().zip(next_chunks);
        let whole = pairs.take_while(|(bytes, next)| {
            !bytes.iter().zip(*next).fold(false, |any, (byte, next)| any | stops(*byte, *next))
        });
        let whole = whole.count() * CHUNK;
        let tail = self.rest.iter().zip(next).skip(whole);
        let len = tail.take_while(|(byte, next)| !stops(**byte, **next)).count() + whole;
        // The last byte of a text is not blank.
        let last = usize::from(len == next.len() && !self.rest.last().is_none_or(|byte| is_blank(*byte)));
        let (taken, rest) = self.rest.split_at(len + last);
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.rest.iter().position(|b| !is_blank(*b))?;
        let (gap, rest) = self.rest.split_at(start);
        let end = rest.iter().position(|b| is_blank(*b)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        Some((word, gap.iter().any(|b| matches!(b, b'\n' | b'\r'))))
    }
}

/// What follows the type of a diagnostic (RFC 3464 section 2.3.6): `smtp;`, `unix;`, `x-unix;`, `x-postfix;`.
fn strip_type(word: &[u8]) -> Option<&[u8]> {
    const LONGEST: usize = 24;
    let end = word.iter().take(LONGEST).position(|b| *b == b';')?;
    let (kind, tail) = word.split_at_checked(end)?;
    let private = kind.get(..2).is_some_and(|head| head.eq_ignore_ascii_case(b"x-"))
        && kind.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    (private || kind.eq_ignore_ascii_case(b"smtp") || kind.eq_ignore_ascii_case(b"unix")).then(|| tail.get(1..))?
}

/// A basic code and what follows it in its word, without the hyphen of a line with more to come.
fn split_code(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let (code, tail) = word.split_at_checked(3)?;
    if !matches!(code, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']) {
        return None;
    }
    match tail {
        [] => Some((code, tail)),
        [b'-', tail @ ..] => Some((code, tail)),
        _ => None,
    }
}

fn is_enhanced(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| EnhancedCode::parse(word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let mut out = Vec::new();
        fold(text, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn lines_join_and_repeated_codes_go() {
        assert_eq!(folded("550-5.1.1 user\r\n550 5.1.1 not found"), "550 5.1.1 user not found");
        assert_eq!(folded("550-user\n550-not\n550 found"), "550 user not found");
        assert_eq!(
            folded("550-no mailbox 550-Sender is not allowed"),
            "550 no mailbox Sender is not allowed",
            "joined by a blank"
        );
        assert_eq!(folded("\u{feff}550\u{a0}5.1.1\u{3000}user"), "550 5.1.1 user");
        assert_eq!(folded("550 5.1.1 user\r\n not\t found \r\n"), "550 5.1.1 user not found");
        assert_eq!(folded("550-5.1.1 no such 550-5.1.1 user 550 5.1.1 here"), "550 5.1.1 no such user here");
        assert_eq!(folded("smtp; 550 5.1.1 x"), "550 5.1.1 x");
        assert_eq!(folded("SMTP;550 5.1.1 x"), "550 5.1.1 x");
        assert_eq!(folded("X-Unix; 255"), "255");
        assert_eq!(folded("x-postfix;550 5.1.1 x"), "550 5.1.1 x");
        assert_eq!(folded("450 450 4.2.2 full"), "450 4.2.2 full");
        assert_eq!(folded("550-\r\n550-5.1.1\r\n550 x"), "550 5.1.1 x");
    }

    #[test]
    fn numbers_that_are_no_codes_stay() {
        assert_eq!(folded("550 5.1.1 see ticket 550 in 550-12"), "550 5.1.1 see ticket 550 in 550-12");
        assert_eq!(folded("at 550 a b"), "at 550 a b");
        assert_eq!(folded(""), "");
    }

    #[test]
    fn a_long_reply_is_cut_where_a_word_ends() {
        let text = format!("550 {}secret-half@example.com", "word ".repeat(MAX_TEMPLATE_BYTES / 5 - 2));
        let out = folded(&text);
        assert!(out.len() <= MAX_TEMPLATE_BYTES && out.ends_with("word"), "{}", out.len());
        assert_eq!(folded(&"x".repeat(MAX_TEMPLATE_BYTES + 1)), "");
    }
}
