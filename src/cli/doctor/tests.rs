//! What the doctor says, state by state.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    feeds::{InDaemon, KnownFeed, Reach, Seen, row},
    house::{Presence, clock, configuration, running, signs},
    report::{Check, Mark, Report},
};
use crate::{
    config::{Config, DEFAULT_FILE},
    control::{FeedStanding, Standing},
    explain::BlindReason,
    ingest::RejectionReason,
    model::{Exposure, Timestamp},
    monitor::{
        blind::Window,
        exposure::{Finding, Mismatch},
    },
};

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_seconds(1_780_000_000 + minutes * 60)
}

fn standing() -> Standing {
    Standing {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: "all".to_owned(),
        leads: true,
        caught_up: Some(at(0)),
        held_up_seconds: 0,
        reload_refused: None,
        public: None,
        feeds: Some(BTreeMap::new()),
    }
}

fn well() -> Seen {
    let daemon = FeedStanding { accepted: Some(at(-1)), understood: Some(at(-1)), refused: None, set_aside: 0 };
    let known = KnownFeed { hour: Some(at(-30)), heard: true, blind: Vec::new(), findings: Vec::new() };
    Seen { known: Some(known), daemon: InDaemon::Stands(daemon), reach: Reach::Here }
}

fn feed(seen: &Seen) -> super::feeds::FeedRow {
    let connect = vec!["Braze, Currents: a custom HTTP connector".to_owned()];
    row("braze", ("https://hooks.example.com/in/braze", true), connect, seen, at(0))
}

#[test]
fn every_state_says_what_to_do() {
    let report = |feeds: Vec<Seen>, checks| Report { checks, feeds: feeds.iter().map(feed).collect() };
    let all_well = report(vec![well()], vec![running(&standing(), at(0)), clock(30)]);
    let text = |report: &Report| report.text().replace(env!("CARGO_PKG_VERSION"), "{version}");
    insta::assert_snapshot!("all_well", text(&all_well));
    assert!(!all_well.is_wrong());
    insta::assert_json_snapshot!("all_well_json", Report { checks: vec![clock(30)], ..all_well }.json());

    let refused = Some((at(-3), RejectionReason::BadCredentials));
    let with = |standing: FeedStanding| Seen { daemon: InDaemon::Stands(standing), ..well() };
    let none = FeedStanding::default();
    let known = |known: KnownFeed| Seen { known: Some(known), daemon: InDaemon::NotAsked, ..well() };
    let window = Window { from: at(-90), watched: "braze".to_owned(), reason: Some(BlindReason::Silent), until: None };
    let finding = Finding { feed: "braze".to_owned(), declared: Exposure::Sends, mismatch: Mismatch::NoSends };
    let heard = KnownFeed { hour: Some(at(-120)), heard: true, ..KnownFeed::default() };
    let feeds = vec![
        with(FeedStanding { refused, ..none }),
        with(FeedStanding { refused, accepted: Some(at(-1)), understood: Some(at(-1)), set_aside: 2 }),
        Seen {
            daemon: InDaemon::Missing,
            reach: Reach::No("a relaywatch answers there and does not have this feed".to_owned()),
            ..well()
        },
        known(KnownFeed { blind: vec![window], findings: vec![finding], ..heard }),
        known(KnownFeed::default()),
        Seen { known: None, daemon: InDaemon::NotAsked, reach: Reach::No("nothing can be reached".to_owned()) },
    ];
    let behind = Standing {
        version: "0.0.1".to_owned(),
        caught_up: Some(at(-9)),
        held_up_seconds: 75,
        reload_refused: Some("the configuration is not valid".to_owned()),
        ..standing()
    };
    let mut checks = vec![running(&behind, at(0)), clock(-4_200), clock(75_000)];
    let heard = |minutes, daemon, alone| signs(Some(at(minutes)), daemon, alone, at(0));
    // Of five minutes ago, of one, and a moment after a daemon that was the only one has stopped.
    let silent = [
        heard(-5, Presence::Answers, false),
        heard(-5, Presence::Gone, false),
        heard(-1, Presence::Gone, false),
        heard(0, Presence::Gone, true),
    ];
    checks.extend(silent.into_iter().flatten());
    checks.push(Check::wrong("keys", "others may use them").then("chmod 600 relaywatch.key"));
    let report = report(feeds, checks);
    assert!(report.is_wrong());
    insta::assert_snapshot!("trouble", text(&report));
}

/// A wrong URL at Mandrill fails every signature; that behind a gateway is right as it is.
#[test]
fn a_url_that_is_signed_along_is_held_against_the_feeds_own() {
    let compared = |signed: &str| {
        let mut row = feed(&well());
        row.compare_signed(signed, "https://hooks.example.com/in/braze");
        (row.mark, row.advice.concat())
    };
    for same in ["https://hooks.example.com/in/braze?from=mandrill", "https://Hooks.example.com:443/in/braze"] {
        assert_eq!(compared(same), (Mark::Ok, String::new()), "{same}");
    }
    for (other, words) in [
        ("https://hooks.example.com/in/mandrill", "of another path than https://hooks.example.com/in/braze"),
        ("http://hooks.example.com/in/braze", "of another scheme than"),
        ("https://hooks.example.com:8443/in/braze", "of another port than"),
    ] {
        let (mark, advice) = compared(other);
        assert!(mark == Mark::Warning && advice.contains(words), "{mark:?}: {advice}");
    }
    let (_, advice) = compared("https://other.example.com/in/braze?key=hunter2");
    assert!(advice.contains("braze?***,") && !advice.contains("hunter2"), "{advice}");
}

/// Who may not use the daemon's socket sees its signs of life all the same.
#[test]
fn a_daemon_that_can_not_be_asked_is_alive_by_its_signs() {
    let mark = |minutes, daemon| signs(Some(at(minutes)), daemon, true, at(0)).map(|check| check.mark);
    assert_eq!(mark(0, Presence::Unknown), Some(Mark::Ok));
    assert_eq!(mark(-1, Presence::Unknown), Some(Mark::Warning));
    assert_eq!(mark(-5, Presence::Unknown), Some(Mark::Wrong));
    assert_eq!(mark(0, Presence::Gone), Some(Mark::Wrong));
}

/// Each mistake has its place, the file itself where it can't be read, and none is told twice.
#[test]
fn a_configuration_is_told_with_files_and_lines() {
    let load = |text: &str| {
        let file = std::path::Path::new("relaywatch.toml");
        crate::cli::config::verified(Config::from_text(Some(file), text.to_owned(), std::collections::HashMap::new()))
    };
    let wrong =
        configuration(&load("[listen]\npublik = 1\n[feeds.resend]\nsigning_secret_file = \"/nonexistent/s\"\n"));
    let advice = wrong.advice.join("\n");
    assert!(advice.contains("relaywatch.toml:2, listen.publik: unknown key"), "{advice}");
    assert!(advice.contains("relaywatch.toml:4, feeds.resend.signing_secret_file: "), "{advice}");
    assert!(advice.contains("put the file back"), "{advice}");
    let absent = configuration(&Config::load(Some(std::path::Path::new("/nonexistent/relaywatch.toml")), []));
    assert!(
        absent.advice.concat().contains("/nonexistent/relaywatch.toml: the configuration can't be read"),
        "{absent:?}"
    );
    let bare = configuration(&load(""));
    assert_eq!((bare.mark, bare.advice.len()), (Mark::Ok, 0), "that nothing is connected has lines of its own");
}

/// What a mail feed refuses is told with its own settings.
#[test]
fn mail_has_advice_of_its_own() {
    let advice = |name: &str, reason| {
        let standing = FeedStanding { refused: Some((at(-3), reason)), ..FeedStanding::default() };
        let seen = Seen { daemon: InDaemon::Stands(standing), ..well() };
        row(name, ("smtp://127.0.0.1:2525", false), Vec::new(), &seen, at(0)).advice.concat()
    };
    for name in ["mail", "mail/dmarc"] {
        assert!(advice(name, RejectionReason::TooLarge).contains("`max_bytes`"), "{name}");
        assert!(advice(name, RejectionReason::Unauthenticated).contains("STARTTLS"), "{name}");
        assert!(advice(name, RejectionReason::Overloaded).contains("`trusted_peers`"), "{name}");
    }
    assert!(advice("mailgun", RejectionReason::TooLarge).contains("`body_bytes`"));
}

#[test]
fn each_provider_is_told_the_url_and_no_secret() {
    let lines = DEFAULT_FILE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest)
            if !rest.is_empty()
                && !rest.starts_with(' ')
                && !rest.contains("_file = ")
                && !rest.starts_with("name") =>
        {
            rest
        }
        _ => line,
    });
    // Settings alone: what a console shows needs no file.
    let text: String = lines
        .filter(|line| !line.contains("signing_certificates"))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = match Config::from_text(None, text, std::collections::HashMap::new()) {
        Ok(config) => config,
        Err(errors) => *errors.sound.expect("settings that can be read"),
    };
    let mut out = String::new();
    for feed in config.feeds.paths() {
        let at = format!("https://hooks.example.com/in/{feed}");
        let connect = config.feeds.connect(&feed, &at);
        assert!(connect.iter().any(|line| line.contains(&at)), "{feed}: {connect:?}");
        writeln!(out, "{feed}\n  {}", connect.join("\n  ")).expect("text");
    }
    assert!(config.feeds.connect("nowhere", "x").is_empty());
    insta::assert_snapshot!("connect", out);
}
