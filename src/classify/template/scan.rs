//! One pass over a folded reply, word by word.

use super::{
    super::role::{Parties, Role, role_of},
    MAX_TEMPLATE_BYTES,
    locals::Hit,
    shapes::{self, Shape},
};

/// Stands for a blank beside an `@`, so that the address stays one word. Folding leaves no control character of the reply
/// itself, hence it can't be confused with anything.
const BLANK: u8 = 1;
/// Stands for a quote, a parenthesis, or whatever they enclose that would end a word.
const QUOTE: u8 = 2;

/// Every role that a template can hold.
pub(super) const ROLES: &[&str] = &[
    "{recipient}", "{sender}", "{address}", "{ip}", "{id}", "{time}", "{domain}", "{host}", "{url}", "{query}",
];

/// Makes one word of each address that is written with quotes, comments or blanks around its `@`.
pub(super) fn glue_addresses(text: &mut [u8]) {
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

/// The template of a folded reply, at most [`MAX_TEMPLATE_BYTES`] of it.
pub(super) fn scan(text: &[u8], hits: &[Hit], parties: &Parties<'_>) -> Vec<u8> {
    let mut scanner = Scanner { text, hits, parties, out: Vec::with_capacity(text.len() + 64) };
    let mut at = 0;
    while at < text.len() {
        let end = memchr::memchr(b' ', text.get(at..).unwrap_or_default()).map_or(text.len(), |len| at + len);
        let kept = scanner.out.len();
        if let Some(after) = scanner.date(at, end) {
            at = after;
            continue;
        }
        if at > 0 {
            scanner.out.push(b' ');
        }
        scanner.word(at, end);
        if scanner.out.len() > MAX_TEMPLATE_BYTES {
            // A role can be longer than what it stands for.
            scanner.out.truncate(kept);
            break;
        }
        at = end + 1;
    }
    scanner.out
}

/// Whether something in a template may read differently now that there are roles in it: a mark of an address, or a role
/// that touches more than punctuation.
pub(super) fn has_marks(text: &[u8]) -> bool {
    memchr::memchr3(b'@', b'=', b'%', text).is_some()
        || memchr::memchr3(b'!', b'&', b'\\', text).is_some()
        || memchr::memchr_iter(b':', text).any(|at| text.get(at + 1) == Some(&b':'))
        || memchr::memchr2_iter(b'(', b'[', text).any(|at| text.get(at..).and_then(encoded_mark).is_some())
        || memchr::memchr2_iter(b'{', b'}', text).any(|at| {
            let opens = text.get(at) == Some(&b'{');
            let beside = if opens { at.checked_sub(1) } else { Some(at + 1) };
            let allowed: &[u8] = if opens { b" <[('\":;,*?" } else { b" >])'\":;,." };
            beside.and_then(|beside| text.get(beside)).is_some_and(|b| !allowed.contains(b))
        })
}

struct Scanner<'a> {
    text: &'a [u8],
    hits: &'a [Hit],
    parties: &'a Parties<'a>,
    out: Vec<u8>,
}

/// What a word has in it that needs a closer look.
#[derive(Clone, Copy, Default)]
struct Traits {
    at: bool,
    scheme: bool,
    odd: bool,
}

impl Scanner<'_> {
    fn slice(&self, start: usize, end: usize) -> &[u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    fn str(&self, start: usize, end: usize) -> &str {
        std::str::from_utf8(self.slice(start, end)).unwrap_or_default()
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

    /// Whether a party's local part lies in the range, wholly or in part.
    fn hit(&self, start: usize, end: usize) -> Option<Hit> {
        self.hits.iter().copied().find(|hit| hit.start < end && hit.end > start)
    }

    /// `20 Aug 2025`, with the day of the week before it (RFC 5322 section 3.3), when the word is its month: what has been
    /// written of it is taken back. Gives where the next word begins.
    fn date(&mut self, start: usize, end: usize) -> Option<usize> {
        const MONTHS: &[&[u8]] = &[
            b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
        ];
        const DAYS: &[&[u8]] = &[b"mon,", b"tue,", b"wed,", b"thu,", b"fri,", b"sat,", b"sun,"];
        let is = |list: &[&[u8]], word: &[u8]| list.iter().any(|name| name.eq_ignore_ascii_case(word));
        if end - start != 3 || !is(MONTHS, self.slice(start, end)) {
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
        self.out.truncate(from);
        self.put("{time}");
        self.copy(stop, stop + comma);
        Some(stop + comma + 1)
    }

    fn word(&mut self, start: usize, end: usize) {
        let mut traits = Traits::default();
        for (at, byte) in self.slice(start, end).iter().enumerate() {
            match byte {
                b'@' => traits.at = true,
                b'a'..=b'z' | b'A'..=b'Z' | b',' | b'-' | b'\'' | b'(' | b')' | b'[' | b']' => {}
                b':' if self.slice(start + at, end).starts_with(b"://") => traits.scheme = true,
                _ => traits.odd = true,
            }
        }
        if traits.scheme {
            self.with_urls(start, end);
        } else if traits.at {
            self.with_addresses(start, end);
        } else if traits.odd || end - start >= 16 || (!self.hits.is_empty() && self.hit(start, end).is_some()) {
            self.tokens(start, end);
        } else {
            self.copy(start, end);
        }
    }

    /// A word with `://` in it.
    fn with_urls(&mut self, start: usize, end: usize) {
        let mut from = start;
        while let Some(mark) = find(self.slice(from, end), b"://").map(|at| from + at) {
            let letters = self.slice(from, mark).iter().rposition(|b| !b.is_ascii_alphabetic());
            let scheme = letters.map_or(from, |at| from + at + 1);
            self.part(from, scheme);
            let stop = self.url_end(mark + 3, end);
            self.url(scheme, mark + 3, stop);
            from = stop;
        }
        self.part(from, end);
    }

    fn part(&mut self, start: usize, end: usize) {
        if self.slice(start, end).contains(&b'@') {
            self.with_addresses(start, end);
        } else {
            self.tokens(start, end);
        }
    }

    /// Where a URL ends that begins before `from`: at a bracket, quote or comma; final punctuation is not part of it.
    fn url_end(&self, from: usize, end: usize) -> usize {
        let mut stop = from;
        while stop < end && !self.byte(stop).is_some_and(|b| matches!(b, b'<' | b'>' | b'"' | b'(' | b')' | b'[' | b']' | b',' | b'\\')) {
            stop += 1;
        }
        while stop > from && self.byte(stop - 1).is_some_and(|b| matches!(b, b'.' | b';' | b':' | b'!' | b'?' | b'\'' | BLANK | QUOTE)) {
            stop -= 1;
        }
        stop
    }

    /// A URL: of help pages the path stays, all others become `{url}`. Queries and fragments never stay.
    fn url(&mut self, start: usize, host: usize, end: usize) {
        let host_end = self.slice(host, end).iter().position(|b| matches!(b, b'/' | b'?' | b'#')).map_or(end, |at| host + at);
        let path_end = self.slice(host_end, end).iter().position(|b| matches!(b, b'?' | b'#')).map_or(end, |at| host_end + at);
        let plain_path = self.slice(host, path_end).iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'%' | b'='));
        if !plain_path || self.hit(start, path_end).is_some() || !shapes::has_help_pages(self.str(host, host_end)) {
            return self.put("{url}");
        }
        self.copy(start, host_end);
        let mut at = host_end;
        while at < path_end {
            let next = self.slice(at + 1, path_end).iter().position(|b| *b == b'/').map_or(path_end, |len| at + 1 + len);
            self.out.push(b'/');
            self.segment(at + 1, next);
            at = next;
        }
        if path_end < end {
            let mark = self.byte(path_end).unwrap_or(b'?');
            self.out.push(mark);
            self.put("{query}");
        }
    }

    /// One part of a help page's path: `HT204137` stays, what can name a machine, a message or a person goes.
    fn segment(&mut self, start: usize, end: usize) {
        let text = self.str(start, end);
        if ROLES.contains(&text) {
            return self.copy(start, end);
        }
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let simple = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if text.parse::<std::net::IpAddr>().is_ok() {
            self.put("{ip}");
        } else if simple && (digits == 0 && text.len() <= 40 || text.len() <= 10) {
            self.copy(start, end);
        } else {
            self.put("{id}");
        }
    }

    /// A word with `@` in it: each address becomes its role, the rest is looked at token by token.
    fn with_addresses(&mut self, start: usize, end: usize) {
        let mut from = start;
        while from < end {
            let Some(at) = memchr::memchr(b'@', self.slice(from, end)).map(|at| from + at) else { break };
            let mut left = self.slice(from, at).iter().rposition(|b| is_left_delimiter(*b)).map_or(from, |at| from + at + 1);
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
            && self.byte(stop).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@' | BLANK | QUOTE) || !b.is_ascii())
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
        std::str::from_utf8(bytes).map_or(Role::Address, |text| role_of(text, self.parties))
    }

    /// A part of a word without `@`: addresses in disguise first, then token by token.
    fn tokens(&mut self, start: usize, end: usize) {
        let mut from = start;
        while let Some((left, right, role)) = self.disguised(from, end) {
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
            } else if is_token(byte) || self.escape(at, end) || (byte == b':' && self.byte(at + 1) == Some(b':')) {
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
        while stop < end {
            if self.byte(stop).is_some_and(is_token) {
                stop += 1;
            } else if self.escape(stop, end) {
                escaped = true;
                stop += 3;
            } else {
                break;
            }
        }
        if let Some(after) = self.colons(start, stop, end) {
            return after;
        }
        let full = stop;
        while stop > start && self.byte(stop - 1).is_some_and(|b| matches!(b, b'.' | b'-' | b'_')) {
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
        if !self.hits.is_empty()
            && let Some(hit) = self.hit(start, stop)
        {
            let whole = hit.start <= start && hit.end >= stop;
            self.put(if whole { hit.role.token() } else { "{id}" });
            return stop;
        }
        let token = self.str(start, stop);
        if !token.is_ascii() && (token.contains('\u{ff20}') || token.contains('\u{fe6b}')) {
            self.put(Role::Address.token());
            return stop;
        }
        match shapes::shape(token) {
            Shape::Plain => {
                let own = token.contains('.') && self.parties.own_domain(token);
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
        let len = self.slice(start, end).iter().take_while(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')).count();
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
                _ => after = self.slice(start, after).iter().rposition(|b| *b == b':').map_or(stop, |at| start + at + 1),
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
        let len = run.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'+' | b'-' | b'T' | b'Z')).count();
        let kept = run.get(..len).unwrap_or_default();
        from + kept.iter().rposition(|b| !matches!(b, b':' | b'.' | b'-' | b'+')).map_or(0, |at| at + 1)
    }

    /// The first address without an `@`: `local=domain` as in VERP, `host!local`, or the mark written in some other way.
    /// Gives where it begins and ends, and whose it is.
    fn disguised(&self, start: usize, end: usize) -> Option<(usize, usize, Role)> {
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
                    let role = if found.is_some() { Role::Address } else { self.encoded_role(left, mark, mark + len, right) };
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
        let local = self.str(left, mark).replace("%2B", "+").replace("%2b", "+").replace("%3D", "=").replace("%3d", "=");
        let local = local.rsplit(['=', '/', '?']).next().unwrap_or_default();
        let domain = self.str(after, right).trim_end_matches('.');
        role_of(&format!("{local}@{domain}"), self.parties)
    }
}

/// The length of an `@` that is written as an escape of some kind, at the start of a text.
fn encoded_mark(text: &[u8]) -> Option<usize> {
    const MARKS: &[&[u8]] = &[b"%2540", b"%40", b"=40", b"(at)", b"[at]", b"&#64;", b"&#x40;", b"&commat;", b"\\u0040", b"\\x40"];
    MARKS
        .iter()
        .find(|mark| text.get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark)))
        .map(|mark| mark.len())
}

/// Names before a `=` whose value is a domain by itself (RFC 8601 section 2.7, DKIM tags).
fn is_key(name: &str) -> bool {
    const KEYS: &[&str] = &["d", "domain", "from", "header.d", "header.from", "helo", "host", "ip", "s", "smtp.helo", "smtp.mailfrom"];
    KEYS.iter().any(|key| key.eq_ignore_ascii_case(name))
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || !byte.is_ascii()
}

/// What can't stand in an unquoted local part, and ends it on the left.
const fn is_left_delimiter(byte: u8) -> bool {
    matches!(byte, b' ' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b',' | b';' | b':' | b'"')
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}
