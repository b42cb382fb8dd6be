//! Postal's webhooks: one JSON object a delivery, signed with RSA over the raw body.
//!
//! Source: Postal's own code (`lib/postal/http.rb`, `app/services/webhook_delivery_service.rb`, `app/senders/smtp_sender.rb`).
//! `X-Postal-Signature-256` holds the signature with SHA-256, `X-Postal-Signature` one with SHA-1, both PKCS #1 v1.5 in base64. Where
//! the first is there, it alone decides; installations that are older send the second only. Their keys have 1024 bits. The key is
//! the installation's own: what `postal default-dkim-record` prints behind `p=`.
//!
//! Postal stops on 2xx; on all else it comes again after 2, 3, 6, 10 and 15 minutes, and gives up. Each attempt has the same body, so
//! that the signed time tells nothing of replays: a replay is known by `uuid`, and changes nothing.
//!
//! Trap: `message.from` is what the client said in its own MAIL FROM. Postal sends under a return-path of its own, which is not told.
//! So it gives the From domain (inferred), and the envelope sender counts as unknown.
//!
//! What each event becomes:
//!
//! | event | becomes |
//! |---|---|
//! | `MessageSent`, `MessageDelayed` | delivered, deferred; refused where the reply says 5xx |
//! | `MessageDeliveryFailed` | refused; final by Postal's word with `status` `HardFail` |
//! | `MessageBounced` | refused of unknown class: a bounce mail came later, and what it said is not told |
//! | `MessageHeld` for the suppression list | suppressed by provider |
//! | `MessageHeld` for anything else, opens, clicks, `DomainDNSError`, `SendLimit…`, anything about incoming mail | ignored |
//!
//! The reply stands in `output`, cut at 512 characters. `details` is Postal's own sentence, and is read for suppressions only.

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RsaParameters,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    Delivery, Rejection,
    auth::{MAX_SECRETS, SecretError},
    feeds::{FeedError, Place, SetUp, secrets},
    mac::bad_signature,
    wire::{self, Aside, Loose, Scalar},
};
use crate::{
    config::{Config, PostalFeed},
    ingest::{Report, label},
    model::{DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken; a delivery holds one event.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The headers with the signatures, the better one first.
pub const SIGNATURE_HEADERS: [&str; 2] = ["x-postal-signature-256", "x-postal-signature"];

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The installation's public keys: PEM, its base64 alone, or a DKIM record; one, or two while they are rotated.
    pub public_keys: Vec<SecretString>,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No key, or too many.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A text that is no key.
    #[error("a public key is no RSA key; copy what `postal default-dkim-record` prints behind p=")]
    Key,
}

/// One key, for each of the two digests.
struct Key {
    sha256: ParsedPublicKey,
    sha1: ParsedPublicKey,
}

/// The feed of Postal's events.
pub struct Postal {
    keys: Vec<Key>,
}

impl std::fmt::Debug for Postal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postal({} keys)", self.keys.len())
    }
}

impl Postal {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no key, or a text that is none.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        if settings.public_keys.is_empty() {
            return Err(SecretError::Missing.into());
        }
        if settings.public_keys.len() > MAX_SECRETS {
            return Err(SecretError::TooMany.into());
        }
        let keys = settings.public_keys.iter().map(|key| parse_key(key.expose_secret())).collect::<Option<_>>();
        Ok(Self { keys: keys.ok_or(SettingsError::Key)? })
    }

    /// Verifies and decodes one event.
    ///
    /// # Errors
    /// 400 for what is no event, 401 for a signature that is absent or doesn't verify, 413 above the cap. Postal comes again after
    /// each.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        self.verify(delivery)?;
        wire::elements(delivery, Provider::Postal, "an event of Postal's ({\"event\":…})", take)
    }

    /// Checks the better signature that is there.
    fn verify(&self, delivery: &Delivery) -> Result<(), Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "the header X-Postal-Signature-256 or X-Postal-Signature is absent or unreadable; Postal signs every webhook, so \
                 look at who posts",
            )
        };
        let header =
            SIGNATURE_HEADERS.into_iter().find(|name| delivery.headers.contains_key(*name)).ok_or_else(absent)?;
        let text = delivery.header(header).map(str::trim).filter(|text| !text.is_empty()).ok_or_else(absent)?;
        let signature = BASE64_STANDARD.decode(text).map_err(|_| absent())?;
        let [with_sha256, _] = SIGNATURE_HEADERS;
        let verified = self.keys.iter().any(|key| {
            let key = if header == with_sha256 { &key.sha256 } else { &key.sha1 };
            key.verify_sig(&delivery.body, &signature).is_ok()
        });
        if verified { Ok(()) } else { Err(bad_signature("public key of the installation")) }
    }
}

/// A key out of PEM, of its base64 alone, or of a DKIM record.
fn parse_key(text: &str) -> Option<Key> {
    let body: String = text.lines().filter(|line| !line.trim_start().starts_with("-----")).collect();
    let body = body.split(';').find_map(|part| part.trim().strip_prefix("p=")).unwrap_or(&body);
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    let der = BASE64_STANDARD.decode(body).ok()?;
    let key = |parameters: &'static RsaParameters| ParsedPublicKey::new(parameters, &der).ok();
    Some(Key {
        sha256: key(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY)?,
        sha1: key(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY)?,
    })
}

impl SetUp for Postal {
    type Table = PostalFeed;
    const PROVIDER: Provider = Provider::Postal;

    fn set_up(_: &Config, table: &PostalFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let public_keys = secrets(&[&table.public_key, &table.previous_public_key]);
        place.or_wrong(Self::new(&Settings { public_keys }))
    }
}

/// The fields that relaywatch uses; subjects, user agents, links and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(borrow)]
    uuid: Option<Scalar<'a>>,
    #[serde(default, borrow)]
    payload: Loose<Payload<'a>>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(default, borrow)]
    message: Loose<Message<'a>>,
    #[serde(default, borrow)]
    original_message: Loose<Message<'a>>,
    #[serde(borrow)]
    status: Option<Scalar<'a>>,
    #[serde(borrow)]
    details: Option<Scalar<'a>>,
    #[serde(borrow)]
    output: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    direction: Option<Scalar<'a>>,
    #[serde(borrow, rename = "message_id")]
    header_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    to: Option<Scalar<'a>>,
    #[serde(borrow)]
    from: Option<Scalar<'a>>,
    #[serde(borrow)]
    tag: Option<Scalar<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
}

fn take(fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.event);
    let word = word.as_deref().unwrap_or("unnamed");
    let payload = fields.payload.get();
    let message = payload.and_then(|payload| payload.message.get().or(payload.original_message.get()));
    let is_incoming = message.and_then(|message| wire::text(message.direction)).is_some_and(|text| text == "incoming");
    let status = payload.and_then(|payload| wire::text(payload.status));
    let details = payload.and_then(|payload| wire::text(payload.details)).map(wire::without_nul);
    let is_suppressed =
        details.as_deref().is_some_and(|details| details.to_ascii_lowercase().contains("suppression list"));
    if let Some(word) = ignored(word, is_incoming, is_suppressed) {
        report.ignored.push(word);
        return Ok(());
    }
    let (kind, provider_class) = match (word, status.as_deref()) {
        ("MessageHeld", _) => (EventKind::SuppressedByProvider, FailureClass::Unknown),
        ("MessageSent", _) => (EventKind::Delivered, FailureClass::Unknown),
        ("MessageDelayed", _) => (EventKind::Deferred, FailureClass::Transient),
        ("MessageDeliveryFailed", Some("HardFail")) => (EventKind::Refused, FailureClass::Permanent),
        ("MessageDeliveryFailed", Some("SoftFail")) => (EventKind::Refused, FailureClass::Transient),
        ("MessageDeliveryFailed" | "MessageBounced", _) => (EventKind::Refused, FailureClass::Unknown),
        _ => return Err(wire::unknown_type(word, fields.timestamp, now)),
    };
    let at = wire::event_time(fields.timestamp, now, word)?;
    let recipient = wire::recipient(message.and_then(|message| message.to), at, word)?;
    let output = payload.and_then(|payload| wire::text(payload.output)).map(wire::without_nul);
    let reply = match (word, kind) {
        ("MessageDelayed" | "MessageDeliveryFailed", _) => output.as_deref().map(Reply::parse),
        (_, EventKind::SuppressedByProvider) => details.as_deref().map(wire::own_words),
        _ => None,
    };
    let kind = wire::unless_final(kind, reply.as_ref());
    let message_id = wire::bare_id(message.and_then(|message| message.header_id))
        .or_else(|| wire::id(message.and_then(|message| message.id)));
    let said = output.as_deref().or(details.as_deref()).unwrap_or_default();
    let dedupe = match wire::text(fields.uuid) {
        Some(id) => DedupeMaterial::new(Provider::Postal, &["id", id.trim()]),
        None => wire::by_content(Provider::Postal, message_id.as_deref(), &recipient, word, at, said),
    };
    report.events.push(Event {
        provider: Provider::Postal,
        kind,
        at,
        sent_at: wire::send_time(message.and_then(|message| message.timestamp), now),
        dedupe,
        message_id,
        recipient,
        from_domain: wire::domain(message.and_then(|message| message.from)),
        envelope_sender: None,
        envelope_domain: None,
        campaign: wire::name(message.and_then(|message| message.tag)),
        provider_verdict: match kind {
            EventKind::Delivered => None,
            _ => Some(label(status.as_deref().unwrap_or(word))),
        },
        reply,
        remote_mta: None,
        provider_class,
    });
    Ok(())
}

/// What is known, and of no use.
fn ignored(word: &str, is_incoming: bool, is_suppressed: bool) -> Option<&'static str> {
    match word {
        "MessageLoaded" => Some("open"),
        "MessageLinkClicked" => Some("click"),
        "DomainDNSError" => Some("dns"),
        _ if word.starts_with("SendLimit") => Some("limit"),
        _ if word.starts_with("Message") && is_incoming => Some("inbound"),
        "MessageHeld" if !is_suppressed => Some("held"),
        _ => None,
    }
}

/// Signs events as Postal does, with a key of one's own: for tests and fuzzing.
pub mod signing {
    use aws_lc_rs::{
        encoding::{AsDer, PublicKeyX509Der},
        rand::SystemRandom,
        rsa::{KeyPair, KeySize},
        signature::{KeyPair as _, RSA_PKCS1_SHA256},
    };
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    /// The cryptographic library refused.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    #[error("the signing key can't be made or used")]
    pub struct SigningError;

    /// A key that stands for an installation's.
    pub struct Signer(KeyPair);

    impl std::fmt::Debug for Signer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Signer")
        }
    }

    impl Signer {
        /// A signer with a new key of 2048 bits.
        ///
        /// # Errors
        /// Where the library has no randomness.
        pub fn generate() -> Result<Self, SigningError> {
            KeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|_| SigningError)
        }

        /// The public key as a DKIM record has it behind `p=`.
        ///
        /// # Errors
        /// Where the library refuses.
        pub fn public_key(&self) -> Result<String, SigningError> {
            let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().map_err(|_| SigningError)?;
            Ok(BASE64_STANDARD.encode(der.as_ref()))
        }

        /// The header `X-Postal-Signature-256` for a body.
        ///
        /// # Errors
        /// Where the library refuses.
        pub fn signature(&self, body: &[u8]) -> Result<String, SigningError> {
            let mut signature = vec![0; self.0.public_modulus_len()];
            self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), body, &mut signature).map_err(|_| SigningError)?;
            Ok(BASE64_STANDARD.encode(signature))
        }
    }
}

#[cfg(test)]
mod tests;
