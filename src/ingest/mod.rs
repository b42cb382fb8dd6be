//! The feeds: one provider's reports as they come in, authenticated and decoded.

pub mod alive;
pub mod committer;
pub mod http;
pub mod import;
pub mod intake;
pub mod kept;
pub mod mail;
pub mod postfix;
pub mod reception;
pub mod seen;
pub mod smtp;
pub mod sqs;
mod told;
pub mod workers;

use crate::model::{Address, DedupeMaterial, Event, Notice, Provider, Timestamp};

/// What one delivery of a feed holds, authenticated and decoded. Nothing of it is stored yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Outcomes, one for each message and recipient.
    pub events: Vec<Event>,
    /// Apple's notices.
    pub notices: Vec<Notice>,
    /// What was authenticated and could not be understood: kept sealed for a while, and acknowledged.
    pub set_aside: Vec<SetAside>,
    /// What is journalled as it came, and counts nowhere.
    pub kept: Vec<Kept>,
    /// Reports that relaywatch knows and has no use for (opens, clicks); counted by their type.
    pub ignored: Vec<&'static str>,
    /// The client id of an Apple notice that is passed on only, since its app is not configured; bounded, for the log.
    pub unconfigured_app: Option<String>,
    /// Whether a notice says that it was issued at a time that cannot be: it is kept, and that time is not.
    pub misdated: bool,
    /// Whether this only asks if anybody is here, when a webhook is made: it is answered, and nobody has signed it.
    pub is_question: bool,
    /// Binds a one-time token to the body it came with, where the scheme signs the token only.
    pub token: Option<OneTimeToken>,
    /// What to do once the report is committed.
    pub follow_up: Option<FollowUp>,
    /// What is answered beside 200 once the report is committed, where the provider waits for it.
    pub answer: Option<http::Answer>,
    /// What goes on to the endpoint that lives behind the feed, through the outbox and in the same commit.
    pub forward: Option<Forward>,
}

impl Report {
    /// How many parts of the delivery it tells of.
    pub(crate) fn parts(&self) -> usize {
        self.events.len() + self.notices.len() + self.set_aside.len() + self.ignored.len()
    }
}

/// The original body of a delivery, to be passed on by one POST with `Content-Type: application/json`. Holds a signed
/// notice, with an address in it: never to be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Forward(pub bytes::Bytes);

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Forward({} bytes)", self.0.len())
    }
}

/// A part of a delivery that was authenticated and is no event that relaywatch knows.
#[derive(Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Who reports.
    pub provider: Provider,
    /// Why it was set aside.
    pub reason: SetAsideReason,
    /// The type by the provider's own word, bounded, or what is wrong. Holds no address.
    pub label: String,
    /// The time of the payload, where it has a plausible one.
    pub at: Option<Timestamp>,
    /// The part as it came. Sealed when stored.
    pub body: Vec<u8>,
    /// For how long the body is kept, in milliseconds: [`KEPT_MILLIS`] unless the feed says otherwise.
    pub kept_millis: i64,
}

/// For how long the bodies of what was set aside are kept, sealed, unless their feed says otherwise: 30 days.
pub const KEPT_MILLIS: i64 = 30 * crate::model::DAY_MILLIS;

impl std::fmt::Debug for SetAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SetAside({} {} {:?}, {} bytes)", self.provider, self.reason, self.label, self.body.len())
    }
}

crate::model::words! {
    /// What is journalled as it came: an entry of the journal says what it is, and the whole of it is kept sealed beside that.
    pub enum KeptKind {
        /// A DMARC aggregate report: one attached file.
        DmarcReport = 1, "dmarc-report";
        /// A mail of Apple's to the Account Holder about the relay.
        RelayNotification = 2, "relay-notification";
    }
}

/// A report that makes no event, and is kept whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is.
    pub kind: KeptKind,
    /// The time of the payload, where it has a plausible one.
    pub at: Option<Timestamp>,
    /// What makes it the same one, however it comes.
    pub dedupe: DedupeMaterial,
    /// The one address that it concerns.
    pub address: Option<Address>,
    /// What it says, for the journal: no personal data.
    pub says: serde_json::Value,
    /// What it says in a few words, as [`label`] makes them.
    pub label: String,
    /// The whole of it, sealed when stored; nothing where a day's room for such was used up.
    pub whole: Option<Vec<u8>>,
}

impl Kept {
    /// About how much memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        512 + self.whole.as_ref().map_or(0, Vec::len)
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.whole.as_ref().map(Vec::len);
        write!(f, "Kept({} {:?} {}, {bytes:?} bytes)", self.kind, self.label, self.says)
    }
}

/// The largest report that is kept, as it came: what a mail can carry at most. Packed, those of the largest senders have some hundred
/// KiB; one that a sender did not pack can have megabytes.
pub const MAX_KEPT_BYTES: usize = mail::MAX_MAIL_BYTES;
/// For how long it is kept, in milliseconds: a year.
pub const KEPT_WHOLE_MILLIS: i64 = 365 * crate::model::DAY_MILLIS;

crate::model::words! {
    /// Why a part of a delivery was set aside.
    pub enum SetAsideReason {
        /// A type that this version does not know.
        UnknownType = 1, "unknown-type";
        /// A known type with fields that make no sense.
        Malformed = 2, "malformed";
        /// A time that cannot be (before 2010, or more than a day ahead).
        ImplausibleTime = 3, "implausible-time";
        /// A known type with no recipient.
        NoRecipient = 4, "no-recipient";
        /// Nothing is wrong with it: a DMARC aggregate report, kept whole.
        DmarcReport = 5, "dmarc-report";
        /// Nothing is wrong with it: a mail of Apple's about the relay, kept whole.
        RelayNotification = 6, "relay-notification";
    }
}

crate::model::words! {
    /// Why a delivery is refused.
    pub enum RejectionReason {
        /// The body is not what the provider sends (no JSON, wrong shape, invalid UTF-8).
        Malformed = 1, "malformed";
        /// No credentials or signature at all.
        Unauthenticated = 2, "unauthenticated";
        /// A signature that does not verify.
        BadSignature = 3, "bad-signature";
        /// A topic, audience or issuer that is not configured.
        Foreign = 4, "foreign";
        /// A signed time outside the window.
        Stale = 5, "stale";
        /// A one-time token that came before with another body.
        TokenReused = 6, "token-reused";
        /// Larger than the cap.
        TooLarge = 7, "too-large";
        /// The keys or certificates that verify it cannot be had just now.
        KeysUnavailable = 8, "keys-unavailable";
        /// A method, path, coding or media type that this feed does not take.
        Unsupported = 9, "unsupported";
        /// The store is away or full; the provider shall come again.
        StoreUnavailable = 10, "store-unavailable";
        /// Too many deliveries at once; the provider shall come again.
        Overloaded = 11, "overloaded";
        /// A password or a token that is none of the feed's.
        BadCredentials = 12, "bad-credentials";
        /// Nothing came: the feed's queue, log or port could not be reached.
        Unreachable = 13, "unreachable";
    }
}

impl RejectionReason {
    /// Whether the same delivery may be taken a little later, whatever its provider has to be answered.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::StoreUnavailable | Self::Overloaded | Self::KeysUnavailable | Self::Stale)
    }
}

/// A token that its scheme allows once. The store binds it to the body's digest: the same body again is a retry, another
/// body under the same token is a forgery.
#[derive(Clone, PartialEq, Eq)]
pub struct OneTimeToken {
    /// The token.
    pub token: String,
    /// SHA-256 of the body that it came with.
    pub body_digest: [u8; 32],
    /// Until when it must be remembered.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for OneTimeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OneTimeToken(until {})", self.expires_at)
    }
}

/// What to do once the report is committed.
#[derive(Clone, PartialEq, Eq)]
pub enum FollowUp {
    /// Confirm an SNS subscription by one GET of this URL, which has passed every check.
    ConfirmSubscription {
        /// The checked `SubscribeURL`.
        url: url::Url,
        /// The topic, for the log.
        topic: String,
    },
}

impl std::fmt::Debug for FollowUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConfirmSubscription { url, topic } => {
                f.debug_struct("ConfirmSubscription").field("url", &url.as_str()).field("topic", topic).finish()
            }
        }
    }
}

/// The earliest event time that is plausible: nobody reports mail from before 2010.
pub const EARLIEST_PLAUSIBLE: Timestamp = Timestamp::from_millis(1_262_304_000_000);
/// How far ahead of the clock an event time may be: a day.
pub const MAX_AHEAD_MILLIS: i64 = crate::model::DAY_MILLIS;

/// Whether an event time can be taken at face value, seen from `now`.
#[must_use]
pub fn plausible(at: Timestamp, now: Timestamp) -> bool {
    at >= EARLIEST_PLAUSIBLE && at.millis_since(now) <= MAX_AHEAD_MILLIS
}

/// The longest label, in bytes.
const MAX_LABEL: usize = 64;

/// Whether a text holds an address: an `@`, plain, or escaped for a URL or for HTML.
#[must_use]
pub fn holds_address(text: &str) -> bool {
    ["@", "%40", "&#64;"].iter().any(|at| text.contains(at))
}

/// A provider's own type or label, fit for a metric, a log line or the store: printable ASCII, at most 64 bytes, cut where a
/// word ends, and with `?` for each word that holds an address, so that neither an address nor a part of one is left.
#[must_use]
pub fn label(text: &str) -> String {
    cut(&without_addresses(text))
}

/// A text of printable ASCII with `?` for each word that holds an address. What is joined before the first word by a stroke
/// is the provider's own (`hard_bounced/…`), and stays.
fn without_addresses(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        let first = out.is_empty();
        if !first {
            out.push(' ');
        }
        if !holds_address(word) {
            out.extend(word.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }));
        } else if first {
            out.push_str(&own_word(word));
        } else {
            out.push('?');
        }
    }
    out
}

/// The words that fit in [`MAX_LABEL`] bytes: part of one could be part of an address.
fn cut(text: &str) -> String {
    if text.len() <= MAX_LABEL {
        return text.to_owned();
    }
    match text.bytes().take(MAX_LABEL + 1).rposition(|byte| byte == b' ') {
        Some(end) => text.get(..end).unwrap_or_default().to_owned(),
        None => own_word(text.split(' ').next().unwrap_or_default()),
    }
}

/// What a word has before its first stroke, and `?` for the rest.
fn own_word(word: &str) -> String {
    match word.split_once('/') {
        Some((own, _)) if own.len() < MAX_LABEL - 1 && !holds_address(own) => {
            own.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).chain("/?".chars()).collect()
        }
        _ => "?".to_owned(),
    }
}

/// The provider's own verdict as rules and the store see it; nothing where it says nothing, or names the person.
#[must_use]
pub fn verdict_label(verdict: Option<&str>, person: Option<&crate::model::Address>) -> Option<String> {
    // Looked into before it is cut: a name at the cut would not be known by what is left of it.
    let whole = without_addresses(verdict?);
    (!whole.is_empty() && !person.is_some_and(|person| intake::names(&whole, person))).then(|| cut(&whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_neither_an_address_nor_a_part_of_one() {
        for (text, shown) in [
            ("hard_bounced/info@icloud.com is unknown here", "hard_bounced/? is unknown here"),
            ("reject/on list: other.person@gmail.com", "reject/on list: ?"),
            ("a <x@example.com>, b%40example.com and c&#64;example.com!", "a ? ? and ?"),
            ("x@example.com", "?"),
            ("x@example.com/hard", "?"),
            (
                "hard_bounced/The recipient server refused the message for dpdcnfqx7zhzk",
                "hard_bounced/The recipient server refused the message for",
            ),
            (
                "hard_bounced/The recipient server refused messages for dpdcnf@privaterelay.appleid.com",
                "hard_bounced/The recipient server refused messages for ?",
            ),
            ("Permanent/General", "Permanent/General"),
            (" Zu\u{e4}lle\tund\nmehr ", "Zu?lle und mehr"),
            ("", ""),
        ] {
            assert_eq!(label(text), shown);
            assert_eq!(label(&label(text)), shown, "a label is its own label");
        }
        let most = format!("{} b", "a".repeat(62));
        assert_eq!(label(&most), most);
        assert_eq!(label(&format!("{most}c")), "a".repeat(62), "cut where a word ends");
        assert_eq!(label(&"a".repeat(65)), "?");
        assert_eq!(label(&format!("bounce/{}", "a".repeat(65))), "bounce/?");
    }

    #[test]
    fn a_verdict_that_names_its_person_is_not_kept() {
        let person = crate::model::Address::parse("dpdcnfqx7zhzk@privaterelay.appleid.com").expect("an address");
        let kept = |verdict: &str| verdict_label(Some(verdict), Some(&person));
        assert_eq!(kept("hard_bounced/no dpdcnfqx7zhzk here"), None);
        let late = "hard_bounced/The recipient server refused the message for dpdcnfqx7zhzk";
        assert_eq!(kept(late), None, "also where its name lies at the cut");
        assert_eq!(kept("reject/on list: other.person@gmail.com").as_deref(), Some("reject/on list: ?"));
        assert_eq!(kept(" "), None);
        assert_eq!(verdict_label(None, Some(&person)), None);
    }
}
