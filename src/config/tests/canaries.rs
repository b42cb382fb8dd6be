//! Canaries: what is taken, and what is refused.

use super::*;

const WHOLE: &str = r#"
[[team]]
id = "A1B2C3D4E5"
[[canary]]
name = "icloud"
[canary.imap]
host = "imap.mail.me.com"
user = "canary"
password = "hush-hush-hush"
[canary.control]
from = "dev@mydomain.example"
to = "canary@icloud.com"
[canary.control.smtp]
host = "smtp.mydomain.example"
[[canary.path]]
name = "orders"
provider = "ses"
team = "A1B2C3D4E5"
from = "dev@mydomain.example"
to = "qx7zhzkndneko@privaterelay.appleid.com"
represents = "orders through SES"
not_represented = "the marketing pool of Braze"
[canary.path.smtp]
host = "email-smtp.eu-west-1.amazonaws.com"
user = "AKIAEXAMPLE"
password = "hush-hush-hush"
"#;

/// The paths of what is told of the settings with one text in another's place.
fn told(from: &str, to: &str) -> Vec<(String, Severity)> {
    assert!(WHOLE.contains(from), "{from}");
    let found = mistakes(&WHOLE.replacen(from, to, 1), &[]);
    found.into_iter().map(|mistake| (mistake.path, mistake.severity)).collect()
}

#[test]
fn a_whole_set_up_is_taken() {
    let config = loaded(WHOLE, &[]);
    assert_eq!(config.provenance.warnings, []);
    let canary = config.canary.first().expect("a canary");
    assert_eq!((canary.budget, canary.patience_minutes, canary.imap.port()), (48, 30, 993));
    assert_eq!(canary.path.first().map(|path| (path.interval_minutes, path.smtp.port())), Some((60, 587)));
    assert_eq!(loaded("", &[]).canary, []);
}

#[test]
fn every_mistake_has_its_place() {
    for (from, to, path) in [
        ("name = \"icloud\"", "name = \"My iCloud\"", "canary.0.name"),
        ("name = \"orders\"", "name = \"icloud\"", "canary.0.path.0.name"),
        ("password = \"hush-hush-hush\"\n[canary.control]", "[canary.control]", "canary.0.imap"),
        ("host = \"imap.mail.me.com\"", "host = \"imap.mail.me.com\"\ntls = \"none\"", "canary.0.imap.tls"),
        ("host = \"smtp.mydomain.example\"", "host = \"smtp://x\"", "canary.0.control.smtp.host"),
        ("to = \"canary@icloud.com\"", "to = \"ab2cdefghijkl@private.icloud.com\"", "canary.0.control.to"),
        ("provider = \"ses\"", "provider = \"sess\"", "canary.0.path.0.provider"),
        ("team = \"A1B2C3D4E5\"", "team = \"my team\"", "canary.0.path.0.team"),
        ("@privaterelay.appleid.com", "@example.com", "canary.0.path.0.to"),
        ("\"the marketing pool of Braze\"", "\"\"", "canary.0.path.0.not_represented"),
        ("represents = \"orders through SES\"", "represents = \"a@b.example\"", "canary.0.path.0.represents"),
        ("user = \"AKIAEXAMPLE\"\n", "", "canary.0.path.0.smtp"),
    ] {
        assert_eq!(told(from, to), [(path.to_owned(), Severity::Error)], "{to}");
    }
}

#[test]
fn what_is_odd_is_a_warning() {
    for (from, to, path) in [
        ("name = \"orders\"", "name = \"orders\"\ninterval_minutes = 10", "canary.0.path.0.interval_minutes"),
        ("id = \"A1B2C3D4E5\"", "id = \"B1B2C3D4E5\"", "canary.0.path.0.team"),
    ] {
        assert_eq!(told(from, to), [(path.to_owned(), Severity::Warning)], "{to}");
    }
}
