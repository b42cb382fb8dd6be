//! Braze Currents through the custom HTTP connector: `{"events":[…]}` under a bearer token.
//!
//! Source: Braze, "Custom HTTP connector" and "Message engagement events". Braze sends through SparkPost, SendGrid or
//! SES and hands on what those report, without the return-path and without the host that answered. It tries again on
//! every answer but 2xx, and turns the connector off after more than 5 days of failures; new fields and types come with
//! two weeks' notice. Hence unknown types are set aside and acknowledged.
//!
//! The storage schema is flat; the connector's nests the fields under `user` and `properties`, by partner. Both are read. One of
//! these that holds no object (`[]` is taken for an empty one) is left out: the event is taken without it, and set aside as
//! malformed beside that, so that what the field held is told. Events in arrays within the array are taken.
//!
//! What each type (`users.messages.email.…`) becomes:
//!
//! | type | event |
//! |---|---|
//! | `Send`, `Delivery`, `MarkAsSpam`, `Unsubscribe` | sent, delivered, complained, unsubscribed |
//! | `Bounce` | refused: Braze's word for a hard bounce, "permanent" |
//! | `SoftBounce`, `Deferral` | deferred: by Braze's documentation a soft bounce is tried again for up to 72 hours. No event tells when it's given up, so such a message stays without an outcome; refused where the reply is final |
//! | a bounce with `is_drop`, or with SparkPost's words for it | suppressed by provider |
//! | `Open`, `Click`, `Abort` (never handed to the ESP) | ignored |
//!
//! The postback of transactional campaigns (`{"dispatch_id":…,"status":…,"metadata":{…}}`; partly inferred) names no recipient, so
//! that it makes no event: one that says `bounced` or `aborted` is set aside, the others are ignored. Currents reports the same
//! messages with their recipients.

use std::borrow::Cow;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Delivery, Rejection,
    auth::{SecretError, Secrets},
    feeds::{FeedError, Place, SetUp, secrets},
    sparkpost::is_suppression,
    wire::{self, Aside, MAX_ELEMENTS, Parts, Scalar, WireError},
};
use crate::{
    config::{BrazeFeed, Config},
    ingest::{Report, SetAside, SetAsideReason, label},
    model::{DedupeMaterial, Event, EventKind, FailureClass, Provider, Reply, Timestamp},
};

/// The largest body that is taken: 100 events by default, of about 1 KB each.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Arrays within arrays that are looked into.
const MAX_DEPTH: u32 = 3;
/// What all types of email events begin with.
pub(in crate::ingest) const PREFIX: &str = "users.messages.email.";

/// What the feed is made from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Bearer tokens: one, or two while they are rotated.
    pub tokens: Vec<SecretString>,
}

/// The feed of Braze's events.
#[derive(Debug, Clone)]
pub struct Braze {
    secrets: Secrets,
}

impl SetUp for Braze {
    type Table = BrazeFeed;
    const PROVIDER: Provider = Provider::Braze;

    fn set_up(_: &Config, table: &BrazeFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let tokens = secrets(&[&table.token, &table.previous_token]);
        place.or_wrong(Self::new(&Settings { tokens }))
    }
}

/// The body.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    events: &'a RawValue,
}

/// What transactional campaigns post of one message.
#[derive(Deserialize)]
struct Postback<'a> {
    #[serde(borrow)]
    events: Option<&'a RawValue>,
    #[serde(borrow)]
    dispatch_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    status: Option<Scalar<'a>>,
}

/// The report of a body that is a postback.
fn postback(text: &str) -> Option<Report> {
    let Postback { events: None, dispatch_id: Some(_), status } = serde_json::from_str(text).ok()? else { return None };
    let status = wire::text(status)?;
    let mut report = Report::default();
    match status.trim() {
        "sent" | "processed" | "delivered" => report.ignored.push("postback"),
        status => {
            let reason = match status {
                "bounced" | "aborted" => SetAsideReason::NoRecipient,
                _ => SetAsideReason::UnknownType,
            };
            report.set_aside.push(Aside::new(reason, &format!("postback {status}")).with(Provider::Braze, text));
        }
    }
    Some(report)
}

/// One event, or one of the objects that are nested in it. Subjects, user ids and all else are skipped.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event_type: Option<Scalar<'a>>,
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow)]
    id: Option<Scalar<'a>>,
    #[serde(borrow)]
    time: Option<Scalar<'a>>,
    #[serde(borrow)]
    email_address: Option<Scalar<'a>>,
    #[serde(borrow)]
    dispatch_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    send_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    from_domain: Option<Scalar<'a>>,
    #[serde(borrow)]
    campaign_name: Option<Scalar<'a>>,
    #[serde(borrow)]
    campaign_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    canvas_name: Option<Scalar<'a>>,
    #[serde(borrow)]
    canvas_id: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_reason: Option<Scalar<'a>>,
    #[serde(borrow)]
    bounce_code: Option<Scalar<'a>>,
    #[serde(borrow)]
    esp: Option<Scalar<'a>>,
    #[serde(borrow)]
    is_drop: Option<Scalar<'a>>,
    #[serde(borrow)]
    properties: Option<Scalar<'a>>,
    #[serde(borrow)]
    user: Option<Scalar<'a>>,
}

/// An event with the objects that are nested in it, each read by itself, so that one of another shape spoils nothing beside it.
struct Whole<'f, 'a> {
    own: &'f Fields<'a>,
    properties: Option<Fields<'a>>,
    user: Option<Fields<'a>>,
}

/// The object in a field, where it is one.
fn nested(field: Option<Scalar<'_>>) -> Option<Fields<'_>> {
    let text = field?.raw().get();
    // A derived reader would take the elements of an array for members.
    if text.starts_with('{') { serde_json::from_str(text).ok() } else { None }
}

/// Whether a field that should hold an object holds something, and no object: `[]` is PHP's empty one, and loses nothing.
fn is_odd(field: Option<Scalar<'_>>, read: Option<&Fields<'_>>) -> bool {
    let text = field.map_or("", |field| field.raw().get());
    let empty = matches!(text, "" | "null" | "\"\"")
        || text.bytes().all(|b| matches!(b, b'[' | b']') || b.is_ascii_whitespace());
    read.is_none() && !empty
}

impl<'f, 'a> Whole<'f, 'a> {
    fn of(own: &'f Fields<'a>) -> Self {
        Self { own, properties: nested(own.properties), user: nested(own.user) }
    }

    /// The name of the field that holds no object where one belongs.
    fn odd(&self) -> Option<&'static str> {
        let Self { own, properties, user } = self;
        let odd = [(own.properties, properties, "properties"), (own.user, user, "user")];
        odd.into_iter().find(|(field, read, _)| is_odd(*field, read.as_ref())).map(|(_, _, name)| name)
    }

    /// A field of the event itself, else of its properties, else of its user.
    fn find(&self, field: impl Fn(&Fields<'a>) -> Option<Scalar<'a>>) -> Option<Scalar<'a>> {
        wire::first(&[field(self.own), self.properties.as_ref().and_then(&field), self.user.as_ref().and_then(&field)])
    }

    fn text(&self, field: impl Fn(&Fields<'a>) -> Option<Scalar<'a>>) -> Option<Cow<'a, str>> {
        self.find(field)?.text()
    }
}

impl Braze {
    /// Makes the feed.
    ///
    /// # Errors
    /// Where there is no token, or an unusable one. Braze can do without, a feed that anybody can write to cannot.
    pub fn new(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self { secrets: Secrets::new(&[], &settings.tokens)? })
    }

    /// Authenticates and decodes one batch.
    ///
    /// # Errors
    /// 400 for what is no batch, 401 without the token, 413 above the cap.
    pub fn receive(&self, delivery: &Delivery) -> Result<Report, Rejection> {
        self.secrets.check(delivery)?;
        wire::within(&delivery.body, MAX_BODY_BYTES)?;
        wire::decoded(delivery, "a batch of Braze's ({\"events\":[…]})", |text| {
            if let Some(report) = postback(text) {
                return Ok(report);
            }
            // A bare array is a batch as well.
            let is_bare = text.trim_start().starts_with('[');
            let events = if is_bare { text } else { serde_json::from_str::<Body<'_>>(text)?.events.get() };
            events_of(events, "unnamed", delivery.received_at)
        })
    }
}

/// The events of an array, or a single one; `untyped` is the type of those that name none.
fn events_of(events: &str, untyped: &str, now: Timestamp) -> Result<Report, WireError> {
    let mut report = Report::default();
    let mut room = MAX_ELEMENTS;
    take_all(events, (untyped, now), MAX_DEPTH, &mut room, &mut report)?;
    Ok(report)
}

/// The same, with those that lie in arrays within the array. All of them share the `room` that one delivery has: an array for which
/// there is none is left as it is.
fn take_all(
    events: &str,
    told: (&str, Timestamp),
    depth: u32,
    room: &mut usize,
    report: &mut Report,
) -> Result<(), WireError> {
    let parts = Parts::<Fields<'_>>::parse(events)?;
    *room = room.checked_sub(parts.len()).ok_or(WireError::TooMany)?;
    let before = report.set_aside.len();
    parts.fold(Provider::Braze, report, |fields, report| take(fields, told.0, told.1, report));
    let is_array = |aside: &SetAside| aside.body.starts_with(b"[");
    if depth == 0 || !report.set_aside.iter().skip(before).any(is_array) {
        return Ok(());
    }
    for aside in report.set_aside.split_off(before) {
        let inner = std::str::from_utf8(&aside.body).ok().filter(|_| is_array(&aside));
        // What is looked into makes room for what it holds.
        let mut within = *room + 1;
        let taken = inner.filter(|_| report.parts() < MAX_ELEMENTS);
        if taken.is_some_and(|inner| take_all(inner, told, depth - 1, &mut within, report).is_ok()) {
            *room = within;
        } else {
            report.set_aside.push(aside);
        }
    }
    Ok(())
}

/// The events of one record of a file: a batch as the connector posts it, or one event. Those of the storage schema do not say
/// their type; `kind` says it for them, as the file's path or its schema does.
pub(in crate::ingest) fn decode(text: &str, kind: Option<&str>, now: Timestamp) -> Result<Report, WireError> {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(borrow)]
        events: Option<&'a RawValue>,
    }
    let whole = serde_json::from_str::<Probe<'_>>(text).ok().and_then(|probe| probe.events);
    events_of(whole.map_or(text, RawValue::get), kind.unwrap_or("unnamed"), now)
}

fn take(own: &Fields<'_>, untyped: &str, now: Timestamp, report: &mut Report) -> Result<(), Aside> {
    let fields = &Whole::of(own);
    let full = wire::text(own.event_type).or_else(|| wire::text(own.event));
    let full = full.as_deref().unwrap_or(untyped);
    let time = fields.find(|f| f.time);
    let (kind, provider_class) = match full.strip_prefix(PREFIX).unwrap_or_default() {
        "Send" => (EventKind::Sent, FailureClass::Unknown),
        "Delivery" => (EventKind::Delivered, FailureClass::Unknown),
        "Bounce" => (EventKind::Refused, FailureClass::Permanent),
        "SoftBounce" | "Deferral" => (EventKind::Deferred, FailureClass::Transient),
        "MarkAsSpam" => (EventKind::Complained, FailureClass::Unknown),
        "Unsubscribe" => (EventKind::Unsubscribed, FailureClass::Unknown),
        "Open" => {
            report.ignored.push("open");
            return Ok(());
        }
        "Click" => {
            report.ignored.push("click");
            return Ok(());
        }
        "Abort" => {
            report.ignored.push("abort");
            return Ok(());
        }
        _ => {
            let aside = Aside::new(SetAsideReason::UnknownType, full);
            return Err(match wire::send_time(time, now) {
                Some(at) => aside.at(at),
                None => aside,
            });
        }
    };
    let word = full.strip_prefix(PREFIX).unwrap_or(full);
    let at = wire::event_time(time, now, full)?;
    let recipient = wire::recipient(fields.find(|f| f.email_address), at, full)?;
    let failed = matches!(kind, EventKind::Refused | EventKind::Deferred);
    let reason = fields.text(|f| f.bounce_reason).filter(|_| failed).map(wire::without_nul);
    let dropped =
        fields.find(|f| f.is_drop).is_some_and(Scalar::is_true) || reason.as_deref().is_some_and(is_suppression);
    let (kind, provider_class) = if failed && dropped {
        (EventKind::SuppressedByProvider, FailureClass::Unknown)
    } else {
        (kind, provider_class)
    };
    let reply = reason.as_deref().map(|text| {
        // Nobody was asked: the codes are the provider's own.
        if kind == EventKind::SuppressedByProvider {
            return wire::own_words(text);
        }
        let code = fields.text(|f| f.bounce_code).and_then(|code| code.trim().parse().ok());
        Reply::with_codes(text, code, None)
    });
    let kind = wire::unless_final(kind, reply.as_ref());
    let message_id = message_id(fields);
    let dedupe = match fields.text(|f| f.id) {
        Some(id) => DedupeMaterial::new(Provider::Braze, &["id", id.trim()]),
        None => DedupeMaterial::new(
            Provider::Braze,
            &[
                "content",
                message_id.as_deref().unwrap_or_default(),
                &recipient.key(),
                word,
                &at.as_millis().to_string(),
                reason.as_deref().unwrap_or_default(),
            ],
        ),
    };
    report.events.push(Event {
        provider: Provider::Braze,
        kind,
        at,
        sent_at: (kind == EventKind::Sent).then_some(at),
        dedupe,
        message_id,
        recipient,
        from_domain: wire::domain(fields.find(|f| f.from_domain)),
        envelope_sender: None,
        envelope_domain: None,
        campaign: [
            fields.find(|f| f.campaign_name),
            fields.find(|f| f.campaign_id),
            fields.find(|f| f.canvas_name),
            fields.find(|f| f.canvas_id),
        ]
        .into_iter()
        .find_map(wire::name),
        reply,
        remote_mta: None,
        provider_verdict: failed.then(|| verdict(word, dropped, fields.text(|f| f.esp).as_deref())),
        provider_class,
    });
    // The event is taken; what the odd field holds is told and kept beside it.
    match fields.odd() {
        Some(name) => Err(Aside::new(SetAsideReason::Malformed, &format!("{word}: odd {name}")).at(at)),
        None => Ok(()),
    }
}

/// What is the same in all events of one message to one recipient.
///
/// Users of one scheduled dispatch share its `dispatch_id`; a message is told from its neighbours by the recipient,
/// which every event has as well. The `send_id` stands in where there is no dispatch: it is optional, and not on every
/// type, so that the two together would keep a message's events apart.
fn message_id(fields: &Whole<'_, '_>) -> Option<String> {
    wire::id(fields.find(|f| f.dispatch_id)).or_else(|| Some(format!("send:{}", wire::id(fields.find(|f| f.send_id))?)))
}

/// What Braze itself says, and through whom it sent.
fn verdict(word: &str, dropped: bool, esp: Option<&str>) -> String {
    let drop = if dropped { " (dropped)" } else { "" };
    label(&esp.map_or_else(|| format!("{word}{drop}"), |esp| format!("{word}{drop}, esp {esp}")))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::ingest::http::testing::{
        any_object, assert_any_json_is_answered, assert_keys_have_no_order, assert_none_is_taken, delivery, only_event,
        read_fixtures,
    };

    const BEARER: (&str, &str) = ("authorization", "Bearer tok-new");

    fn feed() -> Braze {
        Braze::new(&Settings { tokens: vec!["tok-old".into(), "tok-new".into()] }).expect("feed")
    }

    fn receive(body: impl Into<Vec<u8>>) -> Result<Report, Rejection> {
        feed().receive(&delivery(&[BEARER], body))
    }

    fn event(event: &Value) -> Event {
        only_event(receive(json!({ "events": [event] }).to_string()))
    }

    fn bounce(extra: &Value) -> Value {
        let mut event = json!({
            "event_type": "users.messages.email.Bounce", "id": "e1", "time": 1_754_719_200,
            "email_address": "a@privaterelay.appleid.com",
        });
        event.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
        event
    }

    #[test]
    fn fixtures_are_read_as_documented() {
        for (name, read) in read_fixtures("braze", receive) {
            insta::assert_snapshot!(name, read);
        }
    }

    #[test]
    fn flat_and_nested_events_are_the_same() {
        let flat = bounce(&json!({"dispatch_id": "d1", "bounce_reason": "550 5.1.1 x", "campaign_name": "Summer"}));
        let nested = json!({
            "event_type": "users.messages.email.Bounce", "id": "e1", "time": "1754719200",
            "user": {"email_address": "a@privaterelay.appleid.com", "user_id": "u1"},
            "properties": {"dispatch_id": "d1", "bounce_reason": "550 5.1.1 x", "campaign_name": "Summer"},
        });
        assert_eq!(event(&flat), event(&nested));
        let bare = receive(json!([flat]).to_string()).expect("a bare array");
        assert_eq!(bare.events, [event(&flat)]);
        let single = receive(json!({ "events": flat }).to_string()).expect("a single event");
        assert_eq!(single.events, [event(&flat)]);
    }

    #[test]
    fn an_odd_field_loses_itself_and_not_the_event() {
        let whole = event(&bounce(&json!({})));
        for empty in [json!([]), json!([[]]), json!(null), json!({}), json!("")] {
            assert_eq!(event(&bounce(&json!({"properties": empty, "user": empty}))), whole, "{empty}");
        }
        for odd in [json!(["x"]), json!("x"), json!(17)] {
            let body = bounce(&json!({ "properties": odd }));
            let report = receive(json!({ "events": [body, bounce(&json!({"id": "e2"}))] }).to_string()).expect("batch");
            assert_eq!((report.events.len(), &report.events[0]), (2, &whole), "{odd}");
            let told: Vec<_> = report.set_aside.iter().map(|part| (part.reason, part.label.as_str())).collect();
            assert_eq!(told, [(SetAsideReason::Malformed, "Bounce: odd properties")], "{odd}");
        }
        for field in ["dispatch_id", "bounce_reason", "campaign_name", "from_domain", "esp", "is_drop"] {
            assert_eq!(event(&bounce(&json!({ field: [] }))), whole, "{field}");
        }
        let within = receive(json!({ "events": [[bounce(&json!({}))], [[]], []] }).to_string()).expect("batch");
        assert_eq!((within.events, within.set_aside), (vec![whole], Vec::new()), "arrays within the array");
    }

    #[test]
    fn arrays_within_the_array_share_the_room_of_one_delivery() {
        let inner = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        let parts = |arrays: &[String]| {
            let report = receive(format!("{{\"events\":[{}]}}", arrays.join(","))).expect("batch");
            let whole = report.set_aside.iter().filter(|aside| aside.body.starts_with(b"[")).count();
            (report.parts(), whole)
        };
        assert_eq!(parts(&vec![inner(MAX_ELEMENTS / 4); 4]), (MAX_ELEMENTS, 0), "no fewer than in one array");
        let (all, whole) = parts(&vec![inner(MAX_ELEMENTS / 4); 40]);
        assert!(all <= MAX_ELEMENTS && whole == 37, "{all} parts, {whole} arrays left as they are");
        let (all, whole) = parts(&vec![format!("[{}]", vec![inner(1_000); 9].join(",")); 9]);
        assert!(all <= MAX_ELEMENTS && whole > 0, "{all} parts, {whole} arrays left as they are");
    }

    #[test]
    fn either_token_opens_and_nothing_else_does() {
        let status = |headers: &[(&str, &str)]| {
            feed().receive(&delivery(headers, "{\"events\":[]}")).map_err(|error| error.status)
        };
        assert_eq!(status(&[BEARER]), Ok(Report::default()));
        assert_eq!(status(&[("authorization", "Bearer tok-old")]), Ok(Report::default()));
        assert_eq!(status(&[]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(status(&[("authorization", "Bearer tok")]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(Braze::new(&Settings::default()).expect_err("open to all"), SecretError::Missing);
    }

    #[test]
    fn bodies_that_are_no_batch_are_refused() {
        assert_none_is_taken(
            receive,
            MAX_BODY_BYTES,
            &["{}", "{\"events\":17}", "{\"events\":[],\"events\":[]}", "{\"events\":[}"],
        );
        let deep = format!("{{\"events\":[{}1{}]}}", "{\"user\":".repeat(2_000), "}".repeat(2_000));
        assert_eq!(receive(deep).expect("set aside").set_aside.len(), 1, "nested beyond reason");
    }

    #[test]
    fn what_braze_or_its_esp_did_not_try_is_no_refusal() {
        for extra in [
            json!({"is_drop": true}),
            json!({"is_drop": "true", "bounce_reason": "550 5.1.1 user not found"}),
            json!({"bounce_reason": "554 5.7.1 Recipient address was suppressed due to customer policy"}),
        ] {
            let event = event(&bounce(&extra));
            assert_eq!(event.kind, EventKind::SuppressedByProvider, "{extra}");
            let codes = event.reply.map(|reply| (reply.code, reply.enhanced));
            assert!(codes.is_none_or(|codes| codes == (None, None)), "its codes are not the receiving side's: {extra}");
        }
        for extra in [json!({"is_drop": false}), json!({"is_drop": null}), json!({})] {
            assert_eq!(event(&bounce(&extra)).kind, EventKind::Refused, "{extra}");
        }
    }

    #[test]
    fn ids_beyond_two_to_the_53_stay_apart_and_content_stands_in() {
        let key = |id: Value| event(&bounce(&json!({ "id": id }))).dedupe;
        assert_ne!(key(json!(9_007_199_254_740_992_u64)), key(json!(9_007_199_254_740_993_u64)));
        assert_eq!(key(json!(9_007_199_254_740_993_u64)), key(json!("9007199254740993")));
        let by_content = |reason: &str| event(&bounce(&json!({"id": null, "bounce_reason": reason}))).dedupe;
        assert_eq!(by_content("550 x"), by_content("550 x"));
        assert_ne!(by_content("550 x"), by_content("550 y"));
    }

    #[test]
    fn postbacks_without_a_recipient_make_no_event() {
        let of = |status: &str| {
            let body = json!({"dispatch_id": "d1", "status": status, "metadata": {"external_send_id": "x"}});
            receive(body.to_string()).expect("a postback")
        };
        for status in ["sent", "processed", "delivered"] {
            assert_eq!(of(status), Report { ignored: vec!["postback"], ..Report::default() }, "{status}");
        }
        for (status, reason) in [
            ("bounced", SetAsideReason::NoRecipient),
            ("aborted", SetAsideReason::NoRecipient),
            ("new", SetAsideReason::UnknownType),
        ] {
            let report = of(status);
            let asides: Vec<_> = report.set_aside.iter().map(|aside| (aside.reason, aside.label.as_str())).collect();
            assert_eq!(asides, [(reason, format!("postback {status}").as_str())]);
            assert!(report.events.is_empty());
        }
        assert_eq!(receive("{\"dispatch_id\":\"d1\"}").expect_err("no status").status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_code_beside_the_reason_and_the_soft_types_are_read() {
        let bounced = event(&bounce(&json!({"bounce_reason": "user not found", "bounce_code": "550"})));
        assert_eq!(bounced.reply.and_then(|reply| reply.code), Some(550));
        for kind in ["SoftBounce", "Deferral"] {
            let soft = event(&bounce(
                &json!({"event_type": format!("users.messages.email.{kind}"), "bounce_reason": "451 x"}),
            ));
            assert_eq!((soft.kind, soft.provider_class), (EventKind::Deferred, FailureClass::Transient), "{kind}");
        }
    }

    #[test]
    fn all_events_of_a_message_share_its_id() {
        let id = |extra: Value| event(&bounce(&extra)).message_id;
        assert_eq!(id(json!({"dispatch_id": "d1"})), id(json!({"dispatch_id": "d1", "send_id": "s1"})));
        assert_eq!(id(json!({"send_id": "s1"})).as_deref(), Some("send:s1"));
        assert_eq!(id(json!({})), None);
    }

    #[test]
    fn a_deferral_with_a_final_reply_is_a_refusal() {
        for (said, kind) in
            [("550 5.1.1 x: unauthorized sender", EventKind::Refused), ("450 4.2.1 x", EventKind::Deferred)]
        {
            for word in ["SoftBounce", "Deferral"] {
                let of = bounce(&json!({"event_type": format!("{PREFIX}{word}"), "bounce_reason": said}));
                assert_eq!(event(&of).kind, kind, "{word}: {said}");
            }
        }
    }

    #[test]
    fn any_json_is_taken_set_aside_or_refused() {
        assert_any_json_is_answered(
            |body| vec![body.clone(), json!({"events": body}), json!({"events": [body]})],
            receive,
        );
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        assert_keys_have_no_order("braze", "flat_batch", receive);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_element_is_accounted_for(list in prop::collection::vec(any_object(&[
            "id", "time", "email_address", "dispatch_id", "bounce_reason", "is_drop", "from_domain", "properties", "user",
        ]), 1..5), kind in prop::sample::select(vec!["Send", "Bounce", "SoftBounce", "Delivery", "New"])) {
            let count = list.len();
            let events: Vec<_> = list.into_iter().map(|mut event| {
                let kind = format!("users.messages.email.{kind}");
                event.as_object_mut().expect("object").insert("event_type".to_owned(), kind.into());
                event
            }).collect();
            let report = receive(json!({ "events": events }).to_string()).expect("batch");
            let beside = report.set_aside.iter().filter(|aside| aside.label.contains(": odd ")).count();
            prop_assert_eq!(report.events.len() + report.set_aside.len() - beside, count);
        }
    }
}
