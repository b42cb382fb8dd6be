//! Shared secrets in the `Authorization` header, basic (RFC 7617) and bearer (RFC 6750), or in a header of one's own; two of each
//! for rotation.

use aws_lc_rs::{constant_time, digest};
use axum::http::{HeaderName, StatusCode, header};
use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Delivery, Rejection, RejectionReason};

/// How many secrets of one kind may be in force at once: the old one and the new one.
pub const MAX_SECRETS: usize = 2;

/// The parameter of a query that holds a token.
pub(super) const TOKEN_PARAMETER: &str = "token";

/// Providers differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is wrong with the configured secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none, and a feed that anybody can write to is no feed.
    #[error("the feed has no secret; set a user name and password, or a token")]
    Missing,
    /// More than [`MAX_SECRETS`] of one kind.
    #[error("the feed has more than {MAX_SECRETS} secrets of one kind; remove those that are no longer in use")]
    TooMany,
    /// An empty secret, or one with characters that no header can carry.
    #[error(
        "a secret is empty, or holds blanks at its ends, control characters or, as a token, others than ASCII; check its file for \
         a stray line end"
    )]
    Unusable,
    /// RFC 7617 section 2: a user name cannot hold a colon.
    #[error("a user name holds a colon, which basic authentication cannot carry")]
    Colon,
    /// A text that is no header's name.
    #[error("`header` can't be a header's name; write it as \"X-Relaywatch-Token\"")]
    Header,
}

/// A user name and its password.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

/// The secrets of a feed whose provider signs nothing.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// User names with passwords for basic authentication: up to two.
    pub logins: Vec<Login>,
    /// Tokens: up to two.
    pub tokens: Vec<SecretString>,
    /// The header that holds the token and nothing else; without it, the token is a bearer token.
    pub header: Option<String>,
}

impl Credentials {
    /// What the feed accepts.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one, or the header can't have its name.
    pub fn secrets(&self) -> Result<Secrets, SecretError> {
        let secrets = Secrets::new(&self.logins, &self.tokens)?;
        let Some(header) = &self.header else { return Ok(secrets) };
        let header = HeaderName::from_bytes(header.as_bytes()).map_err(|_| SecretError::Header)?;
        Ok(secrets.with_tokens_in(header))
    }
}

/// The secrets that a feed accepts. Holds their digests only.
#[derive(Clone)]
pub struct Secrets {
    logins: Vec<[u8; 32]>,
    tokens: Vec<[u8; 32]>,
    /// The header that holds a token and nothing else, in place of `Authorization: Bearer`.
    header: Option<HeaderName>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} logins, {} tokens)", self.logins.len(), self.tokens.len())
    }
}

impl Secrets {
    /// Accepts any of the logins and any of the tokens.
    ///
    /// # Errors
    /// Where there are none, too many, or unusable ones.
    pub fn new(logins: &[Login], tokens: &[SecretString]) -> Result<Self, SecretError> {
        if logins.is_empty() && tokens.is_empty() {
            return Err(SecretError::Missing);
        }
        if logins.len() > MAX_SECRETS {
            return Err(SecretError::TooMany);
        }
        // A header carries visible ASCII only, so that another token would never match.
        let token = |token: &str| token.is_ascii().then(|| sha256(token.as_bytes()));
        let tokens = if tokens.is_empty() { Vec::new() } else { two(tokens, token)? };
        let mut accepted = Self { logins: Vec::new(), tokens, header: None };
        for Login { username, password } in logins {
            if username.contains(':') {
                return Err(SecretError::Colon);
            }
            let password = usable(password.expose_secret())?;
            accepted.logins.push(sha256(format!("{username}:{password}").as_bytes()));
        }
        Ok(accepted)
    }

    /// The same, with the tokens in this header and not in `Authorization`.
    #[must_use]
    pub fn with_tokens_in(self, header: HeaderName) -> Self {
        Self { header: Some(header), ..self }
    }

    /// Whether this is one of the tokens, in a time that tells nothing about them.
    pub(super) fn holds(&self, presented: &[u8]) -> bool {
        one_of(&self.tokens, presented)
    }

    /// Whether a bearer token opens.
    fn takes_bearer(&self) -> bool {
        !self.tokens.is_empty() && self.header.is_none()
    }

    /// The schemes that the feed takes (RFC 7617 section 2, RFC 6750 section 3); a header of one's own has none.
    fn challenge(&self) -> Option<&'static str> {
        match (!self.logins.is_empty(), self.takes_bearer()) {
            (true, false) => Some("Basic realm=\"relaywatch\", charset=\"UTF-8\""),
            (false, true) => Some("Bearer realm=\"relaywatch\""),
            (true, true) => Some("Basic realm=\"relaywatch\", charset=\"UTF-8\", Bearer realm=\"relaywatch\""),
            (false, false) => None,
        }
    }

    /// Checks the `Authorization` header of a delivery, or the token's own, in a time that tells nothing about the secrets.
    ///
    /// # Errors
    /// 401 where the header is absent or unreadable, or where its secret is none of those accepted. Every provider
    /// here tries again then, so that a mistake in the settings costs no event.
    pub fn check(&self, delivery: &Delivery) -> Result<(), Rejection> {
        let absent = || {
            let expected = match (!self.logins.is_empty(), self.takes_bearer(), &self.header) {
                (true, true, _) => {
                    "one Authorization header with a user name and password (basic) or a token (bearer)".to_owned()
                }
                (true, false, None) => "one Authorization header with a user name and password (basic)".to_owned(),
                (true, false, Some(header)) => {
                    format!(
                        "one Authorization header with a user name and password (basic), or one {header} with a token"
                    )
                }
                (false, false, Some(header)) => format!("one {header} header with a token"),
                (false, _, _) => "one Authorization header with a token (bearer)".to_owned(),
            };
            Rejection {
                challenge: self.challenge(),
                ..Rejection::unauthenticated(format!("this feed expects {expected}; set it at the provider"))
            }
        };
        if let Some(header) = self.header.as_ref().filter(|header| delivery.headers.contains_key(*header)) {
            let token = delivery.header(header.as_str()).ok_or_else(absent)?;
            return if self.holds(token.as_bytes()) { Ok(()) } else { Err(self.wrong(header.as_str())) };
        }
        let value = delivery.header(header::AUTHORIZATION.as_str()).ok_or_else(absent)?;
        let (scheme, credentials) = value.trim().split_once(' ').ok_or_else(absent)?;
        let credentials = credentials.trim();
        let matched = if scheme.eq_ignore_ascii_case("basic") && !self.logins.is_empty() {
            let pair = BASE64.decode(credentials).map_err(|_| absent())?;
            one_of(&self.logins, &pair)
        } else if scheme.eq_ignore_ascii_case("bearer") && self.takes_bearer() {
            self.holds(credentials.as_bytes())
        } else {
            return Err(absent());
        };
        if matched { Ok(()) } else { Err(self.wrong("Authorization")) }
    }

    /// The same for a provider that can be given an address and nothing else: a token may stand in its query as `token`.
    ///
    /// # Errors
    /// As [`Self::check`]; also where the query holds `token` twice.
    pub fn check_with_query(&self, delivery: &Delivery) -> Result<(), Rejection> {
        let mut given =
            url::form_urlencoded::parse(delivery.query.as_bytes()).filter(|(key, _)| key == TOKEN_PARAMETER);
        let Some((_, token)) = given.next() else {
            return self.check(delivery).map_err(|rejection| match rejection.reason {
                RejectionReason::Unauthenticated => {
                    let detail = format!("{}, or put the token into the address, as ?token=…", rejection.detail);
                    Rejection { detail, ..rejection }
                }
                _ => rejection,
            });
        };
        if given.next().is_none() && self.holds(token.as_bytes()) {
            return Ok(());
        }
        Err(Rejection::new(
            StatusCode::UNAUTHORIZED,
            RejectionReason::BadCredentials,
            "the `token` in the address is none of this feed's; compare the address at the provider with the configuration",
        ))
    }

    fn wrong(&self, header: &str) -> Rejection {
        let detail = format!(
            "the {header} header holds none of this feed's secrets; compare the provider's settings with the configuration"
        );
        Rejection {
            challenge: self.challenge(),
            ..Rejection::new(StatusCode::UNAUTHORIZED, RejectionReason::BadCredentials, detail)
        }
    }
}

/// What is made of one secret, or of two while they are rotated.
///
/// # Errors
/// Where there is none, too many, or one that is not [`usable`] or of which nothing can be made.
pub(super) fn two<T>(secrets: &[SecretString], make: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, SecretError> {
    if secrets.is_empty() {
        return Err(SecretError::Missing);
    }
    if secrets.len() > MAX_SECRETS {
        return Err(SecretError::TooMany);
    }
    secrets.iter().map(|secret| make(usable(secret.expose_secret())?).ok_or(SecretError::Unusable)).collect()
}

/// A secret that its file holds and nothing else.
pub(super) fn usable(secret: &str) -> Result<&str, SecretError> {
    let bad = secret.is_empty() || secret.trim() != secret || secret.chars().any(char::is_control);
    if bad { Err(SecretError::Unusable) } else { Ok(secret) }
}

/// Digests are compared instead of secrets, so that neither length nor prefix shows; all of them, so that neither does
/// which one it is.
fn one_of(accepted: &[[u8; 32]], presented: &[u8]) -> bool {
    let presented = sha256(presented);
    accepted
        .iter()
        .fold(false, |found, digest| found | constant_time::verify_slices_are_equal(digest, &presented).is_ok())
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::http::testing::delivery;

    fn login(username: &str, password: &str) -> Login {
        Login { username: username.to_owned(), password: password.into() }
    }

    fn outcome(secrets: &Secrets, headers: &[&str]) -> Result<(), RejectionReason> {
        let headers: Vec<_> = headers.iter().map(|value| ("authorization", *value)).collect();
        let rejection = match secrets.check(&delivery(&headers, "")) {
            Ok(()) => return Ok(()),
            Err(rejection) => rejection,
        };
        assert_eq!(rejection.status, StatusCode::UNAUTHORIZED);
        assert!(!rejection.detail.contains("pass") || rejection.detail.contains("password"), "{rejection}");
        Err(rejection.reason)
    }

    #[test]
    fn both_secrets_of_a_rotation_are_accepted_and_nothing_else() {
        // base64 of "watch:old-one", "watch:new:one", "watch:wrong", "watch"
        let secrets =
            Secrets::new(&[login("watch", "old-one"), login("watch", "new:one")], &["tok-1".into(), "tok-2".into()])
                .expect("secrets");
        assert_eq!(outcome(&secrets, &["Basic d2F0Y2g6b2xkLW9uZQ=="]), Ok(()));
        assert_eq!(outcome(&secrets, &["basic  d2F0Y2g6bmV3Om9uZQ"]), Ok(()), "scheme in any case, no padding");
        assert_eq!(outcome(&secrets, &["Bearer tok-1"]), Ok(()));
        assert_eq!(outcome(&secrets, &["bearer tok-2"]), Ok(()));
        for wrong in ["Basic d2F0Y2g6d3Jvbmc=", "Basic d2F0Y2g=", "Bearer tok-3", "Bearer tok-", "Bearer TOK-1"] {
            assert_eq!(outcome(&secrets, &[wrong]), Err(RejectionReason::BadCredentials), "{wrong}");
        }
        for absent in ["Basic", "Digest abc", "Basic ***", "tok-1"] {
            assert_eq!(outcome(&secrets, &[absent]), Err(RejectionReason::Unauthenticated), "{absent}");
        }
        assert_eq!(outcome(&secrets, &[]), Err(RejectionReason::Unauthenticated));
        assert_eq!(
            outcome(&secrets, &["Bearer tok-1", "Bearer tok-2"]),
            Err(RejectionReason::Unauthenticated),
            "two headers are no credentials"
        );
    }

    #[test]
    fn a_scheme_that_is_not_configured_is_refused_with_the_one_that_is() {
        let secrets = Secrets::new(&[], &["tok-1".into()]).expect("secrets");
        let rejection = secrets.check(&delivery(&[("authorization", "Basic dG9rLTE=")], "")).expect_err("basic");
        assert_eq!(rejection.reason, RejectionReason::Unauthenticated);
        assert_eq!(rejection.challenge, Some("Bearer realm=\"relaywatch\""));
        let login = Secrets::new(&[login("a", "b")], &[]).expect("secrets");
        let wrong = login.check(&delivery(&[("authorization", "Basic YTpj")], "")).expect_err("another password");
        assert_eq!(wrong.challenge, Some("Basic realm=\"relaywatch\", charset=\"UTF-8\""));
        assert!(rejection.detail.contains("bearer") && !rejection.detail.contains("basic"), "{rejection}");
    }

    #[test]
    fn a_token_may_stand_in_the_query_where_a_feed_says_so() {
        let secrets = Secrets::new(&[], &["tok-1".into(), "t k&2".into()]).expect("secrets");
        let outcome = |query: &str, headers: &[(&str, &str)]| {
            let delivery = Delivery { query: query.to_owned(), ..delivery(headers, "") };
            assert!(secrets.check(&delivery).is_err() || !headers.is_empty(), "the query counts for nothing by itself");
            secrets.check_with_query(&delivery).map_err(|rejection| rejection.reason)
        };
        assert_eq!(outcome("token=tok-1", &[]), Ok(()));
        assert_eq!(outcome("a=b&token=t+k%262", &[]), Ok(()));
        assert_eq!(outcome("a=b", &[("authorization", "Bearer tok-1")]), Ok(()));
        assert_eq!(outcome("", &[]), Err(RejectionReason::Unauthenticated));
        for wrong in ["token=", "token=tok-2", "token=tok-1&token=tok-1"] {
            assert_eq!(outcome(wrong, &[]), Err(RejectionReason::BadCredentials), "{wrong}");
        }
        let both = outcome("token=x", &[("authorization", "Bearer tok-1")]);
        assert_eq!(both, Err(RejectionReason::BadCredentials), "a wrong token is no reason to look further");
    }

    #[test]
    fn unusable_secrets_are_refused_at_the_start() {
        let error = |logins: &[Login], tokens: &[SecretString]| Secrets::new(logins, tokens).expect_err("unusable");
        assert_eq!(error(&[], &[]), SecretError::Missing);
        assert_eq!(error(&[], &["a".into(), "b".into(), "c".into()]), SecretError::TooMany);
        assert_eq!(error(&[], &["".into()]), SecretError::Unusable);
        assert_eq!(error(&[], &["schl\u{fc}ssel".into()]), SecretError::Unusable, "no header carries it");
        assert!(Secrets::new(&[login("a", "schl\u{fc}ssel")], &[]).is_ok(), "base64 carries it");
        assert_eq!(error(&[], &["secret\n".into()]), SecretError::Unusable);
        assert_eq!(error(&[login("a:b", "c")], &[]), SecretError::Colon);
        assert_eq!(error(&[login("a", "")], &[]), SecretError::Unusable);
        let secrets = Secrets::new(&[login("a", "b")], &["c".into()]).expect("secrets");
        assert_eq!(format!("{secrets:?}"), "Secrets(1 logins, 1 tokens)");
    }
}
