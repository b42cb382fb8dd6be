//! The keys that sign Apple's notices: pinned, archived, or fetched and cached.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use crate::model::{HOUR_MILLIS, MINUTE_MILLIS, Timestamp};

/// Where Apple publishes its keys.
pub const KEYS_URL: &str = "https://appleid.apple.com/auth/keys";
/// The largest key set that is read.
const MAX_KEYS_BYTES: usize = 64 * 1024;
/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// No more than one fetch in so long, whatever comes in.
const FETCH_INTERVAL_MILLIS: i64 = MINUTE_MILLIS;
/// A set older than this is fetched anew, so that a key that Apple withdraws goes out of use here as well.
const MAX_AGE_MILLIS: i64 = 24 * HOUR_MILLIS;
/// RSA keys below 2048 bits are not taken.
const MIN_MODULUS_BYTES: usize = 256;

/// Why a JWK set cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// No JSON, or no `keys`.
    #[error("the key set is no JWK set (RFC 7517 section 5)")]
    NotJwks,
    /// None of its keys is an RSA key for RS256 with a `kid` and at least 2048 bits.
    #[error("the key set holds no RSA signing key of at least 2048 bits with a kid")]
    NoUsableKey,
}

/// Keys by their id.
#[derive(Clone, Default)]
pub(super) struct KeySet(Vec<(String, DecodingKey)>);

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(kid, _)| kid)).finish()
    }
}

impl KeySet {
    /// Reads a JWK set; keys of other kinds, which Apple may add at any time, are skipped.
    pub(super) fn parse(jwks: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Key {
            kty: String,
            kid: String,
            n: String,
            e: String,
            alg: Option<String>,
            r#use: Option<String>,
        }
        let set: Set<'_> = serde_json::from_slice(jwks).map_err(|_| KeySetError::NotJwks)?;
        let usable = |raw: &&RawValue| {
            let key: Key = serde_json::from_str(raw.get()).ok()?;
            let signs = key.kty == "RSA"
                && key.alg.is_none_or(|alg| alg == "RS256")
                && key.r#use.is_none_or(|purpose| purpose == "sig");
            let (n, e) = (URL_SAFE_NO_PAD.decode(key.n).ok()?, URL_SAFE_NO_PAD.decode(key.e).ok()?);
            let strong = n.iter().skip_while(|byte| **byte == 0).count() >= MIN_MODULUS_BYTES;
            (signs && strong).then(|| (key.kid, DecodingKey::from_rsa_raw_components(&n, &e)))
        };
        let keys: Vec<_> = set.keys.iter().filter_map(usable).collect();
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self(keys)) }
    }

    /// Takes in another set as well.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn get(&self, kid: &str) -> Option<DecodingKey> {
        self.0.iter().find(|(known, _)| known == kid).map(|(_, key)| key.clone())
    }
}

/// Why the published keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection, no TLS, no answer in time.
    #[error("the request failed")]
    Request(#[from] reqwest::Error),
    /// An answer other than 200; redirects are not followed.
    #[error("the answer was HTTP {0}")]
    Status(u16),
    /// More than 64 KiB.
    #[error("the answer is larger than {MAX_KEYS_BYTES} bytes")]
    TooLarge,
}

/// Fetches Apple's published keys; injected, so that tests and closed networks can do without Apple.
pub trait FetchKeys: Send + Sync {
    /// The JWK set as it is published now.
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send + '_>>;
}

/// Apple's key server: one GET, 5 s, 64 KiB, no redirects.
#[derive(Debug, Clone)]
pub struct AppleKeyServer {
    client: reqwest::Client,
    url: String,
}

impl AppleKeyServer {
    /// Fetches from [`KEYS_URL`].
    ///
    /// # Errors
    /// Where the HTTP client can't be built.
    pub fn new() -> Result<Self, reqwest::Error> {
        Self::at(KEYS_URL)
    }

    /// Fetches from another place, such as a mirror inside a closed network.
    ///
    /// # Errors
    /// Where the HTTP client can't be built.
    pub fn at(url: impl Into<String>) -> Result<Self, reqwest::Error> {
        Ok(Self { client: crate::http_client::build(FETCH_TIMEOUT)?, url: url.into() })
    }
}

impl FetchKeys for AppleKeyServer {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send + '_>> {
        Box::pin(async move {
            let mut response = self.client.get(&self.url).send().await?;
            if response.status() != reqwest::StatusCode::OK {
                return Err(FetchError::Status(response.status().as_u16()));
            }
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > MAX_KEYS_BYTES {
                    return Err(FetchError::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body.freeze())
        })
    }
}

/// Why a key is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// The keys are known, and it's none of them.
    Unknown,
    /// The keys cannot be had just now; it may be one of them.
    Unavailable,
}

/// All keys of a feed.
#[derive(Debug)]
pub(super) struct Keys {
    fixed: KeySet,
    published: Option<Arc<Published>>,
}

impl Keys {
    /// Keys that never change while the feed lives.
    pub(super) const fn fixed(fixed: KeySet) -> Self {
        Self { fixed, published: None }
    }

    /// Whether nothing is fetched, so that a rotation of Apple's keys goes unseen.
    pub(super) const fn are_pinned(&self) -> bool {
        self.published.is_none()
    }

    /// Fixed keys beside those that Apple publishes.
    pub(super) fn published(fixed: KeySet, fetcher: Arc<dyn FetchKeys>) -> Self {
        let published = Published { fetcher, cache: RwLock::default(), gate: Arc::default() };
        Self { fixed, published: Some(Arc::new(published)) }
    }

    /// The key of that id, fetched where it isn't known and the last fetch is long enough ago.
    pub(super) async fn find(&self, kid: &str, now: Timestamp) -> Result<DecodingKey, Miss> {
        let fixed = self.fixed.get(kid);
        let Some(published) = &self.published else { return fixed.ok_or(Miss::Unknown) };
        if let Some(key) = fixed.or_else(|| published.fresh(kid, now)) {
            return Ok(key);
        }
        published.refresh(now).await;
        published.any(kid)
    }
}

/// Apple's published keys as they were last seen.
struct Published {
    fetcher: Arc<dyn FetchKeys>,
    cache: RwLock<Cache>,
    /// When a fetch was last begun; held while one runs, so that there is never more than one.
    gate: Arc<Mutex<Option<Timestamp>>>,
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").field("cache", &self.cache).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Cache {
    keys: KeySet,
    fetched_at: Option<Timestamp>,
    /// Whether the last fetch failed; the keys of the one before stay in use.
    failed: bool,
}

impl Published {
    /// The key, where the set is young enough.
    fn fresh(&self, kid: &str, now: Timestamp) -> Option<DecodingKey> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.fetched_at.filter(|at| now.millis_since(*at) <= MAX_AGE_MILLIS)?;
        cache.keys.get(kid)
    }

    /// The key, however old the set.
    fn any(&self, kid: &str) -> Result<DecodingKey, Miss> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.keys.get(kid).ok_or(if cache.failed { Miss::Unavailable } else { Miss::Unknown })
    }

    /// Fetches the set, unless that was tried a moment ago. A fetch that fails leaves the old keys in place.
    async fn refresh(self: &Arc<Self>, now: Timestamp) {
        let mut gate = Arc::clone(&self.gate).lock_owned().await;
        if gate.is_some_and(|last| now.millis_since(last) < FETCH_INTERVAL_MILLIS) {
            return;
        }
        *gate = Some(now);
        let this = Arc::clone(self);
        // On its own task: whoever posts and hangs up at once must not be able to stop the fetch for everybody else.
        let fetch = tokio::spawn(async move {
            let outcome = this.fetcher.fetch().await;
            this.take(outcome, now);
            drop(gate);
        });
        if fetch.await.is_err() {
            self.cache.write().unwrap_or_else(PoisonError::into_inner).failed = true;
        }
    }

    fn take(&self, outcome: Result<Bytes, FetchError>, now: Timestamp) {
        let parsed = match outcome {
            Ok(jwks) => KeySet::parse(&jwks).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        match parsed {
            Ok(keys) => *cache = Cache { keys, fetched_at: Some(now), failed: false },
            Err(error) => {
                tracing::warn!(error, "Apple's keys cannot be fetched; the ones known before stay in use");
                cache.failed = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn keys_of_other_kinds_are_skipped_and_weak_ones_refused() {
        let strong = URL_SAFE_NO_PAD.encode([0xC1; 256]);
        let weak = URL_SAFE_NO_PAD.encode([0xC1; 128]);
        let padded = URL_SAFE_NO_PAD.encode([[0u8; 128], [0xC1; 128]].concat());
        let key = |kid: &str, kty: &str, rest: &str, n: &str| {
            format!(r#"{{"kid":"{kid}","kty":"{kty}",{rest}"n":"{n}","e":"AQAB"}}"#)
        };
        let set = |keys: &[String]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let good = key("good", "RSA", r#""alg":"RS256","use":"sig","#, &strong);
        let others = [
            key("bare", "RSA", "", &strong),
            key("enc", "RSA", r#""use":"enc","#, &strong),
            key("rs512", "RSA", r#""alg":"RS512","#, &strong),
            key("ec", "EC", "", &strong),
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#.to_owned(),
            "17".to_owned(),
        ];
        let mut all = others.to_vec();
        all.push(good);
        let parsed = KeySet::parse(set(&all).as_bytes()).expect("keys");
        assert_eq!(format!("{parsed:?}"), r#"["bare", "good"]"#);
        for n in [weak, padded] {
            let refused = KeySet::parse(set(&[key("weak", "RSA", "", &n)]).as_bytes());
            assert_eq!(refused.expect_err("weak"), KeySetError::NoUsableKey);
        }
        assert_eq!(KeySet::parse(b"<html>").expect_err("no JSON"), KeySetError::NotJwks);
        assert_eq!(KeySet::parse(b"{\"keys\":[]}").expect_err("empty"), KeySetError::NoUsableKey);
    }

    /// Answers one request.
    async fn answer_once(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let address = listener.local_addr().expect("address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("connection");
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.expect("request");
            assert!(request.get(..read).is_some_and(|request| request.starts_with(b"GET /auth/keys ")));
            // The client may have hung up on an answer that is too large.
            drop(stream.write_all(&answer).await);
        });
        format!("http://{address}/auth/keys")
    }

    async fn fetch(answer: Vec<u8>) -> Result<Bytes, FetchError> {
        AppleKeyServer::at(answer_once(answer).await).expect("client").fetch().await
    }

    #[tokio::test]
    async fn the_key_server_is_read_within_its_cap_and_without_redirects() {
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec();
        assert_eq!(fetch(ok).await.expect("keys"), "{}");
        let moved = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
        assert!(matches!(fetch(moved).await, Err(FetchError::Status(302))));
        let mut large = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        large.extend(std::iter::repeat_n(b'x', MAX_KEYS_BYTES + 1));
        assert!(matches!(fetch(large).await, Err(FetchError::TooLarge)));
    }
}
