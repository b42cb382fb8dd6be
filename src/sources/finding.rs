//! What is wrong with a source or a stream, why that matters to Apple's relay, and what to change.
//!
//! The codes are a closed list, documented one by one in `docs/sources.md`. A finding about one path of a stream (SPF or DKIM)
//! is fatal only where nothing else carries the stream; [`FindingCode::spared`] says for which codes that holds.

use std::fmt;

use serde::Serialize;

use crate::model::words;

mod why;

words! {
    /// What was found. Documented one by one in `docs/sources.md`.
    pub enum FindingCode {
        /// No registered source carries the stream, by no path.
        StreamUncovered = 100, "stream_uncovered";
        /// Whether a source carries the stream cannot be told.
        StreamUnknown = 101, "stream_unknown";
        /// One of the two paths is broken, the other carries the stream.
        OnePathLeft = 102, "one_path_left";
        /// One path carries the stream, and by its set-up there is no other.
        OnePathOnly = 103, "one_path_only";
        /// Nothing was declared as registered.
        InventoryMissing = 104, "inventory_missing";
        /// A declared registration was not confirmed within 90 days.
        RegistrationStale = 105, "registration_stale";
        /// Another team has registered the name.
        RegisteredElsewhere = 106, "registered_elsewhere";
        /// The envelope domain is not registered.
        EnvelopeUnregistered = 107, "envelope_unregistered";
        /// The From domain is not registered.
        FromUnregistered = 108, "from_unregistered";
        /// A name above, below or beside it is registered, which does not count.
        RelatedRegistered = 109, "related_registered";
        /// Only single addresses of the domain are registered.
        AddressOnly = 110, "address_only";
        /// More sources than Apple takes.
        SourcesOverLimit = 111, "sources_over_limit";
        /// Nearly as many sources as Apple takes.
        SourcesNearLimit = 112, "sources_near_limit";
        /// A declared source is no domain and no address.
        SourceInvalid = 113, "source_invalid";
        /// A source is declared twice.
        SourceTwice = 114, "source_twice";
        /// A registered source carries no stream.
        SourceUnused = 115, "source_unused";
        /// A registered domain without an SPF record of its own.
        SourceWithoutSpf = 116, "source_without_spf";
        /// A stream's name is no domain and no address.
        StreamInvalid = 117, "stream_invalid";
        /// No selector is known that the stream signs with.
        SelectorsUnknown = 118, "selectors_unknown";
        /// No address is known that the stream is sent from.
        AddressesUnknown = 119, "addresses_unknown";
        /// A stream names a team that the inventory lacks.
        TeamUnknown = 120, "team_unknown";
        /// No SPF record.
        SpfMissing = 200, "spf_missing";
        /// The SPF record is at another name than the envelope domain.
        SpfWrongName = 201, "spf_wrong_name";
        /// More than one SPF record.
        SpfSeveral = 202, "spf_several";
        /// An SPF record, here or included, that cannot be read.
        SpfBroken = 203, "spf_broken";
        /// More than ten terms that ask DNS.
        SpfTooManyLookups = 204, "spf_too_many_lookups";
        /// Eight, nine or ten of the ten terms that may ask DNS.
        SpfNearLookupLimit = 205, "spf_near_lookup_limit";
        /// More than two questions without an answer.
        SpfVoidLookups = 206, "spf_void_lookups";
        /// A record that includes itself.
        SpfLoop = 207, "spf_loop";
        /// The record does not pass the addresses that the stream is sent from.
        SpfAddressRefused = 208, "spf_address_refused";
        /// The record passes some of these addresses.
        SpfSomeRefused = 209, "spf_some_refused";
        /// The record passes everybody.
        SpfAllowsAll = 210, "spf_allows_all";
        /// The record asks for the names of addresses.
        SpfPtr = 211, "spf_ptr";
        /// What is included or redirected to has no SPF record.
        SpfIncludeMissing = 212, "spf_include_missing";
        /// A text that was meant for SPF and is none.
        SpfMisspelt = 213, "spf_misspelt";
        /// A part of the record that does nothing or not what it seems to.
        SpfAdvice = 214, "spf_advice";
        /// No key at a selector in use.
        DkimKeyMissing = 300, "dkim_key_missing";
        /// The key is at another name.
        DkimWrongName = 301, "dkim_wrong_name";
        /// The selector is a CNAME to what does not exist.
        DkimAliasDangling = 302, "dkim_alias_dangling";
        /// The key is revoked: `p=` is empty.
        DkimKeyRevoked = 303, "dkim_key_revoked";
        /// A key record that cannot be read.
        DkimKeyBroken = 304, "dkim_key_broken";
        /// A key record with stray blanks, still readable.
        DkimKeyBlanks = 305, "dkim_key_blanks";
        /// Several keys at one selector.
        DkimKeySeveral = 306, "dkim_key_several";
        /// An RSA key below 1,024 bits.
        DkimKeyTooShort = 307, "dkim_key_too_short";
        /// An RSA key below 2,048 bits.
        DkimKeyShort = 308, "dkim_key_short";
        /// An RSA key above 4,096 bits.
        DkimKeyLong = 309, "dkim_key_long";
        /// `t=y`: the domain says that it is testing DKIM.
        DkimTesting = 310, "dkim_testing";
        /// `t=s`: the domain in `i=` must be that of `d=`.
        DkimStrict = 311, "dkim_strict";
        /// `s=` does not let the key be used for mail.
        DkimService = 312, "dkim_service";
        /// `h=` allows no SHA-256.
        DkimHash = 313, "dkim_hash";
        /// Ed25519 without an RSA key beside it.
        DkimEd25519Only = 314, "dkim_ed25519_only";
        /// A type of key that nobody knows.
        DkimTypeUnknown = 315, "dkim_type_unknown";
        /// No signature has the From domain as its `d=`.
        DkimForeignDomain = 316, "dkim_foreign_domain";
        /// `d=` is a name above, below or beside the From domain.
        DkimRelaxedDomain = 317, "dkim_relaxed_domain";
        /// No DMARC record for the From domain.
        DmarcMissing = 400, "dmarc_missing";
        /// The DMARC record is at another name than `_dmarc`.
        DmarcWrongName = 401, "dmarc_wrong_name";
        /// Several DMARC records at one name: none counts.
        DmarcSeveral = 402, "dmarc_several";
        /// A DMARC record, or a tag of one, that cannot be read.
        DmarcBroken = 403, "dmarc_broken";
        /// Tags that RFC 9989 has removed.
        DmarcRemovedTags = 404, "dmarc_removed_tags";
        /// No policy in the record.
        DmarcPolicyMissing = 405, "dmarc_policy_missing";
        /// `t=y`: the policy is one step weaker than it says.
        DmarcTesting = 406, "dmarc_testing";
        /// Tree walk and public suffix list end at different organisational domains.
        DmarcOrgDiffers = 407, "dmarc_org_differs";
        /// Nobody at the far end has agreed to take the reports.
        DmarcReportUnauthorised = 408, "dmarc_report_unauthorised";
        /// A report address that is none.
        DmarcReportAddress = 409, "dmarc_report_address";
        /// The stream fails DMARC.
        DmarcFails = 410, "dmarc_fails";
        /// The stream passes DMARC and not Apple's rule.
        DmarcPassesAppleFails = 411, "dmarc_passes_apple_fails";
        /// The custom MAIL FROM has no MX, so that SES sends as `amazonses.com`.
        MailFromMxMissing = 500, "mail_from_mx_missing";
        /// The MX of the custom MAIL FROM is not the provider's.
        MailFromMxWrong = 501, "mail_from_mx_wrong";
        /// The custom MAIL FROM has several MX records.
        MailFromMxSeveral = 502, "mail_from_mx_several";
        /// The custom MAIL FROM says that it takes no mail.
        MailFromMxNull = 503, "mail_from_mx_null";
        /// The MX has another preference than SES asks for.
        MailFromMxPreference = 504, "mail_from_mx_preference";
        /// SES refuses to send until the MX is there.
        MailFromRefuses = 505, "mail_from_refuses";
        /// Bounces to the envelope domain cannot come back.
        MailFromNoReturn = 506, "mail_from_no_return";
        /// From domain and custom MAIL FROM are one name.
        MailFromIsFrom = 507, "mail_from_is_from";
        /// DNS gave no answer.
        DnsTrouble = 600, "dns_trouble";
        /// DNSSEC says that an answer is forged or broken.
        DnssecBogus = 601, "dnssec_bogus";
        /// A record turns back and forth.
        DnsUnstable = 602, "dns_unstable";
        /// The servers of a zone contradict each other.
        DnsServersDisagree = 603, "dns_servers_disagree";
        /// A resolver says otherwise than the zone's own servers.
        DnsResolverDiffers = 604, "dns_resolver_differs";
        /// Aggregate reports: mail of known addresses fails by SPF and by DKIM.
        ReportsBothFail = 800, "reports_both_fail";
        /// Aggregate reports: SPF passes addresses that no stream names.
        ReportsUndeclaredSender = 801, "reports_undeclared_sender";
    }
}

words! {
    /// How much a finding costs.
    pub enum Grade {
        /// Good to know; nothing is lost and nothing near it.
        Notable = 0, "notable";
        /// Fit, and one step from unfit; or it cannot be told for a reason of one's own.
        AtRisk = 1, "at-risk";
        /// Fitness is lost: mail to relay addresses is refused.
        Fatal = 2, "fatal";
    }
}

impl FindingCode {
    /// How much it costs where nothing softens it.
    #[must_use]
    pub const fn grade(self) -> Grade {
        use FindingCode as C;
        match self {
            C::OnePathOnly
            | C::InventoryMissing
            | C::SourcesNearLimit
            | C::SourceTwice
            | C::SourceUnused
            | C::SelectorsUnknown
            | C::AddressesUnknown
            | C::SpfPtr
            | C::SpfAdvice
            | C::DkimKeyBlanks
            | C::DkimKeyLong
            | C::DkimStrict
            | C::DmarcMissing
            | C::DmarcWrongName
            | C::DmarcSeveral
            | C::DmarcBroken
            | C::DmarcRemovedTags
            | C::DmarcPolicyMissing
            | C::DmarcTesting
            | C::DmarcReportUnauthorised
            | C::DmarcReportAddress
            | C::MailFromMxPreference
            | C::MailFromIsFrom
            | C::DnsTrouble
            | C::ReportsUndeclaredSender
            | C::DnsResolverDiffers => Grade::Notable,
            C::StreamUnknown
            | C::OnePathLeft
            | C::RegistrationStale
            | C::RelatedRegistered
            | C::AddressOnly
            | C::SourcesOverLimit
            | C::SourceInvalid
            | C::SourceWithoutSpf
            | C::StreamInvalid
            | C::TeamUnknown
            | C::SpfNearLookupLimit
            | C::SpfSomeRefused
            | C::SpfAllowsAll
            | C::DkimKeySeveral
            | C::DkimKeyShort
            | C::DkimTesting
            | C::DkimEd25519Only
            | C::DkimRelaxedDomain
            | C::DmarcOrgDiffers
            | C::DmarcFails
            | C::DmarcPassesAppleFails
            | C::MailFromNoReturn
            | C::DnssecBogus
            | C::DnsUnstable
            | C::DnsServersDisagree => Grade::AtRisk,
            C::StreamUncovered
            | C::RegisteredElsewhere
            | C::EnvelopeUnregistered
            | C::FromUnregistered
            | C::SpfMissing
            | C::SpfWrongName
            | C::SpfSeveral
            | C::SpfBroken
            | C::SpfTooManyLookups
            | C::SpfVoidLookups
            | C::SpfLoop
            | C::SpfAddressRefused
            | C::SpfIncludeMissing
            | C::SpfMisspelt
            | C::DkimKeyMissing
            | C::DkimWrongName
            | C::DkimAliasDangling
            | C::DkimKeyRevoked
            | C::DkimKeyBroken
            | C::DkimKeyTooShort
            | C::DkimService
            | C::DkimHash
            | C::DkimTypeUnknown
            | C::DkimForeignDomain
            | C::MailFromMxMissing
            | C::MailFromMxWrong
            | C::MailFromMxSeveral
            | C::MailFromMxNull
            | C::MailFromRefuses
            | C::ReportsBothFail => Grade::Fatal,
        }
    }

    /// Whether it is only at risk where another path carries every stream concerned: a path is lost then, and fitness is not.
    ///
    /// A CNAME that leads nowhere and a revoked key stay fatal: mail that is signed with them fails wherever it goes, and who
    /// takes the name that the CNAME leads to can sign for the domain.
    #[must_use]
    pub const fn spared(self) -> bool {
        matches!(self.grade(), Grade::Fatal)
            && !matches!(
                self,
                Self::StreamUncovered
                    | Self::DkimAliasDangling
                    | Self::DkimKeyRevoked
                    | Self::MailFromRefuses
                    | Self::ReportsBothFail
            )
    }
}

/// One DNS record, ready to paste.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DnsRecord {
    /// The name, absolute: with its last dot.
    pub name: String,
    /// `TXT`, `MX` or `CNAME`.
    pub kind: &'static str,
    /// The value as a zone file has it: texts in quoted strings of at most 255 bytes, names absolute.
    pub value: String,
}

impl DnsRecord {
    /// A TXT record; a text longer than 255 bytes is cut into strings (RFC 1035 section 3.3.14), which readers join again.
    #[must_use]
    pub fn txt(name: impl fmt::Display, text: &str) -> Self {
        let mut strings = vec![String::new()];
        let mut bytes = 0;
        for letter in text.chars() {
            if bytes + letter.len_utf8() > 255 {
                strings.push(String::new());
                bytes = 0;
            }
            bytes += letter.len_utf8();
            if let Some(last) = strings.last_mut() {
                if matches!(letter, '"' | '\\') {
                    last.push('\\');
                }
                last.push(letter);
            }
        }
        let quoted: Vec<String> = strings.iter().map(|string| format!("\"{string}\"")).collect();
        Self { name: absolute(name), kind: "TXT", value: quoted.join(" ") }
    }

    /// An MX record.
    #[must_use]
    pub fn mx(name: impl fmt::Display, preference: u16, host: impl fmt::Display) -> Self {
        Self { name: absolute(name), kind: "MX", value: format!("{preference} {}", absolute(host)) }
    }
}

impl fmt::Display for DnsRecord {
    /// A line of a zone file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.kind, self.value)
    }
}

fn absolute(name: impl fmt::Display) -> String {
    let name = name.to_string();
    if name.ends_with('.') { name } else { name + "." }
}

/// What to change: a record to publish, a step in words, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fix {
    /// The step, a sentence.
    pub step: String,
    /// The record to publish in place of what is there.
    pub record: Option<DnsRecord>,
}

impl Fix {
    /// A step in words.
    #[must_use]
    pub fn step(step: impl Into<String>) -> Self {
        Self { step: step.into(), record: None }
    }

    /// A record to publish, with the step that leads to it.
    #[must_use]
    pub fn publish(step: impl Into<String>, record: DnsRecord) -> Self {
        Self { step: step.into(), record: Some(record) }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How much it costs.
    pub grade: Grade,
    /// What kind of thing it is.
    pub code: FindingCode,
    /// The name it is about: a domain, a DNS name, a stream's From domain. Never an address of a person.
    pub about: String,
    /// What was found, a sentence.
    pub what: String,
    /// Why it matters to Apple's relay, a sentence.
    pub why: &'static str,
    /// What to change.
    pub fix: Fix,
}

impl Finding {
    /// A finding of its code's grade.
    #[must_use]
    pub fn new(code: FindingCode, about: impl fmt::Display, what: impl Into<String>, fix: Fix) -> Self {
        Self { grade: code.grade(), code, about: about.to_string(), what: what.into(), why: code.why(), fix }
    }

    /// The same at another grade.
    #[must_use]
    pub fn graded(self, grade: Grade) -> Self {
        Self { grade, ..self }
    }
}

/// What stands in a record as people may see it: no control characters, at most `max` letters.
pub(super) fn shown(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out: String = text.chars().take(max).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_number_name_and_reason() {
        let numbers: HashSet<i16> = FindingCode::ALL.iter().map(|code| code.code()).collect();
        let reasons: HashSet<&str> = FindingCode::ALL.iter().map(|code| code.why()).collect();
        assert_eq!((numbers.len(), reasons.len()), (FindingCode::ALL.len(), FindingCode::ALL.len()));
        for code in FindingCode::ALL {
            assert_eq!(FindingCode::from_name(code.as_str()), Some(*code));
            assert!(code.why().ends_with('.') && code.why().len() > 30, "{code}");
            assert!(!code.spared() || code.grade() == Grade::Fatal, "{code}");
        }
        assert!(Grade::Notable < Grade::AtRisk && Grade::AtRisk < Grade::Fatal);
    }

    #[test]
    fn long_texts_are_cut_into_strings_that_a_zone_file_takes() {
        let record = DnsRecord::txt("s1._domainkey.example.com", &format!("v=DKIM1; p={}", "A".repeat(300)));
        assert!(record.to_string().starts_with("s1._domainkey.example.com. TXT \"v=DKIM1; p=AAA"));
        let strings: Vec<&str> = record.value.trim_matches('"').split("\" \"").collect();
        assert_eq!(strings.iter().map(|string| string.len()).collect::<Vec<_>>(), [255, 56]);
        assert_eq!(DnsRecord::txt("a.example.", "say \"hi\"").value, "\"say \\\"hi\\\"\"");
        assert_eq!(
            DnsRecord::mx("mail.example.com", 10, "feedback-smtp.eu-west-1.amazonses.com").to_string(),
            "mail.example.com. MX 10 feedback-smtp.eu-west-1.amazonses.com."
        );
    }

    #[test]
    fn what_is_shown_of_a_record_is_short_and_prints() {
        assert_eq!(shown(b"v=spf1 -all", 40), "v=spf1 -all");
        assert_eq!(shown(b"a\x00b\x1b[0m", 3), "a\u{fffd}b…");
        assert_eq!(shown(b"\xff", 3), "\u{fffd}");
    }
}
