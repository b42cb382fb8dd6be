//! Aggregate reports and notifications of Apple's, as the journal keeps them.

use serde_json::json;

use super::{AggregateReport, RelayNotification};
use crate::{
    ingest::{Kept, KeptKind, label, plausible},
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
            whole: Some(file.bytes.clone()),
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
        whole: Some(raw.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{
        Report,
        http::testing::fixture,
        mail::{Envelope, report, understand},
    };
    use crate::model::Address;

    const NOW: Timestamp = Timestamp::from_seconds(1_796_100_000);

    fn kept(mail: &str) -> Report {
        report(&understand(mail.as_bytes()), mail.as_bytes(), &Envelope { rcpt_to: None, received_at: NOW })
    }

    #[test]
    fn an_aggregate_report_is_kept_as_it_came() {
        let mail = fixture("mail", "aggregate");
        let found = kept(&mail);
        assert!(found.events.is_empty() && found.set_aside.is_empty() && found.ignored.is_empty(), "{found:?}");
        let [report] = found.kept.as_slice() else { panic!("one file: {found:?}") };
        assert_eq!(report.at, Some(Timestamp::from_seconds(1_795_391_999)), "the end that its name tells");
        assert_eq!(report.label, "example.com by receiver.example.net");
        assert_eq!((&report.says["domain"], &report.says["left_out"]), (&json!("example.com"), &json!(false)));
        let whole = report.whole.as_ref().expect("it is small");
        assert!(whole.starts_with(&[0x1f, 0x8b]), "packed, as it came");
        assert_eq!(report.says["bytes"], whole.len());

        // Sent again, by another server under another subject: the file is the same.
        let again = kept(&mail.replace("Submitter: receiver", "Submitter: other").replace("4711>", "4712>"));
        assert_eq!((again.kept[0].at, &again.kept[0].dedupe), (report.at, &report.dedupe));
        let other = kept(&mail.replace("H4sIAAAA", "H4sIAAAB"));
        assert_ne!(other.kept[0].dedupe, report.dedupe);
    }

    #[test]
    fn a_report_is_kept_whole_however_large_a_mail_may_be() {
        let bytes = 11 * 1024 * 1024;
        let file = "QUJD".repeat(bytes / 3);
        let lines: Vec<&str> = file.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let mail = fixture("mail", "aggregate");
        let (head, _) = mail.split_once("H4sI").expect("the file");
        let found = kept(&format!("{head}{}\n--b--\n", lines.join("\n")));
        let [report] = found.kept.as_slice() else { panic!("one file: {found:?}") };
        assert_eq!(report.whole.as_ref().map(Vec::len), Some(bytes / 3 * 3), "{report:?}");
        assert_eq!((&report.says["bytes"], &report.says["left_out"]), (&json!(bytes / 3 * 3), &json!(false)));
    }

    #[test]
    fn no_address_stands_in_what_an_entry_says() {
        let mail = fixture("mail", "aggregate").replace("Report Domain: example.com", "Report Domain: jo@example.net");
        let found = kept(&mail);
        assert_eq!(
            (&found.kept[0].says["domain"], found.kept[0].label.as_str()),
            (&json!(null), "? by receiver.example.net")
        );
    }

    #[test]
    fn a_mail_of_apples_is_kept_with_the_address_that_it_is_about() {
        let mail = fixture("mail", "apple-notification");
        let found = kept(&mail);
        let [kept] = found.kept.as_slice() else { panic!("one: {found:?}") };
        assert_eq!(kept.at.map(|at| at.to_string()).as_deref(), Some("2026-11-24T05:00:00Z"));
        assert_eq!(kept.address.as_ref().map(Address::expose), Some("news@mail.example.com"));
        assert_eq!(
            kept.says,
            json!({ "says": "source-not-registered", "domains": ["mail.example.com"], "authenticated": false })
        );
        assert_eq!(kept.whole.as_deref(), Some(mail.as_bytes()));
        assert!(!kept.label.contains("news"), "{}", kept.label);
    }
}
