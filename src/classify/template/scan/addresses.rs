//! Addresses, with `@` and without.

use super::{BLANK, QUOTE, Scanner, is_token};
use crate::classify::{
    role::{Role, role_of},
    template::shapes,
};

/// Makes one word of each address that is written with quotes, comments or blanks around its `@`.
pub(in crate::classify::template) fn glue_addresses(text: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| memchr::memchr(b'@', rest)).map(|at| from + at) {
        from = at + 1;
        let mut end = at;
        if text.get(..end).is_some_and(|head| head.ends_with(b" ")) {
            end -= 1;
            set(text, end, BLANK);
        }
        if text.get(at + 1) == Some(&b' ') {
            set(text, at + 1, BLANK);
        }
        let Some(last) = end.checked_sub(1) else { continue };
        let Some(start) = opening(text, last) else { continue };
        for place in start..=last {
            if text.get(place).is_some_and(|b| matches!(*b, b'@' | BLANK) || is_left_delimiter(*b)) {
                set(text, place, QUOTE);
            }
        }
    }
}

/// Where the quoted string or comment begins that ends at `last`.
fn opening(text: &[u8], last: usize) -> Option<usize> {
    let open = match text.get(last)? {
        b'"' => b'"',
        b')' => b'(',
        _ => return None,
    };
    let mut end = last;
    loop {
        let start = memchr::memrchr(open, text.get(..end)?)?;
        if start == 0 || text.get(start - 1) != Some(&b'\\') {
            return Some(start);
        }
        end = start;
    }
}

fn set(text: &mut [u8], at: usize, byte: u8) {
    if let Some(place) = text.get_mut(at) {
        *place = byte;
    }
}

impl Scanner<'_> {
    /// A word with `@` in it: each address becomes its role, the rest is looked at token by token.
    pub(super) fn with_addresses(&mut self, start: usize, end: usize) {
        let mut from = start;
        while from < end {
            let Some(at) = memchr::memchr(b'@', self.slice(from, end)).map(|at| from + at) else { break };
            let mut left =
                self.slice(from, at).iter().rposition(|b| is_left_delimiter(*b)).map_or(from, |at| from + at + 1);
            while left < at && self.byte(left).is_some_and(|b| matches!(b, b'\'' | b'`' | b'=' | b'/' | b'.' | BLANK)) {
                left += 1;
            }
            if left == at {
                // No local part: `@here`, a route. The mark stays, what follows is looked at like any token.
                self.tokens(from, at);
                self.out.push(b'@');
                from = at + 1;
                continue;
            }
            self.tokens(from, left);
            let mut right = self.domain_end(at + 1, end);
            // With nothing between them that ends a local part, further ones are read as the same.
            while let Some(next) = memchr::memchr(b'@', self.slice(right, end)).map(|next| right + next) {
                if self.slice(right, next).iter().any(|b| is_left_delimiter(*b)) {
                    break;
                }
                right = self.domain_end(next + 1, end);
            }
            let role = self.role(left, right);
            self.put(role.token());
            from = right;
        }
        self.tokens(from, end);
    }

    /// Where an address ends whose domain begins at `from`.
    fn domain_end(&self, from: usize, end: usize) -> usize {
        let mut stop = from;
        while self.byte(stop) == Some(BLANK) && stop < end {
            stop += 1;
        }
        if self.byte(stop) == Some(b'[')
            && let Some(len) = self.slice(stop, end).iter().position(|b| *b == b']')
        {
            stop += len + 1;
        }
        while stop < end
            && self.byte(stop).is_some_and(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@' | BLANK | QUOTE) || !b.is_ascii()
            })
        {
            stop += 1;
        }
        while stop > from && self.byte(stop - 1).is_some_and(|b| matches!(b, b'.' | b'-' | BLANK)) {
            stop -= 1;
        }
        stop
    }

    fn role(&self, start: usize, end: usize) -> Role {
        let bytes = self.slice(start, end);
        if bytes.iter().any(|b| matches!(*b, BLANK | QUOTE)) {
            let clean: Vec<u8> = bytes.iter().copied().filter(|b| !matches!(*b, BLANK | QUOTE)).collect();
            return std::str::from_utf8(&clean).map_or(Role::Address, |text| role_of(text, self.parties));
        }
        role_of(self.str(start, end), self.parties)
    }

    /// The first address without an `@`: `local=domain` as in VERP, `host!local`, or the mark written in some other way.
    /// Gives where it begins and ends, and whose it is.
    pub(super) fn disguised(&self, start: usize, end: usize) -> Option<(usize, usize, Role)> {
        let text = self.slice(start, end);
        let run = |from: usize| from + self.slice(from, end).iter().take_while(|b| is_token(**b)).count();
        let mut found: Option<(usize, usize, Role)> = None;
        for (offset, byte) in text.iter().enumerate() {
            if !matches!(byte, b'=' | b'%' | b'!' | b'(' | b'[' | b'&' | b'\\') {
                continue;
            }
            let mark = start + offset;
            let left = match found {
                Some((_, right, _)) if mark < right => continue,
                Some((_, right, _)) if self.slice(right, mark).iter().any(|b| is_left_delimiter(*b)) => break,
                // With nothing between them that ends a local part, further ones are read as the same.
                Some((left, ..)) => left,
                None => {
                    let delimiter = text.get(..offset)?.iter().rposition(|b| is_left_delimiter(*b));
                    delimiter.map_or(start, |at| start + at + 1)
                }
            };
            if left == mark {
                continue;
            }
            let right = match (encoded_mark(self.slice(mark, end)), byte) {
                (Some(len), _) => {
                    let right = run(mark + len);
                    let role =
                        if found.is_some() { Role::Address } else { self.encoded_role(left, mark, mark + len, right) };
                    found = Some((left, right, role));
                    continue;
                }
                (None, b'=') => {
                    let domain = self.str(mark + 1, run(mark + 1)).trim_end_matches(['.', '-', '_']);
                    let is_domain =
                        domain.contains('.') && (shapes::is_host(domain) || self.parties.own_domain(domain));
                    if !is_domain || is_key(self.str(left, mark)) {
                        continue;
                    }
                    mark + 1 + domain.len()
                }
                (None, b'!') if run(mark + 1) > mark + 1 && shapes::is_host(self.str(left, mark)) => {
                    let more = self.slice(mark, end).iter().position(|b| is_left_delimiter(*b));
                    more.map_or(end, |more| mark + more)
                }
                _ => continue,
            };
            found = Some((left, right, Role::Address));
        }
        found
    }

    /// The role of an address whose mark is written as an escape.
    fn encoded_role(&self, left: usize, mark: usize, after: usize, right: usize) -> Role {
        let local =
            self.str(left, mark).replace("%2B", "+").replace("%2b", "+").replace("%3D", "=").replace("%3d", "=");
        let local = local.rsplit(['=', '/', '?']).next().unwrap_or_default();
        let domain = self.str(after, right).trim_end_matches('.');
        role_of(&format!("{local}@{domain}"), self.parties)
    }
}

/// The length of an `@` that is written as an escape of some kind, at the start of a text.
pub(super) fn encoded_mark(text: &[u8]) -> Option<usize> {
    const MARKS: &[&[u8]] =
        &[b"%2540", b"%40", b"=40", b"(at)", b"[at]", b"&#64;", b"&#x40;", b"&commat;", b"\\u0040", b"\\x40"];
    MARKS
        .iter()
        .find(|mark| text.get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark)))
        .map(|mark| mark.len())
}

/// Names before a `=` whose value is a domain by itself (RFC 8601 section 2.7, DKIM tags).
fn is_key(name: &str) -> bool {
    const KEYS: &[&str] =
        &["d", "domain", "from", "header.d", "header.from", "helo", "host", "ip", "s", "smtp.helo", "smtp.mailfrom"];
    KEYS.iter().any(|key| key.eq_ignore_ascii_case(name))
}

/// What can't stand in an unquoted local part, and ends it on the left.
const fn is_left_delimiter(byte: u8) -> bool {
    matches!(byte, b' ' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b',' | b';' | b':' | b'"')
}
