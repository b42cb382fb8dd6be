//! What was taken in, as relaywatch understood it, for people and for machines. No address: its random id only.

mod other;
mod verdict;

use std::{
    collections::HashMap,
    io::{self, Write},
};

use serde::Serialize;

pub(super) use self::{
    other::{ToldAside, ToldNotice},
    verdict::VerdictFields,
};
use super::text::{Safe, address_id};
use crate::{
    classify::Rules,
    model::{
        Action, Cause, Destination, EventKind, FailureClass, MxFamily, Provider, ReplyContext, SendTimeOrigin,
        StreamKey, Timestamp, Verdict,
    },
    monitor::fold::send_time,
    store::{EventRecord, Position, Store, StoreError},
};

/// Words that are kept at hand; past that the cache starts anew.
const WORDS: usize = 100_000;

/// One outcome with its words.
pub(super) struct Told {
    pub(super) at: Timestamp,
    pub(super) feed: String,
    pub(super) kind: EventKind,
    pub(super) class: FailureClass,
    pub(super) stream: StreamKey,
    pub(super) destination: Destination,
    pub(super) address: i64,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) sent_at_origin: Option<SendTimeOrigin>,
    pub(super) provider_verdict: Option<String>,
    pub(super) reply: Option<ToldReply>,
}

/// What the receiving side said, and what that means.
pub(super) struct ToldReply {
    pub(super) cause: Cause,
    /// What follows from the cause, where today's rules still give the verdict of the journal.
    pub(super) verdict: Option<Verdict>,
    /// The rule that decided, as `file/name`, and the version of the rules.
    pub(super) rule: String,
    pub(super) rule_version: Option<u32>,
    pub(super) confidence: u8,
    pub(super) template: String,
    pub(super) code: Option<u16>,
    pub(super) enhanced: Option<String>,
    pub(super) mx: MxFamily,
}

impl ToldReply {
    fn fields(&self) -> VerdictFields<'_> {
        let verdict = self.verdict.as_ref();
        VerdictFields {
            cause: Some(self.cause),
            fault: verdict.map(|verdict| verdict.fault),
            action: verdict.map(|verdict| verdict.action),
            hard: verdict.map(|verdict| verdict.hard),
            confidence: Some(f64::from(self.confidence) / 100.0),
            rule: Some(&self.rule),
            rule_version: self.rule_version,
            evidence: verdict.map(|verdict| verdict.evidence.as_slice()),
            delay: verdict.and_then(|verdict| verdict.delay),
            template: Some(&self.template),
        }
    }
}

/// The line of a machine. The names of the fields are stable; fields may be added.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    feed: &'a str,
    kind: EventKind,
    class: FailureClass,
    stream: String,
    provider: Option<Provider>,
    from_domain: Option<&'a str>,
    envelope_domain: Option<&'a str>,
    campaign: Option<&'a str>,
    destination: Destination,
    address: String,
    sent_at: Option<String>,
    sent_at_origin: Option<SendTimeOrigin>,
    #[serde(flatten)]
    verdict: VerdictFields<'a>,
    code: Option<u16>,
    enhanced: Option<&'a str>,
    mx: Option<MxFamily>,
    provider_verdict: Option<&'a str>,
}

impl Told {
    /// One JSON object.
    pub(super) fn json(&self) -> serde_json::Result<serde_json::Value> {
        let reply = self.reply.as_ref();
        serde_json::to_value(Line {
            at: self.at.to_string(),
            feed: &self.feed,
            kind: self.kind,
            class: self.class,
            stream: self.stream.to_string(),
            provider: self.stream.provider,
            from_domain: self.stream.from_domain.as_deref(),
            envelope_domain: self.stream.envelope_domain.as_deref(),
            campaign: self.stream.campaign.as_deref(),
            destination: self.destination,
            address: address_id(self.address),
            sent_at: self.sent_at.map(|at| at.to_string()),
            sent_at_origin: self.sent_at_origin,
            verdict: reply.map(ToldReply::fields).unwrap_or_default(),
            code: reply.and_then(|reply| reply.code),
            enhanced: reply.and_then(|reply| reply.enhanced.as_deref()),
            mx: reply.map(|reply| reply.mx),
            provider_verdict: self.provider_verdict.as_deref(),
        })
    }

    /// One line, and a second one where there is a reply or a verdict.
    pub(super) fn text(&self, indent: &str, with_address: bool, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{indent}{}  {:<9}  {}", self.at, self.kind, Safe(&self.feed))?;
        write!(out, "  {}", Safe(&self.stream.to_string()))?;
        if let (Some(sent), Some(origin)) = (self.sent_at, self.sent_at_origin) {
            let origin = match origin {
                SendTimeOrigin::Payload => "by its report",
                SendTimeOrigin::SentEvent => "by its sent event",
                SendTimeOrigin::EventTime => "approximate: by its earliest event",
            };
            write!(out, "; sent {sent} ({origin})")?;
        }
        if with_address {
            write!(out, "; address {}", address_id(self.address))?;
        }
        writeln!(out)?;
        if let Some(reply) = &self.reply {
            let action = reply.verdict.as_ref().map(|verdict| verdict.action);
            let action = action.map_or("no action: the rules have changed since", Action::as_str);
            let (cause, sure) = (reply.cause, reply.confidence);
            write!(out, "{indent}    {cause}, {action} ({sure} % by {}", Safe(&reply.rule))?;
            if let Some(version) = reply.rule_version {
                write!(out, "@{version}")?;
            }
            writeln!(out, "): {}", Safe(&reply.template))?;
        }
        if let Some(verdict) = &self.provider_verdict {
            writeln!(out, "{indent}    the provider's verdict: {}", Safe(verdict))?;
        }
        Ok(())
    }
}

/// Turns rows of the journal into what they say.
pub(super) struct Teller {
    store: Store,
    rules: Rules,
    words: HashMap<i32, String>,
}

impl Teller {
    pub(super) fn new(store: Store, rules: Rules) -> Self {
        Self { store, rules, words: HashMap::new() }
    }

    /// What the events say, in their order.
    pub(super) async fn tell(&mut self, events: &[EventRecord]) -> Result<Vec<Told>, StoreError> {
        self.learn(events).await?;
        let mut pairs: Vec<(i64, i64)> = events.iter().map(|event| (event.address, event.message)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let all = Position { transaction: i64::MAX, row: i32::MAX };
        let messages = self.store.events_of_messages(&pairs, all).await?;
        let mut by_message: HashMap<(i64, i64), Vec<&EventRecord>> = HashMap::new();
        for event in messages.iter().chain(events) {
            by_message.entry((event.address, event.message)).or_default().push(event);
        }
        Ok(events
            .iter()
            .map(|event| {
                let message = by_message.get(&(event.address, event.message)).map(Vec::as_slice);
                self.told(event, message.unwrap_or_default())
            })
            .collect())
    }

    fn told(&self, event: &EventRecord, message: &[&EventRecord]) -> Told {
        let word = |id: i32| self.words.get(&id).cloned().unwrap_or_default();
        let stream: StreamKey = serde_json::from_str(&word(event.stream)).unwrap_or_else(|_| StreamKey::fleet());
        let sent = send_time(message);
        let label = event.label.map(word);
        let reply = event.reply.map(|reply| {
            let template = word(reply.template);
            let context = ReplyContext { provider: stream.provider, destination: event.destination, mx: reply.mx };
            let rule = word(reply.rule);
            let verdict = self.rules.recall(&template, &context, label.as_deref(), (reply.cause, &rule));
            let (rule, version) = match rule.rsplit_once('@') {
                Some((name, version)) => (name.to_owned(), version.parse().ok()),
                None => (rule, None),
            };
            ToldReply {
                cause: reply.cause,
                verdict,
                rule,
                rule_version: version,
                confidence: reply.confidence,
                template,
                code: reply.code,
                enhanced: reply.enhanced.map(|e| format!("{}.{}.{}", e / 1_000_000, e / 1_000 % 1_000, e % 1_000)),
                mx: reply.mx,
            }
        });
        Told {
            at: event.key.at,
            feed: word(event.feed),
            kind: event.kind,
            class: event.class,
            stream,
            destination: event.destination,
            address: event.address,
            sent_at: sent.map(|sent| sent.at),
            sent_at_origin: sent.map(|sent| sent.origin),
            provider_verdict: label,
            reply,
        }
    }

    /// The name of a feed.
    pub(super) async fn feed(&mut self, number: i32) -> Result<String, StoreError> {
        if !self.words.contains_key(&number) {
            self.words.extend(self.store.words(&[number]).await?);
        }
        Ok(self.words.get(&number).cloned().unwrap_or_default())
    }

    async fn learn(&mut self, events: &[EventRecord]) -> Result<(), StoreError> {
        if self.words.len() > WORDS {
            self.words.clear();
        }
        let mut wanted: Vec<i32> = events
            .iter()
            .flat_map(|event| {
                let reply = event.reply.map(|reply| [reply.template, reply.rule]);
                [event.feed, event.stream].into_iter().chain(event.label).chain(reply.into_iter().flatten())
            })
            .filter(|id| !self.words.contains_key(id))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        if !wanted.is_empty() {
            self.words.extend(self.store.words(&wanted).await?);
        }
        Ok(())
    }
}
