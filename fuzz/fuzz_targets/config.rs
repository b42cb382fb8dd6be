//! Any file and any variables: settings, or mistakes that can be shown and hold no secret.

#![no_main]

use std::{collections::HashMap, path::Path};

use libfuzzer_sys::fuzz_target;
use relaywatch::config::Config;

/// The token of a feed: it comes out nowhere, whatever stands beside it.
const SECRET: &str = "hunter2hunter2hunter2";

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, setting, value) = input;
    let variables = HashMap::from([
        ("STATE_DIRECTORY".to_owned(), "/nonexistent/state".to_owned()),
        (format!("RELAYWATCH__{setting}"), value.to_owned()),
        ("RELAYWATCH__FEEDS__BRAZE__TOKEN".to_owned(), SECRET.to_owned()),
    ]);
    match Config::from_text(Some(Path::new("/nonexistent/relaywatch.toml")), text.to_owned(), variables) {
        Ok(config) => assert!(!format!("{config:?}").contains(SECRET)),
        Err(errors) => {
            assert!(!errors.mistakes.is_empty());
            assert!(errors.mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
            assert!(!errors.to_string().contains(SECRET));
        }
    }
});
