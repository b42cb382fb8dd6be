//! The relaywatch command.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use relaywatch::{
    cli::{
        Exit, Format, accounts::AccountsCommand, address::AddressCommand, canary::CanaryCommand, check::CheckCommand,
        classify, config::ConfigCommand, demo::DemoCommand, diagnose, doctor::DoctorCommand, events::EventsCommand,
        import::ImportCommand, incident::IncidentCommand, keys::KeysCommand, rebuild::RebuildCommand,
        reports::ReportsCommand, score, serve::ServeCommand, sources::SourcesCommand,
    },
    config::Config,
    rule_files,
};

/// Watches whether email to Apple private relay addresses arrives and, when it stops arriving, says why.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "First steps:
  relaywatch demo                                see what it does, in a simulation
  relaywatch serve                               start with no configuration at all
  relaywatch config default > relaywatch.toml    then connect your providers and Apple's notices
  relaywatch config check relaywatch.toml        every mistake with its line
  relaywatch doctor                              what works, and what to set at each provider
  relaywatch check example.com                   is this domain fit for Apple's relay
  relaywatch --config relaywatch.toml serve

Exit codes: 0 done; 1 it failed, or what it looked at is wrong (stderr says why); 2 the command
line was not understood. A closed pipe, as with `| head`, is no failure."
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
    /// Audit the sources: does Apple's relay take mail from them, and what to change where not.
    Check(CheckCommand),
    /// Canaries: how each path stands, and send one now.
    Canary(CanaryCommand),
    /// Tell which sources and streams are fit for Apple's relay, since when, and what changed.
    Sources(SourcesCommand),
    /// Say what SMTP replies mean: cause, fault, what to do.
    Classify(classify::Args),
    /// Say what one mail reports, or who would refuse it and why: a bounce, a message, a header, a reply.
    Diagnose(diagnose::Args),
    /// List or follow what was taken in, as relaywatch understood it.
    Events(EventsCommand),
    /// Take in files of events: exports of providers, what webhooks were written to.
    Import(ImportCommand),
    /// Show the story of one address, or forget it.
    Address(AddressCommand),
    /// Import the map from Sign in with Apple accounts to their addresses.
    Accounts(AccountsCommand),
    /// Show and rotate the keys that seal addresses.
    Keys(KeysCommand),
    /// Take in DMARC aggregate reports, and show what receivers saw of your mail.
    Reports(ReportsCommand),
    /// Make ledger and cells again from the journal; classify stored replies anew.
    Rebuild(RebuildCommand),
    /// See relaywatch find trouble, and pass over decoys, in a simulation.
    Demo(DemoCommand),
    /// Print, check and explain the configuration.
    Config(ConfigCommand),
    /// Tell what works, what does not, and what to set at each provider.
    Doctor(DoctorCommand),
    /// List, show and report incidents; label them; get the list to win back.
    Incident(IncidentCommand),
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        // There is nobody left to tell where stderr is closed.
        drop(io::stderr().write_all(of_a_panic(panic).as_bytes()));
    }));
    let cli = Cli::parse();
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let file = cli.config.as_deref();
    let (mut out, mut diagnostics) = (BufWriter::new(io::stdout().lock()), io::stderr());
    let exit = match &cli.command {
        Command::Serve(command) => {
            drop(out);
            return command.run(file, cli.log.as_deref());
        }
        Command::Check(command) => command.run(file, Config::process_environment(), &mut out, &mut diagnostics)?,
        Command::Canary(command) => command.run(file, &mut out, &mut diagnostics)?,
        Command::Sources(command) => command.run(file, &mut out)?,
        Command::Classify(args) => run_classify(args, file, &mut out, &mut diagnostics)?,
        Command::Diagnose(args) => run_diagnose(args, file, &mut out, &mut diagnostics)?,
        Command::Events(command) => command.run(file, &mut out, &mut diagnostics)?,
        Command::Import(command) => command.run(file, &mut out, &mut diagnostics)?,
        Command::Address(command) => command.run(file, &mut io::stdin().lock(), &mut out, &mut diagnostics)?,
        Command::Accounts(command) => command.run(file, &mut io::stdin().lock(), &mut out, &mut diagnostics)?,
        Command::Keys(command) => command.run(file, &mut out)?,
        Command::Rebuild(command) => command.run(file, &mut io::stdin().lock(), &mut out, &mut diagnostics)?,
        Command::Reports(command) => command.run(file, &mut out, &mut diagnostics)?,
        Command::Demo(command) => command.run(cli.log.as_deref(), &mut out)?,
        Command::Config(command) => command.run(file, Config::process_environment(), &mut out, &mut diagnostics)?,
        Command::Doctor(command) => command.run(file, Config::process_environment(), &mut out)?,
        Command::Incident(command) => command.run(file, Config::process_environment(), &mut out, &mut diagnostics)?,
    };
    out.flush()?;
    Ok(exit)
}

fn run_classify(
    args: &classify::Args,
    file: Option<&Path>,
    out: &mut impl Write,
    diagnostics: &mut impl Write,
) -> anyhow::Result<Exit> {
    let config = Config::load(file, Config::process_environment())?;
    let relay = config.relay.to_domains();
    let folder = args.rules.as_deref().or(config.rules.folder.as_ref().map(AsRef::as_ref));
    if let Some(said) = rule_files::passed_over(folder) {
        writeln!(diagnostics, "relaywatch: {said}")?;
    }
    let rules = match rule_files::load(folder) {
        Ok(rules) => rules,
        Err(errors) => {
            if args.lint && args.format == Format::Json {
                classify::lint_unread(&errors, out)?;
                out.flush()?;
            }
            return Err(errors.into());
        }
    };
    if let Some(said) = rule_files::empty(folder, &rules) {
        writeln!(diagnostics, "relaywatch: {said}")?;
    }
    if args.lint {
        return Ok(classify::lint(&rules, args.format, out)?);
    }
    let named = args.file.as_deref().filter(|name| *name != Path::new("-"));
    if args.score {
        let path = named.context("--score reads a file or a folder, not standard input: name it")?;
        return score::run(path, &rules, &relay, args, out);
    }
    let options = classify::Options { rules: &rules, relay: &relay };
    let done = match named {
        Some(name) => {
            if name.is_dir() {
                bail!(
                    "{} is a folder: name a file with one reply on each line, or add --score for a folder of labelled mails",
                    name.display()
                );
            }
            if let Some(said) = as_text(name) {
                bail!(said);
            }
            let input = File::open(name).with_context(|| format!("cannot read {}", name.display()))?;
            classify::run(input, out, diagnostics, args, &options)
        }
        None => classify::run(io::stdin().lock(), out, diagnostics, args, &options),
    };
    match done {
        Ok(_) => Ok(Exit::Success),
        Err(classify::ClassifyError::Io(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}

fn run_diagnose(
    args: &diagnose::Args,
    file: Option<&Path>,
    out: &mut impl Write,
    diagnostics: &mut impl Write,
) -> anyhow::Result<Exit> {
    let config = Config::load(file, Config::process_environment())?;
    let relay = config.relay.to_domains();
    let folder = args.rules.as_deref().or(config.rules.folder.as_ref().map(AsRef::as_ref));
    if let Some(said) = rule_files::passed_over(folder) {
        writeln!(diagnostics, "relaywatch: {said}")?;
    }
    let rules = rule_files::load(folder)?;
    diagnose::run_all(args, &config, &rules, &relay, out, diagnostics)
}

/// What is said where the name of no file looks like a reply.
fn as_text(name: &Path) -> Option<String> {
    let text = name.to_string_lossy();
    let reply = text.contains(char::is_whitespace) || text.starts_with(|c: char| c.is_ascii_digit());
    (reply && !name.exists()).then(|| {
        let quoted = text.replace('\'', "'\\''");
        format!(
            "there is no file of this name; to judge a reply, give it on standard input: echo '{quoted}' | relaywatch classify"
        )
    })
}

/// What is said of a panic: where it was. Its text may hold what was read, an address among it.
fn of_a_panic(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(|| "a place that is not known".to_owned(), ToString::to_string);
    format!("relaywatch: it broke down at {place}; please report this\n")
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    fn check(command: &clap::Command, path: &str) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        // At 100 columns clap breaks lines, and a broken example can't be copied.
        for line in help.lines() {
            assert!(line.chars().count() <= 98, "{path}: {line}");
        }
        let mut subcommands = command.get_subcommands().filter(|command| command.get_name() != "help").peekable();
        if subcommands.peek().is_none() {
            assert!(help.contains("Example"), "{path} --help has no example");
            let name = path.strip_prefix("relaywatch ").unwrap_or_default();
            assert!(help.contains(&format!(" {name}")), "{path}: the example is of another command: {help}");
        }
        for subcommand in subcommands {
            check(subcommand, &format!("{path} {}", subcommand.get_name()));
        }
    }

    /// The parser's panics are caught, yet the hook would have printed their text before.
    #[test]
    fn a_panic_tells_its_place_and_nothing_of_what_was_read() {
        let (sent, told) = std::sync::mpsc::channel();
        let sent = std::sync::Mutex::new(sent);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            sent.lock().expect("a channel").send(super::of_a_panic(panic)).expect("sent");
        }));
        let ended = std::panic::catch_unwind(|| panic!("byte 7 is in <{}>", "jo@example.net"));
        std::panic::set_hook(before);
        let told = told.recv().expect("told");
        assert!(ended.is_err() && told.contains("src/main.rs:") && !told.contains("jo@"), "{told}");
    }

    #[test]
    fn every_command_teaches_by_an_example_that_can_be_copied() {
        let mut cli = Cli::command();
        cli.build();
        check(&cli, "relaywatch");
    }
}
