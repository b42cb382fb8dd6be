//! The configuration, from text and environment to what is in force.

mod canaries;
mod default_file;
mod environment;
mod mistakes;
mod reload;

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
