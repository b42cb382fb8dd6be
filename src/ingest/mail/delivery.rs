//! Delivery reports: the fields of RFC 3464 where they are, the text of the notice where they are not.
//!
//! A report's own fields are read first. What they leave open (an OpenSMTPD report has `Status: 5.0.0` and nothing else) is looked
//! up in the text beside them, by the recipient's name. The codes that the receiving side said count for more than the `Status`
//! that the reporter made of them, unless they say less (`5.0.0`).

use super::{
    MAX_NAME_BYTES, MAX_RECIPIENTS, codes,
    fields::{self, Fields, clean},
    notice::{self, Habit},
    original::Original,
    parts::Mail,
};
use crate::model::{Address, EnhancedCode, FailureClass, Reply, Timestamp, words};

words! {
    /// What became of the message for one recipient (RFC 3464 section 2.3.3).
    pub enum DeliveryAction {
        /// Given up, or refused.
        Failed = 1, "failed";
        /// Not yet delivered; tries go on.
        Delayed = 2, "delayed";
        /// Delivered.
        Delivered = 3, "delivered";
        /// Handed to a system that reports no success.
        Relayed = 4, "relayed";
        /// Delivered to more than one address in its place.
        Expanded = 5, "expanded";
    }
}

words! {
    /// How a report was read.
    pub enum ReadBy {
        /// From the fields of RFC 3464.
        DeliveryStatus = 1, "delivery-status";
        /// From Exim's X-Failed-Recipients, and the text.
        FailedRecipients = 2, "failed-recipients";
        /// From addresses that head paragraphs of the text.
        Headings = 3, "headings";
        /// From a transcript of the SMTP session in the text.
        Transcript = 4, "transcript";
        /// From a sentence of the text that names the recipient.
        Sentence = 5, "sentence";
        /// The recipient from the message that came back, the reply from the text.
        ReturnedMessage = 6, "returned-message";
        /// From a notification of Amazon SES's that came by mail.
        SesNotification = 7, "ses-notification";
    }
}

words! {
    /// Where a status comes from.
    pub enum StatusOrigin {
        /// From the codes of the reply.
        Reply = 1, "reply";
        /// From the `Status` field of the report.
        Field = 2, "field";
    }
}

/// A delivery report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// How it was read.
    pub read_by: ReadBy,
    /// Who reports.
    pub reporting_mta: Option<String>,
    /// When the message came to whoever reports.
    pub arrival: Option<Timestamp>,
    /// The envelope id that the sender gave (RFC 3461 ENVID).
    pub envelope_id: Option<String>,
    /// The report's own date.
    pub date: Option<Timestamp>,
    /// To whom the report went: the To header, which may carry the recipient (VERP).
    pub to: Option<Address>,
    /// One for each recipient, at most 1,000.
    pub recipients: Vec<RecipientReport>,
    /// Whether recipients were left out, since there are more than 1,000.
    pub cut: bool,
    /// The message that it is about.
    pub original: Original,
}

/// What a report says of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientReport {
    /// The address that the sender named, where it's told; else the final one.
    pub recipient: Option<Address>,
    /// The final address, where it differs: somebody forwards.
    pub final_recipient: Option<Address>,
    /// What became of it.
    pub action: DeliveryAction,
    /// The status, and where it comes from; `None` where nobody gave one.
    pub status: Option<(EnhancedCode, StatusOrigin)>,
    /// What the receiving side said; its codes are those that were found in its text.
    pub reply: Option<Reply>,
    /// The type of the diagnostic (`smtp`, `x-postfix`), in lower case.
    pub diagnostic_type: Option<String>,
    /// The host that said it.
    pub remote_mta: Option<String>,
    /// The last try.
    pub last_attempt: Option<Timestamp>,
    /// Until when tries go on.
    pub retry_until: Option<Timestamp>,
}

impl RecipientReport {
    pub(super) fn of(recipient: Option<Address>, action: DeliveryAction) -> Self {
        Self {
            recipient,
            final_recipient: None,
            action,
            status: None,
            reply: None,
            diagnostic_type: None,
            remote_mta: None,
            last_attempt: None,
            retry_until: None,
        }
    }

    /// Takes what was said, with the status of a field beside it.
    pub(super) fn say(&mut self, text: Option<&str>, field: Option<EnhancedCode>) {
        let reply = text.map(codes::read).filter(|reply| !reply.text.is_empty());
        let said = reply.as_ref().and_then(|reply| reply.enhanced).map(|code| (code, StatusOrigin::Reply));
        let field = field.map(|code| (code, StatusOrigin::Field));
        let tells = |status: &Option<(EnhancedCode, StatusOrigin)>| {
            status.is_some_and(|(code, _)| code.subject != 0 || code.detail != 0)
        };
        self.status = if tells(&said) || !tells(&field) { said.or(field) } else { field };
        self.reply = reply;
    }

    /// Whether what is known is final, passing, or nothing.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        let said = self.reply.as_ref().map_or(FailureClass::Unknown, Reply::class);
        match (said, self.status) {
            (FailureClass::Unknown, Some((code, _))) => Reply { enhanced: Some(code), ..Reply::default() }.class(),
            (class, _) => class,
        }
    }
}

/// Reads a report, where the mail is one.
pub(super) fn read(mail: &Mail) -> Option<DeliveryReport> {
    let (text, returned) = notice::split(&mail.notice);
    let mut groups: Vec<Fields> = mail.statuses.iter().flat_map(|status| Fields::groups(status)).collect();
    if !groups.iter().any(is_recipient) {
        groups = Fields::groups(&mail.notice)
            .into_iter()
            .filter(|group| is_recipient(group) || group.has("reporting-mta"))
            .collect();
    }
    let original = mail.original.as_ref().or(returned.as_ref());
    let mut report = DeliveryReport {
        read_by: ReadBy::DeliveryStatus,
        reporting_mta: None,
        arrival: None,
        envelope_id: None,
        date: mail.header.date(&["date"]),
        to: mail.header.get("to").and_then(|to| Address::parse(to).ok()),
        recipients: Vec::new(),
        cut: groups.len() >= fields::MAX_GROUPS,
        original: original.map(Original::read).unwrap_or_default(),
    };
    for group in groups.iter().filter(|group| !is_recipient(group)) {
        report.reporting_mta =
            report.reporting_mta.take().or_else(|| group.get("reporting-mta").and_then(fields::host));
        report.arrival = report.arrival.or_else(|| group.date(&["arrival-date"]));
        report.envelope_id = report.envelope_id.take().or_else(|| {
            group.get("original-envelope-id").map(|id| clean(&fields::from_xtext(id), super::MAX_ID_BYTES))
        });
    }
    let mut recipients: Vec<&Fields> = groups.iter().filter(|group| is_recipient(group)).collect();
    report.cut |= recipients.len() > MAX_RECIPIENTS;
    recipients.truncate(MAX_RECIPIENTS);
    if recipients.is_empty() {
        return from_text(mail, &text, report);
    }
    report.recipients = recipients.iter().map(|group| from_group(group)).collect();
    // A group can lack the per-message fields before it, and then carries them itself.
    if let Some(first) = recipients.first() {
        report.reporting_mta =
            report.reporting_mta.take().or_else(|| first.get("reporting-mta").and_then(fields::host));
        report.arrival = report.arrival.or_else(|| first.date(&["arrival-date"]));
    }
    complete(&mut report, &text);
    Some(report)
}

fn is_recipient(group: &Fields) -> bool {
    group.has("final-recipient") || (group.has("original-recipient") && (group.has("action") || group.has("status")))
}

/// One per-recipient group (RFC 3464 section 2.3).
fn from_group(group: &Fields) -> RecipientReport {
    let last = group.get("final-recipient").and_then(fields::address);
    let first = group.get("original-recipient").and_then(fields::address);
    let field = group.get("status").and_then(status);
    let action = group.get("action").and_then(action).unwrap_or(match field.map(|code| code.class) {
        Some(2) => DeliveryAction::Delivered,
        _ => DeliveryAction::Failed,
    });
    let mut report = RecipientReport::of(first.clone().or_else(|| last.clone()), action);
    report.final_recipient = last.filter(|last| first.is_some_and(|first| first.key() != last.key()));
    let diagnostic = group.get("diagnostic-code").map(fields::typed);
    report.diagnostic_type = diagnostic.as_ref().and_then(|(kind, _)| kind.clone());
    report.say(diagnostic.map(|(_, text)| text), field);
    if report.diagnostic_type.as_deref() == Some("x-unix") {
        // The number is the exit code of a program (Sendmail, Postfix' pipe).
        report.status = field.map(|code| (code, StatusOrigin::Field));
        report.reply = report.reply.map(|reply| Reply { code: None, enhanced: None, ..reply });
    }
    report.remote_mta = group.get("remote-mta").and_then(fields::host);
    report.last_attempt = group.date(&["last-attempt-date"]);
    report.retry_until = group.date(&["will-retry-until"]);
    report
}

/// The first word of a `Status` field: some put a comment behind it.
fn status(text: &str) -> Option<EnhancedCode> {
    text.split(|c: char| c.is_whitespace() || c == '(').find_map(EnhancedCode::parse)
}

fn action(text: &str) -> Option<DeliveryAction> {
    let word: String = text.trim().chars().take_while(char::is_ascii_alphabetic).collect();
    Some(match word.to_ascii_lowercase().as_str() {
        "failed" | "failure" | "fail" | "undeliverable" => DeliveryAction::Failed,
        "delayed" | "delay" => DeliveryAction::Delayed,
        // Postfix's answer to `sendmail -bv`.
        "delivered" | "deliverable" => DeliveryAction::Delivered,
        "relayed" => DeliveryAction::Relayed,
        "expanded" => DeliveryAction::Expanded,
        _ => return None,
    })
}

/// Adds what the text says where the fields leave the reply open.
fn complete(report: &mut DeliveryReport, text: &str) {
    let open = |one: &RecipientReport| {
        let silent = one.reply.as_ref().is_none_or(|reply| reply.code.is_none() && reply.enhanced.is_none());
        silent && matches!(one.action, DeliveryAction::Failed | DeliveryAction::Delayed)
    };
    if !report.recipients.iter().any(open) {
        return;
    }
    let addresses: Vec<Address> = report.recipients.iter().filter_map(|one| one.recipient.clone()).collect();
    let blocks = notice::about(text, &addresses);
    for one in report.recipients.iter_mut().filter(|one| open(one)) {
        let names = [one.recipient.as_ref(), one.final_recipient.as_ref()];
        let Some(block) = names.iter().flatten().find_map(|address| blocks.get(&address.key())) else { continue };
        let Some((said, sure)) = notice::reply(block) else { continue };
        // The report's own words stay, unless the text has the receiving side's, with a code.
        if sure || one.reply.is_none() {
            let field = one.status.filter(|(_, origin)| *origin == StatusOrigin::Field).map(|(code, _)| code);
            one.say(Some(&said), field);
            one.remote_mta = one.remote_mta.take().or_else(|| notice::host(block));
        }
    }
}

/// A bounce without the fields of RFC 3464.
fn from_text(mail: &Mail, text: &str, mut report: DeliveryReport) -> Option<DeliveryReport> {
    let action = if is_delay(&mail.subject, text) { DeliveryAction::Delayed } else { DeliveryAction::Failed };
    let mut failed: Vec<Address> = mail
        .header
        .all("x-failed-recipients")
        .flat_map(|list| list.split(','))
        .filter_map(fields::address)
        .take(MAX_RECIPIENTS + 1)
        .collect();
    if !failed.is_empty() {
        report.cut |= failed.len() > MAX_RECIPIENTS;
        failed.truncate(MAX_RECIPIENTS);
        let blocks = notice::about(text, &failed);
        report.read_by = ReadBy::FailedRecipients;
        for address in failed {
            let block = blocks.get(&address.key()).map(String::as_str);
            report.recipients.push(from_block(Some(address), action, block));
        }
        return Some(report);
    }
    let mut not: Vec<Address> =
        ["from", "sender"].iter().filter_map(|name| mail.header.get(name)).filter_map(fields::address).collect();
    not.extend(report.to.clone().filter(|to| !report.original.recipients.contains(to)));
    if let Some((habit, said)) = notice::read(text, &not) {
        report.read_by = match habit {
            Habit::Headings => ReadBy::Headings,
            Habit::Transcript => ReadBy::Transcript,
            Habit::Sentence => ReadBy::Sentence,
        };
        // The text is read up to so many.
        report.cut |= said.len() >= MAX_RECIPIENTS;
        // A list of recipients, and somewhere else one reply for all, or a transcript.
        let shared = said.iter().all(|one| !notice::is_sure(&one.block));
        let addresses: Vec<Address> = said.iter().map(|one| one.recipient.clone()).collect();
        let blocks = if shared { notice::about(text, &addresses) } else { std::collections::HashMap::new() };
        // The reply for all is read once: the text can be long, and the recipients many.
        let all = (shared && notice::is_sure(text)).then(|| from_block(None, action, Some(text)));
        for one in said {
            let own = blocks.get(&one.recipient.key()).map(String::as_str).filter(|block| notice::is_sure(block));
            let recipient = Some(one.recipient.clone());
            report.recipients.push(match (own, &all) {
                (None, Some(all)) => RecipientReport { recipient, ..all.clone() },
                (own, _) => from_block(recipient, action, own.or(Some(&one.block))),
            });
        }
        let sure = report
            .recipients
            .iter()
            .any(|one| one.reply.as_ref().is_some_and(|reply| reply.code.is_some() || reply.enhanced.is_some()));
        return (sure || super::is_meant_as_bounce(mail)).then_some(report);
    }
    // Nobody is named: the message that came back went to somebody.
    let (said, _) = notice::reply(text).filter(|(_, sure)| *sure)?;
    report.read_by = ReadBy::ReturnedMessage;
    let recipients = report.original.recipients.clone();
    let only = if let [only] = recipients.as_slice() { Some(only.clone()) } else { None };
    let mut one = RecipientReport::of(only, action);
    one.say(Some(&said), None);
    one.remote_mta = notice::host(text);
    report.recipients.push(one);
    Some(report)
}

fn from_block(recipient: Option<Address>, action: DeliveryAction, block: Option<&str>) -> RecipientReport {
    let mut one = RecipientReport::of(recipient, action);
    if let Some(block) = block {
        let said = notice::reply(block);
        one.say(said.as_ref().map(|(said, _)| said.as_str()), None);
        one.remote_mta = notice::host(block);
    }
    one
}

/// Whether a text says that tries go on.
fn is_delay(subject: &str, text: &str) -> bool {
    const WORDS: &[&str] =
        &["delayed", "warning: message", "still being retried", "delay notification", "delivery delay", "(delay)"];
    const TEXTS: &[&str] = &[
        "has not yet been delivered",
        "not been delivered yet",
        "this is a warning only",
        "delivery attempts will continue",
        "will be retried",
        "will continue to try",
        "will continue trying",
    ];
    let subject = subject.to_lowercase();
    let text = fields::cut(text, 16 * 1024).to_lowercase();
    WORDS.iter().any(|word| subject.contains(word)) || TEXTS.iter().any(|word| text.contains(word))
}

/// A host's name for the reports of others.
pub(super) fn bounded(text: &str) -> String {
    clean(text, MAX_NAME_BYTES)
}
