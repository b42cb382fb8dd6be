//! `relaywatch check`, the real binary, against a DNS server over sockets.

use std::{path::Path, process::Stdio};

use relaywatch::clock::Clock;
use serde_json::Value;
use tokio::process::Command;

use crate::spf::{
    server::{Server, Transport},
    zone::{self, Order},
};

/// The second case of the design: From `dev@mydomain.example`, by SES, with a MAIL FROM of its own.
pub(crate) const CONFIG: &str = r#"
[[team]]
id = "A1B2C3D4E5"
[[team.source]]
domain = "mydomain.example"
confirmed_at = "CONFIRMED"
confirmed_by = "jo"
[[team.source]]
domain = "mail.mydomain.example"
confirmed_at = "CONFIRMED"
[[team.stream]]
provider = "ses"
from = "dev@mydomain.example"
mail_from = "mail.mydomain.example"
selectors = ["s1"]
region = "eu-west-1"
"#;

/// A public key of 2,048 bits, made for this test.
const KEY: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA81y7SMfQ93TOk/ZuRVneRC0n2aXVItWkuEcOGgvml1KVT5daUqbfZIZMjeUZ/RJnYibRmfm+DCVdjbQVTqrLYmFrBV/J9p26C5DTjlqpFpUh1kfHt6+6im795yxGTlfRPeuz3JmZOwrH+zbXl21Nr0Dz99oFRb1Y7q67TNQy0O0618UFla4Hx7OGrUuPbftT3KaAE+pA3/3Yw56MALUNtw6Bz+NE419/mr98ptNMI4noZaOOsd2eN8BUPYOKgbLi3yD+GdaWJsxv4nTFBzfGQA5aIdOeg6IVs1mZ1HksFXZpMujLhc4TKuFU4nxtR9/3bGYi1LwyWL4evJY7A+P9EwIDAQAB";

pub(crate) const ZONE: &[(&str, &str, &str)] = &[
    ("mydomain.example", "TXT", "v=spf1 include:amazonses.com -all"),
    ("mail.mydomain.example", "TXT", "v=spf1 include:amazonses.com -all"),
    ("mail.mydomain.example", "MX", "10 feedback-smtp.eu-west-1.amazonses.com"),
    ("feedback-smtp.eu-west-1.amazonses.com", "A", "192.0.2.25"),
    ("amazonses.com", "TXT", "v=spf1 ip4:192.0.2.0/26 ip4:198.51.100.0/26 -all"),
    ("_dmarc.mydomain.example", "TXT", "v=DMARC1; p=none"),
    ("s1._domainkey.mydomain.example", "CNAME", "s1.dkim.amazonses.com"),
    ("s1.dkim.amazonses.com", "TXT", KEY),
];

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    fn codes(&self) -> Vec<String> {
        let found = self.json()["findings"].as_array().cloned().unwrap_or_default();
        found.iter().filter_map(|finding| finding["code"].as_str().map(str::to_owned)).collect()
    }
}

/// Runs the command with a configuration and without anything of this machine's.
async fn run(config: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("relaywatch.toml");
    std::fs::write(&file, config).expect("written");
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_relaywatch")))
        .arg("--config")
        .arg(&file)
        .arg("check")
        .args(arguments)
        .env_clear()
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The declared set-up, confirmed today.
fn config() -> String {
    CONFIG.replace("CONFIRMED", &Clock::System.now().to_string().chars().take(10).collect::<String>())
}

/// Audits what is declared against a zone.
async fn audited(config: &str, lines: &[(&str, &str, &str)], arguments: &[&str]) -> Said {
    let server = Server::start(zone::of(lines), Transport::Fitting, Order::AsWritten).await;
    let resolver = server.address().to_string();
    run(config, &[&["--resolver", &resolver], arguments].concat()).await
}

/// The zone without the lines of one name and kind.
fn without(owner: &str, kind: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    ZONE.iter().copied().filter(|line| (line.0, line.1) != (owner, kind)).collect()
}

#[tokio::test]
async fn a_fit_set_up_is_told_as_fit() {
    let said = audited(&config(), ZONE, &[]).await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    insta::assert_snapshot!("check_fit", said.out);
    let json = audited(&config(), ZONE, &["--format", "json"]).await;
    let stream = &json.json()["streams"][0];
    assert_eq!(
        (stream["apple"]["overall"]["result"].as_str(), stream["path"].as_str()),
        (Some("pass"), Some("both")),
        "{stream}"
    );
    let by_name = audited(&config(), ZONE, &["mail.mydomain.example", "--format", "json"]).await;
    assert_eq!(by_name.json()["streams"].as_array().map(Vec::len), Some(1), "an envelope domain names its streams");
}

#[tokio::test]
async fn the_silent_misfit_is_found_in_each_of_its_forms() {
    let envelope = config().replace("domain = \"mail.mydomain.example\"\n", "domain = \"other.example\"\n");
    let foreign = envelope.replace("[\"s1\"]", "[\"s1@amazonses.com\"]");
    let signed = [ZONE, &[("s1._domainkey.amazonses.com", "TXT", KEY)]].concat();
    let cases = [
        ("the envelope domain is not registered, and SES signs for itself", foreign, signed, "stream_uncovered"),
        ("the MX is missing", config(), without("mail.mydomain.example", "MX"), "mail_from_mx_missing"),
        (
            "the CNAME of the selector leads nowhere",
            envelope,
            without("s1.dkim.amazonses.com", "TXT"),
            "dkim_alias_dangling",
        ),
        ("the SPF record is at the parent", config(), without("mail.mydomain.example", "TXT"), "spf_wrong_name"),
    ];
    for (case, config, zone, code) in cases {
        let said = audited(&config, &zone, &["--format", "json"]).await;
        assert_eq!(said.code, Some(1), "{case}: {}{}", said.out, said.err);
        assert!(said.codes().iter().any(|found| found == code), "{case}: {:?}", said.codes());
    }
    let said = audited(&config(), &without("mail.mydomain.example", "MX"), &[]).await;
    insta::assert_snapshot!("check_without_mx", said.out);
    assert!(
        said.out.contains("mail.mydomain.example. MX 10 feedback-smtp.eu-west-1.amazonses.com."),
        "the record to publish stands there: {}",
        said.out
    );
}

#[tokio::test]
async fn a_resolver_in_trouble_is_no_absence() {
    let mut zone = ZONE.to_vec();
    zone.retain(|line| !line.0.ends_with("mydomain.example"));
    for owner in
        ["mydomain.example", "mail.mydomain.example", "_dmarc.mydomain.example", "s1._domainkey.mydomain.example"]
    {
        zone.push((owner, "RCODE", "2"));
    }
    let said = audited(&config(), &zone, &["--format", "json"]).await;
    assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
    let codes = said.codes();
    assert!(codes.iter().any(|code| code == "dns_trouble"), "{codes:?}");
    assert!(!codes.iter().any(|code| code.ends_with("missing")), "{codes:?}");
    assert_eq!(said.json()["streams"][0]["apple"]["overall"]["result"].as_str(), Some("unknown"));
    let told = audited(&config(), &zone, &[]).await;
    assert!(told.code == Some(2) && !told.out.contains("no policy is published"), "{}", told.out);
}

#[tokio::test]
async fn a_set_up_can_be_tried_before_it_is_declared() {
    let arguments = [
        "dev@mydomain.example",
        "--provider",
        "ses",
        "--mail-from",
        "mail.mydomain.example",
        "--selector",
        "s1",
        "--format",
        "json",
    ];
    let said = audited("", ZONE, &arguments).await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let stream = &said.json()["streams"][0];
    assert_eq!(stream["apple"]["overall"]["reason"].as_str(), Some("inventory_missing"), "{stream}");
    assert_eq!(stream["dmarc"]["passes"].as_bool(), Some(true), "{stream}");
}

#[tokio::test]
async fn what_makes_no_sense_is_told_and_ends_with_2() {
    for (arguments, told) in [
        (&[][..], "nothing is declared"),
        (&["mydomain"][..], "neither a domain nor an address"),
        (&["mydomain.example", "--provider", "sess"][..], "did you mean ses?"),
        (&["mydomain.example", "--selector", "s 1"][..], "a selector is written as s1"),
        (&["--mail-from", "mail.mydomain.example"][..], "DOMAIN"),
    ] {
        let said = run("", arguments).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(told), "{arguments:?}: {}", said.err);
    }
    let said = run("", &["mydomain.example", "--resolver", "dns.example"]).await;
    assert!(said.code == Some(2) && said.err.contains("is no address of a DNS server"), "{}", said.err);
}
