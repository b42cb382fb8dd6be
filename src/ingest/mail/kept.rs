//! Aggregate reports and notifications of Apple's, as the journal keeps them.

use serde_json::json;

use super::{AggregateReport, RelayNotification};
use crate::{
    ingest::{Kept, KeptKind, MAX_KEPT_BYTES, label, plausible},
    model::{DedupeMaterial, Provider, Timestamp},
};

/// The domain as it may stand in the journal: what holds an `@` is none.
fn domain(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.contains('@'))
}

/// The files of an aggregate report, each by itself. The same file is the same report, whoever brings it again: the key is made
/// of its bytes, and its time is the one that its name tells as the end of what it is about (RFC 7489 section 7.2.1.1), else the mail's date.
pub(super) fn aggregate(report: &AggregateReport, now: Timestamp) -> Vec<Kept> {
    let (domain, submitter) = (domain(report.domain.as_ref()), domain(report.submitter.as_ref()));
    let told = |text: Option<&String>| text.map_or("?", String::as_str).to_owned();
    let files = report.attachments.iter().map(|file| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file.bytes);
        Kept {
            kind: KeptKind::DmarcReport,
            at: [file.name.as_deref().and_then(super::aggregate::end), report.date]
                .into_iter()
                .flatten()
                .find(|at| plausible(*at, now)),
            dedupe: DedupeMaterial::new(Provider::Mail, &["dmarc-report", &hex::encode(digest)]),
            address: None,
            says: json!({
                "domain": domain,
                "submitter": submitter,
                "media_type": label(&file.media_type),
                "bytes": file.bytes.len(),
                "left_out": report.cut,
            }),
            label: label(&format!("{} by {}", told(domain), told(submitter))),
            whole: (file.bytes.len() <= MAX_KEPT_BYTES).then(|| file.bytes.clone()),
        }
    });
    files.collect()
}

/// A notification with the mail that it is: nobody has ever published how they are worded. The addresses that it names are senders;
/// where it names one, the entry is about it.
pub(super) fn notification(notification: &RelayNotification, raw: &[u8], now: Timestamp) -> Kept {
    let date = notification.date.filter(|at| plausible(*at, now));
    let mut parts = vec!["relay-notification", notification.says.as_str()];
    let millis = notification.date.map_or_else(String::new, |at| at.as_millis().to_string());
    parts.push(&millis);
    parts.extend(notification.domains.iter().map(String::as_str));
    Kept {
        kind: KeptKind::RelayNotification,
        at: date,
        dedupe: DedupeMaterial::new(Provider::Mail, &parts),
        address: match notification.addresses.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        },
        says: json!({
            "says": notification.says,
            "domains": notification.domains,
            "authenticated": notification.authenticated,
        }),
        label: label(&format!("{} {}", notification.says, notification.domains.join(" "))),
        whole: (raw.len() <= MAX_KEPT_BYTES).then(|| raw.to_vec()),
    }
}
