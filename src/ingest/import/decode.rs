//! From a record to outcomes, by the decoders of the feeds.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Chunk, Format};
use crate::{
    ingest::{
        Report, SetAsideReason,
        http::{
            braze, mailgun,
            sendgrid::{self, Arguments},
            ses, sparkpost,
            wire::{WireError, utf8},
        },
        postfix::Joiner,
    },
    model::Timestamp,
};

/// Arrays within arrays that are looked into.
const MAX_DEPTH: u32 = 3;

/// What decoders take from the settings of a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// SES: the message tag that names the campaign.
    pub campaign_tag: Option<String>,
    /// SendGrid: the custom argument with the From address or its domain.
    pub from_argument: Option<String>,
    /// SendGrid: the custom argument with the envelope sender or its domain.
    pub envelope_argument: Option<String>,
    /// Braze: the type of events that do not say theirs, by the file's path.
    pub event_type: Option<String>,
    /// Postfix: the time zone of times that name none; UTC where nothing says.
    pub zone: Option<TimeZone>,
    /// Postfix: hosts on the way, whose taking is no delivery.
    pub smarthosts: Vec<String>,
    /// When the file was last written to: no line of a log is later, which tells the year of times that name none.
    pub written_at: Option<Timestamp>,
}

/// How the decoders of the feeds call what does not say its type.
const UNTYPED: [&str; 2] = ["unnamed", "no type"];

/// Why a record is none, or a part of it.
pub(super) struct Wrong {
    /// In words, without anything of what it holds.
    pub(super) reason: Cow<'static, str>,
    /// Whether it is counted already, by what is wrong.
    pub(super) counted: bool,
}

impl<T: Into<Cow<'static, str>>> From<T> for Wrong {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), counted: false }
    }
}

/// Decodes the records of one file.
pub(super) struct Decoder {
    format: Format,
    settings: Settings,
    arguments: Arguments,
    now: Timestamp,
}

impl Decoder {
    pub(super) fn new(format: Format, settings: Settings, now: Timestamp) -> Self {
        let arguments =
            Arguments { from: settings.from_argument.clone(), envelope: settings.envelope_argument.clone() };
        Self { format, settings, arguments, now }
    }

    /// The type of events that do not say theirs, where the file itself tells it.
    pub(super) fn set_event_type(&mut self, event_type: String) {
        self.settings.event_type = Some(event_type);
    }

    /// What joins the lines of Postfix's log.
    pub(super) fn joiner(&self) -> Joiner {
        Joiner::new(self.settings.zone.clone().unwrap_or(TimeZone::UTC), &self.settings.smarthosts)
    }

    /// When the file was last written to, where that is known.
    pub(super) const fn written_at(&self) -> Option<Timestamp> {
        self.settings.written_at
    }

    /// Up to when lines can have been written.
    pub(super) fn written_by(&self) -> Timestamp {
        self.settings.written_at.map_or(self.now, |written| written.min(self.now))
    }

    /// The outcomes of a record, which can hold several values one after the other; and what of it is none, once.
    pub(super) fn decode(&self, record: &[u8], chunk: &mut Chunk) -> Result<(), Wrong> {
        let text = utf8(record).map_err(said)?;
        if self.format == Format::Ses && text.trim_start().starts_with("Successfully validated") {
            return Self::take(self.one(text)?, chunk);
        }
        let mut wrong = None;
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        let mut any = false;
        for value in &mut values {
            any = true;
            let done = match value {
                Ok(value) => self.value(value, 0, chunk),
                Err(error) => Err(said(error.into())),
            };
            if let Err(reason) = done {
                wrong.get_or_insert(reason);
            }
        }
        if !any {
            wrong.get_or_insert("it is no JSON".into());
        }
        wrong.map_or(Ok(()), Err)
    }

    /// A value, each element by itself where it is an array or a batch.
    fn value(&self, value: &RawValue, depth: u32, chunk: &mut Chunk) -> Result<(), Wrong> {
        let text = value.get();
        let list = if text.starts_with('[') { Some(value) } else { self.batch(text) };
        let Some(list) = list.filter(|_| depth < MAX_DEPTH) else { return Self::take(self.one(text)?, chunk) };
        let elements: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|error| said(error.into()))?;
        let mut wrong = None;
        for element in elements {
            if let Err(reason) = self.value(element, depth + 1, chunk) {
                wrong.get_or_insert(reason);
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    /// The array of a batch that came whole.
    fn batch<'a>(&self, text: &'a str) -> Option<&'a RawValue> {
        #[derive(Deserialize)]
        struct Probe<'a> {
            #[serde(borrow)]
            events: Option<&'a RawValue>,
            #[serde(borrow)]
            results: Option<&'a RawValue>,
            #[serde(borrow)]
            items: Option<&'a RawValue>,
        }
        if !matches!(self.format, Format::Sparkpost | Format::Mailgun | Format::Braze) {
            return None;
        }
        let Probe { events, results, items } = serde_json::from_str(text).ok()?;
        [events, results, items].into_iter().flatten().find(|list| list.get().starts_with('['))
    }

    /// What one value holds.
    fn one(&self, text: &str) -> Result<Report, Wrong> {
        let report = match self.format {
            Format::Ses => return self.ses(text),
            Format::Sparkpost => sparkpost::decode(text, self.now),
            Format::Sendgrid => sendgrid::decode(text, &self.arguments, self.now),
            Format::Mailgun => mailgun::decode(text, self.now),
            Format::Braze => braze::decode(text, self.settings.event_type.as_deref(), self.now),
            // They have records of their own.
            Format::Mail | Format::Postfix => return Err("it is no record of this format".into()),
        };
        report.map_err(said)
    }

    /// An SES event by itself, or in the envelope of SNS, whose signature proves nothing any more.
    fn ses(&self, text: &str) -> Result<Report, Wrong> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Envelope<'a> {
            #[serde(borrow)]
            r#type: Option<Cow<'a, str>>,
            #[serde(borrow)]
            message: Option<Cow<'a, str>>,
        }
        let envelope = serde_json::from_str::<Envelope<'_>>(text).ok();
        let message = match &envelope {
            Some(Envelope { r#type: Some(kind), message: Some(message) }) if kind == "Notification" => message.as_ref(),
            _ => text,
        };
        let tag = self.settings.campaign_tag.as_deref();
        ses::decode(message, tag, self.now).map_err(|_| "it is no JSON, or nested too deep".into())
    }

    /// Takes over what a report holds; tells the first part of it that is none.
    pub(super) fn take(report: Report, chunk: &mut Chunk) -> Result<(), Wrong> {
        let Chunk { events, kept, counts, .. } = chunk;
        for event in &report.events {
            counts.meet(event);
        }
        events.extend(report.events);
        counts.ignored += report.ignored.len() as u64;
        let mut wrong = None;
        for one in report.kept {
            // Its time is part of its key: one that would be dated by the clock were another one with each import.
            if one.at.is_some() {
                counts.kept += 1;
                kept.push(one);
            } else {
                counts.broken += 1;
                wrong.get_or_insert(Cow::from(format!("it tells no time that can be ({})", one.kind)));
            }
        }
        for part in report.set_aside {
            let reason = match part.reason {
                SetAsideReason::ImplausibleTime => {
                    counts.implausible += 1;
                    format!("its time cannot be: before 2010, or more than a day ahead ({:?})", part.label)
                }
                SetAsideReason::UnknownType if UNTYPED.contains(&part.label.as_str()) => {
                    counts.broken += 1;
                    "it does not say of which type it is".to_owned()
                }
                // Providers send more types than anybody needs, and new ones: nothing is wrong with these.
                SetAsideReason::UnknownType => {
                    counts.meet_unknown(&part.label);
                    continue;
                }
                SetAsideReason::NoRecipient => {
                    counts.broken += 1;
                    format!("it names no recipient ({:?})", part.label)
                }
                SetAsideReason::Malformed => {
                    counts.broken += 1;
                    format!("its fields make no sense ({:?})", part.label)
                }
                // Nothing is wrong with it.
                SetAsideReason::DmarcReport | SetAsideReason::RelayNotification => {
                    counts.ignored += 1;
                    continue;
                }
            };
            wrong.get_or_insert(Cow::from(reason));
        }
        wrong.map_or(Ok(()), |reason| Err(Wrong { reason, counted: true }))
    }
}

/// Why a record can't be read, with positions only.
fn said(error: WireError) -> Wrong {
    match error {
        WireError::NotUtf8 => "it is not UTF-8".into(),
        WireError::TooMany => "it has more elements than a batch may have".into(),
        WireError::Truncated { column, .. } => format!("it ends too early (column {column})").into(),
        WireError::Syntax { column, .. } => format!("it is no JSON, or nested too deep (column {column})").into(),
        WireError::Shape { column, .. } => format!("it has another shape, or a key twice (column {column})").into(),
    }
}
