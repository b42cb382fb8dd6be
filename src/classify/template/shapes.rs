//! What one token looks like: an IP address, a host, an id, a time, or plain words.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Prose, a code, a short number: stays.
    Plain,
    /// An IP address.
    Ip,
    /// A host name.
    Host,
    /// A queue id, a transaction id, a hash, a long number.
    Id,
    /// A date, with or without the time.
    Time,
}

/// From this length on a token of letters and digits is an id.
const MIN_ID: usize = 8;
/// From this many digits on a number is an id.
const MIN_NUMBER: usize = 5;
/// No word of prose is longer.
const MAX_WORD: usize = 32;
/// From this length on a run of letters is looked at for the case changes of base64.
pub(super) const MIN_BASE64: usize = 16;

/// Tokens with digits that mean the same in every reply.
const FIXED: &[&str] = &["8bitmime", "iso-8859-1", "smtputf8", "us-ascii7", "windows-1252"];

/// Top-level domains of more than two letters that hosts in replies lie under; two letters are a country. Sorted.
const TOP_LEVEL: &[&str] = &[
    "app",
    "arpa",
    "biz",
    "blog",
    "cloud",
    "club",
    "com",
    "corp",
    "dev",
    "digital",
    "edu",
    "email",
    "example",
    "goog",
    "gov",
    "group",
    "home",
    "info",
    "int",
    "internal",
    "invalid",
    "io",
    "lan",
    "local",
    "localdomain",
    "mail",
    "media",
    "microsoft",
    "mil",
    "mobi",
    "name",
    "net",
    "network",
    "news",
    "online",
    "org",
    "pro",
    "shop",
    "site",
    "solutions",
    "store",
    "tech",
    "test",
    "tokyo",
    "top",
    "travel",
    "world",
    "xyz",
];

/// Domains that stand for an operator and not for one machine or sender: they stay where they stand alone. Sorted.
const WELL_KNOWN: &[&str] = &[
    "amazonses.com",
    "aol.com",
    "apple.com",
    "gmail.com",
    "google.com",
    "hotmail.com",
    "icloud.com",
    "live.com",
    "mac.com",
    "mailgun.org",
    "me.com",
    "microsoft.com",
    "outlook.com",
    "private.icloud.com",
    "privaterelay.appleid.com",
    "sendgrid.net",
    "spamcop.net",
    "spamhaus.org",
    "sparkpostmail.com",
    "yahoo.com",
];

/// Operators whose help pages tell causes apart: the path stays. Each two labels; sorted.
const HELP_PAGES: &[&str] = &[
    "aol.com",
    "apple.com",
    "barracudacentral.org",
    "google.com",
    "live.com",
    "microsoft.com",
    "mimecast.com",
    "office.com",
    "outlook.com",
    "proofpoint.com",
    "spamcop.net",
    "spamhaus.com",
    "spamhaus.org",
    "yahoo.com",
    "yahooinc.com",
];

/// The shape of a token of letters, digits, `.`, `-`, `_` and bytes beyond ASCII, with as many digits and dots in it.
pub(super) fn shape(token: &str, digits: usize, dots: usize) -> Shape {
    let bytes = token.as_bytes();
    if digits == bytes.len() {
        return if digits >= MIN_NUMBER { Shape::Id } else { Shape::Plain };
    }
    if digits == 0 && dots == 0 {
        return if is_random_letters(bytes) { Shape::Id } else { Shape::Plain };
    }
    if digits + dots == bytes.len() {
        return if dots == 3 && token.parse::<Ipv4Addr>().is_ok() {
            Shape::Ip
        } else if digits >= MIN_NUMBER && bytes.split(|b| *b == b'.').any(|part| part.len() >= MIN_NUMBER) {
            Shape::Id
        } else {
            Shape::Plain
        };
    }
    if starts_with_date(bytes) {
        return Shape::Time;
    }
    if dots > 0 && is_host(token) {
        return Shape::Host;
    }
    if digits > 0 && bytes.len() >= MIN_ID {
        let fixed = FIXED.iter().any(|fixed| fixed.eq_ignore_ascii_case(token));
        return if fixed { Shape::Plain } else { Shape::Id };
    }
    if digits >= MIN_NUMBER || is_random_letters(bytes) { Shape::Id } else { Shape::Plain }
}

/// Whether some run of letters is too long, or changes its case too often, for a word.
fn is_random_letters(bytes: &[u8]) -> bool {
    if bytes.len() < MIN_BASE64 {
        return false;
    }
    bytes.split(|b| !b.is_ascii_alphabetic() && b.is_ascii()).any(|run| {
        let rises =
            run.windows(2).filter(|pair| matches!(pair, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase()));
        run.len() > MAX_WORD && run.is_ascii() || run.len() >= MIN_BASE64 && rises.count() * 6 >= run.len()
    })
}

/// `2025-08-20`, and what begins with it.
pub(super) fn starts_with_date(bytes: &[u8]) -> bool {
    let Some(head) = bytes.get(..10) else { return false };
    head.iter().enumerate().all(|(at, b)| if at == 4 || at == 7 { *b == b'-' } else { b.is_ascii_digit() })
        && !bytes.get(10).is_some_and(u8::is_ascii_digit)
}

/// Whether a token has the form of a host name under a plausible top-level domain.
pub(super) fn is_host(token: &str) -> bool {
    let Some((rest, top)) = token.rsplit_once('.') else { return false };
    if top.len() < 2 || rest.is_empty() || rest.split('.').any(str::is_empty) {
        return false;
    }
    // "not found.In case of": a capital begins a sentence, not a domain.
    let prose = top.starts_with(|c: char| c.is_ascii_uppercase()) && top.ends_with(|c: char| c.is_ascii_lowercase());
    if top.len() == 2 {
        return top.bytes().all(|b| b.is_ascii_alphabetic()) && !prose;
    }
    listed(TOP_LEVEL, top.as_bytes()) && !prose || top.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("xn--"))
}

/// Whether a host name stands for its operator.
pub(super) fn is_well_known(host: &str) -> bool {
    listed(WELL_KNOWN, host.as_bytes())
}

/// Whether pages of this host explain replies.
pub(super) fn has_help_pages(host: &str) -> bool {
    let host = host.as_bytes();
    let domain = memchr::memrchr_iter(b'.', host).nth(1).and_then(|dot| host.get(dot + 1..)).unwrap_or(host);
    listed(HELP_PAGES, domain)
}

/// Whether a sorted list of words in lower case has this one, in whatever case.
pub(super) fn listed(list: &[&str], word: &[u8]) -> bool {
    /// The longest word of any list.
    const LONGEST: usize = 24;
    let mut lower = [0; LONGEST];
    let Some(lower) = lower.get_mut(..word.len()) else { return false };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    list.binary_search_by(|known| known.as_bytes().cmp(lower)).is_ok()
}

/// What a run of hexadecimal digits, colons and dots is: an IPv6 address or a time of day.
pub(super) fn colon_shape(run: &str) -> Option<Shape> {
    let colons = run.bytes().filter(|b| *b == b':').count();
    if colons >= 2 && run.len() >= 3 && run.len() <= 45 && run.parse::<Ipv6Addr>().is_ok() {
        return Some(Shape::Ip);
    }
    let mut parts = run.split(':');
    let hour = parts.next().unwrap_or_default();
    let clock = (1..=2).contains(&colons)
        && matches!(hour.len(), 1 | 2)
        && hour.bytes().all(|b| b.is_ascii_digit())
        && parts.all(|part| {
            let whole = part.split('.').next().unwrap_or_default();
            whole.len() == 2 && part.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        });
    clock.then_some(Shape::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_the_shapes_that_replies_show() {
        for (token, expected) in [
            ("5.1.1", Shape::Plain),
            ("550", Shape::Plain),
            ("4.7.650", Shape::Plain),
            ("192.0.2.1", Shape::Ip),
            ("1700000000", Shape::Id),
            ("authentication", Shape::Plain),
            ("double-checking", Shape::Plain),
            ("HME1", Shape::Plain),
            ("smtp3", Shape::Plain),
            ("SMTPUTF8", Shape::Plain),
            ("4fbc0af0-417e-4180-91d8-66754d53a162", Shape::Id),
            ("4BcXyz1234", Shape::Id),
            ("1abcDE-0001xy-AB", Shape::Id),
            ("aGVsbG8gd29ybGQgdGhpcyBpcw", Shape::Id),
            ("emhXakTuZGtvemhSWxkbm", Shape::Id),
            ("OnAccountSuppressionList", Shape::Plain),
            ("mx01.mail.icloud.com", Shape::Host),
            ("example.jp", Shape::Host),
            ("EXAMPLE.JP", Shape::Host),
            ("dnsbl-lookup.cgi", Shape::Plain),
            ("found.In", Shape::Plain),
            ("e.g", Shape::Plain),
            ("x.y.z.a", Shape::Plain),
            ("2025-08-20", Shape::Time),
            ("2025-08-20T12", Shape::Time),
            ("a17-20020a056512.123", Shape::Id),
        ] {
            let count = |of: fn(&u8) -> bool| token.bytes().filter(of).count();
            let (digits, dots) = (count(u8::is_ascii_digit), count(|b| *b == b'.'));
            assert_eq!(shape(token, digits, dots), expected, "{token}");
        }
    }

    #[test]
    fn lists_are_sorted_and_read_in_any_case() {
        for list in [TOP_LEVEL, WELL_KNOWN, HELP_PAGES] {
            assert!(list.is_sorted());
            assert!(
                list.iter().all(|word| listed(list, word.to_ascii_uppercase().as_bytes())),
                "the longest word fits"
            );
        }
        assert!(HELP_PAGES.iter().all(|domain| domain.matches('.').count() == 1));
        assert!(has_help_pages("Support.Apple.com") && has_help_pages("apple.com") && !has_help_pages("xapple.com"));
        assert!(!has_help_pages("apple.com.example.org") && !has_help_pages("") && !has_help_pages("com"));
    }

    #[test]
    fn colons_are_addresses_or_times() {
        assert_eq!(colon_shape("2001:db8::1"), Some(Shape::Ip));
        assert_eq!(colon_shape("::1"), Some(Shape::Ip));
        assert_eq!(colon_shape("12:34:56"), Some(Shape::Time));
        assert_eq!(colon_shape("12:34:56.789"), Some(Shape::Time));
        assert_eq!(colon_shape("ad:hoc"), None);
        assert_eq!(colon_shape("1:"), None);
    }
}
