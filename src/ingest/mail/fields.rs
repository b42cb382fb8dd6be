//! Header blocks: the fields of a mail's header, of a delivery report's groups, of an abuse report.

use crate::model::{Address, Timestamp};

/// Fields of one block that are read; a real header has some dozens.
const MAX_FIELDS: usize = 500;
/// Blocks of one text that are read: one for each recipient, and one for the message.
pub(super) const MAX_GROUPS: usize = super::MAX_RECIPIENTS + 16;
/// The longest value that is kept, in bytes.
const MAX_VALUE_BYTES: usize = 8 * 1024;

/// One field, its name in lower case.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    /// Unfolded: each fold is one blank (RFC 5322 section 2.2.3).
    value: String,
    /// With its folds, where there are any.
    folded: Option<String>,
}

/// The fields of one block, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<Field>);

impl Fields {
    /// The block at the start of a text, to the first blank line.
    pub(super) fn read(text: &str) -> Self {
        Self::groups(text).into_iter().next().unwrap_or_default()
    }

    /// From pairs of name and value as they stand.
    pub(super) fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs.take(MAX_FIELDS) {
            let mut lines = value.lines();
            fields.push(name, lines.next().unwrap_or_default());
            lines.for_each(|line| fields.fold(line));
        }
        fields
    }

    /// All blocks of a text. One that names a second recipient is taken as two, since some reporters forget the blank line
    /// between them (RFC 3464 section 2.1.2 asks for it).
    pub(super) fn groups(text: &str) -> Vec<Self> {
        let mut groups = Vec::new();
        let mut group = Self::default();
        for line in text.lines() {
            if groups.len() == MAX_GROUPS {
                return groups;
            }
            let blank = line.trim().is_empty();
            if blank || starts_anew(&group, line) {
                if !group.0.is_empty() {
                    groups.push(std::mem::take(&mut group));
                }
                if blank {
                    continue;
                }
            }
            if line.starts_with([' ', '\t']) {
                group.fold(line);
            } else if let Some((name, value)) = line.split_once(':')
                && is_name(name)
            {
                group.push(name, value);
            }
        }
        if !group.0.is_empty() {
            groups.push(group);
        }
        groups
    }

    fn push(&mut self, name: &str, value: &str) {
        if self.0.len() < MAX_FIELDS {
            let value = cut(value.trim(), MAX_VALUE_BYTES).to_owned();
            self.0.push(Field { name: name.trim().to_ascii_lowercase(), value, folded: None });
        }
    }

    /// Puts a field in the place of all of its name.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|field| field.name != name);
        self.push(name, value);
    }

    fn fold(&mut self, line: &str) {
        let Some(field) = self.0.last_mut() else { return };
        if field.value.len() + line.len() > MAX_VALUE_BYTES {
            return;
        }
        let folded = field.folded.get_or_insert_with(|| field.value.clone());
        folded.push('\n');
        folded.push_str(line.trim_end());
        if !field.value.is_empty() {
            field.value.push(' ');
        }
        field.value.push_str(line.trim());
    }

    /// The first field of this name that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Whether there is such a field, empty or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.name == name)
    }

    /// All fields of this name that are not empty.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |field| field.name == name && !field.value.is_empty())
            .map(|field| field.value.as_str())
    }

    /// The same, with their folds as they came.
    pub(super) fn all_folded(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |field| field.name == name && !field.value.is_empty()).map(|field| {
            let Field { value, folded, .. } = field;
            folded.as_deref().unwrap_or(value)
        })
    }

    /// Whether there are as many as are read, so that others were left out.
    pub(super) const fn is_full(&self) -> bool {
        self.0.len() >= MAX_FIELDS
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first of these fields that holds a date.
    pub(super) fn date(&self, names: &[&str]) -> Option<Timestamp> {
        names.iter().find_map(|name| self.get(name).and_then(date))
    }
}

fn starts_anew(group: &Fields, line: &str) -> bool {
    let Some((name, _)) = line.split_once(':') else { return false };
    let name = name.trim();
    ["final-recipient", "original-recipient"].iter().any(|own| name.eq_ignore_ascii_case(own) && group.has(own))
}

/// Whether a text can be a field's name: printable ASCII without blanks (RFC 5322 section 2.2), of a length that occurs.
pub(super) fn is_name(name: &str) -> bool {
    let name = name.trim_end();
    !name.is_empty() && name.len() <= 76 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!".contains(&b))
}

/// A date of RFC 5322, with what occurs in its place (two-digit years, zone names, comments).
pub(super) fn date(text: &str) -> Option<Timestamp> {
    let date = mail_parser::DateTime::parse_rfc822(cut(text, 256))?;
    (date.is_valid() && date.year >= 1970).then(|| Timestamp::from_seconds(date.to_timestamp()))
}

/// A value `type; rest` of RFC 3464: the type in lower case, where there is one, and the rest.
pub(super) fn typed(value: &str) -> (Option<String>, &str) {
    if let Some((kind, rest)) = value.split_once(';') {
        let kind = kind.trim();
        if !kind.is_empty() && kind.len() <= 32 && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return (Some(kind.to_ascii_lowercase()), rest.trim());
        }
    }
    (None, value.trim())
}

/// The host of a `type; host (comment)`.
pub(super) fn host(value: &str) -> Option<String> {
    let (_, rest) = typed(value);
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ';' | ',')).unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or_default().trim_matches(['<', '>', '.', '"']);
    (!host.is_empty() && host.len() <= super::MAX_NAME_BYTES && host.bytes().all(|b| b.is_ascii_graphic()))
        .then(|| host.to_ascii_lowercase())
}

/// An address as recipients' fields hold it: `rfc822; local@domain`, in brackets or not, with a comment, with a source route, in
/// RFC 6533's `utf-8` form, or with xtext left in (RFC 3461 section 4).
pub(super) fn address(value: &str) -> Option<Address> {
    let (kind, rest) = typed(value);
    let rest = rest.trim();
    let rest = match rest.find(" (") {
        Some(at) if !rest.starts_with('"') => rest.get(..at).unwrap_or(rest),
        _ => rest,
    };
    let rest = rest.trim_matches(['<', '>', ' ', '\'']);
    // A source route (RFC 5321 appendix C): `@relay.example:local@domain`.
    let rest = match rest.split_once(':') {
        Some((route, address)) if route.starts_with('@') => address,
        _ => rest,
    };
    let rest = match kind.as_deref() {
        Some("utf-8") => from_utf8_form(rest),
        _ => from_xtext(rest),
    };
    Address::parse(&rest).ok()
}

/// RFC 3461 section 4: `+2B` is a plus sign. Only what xtext must encode is decoded, so that the `+AB` of a subaddress stays.
pub(super) fn from_xtext(text: &str) -> String {
    if !text.contains('+') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'+'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (upper_hex(*high), upper_hex(*low))
        {
            let value = high * 16 + low;
            if value == b'+' || value == b'=' || !(b'!'..=b'~').contains(&value) {
                out.push(value);
                rest = after;
                continue;
            }
        }
        out.push(byte);
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

const fn upper_hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// RFC 6533 section 3: `\x{4E00}` is one character.
fn from_utf8_form(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        out.push_str(before);
        let decoded = after.split_once('}').and_then(|(digits, tail)| {
            let digits = (digits.len() <= 6).then_some(digits)?;
            Some((u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?, tail))
        });
        if let Some((character, tail)) = decoded {
            out.push(character);
            rest = tail;
        } else {
            out.push_str("\\x{");
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// A text without control characters, cut where a character ends.
pub(super) fn clean(text: &str, most: usize) -> String {
    cut(text.trim(), most).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A text up to `most` bytes, cut where a character ends.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<String> {
        address(value).map(|address| address.expose().to_owned())
    }

    #[test]
    fn addresses_come_in_every_dress() {
        for (dress, plain) in [
            ("rfc822; jo@example.net", "jo@example.net"),
            ("RFC822;<jo@Example.NET>", "jo@example.net"),
            ("rfc822; jo@example.net (expanded)", "jo@example.net"),
            ("jo@example.net", "jo@example.net"),
            ("rfc822;@relay.example.org:jo@example.net", "jo@example.net"),
            ("rfc822;jo+2Bnews@example.net", "jo+news@example.net"),
            ("rfc822;jo+AB@example.net", "jo+AB@example.net"),
            ("rfc822;bounce+3Djo@example.net", "bounce=jo@example.net"),
            ("utf-8; j\\x{F6}@example.net", "jö@example.net"),
            ("utf-8; jö@example.net", "jö@example.net"),
        ] {
            assert_eq!(text(dress).as_deref(), Some(plain), "{dress}");
        }
        assert_eq!(text("x400; /S=jo/"), None);
        assert_eq!(text("utf-8; \\x{zz}"), None);
    }

    #[test]
    fn a_block_that_names_a_second_recipient_is_two() {
        let groups =
            Fields::groups("Original-Recipient: a\nFinal-Recipient: a\nOriginal-Recipient: b\nFinal-Recipient: b\n");
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[1].get("final-recipient"), Some("b"));
    }

    #[test]
    fn hosts_lose_their_comments() {
        assert_eq!(host("dns; MX.example.net (192.0.2.1)").as_deref(), Some("mx.example.net"));
        assert_eq!(host("dns;[192.0.2.1]").as_deref(), Some("[192.0.2.1]"));
        assert_eq!(host("dns; "), None);
    }
}
