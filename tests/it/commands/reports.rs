//! `relaywatch reports`: taken in twice, by file and by mail, beside a daemon and without one, on both engines.

use serde_json::{Value, json};

use super::installation::*;
use crate::support::Engine;

/// A fixture that ends at the place's start, so that it has not outlived its retention.
fn fixture(place: &Place, name: &str) -> String {
    let path = format!("{}/tests/fixtures/reports/{name}", env!("CARGO_MANIFEST_DIR"));
    let end = place.start.as_seconds();
    let text = std::fs::read_to_string(path).expect("a fixture");
    text.replace("1795391999", &end.to_string()).replace("1795305600", &(end - 86_399).to_string())
}

fn write(place: &Place, name: &str, text: &str) -> String {
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

fn everything(place: &Place) {
    let folder = place.path("reports").display().to_string();
    write(place, "reports/new.xml", &fixture(place, "rfc9990.xml"));
    write(place, "reports/old.xml", &fixture(place, "old.xml"));
    write(place, "reports/tags.xml", &fixture(place, "tags.xml"));
    write(place, "reports/dtd.xml", &fixture(place, "dtd.xml"));
    let dry = place.run(&["reports", "import", &folder, "--dry-run"]);
    assert_eq!(dry.code, Some(1), "{}", dry.out);
    assert!(
        dry.out.contains("2 reports about 145 messages in 2 files") && dry.out.contains("nothing was changed"),
        "{}",
        dry.out
    );

    let said = place.run(&["reports", "import", &folder, "--create"]);
    assert_eq!(said.code, Some(1), "{}{}", said.err, said.out);
    assert!(
        said.err.contains("tags.xml: line 1: its tags do not close") && said.err.contains("dtd.xml: line 2: "),
        "{}",
        said.err
    );
    assert!(said.out.ends_with("2 new to the journal, 0 known before\n"), "{}", said.out);
    let counts = |said: &Value| [&said["new"], &said["known"], &said["broken"]].map(Value::as_u64);
    let again = place.run(&["reports", "import", &folder, "--format", "json"]).json();
    assert_eq!(counts(&again), [Some(0), Some(2), Some(2)], "{again}");
    let input =
        place.run_with(&["reports", "import", "-", "--format", "json"], &fixture(place, "rfc9990.xml")).ok().json();
    assert_eq!(counts(&input), [Some(0), Some(1), Some(0)], "{input}");

    // The same report as a mail that is imported like any other: known. Another one counts.
    let end = place.start.as_seconds();
    let mail = |text: &str| {
        format!(
            "From: r@receiver.example.net\nSubject: Report Domain: example.com Submitter: receiver.example.net Report-ID: <1>\n\
             MIME-Version: 1.0\nContent-Type: text/xml; name=\"receiver.example.net!example.com!{}!{end}.xml\"\n\
             Content-Disposition: attachment; filename=\"receiver.example.net!example.com!{}!{end}.xml\"\n\n{text}",
            end - 86_399,
            end - 86_399
        )
    };
    let known = write(place, "known.eml", &mail(&fixture(place, "rfc9990.xml")));
    let said = place.run(&["import", &known, "--format", "json"]).ok().json();
    assert_eq!((&said["kept_new"], &said["kept_known"]), (&json!(0), &json!(1)), "{said}");
    let other = write(place, "other.eml", &mail(&fixture(place, "draft.xml")));
    let said = place.run(&["import", &other, "--format", "json"]).ok().json();
    assert_eq!((&said["kept_new"], &said["kept_known"]), (&json!(1), &json!(0)), "{said}");

    let list = place.run(&["reports", "list", "--since", "2d", "--format", "json"]).ok();
    let mut messages: Vec<Option<u64>> =
        list.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["messages"].as_u64()).collect();
    messages.sort_unstable();
    assert_eq!(messages, [Some(3), Some(7), Some(138)], "{}", list.out);
    let show = place.run(&["reports", "show", "example.com", "--since", "2d", "--format", "json"]);
    assert_eq!(show.code, Some(1), "known addresses fail: {}{}", show.err, show.out);
    let show = show.json();
    assert_eq!((&show["reports"], &show["domains"][0]["messages"]), (&json!(3), &json!(141)), "{show}");
    let codes: Vec<&str> =
        show["findings"].as_array().into_iter().flatten().filter_map(|one| one["code"].as_str()).collect();
    assert_eq!(codes, ["reports_both_fail"]);
    let text = place.run(&["reports", "show", "--since", "2d"]);
    assert!(text.out.contains("192.0.2.10                sparkpost           125"), "{}", text.out);
    assert_eq!(place.run(&["reports", "show", "other.example"]).code, Some(0));
    let wrong = place.run(&["reports", "show", "--since", "tomorrow"]);
    assert!(wrong.code == Some(1) && wrong.err.contains("--since: "), "{}", wrong.err);
}

async fn place(engine: Engine) -> Option<Place> {
    let place = Place::new(engine).await?;
    let path = place.path("relaywatch.toml");
    let stream = "[[team.stream]]\nprovider = \"sparkpost\"\nfrom = \"example.com\"\naddresses = [\"192.0.2.10\"]\n";
    let config = std::fs::read_to_string(&path).expect("configuration");
    std::fs::write(&path, config + stream).expect("configuration");
    Some(place)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_taken_in_beside_a_daemon() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let Some(place) = place(engine).await else { continue };
        let daemon = Daemon::start(&place);
        everything(&place);
        let log = daemon.stop();
        assert!(!log.contains("jo@example"), "no address in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_taken_in_without_a_daemon() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        if let Some(place) = place(engine).await {
            everything(&place);
        }
    }
}
