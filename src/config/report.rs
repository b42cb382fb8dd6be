//! Mistakes with their lines, and how they are shown.

use std::{fmt, ops::Range, path::Path};

use super::{
    Config, shape,
    tree::{Node, Origin},
};
use crate::model::counted;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// relaywatch does not start with it.
    Error,
    /// It starts, and something may not work as meant.
    Warning,
}

/// Where a mistake stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file.
    Line {
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
        /// How many characters are meant.
        width: usize,
        /// The line's text, with secrets hidden.
        text: String,
    },
    /// In an environment variable.
    Variable(String),
    /// Nowhere: something is missing, or the file can't be read.
    Nowhere,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// How bad it is.
    pub severity: Severity,
    /// What it's about, as the operator writes it: `feeds.ses.topics`, or `feeds.ses.eu.topics` of a named feed; empty for
    /// the file as a whole.
    pub path: String,
    /// What is wrong. Holds no value.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Where it stands.
    pub place: Place,
    /// The file's name, as given.
    pub file: String,
}

impl Mistake {
    /// Where it stands, in short: the file with the line, the variable, the file, or nothing.
    #[must_use]
    pub fn stands_at(&self) -> String {
        match &self.place {
            Place::Line { line, .. } => format!("{}:{line}", self.file),
            Place::Variable(name) => name.clone(),
            Place::Nowhere => self.file.clone(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", self.message)?;
        let mut margin = 1;
        match &self.place {
            Place::Line { line, column, width, text } => {
                let number = line.to_string();
                margin = number.len();
                writeln!(f, "{:margin$}--> {}:{line}:{column}", "", self.file)?;
                writeln!(f, "{:margin$} |", "")?;
                writeln!(f, "{number} | {text}")?;
                writeln!(f, "{:margin$} | {:2$}{3}", "", "", column - 1, "^".repeat(*width))?;
            }
            Place::Variable(name) => writeln!(f, " --> environment variable {name}")?,
            Place::Nowhere if self.file.is_empty() => {}
            Place::Nowhere => writeln!(f, " --> {}", self.file)?,
        }
        if let Some(help) = &self.help {
            writeln!(f, "{:margin$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// The mistakes of one configuration, errors and warnings, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// All of them; at least one is an error.
    pub mistakes: Vec<Mistake>,
    /// What could be read in spite of them, for a check that goes on to what the settings name. Nothing starts with it.
    pub sound: Option<Box<Config>>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl ConfigErrors {
    /// How many errors there are, in words.
    #[must_use]
    pub fn count(&self) -> String {
        let errors = self.mistakes.iter().filter(|mistake| mistake.severity == Severity::Error).count();
        format!("{} in the configuration", counted(errors as u64, "error"))
    }
}

/// Longer lines are cut.
const MAX_SHOWN: usize = 120;

/// Collects mistakes while the passes run.
pub(super) struct Report {
    file: String,
    text: String,
    found: Vec<Found>,
}

/// A mistake with its place in the order.
struct Found {
    order: usize,
    mistake: Mistake,
    /// Whether it's about one value whatever stands beside it, so that it can't be the echo of another mistake.
    by_itself: bool,
}

impl Report {
    pub(super) fn new(file: Option<&Path>, text: String) -> Self {
        Self { file: file.map(|file| file.display().to_string()).unwrap_or_default(), text, found: Vec::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn error(&mut self, origin: &Origin, path: &str, message: impl Into<String>, help: Option<String>) {
        self.add(Severity::Error, origin, path, message.into(), help, false);
    }

    /// An error about one value, whatever stands beside it.
    pub(super) fn wrong_value(
        &mut self,
        origin: &Origin,
        path: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.add(Severity::Error, origin, path, message.into(), help, true);
    }

    pub(super) fn warning(&mut self, origin: &Origin, path: &str, message: impl Into<String>, help: Option<String>) {
        self.add(Severity::Warning, origin, path, message.into(), help, false);
    }

    fn add(
        &mut self,
        severity: Severity,
        origin: &Origin,
        path: &str,
        message: String,
        help: Option<String>,
        by_itself: bool,
    ) {
        let order = match origin {
            Origin::Span(span) => span.start,
            Origin::Variable(_) => usize::MAX - 1,
            Origin::Default => usize::MAX,
        };
        let place = self.place_of(origin, path);
        let mistake = Mistake { severity, path: path.to_owned(), message, help, place, file: self.file.clone() };
        self.found.push(Found { order, mistake, by_itself });
    }

    /// Where something was written; without a path, it's the syntax that is broken.
    pub(super) fn place_of(&self, origin: &Origin, path: &str) -> Place {
        match origin {
            Origin::Span(span) => place(&self.text, span, path),
            Origin::Variable(name) => Place::Variable(name.to_string()),
            Origin::Default => Place::Nowhere,
        }
    }

    /// The paths of all errors.
    pub(super) fn error_paths(&self) -> impl Iterator<Item = &str> {
        let errors = self.found.iter().filter(|found| found.mistake.severity == Severity::Error);
        errors.map(|found| found.mistake.path.as_str())
    }

    /// Takes over the errors of `other` that fit, by their path and whether they are about one value by itself.
    pub(super) fn adopt_errors(&mut self, other: Self, fits: impl Fn(&str, bool) -> bool) {
        let errors = other.found.into_iter().filter(|found| found.mistake.severity == Severity::Error);
        self.found.extend(errors.filter(|found| fits(&found.mistake.path, found.by_itself)));
    }

    /// An empty report on the same text.
    pub(super) fn fresh(&self) -> Self {
        Self { file: self.file.clone(), text: self.text.clone(), found: Vec::new() }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|found| found.mistake.severity == Severity::Error)
    }

    /// Everything, in the order of the file, then the environment, then what is missing; each with its path as it's written
    /// in `tree`.
    pub(super) fn finish(mut self, tree: Option<&Node>) -> Vec<Mistake> {
        self.found.sort_by_key(|found| found.order);
        let told = self.found.into_iter().map(|found| found.mistake);
        told.map(|mistake| match tree {
            Some(tree) => Mistake { path: tree.written(&mistake.path), ..mistake },
            None => mistake,
        })
        .collect()
    }
}

fn place(source: &str, span: &Range<usize>, path: &str) -> Place {
    let start = span.start.min(source.len());
    let before = source.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let full: &str = source.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
    let lead = before.get(line_start..).unwrap_or_default().chars().count();
    let meant = source.get(start..span.end.min(source.len())).unwrap_or_default();
    let meant = meant.lines().next().unwrap_or_default().chars().count();
    let skip = if lead > MAX_SHOWN / 2 { lead - MAX_SHOWN / 3 } else { 0 };
    let text: String = hide(full, path).chars().skip(skip).take(MAX_SHOWN).collect();
    let column = lead - skip + 1;
    let width = meant.min((text.chars().count() + 1).saturating_sub(column)).max(1);
    Place::Line { line, column, width, text: text.trim_end().to_owned() }
}

/// A line fit for showing: as long as it was, without control characters, and with what may be a secret starred out. `path` is of the
/// mistake that stands in it, and empty where the syntax is broken.
///
/// The line is wrong in some way, so its key can't be trusted to be known: only what is known to be harmless is shown
/// after the `=`.
fn hide(line: &str, path: &str) -> String {
    let broken_syntax = path.is_empty();
    let bare =
        |key: &str| key.trim().rsplit('.').next().unwrap_or_default().trim_matches(['"', '\'', '{', ' ']).to_owned();
    // One name can be a secret's in one table and none in another: the path tells.
    let is_shown = shape::is_shown(path);
    let own = path.split('.').rfind(|step| step.parse::<usize>().is_err()).unwrap_or_default();
    let harmless = |key: &str| {
        let key = bare(key);
        shape::never_secret(&key) || is_shown && key == own
    };
    let star = |text: &str| -> String { text.chars().map(|c| if c.is_alphanumeric() { '*' } else { c }).collect() };
    let trimmed = line.trim_start();
    let shown = match line.split_once('=') {
        None if trimmed.starts_with('[') || trimmed.starts_with("\"arn:") => line.to_owned(),
        None if is_shown && trimmed.starts_with(['"', '\'']) && !may_hold_credentials(line) => line.to_owned(),
        Some((key, value)) if harmless(key) && !value.contains('=') && !may_hold_credentials(value) => line.to_owned(),
        // Where the syntax is broken, what looks like a key may be a line of a secret that has several.
        Some((key, value)) if !broken_syntax || shape::is_key(key.trim()) => format!("{key}={}", star(value)),
        None if !broken_syntax && !line.contains(['"', '\'']) => line.to_owned(),
        _ => star(line),
    };
    shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether something in it may be a URL with credentials or with parameters: a mail address is none.
fn may_hold_credentials(value: &str) -> bool {
    value.contains('?') || value.split_once(':').is_some_and(|(_, behind)| behind.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_starred_out() {
        let cases = [
            ("pasword = \"hunter2\"", "pasword = \"*******\"", "******* = \"*******\""),
            ("password = 12345", "password = *****", "password = *****"),
            (
                "sparkpost = { password = \"b\" }",
                "sparkpost = { ******** = \"*\" }",
                "********* = { ******** = \"*\" }",
            ),
            ("url = \"postgres://me:pw@db\"", "url = \"********://**:**@**\"", "url = \"********://**:**@**\""),
            ("username = \"hunter\"", "username = \"hunter\"", "username = \"hunter\""),
            ("password_file = \"pw\"", "password_file = \"pw\"", "password_file = \"pw\""),
            (
                "forward_to = \"https://u:pw@h/\"",
                "forward_to = \"*****://*:**@*/\"",
                "forward_to = \"*****://*:**@*/\"",
            ),
            ("forward_to = \"http://h/\"", "forward_to = \"http://h/\"", "forward_to = \"http://h/\""),
            ("  \"hunter2\",", "  \"*******\",", "  \"*******\","),
            ("aHVudGVyMg==", "aHVudGVyMg==", "**********=="),
            ("hunter2\\q", "hunter2\\q", "*******\\*"),
            ("level = 5\u{1b}[31m", "level = 5 [31m", "level = 5 [31m"),
            ("[feeds.ses]", "[feeds.ses]", "[feeds.ses]"),
        ];
        for (line, shown, shown_where_syntax_is_broken) in cases {
            assert_eq!(hide(line, "feeds.sparkpost.pasword"), shown);
            assert_eq!(hide(line, ""), shown_where_syntax_is_broken);
        }
    }

    #[test]
    fn what_is_no_secret_where_it_stands_is_shown() {
        let shown = |path: &str, line: &str| {
            let hidden = hide(line, path);
            assert!(hidden == line || hidden.contains('*'), "{hidden}");
            hidden == line
        };
        let webhook = "url = \"hooks.example.com/in/mandrill\"";
        assert!(shown("feeds.mandrill.0.url", webhook));
        assert!(!shown("notify.webhook.url", webhook) && !shown("notify.heartbeat.url", webhook));
        assert!(!shown("feeds.mandrill.0.url", "url = \"https://me:hunter2@rw.example.com/\""));
        assert!(!shown("feeds.mandrill.0.url", "key = \"hunter2\""), "another key on its line");
        let own = "recipients = [\"bounces@example\"]";
        assert!(shown("feeds.mail.0.recipients.0", own));
        assert!(shown("feeds.mail.0.recipients.0", "  \"bounces@example\","), "an array's own line");
        assert!(!shown("feeds.mail.0.recipients.0", "{ password = \"hunter2\" },"));
        assert!(shown("feeds.sqs.0.queue_url", "queue_url = \"arn:aws:sqs:eu-west-1:123456789012:q\""));
        assert!(!shown("feeds.sqs.0.queue_url", "queue_url = \"https://u:pw@sqs.example.com/q\""));
        assert!(!shown("feeds.sparkpost.0.password", "\"hunter2\"") && !shown("feeds.braze.0", "\"hunter2\""));
    }

    #[test]
    fn long_lines_and_odd_spans_keep_the_caret_inside() {
        let source = format!("topics = [\"{}\", 5]\n", "é".repeat(300));
        let at = source.find('5').expect("there");
        let Place::Line { column, width, text, line } = place(&source, &(at..at + 1), "feeds.ses") else {
            panic!("no line")
        };
        assert_eq!((line, width), (1, 1));
        assert_eq!(text.chars().nth(column - 1), Some('5'));
        for span in [0..0, source.len()..source.len() + 9, 12..13, Range { start: 5, end: 2 }] {
            assert!(matches!(place(&source, &span, ""), Place::Line { width: 1.., .. }));
        }
        assert!(matches!(place("", &(0..0), "listen"), Place::Line { line: 1, column: 1, width: 1, .. }));
    }
}
