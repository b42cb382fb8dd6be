//! What is said of a mail, for people and for machines.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::Options;
use crate::{
    classify::{Parties, context, host_that_said, template_of},
    cli::{
        text::{Safe, count},
        told::VerdictFields,
    },
    ingest::{
        Report, SetAsideReason,
        mail::{
            AbuseFields, AbuseReport, AggregateReport, DeliveryAction, DeliveryReport, Envelope, Original,
            RecipientReport, RelayNotification, RobotAnswer, RobotKind, StatusOrigin, Understood, breaks_off,
            by_sender, delivered_to, derived_status, outcome, report,
        },
    },
    model::{
        Action, Address, Cause, EnhancedCode, Event, EventKind, FailureClass, Provider, Reply, Timestamp, Verdict,
    },
};

/// Lines of a bare reply.
const MAX_REPLY_LINES: usize = 30;

/// A mail, told.
pub(super) struct Told<'a> {
    kind: &'static str,
    mail: Option<&'a Understood>,
    recipients: Vec<ToldRecipient>,
    /// What the journal gets of a complaint or of a request to unsubscribe; of a delivery report each recipient has its own.
    journal: Report,
    /// Whether the mail breaks off.
    cut: bool,
}

/// One recipient, with the verdict of the reply.
struct ToldRecipient {
    report: RecipientReport,
    /// The recipient that the envelope sender carries, where it is another.
    by_sender: Option<(Address, bool)>,
    /// What the journal gets of it; nothing of a reply without its mail.
    journal: Option<Result<Option<Event>, SetAsideReason>>,
    status: Option<(EnhancedCode, &'static str)>,
    judged: Option<(Verdict, String)>,
}

/// The line of a machine. The names of the fields are stable; fields may be added.
#[derive(Serialize)]
struct Line<'a> {
    recipient: Option<&'a str>,
    final_recipient: Option<&'a str>,
    recipient_by_sender: Option<&'a str>,
    /// How sure that is: `certain` or `likely`.
    recipient_by_sender_is: Option<&'static str>,
    outcome: DeliveryAction,
    status: Option<String>,
    /// `reported` or `derived`.
    status_origin: Option<&'static str>,
    code: Option<u16>,
    enhanced: Option<String>,
    reply: Option<&'a str>,
    diagnostic_type: Option<&'a str>,
    remote_mta: Option<&'a str>,
    last_attempt_at: Option<String>,
    retry_until: Option<String>,
    /// The kind of the event that the journal gets.
    event: Option<EventKind>,
    event_at: Option<String>,
    /// Why it gets none.
    set_aside: Option<SetAsideReason>,
    #[serde(flatten)]
    verdict: VerdictFields<'a>,
    family: Option<crate::model::CauseFamily>,
}

impl<'a> Told<'a> {
    pub(super) fn of(mail: &'a Understood, raw: &[u8], options: &Options<'_>) -> Self {
        // As an import of the same mail has it.
        let to = delivered_to(raw);
        let envelope = Envelope { rcpt_to: to.as_ref(), received_at: options.now };
        let recipients = match mail {
            Understood::Delivery(report) => {
                report.recipients.iter().map(|one| ToldRecipient::of(report, one, &envelope, options)).collect()
            }
            _ => Vec::new(),
        };
        let journal = match mail {
            Understood::Abuse(_) | Understood::Robot(_) => report(mail, raw, &envelope),
            _ => Report::default(),
        };
        Self { kind: mail.kind(), mail: Some(mail), recipients, journal, cut: breaks_off(raw) }
    }

    /// A reply without its mail.
    pub(super) fn of_reply(reply: Reply, options: &Options<'_>) -> Self {
        let action = match reply.class() {
            FailureClass::Transient => DeliveryAction::Delayed,
            _ => DeliveryAction::Failed,
        };
        let report = RecipientReport {
            recipient: None,
            final_recipient: None,
            action,
            status: reply.enhanced.map(|code| (code, StatusOrigin::Reply)),
            remote_mta: host_that_said(&reply.text).map(str::to_owned),
            reply: Some(reply),
            diagnostic_type: None,
            last_attempt: None,
            retry_until: None,
        };
        Self {
            kind: "reply",
            mail: None,
            recipients: vec![ToldRecipient::judge(report, None, None, options)],
            journal: Report::default(),
            cut: false,
        }
    }

    pub(super) fn json(&self) -> serde_json::Result<Value> {
        let mut told = json!({ "kind": self.kind, "breaks_off": self.cut });
        let more = match self.mail {
            Some(Understood::Delivery(report)) => json!({
                "read_by": report.read_by,
                "reporting_mta": report.reporting_mta,
                "reported_at": shown(report.date),
                "arrived_at": shown(report.arrival),
                "envelope_id": report.envelope_id,
                "message": message(&report.original),
            }),
            Some(Understood::Abuse(report)) => json!({
                "feedback_type": report.feedback_type,
                "standard": report.standard,
                "reported_at": shown(report.date),
                "complained": self.journal.events.iter().map(|event| event.recipient.expose()).collect::<Vec<_>>(),
                "sender": report.sender.as_ref().map(Address::expose),
                "fields": abuse_fields(&report.fields)?,
                "events": events(&self.journal),
                "set_aside": self.journal.set_aside.first().map(|part| part.reason),
                "message": message(&report.original),
            }),
            Some(Understood::Aggregate(report)) => json!({
                "domain": report.domain,
                "submitter": report.submitter,
                "report_id": report.report_id,
                "reported_at": shown(report.date),
                "attachments": report.attachments.iter().map(|one| json!({
                    "name": one.name, "media_type": one.media_type, "bytes": one.bytes.len(),
                })).collect::<Vec<_>>(),
                "attachments_left_out": report.cut,
            }),
            Some(Understood::Relay(notification)) => json!({
                "says": notification.says,
                "domains": notification.domains,
                "addresses": notification.addresses.iter().map(Address::expose).collect::<Vec<_>>(),
                "reported_at": shown(notification.date),
                "authenticated": notification.authenticated,
            }),
            Some(Understood::Robot(answer)) => json!({
                "from": answer.from.as_ref().map(Address::expose),
                "reported_at": shown(answer.date),
                "in_reply_to": answer.in_reply_to,
                "events": events(&self.journal),
                "set_aside": self.journal.set_aside.first().map(|part| part.reason),
            }),
            _ => Value::Null,
        };
        let recipients: serde_json::Result<Vec<Value>> =
            self.recipients.iter().map(|one| serde_json::to_value(one.line())).collect();
        if let Some(fields) = told.as_object_mut() {
            if let Value::Object(more) = more {
                fields.extend(more);
            }
            fields.insert("recipients".to_owned(), recipients?.into());
        }
        Ok(told)
    }

    pub(super) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        match self.mail {
            Some(Understood::Delivery(report)) => delivery(report, out)?,
            Some(Understood::Abuse(report)) => abuse(report, &self.journal, out)?,
            Some(Understood::Aggregate(report)) => aggregate(report, out)?,
            Some(Understood::Relay(notification)) => relay(notification, out)?,
            Some(Understood::Robot(answer)) => robot(answer, out)?,
            Some(_) => writeln!(
                out,
                "other: no delivery report, complaint, aggregate report, notification of Apple's or robot's answer.\n\
                 If it is a bounce, relaywatch does not know this kind: `relaywatch classify` judges the reply that it quotes."
            )?,
            None => writeln!(out, "reply: one SMTP reply, without its mail")?,
        }
        for event in &self.journal.events {
            writeln!(out, "journal: {}, {}", event.kind, event.at)?;
        }
        for part in &self.journal.set_aside {
            writeln!(out, "journal: no event: set aside, {}", part.reason)?;
        }
        if self.cut {
            writeln!(
                out,
                "the mail breaks off: its end is missing, and what stood there with it; this is what could be read"
            )?;
        }
        for (number, one) in self.recipients.iter().enumerate() {
            one.text(number + 1, out)?;
        }
        Ok(())
    }
}

impl ToldRecipient {
    fn of(report: &DeliveryReport, one: &RecipientReport, envelope: &Envelope<'_>, options: &Options<'_>) -> Self {
        let journal = outcome(report, one, envelope);
        let event = journal.as_ref().ok().and_then(Option::as_ref);
        let other = |address: &Address| one.recipient.as_ref().is_none_or(|named| named.key() != address.key());
        let carried = by_sender(report, one, envelope)
            .filter(|(address, _)| other(address) && event.is_some_and(|event| event.recipient.key() == address.key()));
        let mut told = Self::judge(one.clone(), carried, Some(&report.original), options);
        // What the journal gets is judged as it will be there.
        if let Some(event) = event
            && let Some((judged, reply)) = told.judged.as_mut().zip(event.reply.as_ref())
        {
            let template = template_of(reply, &Parties::of(event, options.relay));
            let host = event.remote_mta.as_deref().or_else(|| host_that_said(&reply.text));
            let context = context(Some(event.provider), Some(&event.recipient), host, options.relay);
            *judged = (options.rules.classify(&template, &context), template.into_string());
        }
        told.journal = Some(journal);
        told
    }

    fn judge(
        report: RecipientReport,
        by_sender: Option<(Address, bool)>,
        original: Option<&Original>,
        options: &Options<'_>,
    ) -> Self {
        let failed = matches!(report.action, DeliveryAction::Failed | DeliveryAction::Delayed);
        let recipient = by_sender.as_ref().map(|(address, _)| address).or(report.recipient.as_ref());
        let status = report.status.map(|(code, _)| code);
        let reply = report.reply.clone().map(|reply| Reply { enhanced: reply.enhanced.or(status), ..reply });
        let reply = reply.or_else(|| status.map(|code| Reply { enhanced: Some(code), ..Reply::default() }));
        let judged = reply.as_ref().filter(|_| failed).map(|reply| {
            let parties = Parties {
                recipient,
                envelope_sender: original.and_then(|original| original.return_path.as_ref()),
                header_from: original.and_then(|original| original.from.as_ref()),
                from_domain: original.and_then(|original| original.from_domain.as_deref()),
                ..Parties::unknown(options.relay)
            };
            let template = template_of(reply, &parties);
            let provider = original.map(|_| Provider::Mail);
            let context = context(provider, recipient, report.remote_mta.as_deref(), options.relay);
            (options.rules.classify(&template, &context), template.into_string())
        });
        let class = match report.action {
            DeliveryAction::Delayed => FailureClass::Transient,
            _ => report.class(),
        };
        let derived = || {
            let (verdict, _) = judged.as_ref()?;
            Some((derived_status(verdict.cause, class)?, "derived"))
        };
        let status = status.map(|code| (code, "reported")).or_else(derived);
        Self { report, by_sender, journal: None, status, judged }
    }

    fn line(&self) -> Line<'_> {
        let Self { report, by_sender, journal, status, judged } = self;
        let reply = report.reply.as_ref();
        let event = journal.as_ref().and_then(|journal| journal.as_ref().ok()?.as_ref());
        Line {
            recipient: report.recipient.as_ref().map(Address::expose),
            final_recipient: report.final_recipient.as_ref().map(Address::expose),
            recipient_by_sender: by_sender.as_ref().map(|(address, _)| address.expose()),
            recipient_by_sender_is: by_sender.as_ref().map(|(_, certain)| sure(*certain)),
            outcome: report.action,
            status: status.map(|(code, _)| code.to_string()),
            status_origin: status.map(|(_, origin)| origin),
            code: reply.and_then(|reply| reply.code),
            enhanced: reply.and_then(|reply| reply.enhanced).map(|code| code.to_string()),
            reply: reply.map(|reply| reply.text.as_str()),
            diagnostic_type: report.diagnostic_type.as_deref(),
            remote_mta: report.remote_mta.as_deref(),
            last_attempt_at: shown(report.last_attempt),
            retry_until: shown(report.retry_until),
            event: event.map(|event| event.kind),
            event_at: event.map(|event| event.at.to_string()),
            set_aside: journal.as_ref().and_then(|journal| journal.as_ref().err().copied()),
            verdict: judged.as_ref().map_or_else(VerdictFields::default, |(verdict, template)| VerdictFields {
                cause: Some(verdict.cause),
                fault: Some(verdict.fault),
                action: Some(verdict.action),
                hard: Some(verdict.hard),
                confidence: Some((f64::from(verdict.confidence) * 100.0).round() / 100.0),
                rule: Some(&verdict.rule),
                rule_version: Some(verdict.version),
                evidence: Some(&verdict.evidence),
                delay: verdict.delay,
                template: Some(template),
            }),
            family: judged.as_ref().map(|(verdict, _)| verdict.cause.family()),
        }
    }

    fn text(&self, number: usize, out: &mut impl Write) -> io::Result<()> {
        let Self { report, by_sender, journal, status, judged } = self;
        let name = report.recipient.as_ref().map_or("a recipient whom nobody names", Address::expose);
        writeln!(out, "\n{number}. {}: {}", Safe(name), report.action)?;
        let mut row = |word: &str, text: &str| writeln!(out, "   {word:<12}{text}");
        if let Some(address) = &report.final_recipient {
            row("went on to", &Safe(address.expose()).to_string())?;
        }
        if let Some((address, certain)) = by_sender {
            let sure = sure(*certain);
            row("sent to", &format!("{}, by the envelope sender ({sure})", Safe(address.expose())))?;
        }
        if let Some(reply) = &report.reply {
            row("reply", &Safe(&reply.text).to_string())?;
        }
        if let Some(code) = report.reply.as_ref().and_then(|reply| reply.code) {
            row("code", &code.to_string())?;
        }
        match status {
            Some((code, "derived")) => row("status", &format!("{code}, derived from the cause: nobody gave one"))?,
            Some((code, origin)) => row("status", &format!("{code}, {origin}"))?,
            None if judged.is_some() => row("status", "none was given, and none follows from the cause")?,
            None => {}
        }
        if let Some(host) = &report.remote_mta {
            row("said by", &Safe(host).to_string())?;
        }
        if let Some(at) = report.last_attempt {
            row("last try", &at.to_string())?;
        }
        if let Some(at) = report.retry_until {
            row("tries until", &at.to_string())?;
        }
        if let Some((verdict, _)) = judged {
            let Verdict { cause, fault, action, hard, confidence, rule, version, evidence, delay } = verdict;
            let (family, sure) = (cause.family(), confidence * 100.0);
            if *cause == Cause::Undetermined {
                row(
                    "cause",
                    "not known: what the reply says is the same for several causes, or no rule knows its words",
                )?;
            } else {
                let by = Safe(rule);
                row("cause", &format!("{cause} ({family}), fault: {fault}; {sure:.0} % by {by}@{version}"))?;
            }
            row("action", &format!("{action}: {}", advice(*action, *hard, *delay)))?;
            for one in evidence {
                row("evidence", &format!("{}: {}", one.kind, Safe(&one.detail)))?;
            }
        } else if matches!(report.action, DeliveryAction::Failed | DeliveryAction::Delayed) {
            row("cause", "none can be told: the mail holds neither a reply nor a status")?;
        }
        match journal {
            Some(Ok(Some(event))) => row("journal", &format!("{}, {}", event.kind, event.at))?,
            Some(Ok(None)) => row("journal", "nothing: others tell what became of it")?,
            Some(Err(reason)) => row("journal", &format!("no event: set aside, {reason}"))?,
            None => {}
        }
        Ok(())
    }
}

/// How sure it is whom an envelope sender carries.
const fn sure(certain: bool) -> &'static str {
    if certain { "certain" } else { "likely" }
}

/// What an action means for the address.
fn advice(action: Action, hard: bool, delay: Option<u32>) -> String {
    match action {
        Action::Suppress if hard => "the address itself is dead by this reply; one alone suppresses nobody".to_owned(),
        Action::Suppress => "send no more to it; one reply alone suppresses nobody".to_owned(),
        Action::Keep => "go on sending to it".to_owned(),
        Action::Hold => "do not suppress it; wait until the cause is known".to_owned(),
        Action::FixSender => "do not suppress it; the sender has something to mend".to_owned(),
        Action::Retry => match delay {
            Some(seconds) if seconds >= 7_200 => {
                format!("do not suppress it; try again in {} hours", seconds.div_ceil(3_600))
            }
            Some(seconds) => format!("do not suppress it; try again in {} minutes", seconds.div_ceil(60)),
            None => "do not suppress it; try again later".to_owned(),
        },
    }
}

/// The events that the journal gets of a mail.
fn events(journal: &Report) -> Vec<Value> {
    let told = journal.events.iter().map(
        |event| json!({ "event": event.kind, "event_at": event.at.to_string(), "recipient": event.recipient.expose() }),
    );
    told.collect()
}

/// The fields of an abuse report as everything else here is written: times by RFC 3339, ids and addresses without the brackets of
/// their fields, what is absent as null.
fn abuse_fields(fields: &AbuseFields) -> serde_json::Result<Value> {
    let mut told = serde_json::to_value(fields)?;
    let Some(all) = told.as_object_mut() else { return Ok(told) };
    for name in ["original_envelope_id", "original_mail_from", "original_rcpt_to", "dkim_identity"] {
        let bare = all.get(name).and_then(Value::as_str).map(|text| {
            text.trim().strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text).to_owned()
        });
        all.insert(name.to_owned(), bare.into());
    }
    all.insert("arrival_date".to_owned(), shown(fields.arrival_date.map(Timestamp::from_seconds)).into());
    all.insert("source_port".to_owned(), Some(fields.source_port).filter(|port| *port != 0).into());
    Ok(told)
}

fn shown(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn message(original: &Original) -> Value {
    json!({
        "message_id": original.message_id,
        "from": original.from.as_ref().map(Address::expose),
        "from_domain": original.from_domain,
        "return_path": original.return_path.as_ref().map(Address::expose),
        "sent_at": shown(original.date),
        "campaign": original.campaign,
    })
}

fn about(original: &Original, out: &mut impl Write) -> io::Result<()> {
    let Original { message_id, from, from_domain, return_path, date, campaign, .. } = original;
    let mut parts = Vec::new();
    if let Some(id) = message_id {
        parts.push(format!("<{id}>"));
    }
    if let Some(from) = from.as_ref().map(Address::expose).or(from_domain.as_deref()) {
        parts.push(format!("from {from}"));
    }
    if let Some(path) = return_path {
        parts.push(format!("return path {}", path.expose()));
    }
    if let Some(date) = date {
        parts.push(format!("sent {date}"));
    }
    if let Some(campaign) = campaign {
        parts.push(format!("campaign {campaign}"));
    }
    let told = if parts.is_empty() { "its header did not come back".to_owned() } else { parts.join(", ") };
    writeln!(out, "message: {}", Safe(&told))
}

fn delivery(report: &DeliveryReport, out: &mut impl Write) -> io::Result<()> {
    use crate::ingest::mail::ReadBy;
    let read = match report.read_by {
        ReadBy::DeliveryStatus => "its fields (RFC 3464)",
        ReadBy::FailedRecipients => "X-Failed-Recipients and its text",
        ReadBy::Headings => "its text: addresses that head what is said of them",
        ReadBy::Transcript => "its text: a transcript of the session",
        ReadBy::Sentence => "its text: a sentence that names the recipient",
        ReadBy::ReturnedMessage => "the message that came back, and its text",
        ReadBy::SesNotification => "a notification of Amazon SES's",
    };
    write!(out, "delivery report, read from {read}")?;
    if let Some(host) = &report.reporting_mta {
        write!(out, "; reported by {}", Safe(host))?;
    }
    if let Some(date) = report.date {
        write!(out, ", {date}")?;
    }
    writeln!(out)?;
    about(&report.original, out)?;
    if report.recipients.len() > 1 {
        writeln!(out, "{}", count(report.recipients.len() as u64, "recipient"))?;
    }
    Ok(())
}

fn abuse(report: &AbuseReport, journal: &Report, out: &mut impl Write) -> io::Result<()> {
    let form = if report.standard { "RFC 5965" } else { "in a provider's own form" };
    write!(out, "abuse report: {} ({form})", report.feedback_type)?;
    if let Some(agent) = &report.fields.user_agent {
        write!(out, ", by {}", Safe(agent))?;
    }
    writeln!(out)?;
    about(&report.original, out)?;
    match journal.events.as_slice() {
        [] => writeln!(out, "complained: not told"),
        all => {
            let all: Vec<String> = all.iter().map(|event| Safe(event.recipient.expose()).to_string()).collect();
            writeln!(out, "complained: {}", all.join(", "))
        }
    }
}

fn aggregate(report: &AggregateReport, out: &mut impl Write) -> io::Result<()> {
    let or_unknown = |text: &Option<String>| Safe(text.as_deref().unwrap_or("unknown")).to_string();
    writeln!(out, "DMARC aggregate report about {}, by {}", or_unknown(&report.domain), or_unknown(&report.submitter))?;
    writeln!(out, "report id: {}", or_unknown(&report.report_id))?;
    for one in &report.attachments {
        writeln!(out, "attached: {} ({}, {} bytes)", or_unknown(&one.name), Safe(&one.media_type), one.bytes.len())?;
    }
    if report.cut {
        writeln!(out, "attachments were left out: there are more, or larger ones, than a report may have")?;
    }
    Ok(())
}

fn relay(notification: &RelayNotification, out: &mut impl Write) -> io::Result<()> {
    let says = notification.says.says();
    writeln!(out, "notification of Apple's about the private relay: {says}")?;
    let names: Vec<String> = notification.domains.iter().map(|domain| Safe(domain).to_string()).collect();
    writeln!(out, "names: {}", if names.is_empty() { "nobody".to_owned() } else { names.join(", ") })?;
    for address in &notification.addresses {
        writeln!(out, "address: {}", Safe(address.expose()))?;
    }
    let proof = if notification.authenticated {
        "one's own mail server found that it is Apple's"
    } else {
        "nothing in it shows that Apple sent it: anyone can write such a From"
    };
    writeln!(out, "{proof}")
}

fn robot(answer: &RobotAnswer, out: &mut impl Write) -> io::Result<()> {
    let kind = match answer.kind {
        RobotKind::AutoReply => "auto-reply: an answer by a robot, no outcome of the message",
        RobotKind::Challenge => {
            "challenge: its robot wants the sender to prove that it is a person; no outcome of the message"
        }
        RobotKind::Unsubscribe => "request to unsubscribe",
        RobotKind::ReadReceipt => "read receipt: the message was shown, which says nothing new of its delivery",
    };
    writeln!(out, "{kind}")?;
    if let Some(from) = &answer.from {
        writeln!(out, "from: {}", Safe(from.expose()))?;
    }
    Ok(())
}

/// A reply without a mail: a short text that begins with a code, or that a log puts behind `said:`.
pub(super) fn bare_reply(text: &str) -> Option<Reply> {
    let text = text.trim();
    if text.lines().count() > MAX_REPLY_LINES || text.contains('\0') {
        return None;
    }
    let reply = Reply::parse(text);
    (reply.code.is_some() || reply.enhanced.is_some()).then_some(reply)
}
