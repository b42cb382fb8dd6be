//! Mistakes that other verifiers of SNS messages make or made, one by one: the AWS validators for JavaScript and PHP
//! (2, 3, 9 to 13), libraries and applications with an SNS endpoint (1, 4 to 8, 15).

use super::*;

/// Each address is refused, and nothing is asked of anybody.
async fn never_fetched(urls: &[&str]) {
    let shelf = Shelf::with(Ok(certificate(&SIGNER)));
    let verifier = fetching(&shelf);
    for url in urls {
        let body = with(notification(), &[("SigningCertURL", json!(url))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::BadSignature, "{url}");
    }
    assert_eq!(shelf.requests(), 0);
    assert!(verifier.verify(&delivery(notification().to_string())).await.is_ok(), "only the address was wrong");
}

#[tokio::test]
async fn mistake_01_certificate_address_of_the_payload_trusted() {
    never_fetched(&["https://evil.example/SimpleNotificationService-0a.pem", "https://evil.example/x.pem", ""]).await;
}

#[tokio::test]
async fn mistake_02_pattern_that_matches_s3_hosts_of_a_bucket_named_sns() {
    never_fetched(&[
        "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.s3-accelerate.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.s3-external-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem",
    ])
    .await;
}

#[tokio::test]
async fn mistake_03_self_signed_certificate_in_such_a_bucket() {
    let shelf = Shelf::with(Ok(certificate(&STRANGER)));
    let verifier = fetching(&shelf);
    let forged = signed(&STRANGER, &draft(MessageType::Notification, SignatureVersion::V2));
    for url in ["https://sns.s3-us-west-2.amazonaws.com/x.pem", "https://sns.s3.amazonaws.com/x.pem"] {
        let body = with(forged.clone(), &[("SigningCertURL", json!(url))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::BadSignature);
    }
    assert_eq!(shelf.requests(), 0);
}

#[tokio::test]
async fn mistake_04_s3_host_allowed() {
    never_fetched(&[
        "https://s3.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://s3.amazonaws.com/sns/SimpleNotificationService-0a.pem",
        "https://s3.us-west-2.amazonaws.com/SimpleNotificationService-0a.pem",
    ])
    .await;
}

#[tokio::test]
async fn mistake_05_prefix_and_suffix_of_the_host_compared() {
    never_fetched(&[
        "https://sns.s3.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.evil.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.us-west-2.evil.amazonaws.com/SimpleNotificationService-0a.pem",
    ])
    .await;
}

#[tokio::test]
async fn mistake_06_subscribe_url_visited_unchecked() {
    let verifier = pinned();
    let genuine = signed(&SIGNER, &draft(MessageType::SubscriptionConfirmation, SignatureVersion::V2));
    for url in [
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "|touch /tmp/x".to_owned(),
        format!("https://evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}"),
        format!("https://{HOST}/?Action=ConfirmSubscription&TopicArn={OTHER_TOPIC}"),
        format!("https://{HOST}/?Action=Unsubscribe&TopicArn={TOPIC}"),
        format!("https://{HOST}@evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}"),
    ] {
        let body = with(genuine.clone(), &[("SubscribeURL", json!(url))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Foreign, "{url}");
    }
    // A right address that Amazon did not sign.
    let unsigned = with(genuine, &[("SubscribeURL", json!(format!("https://{HOST}/?Action=ConfirmSubscription")))]);
    assert_eq!(reason(&verifier, unsigned).await, RejectionReason::BadSignature);
}

#[tokio::test]
async fn mistake_07_topic_compared_and_signature_not_checked() {
    let verifier = pinned();
    for body in [without(notification(), "Signature"), with(notification(), &[("Signature", json!(""))])] {
        let (status, reason, _) = refused(&verifier, body).await;
        assert_eq!((status, reason), (403, RejectionReason::Unauthenticated));
    }
    for version in [SignatureVersion::V1, SignatureVersion::V2] {
        let body = signed(&STRANGER, &draft(MessageType::Notification, version));
        let (status, reason, _) = refused(&verifier, body).await;
        assert_eq!((status, reason), (403, RejectionReason::BadSignature));
    }
}

#[tokio::test]
async fn mistake_08_valid_signature_of_a_foreign_topic() {
    let shelf = Shelf::with(Ok(certificate(&SIGNER)));
    let verifier = fetching(&shelf);
    for kind in ALL_TYPES {
        let body = signed(&SIGNER, &Draft { topic: OTHER_TOPIC, ..draft(kind, SignatureVersion::V2) });
        let (status, reason, detail) = refused(&verifier, body).await;
        assert_eq!((status, reason), (403, RejectionReason::Foreign));
        assert!(!detail.contains("999999999999"), "{detail}");
    }
    for near in [TOPIC.to_uppercase(), format!("{TOPIC} "), format!("{TOPIC}:sub"), TOPIC.replace("events", "event")] {
        let body = with(notification(), &[("TopicArn", json!(near))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Foreign);
    }
    assert_eq!(shelf.requests(), 0);
}

#[tokio::test]
async fn mistake_09_unsubscribe_confirmation_read_with_the_members_of_a_notification() {
    let verifier = pinned();
    let genuine = signed(&SIGNER, &draft(MessageType::UnsubscribeConfirmation, SignatureVersion::V1));
    assert!(verifier.verify(&delivery(genuine.to_string())).await.is_ok());
    let other = with(genuine, &[("Token", json!("another"))]);
    assert_eq!(reason(&verifier, other).await, RejectionReason::BadSignature, "the token is signed");
}

#[tokio::test]
async fn mistake_10_redirects_followed_when_the_certificate_is_fetched() {
    let (target, visits) = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
    let (url, asked) = serve(redirect).await;
    let fetcher = HttpsFetcher::new().expect("a client");
    assert_eq!(fetcher.fetch(&url).await, Err(FetchError::Unreachable));
    assert_eq!((asked.load(Ordering::SeqCst), visits.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn mistake_11_all_members_signed_whatever_the_type() {
    let verifier = pinned();
    // A notification with a token: the token is not part of what was signed, so that it can't carry anything.
    let extra = with(notification(), &[("Token", json!("x")), ("SubscribeURL", json!("https://evil.example/"))]);
    let delivery = delivery(extra.to_string());
    assert_eq!(verifier.verify(&delivery).await.expect("verifies").subscribe_url, None);
    for kind in ["notification", "Notification ", "Confirmation", ""] {
        let body = with(notification(), &[("Type", json!(kind))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Malformed, "{kind:?}");
    }
}

#[tokio::test]
async fn mistake_12_any_version_but_1_taken_for_sha_256() {
    let verifier = pinned();
    for version in ["3", "0", "02", "2 ", ""] {
        let body = with(notification(), &[("SignatureVersion", json!(version))]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Malformed, "{version:?}");
    }
}

#[tokio::test]
async fn mistake_13_time_not_checked() {
    let verifier = pinned();
    let at = |at| signed(&SIGNER, &Draft { at, ..draft(MessageType::Notification, SignatureVersion::V2) });
    let edge = DEFAULT_TOLERANCE_MILLIS + LEEWAY_MILLIS;
    for millis in [-edge, edge] {
        assert!(verifier.verify(&delivery(at(NOW.plus_millis(millis)).to_string())).await.is_ok());
        let beyond = at(NOW.plus_millis(millis + millis.signum()));
        let rejection = verifier.verify(&delivery(beyond.to_string())).await.expect_err("a replay");
        assert_eq!((rejection.status.as_u16(), rejection.reason), (503, RejectionReason::Stale));
        assert!(rejection.conclusive && rejection.detail.contains("clock may be wrong"), "{rejection}");
    }
    let year_2001 = Timestamp::from_seconds(1_000_000_000);
    assert_eq!(reason(&verifier, at(year_2001)).await, RejectionReason::Stale);
    let year_1 = with(notification(), &[("Timestamp", json!("0001-01-01T00:00:00Z"))]);
    assert_eq!(reason(&verifier, year_1).await, RejectionReason::BadSignature);
}

#[tokio::test]
async fn mistake_14_members_that_run_into_each_other() {
    let verifier = pinned();
    let id = message_id(1);
    for (name, value) in [
        ("MessageId", json!(format!("{id}\nSubject\nx"))),
        ("MessageId", json!("not-a-uuid")),
        ("MessageId", json!("")),
        ("Timestamp", json!("2025-08-09T06:00:00.000Z\n")),
        ("Timestamp", json!("2025-08-09 06:00:00Z")),
        ("Timestamp", json!("2025-08-09T06:00:00")),
        ("Timestamp", json!("2025-08-09T06:00:00Z[UTC]")),
        ("Timestamp", json!("1754719200")),
        ("Subject", json!("x\nTimestamp\n2025-08-09T06:00:00.000Z")),
    ] {
        let body = with(notification(), &[(name, value.clone())]);
        assert_eq!(reason(&verifier, body).await, RejectionReason::Malformed, "{name} {value}");
    }
    // The end of a signed message moved into the next members: the text is the same, the reading is not.
    let inner = format!("a\nMessageId\n{id}\nSubject\nb");
    let genuine = signed(
        &SIGNER,
        &Draft { message: &inner, subject: None, ..draft(MessageType::Notification, SignatureVersion::V2) },
    );
    let subject = format!("b\nMessageId\n{id}");
    let split = with(genuine, &[("Message", json!("a")), ("Subject", json!(subject))]);
    assert_eq!(reason(&verifier, split).await, RejectionReason::Malformed);
}

#[tokio::test]
async fn mistake_15_headers_believed_instead_of_the_signature() {
    let verifier = pinned();
    let unsigned = without(notification(), "Signature").to_string();
    let dressed = header(
        header(delivery(unsigned), "x-amz-sns-message-type", "Notification"),
        "x-amz-sns-topic-arn",
        "arn:aws:sns:us-west-2:123456789012:ses-events",
    );
    assert_eq!(verifier.verify(&dressed).await.expect_err("refused").reason, RejectionReason::Unauthenticated);
}
