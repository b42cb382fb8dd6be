//! The same mail in another dress, cut, or of any bytes.

use proptest::prelude::*;

use super::*;

/// What line ends are made of, in which order fields come and where they are folded makes no difference.
fn redressed(raw: &str, order: &[usize], fold: bool, crlf: bool) -> String {
    let (header, body) = raw.split_once("\n\n").expect("a header");
    let mut fields: Vec<String> = Vec::new();
    for line in header.lines() {
        match fields.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push('\n');
                last.push_str(line);
            }
            _ => fields.push(line.to_owned()),
        }
    }
    let mut shuffled: Vec<(usize, String)> =
        fields.into_iter().enumerate().map(|(at, field)| (order.get(at).copied().unwrap_or(at), field)).collect();
    shuffled.sort_by_key(|(rank, _)| *rank);
    let fields: Vec<String> = shuffled
        .into_iter()
        .map(|(_, field)| match field.split_once(": ") {
            // Structured fields may be folded before any blank.
            Some((name, value)) if fold && !field.contains('\n') && !name.eq_ignore_ascii_case("content-type") => {
                format!("{name}:\n {value}")
            }
            _ => field,
        })
        .collect();
    let all = format!("{}\n\n{body}", fields.join("\n"));
    if crlf { all.replace('\n', "\r\n") } else { all }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn dress_makes_no_difference(name in 0..FIXTURES.len(), order in prop::collection::vec(0_usize..100, 20), fold: bool, crlf: bool) {
        let raw = String::from_utf8(fixture(&format!("{}.eml", FIXTURES[name]))).expect("UTF-8");
        let dressed = redressed(&raw, &order, fold, crlf);
        let (plain, other) = (understand(raw.as_bytes()), understand(dressed.as_bytes()));
        let made = |understood: &Understood| report(understood, b"", &envelope());
        prop_assert_eq!(made(&plain), made(&other));
        if !matches!(plain, Understood::Aggregate(_)) {
            prop_assert_eq!(plain, other);
        }
    }

    #[test]
    fn any_bytes_are_understood_alike_twice(raw in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert_eq!(understand(&raw), understand(&raw));
    }

    #[test]
    fn a_cut_mail_is_still_read(name in 0..FIXTURES.len(), at in 0_usize..1_000) {
        let raw = fixture(&format!("{}.eml", FIXTURES[name]));
        let cut = raw.len() * at / 1_000;
        let part = raw.get(..cut).unwrap_or_default();
        let understood = understand(part);
        let made = report(&understood, part, &envelope());
        prop_assert!(made.events.len() <= 2);
    }
}
