//! Scalars of either type, and what the store keeps of them.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::model::domain_of;

/// The longest message id that is kept: a line of RFC 5322 holds 998 octets, real ids far fewer.
pub(in crate::ingest::http) const MAX_ID_BYTES: usize = 512;
/// The longest campaign or host name that is kept.
pub(in crate::ingest::http) const MAX_NAME_BYTES: usize = 255;

/// A JSON string, number or flag, whichever the provider chose today. Digits are kept as they came, so that ids beyond
/// 2^53 survive; objects and arrays in its place count as absent.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(in crate::ingest::http) struct Scalar<'a>(#[serde(borrow)] &'a RawValue);

impl<'a> Scalar<'a> {
    /// The text or the digits; `None` where there is nothing but blanks.
    pub(in crate::ingest::http) fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.0.get();
        let text = match raw.as_bytes().first()? {
            b'"' if raw.contains('\\') => Cow::Owned(serde_json::from_str::<String>(raw).ok()?),
            b'"' => Cow::Borrowed(raw.strip_prefix('"')?.strip_suffix('"')?),
            b'-' | b'0'..=b'9' | b't' | b'f' => Cow::Borrowed(raw),
            _ => return None,
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// Whether it says yes: `true`, `"true"`, 1.
    pub(in crate::ingest::http) fn is_true(self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }

    /// Whether it says no: `false`, `"false"`, 0.
    pub(in crate::ingest::http) fn is_false(self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("false") || text == "0")
    }

    /// The JSON text of the value, whatever it is.
    pub(in crate::ingest::http) const fn raw(self) -> &'a RawValue {
        self.0
    }
}

/// An object in a field. What has another shape (`[]` for `{}`, a text) or a key twice counts as absent, so that it spoils nothing
/// beside it. Not for types that hold themselves: each level is read anew, without the reader's limit of depth.
#[derive(Debug, Clone, Copy)]
pub(in crate::ingest::http) struct Loose<T>(Option<T>);

impl<T> Loose<T> {
    /// The object, where it is one.
    pub(in crate::ingest::http) const fn get(&self) -> Option<&T> {
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
pub(in crate::ingest::http) fn first<'a>(fields: &[Option<Scalar<'a>>]) -> Option<Scalar<'a>> {
    fields.iter().flatten().copied().find(|field| field.text().is_some())
}

/// The text of a field that may be absent.
pub(in crate::ingest::http) fn text(field: Option<Scalar<'_>>) -> Option<Cow<'_, str>> {
    field?.text()
}

/// An id that the store keeps.
pub(in crate::ingest::http) fn id(field: Option<Scalar<'_>>) -> Option<String> {
    Some(clean(text(field)?.trim(), MAX_ID_BYTES))
}

/// A message id without the brackets of its header.
pub(in crate::ingest::http) fn bare_id(field: Option<Scalar<'_>>) -> Option<String> {
    let id = id(field)?;
    Some(id.trim_matches(|c| matches!(c, '<' | '>' | ' ')).to_owned()).filter(|id| !id.is_empty())
}

/// A campaign or a host that the store keeps.
pub(in crate::ingest::http) fn name(field: Option<Scalar<'_>>) -> Option<String> {
    Some(clean(text(field)?.trim(), MAX_NAME_BYTES))
}

/// The domain of a field that holds an address, a display form or a bare domain.
pub(in crate::ingest::http) fn domain(field: Option<Scalar<'_>>) -> Option<String> {
    domain_of(&text(field)?).filter(|domain| domain.len() <= MAX_NAME_BYTES)
}

/// The first of a list of names, or of objects with a name or an id; a single one counts as a list of one.
pub(in crate::ingest::http) fn first_name(list: &RawValue) -> Option<String> {
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

/// A text without control characters (PostgreSQL takes no NUL), cut where a character ends.
pub(in crate::ingest::http) fn clean(text: &str, most: usize) -> String {
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
pub(in crate::ingest::http) fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', " ")) } else { text }
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
    fn kept_texts_are_bounded_and_hold_no_control_characters() {
        assert_eq!(clean("Summer\0sale\n", 64), "Summer sale ");
        assert_eq!(clean("é", 1), "");
        assert_eq!(clean("éa", 2), "é");
        assert_eq!(without_nul("550 a\0b\r\nc".into()), "550 a b\r\nc");
        let long = format!("\"{}\"", "a.".repeat(4_000));
        assert_eq!(domain(Some(scalar(&long))), None);
        assert_eq!(id(Some(scalar(&long))).map(|id| id.len()), Some(MAX_ID_BYTES));
    }
}
