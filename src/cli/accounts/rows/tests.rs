//! Good, broken and hostile rows.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_780_000_000_000);

/// Rows as `line: what`, or the error that ended reading.
fn read(mut rows: Rows<'_>) -> Vec<String> {
    let mut out = Vec::new();
    loop {
        match rows.next(NOW) {
            Ok(None) => return out,
            Ok(Some((line, Ok(account)))) => out.push(format!(
                "{line}: {} {:?} {} {:?} {:?} {:?}",
                account.team, account.app, account.sub, account.email, account.signed_up_at, account.private
            )),
            Ok(Some((line, Err(reason)))) => out.push(format!("{line}: {reason}")),
            Err(error) => {
                out.push(format!("ended: {error}"));
                return out;
            }
        }
    }
}

fn csv(text: &[u8]) -> Vec<String> {
    csv_without(text, false)
}

fn csv_without(text: &[u8], unknown: bool) -> Vec<String> {
    match Rows::csv(Box::new(text), unknown) {
        Ok(rows) => read(rows),
        Err(error) => vec![format!("refused: {error}")],
    }
}

#[test]
fn good_and_broken_rows_are_told_apart_with_their_lines() {
    let text = "\u{feff}Team, app ,sub,email,signed_up_at,plan\n\
        A1B2C3D4E5,com.example,s1,A@privaterelay.appleid.com,2025-03-01T10:00:00+02:00,x\n\
        A1B2C3D4E5,,s2,,,\n\
        \n\
        A1B2C3D4E5,\"a\nb\",s3,,,\n\
        A1B2C3D4E5,,s4,,1740000000,\n\
        A1B2C3D4E5,,s5,,1740000000123,\n\
        A1B2C3D4E5,,s6,,2025-03-01,\n\
        A1B2C3D4E5,,,x@y.example,,\n\
        ,,s7,,,\n\
        A1B2C3D4E5,,s8,nobody,,\n\
        A1B2C3D4E5,,s9,,yesterday,\n\
        A1B2C3D4E5,,s10,,0001-01-01,\n\
        A1B2C3D4E5,,s11,,9999-12-31T23:59:59Z,\n\
        A1B2C3D4E5,s12\n\
        A1B2C3D4E5,,s13,,99999999999999999999,\n";
    insta::assert_snapshot!("csv_rows", csv_without(text.as_bytes(), true).join("\n"));
}

#[test]
fn hostile_files_end_soon_and_say_why() {
    assert!(csv(b"")[0].starts_with("refused: the first line is no header"), "{:?}", csv(b""));
    assert!(csv(b"team;app;sub\nT;a;s\n")[0].contains("with commas between"));
    assert!(csv(b"team,sub,sub\n")[0].contains("twice"));
    assert_eq!(
        csv(b"team,sub\nA1B2C3D4E5,\xff\xfe\nA1B2C3D4E5,s\n"),
        ["2: sub is no UTF-8", "3: A1B2C3D4E5 None s None None None"]
    );
    let mut open_quote = b"team,sub\nA1B2C3D4E5,s\nA1B2C3D4E5,\"".to_vec();
    open_quote.extend(std::iter::repeat_n(b'x', 10_000_000));
    let told = csv(&open_quote);
    assert_eq!(told[0], "2: A1B2C3D4E5 None s None None None");
    assert!(told[1].starts_with("ended: line 3: the row is longer than 64 KiB"), "{told:?}");
    let long = format!("team,sub\nA1B2C3D4E5,{}\n", "s".repeat(300));
    assert_eq!(csv(long.as_bytes()), ["2: sub is longer than 255 bytes"]);
    assert_eq!(csv(b"team,sub\nA1B2C3D4E5,a\x00b\n"), ["2: sub holds a control character"]);
}

#[test]
fn json_lines_are_read_and_long_ones_skipped() {
    let mut text = br#"{"team":"A1B2C3D4E5","sub":"s1","signed_up_at":1740000000.5,"more":[1]}

{"team":"A1B2C3D4E5","sub":7}
[]
{"team":"A1B2C3D4E5","team":"A1B2C3D4E5","sub":"s"}
{"team":"A1B2C3D4E5","sub":"s2","signed_up_at":9007199254740993000000}
{"team":"A1B2C3D4E5","sub":"s3","email":"#
        .to_vec();
    text.extend(std::iter::repeat_n(b'x', 200_000));
    text.extend_from_slice(b"\n{\"team\":\"A1B2C3D4E5\",\"app\":null,\"sub\":\"s4\",\"signed_up_at\":null}");
    insta::assert_snapshot!("json_rows", read(Rows::lines(Box::new(text.as_slice()), true)).join("\n"));
}

#[test]
fn what_no_account_has_is_named_with_what_was_meant() {
    let told = csv(b"team,sub,emial\n");
    assert_eq!(
        told,
        [
            "refused: line 1: no account has the column \"emial\"; did you mean \"email\"? There are team, app, sub, email, \
          signed_up_at, is_private_email; leave it out, or give --ignore-unknown"
        ]
    );
    assert!(csv(b"team,sub,shoe_size\n")[0].contains("\"shoe_size\"; There are"), "nothing is near it");
    assert_eq!(csv_without(b"team,sub,shoe_size\nA1B2C3D4E5,s,43\n", true), ["2: A1B2C3D4E5 None s None None None"]);
    let line = br#"{"team":"A1B2C3D4E5","sub":"s","singed_up_at":1740000000}"#;
    let told = read(Rows::lines(Box::new(line.as_slice()), false));
    assert!(
        told[0].starts_with("1: no account has the field \"singed_up_at\"; did you mean \"signed_up_at\"?"),
        "{told:?}"
    );
}

#[test]
fn a_team_that_can_be_none_breaks_its_row() {
    let told = csv(b"team,sub\na1b2c3d4e5,s\nA1B2C3D4E,s\nA1B2C3D4E5,s\ncom.example,s\n");
    let broken: Vec<&str> =
        told.iter().map(|line| line.split(';').next().unwrap_or(line).split(':').next().unwrap_or(line)).collect();
    assert_eq!(broken, ["2", "3", "4", "5"]);
    assert!(told[0].contains("ten capital letters and digits") && told[2].contains(" s "), "{told:?}");
}

#[test]
fn the_word_on_privacy_is_read_in_every_usual_dress() {
    let told = csv(
        b"team,sub,is_private_email\nA1B2C3D4E5,a,true\nA1B2C3D4E5,b,f\nA1B2C3D4E5,c,\nA1B2C3D4E5,d,maybe\nA1B2C3D4E5,e,1\n",
    );
    assert!(
        told[0].ends_with("Some(true)") && told[1].ends_with("Some(false)") && told[2].ends_with("None"),
        "{told:?}"
    );
    assert_eq!(told[3], "5: is_private_email is neither true nor false");
    assert!(told[4].ends_with("Some(true)"), "{told:?}");
    let lines = b"{\"team\":\"A1B2C3D4E5\",\"sub\":\"s\",\"is_private_email\":false}";
    assert!(read(Rows::lines(Box::new(lines.as_slice()), false))[0].ends_with("Some(false)"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut file = b"team,app,sub,email,signed_up_at\n".to_vec();
        file.extend_from_slice(&bytes);
        let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
        prop_assert!(csv(&file).len() <= lines);
        prop_assert!(read(Rows::lines(Box::new(bytes.as_slice()), false)).len() <= lines);
    }
}
