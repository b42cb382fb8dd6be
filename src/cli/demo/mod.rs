//! `relaywatch demo`: the program's main job on a temporary store, in compressed time.
//!
//! Each case of [`crate::simulate`] gets a daemon of its own, started in this process as `serve` starts it, on a clock
//! that the driver steps. Everything comes in through the real feeds, signed and over HTTP; no check is relaxed.

mod driver;
mod outcome;
mod providers;
mod sink;
mod stage;

use std::{
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use rand::{SeedableRng, rngs::StdRng};

use super::Exit;
use crate::{
    lifecycle::Signals,
    simulate::{Case, Size, plan},
    telemetry::{self, LogFormat},
};

pub use driver::run_case;
pub use outcome::{CaseReport, Incident, Page, Verdict, table};

/// See relaywatch find three kinds of trouble, and pass over two decoys, in a simulation.
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing leaves this machine: daemon, providers and the Slack that gets the pages are all in this
process, on loopback. Weeks of ordinary mail come first, so that relaywatch knows what is
ordinary; then something happens.

Examples:
  relaywatch demo                                 all cases
  relaywatch demo --case revocations --seed 7     one case, with other mail
  relaywatch demo --keep demo-state               keep what it leaves, and say how to look at it

Exit code: 1 where a trouble was missed, its cause named wrongly, a decoy paged, or an event lost
or counted twice; else 0."
)]
pub struct DemoCommand {
    /// Keep the data of each case in a folder of this directory, and tell how to look at it.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The seed of the simulation: the same seed makes the same mail.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// One case only; may be given more than once.
    #[arg(long = "case", value_name = "NAME", value_parser = case())]
    cases: Vec<Case>,
    /// Relay addresses of a sender; fewer make it quicker.
    #[arg(long, value_name = "NUMBER", default_value_t = Size::default().users)]
    addresses: usize,
}

fn case() -> impl TypedValueParser<Value = Case> {
    PossibleValuesParser::new(Case::ALL.iter().map(|case| case.as_str()))
        .try_map(|name| Case::from_name(&name).ok_or("no such case"))
}

impl DemoCommand {
    /// Runs the cases one after the other.
    ///
    /// # Errors
    /// Where the simulation itself can't run.
    pub fn run(&self, log: Option<&str>, out: &mut dyn Write) -> anyhow::Result<Exit> {
        telemetry::init(log.unwrap_or("error"), LogFormat::Auto)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the asynchronous runtime can't be started")?;
        let folder = Folder::new(self.keep.as_deref())?;
        let began = Instant::now();
        let cases = if self.cases.is_empty() { Case::ALL } else { &self.cases };
        let size = Size { users: self.addresses, ..Size::default() };
        let mut reports = Vec::new();
        for case in cases {
            let plan = plan(*case, &size, &mut StdRng::seed_from_u64(self.seed));
            let report = runtime.block_on(async {
                let signals = Signals::of_process().context("signal handlers can't be set up")?;
                run_case(&plan, &folder.path().join(case.as_str()), signals, out).await
            })?;
            reports.push(report);
        }
        let good = reports.iter().all(|report| report.verdict.is_good());
        writeln!(out, "\n{}\n{}", table(&reports), outcome::LEGEND)?;
        let cases_run = super::text::count(reports.len() as u64, "case");
        let seconds = began.elapsed().as_secs_f64();
        let result = if good { "all as they should be" } else { "NOT ALL AS THEY SHOULD BE" };
        writeln!(out, "{cases_run} in {seconds:.0} s, {result}.")?;
        self.tell_how_to_look(cases, folder.path(), out)?;
        Ok(if good { Exit::Success } else { Exit::Finding })
    }
}

impl DemoCommand {
    /// How to look at what was kept, or how to keep it.
    fn tell_how_to_look(&self, cases: &[Case], folder: &Path, out: &mut dyn Write) -> io::Result<()> {
        let Some(first) = cases.first() else { return Ok(()) };
        if self.keep.is_none() {
            return writeln!(out, "To look at what a case has left: relaywatch demo --keep demo-state");
        }
        let config = |case: &Case| folder.join(case.as_str()).join(stage::CONFIG_FILE);
        writeln!(out, "\nThe state is kept. To look at a case:")?;
        for case in cases {
            writeln!(out, "  relaywatch --config {} incident list", config(case).display())?;
        }
        let config = config(first);
        writeln!(out, "and further, as with any installation:")?;
        for rest in ["incident show 1", "incident report 1", "events list --kind refused"] {
            writeln!(out, "  relaywatch --config {} {rest}", config.display())?;
        }
        Ok(())
    }
}

/// Where the cases keep their data: a directory that the user has named, or one that goes away.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let path = match keep {
            Some(path) => std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?,
            None => std::env::temp_dir().join(format!("relaywatch-demo-{:016x}", rand::random::<u64>())),
        };
        if keep.is_some() && path.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            anyhow::bail!("{} is not empty; name a new directory", path.display());
        }
        std::fs::DirBuilder::new()
            .recursive(keep.is_some())
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{} can't be made", path.display()))?;
        Ok(Self { path, keep: keep.is_some() })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.path.display(), error = &error as &dyn std::error::Error, "can't be removed");
        }
    }
}
