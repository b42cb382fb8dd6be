//! The list of findings in the docs is the list in the code.

use relaywatch::sources::{FindingCode, Grade};

#[test]
fn every_finding_has_its_row_with_grade_and_reason() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sources.md")).expect("docs/sources.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let codes: Vec<&str> = FindingCode::ALL.iter().map(|code| code.as_str()).collect();
    let documented: Vec<&str> = rows.iter().filter_map(|row| row.first().copied()).collect();
    assert_eq!(documented, codes, "one row a code, in the order of the list");
    for row in &rows {
        let [code, grade, meaning, why] = row.as_slice() else { panic!("four cells in {row:?}") };
        let known = FindingCode::from_name(code).unwrap_or_else(|| panic!("{code} is no code"));
        let said = if known.spared() { "fatal, or at-risk" } else { known.grade().as_str() };
        assert_eq!(*grade, said, "{code}");
        assert_eq!(*why, known.why(), "{code}");
        assert!(meaning.len() > 10, "{code}");
    }
    for grade in Grade::ALL {
        assert!(text.contains(&format!("**{grade}**")), "{grade} is explained");
    }
}
