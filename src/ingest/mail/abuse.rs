//! Abuse reports: RFC 5965 with the fields of RFC 6591 (authentication failures) and RFC 6692, and what comes in their place.
//!
//! Microsoft's junk mail reports (JMRP) are a message with `X-HmXmrOriginalRecipient` enclosed in a mail from
//! `staff@hotmail.com`: observed.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    MAX_ID_BYTES, MAX_NAME_BYTES, MAX_RECIPIENTS,
    fields::{self, Fields, clean},
    original::Original,
    parts::Mail,
};
use crate::model::{Address, Timestamp, words};

/// Values of a field that may be repeated.
const MAX_REPEATED: usize = 100;

words! {
    /// RFC 5965 section 7.3 and the registry of feedback types.
    pub enum FeedbackType {
        /// Unwanted mail.
        Abuse = 1, "abuse";
        /// Authentication failed (RFC 6591).
        AuthFailure = 2, "auth-failure";
        /// Fraud or phishing.
        Fraud = 3, "fraud";
        /// No spam after all.
        NotSpam = 4, "not-spam";
        /// A virus.
        Virus = 5, "virus";
        /// Any other.
        Other = 6, "other";
    }
}

/// An abuse report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbuseReport {
    /// What is complained of.
    pub feedback_type: FeedbackType,
    /// Whether it has the fields of RFC 5965; else it is one of those that come in their place.
    pub standard: bool,
    /// The fields of the report.
    pub fields: AbuseFields,
    /// Who complained, where the report tells: `Original-Rcpt-To`, else a provider's own field. Many are redacted.
    pub recipients: Vec<Address>,
    /// Whether recipients were left out, since there are more than 1,000.
    pub cut: bool,
    /// The envelope sender of the message.
    pub sender: Option<Address>,
    /// The report's own date.
    pub date: Option<Timestamp>,
    /// The message that it is about.
    pub original: Original,
}

/// The machine-readable fields, as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AbuseFields {
    /// `Version`.
    pub version: u32,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Arrival-Date` or the older `Received-Date`, in seconds since the epoch.
    pub arrival_date: Option<i64>,
    /// `Authentication-Results`, with their folds.
    pub authentication_results: Vec<String>,
    /// `Incidents`; 1 where it is not given.
    pub incidents: u32,
    /// `Original-Envelope-Id`.
    pub original_envelope_id: Option<String>,
    /// `Original-Mail-From`.
    pub original_mail_from: Option<String>,
    /// `Original-Rcpt-To`, the first.
    pub original_rcpt_to: Option<String>,
    /// `Reported-Domain`.
    pub reported_domain: Vec<String>,
    /// `Reported-URI`.
    pub reported_uri: Vec<String>,
    /// `Reporting-MTA`, without its type.
    pub reporting_mta: Option<String>,
    /// `Source-IP`.
    pub source_ip: Option<IpAddr>,
    /// `Source-Port`; 0 where it is not given.
    pub source_port: u16,
    /// `Auth-Failure` (RFC 6591), lower case.
    pub auth_failure: Option<String>,
    /// `Delivery-Result` (RFC 6591), lower case.
    pub delivery_result: Option<String>,
    /// `Identity-Alignment` (RFC 7489 section 7.3.1), lower case.
    pub identity_alignment: Option<String>,
    /// `DKIM-ADSP-DNS`.
    pub dkim_adsp_dns: Option<String>,
    /// `DKIM-Canonicalized-Body`.
    pub dkim_canonicalized_body: Option<String>,
    /// `DKIM-Canonicalized-Header`.
    pub dkim_canonicalized_header: Option<String>,
    /// `DKIM-Domain`.
    pub dkim_domain: Option<String>,
    /// `DKIM-Identity`.
    pub dkim_identity: Option<String>,
    /// `DKIM-Selector`.
    pub dkim_selector: Option<String>,
    /// `DKIM-Selector-DNS`.
    pub dkim_selector_dns: Option<String>,
    /// `SPF-DNS`.
    pub spf_dns: Option<String>,
}

impl AbuseFields {
    fn read(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).map(|text| clean(text, MAX_ID_BYTES));
        let word = |name: &str| fields.get(name).map(|text| clean(text, MAX_NAME_BYTES).to_ascii_lowercase());
        let list = |name: &str| fields.all(name).take(MAX_REPEATED).map(|text| clean(text, 2_000)).collect();
        let number = |name: &str| fields.get(name).and_then(|text| text.split_whitespace().next()?.parse().ok());
        Self {
            version: number("version").unwrap_or(1),
            user_agent: text("user-agent"),
            arrival_date: fields.date(&["arrival-date", "received-date"]).map(Timestamp::as_seconds),
            authentication_results: fields
                .all_folded("authentication-results")
                .take(MAX_REPEATED)
                .map(str::to_owned)
                .collect(),
            incidents: number("incidents").unwrap_or(1),
            original_envelope_id: text("original-envelope-id"),
            original_mail_from: text("original-mail-from"),
            original_rcpt_to: text("original-rcpt-to"),
            reported_domain: list("reported-domain"),
            reported_uri: list("reported-uri"),
            reporting_mta: fields.get("reporting-mta").map(|text| clean(fields::typed(text).1, MAX_NAME_BYTES)),
            source_ip: fields
                .get("source-ip")
                .and_then(|text| text.split_whitespace().next()?.trim_matches(['[', ']']).parse().ok()),
            source_port: fields.get("source-port").and_then(|text| text.trim().parse().ok()).unwrap_or(0),
            auth_failure: word("auth-failure"),
            delivery_result: word("delivery-result"),
            identity_alignment: word("identity-alignment"),
            dkim_adsp_dns: text("dkim-adsp-dns"),
            dkim_canonicalized_body: text("dkim-canonicalized-body"),
            dkim_canonicalized_header: text("dkim-canonicalized-header"),
            dkim_domain: text("dkim-domain"),
            dkim_identity: text("dkim-identity"),
            dkim_selector: text("dkim-selector"),
            dkim_selector_dns: text("dkim-selector-dns"),
            spf_dns: text("spf-dns"),
        }
    }
}

/// Reads an abuse report, where the mail is one.
pub(super) fn read(mail: &Mail) -> Option<AbuseReport> {
    let original = mail.original.as_ref().map(Original::read).unwrap_or_default();
    let date = mail.header.date(&["date"]);
    if let Some(text) = &mail.feedback {
        // All of it is one block; some put blank lines between.
        let fields = Fields::read(&text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n"));
        let recipients = fields
            .all("original-rcpt-to")
            .chain(fields.all("removal-recipient").filter(|_| !fields.has("original-rcpt-to")));
        let mut named: Vec<Address> = Vec::new();
        for address in recipients.filter_map(fields::address) {
            if !named.contains(&address) {
                named.push(address);
            }
        }
        let cut = named.len() > MAX_RECIPIENTS || fields.is_full();
        named.truncate(MAX_RECIPIENTS);
        return Some(AbuseReport {
            feedback_type: feedback_type(fields.get("feedback-type").unwrap_or_default()),
            standard: true,
            recipients: named,
            cut,
            sender: fields.get("original-mail-from").and_then(fields::address).or_else(|| original.return_path.clone()),
            fields: AbuseFields::read(&fields),
            date,
            original,
        });
    }
    let returned = mail.original.as_ref()?;
    let complainant = returned.get("x-hmxmroriginalrecipient").and_then(fields::address);
    let from_microsoft =
        mail.header.get("from").is_some_and(|from| from.to_ascii_lowercase().contains("staff@hotmail.com"));
    if complainant.is_none()
        && !(from_microsoft && mail.subject.to_ascii_lowercase().contains("complaint about message"))
    {
        return None;
    }
    Some(AbuseReport {
        feedback_type: FeedbackType::Abuse,
        standard: false,
        fields: AbuseFields { version: 1, incidents: 1, ..AbuseFields::default() },
        recipients: complainant.into_iter().collect(),
        cut: false,
        sender: original.return_path.clone(),
        date,
        original,
    })
}

fn feedback_type(word: &str) -> FeedbackType {
    let word = word.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    FeedbackType::from_name(&word).unwrap_or(match word.as_str() {
        "authfailure" | "auth_failure" => FeedbackType::AuthFailure,
        "notspam" => FeedbackType::NotSpam,
        "phishing" => FeedbackType::Fraud,
        _ => FeedbackType::Other,
    })
}
