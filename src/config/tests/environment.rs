//! What comes from variables and from files of secrets.

use std::os::unix::fs::PermissionsExt;

use super::*;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:ses";

#[test]
fn the_environment_goes_before_the_file() {
    let config = loaded(
        "[listen]\npublic = \"127.0.0.1:1\"\n[relay]\ndomains = [\"a.example\"]",
        &[
            ("RELAYWATCH__LISTEN__PUBLIC", "127.0.0.1:2"),
            ("RELAYWATCH__RELAY__DOMAINS", "b.example, c.example"),
            ("RELAYWATCH__RELAY__SHARED_DOMAINS", "[\"d.example\"]"),
            ("RELAYWATCH__LIMITS__BODY_BYTES", "70000"),
            ("RELAYWATCH__FEEDS__SES__TOPICS", TOPIC),
            ("RELAYWATCH__FEEDS__SES__REFUSE_SIGNATURE_VERSION_1", "true"),
            ("RELAYWATCH__FEEDS__SES__EXPOSURE", "sends"),
            ("RELAYWATCH__TEAM", "[{ id = \"A1B2C3D4E5\", app = [{ client_id = \"a\" }] }]"),
            ("RELAYWATCH__LOG__LEVEL", ""),
            ("RELAYWATCH_LOG", "debug"),
            ("OTHER__KEY", "x"),
        ],
    );
    assert_eq!(config.listen.public.0.port(), 2);
    assert_eq!(config.relay.domains, ["b.example", "c.example"]);
    assert_eq!(config.relay.shared_domains, ["d.example"]);
    assert_eq!(config.limits.body_bytes, 70_000);
    let ses = config.feeds.ses.0.first().expect("a feed");
    assert!(ses.refuse_signature_version_1 && ses.topics == [TOPIC]);
    assert_eq!(ses.exposure, crate::model::Exposure::Sends);
    assert_eq!(config.team.first().map(|team| team.app.len()), Some(1));
    assert_eq!(config.log.level, "info", "an empty variable is absent");
    assert_eq!(config.provenance.overrides.len(), 8);

    let json =
        loaded("", &[("RELAYWATCH__TEAM", "[{\"id\": \"A1B2C3D4E5\", \"source\": [{\"domain\": \"a.example\"}]}]")]);
    assert_eq!(json.team.first().map(|team| team.source.len()), Some(1));
}

#[test]
fn named_feeds_are_reached_from_the_environment() {
    let other = TOPIC.replace("ses", "other");
    let named = "[[feeds.ses]]\nname = \"eu-west\"\ntopics = [\"x\"]\n[[feeds.ses]]\ntopics = [\"y\"]\n";
    let config = loaded(
        named,
        &[
            ("RELAYWATCH__FEEDS__SES__EU_WEST__TOPICS", TOPIC),
            ("RELAYWATCH__FEEDS__SES__TOPICS", &other),
            ("RELAYWATCH__FEEDS__BRAZE__US__TOKEN", "0123456789abcdef"),
            ("RELAYWATCH__FEEDS__BRAZE__US__EXPOSURE", "sends"),
        ],
    );
    let feeds: Vec<_> = config.feeds.ses.iter().map(|feed| (feed.name(), feed.topics.clone())).collect();
    assert_eq!(feeds, [(Some("eu-west"), vec![TOPIC.to_owned()]), (None, vec![other])]);
    let braze = config.feeds.braze.0.as_slice();
    assert_eq!(braze.iter().map(Named::name).collect::<Vec<_>>(), [Some("us")]);

    for name in ["AA", "ZZ"] {
        let named = format!("RELAYWATCH__FEEDS__SES__{name}__TOPICS");
        let config = loaded("", &[("RELAYWATCH__FEEDS__SES__TOPICS", TOPIC), (&named, TOPIC)]);
        let found: Vec<_> = config.feeds.ses.iter().map(Named::name).collect();
        assert_eq!(found, [None, Some(name.to_lowercase().as_str())], "the order of the names does not matter");
    }

    let beside =
        loaded(&format!("[feeds.ses]\ntopics = [\"{TOPIC}\"]"), &[("RELAYWATCH__FEEDS__SES__EU__TOPICS", TOPIC)]);
    assert_eq!(beside.feeds.ses.iter().map(Named::name).collect::<Vec<_>>(), [None, Some("eu")]);
}

#[test]
fn wrong_variables_are_refused_by_name() {
    let cases: &[(&str, &str, &str)] = &[
        ("RELAYWATCH__LISTEN__PUBLIK", "127.0.0.1:2", "did you mean RELAYWATCH__LISTEN__PUBLIC?"),
        ("RELAYWATCH__LISTN__PUBLIC", "127.0.0.1:2", "did you mean RELAYWATCH__LISTEN__PUBLIC?"),
        ("RELAYWATCH__FEEDS__SES__EU__TOPCS", TOPIC, "did you mean RELAYWATCH__FEEDS__SES__EU__TOPICS?"),
        ("RELAYWATCH__TEAM__0__ID", "A1B2C3D4E5", "RELAYWATCH__TEAM = "),
        ("RELAYWATCH__TEAM", "[{ id = ", "check brackets"),
        ("RELAYWATCH__STORE__READERS", "many", "digits only"),
        ("RELAYWATCH__ZZZ", "1", "config default"),
        ("RELAYWATCH__LISTEN", "1", ""),
    ];
    for (name, value, help) in cases {
        let errors = load("", &[(name, value)]).expect_err(name).mistakes;
        let hit = errors.iter().find(|mistake| mistake.place == Place::Variable((*name).to_owned()));
        let hit = hit.unwrap_or_else(|| panic!("{name}: {errors:#?}"));
        assert!(hit.help.as_deref().unwrap_or_default().contains(help), "{hit}");
    }
    let several = "[[feeds.ses]]\nname = \"a\"\ntopics = []\n[[feeds.ses]]\nname = \"b\"\ntopics = []";
    let errors = load(several, &[("RELAYWATCH__FEEDS__SES__TOPICS", TOPIC)]).expect_err("ambiguous");
    assert!(errors.to_string().contains("RELAYWATCH__FEEDS__SES__NAME__KEY"), "{errors}");
}

#[test]
fn secrets_come_from_files_beside_the_configuration() {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, content: &[u8], mode: u32| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("write");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("permissions");
    };
    let load = |key: &str, variables: &[(&str, &str)]| {
        let text = format!("[feeds.braze]\n{key}\n");
        Config::from_text(Some(&folder.path().join("relaywatch.toml")), text, environment(variables))
    };
    let token = |config: &Config| config.feeds.braze.0.first().and_then(|feed| feed.token.clone()).expect("a token");

    write("token", b" 0123456789abcdef \r\n", 0o600);
    let config = load("token_file = \"token\"", &[]).expect("valid");
    assert_eq!(token(&config).expose(), " 0123456789abcdef ", "one newline is cut, blanks are not");
    assert_eq!(config.provenance.warnings, []);

    write("open", b"0123456789abcdef\n\n", 0o644);
    let config = load("token_file = \"open\"", &[]).expect("valid");
    assert_eq!(token(&config).expose(), "0123456789abcdef\n");
    assert!(config.provenance.warnings.iter().any(|warning| warning.message.contains("can read")));

    write("empty", b"\n", 0o600);
    write("binary", b"\xff\xfe", 0o600);
    write("long", &vec![b'x'; 70_000], 0o600);
    for (key, words) in [
        ("token_file = \"empty\"", "is empty"),
        ("token_file = \"binary\"", "cannot read"),
        ("token_file = \"long\"", "longer than"),
        ("token_file = \"absent\"", "No such file"),
        ("token_file = \"token\"\ntoken = \"0123456789abcdef\"", "both `token` and `token_file`"),
    ] {
        let errors = load(key, &[]).expect_err(key);
        assert!(errors.to_string().contains(words), "{errors}");
        assert!(!errors.to_string().contains("0123456789abcdef"), "{errors}");
    }

    let variable = [("RELAYWATCH__FEEDS__BRAZE__TOKEN", "fedcba9876543210")];
    assert_eq!(
        token(&load("token_file = \"absent\"", &variable).expect("the environment wins")).expose(),
        "fedcba9876543210"
    );
    let variable = [("RELAYWATCH__FEEDS__BRAZE__TOKEN_FILE", "token")];
    assert_eq!(token(&load("token = \"x\"", &variable).expect("the environment wins")).expose(), " 0123456789abcdef ");
    let both = [("RELAYWATCH__FEEDS__BRAZE__TOKEN_FILE", "token"), ("RELAYWATCH__FEEDS__BRAZE__TOKEN", "x")];
    assert!(load("", &both).is_err());
}

#[test]
fn no_secret_is_printed_or_written() {
    let text = "[store]\nurl = \"postgres://me:hunter2@db/relaywatch\"\n[feeds.sparkpost]\nusername = \"u\"\npassword = \"hunter2\"\n[notify.slack]\nwebhook_url = \"https://hooks.slack.com/hunter2\"\n";
    let config = loaded(text, &[]);
    let written = toml::to_string(&config).expect("serialises");
    for shown in [format!("{config:?}"), written] {
        assert!(!shown.contains("hunter2") && shown.contains(MASK), "{shown}");
    }
    let broken = "[feeds.sparkpost]\nusernam = \"u\"\npassword = hunter2\npasswort = \"hunter2\"\n";
    let errors = load(broken, &[]).expect_err("broken").to_string();
    assert!(!errors.contains("hunter2"), "{errors}");
    let errors = load("[feeds]\nsparkpost = { password = \"hunter2\", x = 1 }\n", &[]).expect_err("broken").to_string();
    assert!(!errors.contains("hunter2"), "{errors}");
}
