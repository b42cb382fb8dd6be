//! `relaywatch serve`: the daemon.

use std::{io::IsTerminal, net::SocketAddr, path::Path};

use anyhow::Context;
use clap::Args;

use super::{Exit, text::count};
use crate::{
    clock::Clock,
    config::{Config, SYSTEM_FILE},
    daemon::{self, Daemon, Role},
    lifecycle::{Lifecycle, Signals, Supervisor},
    telemetry,
};

/// Run the daemon.
#[derive(Debug, Args)]
#[command(after_help = "Without any configuration it keeps its data in the state directory ($STATE_DIRECTORY, else
/var/lib/relaywatch, else ~/.local/state/relaywatch) and listens on loopback only.

With PostgreSQL it can run in several processes on one database: `--role ingest` in any number,
`--role monitor` in two or more, of which one leads and the others stand by. Each needs the same
configuration and the same key file, and a state directory of its own ($STATE_DIRECTORY).

Signals: SIGTERM or SIGINT drains (a second one ends at once), SIGHUP reloads the configuration
and says what needs a restart.

Examples:
  relaywatch serve
  relaywatch --config /etc/relaywatch/relaywatch.toml serve
  relaywatch --config /etc/relaywatch/relaywatch.toml serve --role monitor

Exit code: 0 after it was told to stop; 1 where it can't start, or something in it has died.")]
pub struct ServeCommand {
    /// What this process does; anything but `all` needs PostgreSQL.
    #[arg(long, value_enum, default_value_t, env = "RELAYWATCH_ROLE")]
    role: Role,
}

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
            let hint = no_feed(config.provenance.file.as_deref());
            let daemon = daemon::start(config, self.role, Clock::System, &mut lifecycle, reloadable).await?;
            let status = announce(&daemon, &hint);
            if std::io::stderr().is_terminal() {
                eprintln!("{status}");
            } else if daemon.feeds.is_empty() && daemon.role.ingests() {
                tracing::warn!("{hint}");
            }
            tracing::info!(
                role = %daemon.role, public = daemon.public.map(tracing::field::display), private = %daemon.private, store = daemon.store.engine(), feeds = ?daemon.feeds, "relaywatch is ready"
            );
            let store = daemon.store.clone();
            let (role, feeds) = (daemon.role, daemon.feeds.len());
            drop(daemon);
            let ending = lifecycle.run(&format!("{role}, {}", count(feeds as u64, "feed"))).await;
            store.close().await;
            ending?;
            tracing::info!("relaywatch has stopped");
            Ok(Exit::Success)
        })
    }
}

/// What to connect next, and how it's taken up: SIGHUP reads the file of the start again, or the system's where there was none.
fn no_feed(file: Option<&Path>) -> String {
    let shows = "no feed is connected yet: `relaywatch config default` shows how";
    match file {
        Some(file) => format!("{shows}; put one into {} and send SIGHUP", file.display()),
        None => format!(
            "{shows}. No configuration file was read: write relaywatch.toml and restart with `relaywatch --config \
             relaywatch.toml serve` (SIGHUP would read {SYSTEM_FILE} alone)"
        ),
    }
}

/// What a person sees on a terminal: the addresses, what was made new, and what to connect next.
fn announce(daemon: &Daemon, hint: &str) -> String {
    let (version, role, private) = (env!("CARGO_PKG_VERSION"), daemon.role, daemon.private);
    let made = daemon.made.iter().cloned();
    let (first, last) = match daemon.public {
        Some(public) => (format!("takes reports on http://{public} and "), Some(feeds(daemon, public, hint))),
        None => (String::new(), None),
    };
    let first = format!("relaywatch {version} ({role}) {first}shows itself on http://{private}");
    std::iter::once(first).chain(made).chain(last).collect::<Vec<_>>().join("\n")
}

fn feeds(daemon: &Daemon, public: SocketAddr, hint: &str) -> String {
    if daemon.feeds.is_empty() {
        return hint.to_owned();
    }
    let line = |name: &String| match daemon.working.iter().find(|(working, _)| working == name) {
        Some((_, place)) => format!("  {name} at {place}"),
        None => format!("  POST http://{public}/in/{name}"),
    };
    format!("feeds:\n{}", daemon.feeds.iter().map(line).collect::<Vec<_>>().join("\n"))
}
