//! Feeds with a shared secret: Iterable, SocketLabs, Elastic Email, Azure.

use serde_json::{Value, json};

use super::{Bad, CANARY, Headers, canary, of_every_feed};
use crate::support::{
    daemon::{AZURE_TOKEN, ELASTICEMAIL_TOKEN, ITERABLE_TOKEN, SOCKETLABS_KEY, now},
    payload,
};

const ABSENT: (u16, &str) = (401, "unauthenticated");
const WRONG: (u16, &str) = (401, "bad-credentials");
const TWICE: &str = "{\"to\":1,\"to\":2,\"email\":1,\"email\":2,\"id\":1,\"id\":2,\"SecretKey\":1,\"SecretKey\":2}";

/// The token in a header of one's own.
pub(in super::super) fn token(token: &str) -> Headers {
    vec![("x-relaywatch-token", token.to_owned())]
}

fn good_time() -> Value {
    json!(payload::rfc3339(now().as_millis()))
}

/// What holds for a token in a header.
fn of_a_token(path: &'static str, secret: &str, good: &str) -> Vec<Bad> {
    let right = token(secret);
    let mut all = of_every_feed(path, &right, good, 400);
    let bad = |what: &str, headers: &[(&'static str, String)], expected| Bad::new(what, path, headers, good, expected);
    all.extend([
        bad("no secret", &[], ABSENT),
        bad("two secrets", &[right.clone(), right.clone()].concat(), ABSENT),
        bad("a wrong secret", &token(&format!("wrong-{CANARY}")), WRONG),
        bad("the secret with something after it", &token(&format!("{secret}x")), WRONG),
        bad("an empty secret", &token(""), WRONG),
        Bad::new("a key twice", path, &right, TWICE, (400, "malformed")),
    ]);
    all
}

pub(in super::super) fn iterable_body(at: &Value) -> String {
    json!({ "eventName": "emailSend", "email": canary(), "dataFields": { "messageId": "i1", "createdAt": at } })
        .to_string()
}

pub(in super::super) fn iterable() -> Vec<Bad> {
    of_a_token("/in/iterable", ITERABLE_TOKEN, &iterable_body(&good_time()))
}

pub(in super::super) fn elasticemail_body(at: &Value) -> String {
    json!({ "status": "Sent", "to": canary(), "date": at, "messageid": "l1" }).to_string()
}

pub(in super::super) fn elasticemail() -> Vec<Bad> {
    const PATH: &str = "/in/elasticemail";
    let mut all = of_a_token(PATH, ELASTICEMAIL_TOKEN, &elasticemail_body(&good_time()));
    let mut form = token(ELASTICEMAIL_TOKEN);
    form.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
    all.push(Bad::new("a parameter twice", PATH, &form, format!("to={CANARY}&to=b"), (400, "malformed")));
    all
}

pub(in super::super) fn azure_body(at: &Value) -> String {
    let data =
        json!({ "recipient": canary(), "messageId": "a1", "status": "Delivered", "deliveryAttemptTimeStamp": at });
    let kind = "Microsoft.Communication.EmailDeliveryReportReceived";
    json!([{ "id": "a1", "eventType": kind, "data": data }]).to_string()
}

/// Nothing that may be a mistake of ours is answered with what makes Event Grid give up.
pub(in super::super) fn azure() -> Vec<Bad> {
    let mut all = of_a_token("/in/azure", AZURE_TOKEN, &azure_body(&good_time()));
    for bad in &mut all {
        if [401, 413].contains(&bad.status) {
            bad.status = 503;
        }
    }
    let handshake = [("aeg-event-type", "SubscriptionValidation".to_owned())];
    all.push(Bad::new("a handshake without the secret", "/in/azure", &handshake, "[]", ABSENT));
    all
}

pub(in super::super) fn socketlabs_body(secret: &Value, at: &Value) -> String {
    json!({ "Type": "Delivered", "Address": canary(), "DateTime": at, "MessageId": "o1", "SecretKey": secret })
        .to_string()
}

pub(in super::super) fn socketlabs() -> Vec<Bad> {
    const PATH: &str = "/in/socketlabs";
    let body = |secret: Value| socketlabs_body(&secret, &good_time());
    let good = body(json!(SOCKETLABS_KEY));
    let mut all = of_every_feed(PATH, &[], &good, 400);
    let bad = |what: &str, body: String, expected| Bad::new(what, PATH, &[], body, expected);
    all.extend([
        bad("no secret", body(Value::Null), ABSENT),
        bad("a wrong secret", body(json!(format!("wrong-{CANARY}"))), WRONG),
        bad("the secret with something after it", body(json!(format!("{SOCKETLABS_KEY}x"))), WRONG),
        bad("one secret for two", format!("[{good},{}]", body(json!("wrong"))), WRONG),
        bad("a key twice", TWICE.to_owned(), (400, "malformed")),
        Bad::new("the secret in a header", PATH, &token(SOCKETLABS_KEY), body(Value::Null), ABSENT),
    ]);
    all
}
