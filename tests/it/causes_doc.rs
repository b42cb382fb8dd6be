//! The list of causes in the docs is the list in the code.

use relaywatch::{
    classify::Rules,
    model::{Action, Cause, CauseFamily, Fault},
};

#[test]
fn the_rule_files_of_the_docs_are_clean() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/causes.md")).expect("docs/causes.md");
    // Blocks are indented by four blanks; a file begins with its version.
    let lines: Vec<Option<&str>> =
        text.lines().map(|line| line.strip_prefix("    ").or(line.is_empty().then_some(""))).collect();
    let blocks =
        lines.split(Option::is_none).map(|block| block.iter().flatten().copied().collect::<Vec<_>>().join("\n"));
    let files: Vec<String> = blocks.filter(|block| block.trim_start().starts_with("version = ")).collect();
    assert!(!files.is_empty());
    for file in files {
        let rules = Rules::with_extra(&[("docs", file)]).expect("a rule file");
        let found: Vec<String> = rules.lint().iter().filter(|finding| !finding.note).map(ToString::to_string).collect();
        assert_eq!(found, [""; 0]);
        assert!(rules.own_files() == 1);
    }
}

#[test]
fn every_cause_has_its_row_with_family_fault_and_action() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/causes.md");
    let text = std::fs::read_to_string(path).expect("docs/causes.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .filter(|row: &Vec<&str>| row.len() == 7)
        .collect();
    let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    let documented: Vec<&str> = rows.iter().filter_map(|row| row.first().copied()).collect();
    assert_eq!(documented, causes, "one row a cause, in the order of the list");
    assert!(Cause::ALL.iter().all(|cause| cause.action() != Action::Suppress), "one refusal suppresses nobody");
    for row in &rows {
        let [cause, family, meaning, fault, action, hard, source] = row.as_slice() else {
            panic!("seven cells in {row:?}")
        };
        let known = Cause::from_name(cause).unwrap_or_else(|| panic!("{cause} is no cause"));
        assert_eq!(CauseFamily::from_name(family), Some(known.family()), "{cause}");
        assert_eq!(Fault::from_name(fault), Some(known.fault()), "{cause}");
        assert_eq!(Action::from_name(action), Some(known.action()), "{cause}");
        let can_be_hard = matches!(*cause, "recipient_unknown" | "recipient_moved" | "domain_unknown");
        assert_eq!(*hard == "where the text says so", can_be_hard, "{cause}: {hard}");
        assert!(meaning.len() > 10 && source.len() > 5, "{cause}");
    }
}
