//! What SES sends, as it sends it: "Amazon SNS notification contents" and "Contents of event data that Amazon SES
//! publishes to Amazon SNS" in the Amazon SES Developer Guide.
//!
//! Texts are borrowed from the message where they have no escapes. Members that relaywatch has no use for are skipped.
//! A member that is read and occurs twice makes the payload malformed, whichever of the two would have been right.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, MapAccessDeserializer, StrDeserializer},
    },
};
use serde_json::value::RawValue;

/// The longest list that is taken. SES takes 50 recipients a message.
const MAX_LIST: usize = 1_000;

/// A notification or event, or the EventBridge wrapper around one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload<'a> {
    #[serde(borrow, default)]
    pub(super) event_type: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) notification_type: Loose<'a>,
    #[serde(borrow)]
    pub(super) mail: Option<Mail<'a>>,
    #[serde(borrow)]
    pub(super) bounce: Option<Bounce<'a>>,
    #[serde(borrow)]
    pub(super) complaint: Option<Complaint<'a>>,
    #[serde(borrow)]
    pub(super) delivery: Option<Delivery<'a>>,
    #[serde(borrow)]
    pub(super) delivery_delay: Option<DeliveryDelay<'a>>,
    #[serde(borrow)]
    pub(super) reject: Option<Reject<'a>>,
    #[serde(borrow)]
    pub(super) detail: Option<&'a RawValue>,
}

/// What is said of the message in every event of it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mail<'a> {
    #[serde(borrow, default)]
    pub(super) timestamp: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) message_id: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) source: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) destination: List<Recipient<'a>>,
    // Read only where nothing else tells the From domain.
    #[serde(borrow)]
    pub(super) headers: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) common_headers: Option<CommonHeaders<'a>>,
    #[serde(borrow, default)]
    pub(super) tags: Tags<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommonHeaders<'a> {
    #[serde(borrow, default)]
    pub(super) from: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) return_path: Loose<'a>,
}

/// One of `mail.headers`.
#[derive(Deserialize)]
pub(super) struct Header<'a> {
    #[serde(borrow, default)]
    pub(super) name: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) value: Loose<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bounce<'a> {
    #[serde(borrow, default, rename = "bounceType")]
    pub(super) kind: Loose<'a>,
    #[serde(borrow, default, rename = "bounceSubType")]
    pub(super) sub_kind: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) bounced_recipients: List<Recipient<'a>>,
    #[serde(borrow, default)]
    pub(super) timestamp: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) feedback_id: Loose<'a>,
    #[serde(borrow, default, rename = "reportingMTA")]
    pub(super) reporting_mta: Loose<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Complaint<'a> {
    #[serde(borrow, default)]
    pub(super) complained_recipients: List<Recipient<'a>>,
    #[serde(borrow, default)]
    pub(super) timestamp: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) feedback_id: Loose<'a>,
    #[serde(borrow, default, rename = "complaintSubType")]
    pub(super) sub_kind: Loose<'a>,
    #[serde(borrow, default, rename = "complaintFeedbackType")]
    pub(super) kind: Loose<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery<'a> {
    #[serde(borrow, default)]
    pub(super) recipients: List<Recipient<'a>>,
    #[serde(borrow, default)]
    pub(super) timestamp: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) smtp_response: Loose<'a>,
    #[serde(borrow, default, rename = "reportingMTA")]
    pub(super) reporting_mta: Loose<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryDelay<'a> {
    #[serde(borrow, default)]
    pub(super) delayed_recipients: List<Recipient<'a>>,
    #[serde(borrow, default)]
    pub(super) timestamp: Loose<'a>,
    #[serde(borrow, default)]
    pub(super) delay_type: Loose<'a>,
    #[serde(borrow, default, rename = "reportingMTA")]
    pub(super) reporting_mta: Loose<'a>,
}

#[derive(Deserialize, Default)]
pub(super) struct Reject<'a> {
    #[serde(borrow, default)]
    pub(super) reason: Loose<'a>,
}

/// One recipient: an object with the address and, in bounces and delays, what was said of it; or the bare address.
#[derive(Default)]
pub(super) struct Recipient<'a> {
    pub(super) address: Loose<'a>,
    pub(super) status: Loose<'a>,
    pub(super) diagnostic: Loose<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Recipient<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Object<'a> {
            #[serde(borrow, default)]
            email_address: Loose<'a>,
            #[serde(borrow, default)]
            status: Loose<'a>,
            #[serde(borrow, default)]
            diagnostic_code: Loose<'a>,
        }
        struct Read<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Read<'a> {
            type Value = Recipient<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a recipient")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let object = Object::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Recipient {
                    address: object.email_address,
                    status: object.status,
                    diagnostic: object.diagnostic_code,
                })
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Recipient { address: Loose(Some(Cow::Borrowed(text))), ..Recipient::default() })
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Recipient { address: Loose(Some(Cow::Owned(text.to_owned()))), ..Recipient::default() })
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Recipient::default())
            }
        }
        deserializer.deserialize_any(Read(PhantomData))
    }
}

/// A text, however it is spelt: a string, a number, a truth value, or the first such of a list. Everything else counts
/// as absent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Loose<'a>(Option<Cow<'a, str>>);

impl Loose<'_> {
    /// The text without blanks around it; `None` where nothing is left.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Read<'a> {
            type Value = Loose<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_bool<E: Error>(self, truth: bool) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Owned(truth.to_string()))))
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Loose(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut first = Loose(None);
                while first.0.is_none() {
                    match list.next_element()? {
                        Some(item) => first = item,
                        None => return Ok(first),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(first)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }
        }
        deserializer.deserialize_any(Read(PhantomData))
    }
}

/// A list, or one element without the brackets; null is the empty list.
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Read<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or one element")
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(List::default())
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(List(vec![T::deserialize(BorrowedStrDeserializer::new(text))?]))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(List(vec![T::deserialize(StrDeserializer::new(text))?]))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Ok(List(vec![T::deserialize(MapAccessDeserializer::new(map))?]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() == MAX_LIST {
                        return Err(A::Error::custom("too many elements"));
                    }
                    items.push(item);
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_any(Read(PhantomData))
    }
}

/// The message's tags: a name and the first of its values. Of a name that occurs twice the last one counts.
#[derive(Default)]
pub(super) struct Tags<'a>(Vec<(Loose<'a>, Loose<'a>)>);

impl Tags<'_> {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().rev().find(|(key, _)| key.0.as_deref() == Some(name))?;
        value.get()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Read<'a> {
            type Value = Tags<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tags")
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Tags::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Tags::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tags = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if tags.len() == MAX_LIST {
                        return Err(A::Error::custom("too many tags"));
                    }
                    tags.push(entry);
                }
                Ok(Tags(tags))
            }
        }
        deserializer.deserialize_any(Read(PhantomData))
    }
}
