//! Amazon SES by EventBridge and by Firehose.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Bad, CANARY, Headers, by_secret::token, of_every_feed, ses_message};
use crate::support::daemon::{EVENTBRIDGE_KEY, FIREHOSE_KEY};

const ABSENT: (u16, &str) = (401, "unauthenticated");
const WRONG: (u16, &str) = (401, "bad-credentials");

/// An event as it is on the bus.
pub(in super::super) fn eventbridge_body(message: &str) -> String {
    let detail: Value = serde_json::from_str(message).expect("JSON");
    let id = "6a7e8feb-b491-4cf7-a9f1-bf3703467718";
    json!({ "version": "0", "id": id, "detail-type": "Email Bounced", "source": "aws.ses", "detail": detail })
        .to_string()
}

/// A batch of Firehose's.
pub(in super::super) fn firehose_body(messages: &[&str]) -> String {
    let records: Vec<_> = messages.iter().map(|message| json!({ "data": STANDARD.encode(message) })).collect();
    json!({ "requestId": "r1", "timestamp": 1_754_719_200_000_i64, "records": records }).to_string()
}

pub(in super::super) fn firehose_key(key: &str) -> Headers {
    vec![("x-amz-firehose-access-key", key.to_owned())]
}

/// What is too large for a cap of ours must come again.
fn later(mut all: Vec<Bad>) -> Vec<Bad> {
    all.iter_mut().filter(|bad| bad.status == 413).for_each(|bad| bad.status = 503);
    all
}

pub(in super::super) fn eventbridge() -> Vec<Bad> {
    const PATH: &str = "/in/ses-eventbridge";
    let (good, right) = (eventbridge_body(&ses_message()), token(EVENTBRIDGE_KEY));
    let mut all = later(of_every_feed(PATH, &right, &good, 400));
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    all.extend([
        bad("no secret", &[], ABSENT),
        bad("the secret twice", &[right.clone(), right.clone()].concat(), ABSENT),
        bad("a wrong secret", &token(&format!("wrong-{CANARY}")), WRONG),
        bad("the secret with something after it", &token(&format!("{EVENTBRIDGE_KEY}x")), WRONG),
    ]);
    all
}

pub(in super::super) fn firehose() -> Vec<Bad> {
    const PATH: &str = "/in/ses-firehose";
    let (good, right) = (firehose_body(&[&ses_message()]), firehose_key(FIREHOSE_KEY));
    let mut all = later(of_every_feed(PATH, &right, &good, 400));
    let bad = |what: &str, headers: &[(&'static str, String)], expected| {
        Bad::new(what, PATH, headers, good.as_str(), expected)
    };
    let mut of_another = right.clone();
    of_another.push(("x-amz-firehose-request-id", "r2".to_owned()));
    let twice = good.replacen('{', "{\"requestId\":\"r0\",", 1);
    all.extend([
        bad("no secret", &[], ABSENT),
        bad("two secrets", &[right.clone(), right.clone()].concat(), ABSENT),
        bad("a wrong secret", &firehose_key(&format!("wrong-{CANARY}")), WRONG),
        bad("the secret with something after it", &firehose_key(&format!("{FIREHOSE_KEY}x")), WRONG),
        bad("another request", &of_another, (400, "malformed")),
        Bad::new("a key twice", PATH, &right, twice, (400, "malformed")),
    ]);
    all
}
