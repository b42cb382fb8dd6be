//! A delivery of each feed, as its provider sends it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use relaywatch::{
    ingest::http::{customerio, generic, klaviyo, mailgun, sns},
    model::{Address, Notice, NoticeKind, Timestamp},
};
use serde_json::{Value, json};

use crate::support::{
    daemon::{
        AZURE_TOKEN, Answer, BACKEND_TOKEN, BRAZE_TOKEN, CUSTOMERIO_KEY, Daemon, ELASTICEMAIL_TOKEN, EVENTBRIDGE_KEY,
        FIREHOSE_KEY, GENERIC_KEY, Home, ITERABLE_TOKEN, KLAVIYO_KEY, MAILGUN_KEY, POSTMARK_TOKEN, SCALEWAY_TOPIC,
        SOCKETLABS_KEY, SPARKPOST_TOKEN, now,
    },
    payload, webhooks,
};

pub(super) const SUBJECT: &str = "000123.9f2c41d8a7b34e6fb0c1d2e3f4a5b6c7.0417";

/// The outcomes in [`deliveries`].
pub(super) const EVENTS: usize = 27;

/// A request as it is sent, so that it can be sent again.
pub(super) struct Delivery {
    pub(super) path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Delivery {
    pub(super) fn send(&self, daemon: &Daemon) -> Answer {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        daemon.post(self.path, &headers, &self.body)
    }
}

fn bearer(token: &str) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {token}"))]
}

fn notice(kind: NoticeKind, at: Timestamp, email: Option<&str>) -> Notice {
    Notice {
        kind,
        audience: "com.example.app".to_owned(),
        team: "A1B2C3D4E5".to_owned(),
        subject: SUBJECT.to_owned(),
        email: email.map(|text| Address::parse(text).expect("an address")),
        is_private_email: email.map(|_| true),
        at,
        issued_at: at,
        jwt_id: format!("jti-{kind}"),
    }
}

/// A refusal, or a delivery where the provider withholds replies, of each webhook that has a file of its own.
fn webhook_deliveries(millis: i64) -> Vec<Delivery> {
    let seconds = millis / 1_000;
    let rfc3339 = payload::rfc3339(millis);
    let to = payload::relay_address;
    let said = |number| format!("550 5.1.1 <{}>: user not found", to(number));
    let events = [
        (
            "/in/mandrill",
            json!({
                "event": "hard_bounce", "_id": "md1", "ts": seconds + 1,
                "msg": { "ts": seconds, "email": to(70), "sender": "hello@mail.example.com", "diag": format!("smtp;{}", said(70)) },
            }),
        ),
        (
            "/in/mailjet",
            json!({
                "event": "bounce", "time": seconds, "MessageID": 9_007_199_254_740_993_i64, "email": to(71), "hard_bounce": true,
                "comment": said(71),
            }),
        ),
        (
            "/in/brevo",
            json!({
                "event": "hard_bounce", "ts_epoch": millis, "message-id": "<bv1@x>", "email": to(72),
                "reason": format!(" RecipientError: {}", said(72)),
            }),
        ),
        (
            "/in/resend",
            json!({
                "type": "email.bounced", "created_at": rfc3339,
                "data": {
                    "email_id": "rs1", "created_at": rfc3339, "from": "hello@mail.example.com", "to": [to(73)],
                    "bounce": { "type": "Permanent", "subType": "General", "diagnosticCode": [format!("smtp; {}", said(73))] },
                },
            }),
        ),
        (
            "/in/mailersend",
            json!({
                "type": "activity.delivered",
                "data": { "id": "ms1", "created_at": rfc3339, "recipient": to(74), "message_id": "m1" },
            }),
        ),
        (
            "/in/postal",
            json!({
                "event": "MessageDeliveryFailed", "timestamp": seconds, "uuid": "pl1",
                "payload": { "message": { "id": 1, "to": to(75), "timestamp": seconds }, "status": "HardFail", "output": said(75) },
            }),
        ),
        (
            "/in/kumomta",
            json!({
                "type": "Bounce", "id": "km1", "timestamp": seconds, "created": seconds, "recipient": to(76),
                "sender": "bounce@em.example.com", "bounce_classification": "InvalidRecipient",
                "response": {
                    "code": 550, "enhanced_code": { "class": 5, "subject": 1, "detail": 1 },
                    "content": format!("<{}>: user not found", to(76)),
                },
            }),
        ),
        (
            "/in/unisender",
            json!({
                "event_name": "transactional_email_status",
                "event_data": {
                    "job_id": "us1", "email": to(77), "status": "hard_bounced", "event_time": rfc3339,
                    "delivery_info": { "delivery_status": "err_user_unknown", "destination_response": said(77) },
                },
            }),
        ),
        (
            "/in/mailtrap",
            json!({
                "event": "bounce", "event_id": "mt1", "message_id": "m1", "timestamp": seconds, "email": to(78),
                "response": format!("bounced ({})", said(78)), "response_code": 550,
            }),
        ),
    ];
    let deliver = |(path, event): (&'static str, serde_json::Value)| {
        let feed = path.trim_start_matches("/in/");
        let body = webhooks::body(feed, &event.to_string()).into_bytes();
        Delivery { path, headers: webhooks::headers(feed, &body), body }
    };
    events.into_iter().map(deliver).collect()
}

/// Deliveries of the feeds that sign, or carry their secret, in ways of their own: a refusal of each.
fn further(home: &Home, at: Timestamp) -> Vec<Delivery> {
    let millis = at.as_millis() / 1_000 * 1_000;
    let (seconds, time) = (millis / 1_000, payload::rfc3339(millis));
    let said = |number: u64| format!("550 5.1.1 <{}>: user not found", payload::relay_address(number));
    let token = |token: &str| vec![("x-relaywatch-token", token.to_owned())];
    let generic = json!({ "id": "own-1", "type": "refused", "at": time, "recipient": payload::relay_address(80),
        "from": "mail.example.com", "reply": said(80), "verdict": "hard" })
    .to_string()
    .into_bytes();
    let customerio = json!({ "event_id": "cio-1", "object_type": "email", "metric": "bounced", "timestamp": seconds,
        "data": { "recipient": payload::relay_address(81), "failure_message": said(81) } })
    .to_string()
    .into_bytes();
    let properties = json!({ "email_address": payload::relay_address(82), "Bounce Type": "Hard" });
    let payload_of = json!({ "data": { "attributes": { "timestamp": seconds, "event_properties": properties } } });
    let klaviyo_event = json!({ "topic": "event:klaviyo.bounced_email", "external_id": "k-1", "payload": payload_of });
    let klaviyo_body = json!({ "data": [klaviyo_event] }).to_string().into_bytes();
    let iterable = json!({ "email": payload::relay_address(83), "eventName": "emailBounce",
        "dataFields": { "messageId": "i-1", "recipientState": "HardBounce", "createdAt": time } });
    let socketlabs = json!({ "Type": "Failed", "DateTime": time, "Address": payload::relay_address(84),
        "MessageId": "o-1", "SecretKey": SOCKETLABS_KEY, "FailureType": "Permanent", "DiagnosticCode": said(84) });
    let elasticemail = format!(
        "to={}&date={}&status=Error&category=NoMailbox&messageid=l-1",
        payload::relay_address(85).replace('@', "%40"),
        time.replace(':', "%3A")
    );
    let azure = json!([{ "id": "az-1", "eventType": "Microsoft.Communication.EmailDeliveryReportReceived",
        "eventTime": time, "data": { "recipient": payload::relay_address(86), "messageId": "m", "status": "Bounced",
        "deliveryStatusDetails": { "statusMessage": said(86) } } }]);
    let scaleway = json!({ "id": "w-1", "type": "email_mailbox_not_found", "created_at": time, "email_id": "m",
        "email_to": payload::relay_address(87), "email_response_code": 550, "email_response_message": said(87) })
    .to_string();
    let envelope = home.sns.envelope(&sns::signing::Draft {
        kind: sns::MessageType::Notification,
        topic: SCALEWAY_TOPIC,
        message_id: &sns::signing::message_id(rand::random()),
        message: &scaleway,
        subject: None,
        at: now(),
        version: sns::SignatureVersion::V1,
    });
    let form = ("content-type", "application/x-www-form-urlencoded".to_owned());
    let sent_at = payload::rfc3339(now().as_millis());
    vec![
        Delivery {
            path: "/in/generic",
            headers: generic::signing::headers(GENERIC_KEY, now(), &generic),
            body: generic,
        },
        Delivery {
            path: "/in/customerio",
            headers: customerio::signing::headers(CUSTOMERIO_KEY, now(), &customerio),
            body: customerio,
        },
        Delivery {
            path: "/in/klaviyo",
            headers: klaviyo::signing::headers(KLAVIYO_KEY, &sent_at, &klaviyo_body),
            body: klaviyo_body,
        },
        Delivery { path: "/in/iterable", headers: token(ITERABLE_TOKEN), body: iterable.to_string().into_bytes() },
        Delivery { path: "/in/socketlabs", headers: Vec::new(), body: socketlabs.to_string().into_bytes() },
        Delivery {
            path: "/in/elasticemail",
            headers: [token(ELASTICEMAIL_TOKEN), vec![form]].concat(),
            body: elasticemail.into_bytes(),
        },
        Delivery { path: "/in/azure", headers: token(AZURE_TOKEN), body: azure.to_string().into_bytes() },
        Delivery { path: "/in/scaleway", headers: Vec::new(), body: envelope.expect("signed").into_bytes() },
    ]
}

/// What SNS brings of SES, by EventBridge and by Firehose: nothing new.
fn ses_once_more(millis: i64) -> Vec<Delivery> {
    let refused = payload::ses(2, millis + 1, true);
    let detail: Value = serde_json::from_str(&refused).expect("JSON");
    let on_the_bus = json!({ "version": "0", "id": "b-1", "source": "aws.ses", "detail": detail });
    let records =
        [payload::ses(1, millis, false), refused].map(|event| json!({ "data": STANDARD.encode(event + "\n") }));
    let batch = json!({ "requestId": "r-1", "timestamp": millis, "records": records });
    vec![
        Delivery {
            path: "/in/ses-eventbridge",
            headers: vec![("x-relaywatch-token", EVENTBRIDGE_KEY.to_owned())],
            body: on_the_bus.to_string().into_bytes(),
        },
        Delivery {
            path: "/in/ses-firehose",
            headers: vec![("x-amz-firehose-access-key", FIREHOSE_KEY.to_owned())],
            body: batch.to_string().into_bytes(),
        },
    ]
}

/// A delivery of each feed about messages of this second.
pub(super) fn deliveries(home: &Home, at: Timestamp) -> Vec<Delivery> {
    let millis = at.as_millis() / 1_000 * 1_000;
    let seconds = millis / 1_000;
    let sparkpost =
        payload::sparkpost_batch([payload::sparkpost(10, millis, false), payload::sparkpost(11, millis + 1_000, true)]);
    let braze = json!({ "events": [
        { "event_type": "users.messages.email.Send", "id": "braze-0001", "time": seconds,
          "email_address": payload::relay_address(20), "dispatch_id": "d1", "campaign_name": "Summer sale",
          "from_domain": "mail.example.com", "esp": "SparkPost" },
        { "event_type": "users.messages.email.Bounce", "id": "braze-0002", "time": seconds + 3,
          "email_address": payload::relay_address(20), "dispatch_id": "d1", "campaign_name": "Summer sale",
          "from_domain": "mail.example.com", "esp": "SparkPost", "is_drop": false,
          "bounce_reason": format!("550 5.1.1 <{}>: user not found", payload::relay_address(20)) },
    ] });
    let mailgun = json!({
        "event": "delivered", "id": "hK7mQVt1QtqRiOfQXta4sw", "timestamp": seconds,
        "recipient": payload::relay_address(30),
        "delivery-status": { "code": 250, "message": "OK", "mx-host": "smtp1.privaterelay.appleid.com" },
        "message": { "headers": { "from": "hello@mail.example.com", "message-id": "m1@mg.example.com" } },
    });
    let sendgrid = json!([
        { "event": "delivered", "sg_event_id": "sendgrid-0001", "sg_message_id": "s1.recvd-1", "timestamp": seconds,
          "email": payload::relay_address(50), "response": "250 OK" },
        { "event": "bounce", "type": "bounce", "sg_event_id": "sendgrid-0002", "sg_message_id": "s2.recvd-1",
          "timestamp": seconds + 1, "email": payload::relay_address(51), "bounce_classification": "Invalid Address",
          "reason": format!("550 5.1.1 <{}>: user not found", payload::relay_address(51)), "status": "5.1.1" },
    ]);
    let sendgrid = format!("{sendgrid}\r\n").into_bytes();
    let postmark = json!({
        "RecordType": "Bounce", "ID": 4_323_372_036_854_775_807_i64, "Type": "HardBounce", "TypeCode": 1, "MessageID": "p1",
        "Email": payload::relay_address(60), "From": "hello@mail.example.com", "BouncedAt": payload::rfc3339(millis),
        "Details": format!("smtp;550 5.1.1 <{}>: user not found", payload::relay_address(60)), "Inactive": true,
    });
    let email = payload::relay_address(40);
    let enabled = notice(NoticeKind::EmailEnabled, at, Some(&email));
    let revoked = notice(NoticeKind::ConsentRevoked, at.plus_millis(1_000), None);
    let mut all = vec![
        Delivery {
            path: "/in/ses",
            headers: vec![("content-type", "text/plain; charset=UTF-8".to_owned())],
            body: home.notification(&payload::ses(1, millis, false)).into_bytes(),
        },
        Delivery {
            path: "/in/ses",
            headers: Vec::new(),
            body: home.notification(&payload::ses(2, millis + 1, true)).into_bytes(),
        },
        Delivery { path: "/in/sparkpost", headers: bearer(SPARKPOST_TOKEN), body: sparkpost.into_bytes() },
        Delivery { path: "/in/braze", headers: bearer(BRAZE_TOKEN), body: braze.to_string().into_bytes() },
        Delivery {
            path: "/in/mailgun",
            headers: Vec::new(),
            body: mailgun::signing::body(MAILGUN_KEY, now(), "one-time-token", &mailgun.to_string()).to_vec(),
        },
        Delivery { path: "/in/sendgrid", headers: home.sendgrid_headers(now(), &sendgrid), body: sendgrid },
        Delivery {
            path: "/in/postmark",
            headers: vec![("x-relaywatch-token", POSTMARK_TOKEN.to_owned())],
            body: postmark.to_string().into_bytes(),
        },
        Delivery {
            path: "/in/apple/direct",
            headers: Vec::new(),
            body: home.apple.notice(&enabled).expect("signed").to_vec(),
        },
        Delivery {
            path: "/in/apple/backend",
            headers: bearer(BACKEND_TOKEN),
            body: home.apple.notice(&revoked).expect("signed").to_vec(),
        },
    ];
    all.extend(ses_once_more(millis));
    all.extend(further(home, at));
    all.extend(webhook_deliveries(millis));
    all
}
