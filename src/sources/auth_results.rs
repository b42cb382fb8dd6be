//! `Authentication-Results` (RFC 8601) and `ARC-Authentication-Results` (RFC 8617 section 4.1.1): reading, writing, and whom to
//! believe.
//!
//! The grammar is the RFC's, whole: server, version, `none`, methods with their version, results, reasons, properties, quoted
//! strings, nested comments, folds and blanks wherever they are allowed. Beside it what receivers write is read:
//!
//! - Outlook leaves the server out and writes `action=none` without a type (reported), and puts the recipient's domain between two
//!   results (observed in public headers);
//! - Microsoft's ARC fields begin `i=1; mx.microsoft.com 1` (reported; the `1` is the version of RFC 8601);
//! - Yahoo writes `dmarc=pass(p=NONE)` without a blank, Amazon SES `client-ip=`, `envelope-from=` and `helo=` behind semicolons of
//!   their own, iCloud one field a method (`spf.icloud.com`, `dkim-verifier.icloud.com`, `dmarc.icloud.com`) (all observed in public
//!   headers).
//!
//! Anyone can write such a field, so that nothing of it counts before [`judge`] has said that the trusted receiver wrote it.

mod parse;
mod trust;

use std::fmt;

use serde::Serialize;

pub use parse::{parse, parse_arc};
pub use trust::{ICLOUD_IDS, Seen, Trust, Untrusted, judge, received_by};

/// How much of one field is read, in bytes.
pub const MAX_FIELD_BYTES: usize = 64 * 1024;
/// The results of one field that are kept.
pub const MAX_RESULTS: usize = 100;
/// The properties of one result that are kept.
pub const MAX_PROPERTIES: usize = 32;
/// The longest word, value or comment that is kept, in bytes.
pub const MAX_VALUE_BYTES: usize = 1_024;
/// How deep comments may lie in comments.
pub const MAX_DEPTH: usize = 32;

/// What one field says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AuthResults {
    /// Who says it: the authserv-id, as written. `None` where it is left out, as Outlook does.
    pub server: Option<String>,
    /// The version of the format; 1 where it is not said.
    pub version: Option<u32>,
    /// `i=` of an ARC field.
    pub instance: Option<u32>,
    /// What was checked, in its order. Empty for `none`.
    pub results: Vec<MethodResult>,
    /// What is wrong with the writing, where something is; what stands behind is not read, or not all.
    pub broken: Option<Broken>,
}

/// One method with what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct MethodResult {
    /// The method in lower case: `spf`, `dkim`, `dmarc`.
    pub method: String,
    /// Its version; 1 where it is not said.
    pub version: Option<u32>,
    /// The result in lower case: `pass`, `fail`, `none`.
    pub result: String,
    /// `reason=`.
    pub reason: Option<String>,
    /// Properties of what was checked.
    pub properties: Vec<Property>,
    /// The text of its comments, for people: nothing is decided by it.
    pub comments: Vec<String>,
}

/// One property: `smtp.mailfrom=bounces@example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Property {
    /// Its type in lower case: `smtp`, `header`, `body`, `policy`; empty where it is left out, as in Outlook's `action=none`.
    pub kind: String,
    /// Its name in lower case.
    pub name: String,
    /// Its value, without quotation marks.
    pub value: String,
}

/// What is wrong with a field's writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// A comment has no end, or lies too deep: what stands behind its beginning is not read.
    Comment,
    /// A quoted string has no end.
    Quote,
    /// The field is longer than [`MAX_FIELD_BYTES`], or has more than [`MAX_RESULTS`] results: the rest is not read.
    TooLong,
}

impl Broken {
    /// In words.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Comment => "a comment in it has no end, and what stands behind its beginning is not read",
            Self::Quote => "a quotation in it has no end",
            Self::TooLong => "it is too long, and its end is not read",
        }
    }
}

impl AuthResults {
    /// The results of a method, in their order.
    pub fn of<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a MethodResult> {
        self.results.iter().filter(move |one| one.method == method)
    }
}

impl MethodResult {
    /// The value of a property, by its type and name.
    #[must_use]
    pub fn property(&self, kind: &str, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|one| one.kind == kind && one.name == name)?;
        Some(found.value.as_str())
    }
}

impl fmt::Display for AuthResults {
    /// The field's value in one line, as RFC 8601 section 2.2 has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut part = |f: &mut fmt::Formatter<'_>| {
            if std::mem::take(&mut first) { Ok(()) } else { f.write_str("; ") }
        };
        if let Some(instance) = self.instance {
            part(f)?;
            write!(f, "i={instance}")?;
        }
        if let Some(server) = &self.server {
            part(f)?;
            write!(f, "{}", Value(server))?;
            if let Some(version) = self.version {
                write!(f, " {version}")?;
            }
        }
        if self.results.is_empty() {
            part(f)?;
            return f.write_str("none");
        }
        for one in &self.results {
            part(f)?;
            write!(f, "{one}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MethodResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.method)?;
        if let Some(version) = self.version {
            write!(f, "/{version}")?;
        }
        write!(f, "={}", Value(&self.result))?;
        for comment in &self.comments {
            f.write_str(" (")?;
            for c in comment.chars() {
                if matches!(c, '(' | ')' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str(")")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, " reason={}", Value(reason))?;
        }
        for Property { kind, name, value } in &self.properties {
            let dot = if kind.is_empty() { "" } else { "." };
            write!(f, " {kind}{dot}{name}={}", Value(value))?;
        }
        Ok(())
    }
}

/// A value as it can stand: bare where it can, else in quotation marks.
struct Value<'a>(&'a str);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ';' | '(' | ')' | '"' | '\\' | '=');
        if !self.0.is_empty() && self.0.chars().all(bare) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests;
