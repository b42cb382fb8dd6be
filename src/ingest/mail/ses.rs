//! Amazon SES's notifications, where a topic of SNS sends them by mail: one JSON object as the text.
//!
//! Nothing in such a mail is signed by Amazon, so that it counts as what a mail says, not as an event of SES's.

use serde_json::Value;

use super::{
    MAX_RECIPIENTS,
    delivery::{DeliveryAction, DeliveryReport, ReadBy, RecipientReport},
    fields::clean,
    original::Original,
    parts::Mail,
};
use crate::model::{Address, EnhancedCode, Timestamp};

/// Reads a notification, where the mail's text is one.
pub(super) fn read(mail: &Mail) -> Option<DeliveryReport> {
    let text = mail.notice.trim_start();
    if !text.starts_with('{') || !(text.contains("notificationType") || text.contains("eventType")) {
        return None;
    }
    let value = first(text)
        // Sendmail breaks long lines by `!`, a line end and a blank.
        .or_else(|| first(&text.replace("!\n ", "")))
        .and_then(|value| match value.get("Message").and_then(Value::as_str) {
            Some(message) => first(message),
            None => Some(value),
        })
        .or_else(|| recipients_alone(text))?;
    let string = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let time = |value: &Value| string(value, "timestamp").and_then(|text| Timestamp::from_rfc3339(&text));
    let kind = string(&value, "notificationType").or_else(|| string(&value, "eventType"))?;
    let (part, list, action) = match kind.as_str() {
        "Bounce" => ("bounce", "bouncedRecipients", DeliveryAction::Failed),
        "DeliveryDelay" => ("deliveryDelay", "delayedRecipients", DeliveryAction::Delayed),
        _ => return None,
    };
    let (part, sent) = (value.get(part)?, value.get("mail").unwrap_or(&Value::Null));
    let header = sent.get("commonHeaders").unwrap_or(&Value::Null);
    let source = string(sent, "source").and_then(|text| Address::parse(&text).ok());
    let mut report = DeliveryReport {
        read_by: ReadBy::SesNotification,
        reporting_mta: string(part, "reportingMTA").as_deref().and_then(super::fields::host),
        arrival: time(sent),
        envelope_id: string(sent, "messageId").map(|id| clean(&id, super::MAX_ID_BYTES)),
        date: time(part).or_else(|| mail.header.date(&["date"])),
        to: None,
        recipients: Vec::new(),
        cut: false,
        original: Original {
            message_id: string(header, "messageId").as_deref().and_then(super::original::message_id),
            from_domain: source.as_ref().map(|from| from.domain().to_owned()),
            from: source,
            date: time(sent),
            ..Original::default()
        },
    };
    let list = part.get(list)?.as_array()?;
    report.cut = list.len() > MAX_RECIPIENTS;
    for one in list.iter().take(MAX_RECIPIENTS) {
        let address = string(one, "emailAddress").and_then(|text| Address::parse(&text).ok());
        let mut recipient = RecipientReport::of(address, action);
        let status = string(one, "status").and_then(|text| EnhancedCode::parse(&text));
        let diagnostic = string(one, "diagnosticCode");
        recipient.diagnostic_type = diagnostic.as_deref().and_then(|text| super::fields::typed(text).0);
        recipient.say(diagnostic.as_deref(), status);
        recipient.last_attempt = time(part);
        report.recipients.push(recipient);
    }
    Some(report)
}

/// The first JSON value of a text: SNS adds a paragraph about unsubscribing below it.
fn first(text: &str) -> Option<Value> {
    serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()
}

/// The list of recipients out of an object that mail has cut or broken somewhere else.
fn recipients_alone(text: &str) -> Option<Value> {
    let text = text.replace("\\\"", "\"");
    let (_, list) = text.split_once("\"bouncedRecipients\":")?;
    let list = first(list).filter(Value::is_array)?;
    Some(serde_json::json!({ "notificationType": "Bounce", "bounce": { "bouncedRecipients": list } }))
}
