use super::super::{Rules, tests::own};

/// What the linter says of the operator's own rules.
fn linted(rules: &[String]) -> Vec<String> {
    let text = format!("version = 1\n{}", rules.concat());
    let rules = Rules::with_extra(&[("x", text)]).expect("loads");
    rules.lint().iter().filter(|found| found.rule.starts_with("x/")).map(ToString::to_string).collect()
}

#[test]
fn the_linter_finds_what_rots() {
    let found = linted(&[
        own("a", "\"wide words\"", "samples = [\"550 wide words\"]\nnear_misses = [\"550 other\"]"),
        own("b", "\"very wide words here\"", "samples = [\"550 very wide words here\"]\nnear_misses = [\"550 wide\"]"),
        own(
            "c",
            "\"third\"",
            "samples = [\"550 fourth\", \"550 third\",\n\"550 wide words\"]\nnear_misses = [\"550 third\"]",
        ),
        own("d", "\"fifth\", \"sixth\", \"the fifth one\"", "not = [\"a seventh\", \"seventh\"]")
            .replace("\"us\"", "\"\""),
    ]);
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn the_linter_sees_what_conditions_and_exceptions_leave() {
    let with = |samples: &str| format!("samples = [{samples}]\nnear_misses = [\"550 other\"]");
    let cause = |rule: String| rule.replace("policy_rejected", "mailbox_full");
    let one = |earlier: &str, wording: &str, more: &str| {
        let earlier = own("e", "\"frobnicated\"", &format!("{earlier}\n{}", with("\"550 frobnicated\"")));
        let found = linted(&[earlier, cause(own("l", wording, &format!("{more}\n{}", with("\"550 plain\""))))]);
        found.into_iter().filter(|line| !line.contains(" sample 1")).collect::<Vec<_>>().join("\n")
    };
    // An exception of the earlier rule leaves the later one something: it is meant for that.
    assert_eq!(one("not = [\"again\"]", "\"plain\", \"is frobnicated\"", ""), "");
    // Here the exception leaves nothing to it.
    let said = one("not = [\"again today\"]", "\"plain\", \"is frobnicated\"", "not = [\"is frobnicated again\"]");
    assert!(said.contains("x/l overlaps with x/e") && said.contains("\"is frobnicated\""), "{said}");
    // The later one has the exception too.
    let said = one("not = [\"again\"]", "\"plain\", \"is frobnicated\"", "not = [\"again\"]");
    assert!(
        said.contains("x/l has a phrase that never decides, \"is frobnicated\": wherever it stands, x/e holds"),
        "{said}"
    );
    // A more special rule comes first: that is what an order is for.
    for special in
        ["all = [\"today\"]", "whole = true", "role = [\"recipient\"]", "receiver = [\"other\"]", "code = [\"550\"]"]
    {
        assert_eq!(one(special, "\"plain\", \"is frobnicated\"", ""), "", "{special}");
    }
    // Codes that are covered, and not.
    assert!(one("code = [\"5xx\"]", "\"plain\", \"frobnicated\"", "code = [\"550\"]").contains("never decides"));
    assert!(
        one("enhanced = [\"5.7.*\"]", "\"plain\", \"frobnicated\"", "enhanced = [\"5.7.1\"]").contains("never decides")
    );
    assert_eq!(one("enhanced = [\"5.7.*\"]", "\"plain\", \"frobnicated\"", "enhanced = [\"5.1.1\"]"), "");
    // Conditions that leave nothing.
    assert!(
        one("", "\"plain\"", "receiver = [\"apple-relay\"]\ndestination = [\"other\"]\nmx = [\"google\"]")
            .contains("can't hold")
    );
    assert!(one("", "\"plain\"", "all = [\"not today\"]\nnot = [\"today\"]").contains("can't hold"));
    assert!(
        one("", "\"plain\", \"plain today\"", "not = [\"today\"]")
            .contains("it holds \"today\", which the rule has in `not`")
    );
    assert!(one("", "\"plain\", \"so plain\"", "").contains("adds nothing, \"so plain\": it holds \"plain\""));
}

#[test]
fn several_rules_together_cover_a_later_one() {
    let with = "samples = [\"550 frobnicated\"]\nnear_misses = [\"550 other\"]";
    let at = |name: &str, receivers: &str| own(name, "\"frobnicated\"", &format!("receiver = [{receivers}]\n{with}"));
    let later = own("l", "\"is frobnicated\"", with).replace("policy_rejected", "mailbox_full");
    let rules = [at("a", "\"apple-relay\", \"apple-icloud\""), at("b", "\"other\""), later.clone()];
    assert!(!linted(&rules).iter().any(|line| line.contains("x/l can't be reached")), "an unknown receiver is left");
    let rules = [at("a", "\"apple-relay\", \"apple-icloud\""), at("b", "\"other\", \"unknown\""), later];
    let found = linted(&rules);
    assert!(
        found
            .iter()
            .any(|line| line.ends_with("x/l can't be reached: wherever it holds, so does x/a or x/b, asked earlier")),
        "{found:?}"
    );
}

#[test]
fn one_sample_shows_what_a_phrase_decides() {
    let earlier = own(
        "e",
        "\"frobnicated\"",
        "not = [\"again\"]\nsamples = [\"550 frobnicated\"]\nnear_misses = [\"550 other\"]",
    );
    let later =
        own("l", "\"is frobnicated\"", "samples = [\"550 it is frobnicated again\"]\nnear_misses = [\"550 other\"]");
    assert_eq!(linted(&[earlier, later.replace("policy_rejected", "mailbox_full")]), [""; 0]);
}

#[test]
fn a_phrase_that_no_template_holds_says_what_it_becomes() {
    let said = |wording: &str| {
        let found = linted(&[own("a", wording, "samples = [\"550 frobnicated\"]\nnear_misses = [\"550 other\"]")]);
        found.into_iter().filter(|line| line.contains("no template holds")).collect::<Vec<_>>().join("\n")
    };
    assert!(said("\"frobnicated\", \"the {adress} is gone\"").ends_with("called {adress}; did you mean {address}?"));
    assert!(said("\"frobnicated\", \"{zzz} gone\"").contains("write one of {recipient} {sender}"));
    for (literal, becomes) in [
        ("jo@example.com is gone", "{address} is gone"),
        ("blocked for 192.0.2.7", "blocked for {ip}"),
        ("in session 4f8b2c1d-7a3e-4b5c-9d8e-1f2a3b4c5d6e", "in session {id}"),
    ] {
        let said = said(&format!("\"frobnicated\", \"{literal}\""));
        assert!(said.contains(&format!("there it is {becomes:?}")), "{said}");
    }
    assert_eq!(said("\"frobnicated\", \"<{recipient}> is gone\", \"[hme1]\", \"see rfc 5321\""), "");
}

#[test]
fn the_docs_list_every_placeholder() {
    let docs = include_str!("../../../../docs/causes.md");
    let listed: Vec<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(word, _)| word)
        .filter(|word| word.starts_with('{'))
        .collect();
    assert_eq!(listed, crate::classify::template::ROLES);
}
