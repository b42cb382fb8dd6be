//! Durable ingest through the real feeds, beside the same server that only reads the body and answers.
//!
//! `scripts/bench ingest` runs it on both engines; `docs/benchmarks.md` says what each figure means.
//!
//! `relaywatch serve` runs as a process of its own with everything on, so that processor time and memory are its own; the
//! load comes from this process, over HTTP/1.1 connections that are kept alive.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on has failed")]

mod load;
#[path = "../../tests/it/support/payload.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod payload;
mod server;
mod shapes;

use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use load::Measured;
use server::{Home, Process};
use shapes::{Mix, Shape};

/// Where the outcomes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// A file, `synchronous = FULL`.
    Sqlite,
    /// The server at `RELAYWATCH_TEST_POSTGRES`, which `scripts/bench` starts with `fsync = on`.
    Postgres,
}

/// What one request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One SNS notification with one SES event, signed.
    Ses,
    /// 200 SparkPost events.
    Sparkpost,
}

/// Measures ingest.
#[derive(Debug, Parser)]
struct Options {
    /// Engines; all by default.
    #[arg(long, value_enum)]
    engine: Vec<Engine>,
    /// Shapes of requests; all by default.
    #[arg(long, value_enum)]
    shape: Vec<Kind>,
    /// To whom the events are; both by default.
    #[arg(long, value_enum)]
    mix: Vec<Mix>,
    /// Seconds of load for each figure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// SES posts that are signed beforehand; the load ends when they have all been sent.
    #[arg(long, default_value_t = 80_000)]
    posts: u64,
    /// Only load, no measurement of the bytes stored.
    #[arg(long)]
    no_bytes: bool,
    /// Plays the server that only reads the body and answers; for this program's own use.
    #[arg(long, hide = true)]
    bare: bool,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if options.bare {
        runtime.block_on(server::serve_bare());
        return;
    }
    let engines = if options.engine.is_empty() { Engine::value_variants() } else { &options.engine };
    let kinds = if options.shape.is_empty() { Kind::value_variants() } else { &options.shape };
    println!("{}", machine());
    let mixes = if options.mix.is_empty() { Mix::value_variants() } else { &options.mix };
    for kind in kinds {
        runtime.block_on(ingest(&options, *kind, engines, mixes));
    }
    if !options.no_bytes {
        for engine in engines {
            runtime.block_on(bytes_stored(*engine));
        }
    }
}

/// What a figure depends on.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let before = load.split(' ').next().unwrap_or_default().to_owned();
    format!(
        "{cores} cores{model}, load before {before}; relaywatch {}, {}",
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) { "debug build: the figures mean nothing" } else { "release build" }
    )
}

/// One shape: bare, then each engine with each mix, in one run.
async fn ingest(options: &Options, kind: Kind, engines: &[Engine], mixes: &[Mix]) {
    let limit = Duration::from_secs(options.seconds);
    // Batches are large: fewer connections carry as many events at a time.
    let (connections, per_request) = match kind {
        Kind::Ses => (options.connections, 1),
        Kind::Sparkpost => (options.connections.div_ceil(4), shapes::BATCH),
    };
    let home = Home::new(None).await.expect("a folder");
    let mut reference = None;
    for mix in mixes {
        let mut shape = Shape::new(kind, *mix, options.posts, &home);
        if reference.is_none() {
            println!(
                "\n{kind:?}: {per_request} event(s) and {} bytes a request, {connections} connections, 2 % refused, all on \
                 the relay",
                shape.request_bytes()
            );
            println!(
                "{:<15} {:>10} {:>7} {:>9} {:>9} {:>12} {:>9} {:>11} {:>9}",
                "server", "events/s", "ratio", "p50 ms", "p99 ms", "CPU s/M ev.", "RSS MiB", "lag events", "nil in s"
            );
            shape.rewind(true);
            let bare = Process::bare();
            let measured = load::run(bare.public, &shape, connections, limit).await;
            row("bare", &measured, &measured, per_request, &bare.usage(), None);
            reference = Some(measured);
        }
        let Some(reference) = &reference else { continue };
        for engine in engines {
            let Some(home) = home.with_store(*engine).await else {
                println!("{engine:?}: skipped, RELAYWATCH_TEST_POSTGRES is not set; use scripts/bench");
                continue;
            };
            shape.rewind(false);
            let daemon = Process::daemon(&home);
            let measured = load::run(daemon.public, &shape, connections, limit).await;
            let lag = daemon.lag().await;
            let ended = Instant::now();
            daemon.caught_up().await;
            let nil = ended.elapsed();
            let name = format!("{engine:?}, {mix:?}");
            row(&name, &measured, reference, per_request, &daemon.usage(), Some((lag, nil)));
            daemon.assert_all_durable(measured.requests * per_request).await;
        }
    }
}

fn row(
    name: &str,
    measured: &Measured,
    reference: &Measured,
    per_request: u64,
    usage: &server::Usage,
    lag: Option<(u64, Duration)>,
) {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let (rate, reference, events) = (
        measured.rate() * per_request as f64,
        reference.rate() * per_request as f64,
        (measured.requests * per_request) as f64,
    );
    let millis = |share: f64| measured.percentile(share).as_secs_f64() * 1e3;
    let (lag, nil) = lag.map_or_else(
        || ("-".to_owned(), "-".to_owned()),
        |(lag, nil)| (lag.to_string(), format!("{:.1}", nil.as_secs_f64())),
    );
    println!(
        "{:<15} {rate:>10.0} {:>7.3} {:>9.2} {:>9.2} {:>12.1} {:>9.1} {lag:>11} {nil:>9}",
        name.to_lowercase(),
        rate / reference,
        millis(0.50),
        millis(0.99),
        usage.cpu_seconds * 1e6 / events,
        usage.peak_mib,
    );
}

/// What one outcome takes in the store, with all indexes: the first of an address, which brings the address and its place
/// in the ledger, and each that follows, as the mean of four.
async fn bytes_stored(engine: Engine) {
    const COUNT: u64 = 100_000;
    const FURTHER: u64 = 4;
    println!("\n{engine:?}: bytes stored for each outcome, all indexes counted");
    for (name, refused) in [("delivery", false), ("refusal", true)] {
        let Some(home) = Home::new(Some(engine)).await else {
            println!("skipped: RELAYWATCH_TEST_POSTGRES is not set; use scripts/bench");
            return;
        };
        let daemon = Process::daemon(&home);
        let mut before = home.bytes().await;
        for (waves, what) in [(0..1, "of a new address"), (1..1 + FURTHER, "of a known address")] {
            let events = COUNT * (waves.end - waves.start);
            for wave in waves.clone() {
                load::run_all(daemon.public, &shapes::wave(wave, COUNT, refused)).await;
                daemon.caught_up().await;
            }
            daemon.assert_all_durable(waves.end * COUNT).await;
            let after = home.bytes().await;
            let each = |table: &str, bytes: i64| {
                let known = before.iter().find(|(other, _)| other == table).map_or(0, |(_, bytes)| *bytes);
                (bytes - known) / i64::try_from(events).expect("small")
            };
            let parts: Vec<_> = after.iter().map(|(table, bytes)| (table, each(table, *bytes))).collect();
            let all: i64 = parts.iter().map(|(_, each)| each).sum();
            let parts: Vec<_> =
                parts.iter().filter(|(_, each)| *each > 0).map(|(table, each)| format!("{table} {each}")).collect();
            println!("{name:<8} {what:<18} {all:>5}   ({})", parts.join(", "));
            before = after;
        }
    }
}
