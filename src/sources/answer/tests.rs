//! Names in one form, and what answers say.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).expect(text)
}

#[test]
fn names_that_dns_takes_for_the_same_are_equal() {
    assert_eq!(name("Mail.Example.COM."), name("mail.example.com"));
    assert_eq!(name("bücher.example").as_str(), "xn--bcher-kva.example");
    assert_eq!(name("BÜCHER.example"), name("xn--bcher-kva.example"));
    assert_ne!(name("example.com"), name("example.org"));
    assert_eq!(Name::from_labels([&b"Mail"[..], b"example"]).expect("labels"), name("mail.example"));
}

#[test]
fn what_dns_cannot_ask_is_no_name() {
    assert_eq!(Name::parse(""), Err(NameError::EmptyLabel));
    assert_eq!(Name::parse("."), Err(NameError::EmptyLabel));
    assert_eq!(Name::parse("a..example"), Err(NameError::EmptyLabel));
    assert_eq!(Name::parse(".example"), Err(NameError::EmptyLabel));
    assert_eq!(Name::parse("example.."), Err(NameError::EmptyLabel));
    assert!(Name::parse(&format!("{}.example", "a".repeat(63))).is_ok());
    assert_eq!(Name::parse(&format!("{}.example", "a".repeat(64))), Err(NameError::LongLabel));
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert!(Name::parse(&long).is_ok());
    assert_eq!(Name::parse(&format!("{long}d")), Err(NameError::TooLong));
    assert_eq!(Name::parse("\u{ad}.example"), Err(NameError::EmptyLabel));
}

#[test]
fn odd_bytes_have_one_form_and_come_back() {
    let odd = Name::from_labels([&b"a.b\\ \xff"[..], b"example"]).expect("labels");
    assert_eq!(odd.as_str(), "a\\046b\\092\\032\\255.example");
    let labels: Vec<Vec<u8>> = odd.labels().map(Cow::into_owned).collect();
    assert_eq!(labels, [b"a.b\\ \xff".to_vec(), b"example".to_vec()]);
    assert_eq!(name("macro%  space.example").labels().next().as_deref(), Some(&b"macro%  space"[..]));
    assert_eq!(Name::from_labels([]), Some(Name::root()));
    assert_eq!(Name::root().to_string(), ".");
    assert_eq!(Name::root().labels().count(), 0);
}

#[test]
fn a_name_is_within_itself_and_above() {
    let com = name("example.com");
    assert!(com.is_within(&com) && name("mail.example.com").is_within(&com) && com.is_within(&Name::root()));
    assert!(!name("badexample.com").is_within(&com) && !com.is_within(&name("mail.example.com")));
    assert_eq!(name("mail.example.com").parent(), Some(com));
    assert_eq!(name("com").parent(), Some(Name::root()));
    assert_eq!(Name::root().parent(), None);
}

#[test]
fn addresses_have_their_reverse_names() {
    let of = |ip: &str| Name::of_address(ip.parse().expect(ip)).to_string();
    assert_eq!(of("192.0.2.1"), "1.2.0.192.in-addr.arpa");
    assert_eq!(of("2001:db8::cb01"), "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

#[test]
fn strings_of_a_text_are_joined_without_a_blank() {
    assert_eq!(*Text::new(["v=spf1 ip4:".as_bytes(), b"192.0.2.5 -all"]).joined(), *b"v=spf1 ip4:192.0.2.5 -all");
    assert_eq!(*Text::default().joined(), *b"");
    assert_eq!(Text::from("a".repeat(256).as_str()).strings().len(), 2);
}

#[test]
fn trouble_is_no_absence() {
    let all = [
        Outcome::Found(Values::A(vec![Ipv4Addr::LOCALHOST])),
        Outcome::NoData,
        Outcome::NoSuchDomain,
        Outcome::ServerFailure,
        Outcome::TimedOut,
        Outcome::Bogus,
    ];
    let absent: Vec<bool> = all.iter().map(Outcome::is_absence).collect();
    let trouble: Vec<bool> = all.iter().map(Outcome::is_trouble).collect();
    assert_eq!(absent, [false, true, true, false, false, false]);
    assert_eq!(trouble, [false, false, false, true, true, true]);
    assert_eq!(all[0].seen().to_string(), "1 record");
}

proptest! {
    #[test]
    fn labels_come_back_in_lower_case(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..8)) {
        let name = Name::from_labels(labels.iter().map(Vec::as_slice)).expect("short labels");
        let back: Vec<Vec<u8>> = name.labels().map(Cow::into_owned).collect();
        let lower: Vec<Vec<u8>> = labels.iter().map(|label| label.to_ascii_lowercase()).collect();
        prop_assert_eq!(back, lower);
        prop_assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    }

    #[test]
    fn any_text_is_a_name_or_an_error(text in "\\PC{0,80}") {
        if let Ok(name) = Name::parse(&text) {
            prop_assert!(name.as_str().is_ascii());
            prop_assert_eq!(Name::from_labels(name.labels().collect::<Vec<_>>().iter().map(|label| &**label)), Some(name));
        }
    }
}
