//! One pass over a folded reply, word by word.

mod addresses;
mod urls;

pub(super) use self::addresses::glue_addresses;
use self::{addresses::encoded_mark, urls::find};
use super::{
    MAX_TEMPLATE_BYTES,
    locals::{self, Hit},
    shapes::{self, Shape},
};
use crate::classify::role::{Parties, Role};

/// Stands for a blank beside an `@`, so that the address stays one word. Folding leaves no control character of the reply
/// itself, hence it can't be confused with anything.
const BLANK: u8 = 1;
/// Stands for a quote, a parenthesis, or whatever they enclose that would end a word.
const QUOTE: u8 = 2;

/// Every role that a template can hold.
pub(crate) const ROLES: &[&str] =
    &["{recipient}", "{sender}", "{address}", "{ip}", "{id}", "{time}", "{domain}", "{host}", "{url}", "{query}"];

/// The template of a folded reply, at most [`MAX_TEMPLATE_BYTES`] of it.
pub(super) fn scan(text: &[u8], hits: &[Hit], parties: &Parties<'_>) -> Vec<u8> {
    let string = std::str::from_utf8(text).unwrap_or_default();
    let mut scanner = Scanner { text, string, hits, parties, marked: false, out: Vec::with_capacity(text.len() + 64) };
    let mut at = 0;
    while at < text.len() {
        let kept = scanner.out.len();
        at = scanner.some_words(at);
        if scanner.out.len() > MAX_TEMPLATE_BYTES {
            // A role can be longer than what it stands for.
            scanner.out.truncate(kept);
            break;
        }
    }
    scanner.out
}

/// Whether something in a template may read differently now that there are roles in it: a mark of an address, or a role
/// that touches more than punctuation.
pub(super) fn has_marks(text: &[u8], parties: &Parties<'_>) -> bool {
    // What begins with a bracket reads the same behind a role, unless a party's local part is left.
    let mut bracket = false;
    memchr::memchr3(b'@', b'=', b'%', text).is_some()
        || memchr::memchr3(b'!', b'&', b'\\', text).is_some()
        || memchr::memchr_iter(b':', text).any(|at| text.get(at + 1) == Some(&b':'))
        || memchr::memchr2_iter(b'(', b'[', text).any(|at| text.get(at..).and_then(encoded_mark).is_some())
        || memchr::memchr2_iter(b'{', b'}', text).any(|at| {
            let opens = text.get(at) == Some(&b'{');
            let beside = if opens { at.checked_sub(1) } else { Some(at + 1) };
            let allowed: &[u8] = if opens { b" <[('\":;,*?" } else { b" >])'\":;,." };
            let beside = beside.and_then(|beside| text.get(beside));
            if !opens && matches!(beside, Some(b'[' | b'(')) {
                bracket = true;
                return false;
            }
            beside.is_some_and(|b| !allowed.contains(b))
                // What ends an address does not end a URL.
                || opens && beside.is_some_and(|b| matches!(b, b':' | b';' | b'*' | b'?' | b'\'')) && in_path(text, at)
        })
        || bracket && !locals::find(text, parties).is_empty()
}

/// Whether the word has a slash before this place.
fn in_path(text: &[u8], at: usize) -> bool {
    text.get(..at).is_some_and(|head| memchr::memrchr2(b'/', b' ', head).is_some_and(|at| head.get(at) == Some(&b'/')))
}

struct Scanner<'a> {
    text: &'a [u8],
    /// The same.
    string: &'a str,
    /// Those that do not end before the word.
    hits: &'a [Hit],
    parties: &'a Parties<'a>,
    /// Whether the word may hold an address without an `@`.
    marked: bool,
    out: Vec<u8>,
}

/// From this length on a word without anything odd is looked at all the same.
const MAX_PROSE: usize = shapes::MIN_BASE64;

/// The word holds an `@`.
const AT: u8 = 1;
/// The word holds a colon.
const COLON: u8 = 2;
/// The word holds something that prose does not.
const ODD: u8 = 4;
/// The word holds what may stand for an `@`: see [`Scanner::disguised`].
const MARK: u8 = 8;
/// The byte ends the word.
const END: u8 = 16;
/// The byte belongs to a token.
const TOKEN: u8 = 32;
/// The byte is a digit.
const DIGIT: u8 = 64;

/// What each byte tells of its word.
const CLASSES: [u8; 256] = {
    let mut classes = [ODD; 256];
    let mut byte = 0_u8;
    loop {
        let class = &mut classes[byte as usize];
        if byte.is_ascii_alphabetic() || matches!(byte, b',' | b'-' | b'\'' | b'(' | b')' | b'[' | b']') {
            *class = 0;
        }
        if matches!(byte, b'=' | b'%' | b'!' | b'(' | b'[' | b'&' | b'\\') {
            *class |= MARK;
        }
        if is_token(byte) {
            *class |= TOKEN;
        }
        if byte.is_ascii_digit() {
            *class |= DIGIT;
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    classes[b'@' as usize] = AT;
    classes[b':' as usize] = ODD | COLON;
    classes[b' ' as usize] = END;
    classes
};

impl Scanner<'_> {
    fn slice(&self, start: usize, end: usize) -> &[u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    fn str(&self, start: usize, end: usize) -> &str {
        self.string.get(start..end).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn copy(&mut self, start: usize, end: usize) {
        self.out.extend_from_slice(self.text.get(start..end).unwrap_or_default());
    }

    fn put(&mut self, role: &str) {
        self.out.extend_from_slice(role.as_bytes());
    }

    /// Writes the words from `at` on that stay as they are, or else one that may not. Gives where the next one begins.
    fn some_words(&mut self, at: usize) -> usize {
        while let [hit, rest @ ..] = self.hits
            && hit.end <= at
        {
            self.hits = rest;
        }
        if let Some(end) = self.prose(at) {
            let kept = self.out.len();
            self.blank(at);
            let room = MAX_TEMPLATE_BYTES.saturating_sub(self.out.len());
            if end - at > room {
                // The last words do not fit.
                let fits = memchr::memrchr(b' ', self.slice(at, at + room + 1));
                self.out.truncate(kept);
                if let Some(len) = fits {
                    self.blank(at);
                    self.copy(at, at + len);
                }
                return self.text.len();
            }
            self.copy(at, end);
            return end + 1;
        }
        let rest = self.text.get(at..).unwrap_or_default();
        let mut traits = 0;
        let len = rest.iter().position(|byte| {
            let class = CLASSES[usize::from(*byte)];
            traits |= class;
            class == END
        });
        let end = len.map_or(self.text.len(), |len| at + len);
        if let Some(after) = self.date(at, end) {
            return after;
        }
        self.blank(at);
        self.word(at, end, traits);
        end + 1
    }

    /// What parts the word that begins at `at` from the one before it.
    fn blank(&mut self, at: usize) {
        if at > 0 {
            self.out.push(b' ');
        }
    }

    /// Where the last of the words from `at` on ends that are certain to stay as they are.
    fn prose(&self, at: usize) -> Option<usize> {
        let limit = self.hits.first().map_or(self.text.len(), |hit| hit.start);
        let mut word = at;
        let mut stop = at;
        for byte in self.slice(at, limit) {
            let class = CLASSES[usize::from(*byte)];
            if class & (ODD | AT | COLON) != 0 || stop - word >= MAX_PROSE {
                break;
            }
            stop += 1;
            word = if class == END { stop } else { word };
        }
        if stop == self.text.len() && (1..MAX_PROSE).contains(&(stop - word)) {
            return Some(stop);
        }
        let end = word.checked_sub(1).filter(|end| *end >= at)?;
        // A word before digits may be a month.
        let last = memchr::memrchr(b' ', self.slice(at, end)).map_or(at, |blank| at + blank + 1);
        if end - last == 3 && self.byte(word).is_some_and(|byte| byte.is_ascii_digit()) {
            return last.checked_sub(1).filter(|end| *end >= at);
        }
        Some(end)
    }

    /// The first party's local part that lies in the range, wholly or in part.
    fn hit(&self, start: usize, end: usize) -> Option<Hit> {
        self.hits.iter().copied().take_while(|hit| hit.start < end).find(|hit| hit.end > start)
    }

    /// `20 Aug 2025`, with the day of the week before it (RFC 5322 section 3.3), when the word is its month: what has been
    /// written of it is taken back. Gives where the next word begins.
    fn date(&mut self, start: usize, end: usize) -> Option<usize> {
        const TIME: &str = "{time}";
        const MONTHS: &[&[u8]] =
            &[b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
        const DAYS: &[&[u8]] = &[b"mon,", b"tue,", b"wed,", b"thu,", b"fri,", b"sat,", b"sun,"];
        let is = |list: &[&[u8]], word: &[u8]| list.iter().any(|name| name.eq_ignore_ascii_case(word));
        if end - start != 3
            || !self.byte(end + 1).is_some_and(|b| b.is_ascii_digit())
            || !is(MONTHS, self.slice(start, end))
        {
            return None;
        }
        let year = self.slice(end + 1, end + 5);
        if year.len() != 4 || !year.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let stop = end + 5;
        let comma = usize::from(matches!(self.byte(stop), Some(b',' | b'.' | b';' | b')')));
        if !matches!(self.byte(stop + comma), None | Some(b' ')) {
            return None;
        }
        let day = memchr::memrchr(b' ', &self.out).map_or(0, |at| at + 1);
        let digits = self.out.get(day..)?;
        if !matches!(digits.len(), 1 | 2) || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut from = day;
        if from >= 5
            && self.out.get(from - 5..from - 1).is_some_and(|word| is(DAYS, word))
            && self.out.get(..from - 5).is_some_and(|head| head.is_empty() || head.ends_with(b" "))
        {
            from -= 5;
        }
        if from + TIME.len() + comma > MAX_TEMPLATE_BYTES {
            return None;
        }
        self.out.truncate(from);
        self.put(TIME);
        self.copy(stop, stop + comma);
        Some(stop + comma + 1)
    }

    fn word(&mut self, start: usize, end: usize, traits: u8) {
        self.marked = traits & MARK != 0;
        if traits & COLON != 0 && find(self.slice(start, end), b"://").is_some() {
            self.with_urls(start, end);
        } else if traits & AT != 0 {
            self.with_addresses(start, end);
        } else if traits & ODD != 0 || end - start >= MAX_PROSE || self.hits.first().is_some_and(|hit| hit.start < end)
        {
            self.tokens(start, end);
        } else {
            self.copy(start, end);
        }
    }

    fn part(&mut self, start: usize, end: usize) {
        if self.slice(start, end).contains(&b'@') {
            self.with_addresses(start, end);
        } else {
            self.tokens(start, end);
        }
    }

    /// A part of a word without `@`: addresses in disguise first, then token by token.
    fn tokens(&mut self, start: usize, end: usize) {
        let mut from = start;
        while self.marked
            && let Some((left, right, role)) = self.disguised(from, end)
        {
            self.plain(from, left);
            self.put(role.token());
            from = right;
        }
        self.plain(from, end);
    }

    fn plain(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let Some(byte) = self.byte(at) else { break };
            if byte == b'{'
                && let Some(role) = ROLES.iter().find(|role| self.slice(at, end).starts_with(role.as_bytes()))
            {
                self.put(role);
                at += role.len();
            } else if CLASSES[usize::from(byte)] & TOKEN != 0
                || self.escape(at, end)
                || (byte == b':' && self.byte(at + 1) == Some(b':'))
            {
                at = self.token(at, end);
            } else {
                // What was glued for an address that turned out to be none.
                self.out.push(match byte {
                    BLANK => b' ',
                    QUOTE => b'"',
                    byte => byte,
                });
                at += 1;
            }
        }
    }

    /// Whether a percent escape begins here.
    fn escape(&self, at: usize, end: usize) -> bool {
        matches!(self.slice(at, end), [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    }

    /// One token from `start` on; gives where it ends.
    fn token(&mut self, start: usize, end: usize) -> usize {
        let mut stop = start;
        let mut escaped = false;
        let (mut digits, mut dots, mut all) = (0, 0, 0);
        loop {
            for byte in self.slice(stop, end) {
                let class = CLASSES[usize::from(*byte)];
                if class & TOKEN == 0 {
                    break;
                }
                digits += usize::from(class & DIGIT != 0);
                dots += usize::from(*byte == b'.');
                all |= *byte;
                stop += 1;
            }
            if !self.escape(stop, end) {
                break;
            }
            escaped = true;
            stop += 3;
        }
        if let Some(after) = self.colons(start, stop, end) {
            return after;
        }
        let full = stop;
        while stop > start
            && let Some(last @ (b'.' | b'-' | b'_')) = self.byte(stop - 1)
        {
            dots -= usize::from(last == b'.');
            stop -= 1;
        }
        if stop == start {
            self.copy(start, full);
            return full;
        }
        if escaped {
            // Nothing that anybody has to read.
            self.put("{id}");
            return stop;
        }
        if let Some(hit) = self.hit(start, stop) {
            let whole = hit.start <= start && hit.end >= stop;
            self.put(if whole { hit.role.token() } else { "{id}" });
            return stop;
        }
        if digits == 0 && dots == 0 && all.is_ascii() && stop - start < MAX_PROSE {
            self.copy(start, stop);
            return stop;
        }
        let token = self.str(start, stop);
        if !all.is_ascii() && (token.contains('\u{ff20}') || token.contains('\u{fe6b}')) {
            self.put(Role::Address.token());
            return stop;
        }
        match shapes::shape(token, digits, dots) {
            Shape::Plain => {
                let own = dots > 0 && self.parties.own_domain(token);
                if own { self.put("{domain}") } else { self.copy(start, stop) }
            }
            Shape::Ip => self.put("{ip}"),
            Shape::Id => self.put("{id}"),
            Shape::Time => {
                self.put("{time}");
                return self.rest_of_time(stop, end);
            }
            Shape::Host => {
                if self.byte(stop) == Some(b'/') && stop + 1 < end {
                    let after = self.url_end(stop, end);
                    self.url(start, start, after);
                    return after;
                }
                self.host(start, stop, end);
            }
        }
        stop
    }

    fn host(&mut self, start: usize, stop: usize, end: usize) {
        let host = self.str(start, stop);
        let possessive = matches!(self.slice(stop, end), [b'\'', b's' | b'S', ..]);
        if shapes::is_well_known(host) {
            self.copy(start, stop);
        } else if possessive || self.parties.own_domain(host) {
            self.put("{domain}");
        } else {
            self.put("{host}");
        }
    }

    /// An IPv6 address or a time of day, which have colons; gives where it ends.
    fn colons(&mut self, start: usize, stop: usize, end: usize) -> Option<usize> {
        if self.byte(stop) != Some(b':') || stop >= end || !self.slice(start, stop).iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let len =
            self.slice(start, end).iter().take_while(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')).count();
        let mut after = start + len;
        while after > stop + 1 {
            match shapes::colon_shape(self.str(start, after)) {
                Some(Shape::Ip) => {
                    self.put("{ip}");
                    return Some(after);
                }
                Some(Shape::Time) => {
                    self.put("{time}");
                    return Some(self.rest_of_time(after, end));
                }
                // What follows the last colon may not belong to it.
                _ if matches!(self.byte(after - 1), Some(b':' | b'.')) => after -= 1,
                _ => {
                    after = self.slice(start, after).iter().rposition(|b| *b == b':').map_or(stop, |at| start + at + 1);
                }
            }
        }
        if self.byte(start) == Some(b':') {
            self.out.push(b':');
            return Some(start + 1);
        }
        None
    }

    /// Where the digits, colons, signs and zone that belong to a time end.
    fn rest_of_time(&self, from: usize, end: usize) -> usize {
        let run = self.slice(from, end);
        let len = run
            .iter()
            .take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'+' | b'-' | b'T' | b'Z'))
            .count();
        let kept = run.get(..len).unwrap_or_default();
        from + kept.iter().rposition(|b| !matches!(b, b':' | b'.' | b'-' | b'+')).map_or(0, |at| at + 1)
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || !byte.is_ascii()
}
