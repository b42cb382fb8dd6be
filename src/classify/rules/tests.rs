mod apple;
mod hard;

use super::*;
use crate::{
    classify::{Parties, context, template},
    model::{Address, Destination, RelayDomains},
};

const RELAY: &str = "x7kq2m9abc@privaterelay.appleid.com";
const SENDER: &str = "bounces@mail.example.com";
const RELAY_MX: &str = "smtp3.privaterelay.appleid.com";
const ICLOUD_MX: &str = "mx01.mail.icloud.com";

fn rules() -> Rules {
    Rules::built_in().expect("built-in rules")
}

/// The verdict on a text with what is known beside it; `""` is not known.
fn judge(rules: &Rules, text: &str, recipient: &str, sender: &str, mx: &str) -> Verdict {
    let relay = RelayDomains::default();
    let read = |text: &str| (!text.is_empty()).then(|| Address::parse(text).expect("address"));
    let (recipient, sender) = (read(recipient), read(sender));
    let parties =
        Parties { recipient: recipient.as_ref(), envelope_sender: sender.as_ref(), ..Parties::unknown(&relay) };
    let context = context(None, recipient.as_ref(), (!mx.is_empty()).then_some(mx), &relay);
    rules.classify(template(text, &parties), &context)
}

#[test]
fn the_built_in_rules_are_clean() {
    let findings = rules().lint();
    assert!(findings.is_empty(), "{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn letters_before_the_codes_that_change_their_length_cut_no_whole_text() {
    let rules = Rules::with_extra(&[("x", format!("version = 1\n{}", own("a", "\"frobnicated\"", "whole = true")))])
        .expect("loads");
    // The Kelvin sign takes three bytes, its lower case one; a dotted capital I takes two, its lower case three.
    for before in ["\u{212a}\u{212a} said: ", "\u{130}\u{130} said: ", ""] {
        for text in ["550 5.7.1 Frobnicated.", "550 5.7.1: FROBNICATED"] {
            let text = format!("{before}{text}");
            assert_eq!(judge(&rules, &text, "", "", "").rule, "x/a", "{text}");
            assert_ne!(judge(&rules, &format!("{text} today"), "", "", "").rule, "x/a", "{text}");
        }
    }
}

#[test]
fn case_is_folded_beyond_ascii() {
    let rules = rules();
    for text in ["550 Пользователь не найден", "550 ПОЛЬЗОВАТЕЛЬ НЕ НАЙДЕН", "552 BOÎTE PLEINE", "550 宛先不明です"]
    {
        let verdict = judge(&rules, text, "", "", "");
        assert!(verdict.rule.starts_with("languages/"), "{text}: {}", verdict.rule);
    }
}

#[test]
fn a_relay_address_is_never_suppressed_by_one_refusal() {
    let rules = rules();
    for rule in &rules.ordered {
        let action = rule.raw.action.unwrap_or(rule.raw.cause.action());
        assert_ne!(action, Action::Suppress, "{}", rule.id);
        assert!(!rule.raw.hard || action == Action::Hold, "{}", rule.id);
    }
}

#[test]
fn the_verdict_needs_only_the_template_and_the_context() {
    let rules = rules();
    let relay = RelayDomains::default();
    let recipient = Address::parse(RELAY).expect("address");
    let parties = Parties { recipient: Some(&recipient), ..Parties::unknown(&relay) };
    let template = template(&format!("550 5.1.1 <{RELAY}>: user not found"), &parties);
    let context = ReplyContext { provider: None, destination: Destination::Relay, mx: MxFamily::AppleRelay };
    let at_ingest = rules.classify(&template, &context);
    let stored: String = template.into_string();
    assert_eq!(rules.classify(stored, &context), at_ingest);
}

#[test]
fn extra_rules_come_first_and_mistakes_name_file_rule_and_line() {
    let extra = "version = 5\n[[rule]]\nname = \"ours\"\nwording = [\"unauthorized  Sender\"]\ncause = \"policy_rejected\"\nfault = \"sender\"\naction = \"hold\"\nconfidence = 1.0\ndoc = \"us\"\n";
    let rules = Rules::with_extra(&[("our-rules.toml", extra)]).expect("extra");
    let verdict = judge(&rules, "550 unauthorized sender", RELAY, SENDER, RELAY_MX);
    assert_eq!((verdict.rule.as_str(), verdict.cause, verdict.version), ("our-rules/ours", Cause::PolicyRejected, 5));
    let findings = rules.lint();
    assert!(findings.iter().any(|f| f.rule == "our-rules/ours" && f.problem == LintProblem::NoSamples));
    assert!(
        findings.iter().any(|f| f.rule == "apple-relay/unauthorized-sender"
            && f.problem == LintProblem::Unreachable("our-rules/ours".to_owned())),
        "{findings:?}"
    );

    let broken = |from: &str, to: &str| {
        let mut errors = Rules::with_extra(&[("ours", extra.replace(from, to))]).expect_err("broken").0;
        assert_eq!(errors.len(), 1, "{errors:?}");
        let error = errors.remove(0);
        (error.file.clone(), error.rule.clone(), error.line, error.to_string())
    };
    let (file, rule, line, text) = broken("policy_rejected", "policy_refused");
    assert_eq!((file.as_str(), rule.as_deref(), line), ("ours", Some("ours"), 5), "{text}");
    assert!(text.starts_with("rule file ours.toml, line 5, rule \"ours\": "), "{text}");
    let (_, rule, line, text) = broken("\"hold\"", "\"suppress\"");
    assert_eq!((rule.as_deref(), line), (Some("ours"), 2), "{text}");
    assert!(text.contains("hold"), "{text}");
    assert_eq!(broken("confidence = 1.0", "confidence = 1.0\nhard = true").2, 2);
    assert_eq!(broken("confidence = 1.0", "confidence = 7.0").2, 2);
    assert_eq!(broken("wording", "wordings").2, 4);
    assert_eq!(broken("wording = [\"unauthorized  Sender\"]\n", "").2, 2);
    assert_eq!(broken("version = 5\n", "").2, 1);
}

/// A rule of the linter's tests; `more` are further keys.
pub(super) fn own(name: &str, wording: &str, more: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nwording = [{wording}]\ncause = \"policy_rejected\"\nconfidence = 1.0\ndoc = \"us\"\n{more}\n"
    )
}

#[test]
fn names_that_are_taken_are_refused() {
    let told = |files: &[(&str, String)]| Rules::with_extra(files).expect_err("taken").to_string();
    let text = format!("version = 1\n{}", own("a", "\"frobnicated\"", ""));
    assert!(told(&[("google", text.clone())]).contains("google.toml, line 1: a built-in file has this name"));
    assert!(told(&[("none", text.clone())]).contains("rename the file"));
    assert!(told(&[("mine", text.clone()), ("mine", text.clone())]).contains("another file has this name"));
    let twice = format!("{text}{}", own("a", "\"other\"", ""));
    assert_eq!(
        told(&[("mine", twice)]),
        "rule file mine.toml, line 9, rule \"a\": the rule at line 2 has this name too: rename one"
    );
}

#[test]
fn a_stored_reply_has_its_verdict_again_only_where_the_rules_still_give_it() {
    let (rules, relay) = (rules(), RelayDomains::default());
    let recipient = Address::parse("someone@icloud.com").expect("an address");
    let text = "550 5.1.1 <someone@icloud.com>: inactive email address";
    let template = template(text, &Parties { recipient: Some(&recipient), ..Parties::unknown(&relay) });
    let context = context(None, Some(&recipient), Some(ICLOUD_MX), &relay);
    let verdict = rules.classify(&template, &context);
    let recall = |cause| rules.recall(&template, &context, None, (cause, &verdict.rule));
    assert_eq!(recall(verdict.cause), Some(verdict.clone()));
    assert_eq!(recall(Cause::RecipientUnknown), None, "another meaning");

    // Not known to be a private address when the reply came in.
    let bare = "550 5.1.1 user unknown";
    let of = |destination| ReplyContext { provider: None, destination, mx: MxFamily::Unknown };
    let (then, now) = (of(Destination::Shared), of(Destination::Relay));
    let stored = rules.classify(bare, &then);
    assert_ne!(rules.classify(bare, &now).cause, stored.cause);
    let named = format!("{}@{}", stored.rule, stored.version);
    let recall = |rule: &str| rules.recall(bare, &now, None, (stored.cause, rule)).map(|verdict| verdict.cause);
    assert_eq!(recall(&named), Some(stored.cause));
    assert_eq!(recall("another/rule@1"), None, "another rule had given that meaning");
}

#[test]
fn own_rules_in_force_leave_no_verdict_of_the_domain_to_a_reply_that_another_rule_had_judged() {
    let text = "550 5.1.1 <{recipient}>: user not found";
    let relay = ReplyContext { provider: None, destination: Destination::Relay, mx: MxFamily::Unknown };
    let stored = rules().classify(text, &relay);
    let of_domain = rules().classify(text, &ReplyContext { destination: Destination::Shared, ..relay });
    assert_eq!((of_domain.cause, &of_domain.rule), (stored.cause, &stored.rule), "it would stand in");
    assert_eq!(stored.cause, Cause::RecipientUnknown);
    let own = "version = 1\n[[rule]]\nname = \"off\"\nreceiver = [\"apple-relay\"]\nwording = [\"user not found\"]\n\
               cause = \"mailbox_disabled\"\nconfidence = 0.9\ndoc = \"us\"\n";
    let changed = Rules::with_extra(&[("ours", own)]).expect("rules");
    assert_eq!(changed.classify(text, &relay).cause, Cause::MailboxDisabled);
    assert_eq!(changed.recall(text, &relay, None, (stored.cause, &stored.rule)), None);
}
