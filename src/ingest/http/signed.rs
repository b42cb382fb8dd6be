//! Bodies that are signed with HMAC-SHA256 under a shared secret, and the time window of those that are signed with a time.

use aws_lc_rs::{constant_time, hmac};
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Rejection, RejectionReason,
    auth::{MAX_SECRETS, SecretError},
};
use crate::model::{MINUTE_MILLIS, Timestamp};

/// How far ahead of the clock a signed time may be.
pub(super) const MAX_AHEAD_MILLIS: i64 = 5 * MINUTE_MILLIS;

/// The keys that a feed accepts: the one in force, and the one before it.
#[derive(Clone)]
pub(super) struct Keys(Vec<hmac::Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// The keys, as the provider shows them: texts whose bytes are the key.
    ///
    /// # Errors
    /// Where there is none, or more than [`MAX_SECRETS`], or an unusable one.
    pub(super) fn new(secrets: &[SecretString]) -> Result<Self, SecretError> {
        if secrets.is_empty() {
            return Err(SecretError::Missing);
        }
        if secrets.len() > MAX_SECRETS {
            return Err(SecretError::TooMany);
        }
        let key = |secret: &SecretString| {
            let secret = secret.expose_secret();
            if secret.is_empty() || secret.trim() != secret {
                return Err(SecretError::Unusable);
            }
            Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
        };
        Ok(Self(secrets.iter().map(key).collect::<Result<_, _>>()?))
    }

    /// Whether the tag is one of these keys' over the parts together. Every key is tried, so that the time tells nothing of
    /// which one it is; the comparison itself is constant-time.
    pub(super) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.0.iter().fold(false, |found, key| {
            let mut context = hmac::Context::with_key(key);
            for part in parts {
                context.update(part);
            }
            found | constant_time::verify_slices_are_equal(context.sign().as_ref(), tag).is_ok()
        })
    }
}

/// Checks that a signed time is at most `window_millis` old and no more than [`MAX_AHEAD_MILLIS`] ahead.
///
/// # Errors
/// 503: the signature verifies, so that this machine's clock may be what is wrong, and the delivery is worth sending again.
pub(super) fn within_window(at: Timestamp, now: Timestamp, window_millis: i64) -> Result<(), Rejection> {
    let stale = |detail: String| {
        Err(Rejection::new(StatusCode::SERVICE_UNAVAILABLE, RejectionReason::Stale, detail).conclusive())
    };
    let age = now.millis_since(at);
    if age > window_millis {
        return stale(format!(
            "the signed time is older than {} minutes: a replay, or this machine's clock may be wrong (ahead); check it",
            window_millis / MINUTE_MILLIS
        ));
    }
    if age < -MAX_AHEAD_MILLIS {
        return stale(
            "the signed time is more than 5 minutes ahead: this machine's clock may be wrong (behind); check it"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::http::testing::NOW;

    #[test]
    fn both_keys_of_a_rotation_verify_and_no_other() {
        // printf 'one two' | openssl dgst -sha256 -hmac key-new
        let tag = hex::decode("e569c9e8855c60f1fec68b0eeea96a5dbed0cedb413b125ef471ca737af88403").expect("hex");
        let keys = |secrets: &[&str]| Keys::new(&secrets.iter().map(|s| (*s).into()).collect::<Vec<_>>());
        for secrets in [&["key-new"][..], &["key-old", "key-new"], &["key-new", "key-old"]] {
            let keys = keys(secrets).expect("keys");
            assert!(keys.verify(&[b"one two"], &tag) && keys.verify(&[b"one", b" ", b"two"], &tag));
            assert!(
                !keys.verify(&[b"one two "], &tag) && !keys.verify(&[b"one two"], tag.get(..31).expect("31 bytes"))
            );
            assert!(!keys.verify(&[b"one two"], b""));
        }
        assert!(!keys(&["key-old"]).expect("keys").verify(&[b"one two"], &tag));
        assert_eq!(keys(&[]).expect_err("none"), SecretError::Missing);
        assert_eq!(keys(&["a", "b", "c"]).expect_err("three"), SecretError::TooMany);
        assert_eq!(keys(&["a\n"]).expect_err("a line end"), SecretError::Unusable);
        assert_eq!(format!("{:?}", keys(&["a"])), "Ok(Keys(1))");
    }

    #[test]
    fn the_window_is_wide_behind_and_narrow_ahead() {
        let outcome = |millis: i64| within_window(NOW.plus_millis(millis), NOW, 600_000).map_err(|error| error.status);
        assert_eq!(outcome(-600_000), Ok(()));
        assert_eq!(outcome(300_000), Ok(()));
        assert_eq!(outcome(-600_001), Err(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(outcome(300_001), Err(StatusCode::SERVICE_UNAVAILABLE));
    }
}
