//! The elements of a delivery, bounded, and those of them that become no event.

use std::{cell::OnceCell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Scalar, WireError, send_time};
use crate::{
    ingest::{KEPT_MILLIS, Report, SetAside, SetAsideReason, label},
    model::{Provider, Timestamp},
};

/// The most elements that one delivery may hold. Providers batch by hundreds; an array of millions of empty objects
/// would cost far more memory than its bytes.
pub(in crate::ingest::http) const MAX_ELEMENTS: usize = 10_000;

/// Why one element becomes no event.
#[derive(Debug)]
pub(in crate::ingest::http) struct Aside {
    pub(in crate::ingest::http) reason: SetAsideReason,
    pub(in crate::ingest::http) label: String,
    pub(in crate::ingest::http) at: Option<Timestamp>,
}

impl Aside {
    pub(in crate::ingest::http) fn new(reason: SetAsideReason, word: &str) -> Self {
        Self { reason, label: label(word), at: None }
    }

    /// An element that is none.
    pub(in crate::ingest::http) fn unreadable() -> Self {
        Self::new(SetAsideReason::Malformed, "unreadable")
    }

    /// Elements beyond what one delivery may hold.
    pub(in crate::ingest::http) fn too_many() -> Self {
        Self::new(SetAsideReason::Malformed, "too many elements")
    }

    /// What is handed on: the same, with the element as it came.
    pub(in crate::ingest::http) fn with(self, provider: Provider, body: &str) -> SetAside {
        let Self { reason, label, at } = self;
        SetAside { provider, reason, label, at, body: body.as_bytes().to_vec(), kept_millis: KEPT_MILLIS }
    }

    /// The same element, with the time that it does tell.
    pub(in crate::ingest::http) const fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }
}

/// What is set aside for a type that nobody knows, with the time that it tells.
pub(in crate::ingest::http) fn unknown_type(word: &str, time: Option<Scalar<'_>>, now: Timestamp) -> Aside {
    let aside = Aside::new(SetAsideReason::UnknownType, word);
    match send_time(time, now) {
        Some(at) => aside.at(at),
        None => aside,
    }
}

/// The elements of an array, no more than `MOST`; others make the array unreadable.
pub(in crate::ingest::http) struct Capped<T, const MOST: usize = MAX_ELEMENTS>(pub(in crate::ingest::http) Vec<T>);

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
pub(in crate::ingest::http) fn scalars<const MOST: usize>(list: &RawValue) -> Result<Vec<Scalar<'_>>, WireError> {
    let text = list.get();
    if text.starts_with('[') {
        return serde_json::from_str::<Capped<Scalar<'_>, MOST>>(text).map(|all| all.0).map_err(|_| WireError::TooMany);
    }
    Ok(serde_json::from_str(text).into_iter().collect())
}

/// Reads an array, or a single value as an array of one.
pub(in crate::ingest::http) fn one_or_many<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Vec<T>, serde_json::Error> {
    if text.trim_start().starts_with('[') {
        return Ok(serde_json::from_str::<Capped<T>>(text)?.0);
    }
    Ok(vec![serde_json::from_str(text)?])
}

/// The elements of a delivery, each with the text that it came as.
///
/// The whole is read at once; only where an element is odd is it read again, element by element, so that one that
/// makes no sense spoils none of its neighbours.
pub(in crate::ingest::http) struct Parts<'a, T> {
    text: &'a str,
    elements: Vec<Option<T>>,
    raws: OnceCell<Vec<&'a RawValue>>,
}

impl<'a, T: Deserialize<'a>> Parts<'a, T> {
    /// Reads an array of elements, or a single one.
    pub(in crate::ingest::http) fn parse(text: &'a str) -> Result<Self, WireError> {
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
    pub(in crate::ingest::http) fn lines(text: &'a str) -> Result<Self, WireError> {
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
    pub(in crate::ingest::http) const fn len(&self) -> usize {
        self.elements.len()
    }

    /// An element as it came.
    fn raw(&self, index: usize) -> &'a str {
        let raws = self.raws.get_or_init(|| one_or_many(self.text).unwrap_or_default());
        raws.get(index).map_or("", |raw| raw.get())
    }

    /// What `take` reports of the elements, in a report of their own; see [`Parts::fold`].
    pub(in crate::ingest::http) fn report(
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
    pub(in crate::ingest::http) fn fold(
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

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
}
