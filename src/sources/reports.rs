//! DMARC aggregate reports: what receivers saw of one's mail, address by address. Pure: bytes in, reports out.
//!
//! Sources: RFC 9990, before it RFC 7489 section 7.2 and appendix C, and the draft that went before that, which some still write.
//! The XML is read event by event (quick-xml) and by the paths of its elements, whatever their namespace: so that a document type
//! is refused before anything of it could be expanded, a fault is told with its line, and elements that nobody knows are passed over.
//! mail-auth's `report` module reads the same, yet knows neither the place of a fault nor a zip file with several reports.
//!
//! Anyone can send such a report to the address that a DMARC record names. What is read is bounded in size, expansion, depth and
//! count, and proves nothing by itself: findings made of it are told, and page nobody.
//!
//! Kept are addresses of mail servers, domains, and counts. Contact addresses, recipients, comments, and the local part of
//! whatever should have been a domain are passed over.

use std::net::IpAddr;

use serde::Serialize;

use crate::model::{Timestamp, words};

mod judge;
mod packing;
mod tally;
#[cfg(test)]
mod tests;
mod xml;

pub use judge::{FATAL_FROM, judge};
pub use packing::{MAX_ENTRIES, MAX_PACKED_BYTES, MAX_RATIO, MAX_UNPACKED_BYTES, Packing, packing};
pub use tally::{Counts, DomainReport, MAX_ROWS, Sender, SenderRow, Tally};

/// Records of one report at most.
pub const MAX_RECORDS: usize = 200_000;
/// How deep elements may lie in each other; reports have six levels.
pub const MAX_DEPTH: usize = 32;

words! {
    /// What came of a check for alignment.
    pub enum Alignment {
        /// It passed, for a name that is aligned with the From domain.
        Pass = 1, "pass";
        /// It did not.
        Fail = 2, "fail";
        /// The report does not say, or in a word that means nothing.
        Unknown = 3, "unknown";
    }
}

words! {
    /// What the receiver did by the policy.
    pub enum Disposition {
        /// Nothing: the policy asks for nothing, or was overridden.
        None = 1, "none";
        /// Nothing, since DMARC passed (RFC 9990).
        Pass = 2, "pass";
        /// It was treated as suspicious.
        Quarantine = 3, "quarantine";
        /// It was refused.
        Reject = 4, "reject";
        /// The report does not say, or in a word that means nothing.
        Unknown = 5, "unknown";
    }
}

words! {
    /// Why the receiver did something else than the policy asks for (RFC 7489 appendix C, RFC 9990).
    pub enum Override {
        /// It was forwarded, as the receiver knows or guesses.
        Forwarded = 1, "forwarded";
        /// It was left out of the share that the policy is for (`pct`).
        SampledOut = 2, "sampled_out";
        /// It came by a forwarder whom the receiver trusts.
        TrustedForwarder = 3, "trusted_forwarder";
        /// It came by a mailing list.
        MailingList = 4, "mailing_list";
        /// A rule of the receiver's own.
        LocalPolicy = 5, "local_policy";
        /// The policy is being tested (`t=y`).
        PolicyTestMode = 6, "policy_test_mode";
        /// Another reason, or a word that means nothing.
        Other = 7, "other";
    }
}

impl Override {
    /// Whether the mail came by somebody who passed it on: that breaks SPF, and often DKIM, and is no fault of the sender.
    #[must_use]
    pub const fn is_forwarding(self) -> bool {
        matches!(self, Self::Forwarded | Self::TrustedForwarder | Self::MailingList)
    }
}

/// What the receiver found of one signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// `d=`.
    pub domain: Option<String>,
    /// `s=`.
    pub selector: Option<String>,
    /// The result word of RFC 8601 in small letters.
    pub result: String,
}

/// What the receiver found by SPF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpfChecked {
    /// The envelope domain.
    pub domain: Option<String>,
    /// The result word of RFC 7208 in small letters.
    pub result: String,
}

/// Mail of one address that fared alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The address that it came from.
    pub address: IpAddr,
    /// How many messages.
    pub count: u64,
    /// What the receiver did.
    pub disposition: Disposition,
    /// Alignment by SPF.
    pub spf: Alignment,
    /// Alignment by DKIM.
    pub dkim: Alignment,
    /// Why the receiver did something else than the policy asks for.
    pub overrides: Vec<Override>,
    /// The From domain; that of the policy where none can be read.
    pub header_from: String,
    /// The envelope domain.
    pub envelope_from: Option<String>,
    /// The signatures that were there.
    pub signatures: Vec<Signature>,
    /// SPF, for MAIL FROM or HELO.
    pub spf_checked: Vec<SpfChecked>,
}

/// One report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Who reports, by the name that it gives itself. Never an address.
    pub organisation: String,
    /// The report's id: unique at the organisation.
    pub report_id: String,
    /// The domain whose policy was applied.
    pub domain: String,
    /// The beginning of the time that it is about.
    pub begin: Timestamp,
    /// Its end.
    pub end: Timestamp,
    /// The policy that was found, `p=`, in small letters.
    pub policy: Option<String>,
    /// The policy for subdomains, `sp=`.
    pub subdomain_policy: Option<String>,
    /// Mail, grouped by how it fared.
    pub records: Vec<Record>,
    /// Records that have no readable address or count, and are left out.
    pub left_out: u64,
}

impl Report {
    /// The messages of all records.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.records.iter().fold(0, |sum, record| sum.saturating_add(record.count))
    }

    /// What makes it the same report, whoever brings it again and however packed: organisation, id and domain. RFC 9990 asks for an id
    /// that is unique at the organisation; the domain stands beside it for those who number by domain.
    #[must_use]
    pub fn identity(&self) -> (String, String, String) {
        (self.organisation.to_lowercase(), self.report_id.clone(), self.domain.clone())
    }
}

/// Why something is no report that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Nothing but blanks.
    #[error("it is empty")]
    Empty,
    /// Too large as it came.
    #[error("it is larger than {} MiB", MAX_PACKED_BYTES >> 20)]
    TooLarge,
    /// Too large when unpacked.
    #[error("unpacked it is larger than {} MiB", MAX_UNPACKED_BYTES >> 20)]
    Expands,
    /// It grows more than a report does.
    #[error("it unpacks to more than {MAX_RATIO} times its size, which no report does")]
    Ratio,
    /// Broken gzip.
    #[error("it is packed by gzip, and broken or cut off")]
    Gzip,
    /// Broken zip, or one of a kind that is not read.
    #[error("it is a zip file, and broken, cut off or packed in a way that is not read")]
    Zip,
    /// A zip file that asks for a password.
    #[error("it is a zip file with a password")]
    Encrypted,
    /// Too many files in a zip file.
    #[error("it is a zip file with more than {MAX_ENTRIES} files in it")]
    Entries,
    /// A zip file without a report.
    #[error("it is a zip file without a report in it")]
    NoEntry,
    /// Neither XML nor packed.
    #[error("it is neither XML nor packed by gzip or zip")]
    Unknown,
    /// A document type.
    #[error(
        "line {line}: it has a document type (DTD), which no report needs and which can name files or grow without bounds"
    )]
    DocumentType {
        /// The line, from 1.
        line: u64,
    },
    /// An entity that XML does not have by itself.
    #[error("line {line}: it names an entity that is none of the five of XML")]
    Entity {
        /// The line, from 1.
        line: u64,
    },
    /// Elements in each other without end.
    #[error("line {line}: elements lie more than {MAX_DEPTH} deep in each other")]
    Depth {
        /// The line, from 1.
        line: u64,
    },
    /// Too many records.
    #[error("it has more than {MAX_RECORDS} records")]
    Records,
    /// Ill-formed XML.
    #[error("line {line}: {what}")]
    Xml {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It ends before its last tag.
    #[error("it breaks off: the end of <feedback> is missing")]
    CutOff,
    /// XML of another kind.
    #[error("it is XML, and no aggregate report: its outermost element is not <feedback>")]
    OtherXml,
    /// Something that every report has is missing.
    #[error("it has no {0}, or one that makes no sense")]
    Missing(&'static str),
    /// Its time ends before it begins.
    #[error("the time that it is about ends before it begins")]
    Backwards,
}

/// Reads a file: one report, or several in a zip file; what is wrong with one of these is told in its place.
///
/// # Errors
/// Where it cannot be unpacked, or holds no report.
pub fn read(bytes: &[u8]) -> Result<Vec<Result<Report, ReportError>>, ReportError> {
    Ok(packing::unpack(bytes)?.iter().map(|document| xml::read(document)).collect())
}

/// Reads a file that holds one report.
///
/// # Errors
/// Where it cannot be read, or holds several.
pub fn read_one(bytes: &[u8]) -> Result<Report, ReportError> {
    let mut all = read(bytes)?;
    match (all.pop(), all.is_empty()) {
        (Some(report), true) => report,
        _ => Err(ReportError::Entries),
    }
}
