//! `relaywatch config`: the commented default, a check, what is in force, the JSON Schema.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Format, text::count};
use crate::{
    config::{Config, ConfigErrors, DEFAULT_FILE, Mistake, Place, Severity, json_schema},
    daemon, rule_files,
};

/// Print, check and explain the configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch config default > relaywatch.toml   every key, its default, and examples
  relaywatch config check relaywatch.toml       explains every mistake with its line

The file is --config, else $RELAYWATCH_CONFIG, else /etc/relaywatch/relaywatch.toml if it is
there. The environment goes before the file: RELAYWATCH__LISTEN__PUBLIC sets `public` in [listen].")]
pub struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the commented default configuration.
    ///
    /// It has every key with its default and a line of explanation. Lines that start with `#` and no blank are examples.
    #[command(after_help = "Example: relaywatch config default > relaywatch.toml")]
    Default,
    /// Check the configuration and explain every mistake with its line.
    ///
    /// Reads the file, the environment and the secrets' files as `serve` does, and connects to nothing.
    /// Exit code 0 where it is valid (warnings are shown), 1 where it is not.
    #[command(after_help = "Example: relaywatch config check relaywatch.toml --format json")]
    Check {
        /// The file to check; by default the one that `serve` would read.
        file: Option<PathBuf>,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print the configuration in force, with secrets masked.
    ///
    /// Defaults, file and environment put together, as TOML; variables that set something are named at the top.
    /// Exit code 1, and the mistakes, where the configuration is not valid.
    #[command(after_help = "Example: RELAYWATCH__LOG__LEVEL=debug relaywatch config show relaywatch.toml")]
    Show {
        /// The file to show; by default the one that `serve` would read.
        file: Option<PathBuf>,
        /// TOML (text), or JSON.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print the JSON Schema of the configuration, for editors and other tools.
    #[command(after_help = "Example: relaywatch config schema > relaywatch.schema.json")]
    Schema,
}

impl ConfigCommand {
    /// Runs the command. `file` is the global `--config`; a file can be named after the command instead. Results go to
    /// `out`; where `show` has none to give, the mistakes go to `diagnostics`.
    ///
    /// # Errors
    /// Where a writer fails.
    pub fn run(
        &self,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> io::Result<Exit> {
        if let (Some(file), Action::Check { file: Some(named), .. } | Action::Show { file: Some(named), .. }) =
            (file, &self.action)
        {
            writeln!(
                diagnostics,
                "relaywatch: two files are named, {} (--config) and {}; name one",
                file.display(),
                named.display()
            )?;
            return Ok(Exit::Misuse);
        }
        match &self.action {
            Action::Default => out.write_all(DEFAULT_FILE.as_bytes()).map(|()| Exit::Success),
            Action::Schema => {
                writeln!(out, "{:#}", json_schema())?;
                Ok(Exit::Success)
            }
            Action::Check { file: named, format } => {
                check(&verified(Config::load(named.as_deref().or(file), environment)), *format, out)
            }
            Action::Show { file: named, format } => match Config::load(named.as_deref().or(file), environment) {
                Ok(config) => show(&config, *format, out).map(|()| Exit::Success),
                Err(errors) => write!(diagnostics, "{errors}").map(|()| Exit::Finding),
            },
        }
    }
}

/// Also sets up what the configuration names, so that nothing is called valid that `serve` would not start with.
pub(super) fn verified(result: Result<Config, ConfigErrors>) -> Result<Config, ConfigErrors> {
    let (mut config, mut mistakes) = match result {
        Ok(mut config) => {
            let warnings = std::mem::take(&mut config.provenance.warnings);
            (config, warnings)
        }
        Err(ConfigErrors { mistakes, sound: Some(sound) }) => (*sound, mistakes),
        Err(errors) => return Err(errors),
    };
    let refused = mistakes.iter().any(|mistake| mistake.severity == Severity::Error);
    // What a feed or notifier is short of beside a mistake in its own settings may be the echo of that; not so its files.
    let told: Vec<String> = mistakes
        .iter()
        .filter(|mistake| mistake.severity == Severity::Error)
        .map(|mistake| mistake.path.clone())
        .collect();
    let wrong: Vec<Mistake> = daemon::verify(&config)
        .into_iter()
        .map(|(setting, error)| {
            let is_of_a_named_file = error.is_of_a_named_file();
            let mistake = config.provenance.mistake(&setting, format!("{:#}", anyhow::Error::from(error)));
            (is_of_a_named_file, mistake)
        })
        .filter(|(is_of_a_named_file, mistake)| {
            *is_of_a_named_file || !told.iter().any(|told| is_of_one_part(told, &mistake.path))
        })
        .map(|(_, mistake)| mistake)
        .collect();
    if !refused && wrong.is_empty() {
        mistakes.extend(unconnected(&config));
        mistakes.extend(rotting(&config));
        config.provenance.warnings = mistakes;
        return Ok(config);
    }
    mistakes.extend(wrong);
    mistakes.sort_by_key(|mistake| match mistake.place {
        Place::Line { line, column, .. } => (line, column),
        Place::Variable(_) => (usize::MAX, 0),
        Place::Nowhere => (usize::MAX, 1),
    });
    Err(ConfigErrors { mistakes, sound: None })
}

/// Whether one of two settings is the other one, or stands in its table.
fn is_of_one_part(one: &str, other: &str) -> bool {
    let below =
        |above: &str, path: &str| path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    below(one, other) || below(other, one)
}

/// What `serve` warns of at its start beside the settings: that nothing comes in, or that nobody is told.
fn unconnected(config: &Config) -> Option<Mistake> {
    let (path, message, help) = if config.feeds.paths().is_empty() {
        ("feeds", "no feed is connected, so nothing is watched", "`relaywatch config default` shows how")
    } else if config.notify.slack.is_none() && config.notify.webhook.is_none() {
        (
            "notify",
            "no notifier is configured: incidents are recorded and nobody is told of them",
            "set [notify.slack] or [notify.webhook]",
        )
    } else {
        return None;
    };
    Some(Mistake {
        severity: Severity::Warning,
        path: path.to_owned(),
        message: message.to_owned(),
        help: Some(help.to_owned()),
        place: Place::Nowhere,
        file: String::new(),
    })
}

/// What is wrong with the operator's own reply rules, though they can be used.
fn rotting(config: &Config) -> Vec<Mistake> {
    let folder: Option<&Path> = config.rules.folder.as_ref().map(AsRef::as_ref);
    let (Some(folder), Ok(rules)) = (folder, rule_files::of(config)) else { return Vec::new() };
    let warning = |message, help| Mistake {
        severity: Severity::Warning,
        help,
        ..config.provenance.mistake("rules.folder", message)
    };
    let mut warnings: Vec<Mistake> =
        rule_files::passed_over(Some(folder)).map(|said| warning(said, None)).into_iter().collect();
    if let Some(said) = rule_files::empty(Some(folder), &rules) {
        warnings.push(warning(said, None));
        return warnings;
    }
    let found = rules.lint_own();
    if let Some(first) = found.first() {
        let help = format!("`relaywatch classify --lint --rules {}` lists all", folder.display());
        let message = format!("{} in your reply rules; the first: {first}", count(found.len() as u64, "finding"));
        warnings.push(warning(message, Some(help)));
    }
    warnings
}

fn check(result: &Result<Config, ConfigErrors>, format: Format, out: &mut impl Write) -> io::Result<Exit> {
    let mistakes = match result {
        Ok(config) => &config.provenance.warnings,
        Err(errors) => &errors.mistakes,
    };
    match format {
        Format::Json => {
            let mistakes: Vec<_> = mistakes.iter().map(as_json).collect();
            writeln!(out, "{:#}", json!({ "valid": result.is_ok(), "mistakes": mistakes }))?;
        }
        Format::Text => {
            for mistake in mistakes {
                writeln!(out, "{mistake}")?;
            }
            let (errors, warnings): (Vec<_>, Vec<_>) =
                mistakes.iter().partition(|mistake| mistake.severity == Severity::Error);
            let counts = match (errors.len() as u64, warnings.len() as u64) {
                (0, 0) => "no mistakes".to_owned(),
                (0, warnings) => count(warnings, "warning"),
                (errors, 0) => count(errors, "error"),
                (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
            };
            match result {
                Ok(config) => {
                    let name = config.provenance.file.as_deref().map_or_else(
                        || "the configuration (no file, defaults and environment)".to_owned(),
                        |file| file.display().to_string(),
                    );
                    writeln!(out, "{name} is valid: {counts}")?;
                    summary(config, out)?;
                }
                Err(_) => writeln!(out, "not valid: {counts}")?,
            }
        }
    }
    Ok(if result.is_ok() { Exit::Success } else { Exit::Finding })
}

fn as_json(mistake: &Mistake) -> serde_json::Value {
    let severity = match mistake.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut value = json!({
        "severity": severity,
        "path": mistake.path,
        "message": mistake.message,
        "help": mistake.help,
        "file": (!mistake.file.is_empty()).then_some(&mistake.file),
    });
    match &mistake.place {
        Place::Line { line, column, .. } => {
            value["line"] = json!(line);
            value["column"] = json!(column);
        }
        Place::Variable(name) => value["variable"] = json!(name),
        Place::Nowhere => {}
    }
    value
}

/// What the configuration amounts to.
fn summary(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let all = config.feeds.places();
    let notify = &config.notify;
    let told = [
        (notify.slack.is_some(), "Slack"),
        (notify.webhook.is_some(), "webhook"),
        (notify.heartbeat.is_some(), "heartbeat"),
    ];
    let told: Vec<_> = told.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    let or_none = |names: String| if names.is_empty() { "none".to_owned() } else { names };
    writeln!(out, "  listeners: public {}, private {}", config.listen.public.0, config.listen.private.0)?;
    writeln!(out, "  store: {}", config.store.url)?;
    writeln!(out, "  feeds: {}", or_none(all.join(", ")))?;
    writeln!(out, "  notifiers: {}", or_none(told.join(", ")))
}

fn show(config: &Config, format: Format, out: &mut impl Write) -> io::Result<()> {
    let provenance = &config.provenance;
    if format == Format::Json {
        let overrides: serde_json::Map<_, _> =
            provenance.overrides.iter().map(|set| (set.path.clone(), json!(set.variable))).collect();
        let value = json!({ "file": provenance.file, "environment": overrides, "configuration": config });
        return writeln!(out, "{value:#}");
    }
    match &provenance.file {
        Some(file) => writeln!(out, "# file: {}", file.display())?,
        None => writeln!(out, "# no file")?,
    }
    for set in &provenance.overrides {
        writeln!(out, "# {} is set by {}", set.path, set.variable)?;
    }
    let text = toml::to_string(config).map_err(io::Error::other)?;
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        // A secret that a file holds is shown by its file alone, so that what is shown can be used again.
        let in_file = line
            .split_once(" = ")
            .zip(lines.get(index + 1))
            .is_some_and(|((key, _), next)| next.starts_with(&format!("{key}_file = ")));
        if !in_file {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        config: ConfigCommand,
    }

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Exit, String, String) {
        let command = Command::try_parse_from([&["config"], arguments].concat()).expect("arguments");
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (mut out, mut diagnostics) = (Vec::new(), Vec::new());
        let exit = command.config.run(None, environment, &mut out, &mut diagnostics).expect("writes");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (exit, text(out), text(diagnostics))
    }

    fn from_text(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let mut all = HashMap::from([("STATE_DIRECTORY".to_owned(), "/state".to_owned())]);
        all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Config::from_text(Some(Path::new("relaywatch.toml")), text.to_owned(), all)
    }

    fn checked(text: &str, environment: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        let result = from_text(text, environment);
        let exit = check(&result, Format::Text, &mut out).expect("writes");
        assert_eq!(exit == Exit::Success, result.is_ok());
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn rules_that_rot_are_warned_of_and_broken_ones_refused_all_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!("[rules]\nfolder = \"{}\"\n", folder.path().display());
        let warned = || {
            let config = verified(from_text(&text, &[])).expect("valid");
            let of_rules = config.provenance.warnings.iter().filter(|mistake| mistake.path == "rules.folder");
            of_rules.map(ToString::to_string).collect::<String>()
        };
        assert!(warned().contains("holds no rule file"), "{}", warned());
        let rule = "version = 1\n[[rule]]\nname = \"a\"\nwording = [\"frobnicated\"]\ncause = \"auto_reply\"\nconfidence = 1.0\ndoc = \"us\"\n";
        std::fs::write(folder.path().join("mine.toml"), rule).expect("written");
        assert!(
            warned().contains("2 findings in your reply rules; the first: mine.toml, line 2: mine/a has no sample"),
            "{}",
            warned()
        );
        let samples = format!("{rule}samples = [\"550 frobnicated\"]\nnear_misses = [\"550 x\"]\n");
        std::fs::write(folder.path().join("mine.toml"), &samples).expect("written");
        assert_eq!(warned(), "");
        std::fs::write(folder.path().join("more.TOML"), "").expect("written");
        assert!(warned().contains("where rule files are *.toml: more.TOML"), "{}", warned());
        std::fs::write(folder.path().join("mine.toml"), samples.replace("auto_reply", "auto_repli")).expect("written");
        std::fs::write(folder.path().join("other.toml"), samples.replace("1.0", "7.0")).expect("written");
        let ConfigErrors { mistakes, .. } = verified(from_text(&text, &[])).expect_err("refused");
        let errors: Vec<_> = mistakes.iter().filter(|mistake| mistake.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors.iter().all(|mistake| matches!(mistake.place, Place::Line { line: 2, .. })), "{errors:?}");
    }

    #[test]
    fn nothing_is_called_valid_that_serve_would_refuse() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys.json");
        let team = "[[team]]\nid = \"A1B2C3D4E5\"\n[[team.app]]\nclient_id = \"com.example.app\"\n";
        let text = format!("{team}[feeds.apple]\njwks_file = \"{}\"\n", keys.display());
        let mistakes = || verified(from_text(&text, &[])).expect_err("refused").to_string();
        assert!(mistakes().contains("can't be read"), "{}", mistakes());
        std::fs::write(&keys, "garbage").expect("written");
        assert!(mistakes().contains("no JWK set"), "{}", mistakes());

        // All of them at once, each at its line.
        let text = format!(
            "{team}[feeds.apple]\njwks_file = \"/nonexistent/keys\"\n[[feeds.ses]]\nname = \"eu\"\n\
             topics = [\"arn:aws:sns:eu-west-1:123456789012:t\"]\nsigning_certificates = [\"{}\"]\n\
             [notify.webhook]\nurl = \"https://a.example/\"\nsecret = \"whsec_***\"\n",
            keys.display()
        );
        let ConfigErrors { mistakes, .. } = verified(from_text(&text, &[])).expect_err("refused");
        let lines: Vec<_> = mistakes
            .iter()
            .filter(|mistake| mistake.severity == Severity::Error)
            .map(|mistake| match mistake.place {
                Place::Line { line, .. } => line,
                _ => 0,
            })
            .collect();
        assert_eq!(lines, [6, 10, 13], "{mistakes:#?}");
    }

    #[test]
    fn files_are_told_beside_all_other_mistakes() {
        let folder = tempfile::tempdir().expect("a folder");
        let garbage = folder.path().join("garbage");
        std::fs::write(&garbage, "garbage").expect("written");
        let garbage = garbage.display();
        let text = format!(
            "[listen]\npublik = 1\n[feeds.apple]\nmode = \"forwarded\"\nsecret = \"0123456789abcdef\"\n\
             jwks_file = \"{garbage}\"\narchived_jwks_file = \"/nonexistent/old\"\n[feeds.ses]\n\
             topics = [\"arn:aws:sqs:eu-west-1:123456789012:q\"]\n\
             signing_certificates = [\"/nonexistent/a.pem\", \"{garbage}\"]\n[notify.webhook]\n"
        );
        let found = |text: &str| -> Vec<(usize, String)> {
            let ConfigErrors { mistakes, .. } = verified(from_text(text, &[])).expect_err("refused");
            let errors = mistakes.into_iter().filter(|mistake| mistake.severity == Severity::Error);
            let line = |mistake: &Mistake| if let Place::Line { line, .. } = mistake.place { line } else { 0 };
            errors.map(|mistake| (line(&mistake), mistake.path)).collect()
        };
        let told = |(line, path): (usize, &str)| (line, path.to_owned());
        // Beside a key that is not known …
        let files = [
            (6, "feeds.apple.jwks_file"),
            (7, "feeds.apple.archived_jwks_file"),
            (9, "feeds.ses.topics.0"),
            (10, "feeds.ses.signing_certificates.0"),
            (10, "feeds.ses.signing_certificates.1"),
            (11, "notify.webhook"),
        ];
        let all: Vec<_> = [(2, "listen.publik")].into_iter().chain(files).map(told).collect();
        assert_eq!(found(&text), all);
        // … and beside what only makes no sense. That no app is configured is a warning's, not an error's, echo.
        assert_eq!(found(&text.replace("publik = 1\n", "\n")), files.map(told));
        assert!(found(&text.replace("/nonexistent/old", "")).iter().all(|(line, _)| *line > 0), "each has its line");
    }

    /// A mistake in one feed hides none of another's, nor the files of its own.
    #[test]
    fn what_one_feed_is_short_of_hides_nothing() {
        let text = "[feeds.mail]\nlisten = \"nowhere\"\nrecipients = [\"example.com\"]\nrequire_tls = true\n\
                    tls_certificate = \"/nonexistent/cert\"\n[feeds.sendgrid]\nverification_key = \"short\"\n\
                    [feeds.postal]\npublic_key = \"x\"\n[feeds.braze]\n";
        let ConfigErrors { mistakes, .. } = verified(from_text(text, &[])).expect_err("refused");
        let errors = mistakes.iter().filter(|mistake| mistake.severity == Severity::Error);
        let paths: Vec<&str> = errors.map(|mistake| mistake.path.as_str()).collect();
        for path in [
            "feeds.mail",
            "feeds.mail.listen",
            "feeds.mail.tls_certificate",
            "feeds.sendgrid",
            "feeds.postal",
            "feeds.braze",
        ] {
            assert_eq!(paths.iter().filter(|told| **told == path).count(), 1, "{path}: {mistakes:#?}");
        }
    }

    macro_rules! explains {
        ($($name:ident: $text:expr, $environment:expr;)+) => {$(
            #[test]
            fn $name() {
                insta::assert_snapshot!(stringify!($name), checked($text, $environment));
            }
        )+};
    }

    explains! {
        unknown_keys: "[listen]\npublik = \"127.0.0.1:8025\"\n\n[feeds.sparkpost]\nusername = \"u\"\npasword = \"hunter2\"\n\n[feeds.ses]\njwks_file = \"keys.json\"\n\n[zebra]\n", &[];
        wrong_kinds: "team = 5\n[listen]\npublic = 8025\nprivate = \"localhost:8026\"\n[store]\nreaders = \"four\"\nconnections = 1\n[feeds.ses]\ntopics = \"arn:aws:sns:eu-west-1:123456789012:t\"\nexposure = \"send\"\nrefuse_signature_version_1 = \"yes\"\n[relay]\ndomains = [\"a.example\", 5]\n", &[];
        no_toml: "[listen\npublic = \"127.0.0.1:8025\"\n[store]\nurl = \"postgres://me:hunter2@db/r\n[feeds.braze]\ntoken = hunter2\n", &[];
        teams: "[[team]]\nid = \"A1B2\"\nkind = \"company\"\n[[team.app]]\nclientid = \"com.example.app\"\n[team.source]\ndomain = \"a.example\"\n", &[];
        teams_that_clash: "[[team]]\nid = \"A1B2C3D4E5\"\n[[team.app]]\nclient_id = \"com.example.app\"\n[[team.source]]\ndomain = \"a.example\"\naddress = \"dev@a.example\"\n[[team]]\nid = \"B1B2C3D4E5\"\n[[team.app]]\nclient_id = \"com.example.app\"\n[[team.source]]\ndomain = \"https://b.example\"\n", &[];
        feeds_without_credentials: "[feeds.apple]\nmode = \"forwarded\"\nforward_to = \"https://backend.example.com/\"\n[feeds.ses]\ntopics = [\n  \"arn:aws:sns:eu-west-1:123456789012:ok\",\n  \"arn:aws:sqs:eu-west-1:123456789012:queue\",\n]\n[feeds.sparkpost]\n[[feeds.braze]]\n[[feeds.braze]]\nname = \"Über\"\ntoken = \"short\"\n[feeds.mailgun]\nsigning_key_file = \"/nonexistent/key\"\n", &[];
        listeners_and_notifiers: "[listen]\npublic = \"0.0.0.0:8025\"\nprivate = \"0.0.0.0:8025\"\n[store]\nurl = \"mysql://me:hunter2@db/r\"\n[notify.slack]\nwebhook_url = \"http://hooks.example.com/hunter2\"\nbot_token = \"xoxb-hunter2\"\n[notify.heartbeat]\nurl = \"hunter2\"\n", &[];
        wrong_variables: "[log]\nlevel = \"relaywatch=loud\"\n", &[("RELAYWATCH__LISTEN__PUBLIK", "x"), ("RELAYWATCH__FEEDS__SES__EU__TOPCS", "x"), ("RELAYWATCH__LIMITS__BODY_BYTES", "10MiB"), ("RELAYWATCH__TEAM__0__ID", "x")];
        warnings_only: "[feeds.apple]\n\n[feeds.braze]\ntoken = \"short\"\n", &[];
        valid: "[[feeds.ses]]\nname = \"eu\"\ntopics = [\"arn:aws:sns:eu-west-1:123456789012:t\"]\n[notify.slack]\nwebhook_url = \"https://hooks.example.com/x\"\n", &[];
    }

    #[test]
    fn what_is_in_force_is_shown_with_secrets_masked() {
        let text = "[store]\nurl = \"postgres://me:hunter2@db/relaywatch\"\n[[team]]\nid = \"A1B2C3D4E5\"\n[feeds.braze]\ntoken = \"hunter2hunter2hunter2\"\n";
        let config = from_text(text, &[("RELAYWATCH__LISTEN__PUBLIC", "127.0.0.1:9")]).expect("valid");
        let mut out = Vec::new();
        show(&config, Format::Text, &mut out).expect("writes");
        let shown = String::from_utf8(out).expect("UTF-8");
        assert!(!shown.contains("hunter2"));
        insta::assert_snapshot!("show", shown);

        let mut out = Vec::new();
        show(&config, Format::Json, &mut out).expect("writes");
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value["environment"]["listen.public"], "RELAYWATCH__LISTEN__PUBLIC");
        assert_eq!(value["configuration"]["feeds"]["braze"][0]["token"], crate::config::MASK);
    }

    #[test]
    fn what_is_shown_can_be_used_again() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("write");
            file.display().to_string()
        };
        write("token", "0123456789abcdef\n");
        let file = write("a.toml", "[feeds.braze]\ntoken_file = \"token\"\n[notify.heartbeat]\nurl_file = \"token\"\n");
        let (exit, _, diagnostics) = run(&["show", &file], &[]);
        assert_eq!(exit, Exit::Finding, "a heartbeat needs a URL");
        assert!(diagnostics.contains("`url` is no URL") && !diagnostics.contains("0123456789abcdef"), "{diagnostics}");

        let file = write(
            "b.toml",
            "[feeds.braze]\ntoken_file = \"token\"\n[[feeds.ses]]\nname = \"eu\"\ntopics = [\"arn:aws:sns:eu-west-1:123456789012:t\"]\n",
        );
        let (exit, shown, _) = run(&["show", &file], &[]);
        assert_eq!(exit, Exit::Success);
        let again = write("c.toml", &shown);
        let load = |file: &str| Config::load(Some(Path::new(file)), []).expect("valid");
        let (mut first, mut second) = (load(&file), load(&again));
        assert_eq!(
            second.feeds.braze.0.first().and_then(|feed| feed.token.as_ref()).map(crate::config::Secret::expose),
            Some("0123456789abcdef")
        );
        first.provenance = crate::config::Provenance::default();
        second.provenance = crate::config::Provenance::default();
        assert_eq!(first, second);
    }

    #[test]
    fn the_commands_end_as_they_say() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("relaywatch.toml");
        std::fs::write(&file, "[listen]\npublik = 1\n").expect("write");
        let named = file.display().to_string();

        let (exit, out, _) = run(&["check", &named, "--format", "json"], &[]);
        let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((exit, &value["valid"]), (Exit::Finding, &json!(false)));
        assert_eq!(value["mistakes"][0]["line"], 2);
        assert_eq!(value["mistakes"][0]["path"], "listen.publik");

        let (exit, out, _) = run(&["check"], &[("RELAYWATCH_CONFIG", named.as_str())]);
        assert!(exit == Exit::Finding && out.contains("publik"), "{out}");
        let (exit, out, _) = run(&["check", "/nonexistent/relaywatch.toml"], &[]);
        assert!(exit == Exit::Finding && out.contains("can't be read"), "{out}");

        let command = Command::try_parse_from(["config", "check", &named]).expect("arguments");
        let (mut out, mut told) = (Vec::new(), Vec::new());
        let exit = command.config.run(Some(Path::new("other.toml")), [], &mut out, &mut told).expect("writes");
        let told = String::from_utf8(told).expect("UTF-8");
        assert_eq!((exit, out.len()), (Exit::Misuse, 0));
        assert!(told.contains("other.toml (--config)") && told.contains(&named), "{told}");

        std::fs::write(&file, "").expect("write");
        let (exit, out, _) = run(&["check", &named], &[]);
        assert!(exit == Exit::Success && out.contains("warning: no feed is connected"), "{out}");
        std::fs::write(&file, "[feeds.braze]\ntoken = \"0123456789abcdef\"\n").expect("write");
        let (exit, out, _) = run(&["check", &named], &[]);
        assert!(exit == Exit::Success && out.contains("warning: no notifier is configured"), "{out}");

        let (exit, out, _) = run(&["default"], &[]);
        assert_eq!((exit, out.as_str()), (Exit::Success, DEFAULT_FILE));
        let (exit, out, _) = run(&["schema"], &[]);
        let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(exit, Exit::Success);
        assert_eq!(schema["properties"]["listen"]["additionalProperties"], false);
    }
}
