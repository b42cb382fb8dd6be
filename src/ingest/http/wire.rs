//! What the decoders of JSON feeds share: scalars of either type, batches, and errors that leak nothing.

use std::{borrow::Cow, cell::OnceCell, fmt};

use axum::http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Delivery, Rejection, RejectionReason};
use crate::{
    ingest::{KEPT_MILLIS, Report, SetAside, SetAsideReason, label, plausible},
    model::{Address, DedupeMaterial, EventKind, FailureClass, Provider, Reply, Timestamp, domain_of},
};

/// The most elements that one delivery may hold. Providers batch by hundreds; an array of millions of empty objects
/// would cost far more memory than its bytes.
pub(super) const MAX_ELEMENTS: usize = 10_000;
/// Numbers above it, the end of the year 9999 in seconds since the epoch, are milliseconds.
const MILLIS_FROM: i64 = 253_402_300_799;
/// The longest message id that is kept: a line of RFC 5322 holds 998 octets, real ids far fewer.
pub(super) const MAX_ID_BYTES: usize = 512;
/// The longest campaign or host name that is kept.
pub(super) const MAX_NAME_BYTES: usize = 255;

/// A JSON string, number or flag, whichever the provider chose today. Digits are kept as they came, so that ids beyond
/// 2^53 survive; objects and arrays in its place count as absent.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct Scalar<'a>(#[serde(borrow)] &'a RawValue);

impl<'a> Scalar<'a> {
    /// The text or the digits; `None` where there is nothing but blanks.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.0.get();
        let text = match raw.as_bytes().first()? {
            b'"' if raw.contains('\\') => Cow::Owned(serde_json::from_str::<String>(raw).ok()?),
            b'"' => Cow::Borrowed(raw.strip_prefix('"')?.strip_suffix('"')?),
            b'-' | b'0'..=b'9' | b't' | b'f' => Cow::Borrowed(raw),
            _ => return None,
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// A point in time: whole or fractional seconds, milliseconds, or RFC 3339.
    pub(super) fn time(self) -> Option<Timestamp> {
        let text = self.text()?;
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return Some(match number {
                n if n > MILLIS_FROM => Timestamp::from_millis(n),
                n => Timestamp::from_seconds(n),
            });
        }
        if let Some(stamp) = Timestamp::from_rfc3339(text) {
            return Some(stamp);
        }
        Timestamp::from_seconds_f64(text.parse().ok()?)
    }

    /// Whether it says yes: `true`, `"true"`, 1.
    pub(super) fn is_true(self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }

    /// Whether it says no: `false`, `"false"`, 0.
    pub(super) fn is_false(self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("false") || text == "0")
    }

    /// The JSON text of the value, whatever it is.
    pub(super) const fn raw(self) -> &'a RawValue {
        self.0
    }
}

/// An object in a field. What has another shape (`[]` for `{}`, a text) or a key twice counts as absent, so that it spoils nothing
/// beside it. Not for types that hold themselves: each level is read anew, without the reader's limit of depth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loose<T>(Option<T>);

impl<T> Loose<T> {
    /// The object, where it is one.
    pub(super) const fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Default for Loose<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        // A derived reader would take the elements of an array for members.
        Ok(Self(if raw.starts_with('{') { serde_json::from_str(raw).ok() } else { None }))
    }
}

/// The first of some fields that is there and holds more than blanks.
pub(super) fn first<'a>(fields: &[Option<Scalar<'a>>]) -> Option<Scalar<'a>> {
    fields.iter().flatten().copied().find(|field| field.text().is_some())
}

/// The text of a field that may be absent.
pub(super) fn text(field: Option<Scalar<'_>>) -> Option<Cow<'_, str>> {
    field?.text()
}

/// An id that the store keeps.
pub(super) fn id(field: Option<Scalar<'_>>) -> Option<String> {
    Some(clean(text(field)?.trim(), MAX_ID_BYTES))
}

/// A message id without the brackets of its header.
pub(super) fn bare_id(field: Option<Scalar<'_>>) -> Option<String> {
    let id = id(field)?;
    Some(id.trim_matches(|c| matches!(c, '<' | '>' | ' ')).to_owned()).filter(|id| !id.is_empty())
}

/// A campaign or a host that the store keeps.
pub(super) fn name(field: Option<Scalar<'_>>) -> Option<String> {
    Some(clean(text(field)?.trim(), MAX_NAME_BYTES))
}

/// The domain of a field that holds an address, a display form or a bare domain.
pub(super) fn domain(field: Option<Scalar<'_>>) -> Option<String> {
    domain_of(&text(field)?).filter(|domain| domain.len() <= MAX_NAME_BYTES)
}

/// A text without control characters (PostgreSQL takes no NUL), cut where a character ends.
pub(super) fn clean(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return text.replace(|c: char| c.is_ascii_control(), " ");
    }
    text.to_owned()
}

/// A reply's text without NUL, which PostgreSQL doesn't take; line ends stay.
pub(super) fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', " ")) } else { text }
}

/// Why one element becomes no event.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) reason: SetAsideReason,
    pub(super) label: String,
    pub(super) at: Option<Timestamp>,
}

impl Aside {
    pub(super) fn new(reason: SetAsideReason, word: &str) -> Self {
        Self { reason, label: label(word), at: None }
    }

    /// An element that is none.
    pub(super) fn unreadable() -> Self {
        Self::new(SetAsideReason::Malformed, "unreadable")
    }

    /// Elements beyond what one delivery may hold.
    pub(super) fn too_many() -> Self {
        Self::new(SetAsideReason::Malformed, "too many elements")
    }

    /// What is handed on: the same, with the element as it came.
    pub(super) fn with(self, provider: Provider, body: &str) -> SetAside {
        let Self { reason, label, at } = self;
        SetAside { provider, reason, label, at, body: body.as_bytes().to_vec(), kept_millis: KEPT_MILLIS }
    }

    /// The same element, with the time that it does tell.
    pub(super) const fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }
}

/// The time of an event of type `kind`, at face value.
pub(super) fn event_time(field: Option<Scalar<'_>>, now: Timestamp, kind: &str) -> Result<Timestamp, Aside> {
    let field = field.ok_or_else(|| Aside::new(SetAsideReason::Malformed, kind))?;
    // A time that no calendar holds is as implausible as one that nobody lives in.
    field.time().filter(|at| plausible(*at, now)).ok_or_else(|| Aside::new(SetAsideReason::ImplausibleTime, kind))
}

/// A send time is a help, no condition: one that makes no sense is as good as none.
pub(super) fn send_time(field: Option<Scalar<'_>>, now: Timestamp) -> Option<Timestamp> {
    field?.time().filter(|at| plausible(*at, now))
}

/// The recipient of an event of type `kind`.
pub(super) fn recipient(field: Option<Scalar<'_>>, at: Timestamp, kind: &str) -> Result<Address, Aside> {
    let Some(text) = text(field) else { return Err(Aside::new(SetAsideReason::NoRecipient, kind).at(at)) };
    Address::parse(&text).map_err(|_| Aside::new(SetAsideReason::Malformed, kind).at(at))
}

/// What is set aside for a type that nobody knows, with the time that it tells.
pub(super) fn unknown_type(word: &str, time: Option<Scalar<'_>>, now: Timestamp) -> Aside {
    let aside = Aside::new(SetAsideReason::UnknownType, word);
    match send_time(time, now) {
        Some(at) => aside.at(at),
        None => aside,
    }
}

/// What the receiving side said, out of a text in which the provider has wrapped it: `bounced (550 5.1.1 …)`,
/// `RecipientError: 550 5.1.1 …`. A text with no code inside is given as it is.
pub(super) fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    let is_words = |words: &str| {
        let words = words.trim();
        !words.is_empty() && words.len() <= 32 && words.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ')
    };
    let has_code = |inner: &str| Reply::parse(inner).code.is_some();
    if let Some((words, tail)) = text.split_once('(')
        && let Some(inner) = tail.strip_suffix(')')
        && is_words(words)
        && has_code(inner)
    {
        return inner.trim();
    }
    match text.split_once(':') {
        Some((words, tail)) if is_words(words) && has_code(tail) => tail.trim(),
        _ => text,
    }
}

/// What a failure is that the provider calls `kind`: what it calls deferred, or a soft bounce, is refused where the reply is final. At
/// the relay such labels are not to be relied on (observed: "soft", to a 550).
pub(super) fn unless_final(kind: EventKind, reply: Option<&Reply>) -> EventKind {
    match kind {
        EventKind::Deferred if reply.is_some_and(|reply| reply.class() == FailureClass::Permanent) => {
            EventKind::Refused
        }
        kind => kind,
    }
}

/// Words of the provider's own, where the receiving side was not asked: their codes would pass for its.
pub(super) fn own_words(text: &str) -> Reply {
    Reply { code: None, enhanced: None, text: Reply::parse(text).text }
}

/// What makes an event the same event where the provider gives it no id: its content.
pub(super) fn by_content(
    provider: Provider,
    message_id: Option<&str>,
    recipient: &Address,
    word: &str,
    at: Timestamp,
    said: &str,
) -> DedupeMaterial {
    let at = at.as_millis().to_string();
    DedupeMaterial::new(provider, &["content", message_id.unwrap_or_default(), &recipient.key(), word, &at, said])
}

/// The first of a list of names, or of objects with a name or an id; a single one counts as a list of one.
pub(super) fn first_name(list: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Option<Scalar<'a>>,
        #[serde(borrow)]
        id: Option<Scalar<'a>>,
    }
    let first = match serde_json::from_str::<Vec<&RawValue>>(list.get()) {
        Ok(list) => list.into_iter().next()?,
        Err(_) => list,
    };
    if let Ok(Named { name: own, id }) = serde_json::from_str(first.get()) {
        return name(own).or_else(|| name(id));
    }
    name(serde_json::from_str(first.get()).ok()?)
}

/// Why a body cannot be read. Holds positions only, no text of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::ingest) enum WireError {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it ends too early (line {line}, column {column})")]
    Truncated { line: usize, column: usize },
    #[error("it is no JSON (line {line}, column {column})")]
    Syntax { line: usize, column: usize },
    #[error("it has another shape, or a key twice (line {line}, column {column})")]
    Shape { line: usize, column: usize },
    #[error("it holds too many elements")]
    TooMany,
}

impl From<serde_json::Error> for WireError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Eof => Self::Truncated { line, column },
            serde_json::error::Category::Data => Self::Shape { line, column },
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => Self::Syntax { line, column },
        }
    }
}

/// The rejection of a body that cannot be read.
pub(super) fn malformed(status: StatusCode, what: &str, error: WireError) -> Rejection {
    Rejection::new(
        status,
        RejectionReason::Malformed,
        format!(
            "the body is not {what}: {error}; check what else posts to this address, and whether a proxy changes bodies"
        ),
    )
}

/// The body as text.
pub(in crate::ingest) fn utf8(body: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(body).map_err(|_| WireError::NotUtf8)
}

/// Reads an object. (A derived reader would take the elements of an array for members.)
pub(super) fn whole_object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, WireError> {
    let is_array = text.trim_start().starts_with('[');
    if is_array { Err(WireError::Shape { line: 1, column: 1 }) } else { Ok(serde_json::from_str(text)?) }
}

/// Refuses a body above a feed's cap.
pub(super) fn within(body: &[u8], most: usize) -> Result<(), Rejection> {
    if body.len() <= most {
        return Ok(());
    }
    Err(Rejection::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        RejectionReason::TooLarge,
        format!("the body is larger than the {most} bytes that this feed takes; lower the batch size at the provider"),
    ))
}

/// The elements of an array, no more than `MOST`; others make the array unreadable.
pub(super) struct Capped<T, const MOST: usize = MAX_ELEMENTS>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Capped<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MOST: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MOST} elements")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == MOST {
                        return Err(A::Error::custom("too many elements"));
                    }
                    elements.push(element);
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(Elements::<T, MOST>(std::marker::PhantomData)).map(Self)
    }
}

/// The values of a list, or a single one; none where it's neither.
///
/// # Errors
/// Where there are more than `MOST`: nobody is to be dropped without a word.
pub(super) fn scalars<const MOST: usize>(list: &RawValue) -> Result<Vec<Scalar<'_>>, WireError> {
    let text = list.get();
    if text.starts_with('[') {
        return serde_json::from_str::<Capped<Scalar<'_>, MOST>>(text).map(|all| all.0).map_err(|_| WireError::TooMany);
    }
    Ok(serde_json::from_str(text).into_iter().collect())
}

/// Reads an array, or a single value as an array of one.
pub(super) fn one_or_many<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Vec<T>, serde_json::Error> {
    if text.trim_start().starts_with('[') {
        return Ok(serde_json::from_str::<Capped<T>>(text)?.0);
    }
    Ok(vec![serde_json::from_str(text)?])
}

/// The elements of a delivery, each with the text that it came as.
///
/// The whole is read at once; only where an element is odd is it read again, element by element, so that one that
/// makes no sense spoils none of its neighbours.
pub(super) struct Parts<'a, T> {
    text: &'a str,
    elements: Vec<Option<T>>,
    raws: OnceCell<Vec<&'a RawValue>>,
}

impl<'a, T: Deserialize<'a>> Parts<'a, T> {
    /// Reads an array of elements, or a single one.
    pub(super) fn parse(text: &'a str) -> Result<Self, WireError> {
        if let Ok(elements) = one_or_many(text) {
            return Ok(Self { text, elements: elements.into_iter().map(Some).collect(), raws: OnceCell::new() });
        }
        let raws = one_or_many::<&RawValue>(text)?;
        if let [raw] = raws.as_slice()
            && !text.trim_start().starts_with('[')
        {
            // A single value that is no element is the body's fault, not an element's.
            serde_json::from_str::<T>(raw.get())?;
        }
        let elements = raws.iter().map(|raw| serde_json::from_str(raw.get()).ok()).collect();
        Ok(Self { text, elements, raws: OnceCell::from(raws) })
    }

    /// Reads an array of elements, or one element after the other, as lines of JSON are.
    pub(super) fn lines(text: &'a str) -> Result<Self, WireError> {
        if text.trim_start().starts_with('[') {
            return Self::parse(text);
        }
        let mut raws = Vec::new();
        for raw in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
            if raws.len() == MAX_ELEMENTS {
                return Err(WireError::TooMany);
            }
            raws.push(raw?);
        }
        match raws.as_slice() {
            [] => return Err(WireError::Truncated { line: 1, column: 0 }),
            // A single value that is no element is the body's fault, not an element's.
            [raw] => drop(serde_json::from_str::<T>(raw.get())?),
            _ => {}
        }
        let elements = raws.iter().map(|raw| serde_json::from_str(raw.get()).ok()).collect();
        Ok(Self { text, elements, raws: OnceCell::from(raws) })
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.elements.len()
    }

    /// An element as it came.
    fn raw(&self, index: usize) -> &'a str {
        let raws = self.raws.get_or_init(|| one_or_many(self.text).unwrap_or_default());
        raws.get(index).map_or("", |raw| raw.get())
    }

    /// What `take` reports of the elements, in a report of their own; see [`Parts::fold`].
    pub(super) fn report(
        &self,
        provider: Provider,
        now: Timestamp,
        mut take: impl FnMut(&T, Timestamp, &mut Report) -> Result<(), Aside>,
    ) -> Report {
        let mut report = Report::default();
        self.fold(provider, &mut report, |element, report| take(element, now, report));
        report
    }

    /// Gives each element to `take`, and sets aside those that it refuses, those that could not be read, and those that come
    /// after the delivery told of [`MAX_ELEMENTS`] already, as where each has many recipients.
    pub(super) fn fold(
        &self,
        provider: Provider,
        report: &mut Report,
        mut take: impl FnMut(&T, &mut Report) -> Result<(), Aside>,
    ) {
        for (index, element) in self.elements.iter().enumerate() {
            let outcome = match element {
                Some(_) if report.parts() >= MAX_ELEMENTS => Err(Aside::too_many()),
                Some(element) => take(element, report),
                None => Err(Aside::unreadable()),
            };
            if let Err(aside) = outcome {
                report.set_aside.push(aside.with(provider, self.raw(index)));
            }
        }
    }
}

/// What `decode` makes of a delivery's body; `what` says what the feed takes, to the person who connects it.
///
/// # Errors
/// 400 for a body that is not UTF-8, or that `decode` cannot read.
pub(super) fn decoded<'a>(
    delivery: &'a Delivery,
    what: &str,
    decode: impl FnOnce(&'a str) -> Result<Report, WireError>,
) -> Result<Report, Rejection> {
    utf8(&delivery.body).and_then(decode).map_err(|error| malformed(StatusCode::BAD_REQUEST, what, error))
}

/// The same for a body that is an array of elements, or a single one, each of which is given to `take` ([`Parts::fold`]).
///
/// # Errors
/// As [`decoded`].
pub(super) fn elements<'a, T: Deserialize<'a>>(
    delivery: &'a Delivery,
    provider: Provider,
    what: &str,
    take: impl FnMut(&T, Timestamp, &mut Report) -> Result<(), Aside>,
) -> Result<Report, Rejection> {
    decoded(delivery, what, |text| Ok(Parts::parse(text)?.report(provider, delivery.received_at, take)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(json: &str) -> Scalar<'_> {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn scalars_keep_their_digits() {
        assert_eq!(
            scalar("92356927693813856789012345678901").text().as_deref(),
            Some("92356927693813856789012345678901")
        );
        assert_eq!(scalar("9007199254740993").text(), scalar("\"9007199254740993\"").text());
        assert_eq!(scalar("\"a\\u0062c\"").text().as_deref(), Some("abc"));
        for absent in ["{}", "[1]", "\" \"", "\"\\ud800\""] {
            assert_eq!(scalar(absent).text(), None, "{absent}");
        }
        assert_eq!(serde_json::from_str::<Option<Scalar<'_>>>("null").expect("null").map(Scalar::is_true), None);
        assert!(scalar("true").is_true() && scalar("\"True\"").is_true() && scalar("1").is_true());
        assert!(!scalar("\"false\"").is_true() && !scalar("[true]").is_true());
        assert!(scalar("\"False\"").is_false() && scalar("0").is_false() && !scalar("\"no\"").is_false());
    }

    #[test]
    fn an_object_of_another_shape_is_absent_and_spoils_nothing() {
        #[derive(Deserialize)]
        struct Outer<'a> {
            #[serde(default, borrow)]
            inner: Loose<Inner<'a>>,
            #[serde(borrow)]
            beside: Scalar<'a>,
        }
        #[derive(Deserialize)]
        struct Inner<'a> {
            #[serde(borrow)]
            word: Option<Scalar<'a>>,
        }
        let inner = |json: &str| {
            let body = format!("{{\"inner\":{json},\"beside\":1}}");
            let outer: Outer<'_> = serde_json::from_str(&body).expect("read");
            assert_eq!(outer.beside.text().as_deref(), Some("1"));
            outer.inner.get().map(|inner| text(inner.word).map(Cow::into_owned))
        };
        assert_eq!(inner("{\"word\":\"x\"}"), Some(Some("x".to_owned())));
        assert_eq!(inner("{}"), Some(None));
        for odd in ["[]", "[\"x\"]", "null", "\"x\"", "17", "{\"word\":1,\"word\":2}"] {
            assert_eq!(inner(odd), None, "{odd}");
        }
        assert!(serde_json::from_str::<Outer<'_>>("{\"beside\":1}").expect("absent").inner.get().is_none());
    }

    #[test]
    fn a_blank_field_does_not_hide_the_next() {
        let first = |fields: &[&str]| {
            let fields: Vec<_> = fields.iter().map(|field| Some(scalar(field))).collect();
            first(&fields).and_then(Scalar::text).map(Cow::into_owned)
        };
        assert_eq!(first(&["\" \"", "{}", "\"b\"", "\"c\""]).as_deref(), Some("b"));
        assert_eq!(first(&["\"\"", "[]"]), None);
    }

    #[test]
    fn times_come_in_every_dress() {
        let at = Some(Timestamp::from_millis(1_754_719_200_000));
        for dress in [
            "1754719200",
            "\"1754719200\"",
            "1754719200000",
            "\"1754719200000\"",
            "\"2025-08-09T06:00:00Z\"",
            "1754719200.0",
            "1.7547192e9",
        ] {
            assert_eq!(scalar(dress).time(), at, "{dress}");
        }
        for none in ["\"yesterday\"", "true", "[]", "1e300", "\"NaN\"", "\"2025-08-09T06:00:00\""] {
            assert_eq!(scalar(none).time(), None, "{none}");
        }
    }

    #[test]
    fn replies_are_taken_out_of_the_providers_wrapping() {
        for (text, said) in [
            ("bounced (550 5.1.1 <a@b.example>: x (y))", "550 5.1.1 <a@b.example>: x (y)"),
            (" soft bounce (450 4.2.0 later)", "450 4.2.0 later"),
            (" RecipientError: 550 5.1.1 x", "550 5.1.1 x"),
            ("550 5.1.1 a: 550 b", "550 5.1.1 a: 550 b"),
            ("smtp; 550 5.1.1 x", "smtp; 550 5.1.1 x"),
            ("blocked (by a list)", "blocked (by a list)"),
            ("note: see 550", "note: see 550"),
        ] {
            assert_eq!(unwrapped(text), said);
        }
    }

    #[test]
    fn lines_are_read_like_an_array() {
        let count = |text: &str| Parts::<Vec<u8>>::lines(text).map(|parts| parts.elements.len());
        assert_eq!(count("[[1],[2]]"), Ok(2));
        assert_eq!(count("[[1]]\n"), Ok(1));
        let objects = |text: &str| {
            let parts = Parts::<std::collections::BTreeMap<String, u8>>::lines(text)?;
            Ok::<_, WireError>((parts.elements.len(), parts.elements.iter().flatten().count()))
        };
        assert_eq!(objects("{\"a\":1}\n\n{\"b\":2}\n"), Ok((2, 2)));
        assert_eq!(objects("{\"a\":1}\n17\n"), Ok((2, 1)), "an odd line spoils none of its neighbours");
        assert!(objects("17").is_err() && objects("").is_err() && objects("{\"a\":1}\n{\"b\"").is_err());
        assert_eq!(objects(&"{} ".repeat(MAX_ELEMENTS + 1)), Err(WireError::TooMany));
    }

    #[test]
    fn seconds_are_seconds_to_the_end_of_the_calendar() {
        assert_eq!(scalar("253402300799").time(), Some(Timestamp::from_seconds(253_402_300_799)));
        assert_eq!(scalar("100000000001").time(), Some(Timestamp::from_seconds(100_000_000_001)));
    }

    #[test]
    fn absurd_times_are_set_aside() {
        let now = Timestamp::from_seconds(1_754_719_200);
        let reason = |json| event_time(Some(scalar(json)), now, "bounce").map_err(|aside| aside.reason);
        for absurd in [
            "\"0001-01-01T00:00:00Z\"",
            "\"9999-12-31T23:59:59Z\"",
            "253402300799",
            "-62135596800",
            "0",
            "9223372036854775807",
            "1e308",
            "-1e308",
            "\"253402300799.5\"",
            "\"NaN\"",
            "\"-inf\"",
            "true",
            "92356927693813856789012345678901",
        ] {
            assert_eq!(reason(absurd), Err(SetAsideReason::ImplausibleTime), "{absurd}");
        }
        assert_eq!(reason("1754719200"), Ok(now));
        assert_eq!(event_time(None, now, "bounce").map_err(|aside| aside.reason), Err(SetAsideReason::Malformed));
    }

    #[test]
    fn kept_texts_are_bounded_and_hold_no_control_characters() {
        assert_eq!(clean("Summer\0sale\n", 64), "Summer sale ");
        assert_eq!(clean("é", 1), "");
        assert_eq!(clean("éa", 2), "é");
        assert_eq!(without_nul("550 a\0b\r\nc".into()), "550 a b\r\nc");
        let long = format!("\"{}\"", "a.".repeat(4_000));
        assert_eq!(domain(Some(scalar(&long))), None);
        assert_eq!(id(Some(scalar(&long))).map(|id| id.len()), Some(MAX_ID_BYTES));
    }

    #[test]
    fn a_flood_of_empty_elements_is_refused() {
        let flood = format!("[{}{{}}]", "{},".repeat(MAX_ELEMENTS));
        assert!(matches!(Parts::<&RawValue>::parse(&flood).err(), Some(WireError::Shape { .. })));
        let most = format!("[{}{{}}]", "{},".repeat(MAX_ELEMENTS - 1));
        assert!(Parts::<&RawValue>::parse(&most).is_ok());
    }

    #[test]
    fn one_delivery_tells_of_so_many_however_they_are_nested() {
        let text = format!("[{}{{}}]", "{},".repeat(10));
        let parts = Parts::<std::collections::BTreeMap<String, u8>>::parse(&text).expect("elements");
        let mut report = Report::default();
        parts.fold(Provider::Generic, &mut report, |_, report| {
            report.ignored.extend(vec![""; MAX_ELEMENTS / 5]);
            Ok(())
        });
        assert_eq!(report.ignored.len(), MAX_ELEMENTS);
        let labels: Vec<&str> = report.set_aside.iter().map(|part| part.label.as_str()).collect();
        assert_eq!(labels, ["too many elements"; 6]);
    }

    #[test]
    fn a_list_or_a_single_value_is_read_within_its_cap() {
        fn text_of(one: Scalar<'_>) -> Option<String> {
            one.text().map(Cow::into_owned)
        }
        let read = |json: &str| {
            let list: &RawValue = serde_json::from_str(json).expect("JSON");
            let texts = |all: Vec<Scalar<'_>>| all.into_iter().filter_map(text_of).collect::<Vec<_>>();
            scalars::<2>(list).map(texts)
        };
        assert_eq!(read("[\"a\",7]"), Ok(vec!["a".to_owned(), "7".to_owned()]));
        assert_eq!(read(" \"a\""), Ok(vec!["a".to_owned()]));
        assert_eq!(read("[]"), Ok(Vec::new()));
        assert_eq!(read("{}"), Ok(Vec::new()));
        assert_eq!(read("[1,2,3]"), Err(WireError::TooMany));
    }

    #[test]
    fn errors_tell_the_place_and_none_of_the_text() {
        let error = Parts::<Vec<u8>>::parse("[{\"rcpt_to\": \"someone@example.com\", }]").err().expect("no JSON");
        let rejection = malformed(StatusCode::BAD_REQUEST, "a batch", error);
        assert!(rejection.detail.contains("line 1, column"), "{rejection}");
        assert!(!rejection.detail.contains("example"), "{rejection}");
    }
}
