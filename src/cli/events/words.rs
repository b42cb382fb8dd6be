//! `relaywatch events words`: replies of Apple's in words that no rule knows.

use std::{
    io::{self, Write},
    path::Path,
};

use clap::Args;
use serde_json::json;

use super::write_json;
use crate::{
    cli::{
        Format,
        text::{Safe, argument, command, count},
    },
    monitor::new_words::{AllWords, ShownWords, described, read},
    store::Store,
};

/// Words of a template that make the wording of the example, at most.
const MOST_WORDS: usize = 8;

#[derive(Debug, Args)]
pub(super) struct Words {
    /// How many templates at most, the most frequent first.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Words {
    /// The recipe goes by the configuration file as it was named, and by the folder of the operator's own rules.
    pub(super) async fn run(
        &self,
        store: &Store,
        (file, folder): (Option<&Path>, Option<&Path>),
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let all = read(store, self.limit).await?;
        match self.format {
            Format::Json => {
                for shown in &all.shown {
                    write_json(&machine(shown), out)?;
                }
            }
            Format::Text => people(&all, (file, folder), out)?,
        }
        Ok(out.flush()?)
    }
}

fn machine(shown: &ShownWords) -> serde_json::Value {
    let ShownWords { words, text, id, rule } = shown;
    json!({
        "template": text,
        "id": id,
        "replies": words.replies,
        "addresses": words.addresses,
        "streams": words.streams,
        "first": words.first.to_string(),
        "last": words.last.to_string(),
        "guessed_cause": words.cause,
        "guessed_by": rule,
        "told": words.told.map(|at| at.to_string()),
    })
}

fn people(all: &AllWords, place: (Option<&Path>, Option<&Path>), out: &mut impl Write) -> io::Result<()> {
    let Some(first) = all.shown.first() else {
        return writeln!(out, "no new words: a rule knows every reply of Apple's that the journal holds");
    };
    writeln!(
        out,
        "{} of Apple's that no rule knows, in {}",
        count(all.templates, "template"),
        if all.replies == 1 { "1 reply".to_owned() } else { format!("{} replies", all.replies) }
    )?;
    for shown in &all.shown {
        let told = shown.words.told.map_or_else(|| "not told yet".to_owned(), |at| format!("told {at}"));
        writeln!(out, "\n{}", Safe(&shown.text))?;
        let streams = count(shown.words.streams, "stream");
        writeln!(out, "  {}; {streams}; id {}; {told}", Safe(&described(shown)), shown.id)?;
    }
    let left = all.templates.saturating_sub(all.shown.len() as u64);
    if left > 0 {
        writeln!(out, "\nand {left} more: --limit shows more of them")?;
    }
    write!(out, "\n{}", example(&first.id, &first.text, place))
}

/// What a template says between its codes, roles and brackets: the longest run of it.
fn wording(template: &str) -> String {
    let between = |c: char| matches!(c, '<' | '>' | '{' | '}' | '[' | ']' | '(' | ')' | ':' | ';' | ',' | '"');
    let letters = |word: &str| word.chars().any(char::is_alphabetic);
    let mut longest: Vec<&str> = Vec::new();
    // Within braces stands a role.
    for text in template.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)) {
        for part in text.split(between) {
            let words: Vec<&str> = part.split_whitespace().skip_while(|word| !letters(word)).take(MOST_WORDS).collect();
            if words.len() > longest.len() {
                longest = words;
            }
        }
    }
    let said = longest.join(" ");
    said.trim_matches(|c: char| !c.is_alphanumeric()).to_owned()
}

/// How to write a rule for a template, and to try it.
fn example(id: &str, template: &str, (file, folder): (Option<&Path>, Option<&Path>)) -> String {
    // TOML's basic strings escape as JSON's do.
    let quoted = |text: &str| serde_json::Value::String(Safe(text).to_string()).to_string();
    let rule = rule(id, &quoted(&wording(template)), &quoted(template));
    let (place, lint, then) = match folder {
        Some(folder) => (argument(folder), "classify --lint", "reload (SIGHUP)"),
        None => ("rules".to_owned(), "classify --rules rules --lint", "set [rules] folder, reload (SIGHUP)"),
    };
    format!(
        "To teach relaywatch what one of them means, write a rule into a file of its own, fill in cause and doc (without\n\
         a cause it is refused), and check it before it is in force:\n\n\
         set -C; mkdir -p {place} && cat > {place}/words-{id}.toml <<'END'\n{rule}END\n\
         {}\n\n\
         Then {then}, and run {} for the replies that have come already.\n",
        command(file, lint),
        command(file, "rebuild --rules"),
    )
}

/// A rule file for a template, by its wording and itself, both as TOML writes them.
fn rule(id: &str, wording: &str, template: &str) -> String {
    format!(
        "version = 1\n\n\
         [[rule]]\n\
         name = \"words-{id}\"\n\
         receiver = [\"apple-relay\", \"apple-icloud\"]\n\
         wording = [{wording}]\n\
         cause = \"\" # say what it means: a word of docs/causes.md\n\
         confidence = 0.8\n\
         doc = \"\" # how you know it\n\
         samples = [{{ text = {template}, recipient = \"x7kq2m9abc@privaterelay.appleid.com\" }}]\n\
         near_misses = [\"550 5.1.1 user not found\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        classify::Rules,
        model::{Cause, Timestamp},
        store::{NewWords, template_id},
    };

    fn shown(text: &str) -> ShownWords {
        let at = Timestamp::from_millis(1_754_719_200_000);
        let words = NewWords {
            template: 7,
            replies: 12,
            addresses: 9,
            streams: 1,
            first: at,
            last: at.plus_millis(3_600_000),
            cause: Cause::Undetermined,
            rule: 3,
            told: Some(at.plus_millis(7_200_000)),
        };
        ShownWords { words, text: text.to_owned(), id: template_id(text), rule: "none/undetermined".to_owned() }
    }

    #[test]
    fn they_are_shown_with_a_rule_to_begin_with() {
        let mut guessed = shown("452 4.7.1 \u{1b}[2J please come back");
        (guessed.words.cause, guessed.rule, guessed.words.told) = (Cause::RateLimited, "codes/x".to_owned(), None);
        let all = AllWords {
            shown: vec![shown("550 5.7.1 [HX09] <{recipient}> this sender is not served \"here\""), guessed],
            templates: 4_711,
            replies: 20_000,
        };
        let mut out = Vec::new();
        people(&all, (None, None), &mut out).expect("writes");
        insta::assert_snapshot!("words", String::from_utf8(out).expect("text"));
        insta::assert_snapshot!("words_json", machine(&all.shown[0]).to_string());
        let mut none = Vec::new();
        people(&AllWords::default(), (None, None), &mut none).expect("writes");
        assert!(String::from_utf8(none).expect("text").starts_with("no new words"));
    }

    #[test]
    fn the_recipe_goes_by_the_folder_that_is_set() {
        let (file, folder) = (Path::new("/etc/relaywatch/relaywatch.toml"), Path::new("/etc/relaywatch/our rules"));
        let said = example("0", "550 5.7.1 gone fishing", (Some(file), Some(folder)));
        assert!(
            said.contains("mkdir -p '/etc/relaywatch/our rules' && cat > '/etc/relaywatch/our rules'/words-0.toml"),
            "{said}"
        );
        assert!(said.contains("\nrelaywatch --config /etc/relaywatch/relaywatch.toml classify --lint\n"), "{said}");
        assert!(
            said.contains("\nThen reload (SIGHUP), and run relaywatch --config") && !said.contains("[rules] folder"),
            "{said}"
        );
    }

    #[test]
    fn the_rule_to_begin_with_is_one() {
        for template in [
            "550 5.7.1 [HX09] <{recipient}> this sender is not served \"here\"",
            "554 {ip} frobnicated",
            "451 4.3.2 <{recipient}>: the \\alias' is being moved\u{7f}\u{202e}, id {id}",
        ] {
            let quoted = |text: &str| serde_json::Value::String(Safe(text).to_string()).to_string();
            let blank = rule("0", &quoted(&wording(template)), &quoted(template));
            let told = blank.replace("doc = \"\"", "doc = \"us\"");
            let error = Rules::with_extra(&[("mine", told.as_str())]).expect_err("no cause").to_string();
            assert!(
                error.contains("line 7") && error.contains("policy_rejected"),
                "unfilled, it decides nothing: {error}"
            );
            let file = told.replace("cause = \"\"", "cause = \"policy_rejected\"");
            let rules = Rules::with_extra(&[("mine", file.as_str())]).unwrap_or_else(|error| panic!("{error}\n{file}"));
            let findings: Vec<String> =
                rules.lint().iter().filter(|found| found.rule.starts_with("mine/")).map(ToString::to_string).collect();
            assert_eq!(findings, Vec::<String>::new(), "{file}");
        }
    }
}
