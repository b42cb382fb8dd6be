//! The codes of a reply wherever reporters leave them: at its start, behind the host that said it, in quotes, in brackets at the
//! end.
//!
//! A basic code counts only where a reply can begin, and an enhanced one only behind a basic code, at the start or in brackets,
//! so that a number of the prose is none.

use std::sync::LazyLock;

use regex::Regex;

use super::{fields::cut, regex};
use crate::model::{EnhancedCode, MAX_REPLY_BYTES, Reply};

/// Basic and enhanced code side by side: `550 5.1.1`, `550-5.1.1`, `550 #5.1.1`, `550-'5.1.1`.
static PAIR: LazyLock<Regex> = regex!(
    r#"(^|[^0-9.])([2-5][0-9]{2})[ \t]*[-:;,]?[ \t]*[#('"<]{0,2}([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[^0-9.]|\.[^0-9]|\.?$)"#
);
/// A basic code where a reply begins.
static LEAD: LazyLock<Regex> = regex!(
    r#"(?i)(?:^[#('"]{0,2}|\][:,]? ?|\bsaid:? |\bwas:? |\bwith:? |\breturned:? |\bfailure:? |\berror:? |\bresponse:? |(?:\b|_)code ?:? ?|\bfollows:? ?\[?|\breason:? |<<< |>: |: |['"<])([2-5][0-9]{2})(?:[ \t-]|[:;,.]|$)"#
);
/// An enhanced code in brackets, behind a number sign, or at the start.
static ENHANCED: LazyLock<Regex> =
    regex!(r#"(?:^|[#(<\['"]|: ?)([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ \t)>\]'":;,-]|\.[^0-9]|\.?$)"#);

/// A reply within the line that Sendmail makes of it: `554 <jo@example.net>... 550 Host unknown`.
static WITHIN: LazyLock<Regex> = regex!(r"^[45][0-9]{2}[ -].{3,330}\.\.\. ([45][0-9]{2}) ");

/// The text from which a reply is read: without the type of RFC 3464, cut.
fn bare(text: &str) -> &str {
    cut(super::fields::typed(text.trim()).1, MAX_REPLY_BYTES)
}

/// Where in a text a reply begins, in bytes: at its codes.
pub(super) fn begins(text: &str) -> Option<usize> {
    let pair = PAIR.captures(text).and_then(|found| found.get(2)).map(|found| found.start());
    let lead = LEAD.captures(text).and_then(|found| found.get(1)).map(|found| found.start());
    match (pair, lead) {
        (Some(pair), Some(lead)) => Some(pair.min(lead)),
        (pair, lead) => pair.or(lead),
    }
}

/// Reads a diagnostic text, with whatever stands before the reply.
pub(super) fn read(text: &str) -> Reply {
    let text = bare(text).replace('\0', " ");
    let flat = text.replace(['\r', '\n'], " ");
    let mut reply = Reply::parse(&text);
    let mut pairs = PAIR.captures_iter(&flat).filter_map(|found| {
        Some((
            found.get(1)?.as_str().to_owned(),
            found.get(2)?.as_str().parse().ok()?,
            EnhancedCode::parse(found.get(3)?.as_str())?,
        ))
    });
    // The reporter's own words around those of the receiving side: `554 4.4.7 Message expired: … <421 4.4.2 …>`.
    let first = pairs.next();
    let inner = pairs.find(|(before, ..)| before == "<");
    if let Some((_, code, enhanced)) = inner.or(first) {
        (reply.code, reply.enhanced) = (Some(code), Some(enhanced));
        return reply;
    }
    if let Some(code) =
        WITHIN.captures(&flat).and_then(|found| found.get(1)).and_then(|found| found.as_str().parse().ok())
    {
        reply.code = Some(code);
    }
    if reply.code.is_none() {
        let lead = LEAD.captures(&flat).and_then(|found| found.get(1)).and_then(|found| found.as_str().parse().ok());
        reply.code = lead;
    }
    if reply.enhanced.is_none() {
        let found = ENHANCED.captures(&flat).and_then(|found| found.get(1));
        reply.enhanced = found.and_then(|found| EnhancedCode::parse(found.as_str()));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> (Option<u16>, Option<String>) {
        let reply = read(text);
        (reply.code, reply.enhanced.map(|code| code.to_string()))
    }

    #[test]
    fn codes_are_found_where_a_reply_begins() {
        let full = |code, enhanced: &str| (Some(code), Some(enhanced.to_owned()));
        for (text, expected) in [
            ("smtp; 550 5.1.1 <jo@example.net>... User unknown", full(550, "5.1.1")),
            ("host mx.example.net[192.0.2.1] said: 550 5.1.1 no such user", full(550, "5.1.1")),
            ("smtp; 554 4.4.7 Message expired.<421 4.4.2 Connection timed out>", full(421, "4.4.2")),
            ("smtp; 5.1.0 - Unknown address error 550-'5.7.1 Access denied'", full(550, "5.7.1")),
            ("554 554 5.7.0 Header error", full(554, "5.7.0")),
            ("552 sorry, the mailbox is over quota (#5.2.2)", full(552, "5.2.2")),
            ("Remote Server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound'", full(550, "5.1.10")),
            ("smtp;550 : User unknown", (Some(550), None)),
            ("554 <jo@example.net>... 550 Host unknown (Authoritative answer)", (Some(550), None)),
            ("the message of 512 bytes was sent at 5.30", (None, None)),
            ("host 192.0.2.250 did not answer for 550 seconds", (None, None)),
        ] {
            assert_eq!(codes(text), expected, "{text}");
        }
    }
}
