//! `relaywatch import` of one large file of SES events, as a process of its own: time, events a second, resident memory.
//!
//! `scripts/bench import` runs it on both engines; `docs/benchmarks.md` says what each figure means.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on has failed")]

#[path = "../tests/it/support/payload.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod payload;

use std::{
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use relaywatch::{clock::Clock, model::DAY_MILLIS};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Where the outcomes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// A file, `synchronous = FULL`.
    Sqlite,
    /// The server at `RELAYWATCH_TEST_POSTGRES`, which `scripts/bench` starts with `fsync = on`.
    Postgres,
}

/// Measures an import.
#[derive(Debug, Parser)]
struct Options {
    /// Lines of the file, one event each.
    #[arg(long, default_value_t = 1_000_000)]
    lines: u64,
    /// Engines; all by default.
    #[arg(long, value_enum)]
    engine: Vec<Engine>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The time that the events are spread over.
const SPREAD_MILLIS: i64 = 10 * DAY_MILLIS;
/// Mails that one address gets in the file.
const MAILS_EACH: u64 = 20;

fn main() {
    let options = Options::parse();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.jsonl");
    let bytes = write(&file, options.lines);
    let what = if cfg!(debug_assertions) { "debug build: the figures mean nothing" } else { "release build" };
    println!("{} lines of {} bytes, 2 % refused; {what}", options.lines, bytes / options.lines.max(1));
    println!(
        "{:<10} {:<8} {:>8} {:>10} {:>14} {:>15} {:>12} {:>13}",
        "engine", "run", "seconds", "events/s", "RSS MiB, 1/10", "RSS MiB, middle", "RSS MiB, end", "RSS MiB, most"
    );
    let engines = if options.engine.is_empty() { Engine::value_variants() } else { &options.engine };
    for engine in engines {
        let Some(url) = url(*engine, folder.path()) else {
            println!("{engine:?}: skipped, RELAYWATCH_TEST_POSTGRES is not set; use scripts/bench");
            continue;
        };
        let config = folder.path().join(format!("{engine:?}.toml"));
        std::fs::write(&config, format!("[store]\nurl = \"{url}\"\n")).expect("written");
        let state = folder.path().join(format!("{engine:?}"));
        std::fs::create_dir(&state).expect("a folder");
        for (run, arguments, new) in [("new", vec!["--create"], options.lines), ("again", vec!["--restart"], 0)] {
            let begun = Instant::now();
            let (summary, Memory { early, middle, end, most }) = import(&config, &state, &file, &arguments);
            let seconds = begun.elapsed().as_secs_f64();
            assert_eq!(summary["new"].as_u64(), Some(new), "{summary}");
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            let rate = options.lines as f64 / seconds;
            let engine = format!("{engine:?}").to_lowercase();
            println!(
                "{engine:<10} {run:<8} {seconds:>8.1} {rate:>10.0} {early:>14.1} {middle:>15.1} {end:>12.1} {most:>13.1}"
            );
        }
    }
}

/// Writes the file; gives its length.
fn write(file: &Path, lines: u64) -> u64 {
    let now = Clock::System.now().as_millis();
    let step = SPREAD_MILLIS / i64::try_from(lines.max(1)).expect("a count");
    let mut out = BufWriter::new(std::fs::File::create(file).expect("a file"));
    for number in 0..lines {
        let at = now - SPREAD_MILLIS + i64::try_from(number).expect("a count") * step;
        // A large odd step visits the addresses in an order that looks random.
        let people = (lines / MAILS_EACH).max(1);
        let to = payload::relay_address(number.wrapping_mul(2_654_435_761) % people);
        writeln!(out, "{}", payload::ses_to(number, &to, at, number % 50 == 0)).expect("written");
    }
    out.flush().expect("written");
    std::fs::metadata(file).expect("there").len()
}

fn url(engine: Engine, folder: &Path) -> Option<String> {
    if engine == Engine::Sqlite {
        return Some(format!("sqlite://{}/bench.db", folder.display()));
    }
    let server = std::env::var("RELAYWATCH_TEST_POSTGRES").ok()?;
    let name = format!("bench_{:016x}", rand::random::<u64>());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut admin = PgConnection::connect(&server).await.expect("PostgreSQL");
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.expect("a database");
    });
    let mut url = url::Url::parse(&server).expect("a URL");
    url.set_path(&name);
    Some(url.to_string())
}

/// Resident memory, in MiB: after a tenth of the time, half-way, just before the end, and the most that there was. It is flat where
/// these are alike.
struct Memory {
    early: f64,
    middle: f64,
    end: f64,
    most: f64,
}

/// Runs the command; gives its summary and its resident memory.
fn import(config: &Path, state: &Path, file: &Path, arguments: &[&str]) -> (Value, Memory) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_relaywatch"))
        .arg("--config")
        .arg(config)
        .arg("import")
        .arg(file)
        .args(["--format", "json"])
        .args(arguments)
        .env("STATE_DIRECTORY", state)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let status = format!("/proc/{}/status", child.id());
    let (_sender, pause) = mpsc::channel::<()>();
    let mut samples = Vec::new();
    while child.try_wait().expect("a child").is_none() {
        samples.extend(mib(&status, "VmRSS:"));
        // Nobody sends: it waits.
        let _timed_out = pause.recv_timeout(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("its output");
    let summary = serde_json::from_slice(&output.stdout).expect("a summary");
    let at = |place: usize| samples.get(place).copied().unwrap_or_default();
    let memory = Memory {
        early: at(samples.len() / 10),
        middle: at(samples.len() / 2),
        // The very last ones are of a process that lets go of everything.
        end: at(samples.len() * 98 / 100),
        most: samples.iter().copied().fold(0.0, f64::max),
    };
    (summary, memory)
}

fn mib(status: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
