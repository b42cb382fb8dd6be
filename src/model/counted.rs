//! Numbers with their noun.

/// `1 row`, `2 rows`, `0 addresses`: a number with its noun, which is given in the singular. The last word of `noun` takes the
/// plural, by the rules of English spelling.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    if number == 1 {
        return format!("1 {noun}");
    }
    let stem = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match stem {
        Some(stem) => format!("{number} {stem}ies"),
        None if ["s", "x", "z", "ch", "sh"].iter().any(|end| noun.ends_with(end)) => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

/// The form of a verb: the first one with a single subject, else the second.
#[must_use]
pub const fn verb(number: u64, one: &'static str, many: &'static str) -> &'static str {
    if number == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_agrees_with_its_noun() {
        let cases = [
            (1, "row", "1 row"),
            (0, "row", "0 rows"),
            (2, "refused address", "2 refused addresses"),
            (3, "reply", "3 replies"),
            (2, "day", "2 days"),
        ];
        for (number, noun, said) in cases {
            assert_eq!(counted(number, noun), said);
        }
        assert_eq!((verb(1, "was", "were"), verb(0, "was", "were")), ("was", "were"));
    }
}
