//! Replies as templates: everything that tells one message, person or machine from another becomes its role.

mod fold;
mod locals;
mod scan;
mod shapes;

use serde::Serialize;

use super::role::Parties;
use crate::model::{AddressRole, EnhancedCode, MAX_REPLY_BYTES, Reply};

/// The longest template, in bytes. A little under [`MAX_REPLY_BYTES`], so that the last word of a reply that was cut there
/// is never taken for a whole one.
pub const MAX_TEMPLATE_BYTES: usize = MAX_REPLY_BYTES - 4;

/// A reply on one line, with roles in the place of addresses, hosts, IP addresses, ids and times.
///
/// `550 5.1.1 <bounce+…@mail.example.com>: unauthorized sender` becomes `550 5.1.1 <{sender}>: unauthorized sender`. Codes
/// and bracket tags such as `[HME1]` stay. No address can be recovered from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Template(String);

impl Template {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    /// Whose address the reply names.
    #[must_use]
    pub fn address_role(&self) -> AddressRole {
        Head::read(&self.0).role(&self.0)
    }
}

impl AsRef<str> for Template {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes the template of a reply's text.
///
/// The template of a template is itself. Work and memory are bounded by [`MAX_REPLY_BYTES`].
#[must_use]
pub fn template(text: &str, parties: &Parties<'_>) -> Template {
    let mut folded = Vec::with_capacity(text.len().min(MAX_TEMPLATE_BYTES) + 16);
    fold::fold(text, &mut folded);
    finish(folded, parties)
}

/// Makes the template of a reply whose codes may have been reported beside its text: they are put before it where the
/// text lacks them, since a verdict depends on the template and the context alone.
#[must_use]
pub fn template_of(reply: &Reply, parties: &Parties<'_>) -> Template {
    let read = Reply::parse(&reply.text);
    let code = reply.code.filter(|_| read.code.is_none());
    let enhanced = reply.enhanced.filter(|_| read.enhanced.is_none());
    if code.is_none() && enhanced.is_none() {
        return template(&reply.text, parties);
    }
    let code = code.or(read.code).map(|code| code.to_string());
    let enhanced = enhanced.or(read.enhanced).map(|enhanced| enhanced.to_string());
    let parts = [code.as_deref(), enhanced.as_deref()];
    // As on a line of its own, so that the codes that the text does have are dropped as repetitions.
    let mut full = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    full.push('\n');
    full.push_str(reply.text.trim_start());
    template(&full, parties)
}

pub(crate) use scan::ROLES;

/// Whether a text begins with a role such as `{recipient}`.
pub(crate) fn begins_with_role(text: &str) -> bool {
    ROLES.iter().any(|role| text.starts_with(role))
}

/// How often a template is looked at again because something in it may still be part of an address.
const MAX_PASSES: usize = 6;

fn finish(mut folded: Vec<u8>, parties: &Parties<'_>) -> Template {
    let mut out = pass(&mut folded, parties);
    for _ in 0..MAX_PASSES {
        if !scan::has_marks(&out, parties) {
            return text_of(out);
        }
        folded.clone_from(&out);
        let again = pass(&mut folded, parties);
        if again == out {
            return text_of(out);
        }
        out = again;
    }
    // Made to be read in ever new ways: nothing but its codes is worth keeping.
    let text = String::from_utf8_lossy(&out);
    let head = text.get(..Head::read(&text).end).filter(|head| head.len() < 16).unwrap_or_default();
    Template(format!("{head} {{id}}").trim_start().to_owned())
}

fn pass(folded: &mut [u8], parties: &Parties<'_>) -> Vec<u8> {
    scan::glue_addresses(folded);
    let hits = locals::find(folded, parties);
    scan::scan(folded, &hits, parties)
}

fn text_of(out: Vec<u8>) -> Template {
    Template(String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// What a template begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The basic code.
    pub(super) code: Option<u16>,
    /// The enhanced code.
    pub(super) enhanced: Option<EnhancedCode>,
    /// Where the text after the codes begins.
    pub(super) end: usize,
}

impl Head {
    /// Reads the codes of a template: at its start, else after the `said:` of a log line or a bounce mail that quotes the
    /// conversation.
    pub(super) fn read(text: &str) -> Self {
        if let Some(head) = Self::at(text, 0) {
            return head;
        }
        let mut from = 0;
        // A quoted reply stands behind a colon, a semicolon or an opening quote.
        while let Some(at) =
            text.as_bytes().get(from..).and_then(|rest| rest.iter().position(|b| matches!(b, b'2'..=b'5')))
        {
            let start = from + at;
            from = start + 1;
            let before = text.as_bytes().get(..start).unwrap_or_default();
            if (before.ends_with(b": ")
                || before.ends_with(b"; ")
                || before.ends_with(b" '")
                || before.ends_with(b" \""))
                && let Some(head) = Self::at(text, start)
                && head.code.is_some()
            {
                return head;
            }
        }
        Self { code: None, enhanced: None, end: 0 }
    }

    fn at(text: &str, start: usize) -> Option<Self> {
        let rest = text.get(start..)?;
        let mut code = None;
        let mut tail = rest;
        if let Some((digits, after)) = rest.split_at_checked(3)
            && matches!(digits.as_bytes(), [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'])
            && (after.is_empty() || after.starts_with([' ', ':', ',', '-']))
        {
            code = digits.parse().ok();
            tail = after.trim_start_matches([' ', ':', ',', '-']);
        }
        let word = tail.trim_start_matches(['#', '(']);
        let end = word.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(word.len());
        let enhanced = word.get(..end).and_then(EnhancedCode::parse);
        if code.is_none() && enhanced.is_none() {
            return None;
        }
        let rest = if enhanced.is_some() { word.get(end..).unwrap_or_default().trim_start_matches(')') } else { tail };
        Some(Self { code, enhanced, end: text.len() - rest.len() })
    }

    /// Whose address follows the codes: the first one in brackets, else the first one at all. Brackets right behind the codes that
    /// hold something else, as masks of a provider's do, hold somebody's whom nobody can tell.
    pub(super) fn role(self, text: &str) -> AddressRole {
        let behind = text.get(self.end..).unwrap_or_default().trim_start();
        let masked = behind.strip_prefix('<').and_then(|tail| tail.split_once('>')).is_some_and(|(held, _)| {
            let is_role = ["{recipient}", "{sender}", "{address}"].iter().any(|role| held.starts_with(role));
            !(held.trim().is_empty() || is_role || held.starts_with("{host}") || held.starts_with("{ip}"))
        });
        if masked {
            return AddressRole::Unknown;
        }
        let mut bare = AddressRole::Absent;
        let mut at = self.end;
        while let Some(next) = text.as_bytes().get(at..).and_then(|rest| memchr::memchr(b'{', rest)) {
            let start = at + next;
            at = start + 1;
            let tail = text.get(start..).unwrap_or_default();
            let role = if tail.starts_with("{recipient}") {
                AddressRole::Recipient
            } else if tail.starts_with("{sender}") {
                AddressRole::Sender
            } else if tail.starts_with("{address}") {
                AddressRole::Unknown
            } else {
                continue;
            };
            if start > 0 && text.as_bytes().get(start - 1) == Some(&b'<') {
                return role;
            }
            if bare == AddressRole::Absent {
                bare = role;
            }
        }
        bare
    }
}

#[cfg(test)]
mod tests;
