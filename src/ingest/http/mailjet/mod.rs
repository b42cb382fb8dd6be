//! Mailjet's events: one JSON object a delivery, or with grouping an array, under basic authentication.
//!
//! Source: Mailjet, "Event API". Mailjet signs nothing; user name and password stand in the webhook's URL. It stops on 200 and
//! comes again on all else, by its English page every 30 s for 24 hours, by an older one ten times within 100 minutes.
//!
//! No id of an event, no From, no return-path, and no field for the reply of a bounce: what the receiving side said stands in
//! `comment` or nowhere. `error` and `error_related_to` are Mailjet's words, kept beside relaywatch's verdict and not read as a
//! reply. `MessageID` goes beyond 2^53 and is kept by its digits.
//!
//! What each event becomes:
//!
//! | event | becomes |
//! |---|---|
//! | `sent` | delivered: it brings the reply with which the receiving side took the message (inferred) |
//! | `bounce` | refused; with `hard_bounce` final by Mailjet's word |
//! | `blocked` for the address (`preblocked`; `blacklisted`, `spam reporter`: inferred) | suppressed by provider |
//! | `blocked`, `duplicate in campaign` | ignored: the same campaign's other message counts |
//! | `blocked` for anything else | refused of unknown class; without codes, unless `comment` holds a reply |
//! | `spam`, `unsub` | complained, unsubscribed |
//! | `open`, `click` | ignored |

use serde::Deserialize;

use super::{
    Delivery, Rejection,
    auth::{Credentials, SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, logins},
    wire::{self, Aside, Scalar},
};
use crate::{
    config::{Config, MailjetFeed},
    ingest::{Report, label},
    model::{Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken. The size of a group is undocumented.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The feed of Mailjet's events.
#[derive(Debug, Clone)]
pub struct Mailjet {
    secrets: Secrets,
}

impl Mailjet {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one.
    pub fn new(credentials: &Credentials) -> Result<Self, SecretError> {
        Ok(Self { secrets: credentials.secrets()? })
    }

    /// Authenticates and decodes one event or group.
    ///
    /// # Errors
    /// 400 for what is no event, 401 without the password, 413 above the cap. Mailjet comes again after each.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::elements(delivery, Provider::Mailjet, "an event of Mailjet's ({\"event\":…})", take)
    }
}

impl SetUp for Mailjet {
    type Table = MailjetFeed;
    const PROVIDER: Provider = Provider::Mailjet;

    fn set_up(_: &Config, table: &MailjetFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let logins = logins(table.username.as_deref(), &[&table.password, &table.previous_password]);
        place.or_wrong(Self::new(&Credentials { logins, ..Credentials::default() }))
    }
}

/// The fields that relaywatch uses; payloads, user agents, links and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow)]
    time: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow, rename = "MessageID")]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    hard_bounce: Option<Scalar<'a>>,
    #[serde(borrow)]
    error_related_to: Option<Scalar<'a>>,
    #[serde(borrow)]
    error: Option<Scalar<'a>>,
    #[serde(borrow)]
    comment: Option<Scalar<'a>>,
    #[serde(borrow)]
    customcampaign: Option<Scalar<'a>>,
    #[serde(borrow)]
    mj_campaign_id: Option<Scalar<'a>>,
}

/// Errors of a blocked message that name the address: it's on one of Mailjet's lists.
const SUPPRESSIONS: [&str; 3] = ["preblocked", "blacklisted", "spam reporter"];

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.event);
    let word = word.as_deref().unwrap_or("unnamed");
    let error = wire::text(fields.error).map(|error| error.trim().to_ascii_lowercase());
    let error = error.as_deref();
    let is_hard = fields.hard_bounce.is_some_and(Scalar::is_true);
    let (kind, provider_class) = match word {
        "sent" => (EventKind::Delivered, FailureClass::Unknown),
        "bounce" if is_hard => (EventKind::Refused, FailureClass::Permanent),
        "bounce" => (EventKind::Refused, FailureClass::Transient),
        "blocked" if error.is_some_and(|error| SUPPRESSIONS.contains(&error)) => {
            (EventKind::SuppressedByProvider, FailureClass::Unknown)
        }
        "blocked" if error == Some("duplicate in campaign") => {
            report.ignored.push("duplicate");
            return Ok(());
        }
        "blocked" => (EventKind::Refused, FailureClass::Unknown),
        "spam" => (EventKind::Complained, FailureClass::Unknown),
        "unsub" => (EventKind::Unsubscribed, FailureClass::Unknown),
        "open" => {
            report.ignored.push("open");
            return Ok(());
        }
        "click" => {
            report.ignored.push("click");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, fields.time, now)),
    };
    let at = wire::event_time(fields.time, now, word)?;
    let recipient = wire::recipient(fields.email, at, word)?;
    let comment = wire::text(fields.comment).map(wire::without_nul);
    let said = comment.as_deref().map(|comment| Reply::parse(wire::unwrapped(comment)));
    let reply = match (word, kind) {
        ("bounce", _) => said,
        ("blocked", EventKind::Refused) if said.as_ref().is_some_and(|reply| reply.code.is_some()) => said,
        // Mailjet never tried; the receiving side said nothing, and has no code.
        ("blocked", _) => comment.as_deref().map(wire::own_words),
        _ => None,
    };
    let message_id = wire::id(fields.message_id);
    report.events.push(Event {
        provider: Provider::Mailjet,
        kind,
        at,
        sent_at: None,
        dedupe: wire::by_content(
            Provider::Mailjet,
            message_id.as_deref(),
            &recipient,
            word,
            at,
            comment.as_deref().unwrap_or_default(),
        ),
        message_id,
        recipient,
        from_domain: None,
        envelope_sender: None,
        envelope_domain: None,
        campaign: wire::name(fields.customcampaign)
            .or_else(|| wire::name(fields.mj_campaign_id).filter(|id| id != "0")),
        provider_verdict: verdict(word, is_hard, wire::text(fields.error_related_to).as_deref(), error),
        reply,
        remote_mta: None,
        provider_class,
    });
    Ok(())
}

/// What Mailjet itself says, as in `hard bounce/recipient/user unknown`.
fn verdict(word: &str, is_hard: bool, related_to: Option<&str>, error: Option<&str>) -> Option<String> {
    let first = match word {
        "bounce" if is_hard => "hard bounce",
        "bounce" => "soft bounce",
        "blocked" => "blocked",
        _ => return None,
    };
    let said: Vec<_> = [Some(first), related_to.map(str::trim), error].into_iter().flatten().collect();
    Some(label(&said.join("/")))
}

#[cfg(test)]
mod tests;
