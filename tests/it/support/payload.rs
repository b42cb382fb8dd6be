//! What the providers send, as the tests and the benchmarks make it: one message and one recipient for each number.
//!
//! Every event of a number has a time of its own, so that the journal tells by its times alone which events it holds.

use serde_json::json;

/// The relay address of a number.
pub(crate) fn relay_address(number: u64) -> String {
    format!("user{number:012}x@privaterelay.appleid.com")
}

/// RFC 3339 with milliseconds.
pub(crate) fn rfc3339(millis: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(millis).expect("a time of this era");
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// What SES publishes about message `number`, whose outcome is of `at` (milliseconds): delivered, or refused by Apple.
pub(crate) fn ses(number: u64, at: i64, refused: bool) -> String {
    ses_to(number, &relay_address(number), at, refused)
}

/// The same to any address.
pub(crate) fn ses_to(number: u64, to: &str, at: i64, refused: bool) -> String {
    let mut event = json!({
        "eventType": if refused { "Bounce" } else { "Delivery" },
        "mail": {
            "timestamp": rfc3339(at - 1_666),
            "source": "Example Shop <dev@mydomain.example>",
            "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/mydomain.example",
            "sendingAccountId": "123456789012",
            "messageId": format!("010201988d1f2a3b-{number:08x}-0001-4a5b-8c9d-0123456789ab-000000"),
            "destination": [to],
            "headersTruncated": false,
            "headers": [
                { "name": "From", "value": "Example Shop <dev@mydomain.example>" },
                { "name": "To", "value": to },
                { "name": "Subject", "value": "Your order" },
                { "name": "MIME-Version", "value": "1.0" },
            ],
            "commonHeaders": { "from": ["Example Shop <dev@mydomain.example>"], "to": [to], "subject": "Your order" },
            "tags": {
                "ses:configuration-set": ["relay-events"],
                "ses:source-ip": ["192.0.2.7"],
                "ses:from-domain": ["mydomain.example"],
                "ses:caller-identity": ["mailer"],
                "campaign": ["august-orders"],
            },
        },
    });
    let outcome = if refused {
        json!({
            "feedbackId": format!("0102019a-{number:08x}"),
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [{
                "emailAddress": to,
                "action": "failed",
                "status": "5.1.1",
                "diagnosticCode": format!("smtp; 550 5.1.1 <{to}>: user not found"),
            }],
            "timestamp": rfc3339(at),
            "remoteMtaIp": "17.57.156.30",
            "reportingMTA": "dns; a7-12.smtp-out.eu-west-1.amazonses.com",
        })
    } else {
        json!({
            "timestamp": rfc3339(at),
            "processingTimeMillis": 1666,
            "recipients": [to],
            "smtpResponse": "250 2.6.0 <010201988d1f2a3b@eu-west-1.amazonses.com> Queued mail for delivery",
            "reportingMTA": "a7-12.smtp-out.eu-west-1.amazonses.com",
            "remoteMtaIp": "17.57.156.30",
        })
    };
    event[if refused { "bounce" } else { "delivery" }] = outcome;
    event.to_string()
}

/// One element of a SparkPost batch about message `number`, whose outcome is of `at` (whole seconds, in milliseconds).
pub(crate) fn sparkpost(number: u64, at: i64, refused: bool) -> String {
    sparkpost_to(number, &relay_address(number), at, refused)
}

/// The same to any address, with all the fields that SparkPost documents for its message events.
pub(crate) fn sparkpost_to(number: u64, to: &str, at: i64, refused: bool) -> String {
    let seconds = at / 1_000;
    let sent = rfc3339(at - 2_250);
    let outcome = if refused {
        format!(
            "\"type\":\"bounce\",\"bounce_class\":\"10\",\"error_code\":\"550\",\
             \"raw_reason\":\"550 5.1.1 <{to}>: user not found (in reply to RCPT TO command)\",\
             \"reason\":\"550 5.1.1 <us...@privaterelay.appleid.com>: user not found\""
        )
    } else {
        "\"type\":\"delivery\",\"queue_time\":\"1204\",\"outbound_tls\":\"1\"".to_owned()
    };
    format!(
        "{{\"msys\":{{\"message_event\":{{{outcome},\
         \"event_id\":\"92356{number:012}\",\"timestamp\":\"{seconds}\",\"injection_time\":\"{sent}\",\
         \"message_id\":\"6583{number:012}\",\"transmission_id\":\"65832150921904138\",\
         \"rcpt_to\":\"{to}\",\"raw_rcpt_to\":\"{to}\",\"rcpt_type\":\"to\",\
         \"recipient_domain\":\"privaterelay.appleid.com\",\"routing_domain\":\"privaterelay.appleid.com\",\
         \"mailbox_provider\":\"Apple\",\"mailbox_provider_region\":\"Global\",\
         \"msg_from\":\"msprvs1=20310abc=bounces-1234@bounce.mail.example.com\",\
         \"friendly_from\":\"news@mail.example.com\",\"sending_domain\":\"mail.example.com\",\
         \"subject\":\"What is new for you in this week's summer sale, and what goes on Sunday\",\
         \"campaign_id\":\"Summer sale\",\"template_id\":\"template-summer-sale-2025\",\"template_version\":\"7\",\
         \"ab_test_id\":\"summer-subject-lines\",\"ab_test_version\":\"2\",\
         \"customer_id\":\"20310\",\"subaccount_id\":\"101\",\"ip_pool\":\"shared\",\"sending_ip\":\"192.0.2.17\",\
         \"ip_address\":\"17.57.156.30\",\"delv_method\":\"esmtp\",\"recv_method\":\"rest\",\
         \"msg_size\":\"21456\",\"num_retries\":\"0\",\"scheduled_time\":\"{seconds}\",\"transactional\":\"0\",\
         \"open_tracking\":true,\"click_tracking\":true,\"initial_pixel\":true,\"amp_enabled\":false,\
         \"rcpt_meta\":{{\"customer\":\"17{number:012}\",\"shop\":\"example.com/fr\",\"language\":\"fr-FR\",\
         \"segment\":\"bought-within-90-days\",\"dispatch\":\"b2a9c3f0-6d52-4a0e-9f34-51f2c7a1d0e4\"}},\
         \"rcpt_tags\":[\"summer\",\"newsletter\",\"fr\"]}}}}}}"
    )
}

/// A batch of such elements.
pub(crate) fn sparkpost_batch(elements: impl IntoIterator<Item = String>) -> String {
    let mut out = String::from("[");
    for (place, element) in elements.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(&element);
    }
    out.push(']');
    out
}
