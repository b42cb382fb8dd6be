//! The local parts of the parties, wherever a reply mentions them without their domain.

use super::{
    super::role::{Parties, Role},
    shapes,
};
use crate::model::Address;

/// A place in the folded reply that holds a party's local part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) role: Role,
}

/// The shortest local part that is looked for; shorter ones are in every text.
const MIN_LOCAL: usize = 3;
/// From this length on a local part with digits counts also inside a longer run of letters and digits.
const MIN_INSIDE: usize = 6;

/// Words that replies are made of, and mailbox names of companies. As a local part they are nobody's secret, and masking
/// them would take the wording away. Sorted.
const VOCABULARY: &[&str] = &[
    "abuse",
    "access",
    "account",
    "address",
    "admin",
    "alias",
    "authentication",
    "bad",
    "best",
    "billing",
    "block",
    "blocked",
    "bounce",
    "bounced",
    "bounces",
    "connection",
    "connections",
    "contact",
    "content",
    "customer",
    "deferred",
    "delivery",
    "denied",
    "dmarc",
    "domain",
    "email",
    "error",
    "errors",
    "exist",
    "failed",
    "failing",
    "feedback",
    "forwarding",
    "found",
    "full",
    "hello",
    "host",
    "illegal",
    "inactive",
    "info",
    "invalid",
    "local",
    "mail",
    "mailbox",
    "mailer",
    "mailer-daemon",
    "marketing",
    "message",
    "messages",
    "name",
    "news",
    "newsletter",
    "no-reply",
    "noreply",
    "not",
    "notification",
    "notifications",
    "orders",
    "permitted",
    "policy",
    "postmaster",
    "present",
    "quota",
    "recipient",
    "record",
    "rejected",
    "relay",
    "reply",
    "return",
    "sales",
    "security",
    "send",
    "sender",
    "server",
    "service",
    "spam",
    "spamhaus",
    "support",
    "suppressed",
    "team",
    "temporary",
    "the",
    "this",
    "transformation",
    "try",
    "unauthorized",
    "unavailable",
    "unknown",
    "unsubscribe",
    "update",
    "updates",
    "user",
    "volume",
    "your",
];

/// Every place of the folded reply that holds the local part of a party, in order.
pub(super) fn find(text: &[u8], parties: &Parties<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    let all = [
        (parties.recipient, Role::Recipient),
        (parties.envelope_sender, Role::Sender),
        (parties.header_from, Role::Sender),
    ];
    for (address, role) in all {
        if let Some(local) = address.map(Address::local) {
            find_local(text, local.trim_matches('"').as_bytes(), role, &mut hits);
        }
    }
    if hits.len() > 1 {
        hits.sort_unstable_by_key(|hit| (hit.start, hit.end));
    }
    hits
}

fn find_local(text: &[u8], local: &[u8], role: Role, hits: &mut Vec<Hit>) {
    if local.len() < MIN_LOCAL || is_vocabulary(local) {
        return;
    }
    // Letters alone could be part of any word; with a digit among them the local part is found inside a run too.
    let inside = local.len() >= MIN_INSIDE && local.iter().any(|b| !b.is_ascii_alphabetic());
    let letters_only = !inside && local.len() >= MIN_INSIDE;
    let touches = |b: u8| if letters_only { b.is_ascii_alphabetic() } else { b.is_ascii_alphanumeric() };
    let (rarest, offset) = rarest(local);
    for at in memchr::memchr2_iter(rarest.to_ascii_lowercase(), rarest.to_ascii_uppercase(), text) {
        let Some(start) = at.checked_sub(offset) else { continue };
        let Some((found, tail)) = text.get(start..).and_then(|rest| rest.split_at_checked(local.len())) else { break };
        if !found.eq_ignore_ascii_case(local) {
            continue;
        }
        let before = start.checked_sub(1).and_then(|at| text.get(at)).copied();
        if inside || !(before.is_some_and(touches) || tail.first().copied().is_some_and(touches)) {
            hits.push(Hit { start, end: start + local.len(), role });
        }
    }
}

/// Of the first bytes of a local part the one that replies have least often, and where it stands.
fn rarest(local: &[u8]) -> (u8, usize) {
    /// How many bytes are looked at.
    const FIRST: usize = 12;
    /// From the most frequent on; what is not here is rarer.
    const FREQUENT: &[u8] = b"etosriandlpcmu51h.fgyb0wv-2k4x37968";
    const RANKS: [u8; 256] = {
        let mut ranks = [u8::MAX; 256];
        let mut rank = 0_u8;
        while (rank as usize) < FREQUENT.len() {
            let byte = FREQUENT[rank as usize];
            ranks[byte as usize] = rank;
            ranks[byte.to_ascii_uppercase() as usize] = rank;
            rank += 1;
        }
        ranks
    };
    let ranked = local.iter().take(FIRST).zip(0..).map(|(byte, at)| (RANKS[usize::from(*byte)], at));
    let (_, at) = ranked.max().unwrap_or_default();
    (local.get(at).copied().unwrap_or_default(), at)
}

fn is_vocabulary(local: &[u8]) -> bool {
    local.iter().all(|b| b.is_ascii_alphabetic() || *b == b'-') && shapes::listed(VOCABULARY, local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_is_sorted() {
        assert!(VOCABULARY.is_sorted());
        assert!(is_vocabulary(b"Sender") && !is_vocabulary(b"zhzkndneko"));
    }

    #[test]
    fn local_parts_are_found_by_their_boundaries() {
        let count = |text: &str, local: &str| {
            let mut hits = Vec::new();
            find_local(text.as_bytes(), local.as_bytes(), Role::Recipient, &mut hits);
            hits.len()
        };
        assert_eq!(count("User BOB... unknown, bobby too", "bob"), 1);
        assert_eq!(count("x6qj4xaisn4ky", "6qj4xaisn4k"), 1);
        assert_eq!(count("was delivered, deliver, 1deliver2", "deliver"), 2);
        assert_eq!(count("unauthorized sender", "sender"), 0);
        assert_eq!(count("a", "a"), 0);
    }
}
