//! DMARC aggregate reports (RFC 9990, before it RFC 7489 section 7.2): recognised and handed on whole; `sources::reports` reads them.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    MAX_ID_BYTES, MAX_NAME_BYTES,
    fields::clean,
    parts::{Attachment, Mail},
    regex,
};
use crate::model::Timestamp;

/// `Report Domain: example.com Submitter: mail.receiver.example Report-ID: <2002.02.15.1>` (RFC 7489 section 7.2.1.1).
static SUBJECT: LazyLock<Regex> =
    regex!(r"(?i)report[ _-]*domain:\s*(\S+)(?:\s+submitter:\s*(\S+))?(?:\s+report[ _-]*id:\s*<?([^>\s]+)>?)?");
/// `receiver!domain!begin!end[!id].xml[.gz]` (RFC 7489 section 7.2.1.1), and the `.zip` that occurs.
static NAME: LazyLock<Regex> =
    regex!(r"(?i)^([^!/\\]+)!([^!/\\]+)!(\d{8,12})!(\d{8,12})(?:!([^!/\\]+))?\.(?:xml(?:\.gz)?|zip|gz|xml\.zip)$");

/// The end of the time that a report is about, as the name of its file tells it.
pub(super) fn end(name: &str) -> Option<Timestamp> {
    let found = NAME.captures(name)?;
    found.get(4)?.as_str().parse().ok().map(Timestamp::from_seconds)
}

/// A DMARC aggregate report, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateReport {
    /// The domain that it is about, lower case.
    pub domain: Option<String>,
    /// Who reports.
    pub submitter: Option<String>,
    /// The report's id.
    pub report_id: Option<String>,
    /// The mail's date.
    pub date: Option<Timestamp>,
    /// The attached files: at most 8, together no more than a mail may have, untouched.
    pub attachments: Vec<Attachment>,
    /// Whether attachments were left out, since there were too many or they were too large.
    pub cut: bool,
}

/// Reads an aggregate report, where the mail is one.
pub(super) fn read(mail: &mut Mail) -> Option<AggregateReport> {
    let is_file = |attachment: &Attachment| {
        let kind = attachment.media_type.as_str();
        let named = attachment.name.as_deref().is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            [".xml", ".xml.gz", ".gz", ".zip"].iter().any(|end| name.ends_with(end))
        });
        named
            || [
                "application/gzip",
                "application/x-gzip",
                "application/zip",
                "application/x-zip-compressed",
                "application/xml",
                "text/xml",
            ]
            .contains(&kind)
    };
    let subject = SUBJECT.captures(&mail.subject);
    let name = mail.attachments.iter().find_map(|attachment| NAME.captures(attachment.name.as_deref()?));
    let group = |index: usize| subject.as_ref().and_then(|found| found.get(index)).map(|found| found.as_str());
    let part = |index: usize| name.as_ref().and_then(|found| found.get(index)).map(|found| found.as_str());
    if (subject.is_none() && name.is_none()) || !mail.attachments.iter().any(is_file) {
        return None;
    }
    let domain = group(1).or_else(|| part(2)).map(|text| clean(text, MAX_NAME_BYTES).to_ascii_lowercase());
    let submitter = group(2).or_else(|| part(1)).map(|text| clean(text, MAX_NAME_BYTES).to_ascii_lowercase());
    let report_id = group(3).or_else(|| part(5)).map(|text| clean(text, MAX_ID_BYTES));
    Some(AggregateReport {
        domain,
        submitter,
        report_id,
        date: mail.header.date(&["date"]),
        attachments: std::mem::take(&mut mail.attachments).into_iter().filter(is_file).collect(),
        cut: mail.cut,
    })
}
