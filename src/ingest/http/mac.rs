//! Deliveries that carry a message authentication code (HMAC, RFC 2104) under a key that provider and feed share; two keys for
//! rotation.

use aws_lc_rs::{constant_time, hmac};
use axum::http::StatusCode;
use secrecy::SecretString;

use super::{
    Delivery, Rejection, RejectionReason,
    auth::{self, SecretError},
};

/// The keys of a feed: the one in force, and the one before it.
#[derive(Clone)]
pub(super) struct MacKeys(Vec<hmac::Key>);

impl std::fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MacKeys({})", self.0.len())
    }
}

impl MacKeys {
    /// Keys whose bytes are those of the texts.
    ///
    /// # Errors
    /// Where there is none, too many, or an unusable one.
    pub(super) fn new(algorithm: hmac::Algorithm, keys: &[SecretString]) -> Result<Self, SecretError> {
        Self::decoded(algorithm, keys, |key| Some(key.as_bytes().to_vec()))
    }

    /// Keys whose bytes `decode` makes of the texts.
    ///
    /// # Errors
    /// Where there is none, too many, or an unusable one.
    pub(super) fn decoded(
        algorithm: hmac::Algorithm,
        keys: &[SecretString],
        decode: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, SecretError> {
        let key = |text: &str| {
            let bytes = decode(text).filter(|bytes| !bytes.is_empty())?;
            Some(hmac::Key::new(algorithm, &bytes))
        };
        Ok(Self(auth::two(keys, key)?))
    }

    /// Whether one of the keys makes this tag of what was signed, given in parts. All keys are tried, so that the time tells
    /// nothing of which one it is; the comparison itself is constant-time.
    pub(super) fn verify(&self, signed: &[&[u8]], tag: &[u8]) -> bool {
        self.verify_any(signed, &[tag])
    }

    /// The same for any of several tags: each key makes its own once, however many there are to compare.
    pub(super) fn verify_any(&self, signed: &[&[u8]], tags: &[impl AsRef<[u8]>]) -> bool {
        self.0.iter().fold(false, |found, key| {
            let mut context = hmac::Context::with_key(key);
            for part in signed {
                context.update(part);
            }
            let made = context.sign();
            let is_made = |tag: &[u8]| constant_time::verify_slices_are_equal(made.as_ref(), tag).is_ok();
            tags.iter().fold(found, |found, tag| found | is_made(tag.as_ref()))
        })
    }

    /// Checks a header that holds the tag of the whole body in hex.
    ///
    /// # Errors
    /// 401 where the header is absent or unreadable, and where its tag is of no key. `header` is its name in lower case,
    /// `secret` what the provider calls the key.
    pub(super) fn check_body(&self, delivery: &Delivery, header: &str, secret: &str) -> Result<(), Rejection> {
        let absent = || {
            Rejection::unauthenticated(format!(
                "the header {header} with the signature is absent or unreadable; look at who posts, and let a proxy pass it on"
            ))
        };
        let tag = delivery.header(header).map(str::trim).filter(|text| !text.is_empty()).ok_or_else(absent)?;
        let tag = hex::decode(tag).map_err(|_| absent())?;
        if self.verify(&[&delivery.body], &tag) { Ok(()) } else { Err(bad_signature(secret)) }
    }
}

/// The rejection of a signature that is of no key.
pub(super) fn bad_signature(secret: &str) -> Rejection {
    Rejection::new(
        StatusCode::UNAUTHORIZED,
        RejectionReason::BadSignature,
        format!(
            "the signature verifies with none of this feed's keys; compare them with the {secret} at the provider, and check that \
             no proxy changes bodies"
        ),
    )
}

/// Signs bodies with HMAC-SHA256: for tests and fuzzing.
pub mod signing {
    use aws_lc_rs::hmac;

    /// The header of a body: its tag in hex.
    #[must_use]
    pub fn signature(secret: &str, body: &[u8]) -> String {
        hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::http::testing::delivery;

    #[test]
    fn either_key_opens_and_parts_run_into_each_other() {
        // RFC 4231, test case 2.
        let tag = hex::decode("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843").expect("hex");
        let keys = MacKeys::new(hmac::HMAC_SHA256, &["old".into(), "Jefe".into()]).expect("keys");
        assert!(keys.verify(&[b"what do ya want ", b"for nothing?"], &tag));
        assert!(!keys.verify(&[b"what do ya want ", b"for nothing"], &tag));
        assert!(!keys.verify(&[b"what do ya want for nothing?"], &[]));
        assert!(!keys.verify(&[b"what do ya want for nothing?"], tag.get(..31).expect("31 bytes")));
        assert!(keys.verify_any(&[b"what do ya want for nothing?"], &[b"other".to_vec(), tag.clone()]));
        assert!(!keys.verify_any(&[b"what do ya want for nothing?"], &[b"other", b"third"]));
        assert!(!keys.verify_any(&[b"what do ya want for nothing?"], &[[0; 32]; 0]));
        assert_eq!(format!("{keys:?}"), "MacKeys(2)");
    }

    #[test]
    fn a_header_holds_the_tag_of_the_body_in_hex() {
        let keys = MacKeys::new(hmac::HMAC_SHA256, &["Jefe".into()]).expect("keys");
        let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let with = |headers: &[(&str, &str)], body: &str| {
            keys.check_body(&delivery(headers, body), "signature", "signing secret").map_err(|error| {
                assert_eq!(error.status, StatusCode::UNAUTHORIZED);
                error.reason
            })
        };
        let body = "what do ya want for nothing?";
        assert_eq!(with(&[("signature", tag)], body), Ok(()));
        assert_eq!(with(&[("signature", &tag.to_uppercase())], body), Ok(()));
        assert_eq!(with(&[("signature", tag)], "another"), Err(RejectionReason::BadSignature));
        assert_eq!(with(&[("signature", "00")], body), Err(RejectionReason::BadSignature));
        let absent = Err(RejectionReason::Unauthenticated);
        for value in ["", " ", "no hex", "5bd"] {
            assert_eq!(with(&[("signature", value)], body), absent, "{value:?}");
        }
        assert_eq!(with(&[], body), absent);
        assert_eq!(with(&[("signature", tag), ("signature", tag)], body), absent);
    }

    #[test]
    fn unusable_keys_are_refused_at_the_start() {
        let error = |keys: &[&str]| {
            let keys: Vec<SecretString> = keys.iter().map(|key| (*key).into()).collect();
            MacKeys::new(hmac::HMAC_SHA256, &keys).expect_err("unusable")
        };
        assert_eq!(error(&[]), SecretError::Missing);
        assert_eq!(error(&["a", "b", "c"]), SecretError::TooMany);
        assert_eq!(error(&[""]), SecretError::Unusable);
        assert_eq!(error(&["key\n"]), SecretError::Unusable);
        let keys = MacKeys::decoded(hmac::HMAC_SHA256, &["x".into()], |_| None);
        assert_eq!(keys.expect_err("undecoded"), SecretError::Unusable);
    }
}
