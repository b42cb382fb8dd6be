//! Why each finding matters to Apple's relay.

use super::FindingCode;

impl FindingCode {
    /// Why it matters to Apple's relay, a sentence.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table: one sentence a code")]
    pub const fn why(self) -> &'static str {
        match self {
            Self::StreamUncovered => {
                "Apple's relay takes mail only from a registered source, by SPF or by DKIM; all of this stream is refused."
            }
            Self::StreamUnknown => "Nobody can say beforehand whether Apple's relay will take this stream.",
            Self::OnePathLeft => "Apple asks for SPF or DKIM: the next fault on the path that is left stops all of it.",
            Self::OnePathOnly => "Apple asks for SPF or DKIM, and a fault on this one path stops all of the stream.",
            Self::InventoryMissing => {
                "Apple has no interface that tells what is registered; without a declaration the verdict stays open."
            }
            Self::RegistrationStale => {
                "A registration can be removed in Apple's portal without a notice; an old declaration proves nothing."
            }
            Self::RegisteredElsewhere => {
                "A registration counts for the users of its own team only; to other teams' users the sender is unauthorized."
            }
            Self::EnvelopeUnregistered => {
                "By SPF Apple takes mail only where the envelope domain itself is registered; a match must be exact."
            }
            Self::FromUnregistered => "By DKIM Apple compares d= with the From domain, which must be registered.",
            Self::RelatedRegistered => {
                "Registrations are not inherited: neither the name above nor one below counts for this one."
            }
            Self::AddressOnly => "A registered address counts for exactly that address, not for its domain.",
            Self::SourcesOverLimit => {
                "Apple takes 32 sources of an individual and 100 of an organization; what is beyond cannot be registered."
            }
            Self::SourcesNearLimit => "Soon no further source of this team can be registered with Apple.",
            Self::SourceInvalid => "Apple cannot have registered what is no name; what was meant is not known.",
            Self::SourceTwice => {
                "Each counts towards Apple's limit, and the confirmation of one is not that of the other."
            }
            Self::SourceUnused => {
                "It takes one of the places that Apple allows, and lets its mail through if someone else gets hold of the name."
            }
            Self::SourceWithoutSpf => {
                "Apple asks that every registered domain publishes SPF, and shows in its portal whether it does."
            }
            Self::StreamInvalid => "Without a readable name nothing can be compared with what is registered.",
            Self::SelectorsUnknown => "Apple's path by DKIM cannot be judged without knowing which keys sign.",
            Self::AddressesUnknown => "Apple's path by SPF cannot be judged without an address to ask about.",
            Self::TeamUnknown => "Which registrations count for this stream depends on the team whose users it is for.",
            Self::SpfMissing => "Without an SPF record at the envelope domain Apple's path by SPF is closed.",
            Self::SpfWrongName => "Receivers ask for SPF at the envelope domain and nowhere else.",
            Self::SpfSeveral => {
                "With two SPF records the result is an error for every receiver (RFC 7208 section 4.5)."
            }
            Self::SpfBroken => "One term that cannot be read makes the whole record an error (RFC 7208 section 4.6).",
            Self::SpfTooManyLookups => "Beyond ten questions receivers stop with an error (RFC 7208 section 4.6.4).",
            Self::SpfNearLookupLimit => {
                "The next term, here or in what is included, makes SPF an error at every receiver, without your doing."
            }
            Self::SpfVoidLookups => {
                "After two names without an answer receivers stop with an error (RFC 7208 section 4.6.4)."
            }
            Self::SpfLoop => "A loop runs into the limit of ten questions, so that SPF is an error for every receiver.",
            Self::SpfAddressRefused => {
                "Apple's path by SPF needs the result pass for the address that mail comes from."
            }
            Self::SpfSomeRefused => {
                "Which address a provider uses is chance: part of the mail goes the path by SPF, part does not."
            }
            Self::SpfAllowsAll => {
                "Anybody can send by your registered domain, so that Apple's relay takes it for yours."
            }
            Self::SpfPtr => {
                "The mechanism is not to be used (RFC 7208 section 5.5); some receivers skip it or count it as an error."
            }
            Self::SpfIncludeMissing => {
                "An include without a record makes the whole result an error (RFC 7208 section 5.2)."
            }
            Self::SpfMisspelt => "A text that does not begin with v=spf1 and a blank is not SPF to any receiver.",
            Self::SpfAdvice => "The record may not do what it was written for.",
            Self::DkimKeyMissing => {
                "Without the key a signature cannot be verified, so that Apple's path by DKIM is closed."
            }
            Self::DkimWrongName => "Receivers ask for the key at SELECTOR._domainkey.DOMAIN and nowhere else.",
            Self::DkimAliasDangling => {
                "No signature by this selector can be verified, and who takes the name it points to can sign as you."
            }
            Self::DkimKeyRevoked => "An empty key means that every signature by this selector is invalid.",
            Self::DkimKeyBroken => {
                "A key that cannot be read verifies nothing, so that Apple's path by DKIM is closed."
            }
            Self::DkimKeyBlanks => "The blanks are allowed, but some receivers stumble over them.",
            Self::DkimKeySeveral => {
                "Which of several keys a receiver takes is undefined (RFC 6376 section 3.6.2.2): signatures fail by chance."
            }
            Self::DkimKeyTooShort => "Receivers must not accept keys below 1,024 bits (RFC 8301 section 3.2).",
            Self::DkimKeyShort => {
                "Keys of 1,024 bits are at the lower limit, and receivers raise it one after another."
            }
            Self::DkimKeyLong => "Receivers need not verify keys above 4,096 bits (RFC 8301 section 3.2).",
            Self::DkimTesting => {
                "t=y tells receivers to treat a signature that fails like none; some ignore such keys."
            }
            Self::DkimStrict => "With t=s a signature whose i= names a subdomain is invalid.",
            Self::DkimService => "Receivers must ignore a key that is not meant for mail (RFC 6376 section 3.6.1).",
            Self::DkimHash => "SHA-1 must not be used any more (RFC 8301 section 3.1), so that no signature is valid.",
            Self::DkimEd25519Only => {
                "Whether Apple verifies Ed25519 is not established; many receivers do not (RFC 8463 asks to sign twice)."
            }
            Self::DkimTypeUnknown => "Receivers ignore types of keys that they do not know.",
            Self::DkimForeignDomain => {
                "Apple compares d= with the From domain: a signature of somebody else does not count."
            }
            Self::DkimRelaxedDomain => {
                "Apple states no fallback to the organisational domain: whether such a d= is taken is not established."
            }
            Self::DmarcMissing => {
                "DMARC is no part of Apple's rule for the relay, but Apple asks senders to iCloud for it."
            }
            Self::DmarcWrongName => "Receivers, iCloud among them, ask for DMARC at _dmarc.DOMAIN and nowhere else.",
            Self::DmarcSeveral => "Several records count as none (RFC 9989), at iCloud as well.",
            Self::DmarcBroken => {
                "What cannot be read of a record counts as not said: iCloud may follow another policy than is meant."
            }
            Self::DmarcRemovedTags => {
                "RFC 9989 has removed them: receivers that follow it apply the policy in full, others in part."
            }
            Self::DmarcPolicyMissing => {
                "Such a record counts as p=none where it has a valid rua=, and not at all otherwise."
            }
            Self::DmarcTesting => {
                "With t=y receivers apply a policy one step weaker, so that a failure here may go unnoticed until it ends."
            }
            Self::DmarcOrgDiffers => {
                "Receivers are moving from the public suffix list to the tree walk: what is aligned to one is not to the other."
            }
            Self::DmarcReportUnauthorised => {
                "Reports, which would show mail that fails, are not sent to an address whose domain has not agreed."
            }
            Self::DmarcReportAddress => {
                "Reports, which would show mail that fails, are sent to mailto: addresses only."
            }
            Self::DmarcFails => {
                "iCloud refuses mail by the DMARC policy of its sender (554 5.7.1), whatever is registered."
            }
            Self::DmarcPassesAppleFails => {
                "A green DMARC says nothing about the relay: Apple asks for an exact match with what is registered."
            }
            Self::MailFromMxMissing => {
                "SES then sends with amazonses.com in the envelope, which is not registered: Apple's path by SPF is closed without a word."
            }
            Self::MailFromMxWrong => {
                "SES takes a custom MAIL FROM as set up only by its own MX; otherwise it sends as amazonses.com, which is not registered."
            }
            Self::MailFromMxSeveral => {
                "SES takes a custom MAIL FROM only with exactly one MX; otherwise it sends as amazonses.com, which is not registered."
            }
            Self::MailFromMxNull => {
                "A domain that takes no mail is no return path: SES falls back to amazonses.com, and receivers may refuse it (RFC 7505)."
            }
            Self::MailFromMxPreference => {
                "SES documents the preference 10; with a single MX another one changes nothing."
            }
            Self::MailFromRefuses => {
                "SES answers MailFromDomainNotVerified and sends nothing, to the relay or elsewhere."
            }
            Self::MailFromNoReturn => {
                "Bounces of the relay cannot come back, and receivers refuse senders whose domain does not exist (450 4.1.8)."
            }
            Self::MailFromIsFrom => "SES asks for a MAIL FROM of its own: its MX takes the domain's other mail away.",
            Self::DnsTrouble => {
                "Trouble of a name server says nothing about the record: the verdict stays open until it answers."
            }
            Self::DnssecBogus => {
                "Receivers that validate DNSSEC, as many do, see no record at all: SPF and DKIM fail for them."
            }
            Self::DnsUnstable => {
                "Mail passes or is refused by the moment at which the receiver asks, and no change of it can be told from the next."
            }
            Self::DnsServersDisagree => {
                "Which of the zone's servers a receiver happens to ask decides whether the relay takes the mail."
            }
            Self::DnsResolverDiffers => {
                "Receivers ask resolvers of their own: what this one says alone is not believed, and it hides changes."
            }
            Self::ReportsBothFail => {
                "Apple's relay asks for one of the two, more strictly than DMARC does: what fails both here is refused there."
            }
            Self::ReportsUndeclaredSender => {
                "Mail that nobody has declared is not audited: whether a registered source carries it is not known."
            }
        }
    }
}
