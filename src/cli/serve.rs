//! `relaywatch serve`: the daemon.

use std::{io::IsTerminal, net::SocketAddr, path::Path};

use anyhow::Context;
use clap::Args;

use super::Exit;
use crate::{
    clock::Clock,
    config::Config,
    daemon::{self, Daemon},
    lifecycle::{Lifecycle, Signals, Supervisor},
    telemetry,
};

/// What to connect next.
const NO_FEED: &str = "no feed is connected yet: `relaywatch config default` shows how, `kill -HUP` takes it up";

/// Run the daemon.
#[derive(Debug, Args)]
#[command(after_help = "Without any configuration it keeps its data in the state directory ($STATE_DIRECTORY, else
/var/lib/relaywatch, else ~/.local/state/relaywatch) and listens on loopback only.

Signals: SIGTERM or SIGINT drains (a second one ends at once), SIGHUP reloads configuration
and rules, and says what needs a restart.

Examples:
  relaywatch serve
  relaywatch --config /etc/relaywatch/relaywatch.toml serve

Exit code: 0 after it was told to stop; 1 where it can't start, or something in it has died.")]
pub struct ServeCommand {}

impl ServeCommand {
    /// Runs until it's told to stop.
    ///
    /// # Errors
    /// Where it can't start, or a task has died.
    pub fn run(&self, file: Option<&Path>, log: Option<&str>) -> anyhow::Result<Exit> {
        let config = Config::load(file, Config::process_environment())?;
        let filter = telemetry::init(log.unwrap_or(&config.log.level), config.log.format)?;
        daemon::log_warnings(&config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the asynchronous runtime can't be started")?;
        runtime.block_on(async {
            let signals = Signals::of_process().context("signal handlers can't be set up")?;
            let mut lifecycle = Lifecycle::new(signals, Supervisor::from_environment(), config.lifecycle.drain());
            // A filter from the command line or the environment stays in force over reloads.
            let reloadable = log.is_none().then_some(filter);
            let daemon = daemon::start(config, Clock::System, &mut lifecycle, reloadable).await?;
            let status = announce(&daemon);
            if std::io::stderr().is_terminal() {
                eprintln!("{status}");
            } else if daemon.feeds.is_empty() {
                tracing::warn!("{NO_FEED}");
            }
            tracing::info!(
                public = %daemon.public, private = %daemon.private, store = daemon.store.engine(), feeds = ?daemon.feeds, "relaywatch is ready"
            );
            let store = daemon.store.clone();
            drop(daemon);
            let ending = lifecycle.run(&format!("{} feeds", status.lines().count().saturating_sub(2))).await;
            store.close().await;
            ending?;
            tracing::info!("relaywatch has stopped");
            Ok(Exit::Success)
        })
    }
}

/// What a person sees on a terminal: the addresses, and what to connect next.
fn announce(daemon: &Daemon) -> String {
    let mut out = format!(
        "relaywatch {} takes reports on http://{} and shows itself on http://{}\n",
        env!("CARGO_PKG_VERSION"),
        daemon.public,
        daemon.private
    );
    out.push_str(&feeds(&daemon.feeds, daemon.public));
    out
}

fn feeds(paths: &[String], public: SocketAddr) -> String {
    if paths.is_empty() {
        return NO_FEED.to_owned();
    }
    let lines: Vec<String> = paths.iter().map(|path| format!("  POST http://{public}/in/{path}")).collect();
    format!("feeds:\n{}", lines.join("\n"))
}
