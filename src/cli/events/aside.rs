//! `relaywatch events aside`: one part that was set aside, opened.

use std::io::{self, Write};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use serde_json::json;

use super::write_json;
use crate::{
    cli::{
        Format, open,
        operator::Who,
        text::{SafeLines, count},
        told::ToldAside,
    },
    clock::Clock,
    config::Config,
    control::JournalAside,
    store::{SetAsideRecord, Store},
};

#[derive(Debug, Args)]
pub(super) struct Aside {
    /// Its number, as `events list --kind set-aside` shows it.
    id: i64,
    /// Say that you want to see personal data: the part is shown as it came, with addresses and accounts in it.
    #[arg(long)]
    show_personal_data: bool,
    #[command(flatten)]
    who: Who,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Aside {
    pub(super) async fn run(&self, config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
        if !self.show_personal_data {
            anyhow::bail!(
                "the part is shown as it came, with personal data in it; say --show-personal-data if that is what you want. \
                 `relaywatch events list --kind set-aside` shows what it is without opening it"
            );
        }
        let (store, _) = open::reader(config).await?;
        let found = self.read(&store).await;
        store.close().await;
        let (record, feed, body) = found?;
        // Nobody sees it before the journal says so.
        let writer = open::writer(config).await?;
        let noted = writer.call(JournalAside { id: self.id, operator: self.who.name() }).await;
        writer.close().await;
        noted?;
        Ok(show(&record, &feed, &body, self.format, out)?)
    }

    async fn read(&self, store: &Store) -> anyhow::Result<(SetAsideRecord, String, Vec<u8>)> {
        let Some((record, body)) = store.set_aside_part(self.id, Clock::System.now()).await? else {
            anyhow::bail!(
                "there is no part {} that was set aside, or it has expired; `relaywatch events list --kind set-aside` shows \
                 those that there are",
                self.id
            );
        };
        let feed = store.words(&[record.feed]).await?.pop().map_or_else(String::new, |(_, name)| name);
        Ok((record, feed, body))
    }
}

/// The part with what is known of it. What would move a terminal's cursor is shown as an escape.
fn show(record: &SetAsideRecord, feed: &str, body: &[u8], format: Format, out: &mut impl Write) -> io::Result<()> {
    let told = ToldAside::new(record, feed);
    let text = std::str::from_utf8(body);
    match (format, text) {
        (Format::Json, Ok(text)) => write_json(&json!({ "part": told, "body": text }), out),
        (Format::Json, Err(_)) => {
            write_json(&json!({ "part": told, "body": null, "body_base64": BASE64_STANDARD.encode(body) }), out)
        }
        (Format::Text, Err(_)) => {
            told.text(out)?;
            let bytes = count(body.len() as u64, "byte");
            writeln!(out, "\n{bytes} that are no text; --format json gives them in base64, as `body_base64`")
        }
        (Format::Text, Ok(text)) => {
            told.text(out)?;
            writeln!(out)?;
            writeln!(out, "{}", SafeLines(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ingest::SetAsideReason, model::Timestamp};

    #[test]
    fn a_part_is_shown_as_it_came_and_moves_no_cursor() {
        let record = SetAsideRecord {
            id: 17,
            received_at: Timestamp::from_millis(1_754_719_200_000),
            expires_at: Timestamp::from_millis(1_754_805_600_000),
            feed: 1,
            reason: SetAsideReason::UnknownType,
            label: "new".to_owned(),
        };
        let shown = |format| {
            let mut out = Vec::new();
            show(&record, "braze", "{\"a\":\n\"\x1b[2J\u{202e}u@b.example\"}".as_bytes(), format, &mut out)
                .expect("writes");
            String::from_utf8(out).expect("text")
        };
        let text = shown(Format::Text);
        assert!(text.contains("part 17") && text.ends_with("{\"a\":\n\"\\u{1b}[2J\\u{202e}u@b.example\"}\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&shown(Format::Json)).expect("json");
        assert_eq!(
            (&json["part"]["id"], &json["body"]),
            (&json!(17), &json!("{\"a\":\n\"\u{1b}[2J\u{202e}u@b.example\"}"))
        );
    }
}
