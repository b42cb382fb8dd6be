//! Pages as JSON to an endpoint of the operator's, signed as the Standard Webhooks specification (version 1.0.0) says
//! where a key is configured.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use reqwest::{Client, header};
use serde_json::{Value, json};

use super::{Endpoint, Page, PageKind, SetupError, answer};
use crate::{config, model::Timestamp};

/// The endpoint.
#[derive(Clone)]
pub struct Webhook {
    endpoint: Endpoint,
    key: Option<hmac::Key>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webhook({:?}, signs: {})", self.endpoint, self.key.is_some())
    }
}

impl Webhook {
    /// The endpoint that is configured, if one is.
    ///
    /// # Errors
    /// Where its URL is none, or its key is a broken one of Standard Webhooks (`whsec_…`).
    pub fn new(settings: &config::Webhook) -> Result<Option<Self>, SetupError> {
        let Some(url) = &settings.url else { return Ok(None) };
        let endpoint = Endpoint::parse("notify.webhook.url", url)?;
        let key = settings
            .secret
            .as_ref()
            .map(|secret| match secret.expose().strip_prefix("whsec_") {
                Some(encoded) => BASE64.decode(encoded).map_err(|_| SetupError::WebhookSecret),
                None => Ok(secret.expose().as_bytes().to_vec()),
            })
            .transpose()?
            .map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key));
        Ok(Some(Self { endpoint, key }))
    }

    /// Posts a page.
    pub(super) async fn send(
        &self,
        client: &Client,
        page: &Page,
        possible_repeat: bool,
        now: Timestamp,
    ) -> Result<(), answer::Failure> {
        let body = body(page, possible_repeat);
        let mut request = client
            .post(self.endpoint.url())
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", page.key.as_str());
        if let Some(key) = &self.key {
            let at = now.as_seconds();
            request = request
                .header("webhook-id", page.key.as_str())
                .header("webhook-timestamp", at)
                .header("webhook-signature", signature(key, &page.key, at, &body));
        }
        answer::send(request.body(body), now).await.map(drop)
    }
}

/// The page as programs read it: times in RFC 3339.
fn body(page: &Page, possible_repeat: bool) -> String {
    let mut body = json!({
        "type": match page.kind {
            PageKind::Setup => "feed.setup".to_owned(),
            PageKind::Blind | PageKind::SeenAgain => format!("feed.{}", page.kind),
            PageKind::NewWords => "replies.new-words".to_owned(),
            PageKind::CanaryLost => "canary.lost".to_owned(),
            PageKind::CanaryRefused => "canary.refused".to_owned(),
            PageKind::CanaryArrives => "canary.arrives".to_owned(),
            PageKind::Unfit | PageKind::FitAgain => format!("source.{}", page.kind),
            kind => format!("incident.{kind}"),
        },
        "timestamp": page.at.to_string(),
        "data": {
            "key": page.key,
            "possible_repeat": possible_repeat,
            "kind": page.kind,
            "severity": page.severity,
            "raised": page.raised,
            "incident": page.incident,
            "installation": page.installation,
            "stream": page.stream,
            "headline": page.headline,
            "since": page.since.to_string(),
            "turned": page.turned.map(|at| at.to_string()),
            "at": page.at.to_string(),
            "refused": page.refused,
            "sent": page.sent,
            "facts": page.facts,
            "explanation": page.explanation,
            "safe_action": page.safe_action,
            "links": page.links,
        },
    });
    // What is about no incident counts nothing of the kind; new words are about no stream either.
    let void: &[&str] = match page.kind {
        PageKind::NewWords => &["incident", "stream", "refused", "sent", "turned"],
        PageKind::Blind
        | PageKind::SeenAgain
        | PageKind::CanaryLost
        | PageKind::CanaryRefused
        | PageKind::CanaryArrives
        | PageKind::Unfit
        | PageKind::FitAgain => &["incident", "refused", "sent", "turned"],
        _ => &[],
    };
    if let Some(data) = body.get_mut("data").and_then(Value::as_object_mut) {
        for key in void {
            data.remove(*key);
        }
    }
    body.to_string()
}

fn signature(key: &hmac::Key, id: &str, at: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{PageKind, Severity, page::tests::page};

    #[test]
    fn the_json_of_a_page() {
        let body: serde_json::Value =
            serde_json::from_str(&body(&page(PageKind::Opened, Severity::Page), true)).expect("json");
        insta::assert_json_snapshot!(body);
    }

    #[test]
    fn a_ticket_about_no_incident_invents_none() {
        let body: Value =
            serde_json::from_str(&body(&page(PageKind::NewWords, Severity::Ticket), false)).expect("json");
        assert_eq!(body["type"], "replies.new-words");
        for key in ["incident", "stream", "refused", "sent", "turned"] {
            assert!(body["data"].get(key).is_none(), "{key}: {body}");
        }
        assert!(body["data"]["headline"].is_string() && body["data"]["since"].is_string(), "{body}");
    }

    /// The example of the Standard Webhooks specification's reference implementations.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let settings = config::Webhook {
            url: Some(config::Secret::new("https://a.example/")),
            secret: Some(config::Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
            ..config::Webhook::default()
        };
        let webhook = Webhook::new(&settings).expect("settings").expect("a webhook");
        let made = signature(
            &webhook.key.expect("a key"),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(made, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let broken = config::Webhook { secret: Some(config::Secret::new("whsec_?")), ..settings };
        assert_eq!(Webhook::new(&broken).map(drop), Err(SetupError::WebhookSecret));
    }
}
