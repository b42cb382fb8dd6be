//! Verifies the DKIM signatures of a whole message: the cryptography is mail-auth's, the questions are ours, so that a resolver's
//! trouble is told from a key that is not there, and nobody is asked but the servers that are named.
//!
//! A message that was pasted or saved by a mail program often differs from the one that was signed. So a body that is not the signed one
//! proves nothing: the signature is as if nobody had verified it.

use std::{borrow::Borrow, collections::HashMap, hash::Hash, time::Instant};

use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{
    AuthenticatedMessage, DkimResult, DnsError, Error, MessageAuthenticator, Parameters, ResolverCache, Txt,
    common::{crypto::Algorithm, parse::TxtRecordParser, verify::DomainKey},
    dkim::DkimError,
};

use super::{
    answer::{Kind, Name, Outcome, Question, Values},
    apple_rule::Validity,
    dkim,
    dns::Asker,
    message::{MAX_SIGNATURES, Verified},
};

/// Verifies the signatures of a message, at most [`MAX_SIGNATURES`]. `None` where it can't be taken apart. It always ends: each key is
/// one question.
pub async fn verify(raw: &[u8], asker: &Asker) -> Option<Vec<Verified>> {
    let (raw, asker) = (with_crlf(raw), asker.clone());
    // A panic of a parser on hostile mail ends this task alone.
    tokio::spawn(async move { verified(&raw, &asker).await }).await.ok().flatten()
}

/// Signatures are over lines that end in CRLF (RFC 6376 section 5.3), and files often have LF.
fn with_crlf(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut before = 0;
    for byte in raw {
        if *byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(*byte);
        before = *byte;
    }
    out
}

async fn verified(raw: &[u8], asker: &Asker) -> Option<Vec<Verified>> {
    let message = AuthenticatedMessage::parse(raw)?;
    let mut keys = Keys::default();
    let mut questions = HashMap::new();
    for header in message.dkim_headers.iter().take(MAX_SIGNATURES) {
        let at = format!("{}._domainkey.{}", header.header.s, header.header.d);
        if let Ok(name) = Name::parse(&at) {
            questions.insert(Question::new(name, Kind::Txt), format!("{at}."));
        }
    }
    for (question, answer) in asker.ask_all(questions.keys().cloned().collect()).await {
        if let Some(at) = questions.get(&question) {
            keys.take(at, &answer.outcome);
        }
    }
    // Nobody is asked through it: what the cache does not have is an error there.
    let verifier = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).ok()?;
    let results = verifier.verify_dkim(Parameters::new(&message).with_txt_cache(&keys)).await;
    let mut all = Vec::new();
    for one in results.iter().take(MAX_SIGNATURES) {
        let Some(signature) = one.signature() else { continue };
        let Ok(domain) = Name::parse(&signature.d) else { continue };
        let at = format!("{}._domainkey.{}.", signature.s, signature.d);
        let several = keys.several.contains(&at);
        let (validity, says) = match one.result() {
            DkimResult::Pass if signature.a == Algorithm::RsaSha1 => {
                (Validity::Invalid, Some("it is by SHA-1, which nobody may accept any more (RFC 8301)".to_owned()))
            }
            DkimResult::Pass if several => (Validity::Chance, Some("several keys stand at its selector".to_owned())),
            DkimResult::Pass if signature.a == Algorithm::Ed25519Sha256 => (Validity::ValidEd25519, None),
            DkimResult::Pass => (Validity::Valid, None),
            DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch)) => (
                Validity::Untold,
                Some(
                    "the body is not the one that was signed: it was changed on its way, or when it was saved"
                        .to_owned(),
                ),
            ),
            DkimResult::TempError(_) => (Validity::Trouble, Some("DNS did not answer for its key".to_owned())),
            DkimResult::PermError(Error::Dns(_)) => {
                (Validity::Invalid, Some(format!("no key stands at {}", at.trim_end_matches('.'))))
            }
            DkimResult::Neutral(error) | DkimResult::Fail(error) | DkimResult::PermError(error) => {
                (Validity::Invalid, Some(error.to_string()))
            }
            DkimResult::None => (Validity::Untold, None),
        };
        all.push(Verified { domain, selector: signature.s.clone(), validity, says });
    }
    Some(all)
}

/// The keys that DNS gave, for mail-auth to find.
#[derive(Default)]
struct Keys {
    found: HashMap<Box<str>, Txt>,
    several: Vec<String>,
}

impl Keys {
    fn take(&mut self, at: &str, outcome: &Outcome) {
        let texts = match outcome {
            Outcome::Found(Values::Txt(texts)) => texts.as_slice(),
            trouble if trouble.is_trouble() => {
                self.found.insert(at.into(), Txt::Error(trouble_of(trouble)));
                return;
            }
            _ => &[],
        };
        let mut records = texts.iter().map(super::answer::Text::joined).filter(|text| dkim::parse(text).is_some());
        let first = records.next().map(|text| DomainKey::parse(&text));
        if records.next().is_some() {
            self.several.push(at.to_owned());
        }
        self.found.insert(at.into(), first.unwrap_or(Err(Error::Dns(DnsError::InvalidRecordType))).into());
    }
}

/// What mail-auth takes for a passing trouble.
fn trouble_of(outcome: &Outcome) -> Error {
    Error::Dns(DnsError::Resolver(outcome.seen().to_string()))
}

impl ResolverCache<Box<str>, Txt> for Keys {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let unasked = || Txt::Error(Error::Dns(DnsError::Resolver("not asked".to_owned())));
        Some(self.found.get(name).cloned().unwrap_or_else(unasked))
    }

    fn remove<Q>(&self, _name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _key: Box<str>, _value: Txt, _valid_until: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_crlf_whatever_the_file_has() {
        assert_eq!(with_crlf(b"a\nb\r\nc\r\n\n"), b"a\r\nb\r\nc\r\n\r\n");
    }
}
