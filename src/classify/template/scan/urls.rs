//! URLs: those of help pages stay, without what they carry.

use super::{BLANK, QUOTE, ROLES, Scanner};
use crate::classify::template::shapes;

impl Scanner<'_> {
    /// A word with `://` in it.
    pub(super) fn with_urls(&mut self, start: usize, end: usize) {
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

    /// Where a URL ends that begins before `from`: at a bracket, quote or comma; final punctuation is not part of it.
    pub(super) fn url_end(&self, from: usize, end: usize) -> usize {
        let mut stop = from;
        while stop < end
            && !self
                .byte(stop)
                .is_some_and(|b| matches!(b, b'<' | b'>' | b'"' | b'(' | b')' | b'[' | b']' | b',' | b'\\'))
        {
            stop += 1;
        }
        while stop > from
            && self
                .byte(stop - 1)
                .is_some_and(|b| matches!(b, b'.' | b';' | b':' | b'!' | b'?' | b'\'' | BLANK | QUOTE))
        {
            stop -= 1;
        }
        stop
    }

    /// A URL: of help pages the path stays, all others become `{url}`. Of queries and fragments only a topic stays.
    pub(super) fn url(&mut self, start: usize, host: usize, end: usize) {
        let host_end =
            self.slice(host, end).iter().position(|b| matches!(b, b'/' | b'?' | b'#')).map_or(end, |at| host + at);
        let path_end =
            self.slice(host_end, end).iter().position(|b| matches!(b, b'?' | b'#')).map_or(end, |at| host_end + at);
        let plain_path =
            self.slice(host, path_end).iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'%' | b'='));
        if !plain_path || self.hit(start, path_end).is_some() || !shapes::has_help_pages(self.str(host, host_end)) {
            return self.put("{url}");
        }
        self.copy(start, host_end);
        let mut at = host_end;
        while at < path_end {
            let next =
                self.slice(at + 1, path_end).iter().position(|b| *b == b'/').map_or(path_end, |len| at + 1 + len);
            self.out.push(b'/');
            self.segment(at + 1, next);
            at = next;
        }
        if self.is_topic(path_end, end) {
            self.copy(path_end, end);
        } else if path_end < end {
            let mark = self.byte(path_end).unwrap_or(b'?');
            self.out.push(mark);
            self.put("{query}");
        }
    }

    /// Whether the query names no more than the topic of a help page, as in Google's `?p=OverQuotaPerm`: one word.
    fn is_topic(&self, start: usize, end: usize) -> bool {
        const MAX_TOPIC: usize = 32;
        let word = self.slice(start, end).strip_prefix(b"?p=").unwrap_or_default();
        (1..=MAX_TOPIC).contains(&word.len())
            && word.iter().all(u8::is_ascii_alphabetic)
            && self.hit(start, end).is_none()
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
}

pub(super) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}
