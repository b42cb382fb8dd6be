//! Signs SNS messages as Amazon does, with a key of one's own: for tests, the demo and benchmarks.
//!
//! A verifier believes it only where its certificate is pinned (or served by the test's own fetcher). Signature version
//! 1 is computed without care for timing, so that a key made here must be thrown away.

use std::fmt::Write as _;

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use num_bigint::BigUint;

use crate::model::Timestamp;

use super::{MessageType, SignatureVersion};

/// A key could not be made or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key can't be made or used")]
pub struct SigningError;

/// What to put into an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft<'a> {
    /// Which of SNS's three types.
    pub kind: MessageType,
    /// The topic's ARN.
    pub topic: &'a str,
    /// SNS's id of the message, a UUID; [`message_id`] makes one from a number.
    pub message_id: &'a str,
    /// What is published.
    pub message: &'a str,
    /// The subject, where there is one; notifications only.
    pub subject: Option<&'a str>,
    /// When it is published.
    pub at: Timestamp,
    /// The digest to sign with.
    pub version: SignatureVersion,
}

/// An RSA key that signs envelopes.
pub struct Signer {
    key: KeyPair,
    modulus: BigUint,
    exponent: BigUint,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer with a new key of 2048 bits.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn generate() -> Result<Self, SigningError> {
        Self::from_key(KeyPair::generate(KeySize::Rsa2048).map_err(|_| SigningError)?)
    }

    /// A signer with a key that was kept: PKCS #8 in DER, unencrypted.
    ///
    /// # Errors
    /// Where it's no RSA key of at least 2048 bits.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SigningError> {
        Self::from_key(KeyPair::from_pkcs8(der).map_err(|_| SigningError)?)
    }

    fn from_key(key: KeyPair) -> Result<Self, SigningError> {
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| SigningError)?;
        let (modulus, exponent) = private_numbers(der.as_ref()).ok_or(SigningError)?;
        Ok(Self { key, modulus, exponent })
    }

    /// A certificate of the key, issued by itself for `subject` (`sns.amazonaws.com` is Amazon's), as PEM.
    ///
    /// # Errors
    /// Where a time has no place in a calendar, or the key fails.
    pub fn certificate(&self, subject: &str, from: Timestamp, until: Timestamp) -> Result<String, SigningError> {
        self.certificate_by(self, subject, subject, from, until, &[])
    }

    /// A certificate of an authority: of the key, issued by itself, and fit to issue others.
    ///
    /// # Errors
    /// As [`Self::certificate`].
    pub fn authority(&self, subject: &str, from: Timestamp, until: Timestamp) -> Result<String, SigningError> {
        let is_ca = der(0x04, &[&der(0x30, &[&[0x01, 0x01, 0xff]])]);
        let extension = der(0x30, &[&der(0x06, &[&OID_BASIC_CONSTRAINTS]), &[0x01, 0x01, 0xff], &is_ca]);
        let extensions = der(0xa3, &[&der(0x30, &[&extension])]);
        self.certificate_by(self, subject, subject, from, until, &extensions)
    }

    /// A certificate of the key for `subject`, issued by the key of `issuer`, who is named so.
    ///
    /// # Errors
    /// As [`Self::certificate`].
    pub fn certificate_from(
        &self,
        issuer: &Self,
        issuer_name: &str,
        subject: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<String, SigningError> {
        self.certificate_by(issuer, issuer_name, subject, from, until, &[])
    }

    fn certificate_by(
        &self,
        issuer: &Self,
        issuer_name: &str,
        subject: &str,
        from: Timestamp,
        until: Timestamp,
        extensions: &[u8],
    ) -> Result<String, SigningError> {
        let public: PublicKeyX509Der<'_> = self.key.public_key().as_der().map_err(|_| SigningError)?;
        let sha256_rsa = der(0x30, &[&der(0x06, &[&OID_SHA256_RSA]), &[0x05, 0x00]]);
        let named = |name: &str| {
            let common_name = der(0x30, &[&der(0x06, &[&OID_COMMON_NAME]), &der(0x0c, &[name.as_bytes()])]);
            der(0x30, &[&der(0x31, &[&common_name])])
        };
        let (by, name) = (named(issuer_name), named(subject));
        let validity = der(0x30, &[&der_time(from)?, &der_time(until)?]);
        let version_3 = der(0xa0, &[&der(0x02, &[&[2]])]);
        let serial = der(0x02, &[&[1]]);
        let signed = der(0x30, &[&version_3, &serial, &sha256_rsa, &by, &validity, &name, public.as_ref(), extensions]);
        let signature = issuer.sign(SignatureVersion::V2, &signed)?;
        let certificate = der(0x30, &[&signed, &sha256_rsa, &der(0x03, &[&[0], &signature])]);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in BASE64_STANDARD.encode(certificate).as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).map_err(|_| SigningError)?);
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        Ok(pem)
    }

    /// The signed envelope as JSON, with the members that SNS sends in this type.
    ///
    /// # Errors
    /// Where the key fails.
    pub fn envelope(&self, draft: &Draft<'_>) -> Result<String, SigningError> {
        let is_scaleway = draft.topic.starts_with("arn:scw:");
        let cloud = if is_scaleway { super::Cloud::Scaleway } else { super::Cloud::Amazon };
        let host =
            super::Topic::of(cloud, draft.topic).map_or_else(|_| "sns.invalid".to_owned(), |t| t.host().to_owned());
        let timestamp = jiff::Timestamp::from_millisecond(draft.at.as_millis())
            .map_err(|_| SigningError)?
            .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
            .to_string();
        let token = "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92";
        let topic = draft.topic;
        let subscribe_url = format!("https://{host}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}");
        let mut fields = vec![("Message", draft.message), ("MessageId", draft.message_id)];
        if draft.kind == MessageType::Notification {
            fields.extend(draft.subject.map(|subject| ("Subject", subject)));
            fields.push(("Timestamp", &timestamp));
        } else {
            fields.extend([("SubscribeURL", subscribe_url.as_str()), ("Timestamp", &timestamp), ("Token", token)]);
        }
        fields.extend([("TopicArn", topic), ("Type", draft.kind.as_str())]);

        let mut canonical = String::with_capacity(draft.message.len() + 512);
        let mut json = serde_json::Map::new();
        for (name, value) in fields {
            write!(canonical, "{name}\n{value}\n").map_err(|_| SigningError)?;
            json.insert(name.to_owned(), value.into());
        }
        let signature = BASE64_STANDARD.encode(self.sign(draft.version, canonical.as_bytes())?);
        let version = match draft.version {
            SignatureVersion::V1 => "1",
            SignatureVersion::V2 => "2",
        };
        json.insert("SignatureVersion".to_owned(), version.into());
        json.insert("Signature".to_owned(), signature.into());
        json.insert(
            "SigningCertURL".to_owned(),
            if is_scaleway { SCALEWAY_CERTIFICATE.to_owned() } else { certificate_url(&host) }.into(),
        );
        Ok(serde_json::Value::Object(json).to_string())
    }

    /// The signature of a text.
    ///
    /// # Errors
    /// Where the key fails.
    pub fn sign(&self, version: SignatureVersion, text: &[u8]) -> Result<Vec<u8>, SigningError> {
        let length = self.key.public_modulus_len();
        let mut signature = vec![0; length];
        match version {
            SignatureVersion::V2 => {
                let random = SystemRandom::new();
                self.key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).map_err(|_| SigningError)?;
            }
            // RFC 8017 section 9.2, by hand: aws-lc-rs verifies SHA-1 and signs nothing with it.
            SignatureVersion::V1 => {
                let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text);
                let info = [SHA1_DIGEST_INFO.as_slice(), digest.as_ref()].concat();
                let mut block = vec![0xff; length];
                let split = length.checked_sub(info.len()).ok_or(SigningError)?;
                block.splice(split.., info);
                for (at, byte) in [(0, 0), (1, 1), (split - 1, 0)] {
                    *block.get_mut(at).ok_or(SigningError)? = byte;
                }
                let number = BigUint::from_bytes_be(&block).modpow(&self.exponent, &self.modulus).to_bytes_be();
                let start = length.checked_sub(number.len()).ok_or(SigningError)?;
                signature.splice(start.., number);
            }
        }
        Ok(signature)
    }
}

/// The address of the signing certificate that envelopes from a host name.
#[must_use]
pub fn certificate_url(host: &str) -> String {
    format!("https://{host}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem")
}

/// The address of the signing certificate that envelopes of Scaleway's topics name.
pub const SCALEWAY_CERTIFICATE: &str = "https://messaging.s3.fr-par.scw.cloud/fr-par/sns/0123456789abcdef.pem";

/// A UUID made from a number, so that tests and the demo are the same each time.
#[must_use]
pub fn message_id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{:012x}", number & 0xffff_ffff_ffff)
}

/// 1.2.840.113549.1.1.11, sha256WithRSAEncryption (RFC 4055).
const OID_SHA256_RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
/// 2.5.4.3, commonName (X.520).
const OID_COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// 2.5.29.19, basicConstraints (RFC 5280 section 4.2.1.9).
const OID_BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];
/// The head of a `DigestInfo` for SHA-1 (RFC 8017 section 9.2, note 1).
const SHA1_DIGEST_INFO: [u8; 15] =
    [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];

/// One DER value: tag, length, contents.
fn der(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
        out.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let digits: Vec<u8> = bytes.into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
        out.extend(digits);
    }
    for part in contents {
        out.extend_from_slice(part);
    }
    out
}

/// RFC 5280 section 4.1.2.5: two digits for the year up to 2049, four from 2050.
fn der_time(at: Timestamp) -> Result<Vec<u8>, SigningError> {
    let time = jiff::Timestamp::from_millisecond(at.as_millis()).map_err(|_| SigningError)?;
    // From 1950-01-01 to before 2050-01-01.
    let short = (-631_152_000_000..2_524_608_000_000).contains(&at.as_millis());
    let (tag, format) = if short { (0x17, "%y%m%d%H%M%SZ") } else { (0x18, "%Y%m%d%H%M%SZ") };
    Ok(der(tag, &[time.strftime(format).to_string().as_bytes()]))
}

/// Modulus and private exponent out of PKCS #8 (RFC 5208) around an `RSAPrivateKey` (RFC 8017 appendix A.1.2).
fn private_numbers(pkcs8: &[u8]) -> Option<(BigUint, BigUint)> {
    let (info, _) = der_value(pkcs8)?;
    let (_version, rest) = der_value(info)?;
    let (_algorithm, rest) = der_value(rest)?;
    let (octets, _) = der_value(rest)?;
    let (numbers, _) = der_value(octets)?;
    let (_version, rest) = der_value(numbers)?;
    let (modulus, rest) = der_value(rest)?;
    let (_public, rest) = der_value(rest)?;
    let (private, _) = der_value(rest)?;
    Some((BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(private)))
}

/// The contents of the first DER value, and what follows it.
fn der_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *first < 0x80 {
        return rest.split_at_checked(usize::from(*first));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let length = digits.iter().try_fold(0usize, |sum, digit| sum.checked_mul(256)?.checked_add(usize::from(*digit)))?;
    rest.split_at_checked(length)
}
