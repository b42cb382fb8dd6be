//! What the doctor found, and how it is written.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::feeds::FeedRow;
use crate::model::counted;

/// How it stands with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    /// It works.
    Ok,
    /// It works, and something about it is worth a look.
    Warning,
    /// It does not work.
    Wrong,
}

impl Mark {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    #[serde(rename = "check")]
    pub(super) subject: &'static str,
    /// How it stands.
    pub(super) mark: Mark,
    /// In one line.
    pub(super) says: String,
    /// What to do about it, and what else there is to know, a line each.
    pub(super) advice: Vec<String>,
}

impl Check {
    fn new(subject: &'static str, mark: Mark, says: impl Into<String>) -> Self {
        Self { subject, mark, says: says.into(), advice: Vec::new() }
    }

    pub(super) fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Mark::Ok, says)
    }

    pub(super) fn warning(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Mark::Warning, says)
    }

    pub(super) fn wrong(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Mark::Wrong, says)
    }

    /// The same with a line beneath it.
    pub(super) fn then(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// What is not of one feed.
    pub(super) checks: Vec<Check>,
    /// Each feed.
    pub(super) feeds: Vec<FeedRow>,
}

impl Report {
    fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        self.checks.iter().map(|check| check.mark).chain(self.feeds.iter().map(|feed| feed.mark))
    }

    /// Whether anything does not work.
    pub(super) fn is_wrong(&self) -> bool {
        self.marks().any(|mark| mark == Mark::Wrong)
    }

    /// For people: a line for each, what to do beneath.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for check in &self.checks {
            line(&mut out, check.mark, check.subject, &check.says, &check.advice);
        }
        for feed in &self.feeds {
            let name = format!("feed {}", feed.feed);
            line(&mut out, feed.mark, &name, &feed.says, &feed.advice);
            let head = if feed.url.is_some() { "set at the provider:" } else { "set at its end:" };
            beneath(&mut out, head);
            for setting in &feed.connect {
                beneath(&mut out, &format!("  {setting}"));
            }
        }
        let count = |mark| self.marks().filter(|found| *found == mark).count() as u64;
        let said = match (count(Mark::Wrong), count(Mark::Warning)) {
            (0, 0) => "all is well".to_owned(),
            (0, warnings) => format!("nothing is wrong; {}", counted(warnings, "warning")),
            (wrong, 0) => format!("{wrong} wrong"),
            (wrong, warnings) => format!("{wrong} wrong; {}", counted(warnings, "warning")),
        };
        // Writing to a string cannot fail.
        _ = writeln!(out, "\n{said}");
        out
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        json!({ "wrong": self.is_wrong(), "checks": self.checks, "feeds": self.feeds })
    }
}

fn line(out: &mut String, mark: Mark, name: &str, says: &str, advice: &[String]) {
    // Writing to a string cannot fail.
    _ = writeln!(out, "{:<9}{name}: {}", mark.as_str(), says.replace(char::is_control, " "));
    for advice in advice {
        beneath(out, advice);
    }
}

fn beneath(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(out, "           {}", text.replace(char::is_control, " "));
}
