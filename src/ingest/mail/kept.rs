//! Aggregate reports and notifications of Apple's, as the journal keeps them.

use serde_json::json;

use super::{AggregateReport, RelayNotification};
use crate::{
    ingest::{Kept, KeptKind, label, plausible},
    model::{DedupeMaterial, Provider, Timestamp},
    sources::reports::{self, Report},
};

/// The domain as it may stand in the journal: what holds an `@` is none.
fn domain(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.contains('@'))
}

/// What is known of the file of an aggregate report beside its bytes; a stranger's words, all of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportFile<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its media type.
    pub media_type: &'a str,
    /// The domain that the mail says it is about.
    pub domain: Option<&'a str>,
    /// Who the mail says has sent it.
    pub submitter: Option<&'a str>,
    /// The mail's date.
    pub date: Option<Timestamp>,
    /// Whether other files of the mail were left out.
    pub left_out: bool,
}

/// The file of an aggregate report as the journal keeps it: as it came, and what it is in a few words. The same report is the same
/// entry, whoever brings it again and however packed: the key is made of organisation, id and domain, and its time is the end of what it
/// is about. Where it can't be read, or holds several, the key is made of the file's bytes, and its time is the one that its name tells
/// as that end (RFC 7489 section 7.2.1.1), else the mail's date.
#[must_use]
pub fn report_file(file: &ReportFile<'_>, bytes: &[u8], now: Timestamp) -> Kept {
    let (documents, mut fault) = match reports::read(bytes) {
        Ok(documents) => (documents, None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    let is_one = documents.len() == 1;
    let mut good: Vec<Report> = Vec::new();
    for document in documents {
        match document {
            Ok(report) => good.push(report),
            Err(broken) => fault = fault.or(Some(broken)),
        }
    }
    let dedupe = match good.as_slice() {
        [only] if is_one => {
            let (organisation, id, domain) = only.identity();
            DedupeMaterial::new(Provider::Mail, &["dmarc-report", &organisation, &id, &domain])
        }
        _ => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
            DedupeMaterial::new(Provider::Mail, &["dmarc-report", &hex::encode(digest)])
        }
    };
    let first = good.first();
    let domain = first.map(|report| report.domain.as_str()).or(self::domain(file.domain));
    let submitter = self::domain(file.submitter).or(first.map(|report| report.organisation.as_str()));
    let messages = first.map(|_| good.iter().map(Report::messages).fold(0, u64::saturating_add));
    Kept {
        kind: KeptKind::DmarcReport,
        at: [good.iter().map(|report| report.end).max(), file.name.and_then(super::aggregate::end), file.date]
            .into_iter()
            .flatten()
            .find(|at| plausible(*at, now)),
        dedupe,
        address: None,
        says: json!({
            "domain": domain,
            "submitter": submitter,
            "media_type": label(file.media_type),
            "bytes": bytes.len(),
            "left_out": file.left_out,
            "messages": messages,
            "fault": fault.map(|fault| fault.to_string()),
        }),
        label: label(&format!("{} by {}", domain.unwrap_or("?"), submitter.unwrap_or("?"))),
        whole: Some(bytes.to_vec()),
    }
}

/// The files of an aggregate report, each by itself.
#[must_use]
pub fn aggregate(report: &AggregateReport, now: Timestamp) -> Vec<Kept> {
    let files = report.attachments.iter().map(|attachment| {
        let file = ReportFile {
            name: attachment.name.as_deref(),
            media_type: &attachment.media_type,
            domain: report.domain.as_deref(),
            submitter: report.submitter.as_deref(),
            date: report.date,
            left_out: report.cut,
        };
        report_file(&file, &attachment.bytes, now)
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
        Report as Made,
        http::testing::fixture,
        mail::{Envelope, report, understand},
    };
    use crate::model::Address;

    const NOW: Timestamp = Timestamp::from_seconds(1_796_100_000);

    fn kept(mail: &str) -> Made {
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

    /// One that can be read is known by what it says, not by how it came.
    #[test]
    fn the_same_report_is_the_same_entry_however_it_is_packed() {
        use std::io::Write as _;
        let plain = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reports/rfc9990.xml"));
        let plain = plain.expect("a fixture");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&plain).expect("packs");
        let packed = packed.finish().expect("packs");
        let bare = report_file(&ReportFile::default(), &plain, NOW);
        let named = ReportFile {
            name: Some("a!b!1795305600!1795391990.xml.gz"),
            submitter: Some("x"),
            ..ReportFile::default()
        };
        let other = report_file(&named, &packed, NOW);
        assert_eq!((bare.at, &bare.dedupe), (other.at, &other.dedupe));
        assert_eq!(bare.at, Some(Timestamp::from_seconds(1_795_391_999)), "the end that it tells itself");
        assert_eq!((&bare.says["messages"], &bare.says["fault"]), (&json!(138), &json!(null)));
        assert_eq!(bare.label, "example.com by Receiver Example");
        let broken = report_file(&named, plain.strip_suffix(b"</feedback>\n").expect("its end"), NOW);
        assert_eq!(broken.at, Some(Timestamp::from_seconds(1_795_391_990)), "the end that its name tells");
        assert_ne!(broken.dedupe, bare.dedupe);
        assert_eq!(broken.says["fault"], "it breaks off: the end of <feedback> is missing");
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
