//! What is offered to paste, and what is not since it would do harm; verdicts that stay open.

use FindingCode as C;

use super::*;

const MAIL: &str = "mail.mydomain.fr";

/// The value of the record that is offered for the envelope domain.
fn offered(world: &World) -> Option<String> {
    let audit = world.audit();
    let record = audit
        .findings()
        .into_iter()
        .filter_map(|one| one.fix.record.clone())
        .find(|record| record.kind == "TXT" && record.name == format!("{MAIL}."));
    record.map(|record| record.value)
}

fn with_spf(text: &str) -> World {
    let mut world = World::case_two();
    world.zone.only(MAIL, text);
    world
}

#[test]
fn a_wildcard_that_refuses_everybody_is_no_misplaced_record() {
    let mut world = World::case_two();
    world.zone.without(MAIL, Kind::Txt).txt("_spf.mail.mydomain.fr", "v=spf1 -all");
    assert_eq!(offered(&world).as_deref(), Some("\"v=spf1 include:amazonses.com ~all\""));
    assert!(codes(&world.audit()).contains(&C::SpfMissing));
}

#[test]
fn an_end_that_passes_everybody_is_replaced_only_where_the_senders_still_pass() {
    let wanted = Some("\"v=spf1 include:amazonses.com ~all\"");
    assert_eq!(offered(&with_spf("v=spf1 include:amazonses.com +all")).as_deref(), wanted);
    assert_eq!(offered(&with_spf("v=spf1 +all")).as_deref(), wanted, "they are let in as well");
    let mut unknown = with_spf("v=spf1 ip4:192.0.2.1 +all");
    unknown.stream().provider = Provider::Postfix;
    assert_eq!(offered(&unknown), None);
    assert!(codes(&unknown.audit()).contains(&C::SpfAllowsAll));
}

#[test]
fn a_record_above_the_limit_is_not_offered() {
    let mut terms = String::new();
    let mut world = World::case_two();
    for index in 0..10 {
        world.zone.txt(&format!("h{index}.mydomain.fr"), "v=spf1 ip4:192.0.2.20 -all");
        terms.push_str(" include:h");
        terms.push_str(&index.to_string());
        terms.push_str(".mydomain.fr");
    }
    world.zone.only(MAIL, &format!("v=spf1{terms} -all"));
    assert!(codes(&world.audit()).contains(&C::SpfAddressRefused));
    assert_eq!(offered(&world), None);
}

#[test]
fn one_record_lets_in_all_streams_of_a_name() {
    let mut world = with_spf("v=spf1 ip4:192.0.2.0/28 -all");
    let addresses =
        vec!["192.0.2.3".parse().expect("v4"), "192.0.2.77".parse().expect("v4"), "2001:db8::9".parse().expect("v6")];
    let other = Stream { addresses, ..world.stream().clone() };
    world.setup.streams.push(other);
    let wanted = "\"v=spf1 ip4:192.0.2.0/28 include:amazonses.com ip4:192.0.2.77 ip6:2001:db8::9 -all\"";
    let value = offered(&world).expect("a record");
    let terms = |text: &str| text.split(' ').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(terms(&value), terms(wanted));
    world.setup.streams.reverse();
    assert_eq!(offered(&world).as_deref(), Some(value.as_str()), "in any order");
}

#[test]
fn no_record_is_offered_for_a_cname() {
    let mut world = World::case_two();
    world.zone.without(MAIL, Kind::Txt).cname(MAIL, "bounces.amazonses.com");
    world.zone.txt("bounces.amazonses.com", "v=spf1 ip4:192.0.2.1 -all +all");
    assert_eq!(offered(&world), None);
    let audit = world.audit();
    assert!(audit.findings().iter().any(|one| one.fix.step.contains("theirs at bounces.amazonses.com")));
}

#[test]
fn a_name_that_may_send_is_not_told_to_pass_nobody() {
    let offers = |change: fn(&mut World)| {
        let mut world = World::case_two();
        world.sources().push(source("old.mydomain.fr", 1));
        change(&mut world);
        let audit = world.audit();
        let finding = audit.own_findings.iter().find(|one| one.code == C::SourceWithoutSpf).expect("a finding");
        finding.fix.record.is_some()
    };
    assert!(offers(|_| ()));
    assert!(!offers(|w| done(w.zone.mx("old.mydomain.fr", 10, "mx.mydomain.fr"))));
    assert!(!offers(|w| w.setup.streams.push(Stream::new(Provider::Postfix, "mydomain.fr"))), "an envelope is open");
    assert!(!offers(|w| w
        .setup
        .streams
        .push(Stream { envelope: Some(MAIL.to_owned()), ..Stream::new(Provider::Ses, "old.mydomain.fr") })));
}

#[test]
fn an_error_that_depends_on_the_address_closes_nothing_where_none_is_known() {
    let mut world = with_spf("v=spf1 include:gone.example ~all");
    world.stream().provider = Provider::Postfix;
    let spf = |world: &World| world.audit().streams[0].apple.spf;
    assert_eq!(spf(&world), PathVerdict::Unknown(UnknownReason::NotTold));
    world.zone.only(MAIL, "v=spf1 moo ~all");
    assert_eq!(spf(&world), PathVerdict::Fail(FailReason::SpfNotPass));
    world.zone.only(MAIL, "v=spf1 ~all").txt(MAIL, "v=spf1 -all");
    assert_eq!(spf(&world), PathVerdict::Fail(FailReason::SpfNotPass));
}

#[test]
fn what_is_not_declared_is_not_excluded() {
    let mut world = World::case_two();
    world.setup.teams[0].sources.clear();
    let audit = world.audit();
    assert_eq!(audit.streams[0].apple.overall, PathVerdict::Unknown(UnknownReason::InventoryMissing));
    let missing: Vec<_> = audit.own_findings.iter().filter(|one| one.code == C::InventoryMissing).collect();
    assert_eq!(missing.iter().map(|one| one.about.as_str()).collect::<Vec<_>>(), ["T1"]);
    world.stream().envelope = None;
    assert_eq!(world.audit().streams[0].apple.spf, PathVerdict::Unknown(UnknownReason::InventoryMissing), "SES's own");
}

#[test]
fn a_source_is_unused_only_where_all_envelopes_are_known() {
    let unused = |change: fn(&mut World)| {
        let mut world = World::case_two();
        world.sources().push(source("old.mydomain.fr", 1));
        world
            .setup
            .streams
            .push(Stream { envelope: Some(MAIL.to_owned()), ..Stream::new(Provider::Ses, "mydomain.fr") });
        change(&mut world);
        codes(&world.audit()).contains(&C::SourceUnused)
    };
    assert!(unused(|_| ()));
    assert!(!unused(|w| w.setup.streams[1] = Stream::new(Provider::Postfix, "mydomain.fr")));
    assert!(!unused(|w| w.setup.streams[1].from = "dev@".to_owned()));
}

#[test]
fn a_foreign_key_is_no_fatal_of_ours_and_nothing_sent_is_no_pass() {
    let mut world = World::case_two();
    world.stream().selectors.push(selector("p1", Some("amazonses.com")));
    world.stream().signs_with_all = true;
    world.zone.txt("p1._domainkey.amazonses.com", "v=DKIM1; p=");
    assert!(world.audit().worst() < Some(Grade::Fatal));
    world.zone.without(MAIL, Kind::Mx);
    world.stream().on_mx_failure = Some(OnMxFailure::RejectMessage);
    let apple = world.audit().streams[0].apple;
    assert_eq!(apple.overall, PathVerdict::Fail(FailReason::NotSent));
}

#[test]
fn what_is_told_wrongly_or_too_often_is_told_back() {
    let invalid = |change: fn(&mut World)| {
        let mut world = World::case_two();
        change(&mut world);
        codes(&world.audit()).contains(&C::StreamInvalid)
    };
    assert!(invalid(|w| w.stream().spf_name = Some("a b..c".to_owned())));
    assert!(invalid(|w| w.stream().selectors = vec![selector("s1", None); 33]));
    assert!(!invalid(|w| w.stream().selectors = vec![selector("s1", None); 32]));
}

#[test]
fn the_results_of_each_address_are_told() {
    let json = serde_json::to_value(World::case_two().audit()).expect("JSON");
    let spf = &json["streams"][0]["spf"];
    assert_eq!((&spf["domain"], &spf["static_lookups"]), (&MAIL.into(), &1.into()));
    let first = serde_json::json!({"ip": "198.51.100.1", "result": "pass", "lookups": 1, "voids": 0});
    assert_eq!(spf["checked"][0], first);
}

#[test]
fn nobody_is_told_to_register_a_providers_name() {
    let mut world = World::case_two();
    world.unregister("mydomain.fr");
    world.stream().envelope = None;
    let audit = world.audit();
    let uncovered = audit.findings().into_iter().find(|one| one.code == C::StreamUncovered).expect("a finding");
    assert!(uncovered.fix.step.contains("custom MAIL FROM") && !uncovered.fix.step.contains("register amazonses"));
}

#[test]
fn a_key_that_is_the_providers_is_not_to_be_replaced_and_other_texts_hide_no_key() {
    const KEY: &str = "s1._domainkey.mydomain.fr";
    let given = |world: &World| {
        let audit = world.audit();
        let broken = audit.findings().into_iter().find(|one| one.code == C::DkimKeyBroken).expect("a finding").clone();
        (broken.fix.record.is_some(), broken.fix.step)
    };
    let text = key_record(2_048).replace(';', "\\;");
    let mut world = World::case_two();
    world.zone.only(KEY, &text);
    assert!(given(&world).0);
    world.zone.without(KEY, Kind::Txt).cname(KEY, "s1.dkim.amazonses.com").txt("s1.dkim.amazonses.com", &text);
    let (record, step) = given(&world);
    assert!(!record && step.contains("theirs at s1.dkim.amazonses.com"), "{step}");

    let mut world = World::case_two();
    world.zone.without(KEY, Kind::Txt);
    for index in 0..20 {
        world.zone.txt(KEY, &format!("a note {index}"));
    }
    world.zone.txt(KEY, &key_record(2_048));
    assert_eq!(world.audit().streams[0].apple.dkim, PathVerdict::Pass);
}

#[test]
fn where_no_record_stands_none_is_to_be_changed() {
    let mut world = World::case_two();
    world.zone.without("_dmarc.mydomain.fr", Kind::Txt).txt("_dmarc.shop.mydomain.fr", "v=DMARC1; p=reject");
    world.stream().from = "shop.mydomain.fr".to_owned();
    let audit = world.audit();
    let differs = audit.findings().into_iter().find(|one| one.code == C::DmarcOrgDiffers).expect("a finding");
    assert!(differs.fix.step.starts_with("Publish a DMARC record at _dmarc.mydomain.fr"), "{}", differs.fix.step);
}
