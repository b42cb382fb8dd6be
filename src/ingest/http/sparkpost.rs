//! SparkPost's event webhooks: `[{"msys":{"message_event":{…}}}, …]` under a shared secret.
//!
//! Source: SparkPost/support-docs. SparkPost signs nothing, so what authenticates a batch is the `Authorization` header:
//! basic, or a bearer token. It tries again on every answer but 2xx: 12 attempts over 8 hours, each given up after 10 s.
//! Hence a batch is refused only as a whole and only for what mending the settings can cure; an event that makes no
//! sense is set aside, and its neighbours are taken.
//!
//! What each type becomes:
//!
//! | type | event |
//! |---|---|
//! | `injection`, `delivery`, `delay` | sent, delivered, deferred; refused where the reply says 5xx |
//! | `bounce` | refused; suppressed by provider where `bounce_class` is 25 or the reason says so |
//! | `out_of_band` | refused: a bounce mail that came after the message was accepted, so a delivery may stand before it |
//! | `policy_rejection`, `generation_failure`, `generation_rejection` | suppressed by provider where the reason says so; else refused of unknown class and without codes, since SparkPost never tried and the receiving side said nothing |
//! | `spam_complaint` | complained |
//! | `list_unsubscribe`, `link_unsubscribe` | unsubscribed |
//! | opens, clicks, `relay_*` (inbound mail) and the ping of the set-up | ignored |

use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

use super::{
    Delivery, Rejection,
    auth::{Login, SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, logins, secrets},
    wire::{self, Aside, Parts, Scalar, WireError},
};
use crate::{
    config::{Config, SparkpostFeed},
    ingest::{Report, label},
    model::{Address, DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken: 350 events, "or more", of 2 KB each make less than 1 MiB.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// User names with passwords for basic authentication: up to two.
    pub logins: Vec<Login>,
    /// Bearer tokens: up to two.
    pub tokens: Vec<SecretString>,
}

/// The feed of SparkPost's events.
#[derive(Debug, Clone)]
pub struct SparkPost {
    secrets: Secrets,
}

impl SparkPost {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no secret, or an unusable one.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { secrets: Secrets::new(&settings.logins, &settings.tokens)? })
    }

    /// Authenticates and decodes one batch.
    ///
    /// # Errors
    /// 400 for what is no batch, 401 without the secret (SparkPost then also fetches a new OAuth token), 413 above the
    /// cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::decoded(delivery, "a batch of SparkPost's ([{\"msys\":{…}}])", |text| batch(text, delivery.received_at))
    }
}

/// The events of a batch, or of one element of it.
fn batch(text: &str, now: Timestamp) -> Result<Report, WireError> {
    let parts = Parts::<Element<'_>>::parse(text)?;
    Ok(parts.report(Provider::Sparkpost, now, |element, now, report| match &element.msys.0 {
        None => {
            report.ignored.push("ping");
            Ok(())
        }
        Some((class, fields)) => take(class, fields, now, report),
    }))
}

/// The events of one record of a file: an element or a batch as the webhook has it, or bare fields, as the Events API gives
/// them ("Events" in SparkPost's API reference; that both have the same names and ids is inferred from it).
pub(in crate::ingest) fn decode(text: &str, now: Timestamp) -> Result<Report, WireError> {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(borrow)]
        msys: Option<&'a RawValue>,
    }
    let bare = serde_json::from_str::<Probe<'_>>(text).is_ok_and(|probe| probe.msys.is_none());
    if !bare || text.trim_start().starts_with('[') {
        return batch(text, now);
    }
    let parts = Parts::<Fields<'_>>::parse(text)?;
    Ok(parts.report(Provider::Sparkpost, now, |fields, now, report| take("unnamed", fields, now, report)))
}

impl SetUp for SparkPost {
    type Table = SparkpostFeed;
    const PROVIDER: Provider = Provider::Sparkpost;

    fn set_up(_: &Config, table: &SparkpostFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let logins = logins(table.username.as_deref(), &[&table.password, &table.previous_password]);
        let tokens = secrets(&[&table.token, &table.previous_token]);
        place.or_wrong(Self::new(&Settings { logins, tokens }))
    }
}

/// One element of a batch.
#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow)]
    msys: Msys<'a>,
}

/// The one class key with its event; none in a ping.
struct Msys<'a>(Option<(Cow<'a, str>, Fields<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Msys<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = Msys<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with at most one class of event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let Some(Class(class)) = map.next_key()? else { return Ok(Msys(None)) };
                let fields = map.next_value()?;
                if map.next_key::<Class<'_>>()?.is_some() {
                    return Err(A::Error::custom("more than one class of event"));
                }
                Ok(Msys(Some((class, fields))))
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

/// A class key, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Class<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields that relaywatch uses; subjects, metadata and all others are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    event_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
    #[serde(borrow)]
    injection_time: Option<Scalar<'a>>,
    #[serde(borrow)]
    message_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    rcpt_to: Option<Scalar<'a>>,
    #[serde(borrow)]
    raw_rcpt_to: Option<Scalar<'a>>,
    #[serde(borrow)]
    msg_from: Option<Scalar<'a>>,
    #[serde(borrow)]
    friendly_from: Option<Scalar<'a>>,
    #[serde(borrow)]
    sending_domain: Option<Scalar<'a>>,
    #[serde(borrow)]
    campaign_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_class: Option<Scalar<'a>>,
    #[serde(borrow)]
    error_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    raw_reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    reason: Option<Scalar<'a>>,
}

/// What a type becomes.
#[derive(Clone, Copy)]
enum Meaning {
    /// An event without a reply.
    Plain(EventKind),
    /// An event with the reply of the receiving side.
    Replied(EventKind),
    /// SparkPost's own refusal, before the receiving side was asked.
    OwnRefusal,
    /// Known, and of no use.
    Ignored(&'static str),
}

fn meaning(kind: &str) -> Option<Meaning> {
    Some(match kind {
        "injection" => Meaning::Plain(EventKind::Sent),
        "delivery" => Meaning::Plain(EventKind::Delivered),
        "delay" => Meaning::Replied(EventKind::Deferred),
        "bounce" | "out_of_band" => Meaning::Replied(EventKind::Refused),
        "policy_rejection" | "generation_failure" | "generation_rejection" => Meaning::OwnRefusal,
        "spam_complaint" => Meaning::Plain(EventKind::Complained),
        "list_unsubscribe" | "link_unsubscribe" => Meaning::Plain(EventKind::Unsubscribed),
        "open" | "initial_open" | "amp_open" | "amp_initial_open" => Meaning::Ignored("open"),
        "click" | "amp_click" => Meaning::Ignored("click"),
        "relay_injection" | "relay_delivery" | "relay_tempfail" | "relay_permfail" | "relay_rejection" => {
            Meaning::Ignored("relay")
        }
        _ => return None,
    })
}

fn take(class: &str, fields: &Fields<'_>, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let word = wire::text(fields.kind);
    let word = word.as_deref().unwrap_or(class);
    let meaning = match meaning(word) {
        Some(Meaning::Ignored(word)) => {
            report.ignored.push(word);
            return Ok(());
        }
        Some(meaning) => meaning,
        None => return Err(wire::unknown_type(word, fields.timestamp, now)),
    };
    let at = wire::event_time(fields.timestamp, now, word)?;
    let recipient = wire::recipient(wire::first(&[fields.rcpt_to, fields.raw_rcpt_to]), at, word)?;
    let bounce_class = wire::text(fields.bounce_class);
    let bounce_class = bounce_class.as_deref().map(str::trim);
    let reason = wire::text(fields.raw_reason).or_else(|| wire::text(fields.reason)).map(wire::without_nul);
    let code = wire::text(fields.error_code).and_then(|code| code.trim().parse().ok());
    let suppressed = bounce_class == Some("25") || reason.as_deref().is_some_and(is_suppression);
    let said = || reason.as_deref().map(|text| Reply::with_codes(text, code, None)).or_else(|| code_alone(code));
    let own = || reason.as_deref().map(wire::own_words);
    let (kind, reply, provider_class) = match meaning {
        // Nobody was asked: the codes are SparkPost's own.
        Meaning::Replied(EventKind::Refused) if suppressed => {
            (EventKind::SuppressedByProvider, own(), FailureClass::Unknown)
        }
        Meaning::Replied(EventKind::Refused) => (EventKind::Refused, said(), class_of(bounce_class)),
        Meaning::Replied(kind) => {
            let said = said();
            (wire::unless_final(kind, said.as_ref()), said, FailureClass::Transient)
        }
        Meaning::OwnRefusal if reason.as_deref().is_some_and(is_suppression) => {
            (EventKind::SuppressedByProvider, own(), FailureClass::Unknown)
        }
        // SparkPost's own codes would pass for the receiving side's.
        Meaning::OwnRefusal => (EventKind::Refused, own(), FailureClass::Unknown),
        Meaning::Plain(kind) => (kind, None, FailureClass::Unknown),
        Meaning::Ignored(_) => return Ok(()),
    };
    let message_id = wire::id(fields.message_id);
    let envelope_sender = wire::text(fields.msg_from).and_then(|text| Address::parse(&text).ok());
    let sent_at = wire::send_time(fields.injection_time, now).or((kind == EventKind::Sent).then_some(at));
    report.events.push(Event {
        provider: Provider::Sparkpost,
        kind,
        at,
        sent_at,
        dedupe: dedupe(fields, word, at, message_id.as_deref(), &recipient, reason.as_deref()),
        message_id,
        from_domain: wire::domain(fields.friendly_from).or_else(|| wire::domain(fields.sending_domain)),
        envelope_domain: envelope_sender.as_ref().map(|address| address.domain().to_owned()),
        envelope_sender,
        recipient,
        campaign: wire::name(fields.campaign_id),
        reply,
        // `routing_domain` is the recipient's domain, no host.
        remote_mta: None,
        provider_verdict: verdict(meaning, word, bounce_class),
        provider_class,
    });
    Ok(())
}

/// SparkPost gives each event an id of its own; where it is missing, the event's content takes its place.
fn dedupe(
    fields: &Fields<'_>,
    word: &str,
    at: Timestamp,
    message_id: Option<&str>,
    recipient: &Address,
    reason: Option<&str>,
) -> DedupeMaterial {
    if let Some(id) = wire::text(fields.event_id) {
        return DedupeMaterial::new(Provider::Sparkpost, &["id", id.trim()]);
    }
    wire::by_content(Provider::Sparkpost, message_id, recipient, word, at, reason.unwrap_or_default())
}

/// A reply that is known by its code only.
fn code_alone(code: Option<u16>) -> Option<Reply> {
    let code = code.filter(|code| (200..600).contains(code))?;
    Some(Reply { code: Some(code), enhanced: None, text: String::new() })
}

/// What SparkPost itself says.
fn verdict(meaning: Meaning, word: &str, bounce_class: Option<&str>) -> Option<String> {
    match (meaning, bounce_class) {
        (Meaning::OwnRefusal, None) => Some(word.to_owned()),
        (Meaning::OwnRefusal, Some(class)) => Some(label(&format!("{word}, bounce_class {class}"))),
        (Meaning::Replied(_), Some(class)) if word == "out_of_band" => {
            Some(label(&format!("{word}, bounce_class {class}")))
        }
        (Meaning::Replied(_), Some(class)) => Some(label(&format!("bounce_class {class}"))),
        _ => None,
    }
}

/// Whether SparkPost calls the failure final: its groups "hard" and "soft". Blocks and administrative failures say
/// nothing about it. Used only where the reply has no code.
fn class_of(bounce_class: Option<&str>) -> FailureClass {
    match bounce_class {
        Some("10" | "30" | "90") => FailureClass::Permanent,
        Some("20" | "21" | "22" | "23" | "24" | "40" | "60" | "70" | "100") => FailureClass::Transient,
        _ => FailureClass::Unknown,
    }
}

/// Whether a reason is SparkPost's own word for an address that it has suppressed. Braze hands on the same words.
pub(super) fn is_suppression(reason: &str) -> bool {
    const SIGNS: [&str; 2] = ["recipient address was suppressed due to", "recipient address suppressed due to"];
    let reason = reason.to_ascii_lowercase();
    SIGNS.iter().any(|sign| reason.contains(sign))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{
        FailureClass::{Permanent, Transient, Unknown},
        *,
    };
    use crate::ingest::http::testing::{
        any_object, assert_a_final_reply_refuses, assert_any_json_is_answered, assert_keys_have_no_order,
        assert_none_is_taken, delivery, read_fixtures,
    };

    const BASIC: (&str, &str) = ("authorization", "Basic d2F0Y2g6czNjcmV0");

    fn feed() -> SparkPost {
        let login = Login { username: "watch".to_owned(), password: "s3cret".into() };
        SparkPost::new(&Settings { logins: vec![login], tokens: vec!["tok-1".into()] }).expect("feed")
    }

    fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
        feed().receive(&delivery(&[BASIC], body))
    }

    fn events(list: &Value) -> Vec<Event> {
        let batch: Vec<_> =
            list.as_array().expect("list").iter().map(|event| json!({"msys": {"message_event": event}})).collect();
        let report = receive(Value::from(batch).to_string()).expect("batch");
        assert!(report.set_aside.is_empty(), "{report:?}");
        report.events
    }

    #[test]
    fn fixtures_are_read_as_documented() {
        for (name, read) in read_fixtures("sparkpost", receive) {
            insta::assert_snapshot!(name, read);
        }
    }

    #[test]
    fn a_deferral_with_a_final_reply_is_a_refusal() {
        assert_a_final_reply_refuses(|said| {
            let of =
                json!([{"type": "delay", "timestamp": 1_754_719_200, "rcpt_to": "a@b.example", "raw_reason": said}]);
            events(&of).first().expect("event").kind
        });
    }

    #[test]
    fn either_secret_opens_and_nothing_else_does() {
        let status = |headers: &[(&str, &str)]| {
            feed()
                .receive(&delivery(headers, "[{\"msys\":{}}]"))
                .map(|report| report.ignored)
                .map_err(|error| error.status)
        };
        assert_eq!(status(&[BASIC]), Ok(vec!["ping"]));
        assert_eq!(status(&[("authorization", "Bearer tok-1")]), Ok(vec!["ping"]));
        assert_eq!(status(&[]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(status(&[("authorization", "Bearer tok-2")]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(status(&[("authorization", "Basic d2F0Y2g6d3Jvbmc=")]), Err(StatusCode::UNAUTHORIZED));
        assert!(SparkPost::new(&Settings::default()).is_err());
    }

    #[test]
    fn bodies_that_are_no_batch_are_refused() {
        assert_none_is_taken(receive, MAX_BODY_BYTES, &["[", "{}", "[{\"msys\":{}}", "[{\"msys\":{}}] []"]);
    }

    #[test]
    fn ids_beyond_two_to_the_53_stay_apart_and_numbers_equal_texts() {
        let event = |id: Value| json!({"type": "delivery", "event_id": id, "timestamp": 1_754_719_200, "rcpt_to": "a@b.example"});
        let found = events(&json!([
            event(json!(9_007_199_254_740_992_u64)),
            event(json!(9_007_199_254_740_993_u64)),
            event(json!("9007199254740993")),
            event(json!("92356927693813856789012345678901")),
        ]));
        let keys: Vec<_> = found.iter().map(|event| &event.dedupe).collect();
        assert_ne!(keys.first(), keys.get(1));
        assert_eq!(keys.get(1), keys.get(2));
        let huge = "[{\"msys\":{\"message_event\":{\"type\":\"delivery\",\"event_id\":92356927693813856789012345678901,\
                    \"timestamp\":\"1754719200\",\"rcpt_to\":\"a@b.example\"}}}]";
        assert_eq!(receive(huge).expect("batch").events.first().map(|event| &event.dedupe), keys.get(3).copied());
    }

    #[test]
    fn an_event_without_an_id_is_known_by_its_content() {
        let event = |reason: &str| json!({"type": "bounce", "timestamp": "1754719200", "rcpt_to": "A@b.example", "message_id": "m", "raw_reason": reason});
        let found = events(&json!([event("550 x"), event("550 x"), event("550 y")]));
        let [one, same, other] = found.as_slice() else { panic!("three events") };
        assert_eq!(one.dedupe, same.dedupe);
        assert_ne!(one.dedupe, other.dedupe);
    }

    #[test]
    fn sparkposts_own_refusal_is_no_evidence_about_the_receiving_side() {
        let found = events(&json!([
            {"type": "policy_rejection", "timestamp": 1_754_719_200, "rcpt_to": "a@b.example", "bounce_class": "25",
             "error_code": "550", "raw_reason": "550 5.7.1 Unconfigured Sending Domain <mail.example.com>"},
            {"type": "policy_rejection", "timestamp": 1_754_719_200, "rcpt_to": "a@b.example", "bounce_class": "25",
             "error_code": "554", "raw_reason": "554 5.7.1 Recipient address was suppressed due to system policy"},
            {"type": "policy_rejection", "timestamp": 1_754_719_200, "rcpt_to": "a@b.example", "bounce_class": "25",
             "error_code": "550", "raw_reason": "550 5.7.1 recipient address suppressed due to customer policy"},
        ]));
        let [refused, suppressed, short] = found.as_slice() else { panic!("three events") };
        assert_eq!((refused.kind, refused.failure_class()), (EventKind::Refused, FailureClass::Unknown));
        assert_eq!((suppressed.kind, short.kind), (EventKind::SuppressedByProvider, EventKind::SuppressedByProvider));
        for echo in [suppressed, short] {
            let codes = echo.reply.as_ref().map(|reply| (reply.code, reply.enhanced));
            assert_eq!(codes, Some((None, None)), "nobody was asked");
        }
    }

    #[test]
    fn the_code_counts_before_the_bounce_class() {
        let bounce = |class: &str, code: Value, reason: Value| {
            json!({"type": "bounce", "timestamp": 1_754_719_200, "rcpt_to": "a@b.example", "bounce_class": class,
                   "error_code": code, "raw_reason": reason})
        };
        let found = events(&json!([
            bounce("20", json!("550"), Value::Null),
            bounce("10", Value::Null, json!("451 4.7.1 try later")),
            bounce("10", Value::Null, json!("no code at all")),
            bounce("21", Value::Null, Value::Null),
            bounce("51", Value::Null, Value::Null),
        ]));
        let classes: Vec<_> = found.iter().map(Event::failure_class).collect();
        assert_eq!(classes, [Permanent, Transient, Permanent, Transient, Unknown]);
    }

    #[test]
    fn any_json_is_taken_set_aside_or_refused() {
        assert_any_json_is_answered(
            |body| vec![body.clone(), json!([{"msys": body}]), json!([{"msys": {"message_event": body}}])],
            receive,
        );
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        assert_keys_have_no_order("sparkpost", "purge_batch", receive);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_element_is_accounted_for(list in prop::collection::vec(any_object(&[
            "type", "event_id", "timestamp", "injection_time", "message_id", "rcpt_to", "msg_from", "friendly_from",
            "campaign_id", "bounce_class", "error_code", "raw_reason",
        ]), 1..5), kind in prop::sample::select(vec!["bounce", "delivery", "injection", "policy_rejection", "new"])) {
            let count = list.len();
            let batch: Vec<_> = list.into_iter().map(|mut event| {
                event.as_object_mut().expect("object").insert("type".to_owned(), kind.into());
                json!({"msys": {"message_event": event}})
            }).collect();
            let report = receive(Value::from(batch).to_string()).expect("batch");
            prop_assert_eq!(report.events.len() + report.set_aside.len(), count);
        }
    }
}
