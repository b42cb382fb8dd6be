//! `relaywatch keys`: rotate the keys that seal addresses.

use std::{io::Write, path::Path};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Format, open, operator::Who, progress::Progress, text::count};
use crate::control::{ForgetOldKeys, Reseal, RotateKeys};

/// Show and rotate the keys that seal addresses.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch keys show                   which keys there are; never the keys themselves
  relaywatch keys rotate                 a new key, and everything is sealed again with it
  relaywatch keys rotate --forget-old    and the old keys are dropped at the end

Back the key file up after a rotation, apart from the database: a backup of the database needs
the keys of its day. Where several processes use one PostgreSQL, all must see the same key file.
The hash key, by which addresses are found, stays.")]
pub struct KeysCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the ids of the keys and the fingerprint by which a store knows its key file.
    #[command(after_help = "Example: relaywatch keys show --format json")]
    Show {
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Add a sealing key and seal everything again with it, while the daemon runs.
    #[command(after_help = "Example: relaywatch keys rotate --forget-old")]
    Rotate {
        /// Drop the old keys when everything is sealed again: older backups of the database can't be read without a backup
        /// of the key file then.
        #[arg(long)]
        forget_old: bool,
        #[command(flatten)]
        who: Who,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

impl KeysCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Where the key file or the store can't be had, or a writer fails.
    pub fn run(&self, file: Option<&Path>, out: &mut impl Write) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        match &self.action {
            Action::Show { format } => {
                let keyring = open::keyring(&config)?;
                let (path, current, ids) = (config.key_file(), keyring.current_key(), keyring.key_ids());
                let path = path.display();
                match format {
                    Format::Json => writeln!(
                        out,
                        "{:#}",
                        json!({
                            "file": path.to_string(), "fingerprint": keyring.fingerprint(), "current": current,
                            "sealing_keys": ids,
                        })
                    )?,
                    Format::Text => {
                        writeln!(out, "key file {path}, fingerprint {}", keyring.fingerprint())?;
                        for id in ids {
                            let role = if id == current { "seals now" } else { "opens what it has sealed" };
                            writeln!(out, "  sealing key {id}: {role}")?;
                        }
                    }
                }
            }
            Action::Rotate { forget_old, who, format } => open::block_on(async {
                let writer = open::writer(&config).await?;
                let current = writer.call(RotateKeys { operator: who.name() }).await?.current;
                let (mut values, mut progress) = (0, Progress::new());
                loop {
                    let step = writer.call(Reseal {}).await?.values;
                    values += step;
                    if step == 0 {
                        break;
                    }
                    progress.show(|| format!("{} sealed again", count(values, "value")));
                }
                progress.end();
                let dropped =
                    if *forget_old { writer.call(ForgetOldKeys { operator: who.name() }).await?.dropped } else { 0 };
                writer.close().await;
                match format {
                    Format::Json => {
                        writeln!(out, "{}", json!({ "current": current, "resealed": values, "dropped": dropped }))?;
                    }
                    Format::Text => {
                        writeln!(out, "key {current} seals now; {} sealed again", count(values, "value"))?;
                        if *forget_old {
                            writeln!(out, "{} dropped", count(dropped as u64, "old key"))?;
                        }
                        let path = config.key_file();
                        writeln!(out, "back up {} now, apart from the database", path.display())?;
                        if !config.store.url.is_sqlite() {
                            writeln!(
                                out,
                                "copy it to the hosts of the other processes as well: what key {current} seals does not open \
                                 without it; they take it up without a restart"
                            )?;
                        }
                    }
                }
                anyhow::Ok(())
            })?,
        }
        Ok(Exit::Success)
    }
}
