//! Pages to Slack in Block Kit: by an incoming webhook, or by a bot that keeps an incident in one thread.
//!
//! Limits of Block Kit: 50 blocks a message, 150 characters a header, 3,000 a section, 2,000 a field.
//! Sources: docs.slack.dev, "Blocks", "Sending messages using incoming webhooks", "chat.postMessage", "Rate limits".

use std::fmt::Write as _;

use reqwest::{Client, header};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Endpoint, Page, PageKind, SetupError, Severity, answer, answer::Failure};
use crate::{config, config::Secret, ingest::label, model::Timestamp};

/// Where Slack's methods are.
const API: &str = "https://slack.com/api/chat.postMessage";
const HEADER: usize = 150;
const SECTION: usize = 3_000;
const FIELD: usize = 2_000;
/// Sections that facts, or an explanation, may fill.
const MOST_SECTIONS: usize = 8;
/// Links that are shown.
const MOST_LINKS: usize = 10;
/// Errors of `chat.postMessage` after which the same call may go through later.
const PASSING: [&str; 5] = ["ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"];

/// How pages get to Slack.
#[derive(Debug, Clone)]
pub enum Slack {
    /// By an incoming webhook.
    Webhook(Endpoint),
    /// By a bot with the scope `chat:write`.
    Bot {
        /// Its token.
        token: Secret,
        /// The channel, by id or name.
        channel: String,
        /// The address of `chat.postMessage`.
        api: Endpoint,
    },
}

/// What Slack answers to a bot.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    error: Option<String>,
    ts: Option<String>,
}

impl Slack {
    /// The way that is configured, if one is.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn new(settings: &config::Slack) -> Result<Option<Self>, SetupError> {
        if let Some(url) = &settings.webhook_url {
            return Ok(Some(Self::Webhook(Endpoint::parse("notify.slack.webhook_url", url)?)));
        }
        let (Some(token), Some(channel)) = (&settings.bot_token, &settings.channel) else { return Ok(None) };
        let api = Url::parse(API).map_err(|_| SetupError::Url { setting: "notify.slack" })?;
        Ok(Some(Self::Bot { token: token.clone(), channel: channel.clone(), api: Endpoint::new(api) }))
    }

    /// Whether pages of one incident are kept in one thread.
    pub(super) const fn has_threads(&self) -> bool {
        matches!(self, Self::Bot { .. })
    }

    /// Sends a page; gives Slack's id of the message (`ts`) where it tells one.
    pub(super) async fn send(
        &self,
        client: &Client,
        page: &Page,
        possible_repeat: bool,
        thread: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<String>, Failure> {
        let mut message = message(page, possible_repeat);
        match self {
            Self::Webhook(endpoint) => {
                let request = client.post(endpoint.url()).header(header::CONTENT_TYPE, "application/json");
                answer::send(request.body(message.to_string()), now).await.map(|_| None)
            }
            Self::Bot { token, channel, api } => {
                if let Some(fields) = message.as_object_mut() {
                    fields.insert("channel".to_owned(), json!(channel));
                    fields.insert("unfurl_links".to_owned(), json!(false));
                    if let Some(thread) = thread {
                        fields.insert("thread_ts".to_owned(), json!(thread));
                        // A thread is easily overlooked: what changes the alarm is shown in the channel too.
                        fields.insert("reply_broadcast".to_owned(), json!(page.kind != PageKind::CauseNamed));
                    }
                }
                let request = client
                    .post(api.url())
                    .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
                    .bearer_auth(token.expose());
                let response = answer::send(request.body(message.to_string()), now).await?;
                read(&answer::body(response).await?)
            }
        }
    }
}

/// Slack answers a bot with 200 also where it refuses.
fn read(body: &[u8]) -> Result<Option<String>, Failure> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| Failure::unknown("Slack's answer is not what it documents"))?;
    if answer.ok {
        return Ok(answer.ts.filter(|ts| ts.len() <= 32 && ts.chars().all(|c| c.is_ascii_digit() || c == '.')));
    }
    let error = answer.error.unwrap_or_default();
    let reason = format!("Slack refused: {}", label(&error));
    Err(if PASSING.contains(&error.as_str()) { Failure::transient(reason, None) } else { Failure::refused(reason) })
}

/// What begins the header: how urgent it is, unless it is over.
const fn urgency(page: &Page) -> &'static str {
    match (page.kind, page.severity) {
        (kind, _) if kind.is_over() => "",
        (_, Severity::Page) => "Page: ",
        (_, Severity::Ticket) => "Ticket: ",
    }
}

/// When it began: a bin of five minutes, or an hour where no rate is known; times are UTC.
fn began(page: &Page) -> String {
    let bin = page.since.bin();
    if let Some(turned) = page.turned {
        return format!("turned at {turned}; the rise may have begun as early as {}", page.since);
    }
    if page.sent == 0 {
        return format!("the hour from {}", page.since);
    }
    if bin.start() != page.since {
        return page.since.to_string();
    }
    let end = bin.end().to_string();
    let clock = end.split_once('T').map_or(end.as_str(), |(_, clock)| clock);
    format!("rise began between {} and {clock}", page.since)
}

/// The message: blocks, and the text that notifications show. The headline is said once, by the header, unless it's cut there.
fn message(page: &Page, possible_repeat: bool) -> Value {
    let name = page.installation.as_ref().map_or_else(String::new, |name| format!("[{name}] "));
    let head = format!("{}{name}{}", urgency(page), page.headline);
    let is_over = page.kind.is_over();
    let share = if page.sent == 0 {
        String::new()
    } else {
        #[expect(clippy::cast_precision_loss, reason = "a share for people, in tenths of a percent")]
        let share = 100.0 * page.refused as f64 / page.sent as f64;
        format!(" ({share:.1} %)")
    };
    let mut counts = if page.sent == 0 {
        // Nobody reported sends: no rate.
        format!("*Refused*\n{}", page.refused)
    } else {
        format!("*Refused*\n{} of {} sent{share}", page.refused, page.sent)
    };
    if page.raised {
        counts.push_str("\n*Raised from ticket to page*");
    }
    let mut blocks = vec![json!({"type": "header", "text": {"type": "plain_text", "text": cut(&head, HEADER, false)}})];
    if units(&head) > HEADER {
        blocks.push(section(&cut(&page.headline, SECTION, true)));
    }
    if page.kind.is_of_incident() && !is_over {
        blocks.push(json!({"type": "section", "fields": [
            {"type": "mrkdwn", "text": cut(&format!("*Since*\n{}", began(page)), FIELD, false)},
            {"type": "mrkdwn", "text": cut(&counts, FIELD, false)},
        ]}));
    }
    let bullet = if is_over { "" } else { "• " };
    blocks.extend(chunks(&page.facts, bullet, SECTION).iter().map(|text| section(text)));
    blocks.extend(chunks(&page.explanation, bullet, SECTION).iter().map(|text| section(text)));
    if let Some(action) = &page.safe_action {
        blocks.push(section(&format!("*Do now*\n{}", cut(action, SECTION - 20, true))));
    }
    let links = links(page);
    if !links.is_empty() {
        blocks.push(section(&links));
    }
    let what = if page.kind.is_of_incident() { "incident " } else { "" };
    let incident = cut(&page.incident, 200, true);
    let mut context = format!("{what}{incident} · {}", page.at);
    if page.kind.is_of_incident() {
        write!(context, " · to go on: `relaywatch incident report {}`", incident.replace('`', "'")).unwrap_or_default();
    }
    if possible_repeat {
        write!(context, " · *possible repeat* (key {})", cut(&page.key, 200, true)).unwrap_or_default();
    }
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": context}]}));
    let repeat = if possible_repeat { "possible repeat · " } else { "" };
    // A notification shows nothing but the text: how many, too.
    let counted = match (page.kind, page.sent) {
        (kind, _) if !kind.is_of_incident() => String::new(),
        (_, 0) => format!(" · {} refused", page.refused),
        (_, sent) => format!(" · {} of {sent} refused{share}", page.refused),
    };
    json!({"text": cut(&format!("{repeat}{head}{counted}"), SECTION, true), "blocks": blocks})
}

/// As many links as fit, in one line.
fn links(page: &Page) -> String {
    const GAP: &str = "   ";
    let sound = |url: &str| Url::parse(url).is_ok() && !url.contains(['|', '>', '<']);
    let mut out = String::new();
    for link in page.links.iter().filter(|link| sound(&link.url)).take(MOST_LINKS) {
        let shown = format!("<{}|{}>", escape(&link.url), cut(&link.title, 80, true).replace('|', "/"));
        if units(&out) + GAP.len() + units(&shown) > SECTION {
            break;
        }
        if !out.is_empty() {
            out.push_str(GAP);
        }
        out.push_str(&shown);
    }
    out
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

/// The lines in as few texts as fit, each within `limit`.
fn chunks(lines: &[String], bullet: &str, limit: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut room = 0;
    for line in lines {
        let line = format!("{bullet}{}", cut(&line.replace("```", "'''"), limit - 10, true));
        let length = units(&line) + 1;
        if let Some(last) = out.last_mut().filter(|_| length <= room) {
            last.push('\n');
            last.push_str(&line);
            room -= length;
        } else if out.len() < MOST_SECTIONS {
            room = limit - length;
            out.push(line);
        } else {
            break;
        }
    }
    out
}

/// The length of a text as Slack may count it: UTF-16 units, never fewer than characters.
fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Slack's control characters as entities, so that no name of a campaign can mention a channel.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The text, escaped for mrkdwn where asked, cut to `limit` without cutting an entity.
fn cut(text: &str, limit: usize, mrkdwn: bool) -> String {
    let whole = if mrkdwn { escape(text) } else { text.to_owned() };
    if units(&whole) <= limit {
        return whole;
    }
    let mut out = String::new();
    let mut room = limit - 1;
    for c in text.chars() {
        let piece = if mrkdwn { escape(c.encode_utf8(&mut [0; 4])) } else { c.to_string() };
        let length = units(&piece);
        if length > room {
            break;
        }
        room -= length;
        out.push_str(&piece);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::{Link, page::tests::page};

    /// A message as people see it.
    fn shown(message: &Value) -> String {
        let mut out = format!("notification: {}\n", message["text"].as_str().expect("text"));
        for block in message["blocks"].as_array().expect("blocks") {
            let kind = block["type"].as_str().expect("type");
            writeln!(out, "--- {kind}").expect("text");
            let texts = [&block["text"]].into_iter().chain(block["fields"].as_array().into_iter().flatten());
            for text in texts.chain(block["elements"].as_array().into_iter().flatten()) {
                if let Some(text) = text["text"].as_str() {
                    writeln!(out, "{text}").expect("text");
                }
            }
        }
        out
    }

    #[test]
    fn every_kind_of_page_reads_well() {
        for kind in PageKind::ALL {
            for severity in Severity::ALL {
                insta::assert_snapshot!(
                    format!("slack_{kind}_{severity}"),
                    shown(&message(&page(*kind, *severity), false))
                );
            }
        }
        let raised = Page { raised: true, ..page(PageKind::Worse, Severity::Page) };
        insta::assert_snapshot!("slack_raised_possible_repeat", shown(&message(&raised, true)));
        insta::assert_json_snapshot!("slack_blocks", message(&page(PageKind::Opened, Severity::Page), true));
    }

    #[test]
    fn a_turn_long_after_the_first_refusals_is_told() {
        let turned = Some(Timestamp::from_seconds(1_754_719_500));
        let since = Timestamp::from_seconds(1_754_709_000);
        let page = Page { since, turned, ..page(PageKind::Opened, Severity::Page) };
        let text = shown(&message(&page, false));
        let said = "turned at 2025-08-09T06:05:00Z; the rise may have begun as early as 2025-08-09T03:10:00Z";
        assert!(text.contains(said) && !text.contains("rise began"), "{text}");
    }

    #[test]
    fn the_installation_is_named_where_it_has_a_name() {
        let named = Page { installation: Some("acme production".to_owned()), ..page(PageKind::Opened, Severity::Page) };
        let message = message(&named, false);
        let head = "Page: [acme production] Relay mail is refused on sparkpost/news.example.com";
        assert_eq!(message["blocks"][0]["text"]["text"], head);
        assert!(message["text"].as_str().expect("text").starts_with(head), "a notification shows nothing else");
    }

    #[test]
    fn names_from_outside_mention_nobody() {
        let hostile = "<!channel> & <https://evil.example|x>";
        let mut page = page(PageKind::Opened, Severity::Page);
        page.headline = hostile.to_owned();
        page.facts = vec![hostile.to_owned()];
        page.explanation = vec![format!("``` {hostile}")];
        page.safe_action = Some(hostile.to_owned());
        page.links = vec![
            Link { title: hostile.to_owned(), url: "https://a.example/?a=1&b=2".to_owned() },
            Link { title: "no link".to_owned(), url: "https://a.example/>|<!channel>".to_owned() },
        ];
        let mut message = message(&page, true);
        // Slack reads no mention in plain text, which is all that a header can be.
        let header = message["blocks"].as_array_mut().expect("blocks").remove(0);
        assert_eq!(header["text"]["type"], "plain_text");
        let text = shown(&message);
        assert!(!text.contains("<!channel>") && !text.contains("<https://evil") && text.contains("<https://a.example"));
        assert!(!text.contains("```"), "nor open a block of code");
    }

    #[test]
    fn what_slack_answers_to_a_bot() {
        assert_eq!(read(br#"{"ok":true,"ts":"1700000000.000100"}"#), Ok(Some("1700000000.000100".to_owned())));
        assert!(read(br#"{"ok":false,"error":"channel_not_found"}"#).expect_err("refused").refused);
        let passing = read(br#"{"ok":false,"error":"internal_error"}"#).expect_err("refused");
        assert!(!passing.refused && !passing.may_have_arrived);
        assert!(read(b"<html>").expect_err("no answer").may_have_arrived);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn messages_stay_within_block_kit(
            text in "[\\PC&<>😀]{0,400}", times in 1..20_usize, lines in 0..30_usize, links in 0..30_usize,
        ) {
            let long = text.repeat(times);
            let link = Link { title: long.clone(), url: format!("https://a.example/{}", "x".repeat(times * 20)) };
            let message = message(&Page {
                stream: long.clone(),
                headline: long.clone(),
                incident: long.clone(),
                key: long.clone(),
                facts: vec![long.clone(); lines],
                explanation: vec![long.clone(); lines],
                safe_action: Some(long),
                links: vec![link; links],
                ..page(PageKind::Opened, Severity::Page)
            }, true);
            let blocks = message["blocks"].as_array().expect("blocks");
            prop_assert!(blocks.len() <= 50);
            prop_assert!(units(message["text"].as_str().expect("text")) <= SECTION);
            for block in blocks {
                let limit = if block["type"] == "header" { HEADER } else { SECTION };
                for text in [&block["text"]].into_iter().chain(block["elements"].as_array().into_iter().flatten()) {
                    prop_assert!(units(text["text"].as_str().unwrap_or_default()) <= limit);
                }
                for field in block["fields"].as_array().into_iter().flatten() {
                    prop_assert!(units(field["text"].as_str().expect("text")) <= FIELD);
                }
            }
        }
    }
}
