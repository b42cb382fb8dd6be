//! What the command reads: texts, and JSON objects with what is known beside them.

use std::io::{self, BufRead};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    classify::begins_with_role,
    model::{EnhancedCode, MAX_REPLY_BYTES, nearest_word},
};

/// The longest line that is read; what comes after is skipped. JSON may escape a reply to several times its length.
pub(super) const MAX_LINE_BYTES: usize = 16 * MAX_REPLY_BYTES;

/// What an object can have.
const KEYS: [&str; 9] = ["text", "recipient", "sender", "provider", "mx", "code", "enhanced", "label", "id"];
/// What is said of a line that holds a part of an object, or a list.
const ONE_A_LINE: &str = "write each object on one line, with nothing around it; `jq -c` makes lines of objects, and `jq -c '.[]'` of \
                          a list";

/// One reply with what is known beside it.
#[derive(Default)]
pub(super) struct Input<'a> {
    /// As it came.
    pub(super) id: Option<&'a RawValue>,
    pub(super) text: String,
    pub(super) recipient: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) mx: Option<String>,
    pub(super) code: Option<u16>,
    pub(super) enhanced: Option<EnhancedCode>,
    pub(super) label: Option<String>,
}

impl<'a> Input<'a> {
    /// The reply of a line: a text alone, or an object where the line is meant as JSON.
    ///
    /// # Errors
    /// What is wrong with the object and what to do, without a word of its values.
    pub(super) fn read(line: &'a str) -> Result<Self, String> {
        if is_part_of_json(line) {
            return Err(format!("a part of JSON; {ONE_A_LINE}"));
        }
        if !line.starts_with('{') || begins_with_role(line) {
            return Ok(Self { text: line.to_owned(), ..Self::default() });
        }
        let Object(members) = serde_json::from_str(line).map_err(|error| explain(&error))?;
        let mut input = Self::default();
        let mut seen: Vec<&str> = Vec::with_capacity(members.len());
        for (key, value) in members {
            let Some(key) = KEYS.into_iter().find(|known| *known == key) else { return Err(unknown_key(&key)) };
            if seen.contains(&key) {
                return Err(format!("{key:?} is there twice: leave one"));
            }
            seen.push(key);
            match key {
                "text" => input.text = text(key, value)?.ok_or("\"text\" is null: it must be a text in quotes")?,
                "recipient" => input.recipient = text(key, value)?,
                "sender" => input.sender = text(key, value)?,
                "provider" => input.provider = text(key, value)?,
                "mx" => input.mx = text(key, value)?,
                "label" => input.label = text(key, value)?,
                "code" => input.code = code(value)?,
                "enhanced" => input.enhanced = enhanced(value)?,
                _ => input.id = Some(value),
            }
        }
        if !seen.contains(&"text") {
            return Err("\"text\" is missing: give the reply's text, which may be empty".to_owned());
        }
        Ok(input)
    }
}

/// The members of a JSON object as they stand, also those that stand twice.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Object(members))
    }
}

/// The text of a member; `None` where it is null.
fn text(key: &str, value: &RawValue) -> Result<Option<String>, String> {
    serde_json::from_str(value.get()).map_err(|_| format!("{key:?} must be a text in quotes"))
}

fn code(value: &RawValue) -> Result<Option<u16>, String> {
    let given = value.get();
    let given = match given.starts_with('"') {
        true => text("code", value)?.unwrap_or_default(),
        false if given == "null" => return Ok(None),
        false => given.to_owned(),
    };
    let given = given.trim();
    let code = given.parse().ok().filter(|code| (100..=999).contains(code));
    if code.is_none() && !given.is_empty() {
        return Err("\"code\" must be three digits, such as 550".to_owned());
    }
    Ok(code)
}

fn enhanced(value: &RawValue) -> Result<Option<EnhancedCode>, String> {
    let given = text("enhanced", value)?.unwrap_or_default();
    let code = EnhancedCode::parse(given.trim());
    if code.is_none() && !given.trim().is_empty() {
        return Err("\"enhanced\" must be an enhanced code, such as \"5.1.1\"".to_owned());
    }
    Ok(code)
}

/// Reads one line, at most [`MAX_LINE_BYTES`] of it; false at the end of the input.
pub(super) fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr::memchr(b'\n', buffer);
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        let room = MAX_LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Whether a line is a part of JSON that was written over several lines, or a list of objects.
fn is_part_of_json(line: &str) -> bool {
    let bare = line.trim_end_matches(',').trim_end();
    if matches!(bare, "{" | "}" | "[" | "]" | "[]") {
        return true;
    }
    if let Some(rest) = line.strip_prefix('[') {
        return rest.trim_start().starts_with("{\"");
    }
    // A member of an object, as `"text": …`.
    line.strip_prefix('"').and_then(|rest| rest.split_once('"')).is_some_and(|(key, rest)| {
        let word = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        word && rest.trim_start().starts_with(':')
    })
}

/// The code that a bare line begins with, and whether it says that more lines of its reply come (RFC 5321 section 4.2.1).
pub(super) fn line_code(line: &str) -> (Option<u16>, bool) {
    let Some((digits, rest)) = line.split_at_checked(3) else { return (None, false) };
    let code = digits.parse().ok().filter(|code| (200..600).contains(code));
    (code.filter(|_| rest.is_empty() || rest.starts_with([' ', '-'])), rest.starts_with('-'))
}

/// What is wrong with a JSON line, without a word of it.
fn explain(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Eof => format!("the JSON object is cut off; {ONE_A_LINE}"),
        _ => format!(
            "no JSON at column {}; write one object on each line with nothing behind it, or the reply's text alone",
            error.column()
        ),
    }
}

/// What is said of a key that is none: as it stands where it is a plain word, since anything may stand there.
fn unknown_key(key: &str) -> String {
    let plain = key.len() <= 32 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' '));
    if !plain {
        return format!("no key of a reply is called as one of these; its keys are {}", KEYS.join(", "));
    }
    match nearest_word(key, KEYS) {
        Some(meant) => format!("no key of a reply is called {key:?}: did you mean {meant:?}?"),
        None => format!("no key of a reply is called {key:?}; its keys are {}", KEYS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_line_names_its_key() {
        for (line, said) in [
            (r#"{"text":5}"#, "\"text\" must be a text in quotes"),
            (r#"{"text":null}"#, "\"text\" is null"),
            (r#"{"recipient":"a@example.com"}"#, "\"text\" is missing"),
            (r#"{"text":"550 x","label":10}"#, "\"label\" must be a text in quotes"),
            (r#"{"text":"550 x","sender":5}"#, "\"sender\" must be a text in quotes"),
            (r#"{"text":"550 x","code":5501}"#, "\"code\" must be three digits"),
            (r#"{"text":"550 x","code":"abc"}"#, "\"code\" must be three digits"),
            (r#"{"text":"550 x","code":[550]}"#, "\"code\" must be three digits"),
            (r#"{"text":"550 x","enhanced":"zz"}"#, "\"enhanced\" must be an enhanced code"),
            (r#"{"text":"550 x","enhanced":5}"#, "\"enhanced\" must be a text in quotes"),
            (r#"{"text":"550 x","text":"550 y"}"#, "\"text\" is there twice"),
            (r#"{"text":"550 x","recpient":"a@example.com"}"#, "\"recpient\": did you mean \"recipient\"?"),
            (r#"{"text":"550 x","zzz":1}"#, "\"zzz\"; its keys are text, recipient"),
            (r#"{"text":"550 x","a@example.com":1}"#, "its keys are text, recipient"),
            (r#"{"text":"550 x"},"#, "with nothing behind it"),
            (r#"{"text":"550 x""#, "cut off"),
            ("{", "`jq -c`"),
            ("},", "`jq -c`"),
            ("[", "`jq -c"),
            ("]", "`jq -c"),
            (r#""text": "550 x","#, "`jq -c`"),
            (r#"[{"text":"550 x"}]"#, "`jq -c '.[]'`"),
        ] {
            let told = Input::read(line).err().unwrap_or_default();
            assert!(told.contains(said) && !told.contains("example"), "{line}: {told}");
        }
    }

    #[test]
    fn what_is_null_or_empty_counts_as_not_given() {
        let line = r#"{"text":"","code":null,"enhanced":"","sender":null,"id":null}"#;
        let Ok(input) = Input::read(line) else { panic!("read") };
        assert!(input.code.is_none() && input.enhanced.is_none() && input.sender.is_none());
        let given = |line: &str| Input::read(line).ok().and_then(|input| input.code);
        assert_eq!(given(r#"{"text":"","code":" 550 "}"#), Some(550));
        assert_eq!(given(r#"{"text":"","code":550}"#), Some(550));
        for reply in ["[1]", "\"quoted\" words", "{recipient} is unknown", "[HME1] 550 no"] {
            assert!(Input::read(reply).is_ok_and(|input| input.text == reply), "{reply}");
        }
    }
}
