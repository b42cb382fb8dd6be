//! SMTP replies: the text with its codes, as the receiving side gave it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words;

/// How much of a reply is considered and kept; what comes after is cut at a character boundary.
pub const MAX_REPLY_BYTES: usize = 4096;

words! {
    /// Whether a failure is final by what the receiving side said (RFC 3463 section 2: the class of the status code).
    pub enum FailureClass {
        /// 4xx or 4.x.x: may work later, whether or not the provider has given up.
        Transient = 4, "transient";
        /// 5xx or 5.x.x: the receiving side refused.
        Permanent = 5, "permanent";
        /// No code and no word of the provider.
        Unknown = 0, "unknown";
    }
}

/// An enhanced status code, RFC 3463: `class.subject.detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl EnhancedCode {
    /// Reads exactly `c.s.d`, nothing before or after it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (code, rest) = Self::prefix(text)?;
        rest.is_empty().then_some(code)
    }

    /// Reads `c.s.d` at the start of a text; gives the rest. A fourth group or a further digit makes it no code.
    fn prefix(text: &str) -> Option<(Self, &str)> {
        let (class, rest) = number(text, 1)?;
        if !matches!(class, 2 | 4 | 5) {
            return None;
        }
        let (subject, rest) = number(rest.strip_prefix('.')?, 3)?;
        let (detail, rest) = number(rest.strip_prefix('.')?, 3)?;
        if rest.strip_prefix('.').is_some_and(|tail| tail.starts_with(|c: char| c.is_ascii_digit())) {
            return None;
        }
        Some((Self { class: u8::try_from(class).ok()?, subject, detail }, rest))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// Up to `most` leading digits as a number, and the rest; `None` where there is none, or one digit more.
fn number(text: &str, most: usize) -> Option<(u16, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    if end == 0 || end > most {
        return None;
    }
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

/// What the receiving side said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reply {
    /// The basic code, 200 to 599.
    pub code: Option<u16>,
    /// The enhanced code.
    pub enhanced: Option<EnhancedCode>,
    /// The text as given, with its codes where the provider leaves them in, cut at [`MAX_REPLY_BYTES`].
    pub text: String,
}

impl Reply {
    /// Reads the codes out of a diagnostic text: `smtp; 550 5.1.1 <x>: …`, `550 5.1.1 …`, `550-5.1.1 …`, `5.1.1 …`.
    ///
    /// Only codes at the start count; numbers inside the prose are no codes.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = clip(text.trim());
        let mut rest = text;
        // "smtp;550 …" and "X-Postfix; …": the type of RFC 3464 section 2.3.6, before the diagnostic itself.
        if let Some((kind, tail)) = rest.split_once(';')
            && !kind.is_empty()
            && kind.len() <= 32
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !kind.bytes().all(|b| b.is_ascii_digit())
        {
            rest = tail.trim_start();
        }
        let mut code = None;
        if let Some((value, tail)) = number(rest, 3)
            && (200..600).contains(&value)
            && (tail.is_empty() || tail.starts_with([' ', '-', '\t', '\r', '\n', ':', ',']))
        {
            code = Some(value);
            rest = tail.trim_start_matches([' ', '-', '\t', '\r', '\n', ':', ',', '#']);
        }
        let enhanced = EnhancedCode::prefix(rest.trim_start_matches(['#', '('])).map(|(code, _)| code);
        Self { code, enhanced, text: text.to_owned() }
    }

    /// The same with codes that the provider reports in fields of their own; those fill what the text lacks.
    #[must_use]
    pub fn with_codes(text: &str, code: Option<u16>, enhanced: Option<EnhancedCode>) -> Self {
        let mut reply = Self::parse(text);
        reply.code = reply.code.or_else(|| code.filter(|c| (200..600).contains(c)));
        reply.enhanced = reply.enhanced.or(enhanced);
        reply
    }

    /// Whether it is final, by the basic code, else by the enhanced one.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match (self.code.map(|c| c / 100), self.enhanced.map(|e| e.class)) {
            (Some(5), _) | (None, Some(5)) => FailureClass::Permanent,
            (Some(4), _) | (None, Some(4)) => FailureClass::Transient,
            _ => FailureClass::Unknown,
        }
    }
}

/// The text up to [`MAX_REPLY_BYTES`], cut where a character ends.
fn clip(text: &str) -> &str {
    if text.len() <= MAX_REPLY_BYTES {
        return text;
    }
    let mut end = MAX_REPLY_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(text: &str) -> (Option<u16>, Option<String>) {
        let reply = Reply::parse(text);
        (reply.code, reply.enhanced.map(|e| e.to_string()))
    }

    #[test]
    fn codes_are_read_from_the_start_in_every_usual_dress() {
        let full = (Some(550), Some("5.1.1".to_owned()));
        assert_eq!(codes("550 5.1.1 <a@b.example>: user not found"), full);
        assert_eq!(codes("smtp; 550 5.1.1 <a@b.example>: user not found"), full);
        assert_eq!(codes("smtp;550 5.1.1 user not found"), full);
        assert_eq!(codes("550-5.1.1 user\r\n550 5.1.1 not found"), full);
        assert_eq!(codes("550 #5.1.1 user"), full);
        assert_eq!(codes("5.1.1 <x>: unauthorized sender"), (None, Some("5.1.1".to_owned())));
        assert_eq!(codes("451 [BS02] Temporary server error."), (Some(451), None));
        assert_eq!(codes("550"), (Some(550), None));
        assert_eq!(codes("X-Postfix; host down"), (None, None));
    }

    #[test]
    fn numbers_in_the_prose_are_no_codes() {
        assert_eq!(codes("Mailbox 550 is full"), (None, None));
        assert_eq!(codes("5500 mails refused"), (None, None));
        assert_eq!(codes("550 17.57.152.15 refused"), (Some(550), None), "an IP address is no enhanced code");
        assert_eq!(codes("550 5.1.1.2 x"), (Some(550), None));
        assert_eq!(codes("999 what"), (None, None));
    }

    #[test]
    fn the_basic_code_decides_the_class() {
        assert_eq!(Reply::parse("550 4.2.2 x").class(), FailureClass::Permanent);
        assert_eq!(Reply::parse("4.2.2 x").class(), FailureClass::Transient);
        assert_eq!(Reply::parse("250 2.0.0 ok").class(), FailureClass::Unknown);
        assert_eq!(Reply::with_codes("no codes", Some(550), None).class(), FailureClass::Permanent);
        assert_eq!(
            Reply::with_codes("internal", Some(605), None).code,
            None,
            "provider-internal codes are no SMTP codes"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_cut(text in "\\PC{0,5000}") {
            let reply = Reply::parse(&text);
            prop_assert!(reply.text.len() <= MAX_REPLY_BYTES);
        }

        #[test]
        fn enhanced_codes_round_trip(class in prop::sample::select(vec![2u8, 4, 5]), subject in 0u16..1000, detail in 0u16..1000) {
            let code = EnhancedCode { class, subject, detail };
            prop_assert_eq!(EnhancedCode::parse(&code.to_string()), Some(code));
        }
    }
}
