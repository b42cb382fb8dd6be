//! What keeps a reply from calling an address dead, whatever rule holds.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::{CERTAIN, Facts, Rule};
use crate::model::{AddressRole, Destination};

/// Words of a state that passes, and of checks that could not be made: whoever says them may say otherwise tomorrow.
const PASSING: &[&str] = &[
    "temporar",
    "tempfail",
    "transient",
    "please try again",
    "; try again",
    ", try again",
    "try again in",
    "try again at",
    "later",
    "timeout",
    "time-out",
    "time out",
    "timed out",
    "at the moment",
    "at present",
    "at this time",
    "right now",
    "currently",
    "maintenance",
    "servfail",
    "ldap",
    "database",
    "backend",
    "proxy",
    "offline",
    "disk error",
    "i/o error",
    "server unavailable",
    "is down",
    "unable to verify",
    "unable to validate",
    "cannot verify",
    "can't verify",
    "could not verify",
    "cannot be verified",
    "lookup succe",
    "lookup failed",
    "lookup failure",
    "lookup error",
    "connection",
    "greylist",
    "graylist",
    "später",
    "spaeter",
    "temporär",
    "temporaer",
    "vorübergehend",
    "plus tard",
    "temporair",
    "momentan",
    "más tarde",
    "mas tarde",
    "temporal",
    "mais tarde",
    "più tardi",
    "piu tardi",
    "późnie",
    "позже",
    "временно",
    "しばらく",
    "一時",
    "稍后",
    "稍後",
    "暂时",
    "暫時",
];

/// Words of somebody or something else than the recipient: senders, credentials, links, lists, attacks.
const OTHERS: &[&str] = &[
    "sender",
    "mail from",
    "return-path",
    "return path",
    "envelope from",
    "from header",
    "message-id",
    "bounce address",
    "return address",
    "helo",
    "ehlo",
    "password",
    "passwort",
    "credential",
    "smtp auth",
    "sasl",
    "surbl",
    "uribl",
    " url ",
    "harvest",
    "dictionary attack",
    "whitelist",
    "allowlist",
    "you are not",
    "you're not",
    "your ip",
    "your server",
    "your domain",
    "your account",
    "dmarc",
    "dkim",
    "spf",
    "absender",
    "expéditeur",
    "expediteur",
    "remitente",
    "remetente",
    "mittente",
    "nadawc",
    "afzender",
    "отправител",
    "发件人",
    "寄件者",
    "送信元",
    "送信者",
];

/// All of them, in one pass.
static BARS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = PASSING.iter().chain(OTHERS);
    AhoCorasick::builder().ascii_case_insensitive(true).build(words).ok()
});

/// Whether the words speak of a state that passes, or of somebody else than the recipient.
///
/// Words beyond ASCII are found in lower case, as sentences have them. Without the table nothing is hard.
fn is_barred(text: &str) -> bool {
    BARS.as_ref().is_none_or(|bars| bars.is_match(text))
}

impl Rule {
    /// Whether a reply may call the address dead at all: neither where a code or a word says something else, nor where somebody
    /// else is named. Of a rule for receivers in general more is asked: a code for it, or the recipient's address; and what it
    /// makes of Apple's words is a guess.
    pub(super) fn may_be_hard(&self, facts: &Facts<'_>) -> bool {
        let named = match facts.role {
            AddressRole::Recipient | AddressRole::Absent => true,
            AddressRole::Sender => false,
            AddressRole::Unknown => facts.context.destination == Destination::Unknown && !facts.is_apple(),
        };
        // 500, 502 and 504 are about commands, 53x about who may send (RFC 4954 section 6).
        let transient =
            facts.head.code.is_some_and(|code| code / 100 != 5 || matches!(code, 500 | 502 | 504 | 530..=539))
                || facts.head.enhanced.is_some_and(|code| code.class != 5);
        // X.1.7 to X.1.9 are about the sender, and the others that are barred about something else than an address; 5.4.1,
        // 5.4.4 and 5.5.0 stand beside unknown users and hosts too. What is "other" (X.2.0, X.3.0) says nothing.
        let code = facts.head.enhanced.map(|code| (code.subject, code.detail));
        let for_it = matches!(code, Some((0 | 5, 0) | (1, 0..=4 | 6 | 10) | (4, 1 | 4)));
        let against = matches!(code, Some((1, 7..=9) | (2 | 3, 1..) | (4, 2 | 3 | 5..) | (6 | 7, _)));
        let general = self.raw.for_receivers_in_general;
        // With neither a code nor an address there are only words, which have to be certain.
        let enough = !general
            || for_it
            || matches!(facts.role, AddressRole::Recipient | AddressRole::Unknown)
            || self.raw.confidence >= CERTAIN;
        let guessed = general && facts.is_apple();
        named && !transient && !against && enough && !guessed && !is_barred(facts.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_states_and_others_are_told_from_dead_addresses() {
        for barred in [
            "550 5.1.1 <{recipient}>: user not found (directory temporarily unavailable)",
            "550 5.1.1 user unknown; LDAP failure",
            "550 SENDER ADDRESS UNKNOWN",
            "550 nadawca nie istnieje",
            "550 Unbekannter Benutzer, bitte später erneut versuchen",
            "535 no such user or wrong password",
        ] {
            assert!(is_barred(barred), "{barred}");
        }
        for dead in [
            "550 5.1.1 <{recipient}>: user unknown",
            "550 No such user here",
            "550 5.1.6 recipient no longer on server: {recipient}",
        ] {
            assert!(!is_barred(dead), "{dead}");
        }
    }
}
