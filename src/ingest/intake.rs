//! From a decoded report to the journal: classify, replace personal data by keyed hashes, commit.

use std::sync::Arc;

use base64::Engine as _;
use tokio::sync::Notify;

use crate::{
    classify::{Parties, Rules, context, destination, host_that_said, template_of},
    ingest::{
        KEPT_WHOLE_MILLIS, Kept, KeptKind, Report, SetAsideReason,
        committer::{CommitError, Committer},
        holds_address,
        kept::Retention,
        verdict_label,
    },
    metrics::Metrics,
    model::{
        Address, Cause, Destination, Event, EventKind, Exposure, LabelSays, Notice, Provider, RelayDomains, StreamKey,
        Timestamp, Verdict,
    },
    notify::forward,
    privacy::{Keyring, Purpose},
    store::{
        EntryKind, EventKey, NewControl, NewEntry, NewEvent, NewReply, NewSetAside, NewToken, Outcome, Recipient,
        Subject, Submission,
    },
};

/// The longest campaign name that is kept, in characters.
const MAX_CAMPAIGN: usize = 200;

/// What intake needs to know and that a reload may change.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// The reply rules.
    pub rules: Arc<Rules>,
    /// Which domains hold relay addresses.
    pub relay: RelayDomains,
    /// For how long what happened is kept; without it, what is older is taken as well.
    pub retention: Option<Retention>,
}

/// Where a report comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedName {
    /// `ses`, or `ses/eu`.
    pub name: String,
    /// What it tells of mail that did not bounce.
    pub exposure: Exposure,
}

/// Takes reports in.
#[derive(Debug, Clone)]
pub struct Intake {
    keyring: Arc<Keyring>,
    committer: Committer,
    metrics: Metrics,
    outbox: Option<Arc<Notify>>,
}

impl Intake {
    /// An intake that commits through `committer`.
    #[must_use]
    pub fn new(keyring: Arc<Keyring>, committer: Committer, metrics: Metrics) -> Self {
        Self { keyring, committer, metrics, outbox: None }
    }

    /// Rings this bell after a commit that brought something for the outbox.
    #[must_use]
    pub fn ringing(mut self, outbox: Arc<Notify>) -> Self {
        self.outbox = Some(outbox);
        self
    }

    /// Commits a report; when this returns, it is durable.
    ///
    /// # Errors
    /// Where the store does not take it: nothing of it is stored, and the provider shall send it again.
    pub async fn take(
        &self,
        feed: &FeedName,
        report: &Report,
        knowledge: &Knowledge,
        now: Timestamp,
    ) -> Result<Outcome, CommitError> {
        let (submission, verdicts) = self.judge(feed, report, knowledge, now);
        if submission.weight() == 1 && submission.token.is_none() {
            self.count(feed, report, &Verdicts::default());
            return Ok(Outcome::Committed);
        }
        let rings = !submission.outbox.is_empty();
        let outcome = self.committer.commit(submission).await;
        if matches!(outcome, Ok(Outcome::Committed)) {
            self.count(feed, report, &verdicts);
        }
        if rings && let Some(outbox) = &self.outbox {
            outbox.notify_one();
        }
        outcome
    }

    /// What a report becomes: a function of the report, the keys and the knowledge (`now` only dates what is set
    /// aside or passed on).
    #[must_use]
    pub fn prepare(&self, feed: &FeedName, report: &Report, knowledge: &Knowledge, now: Timestamp) -> Submission {
        prepare(&self.keyring, feed, report, knowledge, now)
    }

    fn judge(&self, feed: &FeedName, report: &Report, knowledge: &Knowledge, now: Timestamp) -> (Submission, Verdicts) {
        Hashing { keyring: &self.keyring }.judge(feed, report, knowledge, now)
    }

    /// Counts what is committed: what is sent again, since the store was away, counts once.
    fn count(&self, feed: &FeedName, report: &Report, verdicts: &Verdicts) {
        let name = feed.name.as_str();
        for kind in EventKind::ALL {
            let count = report.events.iter().filter(|event| event.kind == *kind).count() as u64;
            if count > 0 {
                self.metrics.feed_events.with_label_values(&[name, kind.as_str()]).inc_by(count);
            }
        }
        for notice in &report.notices {
            self.metrics.feed_notices.with_label_values(&[name, notice.kind.as_str()]).inc();
        }
        for cause in &verdicts.causes {
            self.metrics.replies.with_label_values(&[cause.as_str()]).inc();
        }
        for (provider, says, ours) in &verdicts.labels {
            let labels = [provider.as_str(), says.as_str(), ours];
            self.metrics.label_agreement.with_label_values(&labels).inc();
        }
        for kept in &report.kept {
            self.metrics.feed_kept.with_label_values(&[name, kept.kind.as_str()]).inc();
        }
        for part in &report.set_aside {
            self.metrics.feed_set_aside.with_label_values(&[name, part.reason.as_str()]).inc();
        }
        self.metrics.feed_ignored.with_label_values(&[name]).inc_by(report.ignored.len() as u64);
    }
}

/// What a report becomes, without an intake: a function of the report, the keys and the knowledge (`now` only dates what is
/// set aside or passed on).
#[must_use]
pub fn prepare(
    keyring: &Keyring,
    feed: &FeedName,
    report: &Report,
    knowledge: &Knowledge,
    now: Timestamp,
) -> Submission {
    Hashing { keyring }.judge(feed, report, knowledge, now).0
}

/// Puts keyed hashes in the place of personal data.
#[derive(Clone, Copy)]
struct Hashing<'a> {
    keyring: &'a Keyring,
}

impl Hashing<'_> {
    /// What a report becomes, and what was said of its replies.
    fn judge(self, feed: &FeedName, report: &Report, knowledge: &Knowledge, now: Timestamp) -> (Submission, Verdicts) {
        let mut submission = Submission { feed: feed.name.clone(), ..Submission::default() };
        let mut verdicts = Verdicts::default();
        for event in &report.events {
            if destination(Some(&event.recipient), &knowledge.relay) == Destination::Other {
                submission.control.push(self.control(event));
            } else {
                submission.events.push(self.event(feed, event, knowledge, &mut verdicts));
            }
        }
        submission.entries = report.notices.iter().map(|notice| self.notice(feed, notice, &knowledge.relay)).collect();
        submission.set_aside = report
            .set_aside
            .iter()
            .map(|part| NewSetAside {
                hash: self.keyring.hash(Purpose::Body, &[feed.name.as_bytes(), &part.body]),
                reason: part.reason,
                label: part.label.clone(),
                body: part.body.clone(),
                received_at: now,
                expires_at: now.plus_millis(part.kept_millis),
            })
            .collect();
        for kept in &report.kept {
            let (entry, part) = self.kept(feed, kept, now);
            submission.entries.push(entry);
            submission.set_aside.extend(part);
        }
        submission.token = report.token.as_ref().map(|token| NewToken {
            hash: self.keyring.hash(Purpose::Token, &[feed.name.as_bytes(), token.token.as_bytes()]),
            digest: token.body_digest,
            expires_at: token.expires_at,
        });
        submission.outbox =
            report.forward.iter().map(|body| forward::item(self.keyring, &feed.name, &body.0, now)).collect();
        (submission, verdicts)
    }

    fn key(self, event: &Event) -> EventKey {
        EventKey { at: event.at, hash: self.keyring.hash(Purpose::Event, &[event.dedupe.expose()]) }
    }

    fn recipient(self, address: &Address) -> Recipient {
        Recipient { hash: self.keyring.hash(Purpose::Address, &[address.key().as_bytes()]), address: address.clone() }
    }

    fn event(self, feed: &FeedName, event: &Event, knowledge: &Knowledge, verdicts: &mut Verdicts) -> NewEvent {
        let said = || host_that_said(&event.reply.as_ref()?.text);
        let host = event.remote_mta.as_deref().or_else(said);
        let context = context(Some(event.provider), Some(&event.recipient), host, &knowledge.relay);
        let recipient = self.recipient(&event.recipient);
        let key = self.key(event);
        // An event whose message nobody names is a message of its own.
        let message = event.message_id.as_ref().map_or(key.hash, |id| {
            let provider = event.provider.code().to_le_bytes();
            self.keyring.hash(Purpose::Message, &[&provider, id.as_bytes(), &recipient.hash])
        });
        let failed = matches!(
            event.kind,
            EventKind::Refused | EventKind::Deferred | EventKind::SuppressedByProvider | EventKind::Complained
        );
        let label = verdict_label(event.provider_verdict.as_deref(), Some(&event.recipient));
        let reply = event.reply.as_ref().filter(|_| failed).map(|reply| {
            let template = template_of(reply, &Parties::of(event, &knowledge.relay));
            let verdict = knowledge.rules.classify_labelled(&template, &context, label.as_deref());
            verdicts.note(event, &verdict);
            NewReply {
                template: template.into_string(),
                sample: reply.text.clone(),
                code: reply.code,
                enhanced: reply
                    .enhanced
                    .map(|e| i32::from(e.class) * 1_000_000 + i32::from(e.subject) * 1_000 + i32::from(e.detail)),
                mx: context.mx,
                cause: verdict.cause,
                rule: rule_word(&verdict),
                confidence: percent(&verdict),
            }
        });
        NewEvent {
            key,
            kind: event.kind,
            exposure: feed.exposure,
            class: event.failure_class(),
            destination: context.destination,
            stream: stream_of(event),
            recipient,
            message: i64::from_le_bytes(*message.first_chunk().unwrap_or(&[0; 8])),
            sent_at: event.sent_at,
            label,
            reply,
        }
    }

    fn control(self, event: &Event) -> NewControl {
        NewControl {
            key: self.key(event),
            kind: event.kind,
            stream: stream_of(event),
            sent_at: event.sent_at.unwrap_or(event.at),
        }
    }

    /// The journal's entry for what is kept whole, and the part that holds it. The entry names the part by its keyed hash.
    fn kept(self, feed: &FeedName, kept: &Kept, now: Timestamp) -> (NewEntry, Option<NewSetAside>) {
        let (kind, reason) = match kept.kind {
            KeptKind::DmarcReport => (EntryKind::DmarcReport, SetAsideReason::DmarcReport),
            KeptKind::RelayNotification => (EntryKind::RelayNotification, SetAsideReason::RelayNotification),
        };
        let part = kept.whole.as_ref().map(|whole| NewSetAside {
            hash: self.keyring.hash(Purpose::Body, &[b"kept", whole]),
            reason,
            label: kept.label.clone(),
            body: whole.clone(),
            received_at: now,
            expires_at: now.plus_millis(KEPT_WHOLE_MILLIS),
        });
        let mut body = serde_json::json!({ "feed": feed.name, "says": kept.says });
        if let Some(part) = &part {
            body["part"] = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(part.hash).into();
        }
        let key =
            EventKey { at: kept.at.unwrap_or(now), hash: self.keyring.hash(Purpose::Event, &[kept.dedupe.expose()]) };
        let address = kept.address.as_ref().map(|address| self.recipient(address));
        (NewEntry { key, kind, account: None, address, app: None, body }, part)
    }

    fn notice(self, feed: &FeedName, notice: &Notice, relay: &RelayDomains) -> NewEntry {
        // A mailbox that can't be a relay address is none of our business, unless Apple itself calls it private.
        let email = notice.email.as_ref().filter(|email| {
            notice.is_private_email == Some(true) || destination(Some(email), relay) != Destination::Other
        });
        let subject = Subject {
            hash: self.keyring.hash(Purpose::Subject, &[notice.team.as_bytes(), notice.subject.as_bytes()]),
            team: notice.team.clone(),
            subject: notice.subject.clone(),
        };
        NewEntry {
            key: EventKey { at: notice.at, hash: self.keyring.hash(Purpose::Event, &[notice.dedupe().expose()]) },
            kind: EntryKind::Notice,
            account: Some(subject),
            address: email.map(|email| self.recipient(email)),
            app: Some(notice.audience.clone()),
            body: serde_json::json!({
                "feed": feed.name,
                "kind": notice.kind,
                "app": notice.audience,
                "team": notice.team,
                "private": notice.is_private_email,
                "relay_domain": email.map(|email| destination(Some(email), relay) == Destination::Relay),
                "issued_at": notice.issued_at,
            }),
        }
    }
}

/// What was said of a report's replies, to be counted once it is committed.
#[derive(Default)]
struct Verdicts {
    causes: Vec<Cause>,
    /// Who reports a refusal, what its label says of the address, and what we say.
    labels: Vec<(Provider, LabelSays, &'static str)>,
}

impl Verdicts {
    fn note(&mut self, event: &Event, verdict: &Verdict) {
        self.causes.push(verdict.cause);
        // What is deferred is not given up: no label calls that an address dead.
        if event.kind == EventKind::Refused {
            let says = LabelSays::read(event.provider, event.provider_verdict.as_deref());
            let ours = match verdict.cause {
                Cause::Undetermined => "undetermined",
                _ if verdict.hard => "hard",
                _ => "not-hard",
            };
            self.labels.push((event.provider, says, ours));
        }
    }
}

/// The rule that decided, as it is stored: `file/name@version`.
#[must_use]
pub fn rule_word(verdict: &Verdict) -> String {
    format!("{}@{}", verdict.rule, verdict.version)
}

/// How sure a verdict is, as it is stored: in percent.
#[must_use]
pub fn percent(verdict: &Verdict) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100")]
    let percent = (verdict.confidence * 100.0).round().clamp(0.0, 100.0) as u8;
    percent
}

/// The shortest local part by which alone a person is known: no relay address has a shorter one, and shorter ones are words.
const MIN_LOCAL: usize = 6;
/// The shortest text that is looked into for base64.
const MIN_ENCODED: usize = 8;

/// Whether a text that is to be kept in the clear names the person: it holds an address, plain or escaped, or the address's
/// local part as a word, or its base64.
#[must_use]
pub fn names(text: &str, person: &Address) -> bool {
    if holds_address(text) {
        return true;
    }
    let (text, local) = (text.as_bytes(), person.local().as_bytes());
    // The local part as a word by itself, or before the domain as return paths have it.
    let found = text.windows(local.len()).enumerate().any(|(at, part)| {
        if !part.eq_ignore_ascii_case(local) {
            return false;
        }
        let rest = text.get(at + local.len()..).unwrap_or_default();
        let joined = rest.strip_prefix(b"=").and_then(|rest| rest.get(..person.domain().len()));
        let bounded = !at.checked_sub(1).and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric)
            && !rest.first().is_some_and(u8::is_ascii_alphanumeric);
        local.len() >= MIN_LOCAL && bounded
            || joined.is_some_and(|domain| domain.eq_ignore_ascii_case(person.domain().as_bytes()))
    });
    found || (text.len() >= MIN_ENCODED && text.iter().any(u8::is_ascii_uppercase) && encodes(text, person))
}

/// Whether a text holds the base64 of the address or of its local part.
fn encodes(text: &[u8], person: &Address) -> bool {
    let forms = [person.expose(), &person.key(), person.local()];
    forms.iter().filter(|form| form.len() >= MIN_LOCAL).any(|form| {
        let mut encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(form).into_bytes();
        // The last character also holds bits of whatever follows.
        encoded.pop();
        let same = |one: u8, other: u8| one == other || matches!((one, other), (b'+', b'-') | (b'/', b'_'));
        text.windows(encoded.len()).any(|part| encoded.iter().zip(part).all(|(one, other)| same(*one, *other)))
    })
}

/// The finest stream of an event. A campaign is cut to a sane length; a part that names the recipient is dropped, since
/// streams outlive people.
fn stream_of(event: &Event) -> StreamKey {
    let nameless = |part: &String| !part.is_empty() && !names(part, &event.recipient);
    let envelope = event.envelope_domain.clone();
    StreamKey::finest(
        event.provider,
        event.from_domain.clone().filter(nameless),
        envelope.or_else(|| event.envelope_sender.as_ref().map(|a| a.domain().to_owned())).filter(nameless),
        event
            .campaign
            .as_ref()
            .map(|name| name.trim().to_owned())
            .filter(nameless)
            .map(|name| name.chars().take(MAX_CAMPAIGN).collect()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_compared_with_its_label() {
        let event = |kind, label: Option<&str>| Event {
            provider: Provider::Ses,
            kind,
            at: Timestamp::from_seconds(1),
            sent_at: None,
            dedupe: crate::model::DedupeMaterial::new(Provider::Ses, &["1"]),
            message_id: None,
            recipient: Address::parse("qx7zhzkndneko@privaterelay.appleid.com").expect("an address"),
            from_domain: None,
            envelope_sender: None,
            envelope_domain: None,
            campaign: None,
            reply: None,
            remote_mta: None,
            provider_verdict: label.map(ToOwned::to_owned),
            provider_class: crate::model::FailureClass::Unknown,
        };
        let rules = Rules::built_in().expect("rules");
        let relay = crate::model::ReplyContext { destination: Destination::Relay, ..Default::default() };
        let verdict = |template: &str| rules.classify(template, &relay);
        let mut verdicts = Verdicts::default();
        let refused = EventKind::Refused;
        verdicts.note(&event(refused, Some("Permanent/General")), &verdict("550 5.1.1 <{recipient}>: user not found"));
        verdicts
            .note(&event(refused, Some("Permanent/General")), &verdict("550 5.1.1 <{sender}>: unauthorized sender"));
        verdicts.note(&event(refused, Some("Transient/General")), &verdict("frobnicated"));
        verdicts.note(&event(refused, None), &verdict("frobnicated"));
        verdicts.note(&event(EventKind::Deferred, Some("Transient/General")), &verdict("frobnicated"));
        let compared: Vec<(&str, &str)> =
            verdicts.labels.iter().map(|(_, says, ours)| (says.as_str(), *ours)).collect();
        assert_eq!(
            compared,
            [("hard", "hard"), ("hard", "not-hard"), ("soft", "undetermined"), ("none", "undetermined")],
            "what is deferred is not compared"
        );
        assert_eq!(verdicts.causes.len(), 5);
    }

    #[test]
    fn a_text_that_names_the_recipient_is_known_by_it() {
        let person = Address::parse("Qx7zhzkndneko@privaterelay.appleid.com").expect("an address");
        for text in [
            "spring-qx7zhzkndneko",
            "for Qx7Zhzkndneko!",
            "somebody@example.com",
            "somebody%40example.com",
            "b+qx7zhzkndneko=privaterelay.appleid.com",
            "cXg3emh6a25kbmVrb0Bwcml2YXRlcmVsYXkuYXBwbGVpZC5jb20",
            "x.UXg3emh6a25kbmVrb0Bwcml2YXRlcmVsYXkuYXBwbGVpZC5jb20=",
        ] {
            assert!(names(text, &person), "{text}");
        }
        for text in ["Spring 2026", "qx7", "xqx7zhzkndnekox", "privaterelay.appleid.com", ""] {
            assert!(!names(text, &person), "{text}");
        }
        let short = Address::parse("info@icloud.com").expect("an address");
        assert!(!names("info", &short), "a word is no name");
    }
}
