//! Logs: text for people at a terminal, JSON lines for machines, always on stderr.
//!
//! No log line holds a mail address, a `sub`, a message id or a secret. Fields carry their unit in the name
//! (`seconds`, `bytes`), and words of closed lists rather than free text, so that lines can be counted.

use std::io::{self, IsTerminal};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::filter_fn,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
};

use crate::lifecycle::Commit;

/// Where notices of PostgreSQL are logged.
const NOTICES: &str = "sqlx::postgres::notice";

/// Whether a line may be written at all, whatever the filter says: at its finest level Amazon's SDK writes whole requests and
/// answers, in which messages of queues and credentials stand.
fn is_discreet(line: &Metadata<'_>) -> bool {
    *line.level() != Level::TRACE || !line.target().starts_with("aws_")
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// Text where stderr is a terminal, else JSON.
    #[default]
    Auto,
    /// Text, with colour only on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the logs can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter can't be read.
    #[error(
        "the log filter {filter:?} is wrong ({source}); write a level (error, warn, info, debug, trace) or `info,relaywatch::ingest=debug`"
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A word that is no level.
    #[error(
        "{word:?} is no log level; write error, warn, info, debug, trace or off, or pairs such as `info,relaywatch::ingest=debug`"
    )]
    Level {
        /// The word.
        word: String,
    },
    /// Another subscriber was there first.
    #[error("logging was set up twice")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Checks a filter: a level, or `target=level` pairs separated by commas.
///
/// # Errors
/// Says what is wrong.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    // The filter takes any bare word for a target, so that a misspelt level would silence everything.
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    let known = |part: &str| {
        part.contains(['=', ':', '[']) || part.is_empty() || levels.iter().any(|level| part.eq_ignore_ascii_case(level))
    };
    if let Some(word) = filter.split(',').map(str::trim).find(|part| !known(part)) {
        return Err(TelemetryError::Level { word: word.to_owned() });
    }
    // PostgreSQL says at every start that what is there already is there already.
    let quiet = filter.split(',').any(|part| part.trim().eq_ignore_ascii_case("info")) && !filter.contains("sqlx");
    let text = if quiet { format!("{filter},{NOTICES}=warn") } else { filter.to_owned() };
    EnvFilter::builder().parse(text).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

/// Changes the filter of the running logs.
#[derive(Debug, Clone)]
pub struct FilterHandle(reload::Handle<EnvFilter, Registry>);

impl FilterHandle {
    /// Checks `filter` and hands back the step that puts it into force.
    ///
    /// # Errors
    /// Where the filter can't be read.
    pub fn prepare(&self, filter: &str) -> Result<Commit, TelemetryError> {
        let parsed = parse_filter(filter)?;
        let handle = self.0.clone();
        Ok(Box::new(move || {
            if handle.reload(parsed).is_err() {
                tracing::warn!("the log filter could not be changed, since logging has ended");
            }
        }))
    }
}

/// Starts logging to stderr for the whole process. Call it once, before the first task.
///
/// # Errors
/// Where the filter can't be read, or logging was started before.
pub fn init(filter: &str, format: LogFormat) -> Result<FilterHandle, TelemetryError> {
    let terminal = io::stderr().is_terminal();
    let (subscriber, handle) = subscriber(filter, format, terminal, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(handle)
}

fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    terminal: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, FilterHandle), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let lines = if text {
        fmt::layer().with_ansi(terminal).with_writer(writer).boxed()
    } else {
        fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(writer)
            .boxed()
    };
    Ok((Registry::default().with(filter).with(lines.with_filter(filter_fn(is_discreet))), FilterHandle(handle)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_instead_of_silencing_everything() {
        for wrong in ["loud", "info,verbose", "warning"] {
            assert!(matches!(parse_filter(wrong), Err(TelemetryError::Level { .. })), "{wrong}");
        }
        for right in ["info", "WARN", "info,relaywatch::ingest=debug", "relaywatch=trace", "off"] {
            assert!(parse_filter(right).is_ok(), "{right}");
        }
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("sink").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, terminal: bool, filter: &str, log: impl FnOnce(&FilterHandle)) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let (subscriber, handle) = subscriber(filter, format, terminal, move || writer.clone()).expect("filter");
        tracing::subscriber::with_default(subscriber, || log(&handle));
        String::from_utf8(sink.0.lock().expect("sink").clone()).expect("UTF-8")
    }

    #[test]
    fn away_from_a_terminal_lines_are_json() {
        let line = logged(LogFormat::Auto, false, "info", |_| tracing::info!(seconds = 3, "draining"));
        let value: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        assert_eq!(value["message"], "draining");
        assert_eq!(value["seconds"], 3);
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn text_is_coloured_on_a_terminal_only() {
        let log = |_: &FilterHandle| tracing::info!("ready");
        assert!(logged(LogFormat::Auto, true, "info", log).contains('\u{1b}'));
        let plain = logged(LogFormat::Text, false, "info", log);
        assert!(plain.contains("ready") && !plain.contains('\u{1b}'), "{plain}");
    }

    #[test]
    fn notices_of_postgres_are_shown_where_they_are_asked_for() {
        let shown = |filter: &str| {
            logged(LogFormat::Text, false, filter, |_| {
                tracing::info!(target: "sqlx::postgres::notice", "relation exists, skipping");
                tracing::warn!(target: "sqlx::postgres::notice", "a warning");
            })
        };
        let quiet = shown("info");
        assert!(!quiet.contains("skipping") && quiet.contains("a warning"), "{quiet}");
        assert!(shown("debug").contains("skipping") && shown("info,sqlx=info").contains("skipping"));
        assert_eq!(shown("error"), "");
    }

    #[test]
    fn what_amazons_sdk_sends_and_gets_is_never_shown() {
        let shown = logged(LogFormat::Text, false, "trace,aws_smithy_runtime=trace", |_| {
            tracing::trace!(target: "aws_smithy_runtime::client::orchestrator", "a whole answer");
            tracing::debug!(target: "aws_smithy_runtime::client::orchestrator", "beginning attempt #1");
            tracing::trace!("our own");
        });
        assert!(!shown.contains("answer") && shown.contains("attempt") && shown.contains("our own"), "{shown}");
    }

    #[test]
    fn the_filter_changes_while_running_and_a_wrong_one_changes_nothing() {
        let lines = logged(LogFormat::Text, false, "warn", |handle| {
            tracing::info!("one");
            assert!(handle.prepare("relaywatch=loud").is_err());
            tracing::info!("two");
            handle.prepare("info").expect("a filter")();
            tracing::info!("three");
        });
        assert!(!lines.contains("one") && !lines.contains("two") && lines.contains("three"), "{lines}");
    }
}
