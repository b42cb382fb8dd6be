//! The SNS envelope: read strictly, and turned into the text that was signed.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::{
    ingest::http::{Rejection, RejectionReason},
    model::Timestamp,
};

use super::{malformed, refuse};

/// What SNS sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// A published message.
    Notification,
    /// SNS asks whether the topic may send here.
    SubscriptionConfirmation,
    /// SNS says that the topic will send no more.
    UnsubscribeConfirmation,
}

impl MessageType {
    /// The word in `Type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }

    /// The type that is spelt so, exactly.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Notification, Self::SubscriptionConfirmation, Self::UnsubscribeConfirmation]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// Which digest the signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureVersion {
    /// SHA-1; what a topic uses unless it was told otherwise.
    V1,
    /// SHA-256.
    V2,
}

/// A JSON string, borrowed where it has no escapes. (serde borrows in a bare `Cow` only, not in an `Option`.)
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The most members that an envelope may have; SNS sends eleven.
const MAX_MEMBERS: usize = 64;

/// The members as they come. A name that occurs twice, known or not, is an error: two readers could take different
/// ones.
#[derive(Default)]
struct Wire<'a> {
    kind: Option<Text<'a>>,
    message_id: Option<Text<'a>>,
    topic: Option<Text<'a>>,
    message: Option<Text<'a>>,
    subject: Option<Text<'a>>,
    timestamp: Option<Text<'a>>,
    token: Option<Text<'a>>,
    subscribe_url: Option<Text<'a>>,
    signature_version: Option<Text<'a>>,
    signature: Option<Text<'a>>,
    certificate_url: Option<Text<'a>>,
    /// Whether it looks like what raw message delivery sends instead of an envelope.
    raw: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Wire<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
            type Value = Wire<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an SNS envelope")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut wire = Wire::default();
                let mut names: Vec<Cow<'de, str>> = Vec::with_capacity(16);
                while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                    if names.contains(&name) || names.len() == MAX_MEMBERS {
                        return Err(A::Error::custom("a repeated member, or too many"));
                    }
                    let member = match name.as_ref() {
                        "Type" => Some(&mut wire.kind),
                        "MessageId" => Some(&mut wire.message_id),
                        "TopicArn" => Some(&mut wire.topic),
                        "Message" => Some(&mut wire.message),
                        "Subject" => Some(&mut wire.subject),
                        "Timestamp" => Some(&mut wire.timestamp),
                        "Token" => Some(&mut wire.token),
                        "SubscribeURL" => Some(&mut wire.subscribe_url),
                        "SignatureVersion" => Some(&mut wire.signature_version),
                        "Signature" => Some(&mut wire.signature),
                        "SigningCertURL" => Some(&mut wire.certificate_url),
                        "notificationType" | "eventType" => {
                            wire.raw = true;
                            None
                        }
                        _ => None,
                    };
                    match member {
                        Some(member) => *member = map.next_value()?,
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                    names.push(name);
                }
                Ok(wire)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// An envelope whose shape is right. Nothing in it is trusted yet.
pub(super) struct Envelope<'a> {
    pub(super) kind: MessageType,
    pub(super) message_id: Cow<'a, str>,
    pub(super) topic: Cow<'a, str>,
    pub(super) message: Cow<'a, str>,
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) timestamp: Cow<'a, str>,
    pub(super) at: Timestamp,
    pub(super) token: Option<Cow<'a, str>>,
    pub(super) subscribe_url: Option<Cow<'a, str>>,
    pub(super) version: SignatureVersion,
    pub(super) signature: Cow<'a, str>,
    pub(super) certificate_url: Cow<'a, str>,
}

/// What to tell somebody whose subscription leaves the envelope out.
pub(super) const RAW_DELIVERY: &str =
    "the message has no SNS envelope and so no signature: switch raw message delivery off in the subscription";

impl<'a> Envelope<'a> {
    /// Reads the body of a request.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Rejection> {
        let text = std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8"))?;
        let wire: Wire<'a> = serde_json::from_str(text).map_err(|error| {
            malformed(match error.classify() {
                serde_json::error::Category::Data => {
                    "the body is no SNS envelope: a member is repeated or has the wrong type"
                }
                _ => "the body is not JSON",
            })
        })?;
        let Some(Text(kind)) = wire.kind else {
            return Err(malformed(if wire.raw { RAW_DELIVERY } else { "the body is no SNS envelope: it has no Type" }));
        };
        let kind = MessageType::from_name(&kind)
            .ok_or_else(|| malformed("the envelope's Type is none that SNS sends to an HTTP endpoint"))?;
        let need = |field: Option<Text<'a>>, name: &str| {
            field.map(|Text(text)| text).ok_or_else(|| malformed(format!("the envelope has no {name}")))
        };
        let signature = match wire.signature {
            Some(Text(signature)) if !signature.is_empty() => signature,
            _ => return Err(refuse(RejectionReason::Unauthenticated, "the envelope has no signature")),
        };
        let version = match need(wire.signature_version, "SignatureVersion")?.as_ref() {
            "1" => SignatureVersion::V1,
            "2" => SignatureVersion::V2,
            _ => return Err(malformed("the envelope's SignatureVersion is neither 1 nor 2")),
        };
        let message_id = need(wire.message_id, "MessageId")?;
        if !is_uuid(&message_id) {
            return Err(malformed("the envelope's MessageId is no UUID"));
        }
        let timestamp = need(wire.timestamp, "Timestamp")?;
        let at = strict_rfc3339(&timestamp).ok_or_else(|| malformed("the envelope's Timestamp is not RFC 3339"))?;
        let one_line = |field: Option<Text<'a>>, name: &str| match field {
            Some(Text(text)) if text.chars().any(char::is_control) => {
                Err(malformed(format!("the envelope's {name} holds a control character")))
            }
            other => Ok(other.map(|Text(text)| text)),
        };
        let envelope = Self {
            kind,
            message_id,
            topic: need(wire.topic, "TopicArn")?,
            message: need(wire.message, "Message")?,
            subject: one_line(wire.subject, "Subject")?,
            timestamp,
            at,
            token: one_line(wire.token, "Token")?,
            subscribe_url: one_line(wire.subscribe_url, "SubscribeURL")?,
            version,
            signature,
            certificate_url: need(wire.certificate_url, "SigningCertURL")?,
        };
        let confirmation = envelope.kind != MessageType::Notification;
        if confirmation && (envelope.token.is_none() || envelope.subscribe_url.is_none()) {
            return Err(malformed("the envelope has no Token or no SubscribeURL"));
        }
        Ok(envelope)
    }

    /// The text that was signed, piece by piece (Amazon SNS Developer Guide, "Verifying the signatures"). Each type has
    /// its own members, in order; an absent one is skipped.
    pub(super) fn canonical(&self, mut take: impl FnMut(&str)) {
        let mut field = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                for piece in [name, "\n", value, "\n"] {
                    take(piece);
                }
            }
        };
        field("Message", Some(&self.message));
        field("MessageId", Some(&self.message_id));
        match self.kind {
            MessageType::Notification => {
                field("Subject", self.subject.as_deref());
                field("Timestamp", Some(&self.timestamp));
            }
            MessageType::SubscriptionConfirmation | MessageType::UnsubscribeConfirmation => {
                field("SubscribeURL", self.subscribe_url.as_deref());
                field("Timestamp", Some(&self.timestamp));
                field("Token", self.token.as_deref());
            }
        }
        field("TopicArn", Some(&self.topic));
        field("Type", Some(self.kind.as_str()));
    }
}

/// What an envelope says that came by a way which is authenticated by itself, so that neither signature nor time is asked for.
#[derive(Debug)]
pub(in crate::ingest) struct Published<'a> {
    /// Which of SNS's three types.
    pub(in crate::ingest) kind: MessageType,
    /// What was published.
    pub(in crate::ingest) message: Cow<'a, str>,
}

/// Why a body is neither an envelope nor what raw message delivery sends in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ingest) enum NoEnvelope {
    /// No JSON, or nested too deep to be read safely.
    NotJson,
    /// JSON of another shape: no object, or an envelope in which a member is missing, is repeated, or has the wrong type.
    Shape,
}

/// Reads what came by such a way; `None` where it is an object and no envelope.
pub(in crate::ingest) fn published(body: &str) -> Result<Option<Published<'_>>, NoEnvelope> {
    let wire: Wire<'_> = serde_json::from_str(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => NoEnvelope::Shape,
        _ => NoEnvelope::NotJson,
    })?;
    let Some(kind) = wire.kind.and_then(|Text(kind)| MessageType::from_name(&kind)) else { return Ok(None) };
    let Text(message) = wire.message.ok_or(NoEnvelope::Shape)?;
    Ok(Some(Published { kind, message }))
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// RFC 3339 and nothing around it: the canonical text separates its members by line ends.
fn strict_rfc3339(text: &str) -> Option<Timestamp> {
    let plain = text.len() <= 40
        && text.as_bytes().get(10) == Some(&b'T')
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b':' | b'.' | b'T' | b'Z'));
    if plain { Timestamp::from_rfc3339(text) } else { None }
}
