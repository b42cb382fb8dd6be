//! Postmark's webhooks: one JSON object a delivery, told apart by `RecordType`, under a shared secret.
//!
//! Source: the types of Postmark's own client library (postmark.js). Postmark signs nothing, so what authenticates a webhook is
//! basic authentication in its URL, or a header of one's own with a token. It stops trying on 2xx and on 403; on everything else
//! it comes again (documented for inbound mail: 10 times within about 10.5 hours; for bounces the same and for deliveries
//! three times within 15 minutes, which is inferred). Hence 403 is never answered.
//!
//! What each record becomes:
//!
//! | record | event |
//! |---|---|
//! | `Delivery` | delivered |
//! | `Bounce` | by its `Type`, see below |
//! | `SpamComplaint` | complained |
//! | `SubscriptionChange` | with `SuppressSending` unsubscribed where the recipient asked for it, else suppressed by provider; without it ignored |
//! | `Open`, `Click` | ignored |
//!
//! | `Type` (`TypeCode`) | event |
//! |---|---|
//! | `HardBounce` (1), `SoftBounce` (4096), `SpamNotification` (512), `VirusNotification` (8192), `Blocked` (100006), `DMARCPolicy` (100009), `Unknown` (2048) | refused. After a `SoftBounce` a `HardBounce` of the same message may follow; both count once |
//! | `Transient` (2) | deferred; refused where the reply says 5xx |
//! | `DnsError` (256), `BadEmailAddress` (100000), `Unconfirmed` (100003), `SMTPApiError` (100007), `TemplateRenderingFailed` (100010) | refused by Postmark itself, so of unknown class and without codes, unless `Details` holds a reply |
//! | `SpamComplaint` (100001), `Unsubscribe` (16) | complained, unsubscribed |
//! | `ManuallyDeactivated` (100002) | suppressed by provider |
//! | `AutoResponder` (64), `AddressChange` (128), `ChallengeVerification` (16384) | ignored: an answer by a robot is no outcome; refused where the reply says 5xx |
//! | `Subscribe` (32), `OpenRelayTest` (1024), `InboundError` (100008) | ignored: no outcome of this message |
//!
//! Names and codes of the types are documented; what each becomes follows from its name (inferred), except that Postmark calls
//! 1 and 100000 hard. The reply stands in `Details` (`smtp;550 5.1.1 …`). `Description` is one sentence of Postmark's for each
//! type, said by no receiving side, and is not read: it says "unknown user" of whatever is hard.

use serde::Deserialize;

use super::{
    Delivery, Rejection,
    auth::{Credentials, SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, logins, secrets},
    wire::{self, Aside, Scalar},
};
use crate::{
    config::{Config, PostmarkFeed},
    ingest::{Report, SetAsideReason, label},
    model::{DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken: a bounce can carry the whole bounce mail in `Content`.
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;
/// What stands for "no message" in a `MessageID`.
const NO_MESSAGE: &str = "00000000-0000-0000-0000-000000000000";

/// The feed of Postmark's records.
#[derive(Debug, Clone)]
pub struct Postmark {
    secrets: Secrets,
}

impl Postmark {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one, or the header can't have its name.
    pub fn new(credentials: &Credentials) -> Result<Self, SecretError> {
        Ok(Self { secrets: credentials.secrets()? })
    }

    /// Authenticates and decodes one record.
    ///
    /// # Errors
    /// 400 for what is no record, 401 without the secret, 413 above the cap. Postmark comes again after each.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::elements(delivery, Provider::Postmark, "a record of Postmark's ({\"RecordType\":…})", take)
    }
}

impl SetUp for Postmark {
    type Table = PostmarkFeed;
    const PROVIDER: Provider = Provider::Postmark;

    fn set_up(_: &Config, table: &PostmarkFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Credentials {
            logins: logins(table.username.as_deref(), &[&table.password, &table.previous_password]),
            tokens: secrets(&[&table.token, &table.previous_token]),
            header: table.header.clone(),
        }))
    }
}

/// The fields that relaywatch uses; subjects, contents, metadata and all others are skipped.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fields<'a> {
    #[serde(borrow)]
    record_type: Option<Scalar<'a>>,
    #[serde(borrow, rename = "ID")]
    id: Option<Scalar<'a>>,
    #[serde(borrow, rename = "MessageID")]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow, rename = "Type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    type_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    recipient: Option<Scalar<'a>>,
    #[serde(borrow)]
    from: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounced_at: Option<Scalar<'a>>,
    #[serde(borrow)]
    delivered_at: Option<Scalar<'a>>,
    #[serde(borrow)]
    changed_at: Option<Scalar<'a>>,
    #[serde(borrow)]
    details: Option<Scalar<'a>>,
    #[serde(borrow)]
    tag: Option<Scalar<'a>>,
    #[serde(borrow)]
    inactive: Option<Scalar<'a>>,
    #[serde(borrow)]
    suppress_sending: Option<Scalar<'a>>,
    #[serde(borrow)]
    suppression_reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    origin: Option<Scalar<'a>>,
}

impl Fields<'_> {
    /// Each record has one of them.
    fn time(&self) -> Option<Scalar<'_>> {
        wire::first(&[self.bounced_at, self.delivered_at, self.changed_at])
    }
}

/// What a record becomes.
#[derive(Clone, Copy)]
enum Meaning {
    /// An event without a reply.
    Plain(EventKind),
    /// The receiving side's refusal, with its reply, and what Postmark says of it.
    Refused(FailureClass),
    /// Postmark goes on trying, unless the reply is final.
    Deferred,
    /// Postmark's own refusal, unless there is a reply.
    OwnRefusal,
    /// An answer by a robot, unless the reply is final.
    AutoReply,
    /// Known, and of no use.
    Ignored(&'static str),
}

/// The type of a bounce by its name, else by its code.
fn bounce_type(fields: &Fields<'_>) -> Option<String> {
    if let Some(name) = wire::text(fields.kind) {
        return Some(name.trim().to_owned());
    }
    let code = wire::text(fields.type_code)?;
    let name = match code.trim() {
        "1" => "HardBounce",
        "2" => "Transient",
        "16" => "Unsubscribe",
        "32" => "Subscribe",
        "64" => "AutoResponder",
        "128" => "AddressChange",
        "256" => "DnsError",
        "512" => "SpamNotification",
        "1024" => "OpenRelayTest",
        "2048" => "Unknown",
        "4096" => "SoftBounce",
        "8192" => "VirusNotification",
        "16384" => "ChallengeVerification",
        "100000" => "BadEmailAddress",
        "100001" => "SpamComplaint",
        "100002" => "ManuallyDeactivated",
        "100003" => "Unconfirmed",
        "100006" => "Blocked",
        "100007" => "SMTPApiError",
        "100008" => "InboundError",
        "100009" => "DMARCPolicy",
        "100010" => "TemplateRenderingFailed",
        other => other,
    };
    Some(name.to_owned())
}

fn meaning_of_bounce(kind: &str) -> Option<Meaning> {
    Some(match kind {
        "HardBounce" => Meaning::Refused(FailureClass::Permanent),
        "SoftBounce" => Meaning::Refused(FailureClass::Transient),
        "SpamNotification" | "VirusNotification" | "Blocked" | "DMARCPolicy" | "Unknown" => {
            Meaning::Refused(FailureClass::Unknown)
        }
        "Transient" => Meaning::Deferred,
        "DnsError" | "BadEmailAddress" | "Unconfirmed" | "SMTPApiError" | "TemplateRenderingFailed" => {
            Meaning::OwnRefusal
        }
        "SpamComplaint" => Meaning::Plain(EventKind::Complained),
        "Unsubscribe" => Meaning::Plain(EventKind::Unsubscribed),
        "ManuallyDeactivated" => Meaning::Plain(EventKind::SuppressedByProvider),
        "AutoResponder" | "AddressChange" | "ChallengeVerification" => Meaning::AutoReply,
        "Subscribe" => Meaning::Ignored("subscribe"),
        "OpenRelayTest" => Meaning::Ignored("relay-test"),
        "InboundError" => Meaning::Ignored("inbound"),
        _ => return None,
    })
}

/// Who changed the subscription decides; the words of `SuppressionReason` and `Origin` are in no documented source, so that
/// others count as Postmark's own suppression.
fn meaning_of_change(fields: &Fields<'_>) -> Meaning {
    if !fields.suppress_sending.is_some_and(Scalar::is_true) {
        return Meaning::Ignored("resubscribe");
    }
    let is = |field, word: &str| wire::text(field).is_some_and(|text| text.trim().eq_ignore_ascii_case(word));
    let by_bounce = is(fields.suppression_reason, "HardBounce") || is(fields.suppression_reason, "SpamComplaint");
    if is(fields.origin, "Recipient") && !by_bounce {
        return Meaning::Plain(EventKind::Unsubscribed);
    }
    Meaning::Plain(EventKind::SuppressedByProvider)
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let record = wire::text(fields.record_type);
    let record = record.as_deref().unwrap_or("unnamed");
    let bounce_type = match record {
        "Bounce" => Some(bounce_type(fields).ok_or_else(|| Aside::new(SetAsideReason::Malformed, record))?),
        _ => None,
    };
    let word = bounce_type.as_deref().unwrap_or(record);
    let meaning = match record {
        "Bounce" => meaning_of_bounce(word),
        "Delivery" => Some(Meaning::Plain(EventKind::Delivered)),
        "SpamComplaint" => Some(Meaning::Plain(EventKind::Complained)),
        "SubscriptionChange" => Some(meaning_of_change(fields)),
        "Open" => Some(Meaning::Ignored("open")),
        "Click" => Some(Meaning::Ignored("click")),
        _ => None,
    };
    let time = fields.time();
    let details = wire::text(fields.details).map(wire::without_nul);
    let said = details.as_deref().map(Reply::parse);
    let is_final = said.as_ref().is_some_and(|reply| reply.class() == FailureClass::Permanent);
    let own_words = || details.as_deref().map(wire::own_words);
    let (kind, reply, provider_class) = match meaning.ok_or_else(|| wire::unknown_type(word, time, now))? {
        Meaning::Ignored(word) => {
            report.ignored.push(word);
            return Ok(());
        }
        Meaning::AutoReply if !is_final => {
            report.ignored.push("auto-reply");
            return Ok(());
        }
        Meaning::AutoReply => (EventKind::Refused, said, FailureClass::Unknown),
        Meaning::Refused(class) => (EventKind::Refused, said, class),
        Meaning::Deferred => (wire::unless_final(EventKind::Deferred, said.as_ref()), said, FailureClass::Transient),
        Meaning::OwnRefusal if said.as_ref().is_some_and(|reply| reply.code.is_some()) => {
            (EventKind::Refused, said, FailureClass::Unknown)
        }
        Meaning::OwnRefusal => (EventKind::Refused, own_words(), FailureClass::Unknown),
        Meaning::Plain(EventKind::SuppressedByProvider) => {
            (EventKind::SuppressedByProvider, own_words(), FailureClass::Unknown)
        }
        Meaning::Plain(kind) => (kind, None, FailureClass::Unknown),
    };
    let at = wire::event_time(time, now, word)?;
    let recipient = wire::recipient(wire::first(&[fields.email, fields.recipient]), at, word)?;
    let message_id = wire::id(fields.message_id).filter(|id| id != NO_MESSAGE);
    let said = details.as_deref().unwrap_or_default();
    let dedupe = match wire::text(fields.id) {
        Some(id) => DedupeMaterial::new(Provider::Postmark, &["id", id.trim()]),
        None => wire::by_content(Provider::Postmark, message_id.as_deref(), &recipient, word, at, said),
    };
    report.events.push(Event {
        provider: Provider::Postmark,
        kind,
        at,
        sent_at: None,
        dedupe,
        message_id,
        recipient,
        from_domain: wire::domain(fields.from),
        envelope_sender: None,
        envelope_domain: None,
        campaign: wire::name(fields.tag),
        reply,
        remote_mta: None,
        provider_verdict: verdict(fields, record, word),
        provider_class,
    });
    Ok(())
}

/// What Postmark itself says: the type of a bounce, and whether it has suppressed the address since; for a suppression why and by
/// whom.
fn verdict(fields: &Fields<'_>, record: &str, word: &str) -> Option<String> {
    match record {
        "Bounce" if fields.inactive.is_some_and(Scalar::is_true) => Some(label(&format!("{word}, inactive"))),
        "Bounce" => Some(label(word)),
        "SubscriptionChange" => {
            let said = [wire::text(fields.suppression_reason), wire::text(fields.origin)];
            let said: Vec<_> = said.iter().flatten().map(|text| text.trim()).collect();
            (!said.is_empty()).then(|| label(&said.join(", ")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
