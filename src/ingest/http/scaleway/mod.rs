//! Scaleway Transactional Email through Scaleway's Topics and Events, whose messages are made as Amazon SNS makes them.
//!
//! Source: Scaleway, "Transactional Email webhooks payloads" (names of fields and types) and "Verifying webhook signatures" (host
//! and issuer of the signing certificates). The envelope is verified as SNS's, with two differences: certificates come from
//! `messaging.s3.<region>.scw.cloud`, and one counts only if Scaleway's own authority issued it, whose certificate
//! (`sns-trust-chain.pem`, valid until 2032) is given in `trust_chain`. Subscriptions are confirmed at
//! `sns.mnq.<region>.scaleway.com`, for configured topics only.
//!
//! What each `type` becomes:
//!
//! | type | event |
//! |---|---|
//! | `email_queued`, `email_delivered` | sent, delivered |
//! | `email_deferred` | deferred; refused where the reply says 5xx |
//! | `email_dropped`, `email_mailbox_not_found` | refused, permanent: Scaleway's words for hard |
//! | `email_spam` | refused, of unknown class unless the reply has a code (inferred: its payload is the one of a delivery) |
//! | `email_blocklisted` | suppressed by provider: the address is on the project's list, so that nobody was asked |
//! | `blocklist_created` | ignored: it is about no message |
//!
//! The reply stands in `email_response_code` and `email_response_message`. `created_at` is the time of the event. An event of
//! several recipients is taken as one for each of them.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection,
    feeds::{FeedError, Place, SetUp, whole},
    sns::{Cloud, FetchCertificate, SettingsError, SnsSettings, Verifier, check_authorities, check_certificates},
    wire::{self, Aside, Parts, Scalar},
};
use crate::{
    config::{Config, ScalewayFeed},
    ingest::{Report, SetAsideReason, label},
    model::{Address, DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The most recipients of one event.
const MAX_RECIPIENTS: usize = 100;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The ARNs of the topics that send here.
    pub topics: Vec<String>,
    /// Scaleway's authority, as PEM texts.
    pub trust_chain: Vec<Vec<u8>>,
    /// Pinned signing certificates, as PEM texts; with any, nothing is fetched.
    pub signing_certificates: Vec<Vec<u8>>,
}

impl Settings {
    fn sns(&self) -> SnsSettings {
        SnsSettings {
            cloud: Cloud::Scaleway,
            topics: self.topics.clone(),
            signing_certificates: self.signing_certificates.clone(),
            authorities: self.trust_chain.clone(),
            ..SnsSettings::default()
        }
    }
}

/// The feed of Scaleway's events.
#[derive(Debug)]
pub struct Scaleway {
    verifier: Verifier,
}

impl Scaleway {
    /// A feed that fetches Scaleway's certificates over HTTPS, unless some are pinned.
    ///
    /// # Errors
    /// Says which setting is wrong.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self { verifier: Verifier::new(&settings.sns())? })
    }

    /// A feed that gets certificates from `fetcher`, unless some are pinned.
    ///
    /// # Errors
    /// Says which setting is wrong.
    pub fn with_fetcher(settings: &Settings, fetcher: Arc<dyn FetchCertificate>) -> Result<Self, SettingsError> {
        Ok(Self { verifier: Verifier::with_fetcher(&settings.sns(), fetcher)? })
    }

    /// Verifies and decodes one delivery.
    ///
    /// # Errors
    /// A rejection with the status that SNS is answered with: 503 where the message is worth sending again, else 4xx.
    pub async fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.verifier.verify(delivery).await?.report(|message| {
            let parts = Parts::parse(message).map_err(|error| {
                let what = "an event of Scaleway's ({\"type\":…}) in an envelope of SNS";
                wire::malformed(StatusCode::BAD_REQUEST, what, error)
            })?;
            Ok(parts.report(Provider::Scaleway, delivery.received_at, take))
        })
    }
}

impl SetUp for Scaleway {
    type Table = ScalewayFeed;
    const PROVIDER: Provider = Provider::Scaleway;

    fn set_up(_: &Config, table: &ScalewayFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let trust_chain = table.trust_chain.iter();
        let trust_chain = whole(trust_chain.map(|file| place.read("trust_chain", file, check_authorities)))?;
        let files = table.signing_certificates.iter().enumerate();
        let signing_certificates =
            whole(files.map(|(number, file)| {
                place.read(&format!("signing_certificates.{number}"), file, check_certificates)
            }))?;
        place.or_wrong(Self::new(&Settings { topics: table.topics.clone(), trust_chain, signing_certificates }))
    }
}

/// The fields that relaywatch uses; subjects, headers and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    created_at: Option<Scalar<'a>>,
    #[serde(borrow)]
    domain_name: Option<Scalar<'a>>,
    #[serde(borrow)]
    email_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    email_from: Option<Scalar<'a>>,
    #[serde(borrow)]
    email_to: Option<&'a RawValue>,
    #[serde(borrow)]
    email_response_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    email_response_message: Option<Scalar<'a>>,
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.kind);
    let word = word.as_deref().unwrap_or("unnamed").trim();
    let (kind, class) = match word {
        "email_queued" => (EventKind::Sent, FailureClass::Unknown),
        "email_delivered" => (EventKind::Delivered, FailureClass::Unknown),
        "email_deferred" => (EventKind::Deferred, FailureClass::Transient),
        "email_dropped" | "email_mailbox_not_found" => (EventKind::Refused, FailureClass::Permanent),
        "email_spam" => (EventKind::Refused, FailureClass::Unknown),
        "email_blocklisted" => (EventKind::SuppressedByProvider, FailureClass::Unknown),
        "blocklist_created" => {
            report.ignored.push("blocklist-created");
            return Ok(());
        }
        _ => return Err(wire::unknown_type(word, fields.created_at, now)),
    };
    let at = wire::event_time(fields.created_at, now, word)?;
    let given = fields.email_to.map_or_else(|| Ok(Vec::new()), wire::scalars::<MAX_RECIPIENTS>);
    let given = given.map_err(|_| Aside::new(SetAsideReason::Malformed, word).at(at))?;
    if given.is_empty() {
        return Err(Aside::new(SetAsideReason::NoRecipient, word).at(at));
    }
    let recipients: Vec<Address> =
        given.into_iter().map(|one| wire::recipient(Some(one), at, word)).collect::<Result<_, _>>()?;
    let message_id = wire::id(fields.email_id);
    let said = wire::text(fields.email_response_message).map(wire::without_nul);
    let code =
        wire::text(fields.email_response_code).and_then(|code| code.trim().parse().ok()).filter(|code| *code > 0);
    let reply = match kind {
        EventKind::SuppressedByProvider => said.as_deref().map(wire::own_words),
        EventKind::Sent => None,
        _ if said.is_none() && code.is_none() => None,
        _ => Some(Reply::with_codes(wire::unwrapped(said.as_deref().unwrap_or_default()), code, None)),
    };
    let kind = wire::unless_final(kind, reply.as_ref());
    for recipient in recipients {
        let dedupe = match wire::text(fields.id) {
            Some(id) => DedupeMaterial::new(Provider::Scaleway, &["id", id.trim(), &recipient.key()]),
            None => wire::by_content(
                Provider::Scaleway,
                message_id.as_deref(),
                &recipient,
                word,
                at,
                said.as_deref().unwrap_or_default(),
            ),
        };
        report.events.push(Event {
            provider: Provider::Scaleway,
            kind,
            at,
            sent_at: (kind == EventKind::Sent).then_some(at),
            dedupe,
            message_id: message_id.clone(),
            recipient,
            from_domain: wire::domain(fields.email_from).or_else(|| wire::domain(fields.domain_name)),
            envelope_sender: None,
            envelope_domain: None,
            campaign: None,
            reply: reply.clone(),
            remote_mta: None,
            provider_verdict: (!matches!(kind, EventKind::Sent | EventKind::Delivered)).then(|| label(word)),
            provider_class: class,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
