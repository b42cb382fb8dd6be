//! Signs batches as SendGrid does, with a key of one's own: for tests and fuzzing.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// The cryptographic library refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key can't be made or used")]
pub struct SigningError;

/// A key that stands for one of SendGrid's.
pub struct Signer(EcdsaKeyPair);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer with a new P-256 key.
    ///
    /// # Errors
    /// Where the library has no randomness.
    pub fn generate() -> Result<Self, SigningError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self).map_err(|_| SigningError)
    }

    /// The verification key as SendGrid's console shows it: base64 of the public key's DER.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn verification_key(&self) -> Result<String, SigningError> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().map_err(|_| SigningError)?;
        Ok(BASE64_STANDARD.encode(der.as_ref()))
    }

    /// The signature's header for a body under this timestamp's header.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn signature(&self, timestamp: &str, body: &[u8]) -> Result<String, SigningError> {
        let signed = [timestamp.as_bytes(), body].concat();
        let signature = self.0.sign(&SystemRandom::new(), &signed).map_err(|_| SigningError)?;
        Ok(BASE64_STANDARD.encode(signature.as_ref()))
    }
}
