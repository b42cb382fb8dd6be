//! Bounces that people are meant to read: recipients and replies out of the text, by a few general habits of writing.
//!
//! All of them are observed, none is documented as a format: an address that heads a paragraph (qmail, Exim, Gmail, Exchange,
//! Yahoo, OpenSMTPD, Courier, Postfix), a transcript of the session (Sendmail, Exchange), a sentence that ends in the address
//! (MailFoundry, DragonFly, IMail, WorkMail). What follows the address, up to the next one, is about it.

use std::{collections::HashMap, sync::LazyLock};

use regex::Regex;

use super::{
    MAX_RECIPIENTS, codes,
    fields::{self, Fields, cut, is_name},
    regex,
};
use crate::model::{Address, MAX_REPLY_BYTES};

/// Lines of a notice that are looked at.
const MAX_LINES: usize = 10_000;
/// Lines that are looked at for what one recipient's paragraph says.
const MAX_BLOCK_LINES: usize = 60;
/// The longest line that is matched; text without line ends is prose or no text.
const MAX_LINE_BYTES: usize = 2_000;

/// An address that heads what is said about it: alone on its line, or before a colon.
static HEADING: LazyLock<Regex> = regex!(
    r#"(?x)^[\ \t]*(?:(?:[*•>+]+|-{1,2})[\ \t]+|>+)?
    (?:to[\ ]|recipient(?:[\ ]address)?:[\ ]*|addressed[\ ]to:[\ ]*)?
    (?:<([^\s<>]+@[^\s<>@]+)>|["']?([^\s<>()\[\],;:"'=]+@[^\s<>()\[\],;:"'@]+)["']?)
    (?:[\ \t]*[<(](?:mailto:|smtp:)?[^\s<>()]+@[^\s<>()]+[>)])?
    (?:[\ \t]+on[\ ][A-Z][a-z]{2},[\ ].*|[\ \t]*(?:[:,]|\.{3})[\ \t]*(.*)|[\ \t]+[(\[]?(\S.*?)[)\]]?)?$"#
);
/// A line of a transcript that answers for one recipient: `550 <jo@example.net>... User unknown`.
static ANSWER: LazyLock<Regex> =
    regex!(r"^[ \t]*(?:<<<[ \t]*)?[45]\d\d[ -](?:[245]\.\d{1,3}\.\d{1,3}[ \t]+)?<([^\s<>]+@[^\s<>@]+)>");
/// What the sending side said in a transcript.
static RCPT: LazyLock<Regex> = regex!(r"(?i)\bRCPT[ \t]+TO:[ \t]*<?([^\s<>]+@[^\s<>@]+)>?");
/// A sentence that names the recipient.
static SENTENCE: LazyLock<Regex> = regex!(
    r#"(?i)\b(?:to|recipient|recipients|address|for|addressee)(?:[ \t]+address)?[ \t]*:?[ \t]+<?([^\s<>()\[\],;:"']+@[^\s<>()\[\],;:"'@]+)>?"#
);
/// The host that a text names as the one that spoke.
static HOST: LazyLock<Regex> = regex!(
    r"(?i)\b(?:host|server|talking to|connected to|recipient domain \S+ by)[ \t]+([a-z0-9](?:[a-z0-9-]*\.)+[a-z]{2,24})\b"
);
/// An address, anywhere.
static ADDRESS: LazyLock<Regex> = regex!(r#"[^\s<>()\[\],;:"'=]+@[^\s<>()\[\],;:"'@]+"#);

/// How the recipients of a text were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    Headings,
    Transcript,
    Sentence,
}

/// What a text says of one recipient.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) recipient: Address,
    /// What follows the recipient, up to the next.
    pub(super) block: String,
}

/// A text cut in two: what the reporter says, and the header of the message that it returns below.
pub(super) fn split(text: &str) -> (String, Option<Fields>) {
    let mut offset = 0;
    let mut after_break = true;
    for line in text.split_inclusive('\n').take(MAX_LINES) {
        let bare = line.trim();
        if after_break
            && !line.starts_with([' ', '\t'])
            && bare.split_once(':').is_some_and(|(name, _)| is_name(name))
            && let Some(rest) = text.get(offset..)
            && is_returned_header(rest)
        {
            let fields = Fields::read(cut(rest, 64 * 1024));
            return (text.get(..offset).unwrap_or_default().to_owned(), Some(fields));
        }
        after_break = bare.is_empty() || bare.starts_with(['-', '=', '_', '*', '#']) || bare.ends_with(['-', ':']);
        offset += line.len();
    }
    (text.to_owned(), None)
}

/// Whether the header of a whole message begins here: some fields in a row, one of them such as only a message has.
fn is_returned_header(text: &str) -> bool {
    const OWN: &[&str] =
        &["received", "return-path", "message-id", "mime-version", "dkim-signature", "x-originating-ip"];
    const NOT: &[&str] = &["reporting-mta", "final-recipient", "original-recipient", "feedback-type"];
    let (mut fields, mut own) = (0, 0);
    for line in text.lines().take(200) {
        if line.trim().is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((name, _)) = line.split_once(':').filter(|(name, _)| is_name(name)) else { break };
        let name = name.trim().to_ascii_lowercase();
        if NOT.contains(&name.as_str()) {
            return false;
        }
        fields += 1;
        own += usize::from(OWN.contains(&name.as_str()));
    }
    fields >= 2 && own >= 1
}

/// The recipients that a text names, with what it says of each, in the order of the text.
pub(super) fn read(text: &str, not: &[Address]) -> Option<(Habit, Vec<Said>)> {
    let lines: Vec<&str> = text.lines().take(MAX_LINES).map(|line| cut(line, MAX_LINE_BYTES)).collect();
    let found = headings(&lines, not);
    if !found.is_empty() {
        return Some((Habit::Headings, found));
    }
    let found = transcript(&lines, not);
    if !found.is_empty() {
        return Some((Habit::Transcript, found));
    }
    let found = sentence(&lines, text, not);
    (!found.is_empty()).then_some((Habit::Sentence, found))
}

/// What the text says of one of these recipients, each with its block; a text that is about one alone is all about it.
pub(super) fn about(text: &str, recipients: &[Address]) -> HashMap<String, String> {
    let lines: Vec<&str> = text.lines().take(MAX_LINES).map(|line| cut(line, MAX_LINE_BYTES)).collect();
    let mut blocks: HashMap<String, String> = HashMap::new();
    let mut offer = |said: Said| {
        let key = said.recipient.key();
        let better = blocks.get(&key).is_none_or(|held| !is_sure(held));
        if better && reply(&said.block).is_some() {
            blocks.insert(key, said.block);
        }
    };
    headings(&lines, &[]).into_iter().for_each(&mut offer);
    transcript(&lines, &[]).into_iter().for_each(&mut offer);
    if let [only] = recipients {
        let key = only.key();
        if blocks.get(&key).is_none_or(|held| !is_sure(held)) && is_sure(text) {
            blocks.insert(key, text.to_owned());
        }
    }
    blocks
}

fn headings(lines: &[&str], not: &[Address]) -> Vec<Said> {
    let mut found: Vec<(usize, Address, String)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if !line.contains('@') || found.len() > 4 * MAX_RECIPIENTS {
            continue;
        }
        let Some(heading) = HEADING.captures(line) else { continue };
        let Some(address) = heading.get(1).or_else(|| heading.get(2)) else { continue };
        let Some(address) = recipient(address.as_str(), not) else { continue };
        let rest = heading.get(3).or_else(|| heading.get(4)).map_or_else(String::new, |rest| rest.as_str().to_owned());
        found.push((at, address, rest));
    }
    let mut order: Vec<Said> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, (at, address, rest)) in found.iter().enumerate() {
        let next = found.get(index + 1).map_or(lines.len(), |(next, ..)| *next);
        let mut block = rest.clone();
        if block.is_empty() && lines.get(at + 1).is_none_or(|line| line.trim().is_empty()) {
            // Domino puts the reason on the line above.
            block = at
                .checked_sub(1)
                .and_then(|above| lines.get(above))
                .filter(|line| is_said(line) && !line.contains('@'))
                .map_or_else(String::new, |line| line.trim().to_owned());
        }
        for line in lines.get(at + 1..next).unwrap_or_default().iter().take(MAX_BLOCK_LINES) {
            block.push('\n');
            block.push_str(line);
        }
        match places.get(&address.key()) {
            Some(&place) => {
                // Named twice: in a list, and again above what is said.
                if let Some(said) = order.get_mut(place)
                    && !is_sure(&said.block)
                    && reply(&block).is_some()
                {
                    said.block = block;
                }
            }
            None if order.len() < MAX_RECIPIENTS => {
                places.insert(address.key(), order.len());
                order.push(Said { recipient: address.clone(), block });
            }
            None => {}
        }
    }
    order
}

fn transcript(lines: &[&str], not: &[Address]) -> Vec<Said> {
    let mut order: Vec<Said> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut asked: Option<Address> = None;
    for line in lines {
        if let Some(found) = RCPT.captures(line).and_then(|found| found.get(1)) {
            asked = recipient(found.as_str(), not);
            continue;
        }
        let answered =
            ANSWER.captures(line).and_then(|found| found.get(1)).and_then(|found| recipient(found.as_str(), not));
        let heard = ["<<< ", "Received >>> "].iter().any(|mark| line.trim_start().starts_with(mark));
        let continued = asked.clone().filter(|_| heard);
        let Some(address) = answered.or(continued) else { continue };
        match places.get(&address.key()) {
            Some(&place) => {
                if let Some(said) = order.get_mut(place)
                    && said.block.len() < MAX_REPLY_BYTES
                {
                    said.block.push('\n');
                    said.block.push_str(line);
                }
            }
            None if order.len() < MAX_RECIPIENTS => {
                places.insert(address.key(), order.len());
                order.push(Said { recipient: address, block: (*line).to_owned() });
            }
            None => {}
        }
    }
    order
}

fn sentence(lines: &[&str], text: &str, not: &[Address]) -> Vec<Said> {
    for (at, line) in lines.iter().enumerate() {
        if let Some(found) = SENTENCE.captures(line).and_then(|found| found.get(1))
            && let Some(address) = recipient(found.as_str(), not)
        {
            let (_, behind) = line.split_once(found.as_str()).unwrap_or_default();
            let behind = behind.trim_start_matches(['>', '.', ':', ',', ' ']);
            let block = format!("{behind}\n{}", lines.get(at + 1..).unwrap_or_default().join("\n"));
            // What is said with a code counts wherever it stands.
            let block = if is_sure(&block) || !is_sure(text) { block } else { text.to_owned() };
            return vec![Said { recipient: address, block }];
        }
    }
    Vec::new()
}

/// An address that can be somebody's to whom mail was sent.
fn recipient(text: &str, not: &[Address]) -> Option<Address> {
    let address = fields::address(text.trim_end_matches(['.', ':']).trim_start_matches("mailto:"))?;
    let local = address.local().to_ascii_lowercase();
    let operator = ["postmaster", "mailer-daemon", "abuse", "hostmaster"].contains(&local.as_str());
    let outside =
        address.domain().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || !b.is_ascii());
    (!operator && outside && !not.iter().any(|other| other.key() == address.key())).then_some(address)
}

/// Whether a block has a reply with a code.
pub(super) fn is_sure(block: &str) -> bool {
    reply(block).is_some_and(|(_, sure)| sure)
}

/// The reply in a block of text, and whether it has a code.
pub(super) fn reply(block: &str) -> Option<(String, bool)> {
    let lines: Vec<&str> = block.lines().take(MAX_LINES).map(|line| cut(line, MAX_LINE_BYTES)).collect();
    for (at, line) in lines.iter().enumerate() {
        if let Some(from) = codes::begins(line.trim_start()) {
            let start = line.trim_start().get(from..).unwrap_or_default();
            // A success of the session before the failure.
            if start.starts_with(['2', '3']) {
                continue;
            }
            return Some((joined(start, lines.get(at + 1..).unwrap_or_default()), true));
        }
    }
    // No code: the first paragraph is what was said, but for rules and for lines that announce what follows.
    let first = lines.iter().position(|line| is_said(line))?;
    let start = lines.get(first)?.trim().trim_start_matches("<<< ");
    Some((joined(start, lines.get(first + 1..).unwrap_or_default()), false))
}

/// Whether a line says something by itself.
fn is_said(line: &str) -> bool {
    let line = line.trim();
    line.chars().any(char::is_alphabetic) && !line.ends_with(':') && !line.starts_with(['-', '=', '*', '_', '#'])
}

/// A line with those that continue its paragraph.
fn joined(start: &str, rest: &[&str]) -> String {
    const ENDS: &[&str] = &[
        "giving up on",
        "i'm not going to",
        "this is a permanent",
        "this has been a permanent",
        ">>> ",
        "(reason",
        "--",
    ];
    let mut text = start.trim_end().to_owned();
    for line in rest.iter().take(MAX_BLOCK_LINES) {
        let line = line.trim();
        let lower = cut(line, 40).to_ascii_lowercase();
        if line.is_empty() || ENDS.iter().any(|end| lower.starts_with(end)) || text.len() + line.len() > MAX_REPLY_BYTES
        {
            break;
        }
        text.push(' ');
        text.push_str(line.trim_start_matches("<<< "));
    }
    let quoted = text.ends_with('\'') && text.matches('\'').count() % 2 == 1;
    if quoted {
        text.pop();
    }
    text
}

/// The host that a text says has spoken.
pub(super) fn host(text: &str) -> Option<String> {
    HOST.captures(cut(text, 16 * 1024)).and_then(|found| found.get(1)).map(|found| found.as_str().to_ascii_lowercase())
}

/// All addresses of a text, each once.
pub(super) fn addresses(text: &str, most: usize) -> Vec<Address> {
    let mut found: Vec<Address> = Vec::new();
    for address in ADDRESS.find_iter(text).take(10 * most).filter_map(|found| recipient(found.as_str(), &[])) {
        if found.len() < most && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}
