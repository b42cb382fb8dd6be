//! Posts as the providers' own payloads: what stands in a body before it's signed. A function of the post alone, so that
//! the same post again is the same bytes.
//!
//! Sources: "Contents of event data that Amazon SES publishes to Amazon SNS"; SparkPost/support-docs; Braze, "Message
//! engagement events" and "Custom HTTP connector".

use serde_json::{Value, json};

use super::{Batch, Outcome};
use crate::model::{EventKind, Timestamp};

/// RFC 3339 with milliseconds, always, as AWS writes it.
fn iso(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map(|stamp| stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_default()
}

/// What SES's ids of one mail begin with.
pub(super) fn ses_stem(mail: u64) -> String {
    format!("010201988d1f{mail:08x}-6f1c2d3e")
}

/// A UUID made from two numbers.
fn uuid(first: u64, second: u64) -> String {
    format!("{:08x}-{:04x}-4a5b-8c7d-{:012x}", first & 0xffff_ffff, second & 0xffff, first & 0xffff_ffff_ffff)
}

/// One event of SES as event publishing sends it: the `Message` of an SNS envelope.
#[must_use]
pub fn ses(outcome: &Outcome) -> String {
    let sender = &outcome.sender;
    let stem = ses_stem(outcome.mail);
    let message_id = format!("{stem}-0001-4a5b-8c9d-0123456789ab-000000");
    let from = sender.from();
    let mut tags = json!({
        "ses:configuration-set": ["relay-events"],
        "ses:source-ip": ["192.0.2.7"],
        "ses:from-domain": [sender.from_domain],
        "ses:caller-identity": ["mailer"],
    });
    if let (Some(campaign), Some(tags)) = (&outcome.campaign, tags.as_object_mut()) {
        tags.insert("campaign".to_owned(), json!([&**campaign]));
    }
    let mail = json!({
        "timestamp": iso(outcome.sent_at),
        "source": from,
        "sourceArn": format!("arn:aws:ses:eu-west-1:123456789012:identity/{}", sender.from_domain),
        "sendingAccountId": "123456789012",
        "messageId": message_id,
        "destination": [&*outcome.recipient],
        "headersTruncated": false,
        "headers": [{"name": "From", "value": from}, {"name": "To", "value": &*outcome.recipient}],
        "commonHeaders": {
            "returnPath": sender.return_path(outcome.mail), "from": [from], "to": [&*outcome.recipient],
            "messageId": message_id, "subject": "Your news",
        },
        "tags": tags,
    });
    let at = iso(outcome.at);
    let bounce = |sub_type: &str, status: &str, mta: &str, diagnostic: String| {
        json!({
            "feedbackId": format!("{stem}-{}-000000", uuid(outcome.mail, 2)),
            "bounceType": "Permanent",
            "bounceSubType": sub_type,
            "bouncedRecipients": [{
                "emailAddress": &*outcome.recipient, "action": "failed", "status": status, "diagnosticCode": diagnostic,
            }],
            "timestamp": at,
            "remoteMtaIp": "17.57.152.15",
            "reportingMTA": mta,
        })
    };
    let reply = outcome.reply.as_deref().unwrap_or_default();
    let (kind, key, details) = match outcome.kind {
        EventKind::Sent => ("Send", "send", json!({})),
        EventKind::Refused => {
            let mta = "dns; a7-12.smtp-out.eu-west-1.amazonses.com";
            ("Bounce", "bounce", bounce("General", "5.1.1", mta, format!("smtp; {reply}")))
        }
        EventKind::SuppressedByProvider => {
            ("Bounce", "bounce", bounce("OnAccountSuppressionList", "5.1.1", "dns; amazonses.com", reply.to_owned()))
        }
        _ => (
            "Delivery",
            "delivery",
            json!({
                "timestamp": at,
                "processingTimeMillis": outcome.at.millis_since(outcome.sent_at),
                "recipients": [&*outcome.recipient],
                "smtpResponse": format!("250 2.6.0 <{stem}-000000@eu-west-1.amazonses.com> Queued mail for delivery"),
                "reportingMTA": "a7-12.smtp-out.eu-west-1.amazonses.com",
                "remoteMtaIp": "17.57.152.15",
            }),
        ),
    };
    let mut event = json!({ "eventType": kind, "mail": mail });
    if let Some(event) = event.as_object_mut() {
        event.insert(key.to_owned(), details);
    }
    format!("{event}\n")
}

/// The number under which a provider keeps one event: each mail has at most one of a kind.
fn event_number(outcome: &Outcome) -> u64 {
    let kind = match outcome.kind {
        EventKind::Sent => 0,
        EventKind::Delivered => 1,
        EventKind::Refused => 2,
        _ => 3,
    };
    outcome.mail * 4 + kind
}

/// A batch of SparkPost's: `[{"msys":{"message_event":{…}}}, …]`.
#[must_use]
pub fn sparkpost(batch: &Batch) -> String {
    let list: Vec<Value> =
        batch.outcomes.iter().map(|outcome| json!({"msys": {"message_event": sparkpost_event(outcome)}})).collect();
    Value::from(list).to_string()
}

/// The value of the header `X-MessageSystems-Batch-ID`.
#[must_use]
pub fn sparkpost_batch_id(batch: &Batch) -> String {
    uuid(batch.number, 1)
}

fn sparkpost_event(outcome: &Outcome) -> Value {
    let sender = &outcome.sender;
    let domain = outcome.recipient.split_once('@').map(|(_, domain)| domain);
    let mut event = json!({
        "type": match outcome.kind {
            EventKind::Sent => "injection",
            EventKind::Delivered => "delivery",
            _ => "bounce",
        },
        "event_id": (92_356_927_693_813_856 + event_number(outcome)).to_string(),
        "timestamp": outcome.at.as_seconds().to_string(),
        "injection_time": iso(outcome.sent_at),
        "message_id": format!("{:020x}", outcome.mail),
        "transmission_id": (65_832_150_921_904_138 + outcome.mail).to_string(),
        "rcpt_to": &*outcome.recipient,
        "raw_rcpt_to": &*outcome.recipient,
        "recipient_domain": domain,
        "routing_domain": domain,
        "msg_from": sender.return_path(outcome.mail),
        "friendly_from": sender.from(),
        "sending_domain": sender.from_domain,
        "ip_pool": "shared",
        "sending_ip": "192.0.2.17",
        "num_retries": "0",
        "subaccount_id": "0",
        "subject": "Your news",
        "rcpt_meta": {},
        "rcpt_tags": [],
    });
    let Some(fields) = event.as_object_mut() else { return event };
    if let Some(campaign) = &outcome.campaign {
        fields.insert("campaign_id".to_owned(), (&**campaign).into());
    }
    if let Some(reply) = &outcome.reply {
        let suppressed = outcome.kind == EventKind::SuppressedByProvider;
        fields.insert("bounce_class".to_owned(), if suppressed { "25" } else { "10" }.into());
        fields.insert("error_code".to_owned(), if suppressed { "554" } else { "550" }.into());
        fields.insert("raw_reason".to_owned(), reply.as_str().into());
        // In the redacted form the address is cut.
        let redacted = reply.replace(&*outcome.recipient, &format!("...@{}", domain.unwrap_or_default()));
        fields.insert("reason".to_owned(), redacted.into());
    }
    event
}

/// A batch of Braze's: `{"events":[…]}`, in the flat form of the storage schema.
#[must_use]
pub fn braze(batch: &Batch) -> String {
    json!({ "events": batch.outcomes.iter().map(braze_event).collect::<Vec<_>>() }).to_string()
}

fn braze_event(outcome: &Outcome) -> Value {
    let kind = match outcome.kind {
        EventKind::Sent => "Send",
        EventKind::Delivered => "Delivery",
        _ => "Bounce",
    };
    let mut event = json!({
        "event_type": format!("users.messages.email.{kind}"),
        "id": uuid(event_number(outcome), 7),
        "time": outcome.at.as_seconds(),
        "timezone": "Europe/Paris",
        "user_id": format!("{:024x}", outcome.mail),
        "email_address": &*outcome.recipient,
        "dispatch_id": format!("0f1e2d3c4b5a69788796a5b4{:08x}", outcome.mail),
        "message_variation_id": "var-1",
        "from_domain": outcome.sender.from_domain,
        "ip_pool": "Main_IP_Pool",
        "sending_ip": "192.0.2.17",
        "esp": "SparkPost",
    });
    let Some(fields) = event.as_object_mut() else { return event };
    if let Some(campaign) = &outcome.campaign {
        fields.insert("campaign_id".to_owned(), format!("{:024x}", campaign.len()).into());
        fields.insert("campaign_name".to_owned(), (&**campaign).into());
    }
    if let Some(reply) = &outcome.reply {
        fields.insert("bounce_reason".to_owned(), reply.as_str().into());
        fields.insert("is_drop".to_owned(), (outcome.kind == EventKind::SuppressedByProvider).into());
    }
    event
}
