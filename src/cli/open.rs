//! What commands that use the store share: configuration, runtime, a store to read, a way to write.

use std::{future::Future, path::Path, sync::Arc};

use anyhow::Context;

use crate::{
    classify::Rules,
    clock::Clock,
    config::Config,
    control::Writer,
    daemon::store_options,
    privacy::{Keyring, PrivacyError},
    rule_files::{self, RuleFilesError},
    store::{Access, Store},
};

/// The configuration in force.
pub(super) fn config(file: Option<&Path>) -> anyhow::Result<Config> {
    Ok(Config::load(file, Config::process_environment())?)
}

/// The rules, with the operator's own where the configuration names any.
pub(super) fn rules(config: &Config) -> anyhow::Result<Rules> {
    Ok(rule_files::of(config)?)
}

/// The rules for a command that only shows what is stored: the built-in ones, with a warning, where the operator's own are
/// broken.
pub(super) fn rules_to_read(config: &Config, diagnostics: &mut impl std::io::Write) -> anyhow::Result<Rules> {
    let RuleFilesError(mistakes) = match rule_files::of(config) {
        Ok(rules) => return Ok(rules),
        Err(error) => error,
    };
    writeln!(
        diagnostics,
        "relaywatch: WARNING: the rules of [rules] folder can't be used, and only the built-in ones are asked here:"
    )?;
    for mistake in mistakes {
        writeln!(diagnostics, "  {mistake}")?;
    }
    writeln!(
        diagnostics,
        "Causes are shown as they are stored. Actions, evidence and advice are not yours until this is mended: a reply\n\
         that your rules judged can show none, and an address can be said to be dead though your rules say otherwise.\n\
         `relaywatch config check` tells when all is well again.\n"
    )?;
    Ok(Rules::built_in()?)
}

/// Runs a command that waits for I/O.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the asynchronous runtime can't be started")?.block_on(future)
}

/// The keys, which must be there.
pub(super) fn keyring(config: &Config) -> anyhow::Result<Keyring> {
    let path = config.key_file();
    match Keyring::load(&path) {
        Err(PrivacyError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            anyhow::bail!(
                "there is no key file {} yet: `relaywatch serve` makes it. If it runs elsewhere, give this command the \
                 same configuration and STATE_DIRECTORY",
                path.display()
            )
        }
        other => Ok(other?),
    }
}

/// The store to read, beside a daemon or without one.
pub(super) async fn reader(config: &Config) -> anyhow::Result<(Store, Arc<Keyring>)> {
    let keyring = Arc::new(keyring(config)?);
    if let Some(file) = config.store.url.sqlite_file().filter(|file| !file.exists()) {
        anyhow::bail!("there is no store {} yet: `relaywatch serve` makes it", file.display());
    }
    match Store::open(&store_options(config, Access::Read), Arc::clone(&keyring)).await {
        Err(error) if error.is_without_tables() => {
            anyhow::bail!(
                "the database of [store] url holds nothing of relaywatch yet: `relaywatch serve` makes its tables"
            )
        }
        opened => Ok((opened?, keyring)),
    }
}

/// The way to change something where there may be nothing yet; says so where it makes the store.
pub(super) async fn writer_or_new(
    config: &Config,
    create: bool,
    diagnostics: &mut impl std::io::Write,
) -> anyhow::Result<Writer> {
    if !create {
        return writer(config).await;
    }
    let (writer, missing) = Writer::open_or_new(config, Clock::System).await?;
    if let Some(missing) = missing {
        writeln!(diagnostics, "relaywatch: made a new store, since {missing} was not there")?;
    }
    Ok(writer)
}

/// The way to change something. The store must be there.
pub(super) async fn writer(config: &Config) -> anyhow::Result<Writer> {
    Ok(Writer::open(config, Clock::System).await?)
}
