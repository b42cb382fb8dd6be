//! Aggregate reports that others published (parsedmarc), read where they lie; skipped by name where they are absent. The corpus has
//! no files of what is expected: the figures stand here.

use std::path::PathBuf;

use relaywatch::sources::reports::{Alignment, Disposition, ReportError, read_one};

/// The folder, or `None` with a line that names the test.
fn corpus(test: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RELAYWATCH_CORPORA") else {
        assert!(std::env::var("CI").is_err(), "RELAYWATCH_CORPORA is not set; run scripts/test");
        eprintln!("skipped: {test} (RELAYWATCH_CORPORA is not set)");
        return None;
    };
    let path = PathBuf::from(folder).join("dmarc-aggregate");
    if !path.exists() {
        assert!(std::env::var("CI").is_err(), "RELAYWATCH_CORPORA has no {}", path.display());
        eprintln!("skipped: {test} ({} is absent)", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn published_reports_are_read_and_the_invalid_one_is_refused() {
    use Alignment::{Fail, Pass};
    let Some(folder) = corpus("published_reports_are_read_and_the_invalid_one_is_refused") else { return };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut read = 0;
    for path in files {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let expected = match name.as_str() {
            "LICENSE" => continue,
            "invalid_xml.xml" => {
                let what = "its tags do not close in the order in which they open";
                let bytes = std::fs::read(&path).expect("a file");
                assert_eq!(read_one(&bytes), Err(ReportError::Xml { line: 5, what }));
                continue;
            }
            name if name.starts_with("estadocuenta1") => (
                "XYZ Corporation",
                "2940",
                "example.com",
                1_536_853_302,
                1_536_939_702,
                "148.243.137.254",
                1,
                Fail,
                Fail,
            ),
            name if name.starts_with("example.net!") => (
                "example.net",
                "b043f0e264cf4ea995e93765242f6dfb",
                "example.com",
                1_529_366_400,
                1_529_452_799,
                "199.230.200.36",
                1,
                Fail,
                Fail,
            ),
            name if name.starts_with("fastmail.com!") => (
                "FastMail Pty Ltd",
                "102675056",
                "indemed.com",
                1_516_060_800,
                1_516_147_199,
                "104.195.80.20",
                1,
                Fail,
                Fail,
            ),
            "old_draft_from_wiki.xml" => (
                "acme.com",
                "9391651994964116463",
                "example.com",
                1_335_571_200,
                1_335_657_599,
                "72.150.241.94",
                2,
                Pass,
                Fail,
            ),
            "rfc9990-sample.xml" => (
                "Sample Reporter",
                "3v98abbp8ya9n3va8yr8oa3ya",
                "example.com",
                302_832_000,
                302_918_399,
                "192.0.2.123",
                123,
                Fail,
                Pass,
            ),
            // A file that was added later: it must be read.
            _ => {
                let bytes = std::fs::read(&path).expect("a file");
                let found = read_one(&bytes);
                assert!(found.is_ok(), "{name}: {found:?}");
                continue;
            }
        };
        let report = read_one(&std::fs::read(&path).expect("a file")).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let [record] = report.records.as_slice() else { panic!("{name}: {report:?}") };
        let address = record.address.to_string();
        let found = (
            report.organisation.as_str(),
            report.report_id.as_str(),
            report.domain.as_str(),
            report.begin.as_seconds(),
            report.end.as_seconds(),
            address.as_str(),
            record.count,
            record.spf,
            record.dkim,
        );
        assert_eq!(found, expected, "{name}");
        assert_eq!((record.header_from.as_str(), report.left_out), ("example.com", 0), "{name}");
        let done = if name.starts_with("rfc9990") { Disposition::Pass } else { Disposition::None };
        assert_eq!(record.disposition, done, "{name}");
        read += 1;
    }
    assert_eq!(read, 5);
}
