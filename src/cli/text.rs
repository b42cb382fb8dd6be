//! Text for terminals: what the store holds was written by strangers.

use std::{
    fmt::{self, Write as _},
    path::Path,
};

pub(super) use crate::model::counted as count;

/// Shows a text in one line, with everything that could steer a terminal escaped.
pub(super) struct Safe<'a>(pub(super) &'a str);

/// The same for a text of several lines: line breaks and tabs stay.
pub(super) struct SafeLines<'a>(pub(super) &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, &[], f)
    }
}

impl fmt::Display for SafeLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, &['\n', '\t'], f)
    }
}

fn escape(text: &str, kept: &[char], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        // Control characters, and those that turn the direction of writing or can't be seen.
        let hidden = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if (c.is_control() && !kept.contains(&c)) || hidden {
            write!(f, "{}", c.escape_default())?;
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}

/// A command of relaywatch's as it can be run after this one, with the configuration that was named for it.
pub(super) fn command(file: Option<&Path>, rest: &str) -> String {
    file.map_or_else(|| format!("relaywatch {rest}"), |file| format!("relaywatch --config {} {rest}", argument(file)))
}

/// A path as a shell reads it.
pub(super) fn argument(path: &Path) -> String {
    let path = Safe(&path.display().to_string()).to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | '@' | '%');
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// An address's random id as people and machines see it: JSON numbers hold only 53 bits.
pub(super) fn address_id(id: i64) -> String {
    format!("{id:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let shown = Safe("550 \u{1b}[2J\r\n\u{9b}31m\u{202e}olleh ä").to_string();
        assert_eq!(shown, "550 \\u{1b}[2J\\r\\n\\u{9b}31m\\u{202e}olleh ä");
        assert_eq!(address_id(255), "00000000000000ff");
        let kept = SafeLines("{\r\n\t\"a\u{1b}[2J\"\n}").to_string();
        assert_eq!(kept, "{\\r\n\t\"a\\u{1b}[2J\"\n}");
    }

    #[test]
    fn a_command_keeps_its_configuration() {
        assert_eq!(command(None, "rebuild"), "relaywatch rebuild");
        assert_eq!(command(Some(Path::new("/etc/r.toml")), "rebuild"), "relaywatch --config /etc/r.toml rebuild");
        assert_eq!(
            command(Some(Path::new("my 'r'.toml")), "rebuild"),
            "relaywatch --config 'my '\\''r'\\''.toml' rebuild"
        );
    }
}
