//! Reading a field's value (RFC 8601 section 2.2).

use super::{
    AuthResults, Broken, MAX_DEPTH, MAX_FIELD_BYTES, MAX_PROPERTIES, MAX_RESULTS, MAX_VALUE_BYTES, MethodResult,
    Property,
};

/// What Amazon SES writes behind a semicolon of its own, and means as a property of the result before (observed).
const LOOSE: &[&str] = &["client-ip", "envelope-from", "helo", "receiver"];

/// Reads the value of an `Authentication-Results` field, with its folds or without. Takes any text: what cannot be read is left
/// out.
#[must_use]
pub fn parse(value: &str) -> AuthResults {
    read(value, false)
}

/// Reads the value of an `ARC-Authentication-Results` field: `i=` and then the same.
#[must_use]
pub fn parse_arc(value: &str) -> AuthResults {
    read(value, true)
}

fn read(value: &str, arc: bool) -> AuthResults {
    let mut cut = value.len().min(MAX_FIELD_BYTES);
    while !value.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut reader = Reader { rest: value.get(..cut).unwrap_or_default(), broken: None, comments: Vec::new() };
    let mut found = AuthResults::default();
    let mut first = true;
    loop {
        reader.blanks();
        if reader.rest.is_empty() {
            break;
        }
        if reader.take(';') {
            first = false;
            continue;
        }
        let before = reader.rest.len();
        if found.results.len() == MAX_RESULTS {
            reader.broken.get_or_insert(Broken::TooLong);
            break;
        }
        reader.comments.clear();
        let mut word = reader.word("=");
        reader.blanks();
        // Blanks and comments may stand around the slash before a method's version.
        if !word.is_empty() && reader.take('/') {
            word = format!("{word}/{}", reader.word("="));
            reader.blanks();
        }
        if reader.take('=') {
            first = false;
            let value = reader.value();
            if arc && found.instance.is_none() && word.eq_ignore_ascii_case("i") {
                // What follows may be the server still.
                found.instance = value.parse().ok();
                first = true;
                reader.blanks();
                reader.take(';');
                continue;
            }
            method(&mut reader, &word, &value, &mut found);
        } else if first {
            first = false;
            found.server = (!word.is_empty()).then_some(word);
            let version = reader.word("=");
            found.version = version.parse().ok();
        }
        // What stands there beside is nobody's: the recipient's domain at Outlook, `none`, a slip of the pen.
        reader.skip();
        if reader.rest.len() == before {
            reader.next();
        }
    }
    if cut < value.len() {
        reader.broken.get_or_insert(Broken::TooLong);
    }
    found.broken = reader.broken;
    found
}

/// One element `method=result` with what belongs to it.
fn method(reader: &mut Reader<'_>, word: &str, result: &str, found: &mut AuthResults) {
    let (name, version) = match word.split_once('/') {
        Some((name, version)) => (name.trim(), version.trim().parse().ok()),
        None => (word, None),
    };
    let name = name.to_ascii_lowercase();
    if LOOSE.contains(&name.as_str())
        && let Some(before) = found.results.last_mut()
    {
        add(before, "", &name, result.to_owned());
        properties(reader, before);
        return;
    }
    if name.is_empty() {
        return;
    }
    let mut one =
        MethodResult { method: name, version, result: result.to_ascii_lowercase(), ..MethodResult::default() };
    properties(reader, &mut one);
    found.results.push(one);
}

/// The reason, the properties and the comments up to the next semicolon.
fn properties(reader: &mut Reader<'_>, one: &mut MethodResult) {
    loop {
        reader.blanks();
        let before = reader.rest.len();
        if reader.rest.is_empty() || reader.rest.starts_with(';') {
            break;
        }
        let mut word = reader.word("=");
        reader.blanks();
        // Blanks and comments may stand around the dot.
        if reader.rest.starts_with('.') && !word.contains('.') {
            reader.next();
            word.push('.');
        }
        if word.ends_with('.') {
            reader.blanks();
            word.push_str(&reader.word("="));
            reader.blanks();
        }
        if reader.take('=') {
            let value = reader.value();
            match word.split_once('.') {
                Some((kind, name)) => add(one, kind, name, value),
                None if word.eq_ignore_ascii_case("reason") && one.reason.is_none() => one.reason = Some(value),
                None => add(one, "", &word, value),
            }
        }
        if reader.rest.len() == before {
            reader.next();
        }
    }
    one.comments.append(&mut reader.comments);
    one.comments.truncate(MAX_PROPERTIES);
}

fn add(one: &mut MethodResult, kind: &str, name: &str, value: String) {
    if one.properties.len() < MAX_PROPERTIES && !name.is_empty() {
        let [kind, name] = [kind, name].map(|word| word.trim().to_ascii_lowercase());
        one.properties.push(Property { kind, name, value });
    }
}

struct Reader<'a> {
    rest: &'a str,
    broken: Option<Broken>,
    /// The comments met since this was last cleared.
    comments: Vec<String>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let first = chars.next();
        self.rest = chars.as_str();
        first
    }

    fn take(&mut self, wanted: char) -> bool {
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Passes over blanks, folds and comments.
    fn blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(is_blank);
            if !self.rest.starts_with('(') {
                return;
            }
            self.comment();
        }
    }

    /// A comment, with those that lie in it (RFC 5322 section 3.2.2).
    fn comment(&mut self) {
        let (mut depth, mut text) = (0_usize, String::new());
        while let Some(c) = self.next() {
            let mut kept = Some(c);
            match c {
                '(' => {
                    depth += 1;
                    if depth == 1 {
                        kept = None;
                    } else if depth > MAX_DEPTH {
                        break;
                    }
                }
                ')' => {
                    depth -= 1;
                    if depth == 0 {
                        if self.comments.len() < MAX_PROPERTIES {
                            self.comments.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
                        }
                        return;
                    }
                }
                '\\' => kept = self.next(),
                _ => {}
            }
            if let Some(c) = kept
                && text.len() + c.len_utf8() <= MAX_VALUE_BYTES
            {
                text.push(c);
            }
        }
        self.broken.get_or_insert(Broken::Comment);
        self.rest = "";
    }

    /// A word: a quoted string, or all up to a blank, a semicolon, a comment or one of these.
    fn word(&mut self, ends: &str) -> String {
        self.blanks();
        let mut text = String::new();
        if self.rest.starts_with('"') {
            self.quoted(&mut text);
        } else {
            self.bare(&mut text, ends);
        }
        text
    }

    /// A value: a word, or a quoted local part with its domain behind it. `=` may stand in it, as in return paths (VERP).
    fn value(&mut self) -> String {
        self.blanks();
        let mut text = String::new();
        while !self.rest.is_empty() && !self.rest.starts_with(|c| is_blank(c) || matches!(c, ';' | '(')) {
            if self.rest.starts_with('"') {
                self.quoted(&mut text);
            } else {
                self.bare(&mut text, "");
            }
        }
        text
    }

    fn bare(&mut self, text: &mut String, ends: &str) {
        while let Some(c) = self.rest.chars().next() {
            if is_blank(c) || matches!(c, ';' | '(' | '"') || ends.contains(c) {
                return;
            }
            self.next();
            if text.len() + c.len_utf8() <= MAX_VALUE_BYTES {
                text.push(c);
            }
        }
    }

    fn quoted(&mut self, text: &mut String) {
        self.next();
        loop {
            let mut c = self.next();
            match c {
                Some('"') => return,
                Some('\\') => c = self.next(),
                // A fold is one blank (RFC 5322 section 2.2.3).
                Some('\r') => continue,
                Some('\n') => {
                    self.rest = self.rest.trim_start_matches([' ', '\t']);
                    c = Some(' ');
                }
                _ => {}
            }
            let Some(c) = c else {
                self.broken.get_or_insert(Broken::Quote);
                return;
            };
            if text.len() + c.len_utf8() <= MAX_VALUE_BYTES {
                text.push(c);
            }
        }
    }

    /// Passes over all up to the next semicolon.
    fn skip(&mut self) {
        loop {
            self.blanks();
            match self.rest.chars().next() {
                None | Some(';') => return,
                Some('"') => {
                    let mut dropped = String::new();
                    self.quoted(&mut dropped);
                }
                Some(_) => {
                    self.next();
                }
            }
        }
    }
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\0'
}
