//! The signatures of Svix and of Standard Webhooks: three headers, HMAC-SHA256 over id, timestamp and body.
//!
//! Source: Svix, "Verifying webhooks manually"; the specification of Standard Webhooks, which has the same scheme under other
//! names. Signed is `<id>.<timestamp>.<body>`, with the body as it came. The signature's header holds one or several, parted by
//! blanks, each with its version: `v1,<base64>`; others than `v1` are passed over. The key is the base64 behind `whsec_`.
//!
//! A timestamp more than 5 minutes off is refused; each attempt has a fresh one (reported), so that this costs no event. Within
//! them a replay brings the same id.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::SecretString;

use super::{
    Delivery, Rejection,
    auth::SecretError,
    mac::{MacKeys, bad_signature},
    signed::{seconds, within_window},
};
use crate::model::MINUTE_MILLIS;

/// How far from the clock a signed timestamp may be, either way.
pub const TOLERANCE_MILLIS: i64 = 5 * MINUTE_MILLIS;
/// The headers with id, timestamp and signatures, by Svix and by Standard Webhooks.
pub const HEADERS: [[&str; 3]; 2] =
    [["svix-id", "svix-timestamp", "svix-signature"], ["webhook-id", "webhook-timestamp", "webhook-signature"]];
/// The longest id that is taken; real ones have about 30 characters.
const MAX_ID_BYTES: usize = 256;
/// More signatures than any rotation needs.
const MAX_SIGNATURES: usize = 16;

/// The keys of a feed that is signed so.
#[derive(Debug)]
pub(super) struct Svix(MacKeys);

impl Svix {
    /// From signing secrets as the provider shows them: `whsec_…`.
    ///
    /// # Errors
    /// Where there is none, too many, or one that is no base64.
    pub(super) fn new(secrets: &[SecretString]) -> Result<Self, SecretError> {
        let decode = |text: &str| BASE64_STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok();
        Ok(Self(MacKeys::decoded(hmac::HMAC_SHA256, secrets, decode)?))
    }

    /// Verifies a delivery; gives its id, which is the same in each attempt.
    ///
    /// # Errors
    /// 401 for a signature that is absent or doesn't verify; 503 for a timestamp outside the tolerance, since this machine's
    /// clock may be what is wrong.
    pub(super) fn verify<'d>(&self, delivery: &'d Delivery) -> Result<&'d str, Rejection> {
        let absent = || {
            Rejection::unauthenticated(
                "the headers svix-id, svix-timestamp and svix-signature (or webhook-*) are absent or unreadable; look at who posts, \
                 and let a proxy pass them on",
            )
        };
        let family = HEADERS.iter().find(|[id, ..]| delivery.headers.contains_key(*id)).ok_or_else(absent)?;
        let [id, timestamp, signatures] = family.map(|name| delivery.header(name));
        // With a dot in it, characters could move from the id into the timestamp.
        let id = id.filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES && !id.contains('.')).ok_or_else(absent)?;
        let timestamp = timestamp.ok_or_else(absent)?;
        let signed_at = seconds(timestamp).ok_or_else(absent)?;
        let signatures: Vec<&str> =
            signatures.ok_or_else(absent)?.split_ascii_whitespace().filter_map(|one| one.strip_prefix("v1,")).collect();
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err(absent());
        }
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &delivery.body];
        let tags: Vec<Vec<u8>> = signatures.iter().filter_map(|one| BASE64_STANDARD.decode(one).ok()).collect();
        if !self.0.verify_any(&signed, &tags) {
            return Err(bad_signature("webhook's signing secret"));
        }
        within_window(signed_at, delivery.received_at, TOLERANCE_MILLIS)?;
        Ok(id)
    }
}

/// Signs as Svix does: for tests and fuzzing.
pub mod signing {
    use aws_lc_rs::hmac;
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    /// One signature of a body, as it stands in the header: `v1,…`; nothing where the secret is no base64.
    #[must_use]
    pub fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> Option<String> {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok()?;
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
        Some(format!("v1,{}", BASE64_STANDARD.encode(tag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::http::{
            RejectionReason,
            testing::{NOW, delivery},
        },
        model::Timestamp,
    };

    /// The vector that Svix publishes with its libraries (svix-webhooks, MIT): secret, id, timestamp, body, signature.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: &str = "1614265330";
    const BODY: &str = "{\"test\": 2432232314}";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn at(timestamp: &str, headers: &[(&str, &str)], body: &str) -> Delivery {
        let seconds = timestamp.parse().expect("seconds");
        Delivery { received_at: Timestamp::from_seconds(seconds), ..delivery(headers, body) }
    }

    fn outcome(delivery: &Delivery) -> Result<String, (u16, RejectionReason)> {
        let svix = Svix::new(&["whsec_b2xk".into(), SECRET.into()]).expect("secrets");
        svix.verify(delivery).map(ToOwned::to_owned).map_err(|error| (error.status.as_u16(), error.reason))
    }

    #[test]
    fn the_published_vector_verifies_under_both_names() {
        for [id, timestamp, signature] in HEADERS {
            let headers = [(id, ID), (timestamp, AT), (signature, SIGNATURE)];
            assert_eq!(outcome(&at(AT, &headers, BODY)).as_deref(), Ok(ID));
            let forged = Err((401, RejectionReason::BadSignature));
            assert_eq!(outcome(&at(AT, &headers, "{\"test\": 2432232315}")), forged, "another body");
            assert_eq!(outcome(&at(AT, &[headers[0], (timestamp, "1614265331"), headers[2]], BODY)), forged);
            assert_eq!(outcome(&at(AT, &[(id, "msg_2"), headers[1], headers[2]], BODY)), forged, "another id");
        }
        assert_eq!(signing::signature(SECRET, ID, AT, BODY.as_bytes()).as_deref(), Some(SIGNATURE));
    }

    #[test]
    fn one_of_several_signatures_is_enough() {
        let with = |signatures: &str| {
            let headers = [("svix-id", ID), ("svix-timestamp", AT), ("svix-signature", signatures)];
            outcome(&at(AT, &headers, BODY))
        };
        let other = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
        let (version_2, unknown) = (SIGNATURE.replacen("v1", "v2", 1), SIGNATURE.replacen("v1", "v1a", 1));
        assert!(with(&format!("{other} {SIGNATURE} {version_2}")).is_ok());
        assert_eq!(with(other), Err((401, RejectionReason::BadSignature)));
        for none in
            ["", " ", &version_2, &unknown, SIGNATURE.trim_start_matches("v1,"), &format!("{other} ").repeat(17)]
        {
            assert_eq!(with(none), Err((401, RejectionReason::Unauthenticated)), "{none:?}");
        }
    }

    #[test]
    fn the_tolerance_goes_both_ways() {
        let off = |seconds: i64| {
            let timestamp = (NOW.as_seconds() + seconds).to_string();
            let signature = signing::signature(SECRET, ID, &timestamp, b"{}").expect("signed");
            let headers = [("svix-id", ID), ("svix-timestamp", timestamp.as_str()), ("svix-signature", &signature)];
            outcome(&delivery(&headers, "{}"))
        };
        for seconds in [0, 300, -300] {
            assert!(off(seconds).is_ok(), "{seconds}");
        }
        for seconds in [301, -301, -86_400] {
            assert_eq!(off(seconds), Err((503, RejectionReason::Stale)), "{seconds}");
        }
    }

    #[test]
    fn what_is_missing_or_moved_is_no_signature() {
        let good = [("svix-id", ID), ("svix-timestamp", AT), ("svix-signature", SIGNATURE)];
        let absent = Err((401, RejectionReason::Unauthenticated));
        for index in 0..3 {
            let mut headers = good.to_vec();
            headers.remove(index);
            assert_eq!(outcome(&at(AT, &headers, BODY)), absent, "without {}", good[index].0);
            headers.extend([good[index], good[index]]);
            assert_eq!(outcome(&at(AT, &headers, BODY)), absent, "{} twice", good[index].0);
        }
        for (id, timestamp) in
            [("", AT), ("a.b", AT), (ID, ""), (ID, "161426533"), (ID, "yesterday"), (ID, "16142653300")]
        {
            let headers = [("svix-id", id), ("svix-timestamp", timestamp), good[2]];
            assert_eq!(outcome(&at(AT, &headers, BODY)), absent, "{id} {timestamp}");
        }
        assert_eq!(Svix::new(&["whsec_***".into()]).expect_err("no base64"), SecretError::Unusable);
    }
}
