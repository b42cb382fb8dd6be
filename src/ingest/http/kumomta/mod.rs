//! KumoMTA's log hooks: log records as JSON, one a delivery, an array, or lines, under a shared secret.
//!
//! Source: KumoMTA's own documentation (`docs/reference/log_record.md`). The hook is a script of the operator's (Lua), so that its
//! authentication, its batches and what it does with an answer are the operator's too: basic authentication, a bearer token, or a
//! header of one's own with a token. By default KumoMTA queues a record that was refused and tries again after 1 to 20 minutes; the
//! example rejects a record for good on 500, hence the script in docs/providers/kumomta.md does not.
//!
//! It tells more than any other provider: the reply with both codes, the host that gave it, and the true envelope sender.
//!
//! What each record becomes:
//!
//! | `type` | event |
//! |---|---|
//! | `Reception`, `Delivery`, `TransientFailure` | sent, delivered, deferred |
//! | `Bounce` | refused, final by KumoMTA's word |
//! | `OOB` | refused of unknown class, unless the reply has a code: a bounce mail came later. Its 550 without a text is KumoMTA's own |
//! | `Expiration` | refused: given up after temporary failures; the record's reply is KumoMTA's own and without codes here |
//! | `AdminBounce` | refused by an administrator, so of unknown class and without codes |
//! | `Feedback` | complained, where the report names a recipient |
//! | `Rejection`, `Delayed`, `Delay` and what is about queues alone | ignored |

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection,
    auth::{Credentials, SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, logins, secrets},
    wire::{self, Aside, Loose, Parts, Scalar},
};
use crate::{
    config::{Config, KumomtaFeed},
    ingest::{Report, SetAsideReason, label},
    model::{Address, DedupeMaterial, EnhancedCode, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken. The size of a batch is the operator's choice.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// More recipients than one record has.
const MAX_RECIPIENTS: usize = 1_000;

/// The feed of KumoMTA's log records.
#[derive(Debug, Clone)]
pub struct KumoMta {
    secrets: Secrets,
}

impl KumoMta {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one, or the header can't have its name.
    pub fn new(credentials: &Credentials) -> Result<Self, SecretError> {
        Ok(Self { secrets: credentials.secrets()? })
    }

    /// Authenticates and decodes one record or batch.
    ///
    /// # Errors
    /// 400 for what is no record, 401 without the secret, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::decoded(delivery, "records of KumoMTA's ({\"type\":…})", |text| {
            Ok(Parts::lines(text)?.report(Provider::Kumomta, delivery.received_at, take))
        })
    }
}

impl SetUp for KumoMta {
    type Table = KumomtaFeed;
    const PROVIDER: Provider = Provider::Kumomta;

    fn set_up(_: &Config, table: &KumomtaFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        place.or_wrong(Self::new(&Credentials {
            logins: logins(table.username.as_deref(), &[&table.password, &table.previous_password]),
            tokens: secrets(&[&table.token, &table.previous_token]),
            header: table.header.clone(),
        }))
    }
}

/// The fields that relaywatch uses; subjects, other headers and meta fields and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    nodeid: Option<Scalar<'a>>,
    #[serde(borrow)]
    sender: Option<Scalar<'a>>,
    #[serde(borrow)]
    recipient: Option<&'a RawValue>,
    #[serde(default, borrow)]
    response: Loose<Response<'a>>,
    #[serde(default, borrow)]
    peer_address: Loose<Peer<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(borrow)]
    event_time: Option<Scalar<'a>>,
    #[serde(borrow)]
    created: Option<Scalar<'a>>,
    #[serde(borrow)]
    num_attempts: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_classification: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    headers: Loose<Headers<'a>>,
    #[serde(default, borrow)]
    meta: Loose<Meta<'a>>,
    #[serde(default, borrow)]
    feedback_report: Loose<Feedback<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    code: Option<Scalar<'a>>,
    #[serde(default)]
    enhanced_code: Loose<EnhancedCode>,
    #[serde(borrow)]
    content: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Peer<'a> {
    #[serde(borrow)]
    name: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Headers<'a> {
    #[serde(borrow, rename = "From")]
    from: Option<Scalar<'a>>,
    #[serde(borrow, rename = "from")]
    from_lower: Option<Scalar<'a>>,
    #[serde(borrow, rename = "FROM")]
    from_upper: Option<Scalar<'a>>,
}

/// The names that the documentation's queues go by.
#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow)]
    campaign: Option<Scalar<'a>>,
    #[serde(borrow)]
    tenant: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Feedback<'a> {
    // The documentation spells it so.
    #[serde(borrow)]
    original_rcpto_to: Option<&'a RawValue>,
    #[serde(borrow)]
    original_rcpt_to: Option<&'a RawValue>,
    #[serde(default, borrow)]
    supplemental_trace: Loose<Trace<'a>>,
}

#[derive(Deserialize)]
struct Trace<'a> {
    #[serde(borrow)]
    recipient: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Whom the record is about: of a complaint, whom the report names, for it went to nobody's recipient.
    fn recipients(&self, kind: EventKind) -> Option<&'a RawValue> {
        if kind != EventKind::Complained {
            return self.recipient;
        }
        let report = self.feedback_report.get()?;
        report
            .supplemental_trace
            .get()
            .and_then(|trace| trace.recipient)
            .or(report.original_rcpto_to)
            .or(report.original_rcpt_to)
    }
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.kind);
    let word = word.as_deref().unwrap_or("unnamed");
    let time = wire::first(&[fields.event_time, fields.timestamp]);
    let (kind, provider_class) = match word {
        "Reception" => (EventKind::Sent, FailureClass::Unknown),
        "Delivery" => (EventKind::Delivered, FailureClass::Unknown),
        "TransientFailure" => (EventKind::Deferred, FailureClass::Transient),
        "Bounce" => (EventKind::Refused, FailureClass::Permanent),
        "Expiration" => (EventKind::Refused, FailureClass::Transient),
        "OOB" | "AdminBounce" => (EventKind::Refused, FailureClass::Unknown),
        "Feedback" => (EventKind::Complained, FailureClass::Unknown),
        "Rejection" => {
            report.ignored.push("inbound");
            return Ok(());
        }
        "Delay" | "Delayed" | "AdminRebind" | "Rebind" | "DeferredInjectionRebind" => {
            report.ignored.push("queue");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, time, now)),
    };
    let at = wire::event_time(time, now, word)?;
    let nobody = || Aside::new(SetAsideReason::NoRecipient, word).at(at);
    let malformed = || Aside::new(SetAsideReason::Malformed, word).at(at);
    let recipients: Vec<Address> = wire::scalars::<MAX_RECIPIENTS>(fields.recipients(kind).ok_or_else(nobody)?)
        .map_err(|_| malformed())?
        .into_iter()
        .filter_map(Scalar::text)
        .map(|text| Address::parse(&text).map_err(|_| malformed()))
        .collect::<Result<_, _>>()?;
    if recipients.is_empty() {
        return Err(nobody());
    }
    let reply = match (word, kind) {
        // KumoMTA's own answers have codes that would pass for the receiving side's.
        ("Expiration" | "AdminBounce", _) => {
            let own = fields.response.get().and_then(|response| wire::text(response.content)).map(wire::without_nul);
            own.as_deref().map(wire::own_words)
        }
        (_, EventKind::Refused | EventKind::Deferred) => fields.response.get().and_then(|said| reply_of(word, said)),
        _ => None,
    };
    // Made of a mail that came in: its id and time are the mail's, and not those of the message that it is about.
    let is_about_another = matches!(word, "OOB" | "Feedback");
    let from = fields.headers.get();
    let from = from.and_then(|headers| wire::first(&[headers.from, headers.from_lower, headers.from_upper]));
    // Of a complaint, it is the complainer's.
    let sender = fields.sender.filter(|_| kind != EventKind::Complained);
    let envelope_sender = wire::text(sender).and_then(|text| Address::parse(&text).ok());
    let message_id = wire::id(fields.id).filter(|_| !is_about_another);
    for recipient in recipients {
        report.events.push(Event {
            provider: Provider::Kumomta,
            kind,
            at,
            sent_at: wire::send_time(fields.created, now).filter(|_| !is_about_another),
            dedupe: dedupe(fields, word, at, &recipient),
            message_id: message_id.clone(),
            recipient,
            from_domain: wire::domain(from),
            envelope_domain: envelope_sender.as_ref().map(|address| address.domain().to_owned()),
            envelope_sender: envelope_sender.clone(),
            campaign: fields.meta.get().and_then(|meta| wire::name(meta.campaign).or_else(|| wire::name(meta.tenant))),
            reply: reply.clone(),
            // Of a message that came in, it is who brought it.
            remote_mta: match kind {
                EventKind::Sent | EventKind::Complained => None,
                _ => wire::name(fields.peer_address.get().and_then(|peer| peer.name)),
            },
            provider_verdict: verdict(word, kind, wire::text(fields.bounce_classification).as_deref()),
            provider_class,
        });
    }
    Ok(())
}

/// What the receiving side said; the codes stand in fields of their own. Where a bounce mail has no diagnostic of SMTP's, KumoMTA puts
/// 550 and no text in its place (its source, `log_disposition`); the status that the mail does give is the enhanced code.
fn reply_of(word: &str, response: &Response<'_>) -> Option<Reply> {
    let text = wire::text(response.content).map(wire::without_nul);
    let code = wire::text(response.code).filter(|_| word != "OOB" || text.is_some());
    let code = code.and_then(|code| code.trim().parse().ok());
    let reply = Reply::with_codes(text.as_deref().unwrap_or_default(), code, response.enhanced_code.get().copied());
    (!reply.text.is_empty() || reply.code.is_some() || reply.enhanced.is_some()).then_some(reply)
}

/// A spool id goes through all attempts, so that all that tells one record from another makes the key.
fn dedupe(fields: &Fields<'_>, word: &str, at: Timestamp, recipient: &Address) -> DedupeMaterial {
    let text = |field| wire::text(field).unwrap_or_default();
    let (node, id, attempts) = (text(fields.nodeid), text(fields.id), text(fields.num_attempts));
    let at = at.as_millis().to_string();
    DedupeMaterial::new(Provider::Kumomta, &["record", &node, &id, &recipient.key(), word, &attempts, &at])
}

/// What KumoMTA itself says: type and classification, as in `Bounce/InvalidRecipient`.
fn verdict(word: &str, kind: EventKind, classification: Option<&str>) -> Option<String> {
    if !matches!(kind, EventKind::Refused | EventKind::Deferred) {
        return None;
    }
    let classification = classification.map(str::trim).filter(|text| *text != "Uncategorized");
    Some(label(&classification.map_or_else(|| word.to_owned(), |class| format!("{word}/{class}"))))
}

#[cfg(test)]
mod tests;
