//! What is refused or warned of, and where.

use super::*;

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
#[expect(clippy::too_many_lines, reason = "one table")]
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
        ("[feeds.generic]", 1, "no signing key"),
        ("[feeds.customerio]", 1, "no signing key"),
        ("[feeds.klaviyo]", 1, "no secret key"),
        ("[feeds.iterable]", 1, "no credentials"),
        ("[feeds.iterable]\nusername = \"u\"", 1, "go together"),
        ("[feeds.iterable]\nheader = \"X-Token\"", 2, "there is none"),
        ("[feeds.socketlabs]\nvalidation_key = \"0123456789abcdef\"", 1, "no secret key"),
        ("[feeds.socketlabs]\nsecret_key = \"0123456789abcdef\"", 1, "no validation key"),
        ("[feeds.elasticemail]", 1, "no credentials"),
        ("[feeds.azure]", 1, "no token"),
        ("[feeds.scaleway]\ntrust_chain = \"/dev/null\"", 1, "takes no topic"),
        ("[feeds.scaleway]\ntopics = [\"arn:scw:sns:fr-par:project-1:t\"]", 1, "no `trust_chain`"),
        ("[feeds.ses_eventbridge]", 1, "no credentials"),
        ("[feeds.ses_eventbridge]\nheader = \"X-Token\"", 2, "there is none"),
        ("[feeds.ses_firehose]", 1, "no access key"),
        ("[feeds.postmark]", 1, "no credentials"),
        ("[feeds.postmark]\nusername = \"u\"", 1, "go together"),
        ("[feeds.postmark]\nheader = \"X-Token\"", 2, "there is none"),
        ("[feeds.brevo]", 1, "the Brevo feed has no credentials"),
        ("[feeds.kumomta]\nheader = \"X-Token\"", 2, "there is none"),
        ("[feeds.mailjet]\nusername = \"u\"", 1, "no user name with a password"),
        ("[feeds.mandrill]\nurl = \"https://rw.example.com/in/mandrill\"", 1, "no key"),
        ("[feeds.mandrill]\nkey = \"k\"", 1, "no URL"),
        ("[feeds.mandrill]\nkey = \"k\"\nurl = \"/in/mandrill\"", 3, "no web address"),
        ("[feeds.mandrill]\nkey = \"k\"\nurl = \"https://me:hunter2@rw.example.com/in/mandrill\"", 3, "credentials"),
        ("[feeds.resend]", 1, "no signing secret"),
        ("[feeds.mailersend]", 1, "no signing secret"),
        ("[feeds.mailtrap]", 1, "no signing secret"),
        ("[feeds.postal]", 1, "no public key"),
        ("[feeds.unisender]", 1, "no API key"),
        ("[feeds.resend]\nprevious_signing_secret = \"whsec_eA==\"", 2, "without `signing_secret`"),
        ("[feeds.postfix]", 1, "no log"),
        ("[feeds.postfix]\njournal = true\nlog_file = \"mail.log\"", 1, "both a log file and the journal"),
        ("[feeds.postfix]\njournal = true\ntime_zone = \"Mars/Olympus\"", 3, "no time zone"),
        ("[feeds.postfix]\njournal = true\nsmarthosts = [\"smtp example\"]", 3, "no host's name"),
        ("[feeds.sendgrid]", 1, "neither a verification key nor credentials"),
        ("[feeds.sendgrid]\npassword = \"0123456789abcdef\"", 1, "go together"),
        ("[feeds.sendgrid]\nprevious_token = \"0123456789abcdef\"", 2, "without `token`"),
        ("[feeds.sqs]", 1, "has no queue"),
        ("[feeds.sqs]\nqueue_url = \"http://sqs.eu-west-1.amazonaws.com/123456789012/q\"", 2, "https://"),
        ("[feeds.sqs]\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/\"", 2, "no URL of a queue"),
        (
            "[feeds.sqs]\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/123456789012/q\"\nregion = \"us-east-1\"",
            3,
            "another region",
        ),
        (
            "[feeds.sqs]\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/123456789012/q\"\nregion = \"Ireland\"",
            3,
            "no region of AWS",
        ),
        (
            "[feeds.sqs]\nqueue_url = \"http://127.0.0.1:1/1/q\"\nendpoint = \"http://127.0.0.1:1\"",
            1,
            "does not tell the region",
        ),
        (
            "[feeds.sqs]\nqueue_url = \"https://sqs.example.com/1/q\"\nregion = \"eu-west-1\"",
            2,
            "not on SQS's own host",
        ),
        (
            "[feeds.sqs]\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/123456789012/q\"\nendpoint = \"http://sqs.internal:1\"",
            3,
            "https://",
        ),
        (
            "[feeds.sqs]\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/123456789012/q\"\nwait_seconds = 21",
            3,
            "between 1 and 20",
        ),
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
        assert_mistake(text, *line, words);
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

/// The text has this mistake at this line.
fn assert_mistake(text: &str, line: usize, words: &str) {
    let errors = load(text, &[]).expect_err(text).mistakes;
    let hit = errors.iter().find(|mistake| mistake.message.contains(words));
    let hit = hit.unwrap_or_else(|| panic!("{text}\n{errors:#?}"));
    assert_eq!(line_of(hit), line, "{hit}");
    assert!(hit.severity == Severity::Error, "{hit}");
}

#[test]
fn a_mail_feed_says_what_is_wrong_with_it() {
    for (text, line, words) in [
        ("[feeds.mail]\nrecipients = [\"a@b.example\"]", 1, "listens nowhere"),
        ("[feeds.mail]\nlisten = \"localhost:2525\"\nrecipients = [\"a@b.example\"]", 2, "no place to listen"),
        (
            "[feeds.mail]\nlisten = \"unix:/run/lmtp.sock\"\nrecipients = [\"a@b.example\"]",
            2,
            "does not come through a socket",
        ),
        ("[feeds.mail]\nlisten = \"127.0.0.1:2525\"", 1, "takes mail for nobody"),
        (
            "[feeds.mail]\nlisten = \"127.0.0.1:2525\"\nrecipients = [\"a@b.example\",\n\"*\"]",
            4,
            "neither an address nor a domain",
        ),
        (
            "[feeds.mail]\nlisten = \"127.0.0.1:2525\"\nrecipients = [\"a@b.example\"]\ntls_key = \"k.pem\"",
            1,
            "go together",
        ),
        (
            "[feeds.mail]\nlisten = \"127.0.0.1:2525\"\nrecipients = [\"a@b.example\"]\nrequire_tls = true",
            4,
            "there is no certificate",
        ),
        (
            "[feeds.mail]\nlisten = \"127.0.0.1:2525\"\nrecipients = [\"a@b.example\"]\nhostname = \"mx example\"",
            4,
            "no host's name",
        ),
        (
            "[feeds.mail]\nlisten = \"127.0.0.1:2525\"\nrecipients = [\"a@b.example\"]\ntrusted_peers = [\"192.0.2.0/33\"]",
            4,
            "neither an IP address nor a network",
        ),
        (
            "[feeds.mail]\nlisten = \"127.0.0.1:2525\"\nrecipients = [\"a@b.example\"]\nmax_bytes = 1",
            4,
            "between 65536 and 16777216",
        ),
        (
            "[feeds.mail]\nlisten = \"127.0.0.1:2525\"\nrecipients = [\"a@b.example\"]\nprotocol = \"esmtp\"",
            4,
            "protocol",
        ),
    ] {
        assert_mistake(text, line, words);
    }
}

#[test]
fn a_mail_feed_that_others_can_reach_or_that_promises_too_much_is_a_warning() {
    let with = |listen: &str, rest: &str| {
        let text = format!("[feeds.mail]\nlisten = \"{listen}\"\nrecipients = [\"a@b.example\"]\n{rest}");
        loaded(&text, &[]).provenance.warnings
    };
    assert_eq!(with("0.0.0.0:25", ""), []);
    assert_eq!(with("127.0.0.1:2525", "protocol = \"lmtp\""), []);
    assert_eq!(with("unix:/run/lmtp.sock", "protocol = \"lmtp\"\nexposure = \"outcomes\""), []);
    let [only] = &with("0.0.0.0:24", "protocol = \"lmtp\"")[..] else { panic!("one warning") };
    assert!(only.message.contains("where others can reach it") && line_of(only) == 2, "{only}");
    let [only] = &with("127.0.0.1:2525", "exposure = \"sends\"")[..] else { panic!("one warning") };
    assert!(only.message.contains("every send") && line_of(only) == 4, "{only}");
}

#[test]
fn an_exposure_that_the_provider_cannot_give_is_a_mistake() {
    for (table, exposure, words) in [
        ("postmark", "sends", "reports no sends"),
        ("mailjet", "sends", "reports no sends"),
        ("postal", "sends", "reports no sends"),
        ("klaviyo", "sends", "reports no sends"),
        ("mailtrap", "sends", "reports no sends"),
        ("azure", "sends", "reports no sends"),
        ("elasticemail", "sends", "reports no sends"),
        ("iterable", "outcomes", "reports no deliveries"),
    ] {
        let refused = |exposure: &str| {
            let found = mistakes(&format!("[feeds.{table}]\nexposure = \"{exposure}\"\n"), &[]);
            let path = format!("feeds.{table}.exposure");
            found.into_iter().find(|mistake| mistake.path == path)
        };
        let mistake = refused(exposure).unwrap_or_else(|| panic!("{table} takes {exposure}"));
        assert!(mistake.message.contains(words) && line_of(&mistake) == 2, "{mistake}");
        let other = if exposure == "sends" { "outcomes" } else { "sends" };
        assert!(refused(other).is_none() && refused("none").is_none(), "{table}");
    }
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

/// What only one can have, each told at the second setting with the first one named.
#[test]
fn what_two_settings_want_is_told_with_both_named() {
    let told = |text: &str| -> Vec<(String, String)> {
        let found = mistakes(text, &[]).into_iter().filter(|mistake| mistake.severity == Severity::Error);
        found.map(|mistake| (mistake.path, mistake.message)).collect()
    };
    let mail = |name: &str, listen: &str| {
        format!(
            "[[feeds.mail]]\nname = \"{name}\"\nprotocol = \"lmtp\"\nlisten = \"{listen}\"\nrecipients = [\"example.com\"]\n"
        )
    };
    let sqs = |name: &str, url: &str| format!("[[feeds.sqs]]\nname = \"{name}\"\nqueue_url = \"{url}\"\n");
    let mandrill =
        |url: &str| format!("[[feeds.mandrill]]\nname = \"eu\"\nkey = \"0123456789abcdef\"\nurl = \"https://{url}\"\n");
    let public = "[listen]\npublic_url = \"https://hooks.example.com/rw/\"\n";
    let local = |name: &str, port: u16| {
        let at = format!("http://127.0.0.1:{port}");
        sqs(name, &format!("{at}/123456789012/q")) + &format!("region = \"eu-west-1\"\nendpoint = \"{at}\"\n")
    };
    let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/q";
    for (text, path, named) in [
        (mail("a", "127.0.0.1:2525") + &mail("b", "127.0.0.1:2525"), "feeds.mail.b.listen", "feeds.mail.a.listen"),
        (mail("a", "0.0.0.0:2525") + &mail("b", "127.0.0.1:2525"), "feeds.mail.b.listen", "feeds.mail.a.listen"),
        (mail("a", "unix:/run/a.sock") + &mail("b", "unix:/run/a.sock"), "feeds.mail.b.listen", "feeds.mail.a.listen"),
        (mail("a", "127.0.0.1:8025"), "feeds.mail.a.listen", "listen.public"),
        (mail("a", "127.0.0.1:8026"), "feeds.mail.a.listen", "listen.private"),
        (
            "[[feeds.postfix]]\nname = \"a\"\nlog_file = \"/l\"\n[[feeds.postfix]]\nname = \"b\"\nlog_file = \"/l\"\n"
                .to_owned(),
            "feeds.postfix.b.log_file",
            "feeds.postfix.a.log_file",
        ),
        (
            "[[feeds.postfix]]\nname = \"a\"\njournal = true\n[[feeds.postfix]]\nname = \"b\"\njournal = true\n"
                .to_owned(),
            "feeds.postfix.b.journal",
            "feeds.postfix.a.journal",
        ),
        (
            sqs("a", queue) + &sqs("b", "https://eu-west-1.queue.amazonaws.com/123456789012/q"),
            "feeds.sqs.b.queue_url",
            "feeds.sqs.a.queue_url",
        ),
        (
            "[[feeds.braze]]\nname = \"a\"\ntoken = \"0123456789abcdef\"\n".repeat(2),
            "feeds.braze.a.name",
            "[[feeds.braze]] number 1 and 2",
        ),
        (
            mail("a", "127.0.0.1:2525") + &mail("b", "[::ffff:127.0.0.1]:2525"),
            "feeds.mail.b.listen",
            "feeds.mail.a.listen",
        ),
    ] {
        let found = told(&text);
        assert!(
            matches!(found.as_slice(), [(at, message)] if at == path && message.contains(named)),
            "{text}{found:?}"
        );
    }
    for text in [
        mail("a", "127.0.0.1:2525") + &mail("b", "127.0.0.2:2525"),
        sqs("a", queue) + &sqs("b", "https://sqs.eu-west-2.amazonaws.com/123456789012/q"),
        local("a", 5000) + &local("b", 5001),
        local("a", 5000) + &sqs("b", queue),
        mail("a", "0.0.0.0:2525") + &mail("b", "[::]:2525"),
        mandrill("hooks.example.com/in/mandrill/eu?x=y"),
        public.to_owned() + &mandrill("hooks.example.com/rw/in/mandrill/eu?x=y"),
    ] {
        assert_eq!(told(&text), [], "{text}");
    }
}

/// What is right on some machines, or behind some gateways, is told and stops nothing.
#[test]
fn what_can_be_meant_is_a_warning() {
    let mandrill =
        |url: &str| format!("[[feeds.mandrill]]\nname = \"eu\"\nkey = \"0123456789abcdef\"\nurl = \"{url}\"\n");
    let public = "[listen]\npublic_url = \"https://hooks.example.com/rw/\"\n";
    let mail = |name: &str, listen: &str| {
        format!(
            "[[feeds.mail]]\nname = \"{name}\"\nprotocol = \"lmtp\"\nlisten = \"{listen}\"\nrecipients = [\"example.com\"]\n"
        )
    };
    let url = "feeds.mandrill.eu.url";
    let expected = "\"https://hooks.example.com/rw/in/mandrill/eu\"";
    for (text, path, words) in [
        (mandrill("https://hooks.example.com/in/mandrill"), url, ["/in/mandrill/eu", "feed"]),
        (public.to_owned() + &mandrill("https://hooks.example.com/in/mandrill/eu"), url, ["another path:", expected]),
        (
            public.to_owned() + &mandrill("https://other.example.com/rw/in/mandrill/eu"),
            url,
            ["another host:", expected],
        ),
        (
            public.to_owned() + &mandrill("http://hooks.example.com/rw/in/mandrill/eu"),
            url,
            ["another scheme:", expected],
        ),
        (
            public.to_owned() + &mandrill("https://hooks.example.com:8443/rw/in/mandrill/eu"),
            url,
            ["another port:", expected],
        ),
        (
            public.to_owned() + &mandrill("https://other.example.com/in/mandrill/eu"),
            url,
            ["another host and path:", expected],
        ),
        (
            mail("a", "0.0.0.0:2525") + &mail("b", "[::]:2525"),
            "feeds.mail.b.listen",
            ["feeds.mail.a.listen", "same port"],
        ),
        (
            "[listen]\npublic = \"[::]:9000\"\nprivate = \"127.0.0.1:9000\"\n".to_owned(),
            "listen.private",
            ["listen.public", "same port"],
        ),
    ] {
        let told = |mistake: &Mistake| words.iter().all(|words| mistake.message.contains(words));
        let found: Vec<_> =
            mistakes(&text, &[]).into_iter().filter(|mistake| mistake.path == path && told(mistake)).collect();
        let [mistake] = found.as_slice() else { panic!("{text}{found:?}") };
        assert_eq!(mistake.severity, Severity::Warning, "{mistake}");
    }
}

/// What is wrong with a queue's URL is told by what it is, and help has no more than what is known.
#[test]
fn a_queue_is_asked_for_in_the_form_that_it_has() {
    let told = |url: &str| {
        let found = mistakes(&format!("[feeds.sqs]\nqueue_url = \"{url}\"\n"), &[]);
        let [mistake] = found.as_slice() else { panic!("{url}: {found:?}") };
        format!("{}: {}", mistake.message, mistake.help.as_deref().unwrap_or_default())
    };
    let arn = told("arn:aws:sqs:eu-west-1:123456789012:ses-events");
    assert!(arn.ends_with("`queue_url = \"https://sqs.eu-west-1.amazonaws.com/123456789012/ses-events\"`"), "{arn}");
    assert!(told("arn:aws:sns:eu-west-1:123456789012:topic").contains("not of a queue"));
    for wrong in [
        "https://sqs.eu-west-1.amazonaws.com.example.com/123456789012/q",
        "https://sqs.eu-west-1.amazonaw.com/123456789012/q",
        "https://console.aws.amazon.com/sqs/q",
    ] {
        let told = told(wrong);
        assert!(told.contains("not on SQS's own host") && told.contains("a queue's URL looks like"), "{told}");
        assert!(!told.contains("add `endpoint"), "{told}");
    }
    let vpce = told("https://vpce-0a1b-2c3d.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q");
    assert!(vpce.contains("add `endpoint = \"https://vpce-0a1b-2c3d.sqs.eu-west-1.vpce.amazonaws.com\"`"), "{vpce}");
    for wrong in ["https://sqs.eu-west-1.amazonaws.com/q", "https://sqs.eu-west-1.amazonaws.com/12345/q"] {
        assert!(told(wrong).contains("no URL of a queue"), "{wrong}");
    }
}

#[test]
fn hints_say_what_can_stand_there() {
    let told = |text: &str| mistakes(text, &[]).iter().map(ToString::to_string).collect::<String>();
    let exposure = told("[feeds.braze]\ntoken = \"0123456789abcdef\"\nexposure = \"all\"\n");
    assert!(
        exposure.contains("= help: What the feed tells of mail that did not bounce: `sends`, `outcomes`"),
        "{exposure}"
    );
    let brevo = told("[feeds.brevo]\n");
    assert!(brevo.contains("or `token_file` (with `header`, where it's not `Authorization: Bearer`)"), "{brevo}");
    let postfix = |hosts: &str| told(&format!("[feeds.postfix]\njournal = true\nsmarthosts = {hosts}\n"));
    assert!(postfix("\"smtp.example.net\"").contains("write a list: smarthosts = [\"…\"]"));
    assert!(postfix("[\"[smtp.example.net]:587\"]").contains("write \"smtp.example.net\", without brackets and port"));
    assert!(postfix("[\"a b\"]").contains("write the host's name alone"));
    assert!(postfix("[\"mailhub:587\"]").contains("write \"mailhub\", without brackets and port"));
    let single = mistakes("[feeds.postfix]\njournal = true\nsmarthosts = [\"mailhub\"]\n", &[]);
    assert!(single.iter().all(|mistake| !mistake.path.contains("smarthosts")), "{single:?}");
    let mandrill = told("[feeds.mandrill]\nkey = \"hunter2\"\nurl = \"hooks.example.com/in/mandrill\"\n");
    assert!(mandrill.contains("url = \"hooks.example.com/in/mandrill\""), "no secret is masked: {mandrill}");
}
