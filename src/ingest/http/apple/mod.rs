//! Apple's server-to-server notices: `{"payload":"<JWT>"}`, authenticated by the JWT alone.
//!
//! Source: Apple, "Processing changes for Sign in with Apple accounts". What is really sent differs from that page:
//! `events` is a string that holds JSON, `event_time` is in milliseconds, `exp` is there. Both are read.
//!
//! Apple keeps one notice address for a group of apps, and the company's own account deletion usually lives behind it.
//! So there are two modes: [`Mode::Direct`], in which Apple posts here and the body is passed on, and
//! [`Mode::Forwarded`], in which the company's backend passes a copy on to us.
//!
//! Apple tries again on every answer but 200, on a schedule that it doesn't tell. A notice that is refused here for a
//! mistake in the settings has a chance to come again; one that is forged has not, and costs nothing.

mod keys;
pub mod signing;

use std::{collections::HashMap, sync::Arc};

use axum::http::StatusCode;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, Validation};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

pub use keys::{AppleKeyServer, FetchError, FetchKeys, KEYS_URL, KeySetError};
use keys::{KeySet, Keys, Miss};

use super::{
    Delivery, Rejection, RejectionReason,
    auth::{SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, secrets, whole},
    wire::{self, Aside, Parts, Scalar},
};
use crate::{
    config::{AppleFeed, AppleMode, Config, FilePath},
    ingest::{Forward, KEPT_MILLIS, Report, SetAside, SetAsideReason, label},
    model::{Address, MINUTE_MILLIS, Notice, NoticeKind, Provider, Timestamp},
};

/// The largest body that is taken; a notice is a small JWT.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// The issuer of every notice.
pub const ISSUER: &str = "https://appleid.apple.com";
/// How far past its `exp` a token is still taken, for clocks that differ.
pub const EXPIRY_LEEWAY_MILLIS: i64 = 5 * MINUTE_MILLIS;
/// The longest `sub` that is taken; real ones have about 44 characters.
const MAX_SUBJECT_BYTES: usize = 255;
/// What the body should be, for messages.
const WHAT: &str = "a notice of Apple's ({\"payload\":\"<JWT>\"})";

/// An app whose notices are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The client id (`aud`): App ID or Services ID.
    pub client_id: String,
    /// The developer team that it belongs to.
    pub team: String,
}

/// Who posts to the feed.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Apple itself.
    Direct {
        /// The endpoint that lived at the notice address before; it gets every verified body, after the commit.
        forward_to: Option<String>,
    },
    /// The company's backend, which keeps the notice address and sends a copy of what it gets, under a shared secret in
    /// `Authorization: Bearer`. It may send late: `exp` is not enforced, the signature still is.
    Forwarded {
        /// The shared secrets: one, or two while they are rotated.
        secrets: Vec<SecretString>,
        /// JWK sets that Apple has withdrawn since, for copies that are older than the last change of keys.
        archived_keys: Vec<Bytes>,
    },
}

/// Where the keys come from.
#[derive(Clone)]
pub enum KeySource {
    /// A JWK set that is pinned (`jwks_file`); nothing is fetched.
    Pinned(Bytes),
    /// Apple's published set, fetched when a notice names a key that isn't known.
    Published(Arc<dyn FetchKeys>),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pinned(jwks) => write!(f, "Pinned({} bytes)", jwks.len()),
            Self::Published(_) => f.write_str("Published"),
        }
    }
}

/// What the feed is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The apps whose notices are taken.
    pub apps: Vec<App>,
    /// Who posts.
    pub mode: Mode,
    /// Where the keys come from.
    pub keys: KeySource,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// There is no app, so every notice would be foreign.
    #[error("no app is configured; add a [[team.app]] with the client_id that Apple sends notices for")]
    NoApps,
    /// One client id belongs to two teams.
    #[error("the client id {client_id} is configured for two teams; an app belongs to one")]
    TwoTeams {
        /// The client id.
        client_id: String,
    },
    /// `forward_to` is no address that can be posted to.
    #[error("forward_to is no http or https URL with a host")]
    ForwardTo,
    /// The shared secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

/// Whether a JWK set has keys that can be used.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_keys(jwks: &[u8]) -> Result<(), KeySetError> {
    KeySet::parse(jwks).map(drop)
}

/// The feed of Apple's notices.
#[derive(Debug)]
pub struct Apple {
    teams: HashMap<String, String>,
    keys: Keys,
    validation: Validation,
    /// Whether the body is passed on.
    forwards: bool,
    /// Set in the mode `forwarded` only.
    secrets: Option<Secrets>,
}

/// The body.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: Scalar<'a>,
}

/// The claims; what relaywatch has no use for is skipped.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Option<Scalar<'a>>,
    #[serde(borrow)]
    aud: Option<Scalar<'a>>,
    #[serde(borrow)]
    iat: Option<Scalar<'a>>,
    #[serde(borrow)]
    exp: Option<Scalar<'a>>,
    #[serde(borrow)]
    jti: Option<Scalar<'a>>,
    #[serde(borrow)]
    events: Option<Scalar<'a>>,
}

/// What happened.
#[derive(Deserialize)]
struct Happening<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    sub: Option<Scalar<'a>>,
    #[serde(borrow)]
    email: Option<Scalar<'a>>,
    #[serde(borrow)]
    is_private_email: Option<Scalar<'a>>,
    #[serde(borrow)]
    event_time: Option<Scalar<'a>>,
}

impl Apple {
    /// Makes the feed. Nothing is fetched yet.
    ///
    /// # Errors
    /// Says which setting is wrong.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let Settings { apps, mode, keys } = settings;
        if apps.is_empty() {
            return Err(SettingsError::NoApps);
        }
        let mut teams = HashMap::new();
        for App { client_id, team } in apps {
            if teams.insert(client_id.clone(), team.clone()).is_some_and(|other| other != team) {
                return Err(SettingsError::TwoTeams { client_id });
            }
        }
        let (forwards, secrets, archived) = match mode {
            Mode::Direct { forward_to } => {
                let url = forward_to.map(|text| Url::parse(&text).map_err(|_| SettingsError::ForwardTo)).transpose()?;
                if url.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https") || url.host().is_none()) {
                    return Err(SettingsError::ForwardTo);
                }
                (url.is_some(), None, Vec::new())
            }
            Mode::Forwarded { secrets, archived_keys } => (false, Some(Secrets::new(&[], &secrets)?), archived_keys),
        };
        let mut old = KeySet::default();
        for jwks in &archived {
            old.extend(KeySet::parse(jwks)?);
        }
        let keys = match keys {
            KeySource::Pinned(jwks) => {
                // The pinned ones first: they count where an archived set has another key under the same id.
                let mut pinned = KeySet::parse(&jwks)?;
                pinned.extend(old);
                Keys::fixed(pinned)
            }
            KeySource::Published(fetcher) => Keys::published(old, fetcher),
        };
        // The library compares times with the machine's clock; ours come in with the delivery, so `exp` is checked here.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Ok(Self { teams, keys, validation, forwards, secrets })
    }

    /// Verifies and decodes one delivery.
    ///
    /// # Errors
    /// 400 for what is no notice, 401 for a signature (or, when forwarded, a shared secret) that doesn't
    /// verify, 403 for a foreign issuer or client id, 413 above the cap, 503 where no key can be had
    /// just now and for a token that has expired by this machine's clock. Where bodies are passed on, a foreign client id is no
    /// reason to refuse one.
    pub async fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        if let Some(secrets) = &self.secrets {
            secrets.check(delivery)?;
        }
        let text = wire::utf8(&delivery.body).map_err(bad_body)?;
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| bad_body(error.into()))?;
        let token = envelope.payload.text().ok_or_else(|| refused("the payload holds no JWT"))?;
        let claims = self.verify(&token, delivery.received_at).await?;
        let mut report = self.read(&claims, delivery.received_at).map_err(Rejection::conclusive)?;
        report.forward = self.forwards.then(|| Forward(delivery.body.clone()));
        Ok(report)
    }

    /// The claims of a token that Apple has signed, as they came.
    async fn verify(&self, token: &str, now: Timestamp) -> Result<Box<RawValue>, Rejection> {
        // Covers `alg: none` too, which the library doesn't know.
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| refused("the payload is no JWT with an algorithm that is known"))?;
        if header.alg != Algorithm::RS256 {
            return Err(refused("the JWT is not signed with RS256, the only algorithm of Apple's keys"));
        }
        if header.crit.is_some() {
            return Err(refused("the JWT demands extensions (crit) that are not known"));
        }
        let kid = header.kid.ok_or_else(|| refused("the JWT names no key (kid)"))?;
        let key = self.keys.find(&kid, now).await.map_err(|miss| match miss {
            Miss::Unknown if self.keys.are_pinned() => Rejection::new(
                StatusCode::UNAUTHORIZED,
                RejectionReason::BadSignature,
                format!(
                    "the JWT names a key (kid) that is not in the pinned jwks_file; if Apple has rotated its keys, put what \
                     {KEYS_URL} says now into the file, else look at who else posts to this address"
                ),
            ),
            Miss::Unknown => refused("the JWT names a key (kid) that is not among Apple's keys"),
            Miss::Unavailable => Rejection::new(
                StatusCode::SERVICE_UNAVAILABLE,
                RejectionReason::KeysUnavailable,
                format!("Apple's keys cannot be had just now; allow GET {KEYS_URL} or pin the keys with jwks_file"),
            )
            .conclusive(),
        })?;
        jsonwebtoken::decode(token, &key, &self.validation).map(|token| token.claims).map_err(|error| {
            if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) {
                return Rejection::new(
                    StatusCode::BAD_REQUEST,
                    RejectionReason::Malformed,
                    "the claims of the JWT are no JSON object, or hold a claim twice",
                );
            }
            refused("the JWT's signature does not verify with the key that it names")
        })
    }

    /// Reads verified claims.
    fn read(&self, raw: &RawValue, now: Timestamp) -> Result<Report, Rejection> {
        let claims: Claims<'_> = serde_json::from_str(raw.get()).map_err(|error| bad_body(error.into()))?;
        if wire::text(claims.iss).as_deref() != Some(ISSUER) {
            return Err(foreign(format!("the issuer is not {ISSUER}")));
        }
        let audience = self.audience(claims.aud);
        if self.secrets.is_none()
            && let Some(exp) = claims.exp
        {
            let stale = |status, detail| Err(Rejection::new(status, RejectionReason::Stale, detail));
            match exp.time() {
                None => return stale(StatusCode::BAD_REQUEST, "the token's expiry (exp) is no time"),
                // Apple signed it, so that a clock of ours that is ahead must not cost a notice.
                Some(at) if now.millis_since(at) > EXPIRY_LEEWAY_MILLIS => {
                    return stale(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the token has expired (exp); Apple's own are valid for a day, so this machine's clock may be wrong: \
                         check it. Copies that a backend passes on belong into the mode forwarded",
                    );
                }
                Some(_) => {}
            }
        }
        let (audience, team) = match audience {
            Ok(known) => known,
            // One address serves a whole group of apps: what lives behind it wants the notices of all of them.
            Err(client_id) if self.forwards => {
                let ignored = vec!["unconfigured-app"];
                return Ok(Report { ignored, unconfigured_app: Some(client_id), ..Report::default() });
            }
            Err(client_id) => {
                return Err(foreign(format!(
                    "the client id \"{client_id}\" is not configured; add it as a [[team.app]] if it is yours"
                )));
            }
        };
        // The signature is Apple's, whatever clock wrote the time: the notice counts, by the time of its event.
        let issued_at = claims.iat.and_then(Scalar::time).filter(|at| crate::ingest::plausible(*at, now));
        let jwt_id = wire::id(claims.jti).unwrap_or_default();
        let mut report = Report { misdated: claims.iat.is_some() && issued_at.is_none(), ..Report::default() };
        // `events` is a string that holds JSON, or the JSON itself.
        let inner = claims.events.and_then(Scalar::text);
        let events = inner.as_deref().or_else(|| claims.events.map(|events| events.raw().get()));
        let Some(Ok(parts)) = events.map(Parts::<Happening<'_>>::parse) else {
            report.set_aside.push(SetAside {
                provider: Provider::Apple,
                reason: SetAsideReason::Malformed,
                label: "events".to_owned(),
                at: issued_at,
                body: raw.get().as_bytes().to_vec(),
                kept_millis: KEPT_MILLIS,
            });
            return Ok(report);
        };
        parts.fold(Provider::Apple, &mut report, |happening, report| {
            let kind = wire::text(happening.kind).unwrap_or_default();
            // A notice without a time of its own is still worth more than none; the token's is close to it.
            let at = wire::event_time(happening.event_time.or(claims.iat), now, &kind)?;
            let known = notice_kind(&kind).ok_or_else(|| Aside::new(SetAsideReason::UnknownType, &kind).at(at))?;
            let subject = wire::text(happening.sub)
                .filter(|sub| sub.len() <= MAX_SUBJECT_BYTES && !sub.chars().any(char::is_control))
                .ok_or_else(|| Aside::new(SetAsideReason::Malformed, &kind).at(at))?;
            let with_email = matches!(known, NoticeKind::EmailDisabled | NoticeKind::EmailEnabled);
            report.notices.push(Notice {
                kind: known,
                audience: audience.to_owned(),
                team: team.to_owned(),
                subject: subject.into_owned(),
                email: wire::text(happening.email).filter(|_| with_email).and_then(|email| Address::parse(&email).ok()),
                is_private_email: happening.is_private_email.filter(|_| with_email).map(Scalar::is_true),
                at,
                issued_at: issued_at.unwrap_or(at),
                jwt_id: jwt_id.clone(),
            });
            Ok(())
        });
        Ok(report)
    }

    /// The first client id of `aud` that is configured, with its team; else the first one, fit for a log line.
    fn audience(&self, aud: Option<Scalar<'_>>) -> Result<(&str, &str), String> {
        let aud = aud.ok_or_else(String::new)?;
        let listed: Vec<Scalar<'_>> = serde_json::from_str(aud.raw().get()).unwrap_or_else(|_| vec![aud]);
        let mut names = listed.into_iter().filter_map(Scalar::text);
        let first = names.next();
        first
            .as_ref()
            .into_iter()
            .cloned()
            .chain(names)
            .find_map(|name| self.teams.get_key_value(name.as_ref()))
            .map(|(client_id, team)| (client_id.as_str(), team.as_str()))
            .ok_or_else(|| label(first.as_deref().unwrap_or_default()))
    }
}

/// The type by Apple's word. Libraries and articles spell the last one `account-delete`.
fn notice_kind(kind: &str) -> Option<NoticeKind> {
    match kind {
        "account-delete" => Some(NoticeKind::AccountDeleted),
        kind => NoticeKind::from_name(kind),
    }
}

fn bad_body(error: wire::WireError) -> Rejection {
    wire::malformed(StatusCode::BAD_REQUEST, WHAT, error)
}

fn refused(detail: &str) -> Rejection {
    let detail = format!("{detail}; Apple signed no such notice, so look at who else posts to this address");
    Rejection::new(StatusCode::UNAUTHORIZED, RejectionReason::BadSignature, detail)
}

fn foreign(detail: String) -> Rejection {
    Rejection::new(StatusCode::FORBIDDEN, RejectionReason::Foreign, detail)
}

impl SetUp for Apple {
    type Table = AppleFeed;
    const PROVIDER: Provider = Provider::Apple;

    fn set_up(config: &Config, table: &AppleFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let apps = config.team.iter().flat_map(|team| {
            let app = |app: &crate::config::App| App { client_id: app.client_id.clone(), team: team.id.clone() };
            team.app.iter().map(app)
        });
        let read = |key: &str, file: &Option<FilePath>| {
            whole(file.iter().map(|file| place.read(key, file, check_keys).map(Bytes::from)))
        };
        let old = table.archived_jwks_file.clone().filter(|_| table.mode == AppleMode::Forwarded);
        let (pinned, archived_keys) = match (read("jwks_file", &table.jwks_file), read("archived_jwks_file", &old)) {
            (Ok(pinned), Ok(archived)) => (pinned, archived),
            (pinned, archived) => {
                return Err([pinned.err(), archived.err()].into_iter().flatten().flatten().collect());
            }
        };
        let keys = match pinned.into_iter().next() {
            Some(pinned) => KeySource::Pinned(pinned),
            None => KeySource::Published(Arc::new(place.or_wrong(AppleKeyServer::new())?)),
        };
        let mode = match table.mode {
            AppleMode::Direct => Mode::Direct { forward_to: table.forward_to.as_ref().map(|url| url.0.to_string()) },
            AppleMode::Forwarded => {
                Mode::Forwarded { secrets: secrets(&[&table.secret, &table.previous_secret]), archived_keys }
            }
        };
        place.or_wrong(Self::new(Settings { apps: apps.collect(), mode, keys }))
    }
}

#[cfg(test)]
mod tests;
