//! What an event is made of: whom it concerns, what the receiving side said, what makes it the same event.

use super::{Aside, Scalar, text};
use crate::{
    ingest::SetAsideReason,
    model::{Address, DedupeMaterial, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The recipient of an event of type `kind`.
pub(in crate::ingest::http) fn recipient(
    field: Option<Scalar<'_>>,
    at: Timestamp,
    kind: &str,
) -> Result<Address, Aside> {
    let Some(text) = text(field) else { return Err(Aside::new(SetAsideReason::NoRecipient, kind).at(at)) };
    Address::parse(&text).map_err(|_| Aside::new(SetAsideReason::Malformed, kind).at(at))
}

/// What the receiving side said, out of a text in which the provider has wrapped it: `bounced (550 5.1.1 …)`,
/// `RecipientError: 550 5.1.1 …`. A text with no code inside is given as it is.
pub(in crate::ingest::http) fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    let is_words = |words: &str| {
        let words = words.trim();
        !words.is_empty() && words.len() <= 32 && words.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ')
    };
    let has_code = |inner: &str| Reply::parse(inner).code.is_some();
    if let Some((words, tail)) = text.split_once('(')
        && let Some(inner) = tail.strip_suffix(')')
        && is_words(words)
        && has_code(inner)
    {
        return inner.trim();
    }
    match text.split_once(':') {
        Some((words, tail)) if is_words(words) && has_code(tail) => tail.trim(),
        _ => text,
    }
}

/// What a failure is that the provider calls `kind`: what it calls deferred, or a soft bounce, is refused where the reply is final. At
/// the relay such labels are not to be relied on (observed: "soft", to a 550).
pub(in crate::ingest::http) fn unless_final(kind: EventKind, reply: Option<&Reply>) -> EventKind {
    match kind {
        EventKind::Deferred if reply.is_some_and(|reply| reply.class() == FailureClass::Permanent) => {
            EventKind::Refused
        }
        kind => kind,
    }
}

/// Words of the provider's own, where the receiving side was not asked: their codes would pass for its.
pub(in crate::ingest::http) fn own_words(text: &str) -> Reply {
    Reply { code: None, enhanced: None, text: Reply::parse(text).text }
}

/// What makes an event the same event where the provider gives it no id: its content.
pub(in crate::ingest::http) fn by_content(
    provider: Provider,
    message_id: Option<&str>,
    recipient: &Address,
    word: &str,
    at: Timestamp,
    said: &str,
) -> DedupeMaterial {
    let at = at.as_millis().to_string();
    DedupeMaterial::new(provider, &["content", message_id.unwrap_or_default(), &recipient.key(), word, &at, said])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_taken_out_of_the_providers_wrapping() {
        for (text, said) in [
            ("bounced (550 5.1.1 <a@b.example>: x (y))", "550 5.1.1 <a@b.example>: x (y)"),
            (" soft bounce (450 4.2.0 later)", "450 4.2.0 later"),
            (" RecipientError: 550 5.1.1 x", "550 5.1.1 x"),
            ("550 5.1.1 a: 550 b", "550 5.1.1 a: 550 b"),
            ("smtp; 550 5.1.1 x", "smtp; 550 5.1.1 x"),
            ("blocked (by a list)", "blocked (by a list)"),
            ("note: see 550", "note: see 550"),
        ] {
            assert_eq!(unwrapped(text), said);
        }
    }
}
