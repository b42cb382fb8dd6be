//! The return path: whether bounces to the envelope domain come back, and what Amazon SES does with a custom MAIL FROM whose MX it
//! does not find.
//!
//! Documented by Amazon ("Using a custom MAIL FROM domain", API `BehaviorOnMXFailure`): the MX is
//! `feedback-smtp.REGION.amazonses.com` with preference 10, and must be the only one; without it SES either sends with
//! `amazonses.com`, or a subdomain of it, in the envelope, or answers `MailFromDomainNotVerified` and sends nothing. That
//! Apple's path by SPF is lost silently by the former is inferred. Hosts follow RFC 5321 section 5.1 (no MX: the address
//! records), null MX RFC 7505.

use crate::model::{Provider, words};

use super::{
    answer::{Exchange, Kind, Name, Outcome, Values},
    asking::{Asking, trouble},
    finding::{DnsRecord, Finding, FindingCode, Fix},
    spf::Answers,
};

/// The preference that SES documents for the MX of a custom MAIL FROM.
pub const SES_PREFERENCE: u16 = 10;
/// What SES sends with in the envelope without a custom MAIL FROM.
pub const SES_DEFAULT: &str = "amazonses.com";

words! {
    /// What SES does where it does not find the MX of a custom MAIL FROM: `BehaviorOnMxFailure`.
    pub enum OnMxFailure {
        /// `USE_DEFAULT_VALUE`: it sends with `amazonses.com` in the envelope.
        UseDefaultValue = 1, "use-default-value";
        /// `REJECT_MESSAGE`: it sends nothing.
        RejectMessage = 2, "reject-message";
    }
}

/// What is to be known of an envelope domain.
#[derive(Debug, Clone, Copy)]
pub struct ReturnPath<'a> {
    /// Who sends.
    pub provider: Provider,
    /// The envelope domain, as it was set up.
    pub domain: &'a Name,
    /// The AWS region that SES sends from, where that is known.
    pub region: Option<&'a str>,
    /// Whether the name is the From domain as well, whose other mail an MX of SES would take away.
    pub is_from: bool,
    /// What SES does without the MX; `USE_DEFAULT_VALUE` where nobody said, as SES has it by default.
    pub on_mx_failure: Option<OnMxFailure>,
}

/// What mail has in its envelope in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// The domain that was set up.
    AsSetUp,
    /// A domain of the provider's.
    FallsBack(Name),
    /// Nothing is sent.
    NotSent,
    /// DNS did not answer.
    Unknown,
}

/// Where the envelope ends up, and what is wrong; a provider's own domain is its own business. `None` where something is still to
/// be asked.
pub(super) fn judge<A: Answers>(path: &ReturnPath<'_>, asking: &Asking<'_, A>) -> Option<(Envelope, Vec<Finding>)> {
    let domain = path.domain;
    if super::providers::owns(path.provider, domain) {
        return Some((Envelope::AsSetUp, Vec::new()));
    }
    let answer = asking.ask(domain, Kind::Mx)?;
    if let Some(finding) = trouble(domain, Kind::Mx, &answer.outcome) {
        return Some((Envelope::Unknown, vec![finding]));
    }
    let exchanges: &[Exchange] = match &answer.outcome {
        Outcome::Found(Values::Mx(exchanges)) => exchanges,
        _ => &[],
    };
    let null = exchanges.iter().any(|exchange| exchange.host.is_root());
    if path.provider == Provider::Ses {
        return Some(ses(path, exchanges, answer.aliases.last(), null));
    }
    if null {
        let what = format!("{domain} says by a null MX that it takes no mail");
        let fix = Fix::step(format!("Give {domain} the MX or CNAME that your provider shows for its return path."));
        return Some((Envelope::AsSetUp, vec![Finding::new(FindingCode::MailFromNoReturn, domain, what, fix)]));
    }
    if !exchanges.is_empty() {
        return Some((Envelope::AsSetUp, Vec::new()));
    }
    let (four, six) = (asking.ask(domain, Kind::A), asking.ask(domain, Kind::Aaaa));
    let (four, six) = (&four?.outcome, &six?.outcome);
    let troubles: Vec<Finding> =
        trouble(domain, Kind::A, four).into_iter().chain(trouble(domain, Kind::Aaaa, six)).collect();
    let reachable = [four, six].iter().any(|outcome| matches!(outcome, Outcome::Found(_)));
    if reachable || !troubles.is_empty() {
        return Some((Envelope::AsSetUp, troubles));
    }
    let what = format!("{domain} has neither an MX nor an address: bounces cannot come back");
    let fix = Fix::step(format!("Give {domain} the MX or CNAME that your provider shows for its return path."));
    Some((Envelope::AsSetUp, vec![Finding::new(FindingCode::MailFromNoReturn, domain, what, fix)]))
}

/// The host that SES asks for in a region.
fn feedback_host(region: &str) -> String {
    format!("feedback-smtp.{region}.{SES_DEFAULT}")
}

/// The region in the name of a feedback host.
fn region_of(host: &Name) -> Option<&str> {
    let region = host.as_str().strip_prefix("feedback-smtp.")?.strip_suffix(".amazonses.com")?;
    (!region.is_empty() && !region.contains('.')).then_some(region)
}

fn ses(path: &ReturnPath<'_>, exchanges: &[Exchange], alias: Option<&Name>, null: bool) -> (Envelope, Vec<Finding>) {
    let domain = path.domain;
    let region = path.region.map(str::to_ascii_lowercase);
    let region = region.as_deref();
    let told = region.or_else(|| exchanges.iter().find_map(|exchange| region_of(&exchange.host)));
    // Other mail would go astray with the MX, so that it is given only where there is none.
    let live = exchanges.iter().any(|exchange| region_of(&exchange.host).is_none() && !exchange.host.is_root());
    let fix = match told {
        _ if live || path.is_from => Fix::step(format!(
            "Leave the MX of {domain} as it is, since its other mail comes by it; set up a fresh subdomain as MAIL FROM, \
             such as bounce.{domain}, with the one MX that SES shows for it, and register it with Apple."
        )),
        _ if alias.is_some() => Fix::step(format!(
            "{domain} is a CNAME, which can have no MX beside it: set up a fresh subdomain as MAIL FROM, with the one MX \
             that SES shows for it, and register it with Apple."
        )),
        Some(region) => Fix::publish(
            format!("Have this as the only MX of {domain}; wait until SES shows the MAIL FROM domain as successful."),
            DnsRecord::mx(domain, SES_PREFERENCE, feedback_host(region)),
        ),
        None => Fix::step(format!(
            "Give {domain} one MX: {SES_PREFERENCE} feedback-smtp.REGION.amazonses.com, with the region that you send from."
        )),
    };
    let right = |exchange: &Exchange| {
        region_of(&exchange.host).is_some_and(|there| region.is_none_or(|region| region == there))
    };
    let (code, what) = match exchanges {
        [] => (FindingCode::MailFromMxMissing, format!("the custom MAIL FROM {domain} has no MX")),
        _ if null => (FindingCode::MailFromMxNull, format!("the custom MAIL FROM {domain} has a null MX")),
        [one] if right(one) => {
            let mut findings = Vec::new();
            if one.preference != SES_PREFERENCE {
                let what = format!("the MX of {domain} has the preference {}, not {SES_PREFERENCE}", one.preference);
                findings.push(Finding::new(FindingCode::MailFromMxPreference, domain, what, fix));
            }
            return (Envelope::AsSetUp, findings);
        }
        [one] => {
            let wanted = region.map_or_else(|| "a feedback host of SES".to_owned(), feedback_host);
            (FindingCode::MailFromMxWrong, format!("the MX of {domain} is {}, not {wanted}", one.host))
        }
        several => {
            (FindingCode::MailFromMxSeveral, format!("{domain} has {} MX records; SES takes one only", several.len()))
        }
    };
    let mut findings = vec![Finding::new(code, domain, what, fix.clone())];
    if path.on_mx_failure == Some(OnMxFailure::RejectMessage) {
        let what = format!("SES is set to refuse mail (REJECT_MESSAGE) while the MX of {domain} is not as it wants it");
        findings.push(Finding::new(FindingCode::MailFromRefuses, domain, what, fix));
        return (Envelope::NotSent, findings);
    }
    (Name::parse(SES_DEFAULT).map_or(Envelope::Unknown, Envelope::FallsBack), findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::{
        answer::{Answer, Question},
        spf::Known,
    };

    fn name(text: &str) -> Name {
        Name::parse(text).expect(text)
    }

    fn mx(records: &[(u16, &str)]) -> Answer {
        let host = |text: &str| if text == "." { Name::root() } else { name(text) };
        let exchanges = records.iter().map(|(preference, text)| Exchange { preference: *preference, host: host(text) });
        Answer::found(Values::Mx(exchanges.collect()))
    }

    fn run(
        provider: Provider,
        region: Option<&str>,
        on: Option<OnMxFailure>,
        answer: Answer,
    ) -> (Envelope, Vec<FindingCode>) {
        let domain = name("mail.mydomain.fr");
        let no_data = |kind| (Question::new(domain.clone(), kind), Answer::of(Outcome::NoData));
        let mut known: Known = [no_data(Kind::A), no_data(Kind::Aaaa)].into_iter().collect();
        known.insert(Question::new(domain.clone(), Kind::Mx), answer);
        let path = ReturnPath { provider, domain: &domain, region, is_from: false, on_mx_failure: on };
        let (envelope, findings) = judge(&path, &Asking::new(&known)).expect("all is known");
        (envelope, findings.iter().map(|finding| finding.code).collect())
    }

    const EU: &str = "feedback-smtp.eu-west-1.amazonses.com";

    #[test]
    fn ses_wants_one_mx_of_its_region() {
        use FindingCode as C;
        let back = || Envelope::FallsBack(name("amazonses.com"));
        let ses = |answer| run(Provider::Ses, Some("EU-west-1"), None, answer);
        assert_eq!(ses(mx(&[(10, EU)])), (Envelope::AsSetUp, vec![]));
        assert_eq!(ses(mx(&[(20, EU)])), (Envelope::AsSetUp, vec![C::MailFromMxPreference]));
        assert_eq!(ses(mx(&[(10, EU), (20, "mx.mydomain.fr")])), (back(), vec![C::MailFromMxSeveral]));
        assert_eq!(ses(mx(&[(10, "feedback-smtp.us-east-1.amazonses.com")])), (back(), vec![C::MailFromMxWrong]));
        assert_eq!(ses(mx(&[(10, "inbound-smtp.eu-west-1.amazonaws.com")])), (back(), vec![C::MailFromMxWrong]));
        assert_eq!(ses(mx(&[(0, ".")])), (back(), vec![C::MailFromMxNull]));
        assert_eq!(ses(Answer::of(Outcome::NoData)), (back(), vec![C::MailFromMxMissing]));
        assert_eq!(ses(Answer::of(Outcome::NoSuchDomain)), (back(), vec![C::MailFromMxMissing]));
        let any = run(Provider::Ses, None, None, mx(&[(10, EU)]));
        assert_eq!(any, (Envelope::AsSetUp, vec![]), "a region that nobody told is none to differ from");
    }

    #[test]
    fn an_mx_is_given_only_where_no_other_mail_comes_by_it() {
        let domain = name("mail.mydomain.fr");
        let given = |answer: Answer, is_from| {
            let known: Known = [(Question::new(domain.clone(), Kind::Mx), answer)].into_iter().collect();
            let region = Some("eu-west-1");
            let path = ReturnPath { provider: Provider::Ses, domain: &domain, region, is_from, on_mx_failure: None };
            let (_, findings) = judge(&path, &Asking::new(&known)).expect("all is known");
            let fix = &findings[0].fix;
            assert_eq!(fix.record.is_none(), fix.step.contains("fresh subdomain"), "{fix:?}");
            fix.record.is_some()
        };
        let none = || Answer::of(Outcome::NoData);
        assert!(given(none(), false) && given(mx(&[(10, "feedback-smtp.us-east-1.amazonses.com")]), false));
        assert!(!given(none(), true), "the From domain has mail of its own");
        assert!(!given(mx(&[(10, "aspmx.l.google.com")]), false));
        assert!(!given(mx(&[(10, EU), (20, "mx.mydomain.fr")]), false));
        let alias = Answer { aliases: vec![name("bounces.example")], ..none() };
        assert!(!given(alias, false));
    }

    #[test]
    fn ses_may_refuse_in_place_of_falling_back() {
        let on = Some(OnMxFailure::RejectMessage);
        let (envelope, codes) = run(Provider::Ses, None, on, Answer::of(Outcome::NoData));
        assert_eq!(envelope, Envelope::NotSent);
        assert_eq!(codes, [FindingCode::MailFromMxMissing, FindingCode::MailFromRefuses]);
        assert_eq!(run(Provider::Ses, None, on, mx(&[(10, EU)])).0, Envelope::AsSetUp);
    }

    #[test]
    fn trouble_is_no_missing_mx() {
        for outcome in [Outcome::ServerFailure, Outcome::TimedOut] {
            let (envelope, codes) = run(Provider::Ses, None, None, Answer::of(outcome));
            assert_eq!((envelope, codes), (Envelope::Unknown, vec![FindingCode::DnsTrouble]));
        }
        let (envelope, codes) = run(Provider::Ses, None, None, Answer::of(Outcome::Bogus));
        assert_eq!((envelope, codes), (Envelope::Unknown, vec![FindingCode::DnssecBogus]));
    }

    #[test]
    fn others_need_a_way_back() {
        let other = |answer| run(Provider::Mailgun, None, None, answer);
        assert_eq!(other(mx(&[(10, "mxa.mailgun.org"), (10, "mxb.mailgun.org")])), (Envelope::AsSetUp, vec![]));
        let no_return = (Envelope::AsSetUp, vec![FindingCode::MailFromNoReturn]);
        assert_eq!(other(mx(&[(0, ".")])), no_return);
        assert_eq!(other(Answer::of(Outcome::NoData)), no_return);
    }
}
