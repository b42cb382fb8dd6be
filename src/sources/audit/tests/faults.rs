//! The table of seeded faults: each pitfall of `email-auth.md` sections 1, 4, 5.2, 6 and 10, with what is to be found.

#![expect(clippy::string_slice, reason = "keys are US-ASCII")]

use FindingCode as C;
use Grade::{AtRisk, Fatal, Notable};

use super::*;
use crate::sources::testing::rsa;

const MAIL: &str = "mail.mydomain.fr";
const KEY: &str = "s1._domainkey.mydomain.fr";
const DMARC: &str = "_dmarc.mydomain.fr";
const ED25519: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// What is seeded, what is to be found (nothing above notable where it is no fault), and how it is seeded.
type Seed = (&'static str, Option<(FindingCode, Grade)>, fn(&mut World));

/// Closes the path by DKIM, so that only SPF is left.
fn no_dkim(w: &mut World) {
    w.zone.only(KEY, "v=DKIM1; p=");
}

fn spf(w: &mut World, text: &str) {
    w.zone.only(MAIL, text);
}

fn key(w: &mut World, text: &str) {
    w.zone.only(KEY, text);
}

fn dmarc(w: &mut World, text: &str) {
    w.zone.only(DMARC, text);
}

/// A record with so many look-ups, and that of the provider first or last.
fn lookups(w: &mut World, count: usize, provider_first: bool) {
    let mut terms = String::new();
    for index in 0..count {
        let host = format!("h{index}.mydomain.fr");
        w.zone.txt(&host, "v=spf1 ip4:192.0.2.20 -all");
        terms.push_str(" include:");
        terms.push_str(&host);
    }
    let provider = " include:amazonses.com";
    let (first, last) = if provider_first { (provider, "") } else { ("", provider) };
    spf(w, &format!("v=spf1{first}{terms}{last} ~all"));
}

fn signs_as(w: &mut World, domain: &str) {
    w.stream().selectors = vec![selector("s9", Some(domain))];
    w.zone.txt(&format!("s9._domainkey.{domain}"), &key_record(2_048));
}

fn mailgun(w: &mut World) {
    w.zone
        .txt("mailgun.org", "v=spf1 include:_spf.mailgun.org ~all")
        .txt("_spf.mailgun.org", "v=spf1 ip4:198.51.100.128/25 ~all");
    w.zone.only(MAIL, "v=spf1 include:mailgun.org ~all").without(MAIL, Kind::Mx).mx(MAIL, 10, "mxa.mailgun.org");
    w.stream().provider = Provider::Mailgun;
}

const SEEDS: &[Seed] = &[
    // Section 1: Apple's rule, its limits, SES.
    ("envelope domain not registered", Some((C::EnvelopeUnregistered, AtRisk)), |w| done(w.unregister(MAIL))),
    ("envelope domain not registered, no DKIM", Some((C::EnvelopeUnregistered, Fatal)), |w| {
        w.unregister(MAIL);
        no_dkim(w);
    }),
    ("From domain not registered", Some((C::FromUnregistered, AtRisk)), |w| done(w.unregister("mydomain.fr"))),
    ("nothing of it registered", Some((C::StreamUncovered, Fatal)), |w| {
        w.sources().clear();
        w.sources().push(source("other.fr", 1));
        w.zone.txt("other.fr", "v=spf1 -all");
    }),
    ("one path is lost", Some((C::OnePathLeft, AtRisk)), |w| done(w.unregister(MAIL))),
    ("one path by design", Some((C::OnePathOnly, Notable)), |w| w.stream().envelope = None),
    ("parent registered, subdomain in the envelope", Some((C::RelatedRegistered, AtRisk)), |w| {
        done(w.unregister(MAIL));
    }),
    ("registration not confirmed for 91 days", Some((C::RegistrationStale, AtRisk)), |w| {
        w.sources()[0] = source("mydomain.fr", 91);
    }),
    ("registration never confirmed", Some((C::RegistrationStale, AtRisk)), |w| w.sources()[0].confirmed_at = None),
    ("all registrations stale: open", Some((C::StreamUnknown, AtRisk)), |w| {
        for source in w.sources() {
            source.confirmed_at = None;
        }
    }),
    ("registered by another team", Some((C::RegisteredElsewhere, Fatal)), |w| {
        let mut other = w.setup.teams[0].clone();
        other.name = "T2".to_owned();
        w.setup.teams.push(other);
        w.setup.teams[0].sources = vec![source("other.fr", 1)];
        w.zone.txt("other.fr", "v=spf1 -all");
        w.stream().team = Some("T1".to_owned());
    }),
    ("a team that the inventory lacks", Some((C::TeamUnknown, AtRisk)), |w| w.stream().team = Some("T9".to_owned())),
    ("single address registered, sender not told", Some((C::AddressOnly, AtRisk)), |w| {
        w.sources()[0] = source("news@mydomain.fr", 1);
        w.stream().from = "mydomain.fr".to_owned();
    }),
    ("single address registered, another sends", Some((C::FromUnregistered, AtRisk)), |w| {
        w.sources()[0] = source("news@mydomain.fr", 1);
    }),
    ("single address registered, that one sends", None, |w| w.sources()[0] = source("DEV@mydomain.fr", 1)),
    ("33 sources of an individual", Some((C::SourcesOverLimit, AtRisk)), |w| {
        w.setup.teams[0].account = Some(crate::sources::apple_rule::Account::Individual);
        w.sources().extend((0..31).map(|index| source(format!("a{index}@mydomain.fr"), 1)));
    }),
    ("101 sources of an organization", Some((C::SourcesOverLimit, AtRisk)), |w| {
        w.sources().extend((0..99).map(|index| source(format!("a{index}@mydomain.fr"), 1)));
    }),
    ("95 sources of an organization", Some((C::SourcesNearLimit, Notable)), |w| {
        w.sources().extend((0..93).map(|index| source(format!("a{index}@mydomain.fr"), 1)));
    }),
    ("a source that is no name", Some((C::SourceInvalid, AtRisk)), |w| {
        w.sources().push(source("https://mydomain.fr/", 1));
    }),
    ("a source declared twice", Some((C::SourceTwice, Notable)), |w| w.sources().push(source("MAIL.mydomain.fr.", 1))),
    ("a source that nothing uses", Some((C::SourceUnused, Notable)), |w| {
        w.sources().push(source("old.mydomain.fr", 1));
        w.zone.txt("old.mydomain.fr", "v=spf1 -all");
    }),
    ("a registered domain without SPF", Some((C::SourceWithoutSpf, AtRisk)), |w| {
        done(w.zone.without("mydomain.fr", Kind::Txt));
    }),
    ("a registered domain with two SPF records", Some((C::SpfSeveral, AtRisk)), |w| {
        done(w.zone.txt("mydomain.fr", "v=spf1 -all"));
    }),
    ("nothing declared", Some((C::InventoryMissing, Notable)), |w| w.setup.teams.clear()),
    ("a From that is no name", Some((C::StreamInvalid, AtRisk)), |w| w.stream().from = "dev@".to_owned()),
    ("no selector told", Some((C::SelectorsUnknown, Notable)), |w| w.stream().selectors.clear()),
    ("no sending address known", Some((C::AddressesUnknown, Notable)), |w| w.stream().provider = Provider::Postfix),
    ("a second provider that no source covers", Some((C::StreamUncovered, Fatal)), |w| {
        w.setup.streams.push(Stream {
            envelope: Some("bounce.shop.fr".to_owned()),
            selectors: vec![selector("k1", None)],
            ..Stream::new(Provider::Mailgun, "shop.fr")
        });
    }),
    ("SES: MX missing, falls back", Some((C::MailFromMxMissing, AtRisk)), |w| done(w.zone.without(MAIL, Kind::Mx))),
    ("SES: MX missing, no DKIM", Some((C::MailFromMxMissing, Fatal)), |w| {
        w.zone.without(MAIL, Kind::Mx);
        no_dkim(w);
    }),
    ("SES: MX missing, refuses", Some((C::MailFromRefuses, Fatal)), |w| {
        w.zone.without(MAIL, Kind::Mx);
        w.stream().on_mx_failure = Some(OnMxFailure::RejectMessage);
    }),
    ("SES: MX of another region", Some((C::MailFromMxWrong, AtRisk)), |w| {
        w.stream().region = Some("us-east-1".to_owned());
    }),
    ("SES: two MX records", Some((C::MailFromMxSeveral, AtRisk)), |w| done(w.zone.mx(MAIL, 20, "mx.mydomain.fr"))),
    ("SES: null MX", Some((C::MailFromMxNull, AtRisk)), |w| done(w.zone.without(MAIL, Kind::Mx).mx(MAIL, 0, "."))),
    ("SES: MX with another preference", Some((C::MailFromMxPreference, Notable)), |w| {
        done(w.zone.without(MAIL, Kind::Mx).mx(MAIL, 5, EU));
    }),
    ("SES: MAIL FROM is the From domain", Some((C::MailFromIsFrom, Notable)), |w| {
        w.stream().envelope = Some("mydomain.fr".to_owned());
        w.zone.only("mydomain.fr", "v=spf1 include:amazonses.com ~all").mx("mydomain.fr", 10, EU);
    }),
    ("bounces cannot come back", Some((C::MailFromNoReturn, AtRisk)), |w| {
        mailgun(w);
        w.zone.without(MAIL, Kind::Mx);
    }),
    ("DMARC passes, Apple's rule does not", Some((C::DmarcPassesAppleFails, AtRisk)), |w| {
        w.unregister(MAIL).unregister("mydomain.fr");
        w.sources().push(source("other.fr", 1));
        w.zone.txt("other.fr", "v=spf1 -all");
    }),
    // Section 4: SPF.
    ("SPF missing", Some((C::SpfMissing, AtRisk)), |w| done(w.zone.without(MAIL, Kind::Txt))),
    ("SPF missing, no DKIM", Some((C::SpfMissing, Fatal)), |w| {
        w.zone.without(MAIL, Kind::Txt);
        no_dkim(w);
    }),
    ("SPF at the From domain", Some((C::SpfWrongName, AtRisk)), |w| {
        w.zone.without(MAIL, Kind::Txt).only("mydomain.fr", "v=spf1 include:amazonses.com ~all");
    }),
    ("SPF at the name twice over", Some((C::SpfWrongName, AtRisk)), |w| {
        w.zone.without(MAIL, Kind::Txt).txt("mail.mydomain.fr.mydomain.fr", "v=spf1 include:amazonses.com ~all");
    }),
    ("SPF at _spf", Some((C::SpfWrongName, AtRisk)), |w| {
        w.zone.without(MAIL, Kind::Txt).txt("_spf.mail.mydomain.fr", "v=spf1 include:amazonses.com ~all");
    }),
    ("two SPF records", Some((C::SpfSeveral, AtRisk)), |w| done(w.zone.txt(MAIL, "v=spf1 include:other.example -all"))),
    ("a misspelt mechanism", Some((C::SpfBroken, AtRisk)), |w| spf(w, "v=spf1 inlcude:amazonses.com ~all")),
    ("a network that is none", Some((C::SpfBroken, AtRisk)), |w| {
        spf(w, "v=spf1 ip4:192.0.2.0/33 include:amazonses.com ~all");
    }),
    ("a sign outside US-ASCII", Some((C::SpfBroken, AtRisk)), |w| spf(w, "v=spf1 include:amazonses.com \u{2013}all")),
    ("a mistake in what is included", Some((C::SpfBroken, AtRisk)), |w| {
        spf(w, "v=spf1 include:crm.example include:amazonses.com ~all");
        w.zone.txt("crm.example", "v=spf1 ip4:999.1.1.1 -all");
    }),
    ("the version misspelt", Some((C::SpfMisspelt, AtRisk)), |w| spf(w, "v=spf 1 include:amazonses.com ~all")),
    ("quotation marks in the record", Some((C::SpfMisspelt, AtRisk)), |w| {
        spf(w, "\"v=spf1 include:amazonses.com ~all\"");
    }),
    ("eleven look-ups", Some((C::SpfTooManyLookups, AtRisk)), |w| lookups(w, 10, false)),
    ("twelve look-ups, the provider first", Some((C::SpfTooManyLookups, AtRisk)), |w| {
        lookups(w, 11, true);
    }),
    ("ten look-ups", Some((C::SpfNearLookupLimit, AtRisk)), |w| lookups(w, 9, false)),
    ("eight look-ups", Some((C::SpfNearLookupLimit, Notable)), |w| lookups(w, 7, false)),
    ("three void look-ups", Some((C::SpfVoidLookups, AtRisk)), |w| {
        spf(w, "v=spf1 a:gone1.mydomain.fr a:gone2.mydomain.fr a:gone3.mydomain.fr include:amazonses.com ~all");
    }),
    ("an include that leads back", Some((C::SpfLoop, AtRisk)), |w| {
        spf(w, "v=spf1 include:spf.mydomain.fr include:amazonses.com ~all");
        w.zone.txt("spf.mydomain.fr", "v=spf1 include:mail.mydomain.fr ~all");
    }),
    ("a redirect that leads back", Some((C::SpfLoop, AtRisk)), |w| spf(w, "v=spf1 redirect=mail.mydomain.fr")),
    ("the provider is not let in", Some((C::SpfAddressRefused, AtRisk)), |w| spf(w, "v=spf1 ip4:192.0.2.0/24 -all")),
    ("half of the addresses are let in", Some((C::SpfSomeRefused, AtRisk)), |w| {
        spf(w, "v=spf1 ip4:198.51.100.0/24 -all");
    }),
    ("IPv6 is not let in", Some((C::SpfSomeRefused, AtRisk)), |w| {
        spf(w, "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/24 -all");
    }),
    ("an address that was told is not let in", Some((C::SpfAddressRefused, AtRisk)), |w| {
        w.stream().addresses = vec!["192.0.2.77".parse().expect("an address")];
    }),
    ("everybody is let in", Some((C::SpfAllowsAll, AtRisk)), |w| spf(w, "v=spf1 include:amazonses.com +all")),
    ("ptr", Some((C::SpfPtr, Notable)), |w| spf(w, "v=spf1 include:amazonses.com ptr -all")),
    ("an include without a record", Some((C::SpfIncludeMissing, AtRisk)), |w| {
        spf(w, "v=spf1 include:gone.example include:amazonses.com ~all");
    }),
    ("a term behind all", Some((C::SpfAdvice, Notable)), |w| spf(w, "v=spf1 include:amazonses.com ~all ip4:192.0.2.1")),
    // Section 5.2: keys.
    ("key missing at a selector in use", Some((C::DkimKeyMissing, AtRisk)), |w| done(w.zone.without(KEY, Kind::Txt))),
    ("key at the name twice over", Some((C::DkimWrongName, AtRisk)), |w| {
        w.zone.without(KEY, Kind::Txt).txt("s1._domainkey.mydomain.fr.mydomain.fr", &key_record(2_048));
    }),
    ("CNAME of a selector dangling", Some((C::DkimAliasDangling, Fatal)), |w| {
        w.zone.without(KEY, Kind::Txt).cname(KEY, "s1.dkim.amazonses.com");
    }),
    ("key revoked", Some((C::DkimKeyRevoked, Fatal)), |w| key(w, "v=DKIM1; p=")),
    ("quotation marks in the key", Some((C::DkimKeyBroken, AtRisk)), |w| {
        let text = rsa(2_048);
        key(w, &format!("v=DKIM1; k=rsa; p={}\" \"{}", &text[..200], &text[200..]));
    }),
    ("backslashes before semicolons", Some((C::DkimKeyBroken, AtRisk)), |w| {
        key(w, &format!("v=DKIM1\\; k=rsa\\; p={}", rsa(2_048)));
    }),
    ("a semicolon missing", Some((C::DkimKeyBroken, AtRisk)), |w| key(w, &format!("v=DKIM1; k=rsa p={}", rsa(2_048)))),
    ("key cut at 255 bytes", Some((C::DkimKeyBroken, AtRisk)), |w| key(w, &key_record(2_048)[..255])),
    ("a PEM file pasted", Some((C::DkimKeyBroken, AtRisk)), |w| {
        key(w, &format!("v=DKIM1; p=-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----", rsa(2_048)));
    }),
    ("blanks in the key", Some((C::DkimKeyBlanks, Notable)), |w| {
        let text = rsa(2_048);
        key(w, &format!("v=DKIM1; p={} {}", &text[..200], &text[200..]));
    }),
    ("two keys at a selector", Some((C::DkimKeySeveral, AtRisk)), |w| done(w.zone.txt(KEY, &key_record(1_024)))),
    ("512 bits", Some((C::DkimKeyTooShort, AtRisk)), |w| key(w, &key_record(512))),
    ("1,024 bits", Some((C::DkimKeyShort, AtRisk)), |w| key(w, &key_record(1_024))),
    ("4,200 bits", Some((C::DkimKeyLong, Notable)), |w| key(w, &key_record(4_200))),
    ("t=y", Some((C::DkimTesting, AtRisk)), |w| key(w, &format!("v=DKIM1; t=y; p={}", rsa(2_048)))),
    ("t=s", Some((C::DkimStrict, Notable)), |w| key(w, &format!("v=DKIM1; t=s; p={}", rsa(2_048)))),
    ("s= without mail", Some((C::DkimService, AtRisk)), |w| key(w, &format!("v=DKIM1; s=tlsrpt; p={}", rsa(2_048)))),
    ("h=sha1", Some((C::DkimHash, AtRisk)), |w| key(w, &format!("v=DKIM1; h=sha1; p={}", rsa(2_048)))),
    ("Ed25519 only", Some((C::DkimEd25519Only, AtRisk)), |w| key(w, ED25519)),
    ("a type that nobody knows", Some((C::DkimTypeUnknown, AtRisk)), |w| key(w, "v=DKIM1; k=p384; p=AAAA")),
    ("d= is the provider's", Some((C::DkimForeignDomain, AtRisk)), |w| signs_as(w, "amazonses.com")),
    ("d= is below the From domain", Some((C::DkimRelaxedDomain, AtRisk)), |w| signs_as(w, "mail.mydomain.fr")),
    ("d= is above the From domain", Some((C::DkimRelaxedDomain, AtRisk)), |w| {
        w.stream().from = "news.mydomain.fr".to_owned();
        w.stream().selectors = vec![selector("s1", Some("mydomain.fr"))];
        w.sources().push(source("news.mydomain.fr", 1));
        w.zone.txt("news.mydomain.fr", "v=spf1 -all");
    }),
    // Section 6: DMARC.
    ("DMARC missing", Some((C::DmarcMissing, Notable)), |w| done(w.zone.without(DMARC, Kind::Txt))),
    ("DMARC at the domain itself", Some((C::DmarcWrongName, Notable)), |w| {
        w.zone.without(DMARC, Kind::Txt).txt("mydomain.fr", "v=DMARC1; p=reject");
    }),
    ("two DMARC records", Some((C::DmarcSeveral, Notable)), |w| done(w.zone.txt(DMARC, "v=DMARC1; p=none"))),
    ("a policy misspelt", Some((C::DmarcBroken, Notable)), |w| {
        dmarc(w, "v=DMARC1; p=rejcet; rua=mailto:d@mydomain.fr");
    }),
    ("pct=", Some((C::DmarcRemovedTags, Notable)), |w| dmarc(w, "v=DMARC1; p=reject; pct=20")),
    ("no p=", Some((C::DmarcPolicyMissing, Notable)), |w| dmarc(w, "v=DMARC1; rua=mailto:d@mydomain.fr")),
    ("DMARC on trial", Some((C::DmarcTesting, Notable)), |w| dmarc(w, "v=DMARC1; p=reject; t=y")),
    ("tree walk and list differ, the result too", Some((C::DmarcOrgDiffers, AtRisk)), |w| {
        w.zone.without(DMARC, Kind::Txt).txt("_dmarc.shop.mydomain.fr", "v=DMARC1; p=reject");
        w.stream().from = "shop.mydomain.fr".to_owned();
        w.stream().selectors = vec![selector("s1", Some("mydomain.fr"))];
    }),
    ("tree walk and list differ, the result does not", Some((C::DmarcOrgDiffers, Notable)), |w| {
        w.zone.without(DMARC, Kind::Txt).txt("_dmarc.shop.mydomain.fr", "v=DMARC1; p=reject");
        w.stream().from = "shop.mydomain.fr".to_owned();
        w.sources()[0] = source("shop.mydomain.fr", 1);
        w.zone.txt("shop.mydomain.fr", "v=spf1 -all").txt("s1._domainkey.shop.mydomain.fr", &key_record(2_048));
    }),
    ("reports to somebody who has not agreed", Some((C::DmarcReportUnauthorised, Notable)), |w| {
        dmarc(w, "v=DMARC1; p=reject; rua=mailto:d@collector.example");
    }),
    ("a report address that is none", Some((C::DmarcReportAddress, Notable)), |w| {
        dmarc(w, "v=DMARC1; p=reject; rua=d@mydomain.fr");
    }),
    ("strict alignment fails", Some((C::DmarcFails, AtRisk)), |w| {
        dmarc(w, "v=DMARC1; p=reject; adkim=s; aspf=s");
        signs_as(w, "mail.mydomain.fr");
    }),
    ("nothing is aligned, p=none", Some((C::DmarcFails, Notable)), |w| {
        dmarc(w, "v=DMARC1; p=none");
        signs_as(w, "amazonses.com");
        w.zone.without(MAIL, Kind::Mx);
    }),
    // Section 10: what is no fault, and trouble that is no absence.
    ("SPF: server failure", Some((C::DnsTrouble, Notable)), |w| {
        done(w.zone.ends(MAIL, Kind::Txt, Outcome::ServerFailure));
    }),
    ("what is included: time-out", Some((C::DnsTrouble, Notable)), |w| {
        done(w.zone.ends("amazonses.com", Kind::Txt, Outcome::TimedOut));
    }),
    ("key: time-out", Some((C::DnsTrouble, Notable)), |w| done(w.zone.ends(KEY, Kind::Txt, Outcome::TimedOut))),
    ("MX: server failure", Some((C::DnsTrouble, Notable)), |w| {
        done(w.zone.ends(MAIL, Kind::Mx, Outcome::ServerFailure));
    }),
    ("DMARC: server failure", Some((C::DnsTrouble, Notable)), |w| {
        done(w.zone.ends(DMARC, Kind::Txt, Outcome::ServerFailure));
    }),
    ("key: bogus", Some((C::DnssecBogus, AtRisk)), |w| done(w.zone.ends(KEY, Kind::Txt, Outcome::Bogus))),
    ("no fault: the key behind a CNAME has changed", None, |w| {
        w.zone
            .without(KEY, Kind::Txt)
            .cname(KEY, "s1.dkim.amazonses.com")
            .txt("s1.dkim.amazonses.com", &key_record(3_072));
    }),
    ("no fault: other texts before and after the records", None, |w| {
        let text = "v=spf1 include:amazonses.com ~all";
        w.zone.only(MAIL, "ms=ms1").txt(MAIL, text).txt(MAIL, "google-site-verification=x");
        w.zone.only(KEY, "a note").txt(KEY, &key_record(2_048));
    }),
    ("no fault: names in other cases, with dots at the end", None, |w| {
        w.stream().from = "Dev@MyDomain.FR".to_owned();
        w.stream().envelope = Some("bounce@MAIL.mydomain.fr.".to_owned());
        w.stream().selectors = vec![selector("S1", Some("MyDomain.fr."))];
    }),
    ("no fault: an mx with IPv4 only, for senders by IPv6", None, |w| {
        w.zone.mx("mx.mydomain.fr", 10, "mx1.mydomain.fr").a("mx1.mydomain.fr", [192, 0, 2, 9]);
        spf(w, "v=spf1 mx:mx.mydomain.fr include:amazonses.com ~all");
    }),
    ("no fault: signed twice, by the provider too", None, |w| {
        w.stream().selectors.push(selector("p1", Some("amazonses.com")));
        w.stream().signs_with_all = true;
        w.zone.txt("p1._domainkey.amazonses.com", &key_record(2_048));
    }),
    ("no fault: RSA and Ed25519 side by side", None, |w| {
        w.stream().selectors.push(selector("e1", None));
        w.stream().signs_with_all = true;
        w.zone.txt("e1._domainkey.mydomain.fr", ED25519);
    }),
];

/// What trouble may never be taken for.
const ABSENCES: &[FindingCode] =
    &[C::SpfMissing, C::DkimKeyMissing, C::MailFromMxMissing, C::DmarcMissing, C::StreamUncovered, C::SourceWithoutSpf];

#[test]
fn every_seeded_fault_is_found() {
    println!("{:<52} {:<26} {:<9} {:<5} beside it", "seeded", "to be found", "grade", "found");
    let (mut faults, mut found_all, mut wrong) = (0, 0, Vec::new());
    for (what, wanted, change) in SEEDS {
        let mut world = World::case_two();
        change(&mut world);
        let audit = world.audit();
        let findings = audit.findings();
        let (found, code, grade) = match wanted {
            Some((code, grade)) => {
                faults += 1;
                let found = findings.iter().any(|one| one.code == *code && one.grade == *grade);
                found_all += usize::from(found);
                (found, code.as_str(), grade.as_str())
            }
            None => (findings.iter().all(|one| one.grade == Notable), "nothing", "-"),
        };
        let beside: Vec<String> = findings
            .iter()
            .filter(|one| wanted.is_none_or(|(code, _)| code != one.code))
            .map(|one| format!("{} ({})", one.code, one.grade))
            .collect();
        println!("{what:<52} {code:<26} {grade:<9} {:<5} {}", if found { "yes" } else { "no" }, beside.join(", "));
        let troubled = matches!(wanted, Some((C::DnsTrouble | C::DnssecBogus, _)));
        let taken_for = findings.iter().find(|one| troubled && ABSENCES.contains(&one.code));
        if !found || taken_for.is_some() {
            wrong.push((*what, findings.iter().map(|one| (one.code, one.grade, one.what.clone())).collect::<Vec<_>>()));
        }
        for finding in findings {
            assert!(
                !finding.fix.step.is_empty() && !finding.what.is_empty() && !finding.about.is_empty(),
                "{finding:?}"
            );
        }
    }
    println!("{found_all} of {faults} faults found");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(faults >= 40 && found_all == faults);
}

/// What only the watch can tell, which looks more than once and from two vantage points; its tests have them.
const OF_THE_WATCH: [FindingCode; 3] = [C::DnsUnstable, C::DnsServersDisagree, C::DnsResolverDiffers];

/// Every code that an audit can give has a seed, so that the page of findings describes nothing that never happens.
#[test]
fn every_code_has_its_seed() {
    let seeded: std::collections::BTreeSet<FindingCode> =
        SEEDS.iter().filter_map(|(_, wanted, _)| Some(wanted.as_ref()?.0)).chain(OF_THE_WATCH).collect();
    // Aggregate reports are read elsewhere, and have their own tests.
    let of_reports = [C::ReportsBothFail, C::ReportsUndeclaredSender];
    let of_audits = FindingCode::ALL.iter().filter(|code| !of_reports.contains(code));
    let missing: Vec<&FindingCode> = of_audits.filter(|code| !seeded.contains(code)).collect();
    assert_eq!(missing, [&C::StreamUnknown; 0]);
}

/// A record to paste does away with its finding and costs nothing: no path of a stream is worse with it, and nothing is left to
/// paste for the same code.
#[test]
fn a_record_to_paste_mends_what_it_is_for() {
    let rank = |path: PathVerdict| match path {
        PathVerdict::Fail(_) => 0,
        PathVerdict::Unknown(_) => 1,
        PathVerdict::Pass => 2,
    };
    let mut mended = 0;
    for (what, wanted, change) in SEEDS {
        let Some((code, _)) = wanted else { continue };
        let mut world = World::case_two();
        change(&mut world);
        let audit = world.audit();
        let mut names = std::collections::BTreeSet::new();
        for finding in audit.findings() {
            let Some(record) = &finding.fix.record else { continue };
            assert!(names.insert((record.name.clone(), record.kind)), "{what}: two records for {}", record.name);
            if finding.code != *code {
                continue;
            }
            let at = record.name.trim_end_matches('.');
            if record.kind == "TXT" {
                let text: String = record.value.trim_matches('"').split("\" \"").collect();
                world.zone.only(at, &text.replace("\\\"", "\""));
            } else {
                let (preference, host) = record.value.split_once(' ').expect("an MX");
                world.zone.without(at, Kind::Mx).mx(at, preference.parse().expect("a number"), host);
            }
            mended += 1;
        }
        if audit.findings().iter().any(|one| one.code == *code && one.fix.record.is_some()) {
            let left = world.audit();
            assert!(!codes(&left).contains(code), "{what}: {:#?}", left.findings());
            for (before, after) in audit.streams.iter().zip(&left.streams) {
                let paths = |one: &StreamVerdict| [rank(one.apple.spf), rank(one.apple.dkim), rank(one.apple.overall)];
                let worse = paths(before).iter().zip(paths(after)).any(|(before, after)| after < *before);
                assert!(!worse, "{what}: {:?} becomes {:?}", before.apple, after.apple);
            }
        }
    }
    println!("{mended} records mend what they are for");
    assert!(mended >= 15);
}
