use std::{collections::BTreeSet, fmt::Write, os::unix::fs::PermissionsExt};

use proptest::prelude::*;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let mut all: HashMap<_, _> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.entry("STATE_DIRECTORY".to_owned()).or_insert_with(|| "/state".to_owned());
    all
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_text(Some(Path::new("relaywatch.toml")), text.to_owned(), environment(variables))
}

fn loaded(text: &str, variables: &[(&str, &str)]) -> Config {
    load(text, variables).unwrap_or_else(|errors| panic!("{errors}"))
}

fn mistakes(text: &str, variables: &[(&str, &str)]) -> Vec<Mistake> {
    match load(text, variables) {
        Ok(config) => config.provenance.warnings,
        Err(errors) => errors.mistakes,
    }
}

fn line_of(mistake: &Mistake) -> usize {
    match mistake.place {
        Place::Line { line, .. } => line,
        _ => 0,
    }
}

/// The configuration without what depends on where it was read.
fn settings(mut config: Config) -> Config {
    config.provenance = Provenance::default();
    config
}

#[test]
fn nothing_and_the_default_file_and_the_types_agree() {
    let mut expected = Config::default();
    expected.store.url = StoreUrl::new("sqlite:///state/relaywatch.db");
    assert_eq!(settings(loaded("", &[])), expected);
    let shipped = loaded(DEFAULT_FILE, &[]);
    assert_eq!(shipped.provenance.warnings, []);
    assert_eq!(settings(shipped), expected);
}

/// The default file with every example in force: lines that begin with `#` and no blank.
fn uncommented() -> String {
    let lines = DEFAULT_FILE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_example_of_the_default_file_is_valid() {
    let folder = tempfile::tempdir().expect("folder");
    let text = uncommented();
    let secrets =
        text.lines().filter_map(|line| line.split_once("_file = \"")).filter_map(|(_, rest)| rest.split('"').next());
    for name in secrets {
        let file = folder.path().join(name);
        std::fs::write(&file, "https://hooks.example.com/0123456789abcdef\n").expect("write");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    }
    let config = Config::from_text(Some(&folder.path().join("relaywatch.toml")), text, environment(&[]))
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.provenance.warnings, []);
    assert_eq!(config.team.len(), 1);
    assert_eq!(config.feeds.ses.0.first().map(|feed| feed.topics.len()), Some(1));
    assert_eq!(
        config.feeds.sparkpost.0.first().and_then(|feed| feed.password.as_ref()).map(Secret::expose),
        Some("https://hooks.example.com/0123456789abcdef")
    );
    assert!(config.privacy.key_file.is_some_and(|file| file.0.starts_with(folder.path())));
}

/// Every key of the schema as (section, key).
fn schema_keys() -> BTreeSet<(String, String)> {
    fn walk(shape: &Shape<'_>, path: &str, keys: &mut BTreeSet<(String, String)>) {
        let Some(properties) = shape.keys() else { return };
        for key in properties.keys() {
            let child = shape.key(key).expect("a property");
            let inner =
                if child.keys().is_some() { Some(child) } else { child.items().filter(|item| item.keys().is_some()) };
            match inner {
                Some(inner) => walk(&inner, &shape::join(path, key), keys),
                None => drop(keys.insert((path.to_owned(), key.clone()))),
            }
        }
    }
    let mut keys = BTreeSet::new();
    walk(&Shape::new(&SCHEMA), "", &mut keys);
    keys
}

#[test]
fn every_key_of_the_schema_stands_in_the_default_file() {
    let mut sections: HashMap<String, String> = HashMap::new();
    let mut section = String::new();
    for line in DEFAULT_FILE.lines() {
        if let Some(header) = line.trim_start_matches('#').strip_prefix('[') {
            header.trim_matches(['[', ']']).clone_into(&mut section);
        }
        let text = sections.entry(section.clone()).or_default();
        text.push_str(line);
        text.push('\n');
    }
    let keys = schema_keys();
    assert!(keys.len() > 60, "{} keys", keys.len());
    for (section, key) in &keys {
        let text = sections.get(section).unwrap_or_else(|| panic!("[{section}] is missing"));
        let stands = |key: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
        let as_file = keys.contains(&(section.clone(), format!("{key}_file"))) && stands(&format!("{key}_file"));
        assert!(stands(key) || as_file, "[{section}] {key} is missing in config.default.toml");
    }
}

#[test]
fn the_documentation_lists_every_key() {
    let mut table = String::from("| section | key | default | meaning |\n|---|---|---|---|\n");
    for (section, key) in schema_keys() {
        let shape = section.split('.').fold(Shape::new(&SCHEMA), |shape, step| {
            shape.key(step).or_else(|| shape.items()?.key(step)).expect("a section")
        });
        let keys = shape.keys().or_else(|| shape.items()?.keys()).expect("keys");
        let schema = keys.get(&key).expect("a key");
        let meaning = schema.get("description").and_then(serde_json::Value::as_str).expect("every key is documented");
        let default = schema
            .get("default")
            .filter(|value| !value.is_null())
            .map_or_else(String::new, |value| format!("`{value}`"));
        writeln!(table, "| `[{section}]` | `{key}` | {default} | {} |", meaning.replace('\n', " ")).expect("a string");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(&file).expect("docs");
    let (head, rest) = text.split_once("<!-- keys -->\n").expect("a start");
    let (_, tail) = rest.split_once("<!-- end of keys -->").expect("an end");
    let fresh = format!("{head}<!-- keys -->\n{table}<!-- end of keys -->{tail}");
    if std::env::var_os("RELAYWATCH_BLESS").is_some() {
        std::fs::write(&file, &fresh).expect("write");
    }
    let text = std::fs::read_to_string(&file).expect("docs");
    assert!(text == fresh, "docs/configuration.md is out of date; run this test again with RELAYWATCH_BLESS=1");
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_line() {
    let text = "[listen]\npublik = \"127.0.0.1:1\"\nprivate = \"localhost\"\n[store]\nreaders = \"4\"\n[[team]]\nkind = \"organisation\"\n[feeds.ses]\ntopics = \"arn\"\n[privcy]\n";
    let found = mistakes(text, &[]);
    let seen: Vec<_> = found.iter().map(|mistake| (line_of(mistake), mistake.path.as_str())).collect();
    assert_eq!(
        seen,
        [
            (2, "listen.publik"),
            (3, "listen.private"),
            (5, "store.readers"),
            (6, "team.0.id"),
            (7, "team.0.kind"),
            (9, "feeds.ses.topics"),
            (10, "privcy"),
        ]
    );
    let helps: Vec<_> = found.iter().filter_map(|mistake| mistake.help.as_deref()).collect();
    assert!(helps.contains(&"did you mean `public`?") && helps.contains(&"did you mean `privacy`?"), "{helps:?}");
    assert!(helps.contains(&"did you mean `organization`?"), "{helps:?}");
}

#[test]
fn what_makes_no_sense_is_told_beside_what_has_the_wrong_shape() {
    let text = "[[team]]\nid = \"A1\"\nkind = \"company\"\n[[team.app]]\nclient_id = 5\n[[team]]\nid = \"B1B2C3D4E5\"\n[[team.source]]\ndomain = \"https://b.example\"\n[feeds.ses]\ntopics = [\"arn:aws:sqs:eu-west-1:123456789012:q\"]\nexposure = \"send\"\n[feeds.braze]\ntokn = \"0123456789abcdef\"\n[feeds.mailgun]\n[relay]\ndomains = [\"a.example\", 5]\nshared_domains = [\"who@b.example\"]\n[log]\nlevel = \"loud\"\nformat = \"xml\"\n";
    let found = mistakes(text, &[]);
    let seen: Vec<_> = found.iter().map(|mistake| (line_of(mistake), mistake.path.as_str())).collect();
    assert_eq!(
        seen,
        [
            (2, "team.0.id"),
            (3, "team.0.kind"),
            (5, "team.0.app.0.client_id"),
            (9, "team.1.source.0.domain"),
            (11, "feeds.ses.topics.0"),
            (12, "feeds.ses.exposure"),
            // That the token is missing is only the echo of its misspelt name.
            (14, "feeds.braze.tokn"),
            (15, "feeds.mailgun"),
            (17, "relay.domains.1"),
            (18, "relay.shared_domains.0"),
            (20, "log.level"),
            (21, "log.format"),
        ]
    );
    let advises = |mistake: &Mistake| mistake.help.is_some() || mistake.message.contains("must be one of");
    assert!(found.iter().all(advises), "{found:#?}");
}

#[test]
fn all_mistakes_of_one_feed_are_told_at_once() {
    let text = "[feeds.sparkpost]\nusername = \"u\"\nexposure = \"send\"\nexposre = \"outcomes\"\n[feeds.ses]\ncampaign_tag = 5\n[[feeds.braze]]\nname = \"eu\"\nexposure = \"all\"\n";
    let seen: Vec<_> = mistakes(text, &[]).iter().map(|mistake| (line_of(mistake), mistake.path.clone())).collect();
    let told: Vec<(usize, &str)> = seen.iter().map(|(line, path)| (*line, path.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, "feeds.sparkpost"),
            (3, "feeds.sparkpost.exposure"),
            (4, "feeds.sparkpost.exposre"),
            (5, "feeds.ses"),
            (6, "feeds.ses.campaign_tag"),
            (7, "feeds.braze.eu"),
            (9, "feeds.braze.eu.exposure"),
        ]
    );
}

#[test]
fn settings_are_named_as_they_are_written() {
    let token = "token = \"short\"";
    let text = format!(
        "[feeds.sparkpost]\n{token}\n[[feeds.braze]]\nname = \"eu\"\n{token}\n[[feeds.braze]]\n{token}\n\
         [[feeds.mailgun]]\nname = \"Ü\"\nsigning_key = \"short\"\n"
    );
    let paths = |text: &str| mistakes(text, &[]).into_iter().map(|mistake| mistake.path).collect::<Vec<_>>();
    let fit = text.replace('Ü', "us");
    let named =
        ["feeds.sparkpost.token", "feeds.braze.eu.token", "feeds.braze.1.token", "feeds.mailgun.us.signing_key"];
    assert_eq!(paths(&fit), named);
    assert!(paths(&text).contains(&"feeds.mailgun.0.name".to_owned()), "what can't be a name is none");
    let told = |path: &str| loaded(&fit, &[]).provenance.mistake(path, String::new()).path;
    assert_eq!(told("feeds.sparkpost.0.password"), "feeds.sparkpost.password");
    assert_eq!(told("feeds.braze.0.token"), "feeds.braze.eu.token");
}

#[test]
fn what_only_follows_from_a_mistake_is_held_back() {
    let found =
        mistakes("[[team]]\nid = \"A1\"\n[feeds.apple]\nmode = \"direct\"\nsecret = \"0123456789abcdef\"\n", &[]);
    let seen: Vec<_> = found.iter().map(|mistake| (line_of(mistake), mistake.path.as_str())).collect();
    assert_eq!(seen, [(2, "team.0.id"), (5, "feeds.apple.secret")], "no warning of what is missing beside them");
}

#[test]
fn a_store_with_a_wrong_scheme_is_told_by_its_scheme_and_without_its_password() {
    let told = |url: &str| mistakes(&format!("[store]\nurl = \"{url}\"\n"), &[])[0].to_string();
    let near = told("postgress://me:hunter2@db/relaywatch");
    assert!(near.contains("starts with postgress://") && near.contains("did you mean postgres://?"), "{near}");
    assert!(!near.contains("hunter2"), "{near}");
    let far = told("mysql://me:hunter2@db/relaywatch");
    assert!(far.contains("starts with mysql://") && far.contains("start it with sqlite://"), "{far}");
    for odd in ["hunter2", "me:hunter2@db", "hunter2 hunter2://x"] {
        let told = told(odd);
        assert!(!told.contains("hunter2") && told.contains("neither SQLite nor PostgreSQL"), "{told}");
    }
}

#[test]
fn a_variable_with_a_single_underscore_is_pointed_out() {
    let config = loaded("", &[("RELAYWATCH_LISTEN_PUBLIC", "127.0.0.1:1"), ("RELAYWATCH_LOG", "info")]);
    assert_eq!(config.listen, Listen::default(), "it sets nothing");
    let [warning] = config.provenance.warnings.as_slice() else { panic!("{:?}", config.provenance.warnings) };
    assert_eq!(warning.place, Place::Variable("RELAYWATCH_LISTEN_PUBLIC".to_owned()));
    assert!(warning.to_string().contains("did you mean RELAYWATCH__LISTEN__PUBLIC?"), "{warning}");
    let config = loaded("", &[("RELAYWATCH_FEEDS_SES_SIGNING_CERTIFICATES", "x"), ("RELAYWATCH_TEST_POSTGRES", "x")]);
    let warnings = format!("{:?}", config.provenance.warnings);
    assert!(warnings.contains("RELAYWATCH__FEEDS__SES__SIGNING_CERTIFICATES?"), "{warnings}");
    assert_eq!(config.provenance.warnings.len(), 1, "what names no section is somebody else's");
}

#[test]
fn what_makes_no_sense_is_found_at_its_line() {
    let cases: &[(&str, usize, &str)] = &[
        ("[listen]\npublic = \"127.0.0.1:1\"\nprivate = \"127.0.0.1:1\"", 3, "same address"),
        ("[listen]\nprivate = \"0.0.0.0:8026\"", 2, "no token"),
        ("[store]\nurl = \"mysql://db\"", 2, "neither SQLite nor PostgreSQL"),
        ("[store]\nurl = \"sqlite::memory:\"", 2, "names no file"),
        ("[store]\nurl = \"postgres://\"", 2, "names no host"),
        ("[store]\nurl = \"postgres://me:hunter2@db/r?sslmode=bogus\"", 2, "`sslmode` can't have this value"),
        ("[store]\nurl = \"sqlite:///r.db?journal=wal\"", 2, "`journal`, which is not known"),
        ("[store]\nretention_deliveries_days = 99\nretention_refusals_days = 98", 3, "before deliveries"),
        ("[relay]\ndomains = [\"a.example\",\n\"who@b.example\"]", 3, "no domain name"),
        ("[relay]\nshared_domains = [\"Private.icloud.com.\"]", 2, "also in"),
        ("[[team]]\nid = \"a1b2c3d4e5\"", 2, "no team id"),
        ("[[team]]\nid = \"A1B2C3D4E5\"\n[[team]]\nid = \"A1B2C3D4E5\"", 4, "twice"),
        (
            "[[team]]\nid = \"A1B2C3D4E5\"\napp = [{ client_id = \"a\" }]\n[[team]]\nid = \"B1B2C3D4E5\"\n[[team.app]]\nclient_id = \"a\"",
            7,
            "team A1B2C3D4E5 too",
        ),
        (
            "[[team]]\nid = \"A1B2C3D4E5\"\n[[team.source]]\ndomain = \"a.example\"\naddress = \"a@a.example\"",
            3,
            "one of the two",
        ),
        ("[[team]]\nid = \"A1B2C3D4E5\"\n[[team.source]]", 3, "one of the two"),
        ("[[team]]\nid = \"A1B2C3D4E5\"\n[[team.source]]\naddress = \"nobody\"", 4, "no mail address"),
        ("[feeds.ses]\ntopics = [\"arn:aws:sns:eu-west-1:12345:t\"]", 2, "no ARN"),
        ("[feeds.ses]", 1, "no topic"),
        (
            "[[feeds.ses]]\nname = \"EU\"\ntopics = [\"arn:aws:sns:eu-west-1:123456789012:t\"]",
            2,
            "can't be a feed's name",
        ),
        (
            "[[feeds.braze]]\nname = \"eu\"\ntoken = \"0123456789abcdef\"\n[[feeds.braze]]\nname = \"eu\"\ntoken = \"0123456789abcdef\"",
            5,
            "have this name",
        ),
        (
            "[[feeds.braze]]\ntoken = \"0123456789abcdef\"\n[[feeds.braze]]\ntoken = \"0123456789abcdef\"",
            3,
            "have no name",
        ),
        ("[feeds.sparkpost]\nusername = \"u\"", 1, "go together"),
        ("[feeds.sparkpost]", 1, "no credentials"),
        ("[feeds.mailgun]\nprevious_signing_key = \"0123456789abcdef\"", 2, "without `signing_key`"),
        ("[feeds.apple]\nforward_to = \"http://backend.example.com/\"", 2, "https://"),
        ("[feeds.apple]\nmode = \"forwarded\"", 1, "needs the secret"),
        ("[feeds.apple]\nsecret = \"0123456789abcdef\"", 2, "Apple sends none"),
        ("[notify.slack]", 1, "neither a webhook nor a bot"),
        ("[notify.slack]\nbot_token = \"xoxb-1\"", 1, "where to write"),
        ("[notify.slack]\nwebhook_url = \"hooks\"", 2, "no URL"),
        ("[notify]\nlink = \"ftp://rw.example.com/\"", 2, "https://"),
        ("[notify]\nlink = \"https://me:hunter2@rw.example.com/\"", 2, "credentials"),
        ("[notify]\nlink = \"https://rw.example.com/#x\"", 2, "after #"),
        ("[notify]\nlink = \"https://rw.example.com/?token=hunter2\"", 2, "query"),
        ("[notify]\nlink = \"https://rw.example.com/%40team/\"", 2, "@"),
        ("[notify]\ninstallation = \"acme%40x\"", 2, "installation"),
        ("[notify]\ninstallation = \"a\\u202eb\"", 2, "installation"),
        ("[notify]\ninstallation = \" \"", 2, "name"),
        ("[notify.heartbeat]\nurl = \"http://hc.example.com/x\"", 2, "https://"),
        ("[notify.webhook]", 1, "no URL"),
        ("[log]\nlevel = \"relaywatch=loud\"", 2, "no log filter"),
        ("[store]\nreaders = 0", 2, "between 1 and 64"),
        ("[limits]\nbody_bytes = 99999999999999999999", 2, "whole number"),
    ];
    for (text, line, words) in cases {
        let errors = load(text, &[]).expect_err(text).mistakes;
        let hit = errors.iter().find(|mistake| mistake.message.contains(words));
        let hit = hit.unwrap_or_else(|| panic!("{text}\n{errors:#?}"));
        assert_eq!(line_of(hit), *line, "{hit}");
        assert!(hit.severity == Severity::Error, "{hit}");
    }
}

#[test]
fn what_may_be_meant_so_is_a_warning() {
    let many: Vec<_> = (0..33).map(|n| format!("[[team.source]]\ndomain = \"d{n}.example.com\"\n")).collect();
    let many = many.concat();
    let team = format!("[[team]]\nid = \"A1B2C3D4E5\"\nkind = \"individual\"\n{many}");
    let config = loaded(&team, &[]);
    let [only] = config.provenance.warnings.as_slice() else { panic!("{:?}", config.provenance.warnings) };
    assert!(only.message.contains("33 sources") && line_of(only) == 4 + 32 * 2, "{only}");
    assert_eq!(loaded(&team.replace("individual", "organization"), &[]).provenance.warnings, []);

    let found = mistakes("[feeds.apple]\n[feeds.braze]\ntoken = \"short\"", &[]);
    assert!(found.iter().all(|mistake| mistake.severity == Severity::Warning), "{found:#?}");
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn wrong_shapes_do_not_hide_what_is_wrong_elsewhere() {
    let text = "[listen]\npublik = 1\n[feeds.ses]\ntopics = [\"arn\"]\n[feeds.braze]\ntoken_file = \"/nonexistent/token\"\n[feeds.mailgun]\nx = 1\n";
    let found = mistakes(text, &[]);
    let seen: Vec<_> = found.iter().map(|mistake| (line_of(mistake), mistake.path.as_str())).collect();
    assert_eq!(
        seen,
        [(2, "listen.publik"), (4, "feeds.ses.topics.0"), (6, "feeds.braze.token_file"), (8, "feeds.mailgun.x")]
    );
}

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
    let docs = include_str!("../../docs/configuration.md");
    let (_, section) = docs.split_once("## Reloading\n").expect("a section on reloading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let everything = "[listen]\npublic = \"127.0.0.1:1\"\n[store]\nreaders = 5\n[privacy]\naddresses = \"hashed\"\n[detect]\nmax_streams = 1000\n[limits]\nmax_connections = 5\nmax_concurrent_requests = 5\n[log]\nformat = \"json\"\n[lifecycle]\ndrain_seconds = 5\n";
    for name in Config::diff_needs_restart(&loaded("", &[]), &loaded(everything, &[])) {
        assert!(section.contains(&format!("`{name}`")), "docs/configuration.md, Reloading, lacks {name}");
    }
}

#[test]
fn files_are_looked_for_in_order() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str, level: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, format!("[log]\nlevel = \"{level}\"\n")).expect("write");
        file
    };
    let (given, named, system) = (file("given", "warn"), file("named", "debug"), file("system", "trace"));
    let absent = folder.path().join("absent");
    let level = |path: Option<&Path>, name: Option<&Path>, system: &Path| {
        let name = name.map(|name| (FILE_VARIABLE.to_owned(), name.display().to_string()));
        Config::load_or_system(path, name, system).map(|config| config.log.level)
    };
    assert_eq!(level(Some(&given), Some(&named), &system).as_deref(), Ok("warn"));
    assert_eq!(level(None, Some(&named), &system).as_deref(), Ok("debug"));
    assert_eq!(level(None, None, &system).as_deref(), Ok("trace"));
    assert_eq!(level(None, None, &absent).as_deref(), Ok("info"));
    assert!(level(Some(&absent), None, &system).is_err(), "a file that was asked for must be there");
    assert!(level(None, Some(&absent), &system).is_err());
}

#[test]
fn the_state_directory_follows_systemd_then_the_user() {
    let of = |pairs: &[(&str, &str)]| {
        state_directory(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    };
    assert_eq!(of(&[("STATE_DIRECTORY", "/run/a:/run/b"), ("HOME", "/home/me")]), Path::new("/run/a"));
    let own = of(&[("XDG_STATE_HOME", "/home/me/state"), ("HOME", "/home/me")]);
    assert!(own == Path::new(SYSTEM_STATE) || own == Path::new("/home/me/state/relaywatch"), "{}", own.display());
    let config = loaded("[privacy]\nkey_file = \"/keys/k\"", &[]);
    assert_eq!(config.key_file(), Path::new("/keys/k"));
    assert_eq!(loaded("", &[]).key_file(), Path::new("/state/relaywatch.key"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]a-z_.=\"'{}#0-9 \n,é-]{0,120}", value in "\\PC{0,30}") {
        let variables = [("RELAYWATCH__FEEDS__SES__TOPICS", value.as_str()), ("RELAYWATCH__TEAM", value.as_str())];
        for mistake in mistakes(&text, &variables) {
            prop_assert!(!mistake.to_string().is_empty());
        }
    }
}
