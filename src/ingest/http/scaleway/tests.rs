//! Tests of the feed of Scaleway's events.

use std::sync::LazyLock;

use axum::http::Method;

use super::*;
use crate::{
    ingest::{
        FollowUp,
        http::{
            RejectionReason,
            sns::{
                FetchError, Fetching, MessageType, SignatureVersion,
                signing::{Draft, SCALEWAY_CERTIFICATE, Signer},
            },
            testing::{NOW, delivery, fixture, render},
        },
    },
    model::DAY_MILLIS,
};

const TOPIC: &str = "arn:scw:sns:fr-par:project-8c8bfa06-0000-4000-8000-000000000001:mail-events";
const AUTHORITY: &str = "Scaleway Messaging CA";

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));
static CA: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));
static STRANGER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().expect("a key"));

/// Serves one certificate, at one address.
struct Shelf(String);

impl FetchCertificate for Shelf {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetching<'a> {
        let found = if url == SCALEWAY_CERTIFICATE {
            Ok(self.0.clone().into_bytes().into())
        } else {
            Err(FetchError::NotFound)
        };
        Box::pin(async move { found })
    }
}

fn days(from: i64, until: i64) -> (Timestamp, Timestamp) {
    (NOW.plus_millis(from * DAY_MILLIS), NOW.plus_millis(until * DAY_MILLIS))
}

fn authority(days: (Timestamp, Timestamp)) -> Vec<u8> {
    CA.authority(AUTHORITY, days.0, days.1).expect("a certificate").into_bytes()
}

fn leaf(issuer: &Signer, name: &str) -> String {
    let (from, until) = days(-30, 365);
    SIGNER.certificate_from(issuer, name, "sns.mnq.fr-par.scaleway.com", from, until).expect("a certificate")
}

fn feed(trust: Vec<u8>, served: String) -> Scaleway {
    let settings = Settings { topics: vec![TOPIC.to_owned()], trust_chain: vec![trust], ..Settings::default() };
    Scaleway::with_fetcher(&settings, Arc::new(Shelf(served))).expect("feed")
}

fn post(kind: MessageType, topic: &str, message: &str) -> Delivery {
    let draft = Draft {
        kind,
        topic,
        message_id: "00000000-0000-4000-8000-000000000001",
        message,
        subject: None,
        at: NOW,
        version: SignatureVersion::V1,
    };
    delivery(&[], SIGNER.envelope(&draft).expect("signed"))
}

fn event() -> Delivery {
    post(MessageType::Notification, TOPIC, &fixture("scaleway", "every_type"))
}

#[tokio::test]
async fn events_are_read_as_documented() {
    let report = feed(authority(days(-400, 400)), leaf(&CA, AUTHORITY)).receive(&event()).await.expect("taken");
    insta::assert_snapshot!("scaleway_every_type", render(&report));
}

#[tokio::test]
async fn a_deferral_with_a_final_reply_is_a_refusal() {
    let feed = feed(authority(days(-400, 400)), leaf(&CA, AUTHORITY));
    for (said, kind) in [("550 5.1.1 x: unauthorized sender", EventKind::Refused), ("450 4.2.1 x", EventKind::Deferred)]
    {
        let of = serde_json::json!({
            "type": "email_deferred", "created_at": "2025-08-09T06:00:03Z", "email_to": "a@b.example",
            "email_response_message": said,
        });
        let report = feed.receive(&post(MessageType::Notification, TOPIC, &of.to_string())).await.expect("taken");
        assert_eq!(report.events.first().map(|event| event.kind), Some(kind), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_counts_only_if_the_authority_issued_it() {
    let outcome = async |trust: Vec<u8>, served: String| {
        feed(trust, served).receive(&event()).await.map(drop).map_err(|error| (error.status.as_u16(), error.reason))
    };
    let forged = Err((403, RejectionReason::BadSignature));
    let trust = || authority(days(-400, 400));
    assert_eq!(outcome(trust(), leaf(&CA, AUTHORITY)).await, Ok(()));
    assert_eq!(outcome(trust(), leaf(&STRANGER, AUTHORITY)).await, forged, "another key under the same name");
    assert_eq!(outcome(trust(), leaf(&CA, "Another CA")).await, forged, "the same key under another name");
    let (from, until) = days(-30, 365);
    let own = SIGNER.certificate("sns.amazonaws.com", from, until).expect("a certificate");
    assert_eq!(outcome(trust(), own).await, forged, "issued by itself, and with Amazon's name");
    assert_eq!(outcome(authority(days(-400, -1)), leaf(&CA, AUTHORITY)).await, forged, "an authority that has expired");
    assert_eq!(outcome(trust(), "no certificate".to_owned()).await, forged);
}

#[tokio::test]
async fn topics_that_are_not_configured_are_neither_taken_nor_confirmed() {
    let feed = feed(authority(days(-400, 400)), leaf(&CA, AUTHORITY));
    let confirmed = feed.receive(&post(MessageType::SubscriptionConfirmation, TOPIC, "confirm")).await.expect("taken");
    let Some(FollowUp::ConfirmSubscription { url, topic }) = confirmed.follow_up else { panic!("nothing to confirm") };
    assert_eq!((url.host_str(), topic.as_str()), (Some("sns.mnq.fr-par.scaleway.com"), TOPIC));
    let other = TOPIC.replace("mail-events", "other");
    for kind in [MessageType::SubscriptionConfirmation, MessageType::Notification] {
        let refused = feed.receive(&post(kind, &other, "{}")).await.expect_err("foreign");
        assert_eq!(refused.reason, RejectionReason::Foreign);
    }
    let gone = feed.receive(&post(MessageType::UnsubscribeConfirmation, TOPIC, "gone")).await.expect("taken");
    assert_eq!(gone.ignored, ["sns-unsubscribe-confirmation"]);
    let malformed = feed.receive(&post(MessageType::Notification, TOPIC, "no JSON")).await.expect_err("malformed");
    assert_eq!((malformed.status.as_u16(), malformed.reason), (400, RejectionReason::Malformed));
    let tampered = Delivery {
        method: Method::POST,
        body: String::from_utf8(event().body.to_vec()).expect("text").replace("s5", "s6").into(),
        ..event()
    };
    assert_eq!(feed.receive(&tampered).await.expect_err("tampered").reason, RejectionReason::BadSignature);
}

#[test]
fn without_an_authority_there_is_no_feed() {
    let settings = |trust_chain| Settings { topics: vec![TOPIC.to_owned()], trust_chain, ..Settings::default() };
    assert!(matches!(Scaleway::new(&settings(Vec::new())), Err(SettingsError::NoAuthority)));
    assert!(matches!(Scaleway::new(&settings(vec![b"x".to_vec()])), Err(SettingsError::Authority(_))));
    // A certificate that may issue none is no authority.
    assert!(matches!(
        Scaleway::new(&settings(vec![leaf(&CA, AUTHORITY).into_bytes()])),
        Err(SettingsError::Authority(_))
    ));
    let pinned = Settings { signing_certificates: vec![leaf(&CA, AUTHORITY).into_bytes()], ..settings(Vec::new()) };
    assert!(Scaleway::new(&pinned).is_ok());
    let amazons = Settings { topics: vec!["arn:aws:sns:eu-west-1:123456789012:t".to_owned()], ..pinned };
    assert!(matches!(Scaleway::new(&amazons), Err(SettingsError::Topic { position: 1, .. })));
}
