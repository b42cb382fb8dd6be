//! The keys that SNS signs with: pinned, or fetched from the topic's own host and kept for a day.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use aws_lc_rs::{
    digest,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, EcdsaVerificationAlgorithm, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
    },
};
use bytes::Bytes;
use moka::sync::Cache;
use tokio::sync::{Mutex, Semaphore};
use x509_parser::{certificate::X509Certificate, pem::Pem, prelude::FromDer as _, public_key::PublicKey};

use crate::{
    http_client,
    ingest::http::{Rejection, RejectionReason},
    model::{DAY_MILLIS, MINUTE_MILLIS, Timestamp},
};

use super::{SignatureVersion, keys_unavailable, refuse};

/// How long fetching a certificate may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How large a certificate may be.
const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;
/// How long a fetched certificate is used without asking again.
const FRESH_MILLIS: i64 = DAY_MILLIS;
/// How long it goes on being used where asking again fails because nobody answers. SNS gives up after a minute by
/// default, so that an outage of the certificate host alone must not lose events.
const STALE_MILLIS: i64 = 7 * DAY_MILLIS;
/// How long a failure of the certificate itself is remembered.
const NEGATIVE_MILLIS: i64 = MINUTE_MILLIS;
/// How long it is remembered that nobody answered: less than the 20 s between two of SNS's three retries, so that each
/// of them asks again.
const UNREACHABLE_MILLIS: i64 = 10_000;
/// The keys kept. SNS has one for each region and changes it rarely.
const MAX_KEYS: u64 = 64;
/// The failures kept. A flood of made-up addresses displaces failures, never keys.
const MAX_FAILURES: u64 = 1024;
/// Fetches under way at once, all addresses together: what forged posts can make us ask for.
const MAX_FETCHES: usize = 4;

/// Why a certificate could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No answer, or one that says that it may work later. The message is worth sending again.
    #[error("the certificate's host does not answer")]
    Unreachable,
    /// The host has no such certificate.
    #[error("the certificate's host has no such certificate")]
    NotFound,
    /// More than 64 KiB.
    #[error("the answer is too large for a certificate")]
    TooLarge,
}

/// A fetch under way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send + 'a>>;

/// Where certificates come from. `serve` asks over HTTPS; tests serve what they like and count.
pub trait FetchCertificate: Send + Sync {
    /// Fetches the PEM text at an address that has passed every check. It follows no redirect.
    fn fetch<'a>(&'a self, url: &'a str) -> Fetching<'a>;
}

/// Fetches over HTTPS: no redirects, 5 s, 64 KiB.
#[derive(Debug, Clone)]
pub struct HttpsFetcher(reqwest::Client);

impl HttpsFetcher {
    /// A fetcher with a client of its own.
    ///
    /// # Errors
    /// Where the platform's certificate verifier can't be set up.
    pub fn new() -> Result<Self, reqwest::Error> {
        http_client::build(FETCH_TIMEOUT).map(Self)
    }

    async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        let mut answer = self.0.get(url).send().await.map_err(|_| FetchError::Unreachable)?;
        match answer.status().as_u16() {
            200 => {}
            404 | 410 => return Err(FetchError::NotFound),
            // A redirect is not followed; whoever answers with one is not the certificate's host as it was checked.
            _ => return Err(FetchError::Unreachable),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|_| FetchError::Unreachable)? {
            if body.len() + chunk.len() > MAX_CERTIFICATE_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}

impl FetchCertificate for HttpsFetcher {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetching<'a> {
        Box::pin(self.get(url))
    }
}

/// Why a text is no certificate that may verify messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No PEM, or no certificate in it.
    #[error("there is no PEM block CERTIFICATE that holds an X.509 certificate")]
    Unreadable,
    /// Another kind of key.
    #[error("the certificate's key is no RSA key")]
    NotRsa,
    /// A short key.
    #[error("the certificate's RSA key has fewer than 2048 bits")]
    TooShort,
    /// Another subject than SNS's.
    #[error("the certificate was not issued for Amazon SNS")]
    WrongSubject,
    /// None of the configured authorities issued it.
    #[error("none of the authorities in trust_chain issued the certificate, or theirs has expired")]
    WrongIssuer,
}

/// Why a fetched certificate is believed.
#[derive(Debug)]
pub(super) enum Trust {
    /// Since it came from the topic's own host, with SNS as its subject.
    Host,
    /// Since one of these issued it.
    Authorities(Vec<Authority>),
}

/// An authority that issues signing certificates: its certificate in DER, looked at each time that it's asked.
#[derive(Debug)]
pub(super) struct Authority(Vec<u8>);

impl Authority {
    /// Every certificate of a PEM text that may issue others; at least one.
    pub(super) fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let mut all = Vec::new();
        for block in Pem::iter_from_buffer(pem) {
            let block = block.map_err(|_| CertificateError::Unreadable)?;
            if block.label != "CERTIFICATE" {
                continue;
            }
            let certificate = block.parse_x509().map_err(|_| CertificateError::Unreadable)?;
            if certificate.is_ca() {
                all.push(Self(block.contents.clone()));
            }
        }
        if all.is_empty() { Err(CertificateError::Unreadable) } else { Ok(all) }
    }

    /// Whether it holds now and issued this certificate: by name, and by its signature.
    fn issued(&self, certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
        let Ok((_, own)) = X509Certificate::from_der(&self.0) else { return false };
        let validity = own.validity();
        let holds = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now.as_seconds());
        let named = own.subject().as_raw() == certificate.issuer().as_raw();
        holds && named && signed_by(&own, certificate)
    }
}

/// Whether a certificate's signature is the issuer's: RSA (PKCS #1 v1.5, RFC 4055) or ECDSA (RFC 5758) with SHA-2.
fn signed_by(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    let (signed, signature) = (certificate.tbs_certificate.as_ref(), certificate.signature_value.data.as_ref());
    let key = issuer.public_key();
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    match (key.parsed(), algorithm.as_str()) {
        (Ok(PublicKey::RSA(rsa)), oid) => {
            let parameters: &RsaParameters = match oid {
                "1.2.840.113549.1.1.11" => &RSA_PKCS1_2048_8192_SHA256,
                "1.2.840.113549.1.1.12" => &RSA_PKCS1_2048_8192_SHA384,
                "1.2.840.113549.1.1.13" => &RSA_PKCS1_2048_8192_SHA512,
                _ => return false,
            };
            let key = PublicKeyComponents { n: without_zeros(rsa.modulus), e: without_zeros(rsa.exponent) };
            key.verify(parameters, signed, signature).is_ok()
        }
        (Ok(PublicKey::EC(point)), oid) => {
            let size = point.data().len();
            let algorithm: &EcdsaVerificationAlgorithm = match (oid, size) {
                ("1.2.840.10045.4.3.2", 65) => &ECDSA_P256_SHA256_ASN1,
                ("1.2.840.10045.4.3.3", 97) => &ECDSA_P384_SHA384_ASN1,
                _ => return false,
            };
            UnparsedPublicKey::new(algorithm, point.data()).verify(signed, signature).is_ok()
        }
        _ => false,
    }
}

/// The public key of one certificate, parsed once, and when it holds.
pub(super) struct VerifyingKey {
    sha1: ParsedPublicKey,
    sha256: ParsedPublicKey,
    not_before: i64,
    not_after: i64,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey(until {})", Timestamp::from_seconds(self.not_after))
    }
}

impl VerifyingKey {
    /// Every certificate of a PEM text; at least one.
    pub(super) fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, CertificateError> {
        Self::read(pem, usize::MAX, |_| Ok(()))
    }

    /// The first certificate of a PEM text, which must be SNS's own: its subject is `sns.amazonaws.com`, or the topic's
    /// host.
    ///
    /// Which of the two Amazon uses in which region is not documented; both belong to it, and the text came over TLS
    /// from that host.
    fn of_sns(pem: &[u8], host: &str) -> Result<Self, CertificateError> {
        let suffix = host.strip_prefix("sns.").and_then(|rest| rest.split_once('.')).map(|(_region, suffix)| suffix);
        let keys = Self::read(pem, 1, |certificate| {
            // Where there are several names, none of them is the certificate's.
            let mut names = certificate.subject().iter_common_name();
            let name =
                names.next().filter(|_| names.next().is_none()).and_then(|name| name.as_str().ok()).unwrap_or_default();
            let right =
                name == host || name == "sns.amazonaws.com" || suffix.is_some() && name.strip_prefix("sns.") == suffix;
            if right { Ok(()) } else { Err(CertificateError::WrongSubject) }
        })?;
        keys.into_iter().next().ok_or(CertificateError::Unreadable)
    }

    /// The first certificate of a PEM text, which one of the authorities must have issued.
    fn issued_by(authorities: &[Authority], pem: &[u8], now: Timestamp) -> Result<Self, CertificateError> {
        let keys = Self::read(pem, 1, |certificate| {
            let right = authorities.iter().any(|authority| authority.issued(certificate, now));
            if right { Ok(()) } else { Err(CertificateError::WrongIssuer) }
        })?;
        keys.into_iter().next().ok_or(CertificateError::Unreadable)
    }

    /// The keys of the first `most` certificates.
    fn read(
        pem: &[u8],
        most: usize,
        believe: impl Fn(&X509Certificate<'_>) -> Result<(), CertificateError>,
    ) -> Result<Vec<Self>, CertificateError> {
        let mut keys = Vec::new();
        for block in Pem::iter_from_buffer(pem) {
            if keys.len() == most {
                break;
            }
            let block = block.map_err(|_| CertificateError::Unreadable)?;
            if block.label != "CERTIFICATE" {
                continue;
            }
            let certificate = block.parse_x509().map_err(|_| CertificateError::Unreadable)?;
            believe(&certificate)?;
            let validity = certificate.validity();
            let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
            let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
                return Err(CertificateError::NotRsa);
            };
            let modulus = without_zeros(key.modulus);
            if bits(modulus) < 2048 {
                return Err(CertificateError::TooShort);
            }
            let key = PublicKeyComponents { n: modulus, e: without_zeros(key.exponent) };
            let parse = |algorithm| key.to_parsed_public_key(algorithm).map_err(|_| CertificateError::NotRsa);
            keys.push(Self {
                sha1: parse(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY)?,
                sha256: parse(&RSA_PKCS1_2048_8192_SHA256)?,
                not_before,
                not_after,
            });
        }
        if keys.is_empty() { Err(CertificateError::Unreadable) } else { Ok(keys) }
    }

    /// Whether the certificate holds at a time.
    pub(super) fn valid_at(&self, at: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&at.as_seconds())
    }

    /// Whether the signature over the digest is this key's.
    pub(super) fn verifies(&self, version: SignatureVersion, digest: &digest::Digest, signature: &[u8]) -> bool {
        let key = match version {
            SignatureVersion::V1 => &self.sha1,
            SignatureVersion::V2 => &self.sha256,
        };
        key.verify_digest_sig(digest, signature).is_ok()
    }
}

fn without_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[derive(Clone)]
struct Fetched {
    key: Arc<VerifyingKey>,
    at: Timestamp,
}

/// Why a key could not be had, in a form that keeps.
#[derive(Clone, Copy)]
struct Failure {
    why: Why,
    at: Timestamp,
}

#[derive(Clone, Copy)]
enum Why {
    Fetch(FetchError),
    Certificate(CertificateError),
}

impl Why {
    fn remembered_millis(self) -> i64 {
        match self {
            Self::Fetch(FetchError::Unreachable) => UNREACHABLE_MILLIS,
            Self::Fetch(_) | Self::Certificate(_) => NEGATIVE_MILLIS,
        }
    }

    fn rejection(self) -> Rejection {
        match self {
            Self::Fetch(error @ FetchError::Unreachable) => {
                keys_unavailable(format!("{error}; allow outgoing HTTPS to it, or set signing_certificates"))
            }
            Self::Fetch(error) => refuse(RejectionReason::BadSignature, error.to_string()),
            Self::Certificate(error) => refuse(RejectionReason::BadSignature, error.to_string()),
        }
    }
}

/// Fetched keys by their certificate's address, at most one fetch an address at a time.
pub(super) struct CertificateCache {
    fetcher: Arc<dyn FetchCertificate>,
    trust: Trust,
    keys: Cache<String, Fetched>,
    failures: Cache<String, Failure>,
    flights: Cache<String, Arc<Mutex<()>>>,
    fetches: Semaphore,
}

impl CertificateCache {
    pub(super) fn new(fetcher: Arc<dyn FetchCertificate>, trust: Trust) -> Self {
        Self {
            fetcher,
            trust,
            keys: Cache::new(MAX_KEYS),
            failures: Cache::new(MAX_FAILURES),
            flights: Cache::new(MAX_FAILURES),
            fetches: Semaphore::new(MAX_FETCHES),
        }
    }

    /// The key whose certificate is at an address that has passed the topic's check.
    pub(super) async fn key(&self, url: &str, host: &str, now: Timestamp) -> Result<Arc<VerifyingKey>, Rejection> {
        if let Some(known) = self.known(url, now) {
            return known;
        }
        let flight = self.flights.get_with_by_ref(url, Arc::default);
        let _landing = flight.lock().await;
        if let Some(known) = self.known(url, now) {
            return known;
        }
        let why = match self.fetch(url, host, now).await {
            Ok(key) => {
                let key = Arc::new(key);
                self.failures.invalidate(url);
                self.keys.insert(url.to_owned(), Fetched { key: Arc::clone(&key), at: now });
                return Ok(key);
            }
            Err(None) => return Err(keys_unavailable("too many certificates are being fetched at once")),
            Err(Some(why)) => why,
        };
        if !matches!(why, Why::Fetch(FetchError::Unreachable)) {
            self.keys.invalidate(url);
        }
        self.failures.insert(url.to_owned(), Failure { why, at: now });
        self.known(url, now).unwrap_or_else(|| Err(why.rejection()))
    }

    /// What is known without asking: a fresh key; else, where asking has just failed, a stale key or the failure.
    fn known(&self, url: &str, now: Timestamp) -> Option<Result<Arc<VerifyingKey>, Rejection>> {
        let fetched = self.keys.get(url);
        let age = |at: Timestamp| now.millis_since(at);
        if let Some(fetched) = &fetched
            && age(fetched.at) < FRESH_MILLIS
        {
            return Some(Ok(Arc::clone(&fetched.key)));
        }
        let failure = self.failures.get(url).filter(|failure| age(failure.at) < failure.why.remembered_millis())?;
        match fetched {
            Some(fetched) if age(fetched.at) < STALE_MILLIS => Some(Ok(fetched.key)),
            _ => Some(Err(failure.why.rejection())),
        }
    }

    /// `Err(None)` where too many fetches are under way: no fact about this address, so nothing to remember.
    async fn fetch(&self, url: &str, host: &str, now: Timestamp) -> Result<VerifyingKey, Option<Why>> {
        let Ok(_permit) = self.fetches.try_acquire() else { return Err(None) };
        let pem = match tokio::time::timeout(FETCH_TIMEOUT, self.fetcher.fetch(url)).await {
            Ok(Ok(pem)) if pem.len() <= MAX_CERTIFICATE_BYTES => pem,
            Ok(Ok(_)) => return Err(Some(Why::Fetch(FetchError::TooLarge))),
            Ok(Err(error)) => return Err(Some(Why::Fetch(error))),
            Err(_) => return Err(Some(Why::Fetch(FetchError::Unreachable))),
        };
        let key = match &self.trust {
            Trust::Host => VerifyingKey::of_sns(&pem, host),
            Trust::Authorities(authorities) => VerifyingKey::issued_by(authorities, &pem, now),
        };
        key.map_err(|error| Some(Why::Certificate(error)))
    }
}
