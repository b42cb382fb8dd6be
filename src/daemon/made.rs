//! What a start makes since it was not there: said, so that a wrong path is noticed.

use std::{fs, io, path::PathBuf, sync::Arc};

use super::{StartError, store_options};
use crate::{
    config::Config,
    privacy::Keyring,
    store::{Access, Store, StoreError},
};

/// The keys, made where there are none, and the store. The key file is there before the store is made with it, so that no
/// crash leaves a store whose keys are gone.
pub(super) async fn open(config: &Config, said: &mut Vec<String>) -> Result<(Arc<Keyring>, Store), StartError> {
    let path = config.key_file();
    if !path.try_exists().unwrap_or(true) {
        refuse_without_keys(config).await?;
    }
    let (keyring, made) = Keyring::load_or_create(&path)?;
    let keyring = Arc::new(keyring);
    let new = has_no_store(config, &keyring).await?;
    let store = match Store::open(&store_options(config, Access::Write), Arc::clone(&keyring)).await {
        // Another process has made the store in the meantime.
        Err(StoreError::WrongKey { .. }) if made => return Err(forget_made_keys(config)),
        opened => opened,
    };
    if made {
        tracing::warn!(
            file = %path.display(),
            "made a new key file; back it up apart from the database: without it no stored address can be read"
        );
        said.push(format!(
            "made a new key file {}; back it up apart from the database: without it no stored address can be read",
            path.display()
        ));
    }
    let store = store?;
    if new {
        said.push(say_store(config));
    }
    Ok((keyring, store))
}

/// Whether the store is there and was made with keys, and the key file is not.
pub async fn keys_are_lost(config: &Config) -> bool {
    let is_there = config.key_file().try_exists().unwrap_or(true);
    !is_there && matches!(refuse_without_keys(config).await, Err(StartError::NoKeys { .. }))
}

/// Refuses, before any key is made, a store that has its keys already, and one that can't be reached.
async fn refuse_without_keys(config: &Config) -> Result<(), StartError> {
    if config.store.url.sqlite_file().is_some_and(|file| !file.exists()) {
        return Ok(());
    }
    let stranger = Arc::new(Keyring::generate()?);
    match Store::open(&store_options(config, Access::Read), stranger).await {
        Ok(store) => {
            store.close().await;
            Ok(())
        }
        Err(StoreError::WrongKey { .. }) => Err(StartError::NoKeys { path: config.key_file() }),
        Err(error) if error.is_without_tables() => Ok(()),
        // A SQLite file that is empty has no tables either; whatever is wrong with it shows when it's opened for writing.
        Err(_) if config.store.url.is_sqlite() => Ok(()),
        Err(error) if error.is_transient() => Err(error.into()),
        Err(_) => Ok(()),
    }
}

/// Takes away the key file that was made a moment ago for a store that has other keys: nothing is sealed with it, and it
/// would only be taken for the right one.
fn forget_made_keys(config: &Config) -> StartError {
    let path = config.key_file();
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(%error, file = %path.display(), "the new key file, which is of no use, can't be removed");
    }
    StartError::NoKeys { path }
}

/// Logs that there is a new store; gives the same as a sentence.
fn say_store(config: &Config) -> String {
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
async fn has_no_store(config: &Config, keyring: &Arc<Keyring>) -> Result<bool, StoreError> {
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
