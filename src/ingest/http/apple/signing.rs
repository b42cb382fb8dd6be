//! Signs notices as Apple does, with a key of one's own: for tests, the demo and benchmarks. No public vectors that
//! Apple has signed exist.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::ISSUER;
use crate::model::{Notice, NoticeKind, Timestamp};

/// The cryptographic library refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key cannot be made or used")]
pub struct SigningError;

/// A key that stands for Apple's.
pub struct Signer {
    key: KeyPair,
    kid: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.kid)
    }
}

impl Signer {
    /// A new RSA key of 2048 bits under this id.
    ///
    /// # Errors
    /// Where the library has no randomness.
    pub fn generate(kid: impl Into<String>) -> Result<Self, SigningError> {
        Ok(Self { key: KeyPair::generate(KeySize::Rsa2048).map_err(|_| SigningError)?, kid: kid.into() })
    }

    /// The JWK set that holds the public key alone.
    #[must_use]
    pub fn jwks(&self) -> Bytes {
        let public = self.key.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({
            "kty": "RSA", "kid": self.kid, "use": "sig", "alg": "RS256",
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        });
        Bytes::from(json!({ "keys": [key] }).to_string())
    }

    /// The public key as DER (`RSAPublicKey`): what an attacker would take as HMAC secret to confuse a verifier.
    #[must_use]
    pub fn public_key_der(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }

    /// A JWT with any claims, under the usual header.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn jwt(&self, claims: &Value) -> Result<String, SigningError> {
        self.jwt_with_header(&json!({ "kid": self.kid, "alg": "RS256" }), claims)
    }

    /// A JWT with any header, truthful or not, signed with RS256 all the same.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn jwt_with_header(&self, header: &Value, claims: &Value) -> Result<String, SigningError> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        self.sign(&format!("{}.{}", part(header), part(claims)))
    }

    /// A JWT whose header and claims are encoded already, whatever they hold.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn sign(&self, signed: &str) -> Result<String, SigningError> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| SigningError)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The body of a notice in the dress in which Apple really sends it.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn notice(&self, notice: &Notice) -> Result<Bytes, SigningError> {
        Ok(body(&self.jwt(&claims(notice))?))
    }
}

/// The claims of a notice as they are observed: `events` as a string, milliseconds, a day of validity.
#[must_use]
pub fn claims(notice: &Notice) -> Value {
    let mut event = json!({
        "type": match notice.kind {
            NoticeKind::AccountDeleted => "account-delete",
            kind => kind.as_str(),
        },
        "sub": notice.subject,
        "event_time": notice.at.as_millis(),
    });
    if let (Some(event), Some(email)) = (event.as_object_mut(), &notice.email) {
        event.insert("email".to_owned(), email.expose().into());
        event.insert("is_private_email".to_owned(), notice.is_private_email.unwrap_or(true).to_string().into());
    }
    let issued_at: Timestamp = notice.issued_at;
    json!({
        "iss": ISSUER, "aud": notice.audience, "iat": issued_at.as_seconds(), "exp": issued_at.as_seconds() + 86_400,
        "jti": notice.jwt_id, "events": event.to_string(),
    })
}

/// The request body that carries a JWT.
#[must_use]
pub fn body(jwt: &str) -> Bytes {
    Bytes::from(json!({ "payload": jwt }).to_string())
}
