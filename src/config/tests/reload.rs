//! What a reload takes up.

use super::*;

#[test]
fn what_a_reload_does_not_take_up_stays_and_is_named() {
    let base = loaded("", &[]);
    let with = |text: &str| Config::diff_needs_restart(&base, &loaded(text, &[]));
    assert_eq!(with("[log]\nlevel = \"debug\"\n[feeds.braze]\ntoken = \"0123456789abcdef\""), Vec::<&str>::new());
    assert_eq!(with("[limits]\nbody_bytes = 70000\nrequest_timeout_seconds = 5"), Vec::<&str>::new());
    assert_eq!(with("[relay]\ndomains = [\"relay.example\"]"), Vec::<&str>::new());
    assert_eq!(
        with("[listen]\npublic = \"127.0.0.1:1\"\n[store]\nreaders = 5\n[privacy]\naddresses = \"hashed\""),
        ["[listen]", "[store]", "[privacy]"]
    );
    assert_eq!(
        with(
            "[detect]\nmax_streams = 1000\n[limits]\nmax_connections = 5\nmax_concurrent_requests = 5\n[log]\nformat = \"json\"\n[lifecycle]\ndrain_seconds = 5"
        ),
        ["[detect]", "[limits] max_connections", "[limits] max_concurrent_requests", "[log] format", "[lifecycle]"]
    );

    let new = loaded(
        "[listen]\npublic = \"127.0.0.1:1\"\n[log]\nlevel = \"debug\"\n[limits]\nmax_connections = 5\nbody_bytes = 70000",
        &[],
    );
    let (taken, left) = new.taken_up_by(&base);
    assert_eq!(left, ["[listen]", "[limits] max_connections"]);
    assert_eq!((taken.listen, taken.log.level.as_str()), (base.listen, "debug"));
    assert_eq!((taken.limits.max_connections, taken.limits.body_bytes), (base.limits.max_connections, 70_000));
}

/// Each setting of the schema, as an operator reads of it.
#[test]
fn the_documentation_names_what_needs_a_restart() {
    let docs = include_str!("../../../docs/configuration.md");
    let (_, section) = docs.split_once("## Reloading\n").expect("a section on reloading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let everything = "[listen]\npublic = \"127.0.0.1:1\"\n[store]\nreaders = 5\n[privacy]\naddresses = \"hashed\"\n[detect]\nmax_streams = 1000\n[limits]\nmax_connections = 5\nmax_concurrent_requests = 5\n[log]\nformat = \"json\"\n[lifecycle]\ndrain_seconds = 5\n";
    for name in Config::diff_needs_restart(&loaded("", &[]), &loaded(everything, &[])) {
        assert!(section.contains(&format!("`{name}`")), "docs/configuration.md, Reloading, lacks {name}");
    }
}
