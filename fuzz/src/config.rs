//! Any file and any variables: settings, or mistakes that can be shown and hold no secret.

use std::{collections::HashMap, path::Path};

use relaywatch::config::Config;

/// The token of a feed: it comes out nowhere, whatever stands beside it.
const SECRET: &str = "hunter2hunter2hunter2";

/// Checks one input.
///
/// The file, the name of a variable and its value stand behind each other, with a NUL between them.
pub fn check(data: &[u8]) {
    let [text, setting, value] = super::texts(data);
    let variables = HashMap::from([
        ("STATE_DIRECTORY".to_owned(), "/nonexistent/state".to_owned()),
        (format!("RELAYWATCH__{setting}"), value),
        ("RELAYWATCH__FEEDS__BRAZE__TOKEN".to_owned(), SECRET.to_owned()),
    ]);
    match Config::from_text(Some(Path::new("/nonexistent/relaywatch.toml")), text, variables) {
        Ok(config) => assert!(!format!("{config:?}").contains(SECRET)),
        Err(errors) => {
            assert!(!errors.mistakes.is_empty());
            assert!(errors.mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
            assert!(!errors.to_string().contains(SECRET));
        }
    }
}
