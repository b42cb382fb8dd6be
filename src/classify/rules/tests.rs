use super::*;

#[test]
fn the_built_in_rules_are_clean() {
    let findings = Rules::built_in().expect("built-in rules").lint();
    assert!(findings.is_empty(), "{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}
