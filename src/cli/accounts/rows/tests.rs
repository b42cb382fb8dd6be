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
                    "{line}: {} {:?} {} {:?} {:?}",
                    account.team, account.app, account.sub, account.email, account.signed_up_at
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
        match Rows::csv(Box::new(text)) {
            Ok(rows) => read(rows),
            Err(error) => vec![format!("refused: {error}")],
        }
    }

    #[test]
    fn good_and_broken_rows_are_told_apart_with_their_lines() {
        let text = "\u{feff}Team, app ,sub,email,signed_up_at,plan\n\
            T1,com.example,s1,A@privaterelay.appleid.com,2025-03-01T10:00:00+02:00,x\n\
            T1,,s2,,,\n\
            \n\
            T1,\"a\nb\",s3,,,\n\
            T1,,s4,,1740000000,\n\
            T1,,s5,,1740000000123,\n\
            T1,,s6,,2025-03-01,\n\
            T1,,,x@y.example,,\n\
            ,,s7,,,\n\
            T1,,s8,nobody,,\n\
            T1,,s9,,yesterday,\n\
            T1,,s10,,0001-01-01,\n\
            T1,,s11,,9999-12-31T23:59:59Z,\n\
            T1,s12\n\
            T1,,s13,,99999999999999999999,\n";
        insta::assert_snapshot!("csv_rows", csv(text.as_bytes()).join("\n"));
    }

    #[test]
    fn hostile_files_end_soon_and_say_why() {
        assert!(csv(b"")[0].starts_with("refused: the first line is no header"), "{:?}", csv(b""));
        assert!(csv(b"team;app;sub\nT;a;s\n")[0].contains("with commas between"));
        assert!(csv(b"team,sub,sub\n")[0].contains("twice"));
        assert_eq!(csv(b"team,sub\nT,\xff\xfe\nT,s\n"), ["2: sub is no UTF-8", "3: T None s None None"]);
        let mut open_quote = b"team,sub\nT,s\nT,\"".to_vec();
        open_quote.extend(std::iter::repeat_n(b'x', 10_000_000));
        let told = csv(&open_quote);
        assert_eq!(told[0], "2: T None s None None");
        assert!(told[1].starts_with("ended: line 3: the row is longer than 64 KiB"), "{told:?}");
        let long = format!("team,sub\nT,{}\n", "s".repeat(300));
        assert_eq!(csv(long.as_bytes()), ["2: sub is longer than 255 bytes"]);
        assert_eq!(csv(b"team,sub\nT,a\x00b\n"), ["2: sub holds a control character"]);
    }

    #[test]
    fn json_lines_are_read_and_long_ones_skipped() {
        let mut text = br#"{"team":"T","sub":"s1","signed_up_at":1740000000.5,"more":[1]}

{"team":"T","sub":7}
[]
{"team":"T","team":"U","sub":"s"}
{"team":"T","sub":"s2","signed_up_at":9007199254740993000000}
{"team":"T","sub":"s3","email":"#
            .to_vec();
        text.extend(std::iter::repeat_n(b'x', 200_000));
        text.extend_from_slice(b"\n{\"team\":\"T\",\"app\":null,\"sub\":\"s4\",\"signed_up_at\":null}");
        insta::assert_snapshot!("json_rows", read(Rows::lines(Box::new(text.as_slice()))).join("\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut file = b"team,app,sub,email,signed_up_at\n".to_vec();
            file.extend_from_slice(&bytes);
            let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            prop_assert!(csv(&file).len() <= lines);
            prop_assert!(read(Rows::lines(Box::new(bytes.as_slice()))).len() <= lines);
        }
    }
