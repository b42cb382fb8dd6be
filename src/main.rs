//! The relaywatch command.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use relaywatch::{
    cli::{Exit, config::ConfigCommand, incident::IncidentCommand, serve::ServeCommand},
    config::Config,
};

/// Watches whether email to Apple private relay addresses arrives and, when it stops arriving, says why.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "First steps:
  relaywatch serve                               start with no configuration at all
  relaywatch config default > relaywatch.toml    then connect your providers and Apple's notices"
)]
struct Cli {
    /// The configuration file; else $RELAYWATCH_CONFIG, else /etc/relaywatch/relaywatch.toml if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// What is logged: error, warn, info, debug, trace, or pairs such as info,relaywatch::ingest=debug.
    #[arg(long, global = true, value_name = "FILTER", env = "RELAYWATCH_LOG")]
    log: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve(ServeCommand),
    /// Print, check and explain the configuration.
    Config(ConfigCommand),
    /// List, show and report incidents; label them; get the list to win back.
    Incident(IncidentCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let file = cli.config.as_deref();
    let (mut out, mut diagnostics) = (io::stdout().lock(), io::stderr());
    let exit = match &cli.command {
        Command::Serve(command) => {
            drop(out);
            return command.run(file, cli.log.as_deref());
        }
        Command::Config(command) => command.run(file, Config::process_environment(), &mut out, &mut diagnostics)?,
        Command::Incident(command) => command.run(file, Config::process_environment(), &mut out, &mut diagnostics)?,
    };
    out.flush()?;
    Ok(exit)
}

/// A reader that has seen enough, as in `relaywatch config schema | head`, is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let text = format!("relaywatch: {error:#}\n");
    // There is nobody left to tell where stderr is closed.
    drop(io::stderr().write_all(text.as_bytes()));
    ExitCode::FAILURE
}
