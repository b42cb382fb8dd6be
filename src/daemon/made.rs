//! What a start makes since it was not there: said, so that a wrong path is noticed.

use std::{fs, io, path::PathBuf, sync::Arc};

use super::store_options;
use crate::{
    config::Config,
    privacy::Keyring,
    store::{Access, Store, StoreError},
};

/// Logs that there is a new store; gives the same as a sentence.
pub(super) fn say_store(config: &Config) -> String {
    let place = match config.store.url.sqlite_file() {
        Some(file) => file.display().to_string(),
        None => config.store.url.to_string(),
    };
    let said = format!("made a new store at {place}: there was none, so that it begins without history");
    tracing::info!("{said}");
    said
}

/// Logs the directories that were not there; gives the same as sentences.
pub(super) fn say_directories(made: &[PathBuf]) -> Vec<String> {
    let say = |folder: &PathBuf| {
        tracing::info!("made the directory {}", folder.display());
        format!("made the directory {}", folder.display())
    };
    made.iter().map(say).collect()
}

/// Whether there is nothing of relaywatch yet where the store shall be; where that can't be told, opening it will say why.
pub(super) async fn has_no_store(config: &Config, keyring: &Arc<Keyring>) -> Result<bool, StoreError> {
    if let Some(file) = config.store.url.sqlite_file() {
        let found = fs::metadata(file);
        return Ok(found.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |found| found.len() == 0));
    }
    match Store::open(&store_options(config, Access::Read), Arc::clone(keyring)).await {
        Ok(store) => {
            store.close().await;
            Ok(false)
        }
        Err(error) if error.is_without_tables() => Ok(true),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(false),
    }
}
