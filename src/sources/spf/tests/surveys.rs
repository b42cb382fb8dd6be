//! What a record asks of DNS whoever sends.

use super::*;

fn surveyed(dns: &Dns) -> (Survey, usize) {
    let (mut known, mut steps) = (Known::default(), 0);
    loop {
        match survey(&name("example.com"), &known) {
            SurveyStep::Done(survey) => return (*survey, steps),
            SurveyStep::Need(questions) => {
                assert!(!questions.is_empty() && questions.len() <= MAX_AT_ONCE);
                steps += 1;
                for question in questions {
                    let answer = dns.answer(&question);
                    known.insert(question, answer);
                }
            }
        }
    }
}

#[test]
fn the_count_is_that_of_a_sender_whom_nothing_matches() {
    let dns = Dns::of(&[
        ("example.com", "TXT", "v=spf1 include:a.example.com mx ip4:192.0.2.9 include:b.example.com a -all"),
        ("a.example.com", "TXT", "v=spf1 include:c.example.com exists:%{i}.example.com ~all a"),
        ("b.example.com", "TXT", "v=spf1 ip4:192.0.2.8 redirect=c.example.com"),
        ("c.example.com", "TXT", "v=spf1 ip4:192.0.2.7 ?all"),
        ("example.com", "MX", "10 example.com"),
        ("example.com", "A", "192.0.2.6"),
    ]);
    let (survey, steps) = surveyed(&dns);
    assert_eq!((survey.lookups, steps), (7, 3));
    assert_eq!(survey.lookups, dns.verdict().lookups);
    let below: Vec<(usize, u32)> = survey
        .below
        .iter()
        .map(|(term, below)| match below {
            Below::Record(record) => (*term, record.lookups),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(below, [(0, 2), (3, 1)]);
}

#[test]
fn loops_macros_and_trees_without_end_are_bounded() {
    let (survey, _) = surveyed(&Dns::of(&[
        ("example.com", "TXT", "v=spf1 include:a.example.com include:%{d}.example.com include:x..example.com ~all"),
        ("a.example.com", "TXT", "v=spf1 include:example.com include:none.example.com -all"),
    ]));
    assert_eq!(survey.lookups, 5);
    let kinds: Vec<&Below> = survey.below.iter().map(|(_, below)| below).collect();
    let [Below::Record(a), Below::Macros, Below::NoName] = kinds[..] else { panic!("{kinds:?}") };
    assert_eq!(a.below[0], (0, Below::Loop(name("example.com"))));
    assert!(matches!(&a.below[1].1, Below::Record(none) if none.published == Selection::None));
    // Each record includes all others.
    let owners: Vec<String> =
        (0..9).map(|at| if at == 0 { "example.com".to_owned() } else { format!("d{at}.example.com") }).collect();
    let record =
        format!("v=spf1 {} -all", owners.iter().map(|owner| format!("include:{owner}")).collect::<Vec<_>>().join(" "));
    let lines: Vec<(&str, &str, &str)> = owners.iter().map(|owner| (owner.as_str(), "TXT", record.as_str())).collect();
    let (survey, _) = surveyed(&Dns::of(&lines));
    assert!(survey.lookups > MAX_LOOKUPS && survey.lookups <= 9 * MAX_RECORDS);
}
