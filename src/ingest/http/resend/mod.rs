//! Resend's webhooks, and those of any sender that posts the same events signed by Svix or by Standard Webhooks.
//!
//! Source: Resend's `OpenAPI` document (resend-openapi); the signature is [`svix`](super::svix)'s. Svix stops on 2xx; on all else,
//! redirects included, it comes again at once, after 5 s, 5 min, 30 min, 2, 5, 10 and 10 hours, and turns the endpoint off after 5
//! days of failures.
//!
//! Resend sends through Amazon SES: type and sub type of a bounce are SES's. The reply stands in `data.bounce.diagnosticCode`, one
//! text for each recipient; older payloads have `data.bounce.message` alone, which is a sentence of Resend's, and is read only
//! where it begins with a code.
//!
//! **Several recipients.** An event names all recipients of the message and not the one that it is about (reported). `email.sent`
//! is about all of them; of the others one is taken only where a diagnostic names it, and else the event is set aside.
//!
//! What each type becomes:
//!
//! | type | event |
//! |---|---|
//! | `email.sent`, `email.delivered`, `email.delivery_delayed` | sent, delivered, deferred |
//! | `email.bounced` | refused; suppressed by provider by the sub types of SES's suppression lists |
//! | `email.failed` | refused by Resend itself, so of unknown class and without codes |
//! | `email.suppressed` | suppressed by provider |
//! | `email.complained` | complained |
//! | opens, clicks, `email.scheduled`, `email.received`, and what is about contacts and domains | ignored |

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection,
    auth::SecretError,
    feeds::{FeedError, Place, SetUp, secrets},
    ses::is_suppression,
    svix::Svix,
    wire::{self, Aside, Loose, Scalar, WireError},
};
use crate::{
    config::{Config, ResendFeed},
    ingest::{Report, SetAsideReason, label},
    model::{Address, DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken; a delivery holds one event.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The most recipients of one message of Resend's, each with its diagnostic.
const MAX_RECIPIENTS: usize = 50;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The webhook's signing secrets, `whsec_…`: one, or two while they are rotated.
    pub signing_secrets: Vec<SecretString>,
}

/// The feed of Resend's events.
#[derive(Debug)]
pub struct Resend {
    svix: Svix,
}

impl Resend {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no usable signing secret.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { svix: Svix::new(&settings.signing_secrets)? })
    }

    /// Verifies and decodes one event.
    ///
    /// # Errors
    /// 400 for what is no event, 401 for a signature that is absent or doesn't verify, 413 above the cap, 503 for a signed
    /// timestamp more than 5 minutes off. Resend comes again after each.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        let id = self.svix.verify(delivery)?;
        let mut index = 0_usize;
        let numbered = |fields: &Fields<'_>, now, report: &mut Report| {
            index += 1;
            take(fields, &format!("{id}/{index}"), now, report)
        };
        wire::elements(delivery, Provider::Resend, "an event of Resend's ({\"type\":…})", numbered)
    }
}

impl SetUp for Resend {
    type Table = ResendFeed;
    const PROVIDER: Provider = Provider::Resend;

    fn set_up(_: &Config, table: &ResendFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let signing_secrets = secrets(&[&table.signing_secret, &table.previous_signing_secret]);
        place.or_wrong(Self::new(&Settings { signing_secrets }))
    }
}

/// The fields that relaywatch uses; subjects, headers, links and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    created_at: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    data: Loose<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    email_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    created_at: Option<Scalar<'a>>,
    #[serde(borrow)]
    from: Option<Scalar<'a>>,
    #[serde(borrow)]
    to: Option<&'a RawValue>,
    #[serde(borrow)]
    broadcast_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(default, borrow)]
    bounce: Loose<Bounce<'a>>,
    #[serde(default, borrow)]
    failed: Loose<Reason<'a>>,
    #[serde(default, borrow)]
    suppressed: Loose<Reason<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    sub_type: Option<Scalar<'a>>,
    #[serde(borrow)]
    message: Option<Scalar<'a>>,
    #[serde(borrow)]
    diagnostic_code: Option<&'a RawValue>,
}

/// Why Resend did not try.
#[derive(Deserialize)]
struct Reason<'a> {
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    message: Option<Scalar<'a>>,
}

/// The texts of a list, or of a single one.
fn texts(list: Option<&RawValue>) -> Result<Vec<String>, WireError> {
    let all = list.map_or_else(|| Ok(Vec::new()), wire::scalars::<MAX_RECIPIENTS>)?;
    Ok(all.into_iter().filter_map(|one| Some(one.text()?.into_owned())).collect())
}

/// The value of the first tag: of an object's first member, or of a list's first `{name, value}`.
fn first_tag(tags: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(borrow)]
        value: Option<Scalar<'a>>,
    }
    if let Ok(list) = serde_json::from_str::<Vec<Tag<'_>>>(tags.get()) {
        return wire::name(list.first()?.value);
    }
    let object: BTreeMap<String, Scalar<'_>> = serde_json::from_str(tags.get()).ok()?;
    wire::name(object.into_values().next())
}

fn take(fields: &Fields<'_>, id: &str, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.kind);
    let word = word.as_deref().unwrap_or("unnamed");
    let data = fields.data.get();
    let bounce = data.and_then(|data| data.bounce.get());
    let sub_type = bounce.and_then(|bounce| wire::text(bounce.sub_type));
    let kind = match word {
        "email.sent" => EventKind::Sent,
        "email.delivered" => EventKind::Delivered,
        "email.delivery_delayed" => EventKind::Deferred,
        "email.bounced" if sub_type.as_deref().is_some_and(is_suppression) => EventKind::SuppressedByProvider,
        "email.bounced" | "email.failed" => EventKind::Refused,
        "email.suppressed" => EventKind::SuppressedByProvider,
        "email.complained" => EventKind::Complained,
        "email.opened" | "email.clicked" | "email.scheduled" | "email.received" => {
            report.ignored.push(match word {
                "email.opened" => "open",
                "email.clicked" => "click",
                "email.scheduled" => "scheduled",
                _ => "inbound",
            });
            return Ok(());
        }
        _ if word.starts_with("contact.") || word.starts_with("domain.") => {
            report.ignored.push("account");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, fields.created_at, now)),
    };
    let at = wire::event_time(fields.created_at, now, word)?;
    let malformed = || Aside::new(SetAsideReason::Malformed, word).at(at);
    let data = data.ok_or_else(malformed)?;
    let diagnostics = texts(bounce.and_then(|bounce| bounce.diagnostic_code)).map_err(|_| malformed())?;
    let to = texts(data.to).map_err(|_| malformed())?;
    for (recipient, said) in recipients(&to, kind, &diagnostics, word, at)? {
        let reply = reply_of(word, kind, data, said);
        report.events.push(Event {
            provider: Provider::Resend,
            kind,
            at,
            sent_at: wire::send_time(data.created_at, now).or((kind == EventKind::Sent).then_some(at)),
            dedupe: DedupeMaterial::new(Provider::Resend, &["id", id, &recipient.key()]),
            message_id: wire::id(data.email_id),
            recipient,
            from_domain: wire::domain(data.from),
            // The return-path is at a domain below the sender's that is not told.
            envelope_sender: None,
            envelope_domain: None,
            campaign: wire::name(data.broadcast_id).or_else(|| data.tags.and_then(first_tag)),
            reply,
            remote_mta: None,
            provider_verdict: verdict(word, bounce),
            provider_class: class_of(kind, bounce),
        });
    }
    Ok(())
}

/// Whom the event is about, each with its diagnostic.
fn recipients<'d>(
    to: &[String],
    kind: EventKind,
    diagnostics: &'d [String],
    word: &str,
    at: Timestamp,
) -> Result<Vec<(Address, Option<&'d String>)>, Aside> {
    let nobody = || Aside::new(SetAsideReason::NoRecipient, word).at(at);
    let mut all: Vec<Address> = to
        .iter()
        .map(|text| Address::parse(text).map_err(|_| Aside::new(SetAsideReason::Malformed, word).at(at)))
        .collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    all.retain(|recipient| seen.insert(recipient.key()));
    if let [only] = all.as_slice() {
        return Ok(vec![(only.clone(), diagnostics.first())]);
    }
    if kind == EventKind::Sent && !all.is_empty() {
        return Ok(all.into_iter().map(|recipient| (recipient, None)).collect());
    }
    let addresses: Vec<String> = all.iter().map(|recipient| recipient.expose().to_ascii_lowercase()).collect();
    let mut named: BTreeMap<usize, &String> = BTreeMap::new();
    for said in diagnostics {
        let text = said.to_ascii_lowercase();
        let mut about = addresses.iter().enumerate().filter(|(_, address)| names(&text, address));
        // One about somebody who is not told, or about several, would be lost or count for the wrong one.
        let (Some((number, _)), None) = (about.next(), about.next()) else { return Err(nobody()) };
        if named.insert(number, said).is_some() {
            return Err(nobody());
        }
    }
    if named.is_empty() {
        return Err(nobody());
    }
    let all = all.into_iter().enumerate();
    Ok(all.filter_map(|(number, recipient)| Some((recipient, Some(*named.get(&number)?)))).collect())
}

/// Whether an address stands in a text, and not as a part of a longer one.
fn names(text: &str, address: &str) -> bool {
    let belongs = |c: char| c.is_alphanumeric() || "!#$%&*+-/=?^_`{|}~@".contains(c);
    text.match_indices(address).any(|(from, _)| {
        let before = text.get(..from).and_then(|before| before.chars().next_back());
        let mut after = text.get(from + address.len()..).unwrap_or_default().chars();
        let ends = match after.next() {
            // The end of a sentence, or another label.
            Some('.') => !after.next().is_some_and(char::is_alphanumeric),
            Some(next) => !belongs(next),
            None => true,
        };
        ends && !before.is_some_and(|before| before == '.' || belongs(before))
    })
}

/// What the receiving side said, or why Resend did not try.
fn reply_of(word: &str, kind: EventKind, data: &Data<'_>, said: Option<&String>) -> Option<Reply> {
    let own = |reason: Option<&Reason<'_>>| {
        let reason = reason?;
        let text = wire::text(reason.message).or_else(|| wire::text(reason.reason)).map(wire::without_nul)?;
        Some(wire::own_words(&text))
    };
    match (word, kind) {
        ("email.failed", _) => own(data.failed.get()),
        ("email.suppressed", _) => own(data.suppressed.get()),
        (_, EventKind::SuppressedByProvider) => said.map(|said| wire::own_words(said)),
        ("email.bounced", _) => {
            let message = data.bounce.get().and_then(|bounce| wire::text(bounce.message));
            let text = match (said, message) {
                (Some(said), _) => wire::without_nul(said.as_str().into()).into_owned(),
                (None, Some(message)) if Reply::parse(&message).code.is_some() => {
                    wire::without_nul(message).into_owned()
                }
                _ => return None,
            };
            Some(Reply::parse(&text))
        }
        _ => None,
    }
}

/// What Resend hands on of SES's verdict, as in `Permanent/General`.
fn verdict(word: &str, bounce: Option<&Bounce<'_>>) -> Option<String> {
    match word {
        "email.bounced" => {
            let bounce = bounce?;
            let said = [wire::text(bounce.kind), wire::text(bounce.sub_type)];
            let said: Vec<_> = said.iter().flatten().map(|text| text.trim()).collect();
            (!said.is_empty()).then(|| label(&said.join("/")))
        }
        "email.failed" => Some("failed".to_owned()),
        "email.suppressed" => Some("suppressed".to_owned()),
        _ => None,
    }
}

/// Whether SES calls the failure final. Used only where the reply has no code.
fn class_of(kind: EventKind, bounce: Option<&Bounce<'_>>) -> FailureClass {
    let word = bounce.and_then(|bounce| wire::text(bounce.kind));
    let is = |name: &str| word.as_deref().is_some_and(|word| word.trim().eq_ignore_ascii_case(name));
    match kind {
        EventKind::Deferred => FailureClass::Transient,
        EventKind::Refused if is("Transient") => FailureClass::Transient,
        EventKind::Refused if is("Permanent") => FailureClass::Permanent,
        _ => FailureClass::Unknown,
    }
}

#[cfg(test)]
mod tests;
