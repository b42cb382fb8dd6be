//! An explanation as an on-call engineer reads it: whole, at most about 25 lines of plain text; or in short, for a page.

use std::fmt::Write;

use super::{
    BlindWindow, Clue, Explanation, IncidentFacts, NotCheckedReason, Ranked, Revocation, ShareExplained, Watched,
    Weighed, facts::blind, jump,
};
use crate::{
    detect::stats::count,
    model::{Timestamp, counted, verb},
};

/// How the line begins that says what was blind.
pub const BLIND: &str = "Blind at times";
/// Rivals are listed down to this posterior.
const WORTH_LISTING: f64 = 0.02;
/// No more lines than these on each side of the evidence.
const MOST_LINES: usize = 5;
/// The same on a page.
const MOST_BRIEF: usize = 2;
/// Characters of a reply on a page.
const BRIEF_REPLY: usize = 160;

/// The explanation as a block of text. It holds counts only: no address, no reply.
#[must_use]
pub fn render(explanation: &Explanation) -> String {
    let mut out = String::new();
    cause(&mut out, explanation);
    line(&mut out, "Notices", &said_of_notices(explanation));
    if let Some(leading) = explanation.leading() {
        evidence(&mut out, &format!("For {}", leading.hypothesis.label()), &explanation.evidence_for);
        evidence(&mut out, &format!("Against {}", leading.hypothesis.label()), &explanation.evidence_against);
    }
    for (title, by_wording) in [("Ruled out", false), ("Replies against", true)] {
        let mut ruled_out: Vec<&Ranked> = excluded(explanation, by_wording).collect();
        ruled_out.sort_by_key(|ranked| ranked.hypothesis);
        let titles: Vec<String> = ruled_out.iter().map(|ranked| labelled(ranked)).collect();
        if !titles.is_empty() || !by_wording {
            line(&mut out, title, &or_nothing(&titles, "; "));
        }
    }
    line(&mut out, "Not checked", &or_nothing(&not_checked(explanation), "; "));
    if !explanation.blind.is_empty() {
        line(&mut out, BLIND, &said_of_blind(&explanation.blind));
    }
    line(&mut out, "Do now", explanation.safe_action.advice);
    if let Some(check) = explanation.next_check {
        line(&mut out, "Then check", check.how_to_check());
    }
    for clue in &explanation.what_would_tell {
        line(&mut out, "Would also tell", clue.how_to_check());
    }
    out
}

/// What a page says of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// The cause, or the likeliest ones where it is undetermined.
    pub cause: String,
    /// What Apple's notices say of revocations.
    pub revocations: String,
    /// How the refusals are spread over the campaigns, where that tells anything.
    pub campaign: Option<String>,
    /// That nearly all of the refused get one reply that was rare before, where it is so.
    pub one_text: Option<String>,
    /// The most frequent replies, a line each.
    pub replies: Vec<String>,
    /// What speaks for the likeliest cause and against it, and what was blind, a line each.
    pub evidence: Vec<String>,
    /// What to do, and at most three checks.
    pub plan: String,
    /// Whether the refused addresses are to be held.
    pub holds: bool,
}

/// The explanation in short, without labels, weights or words of the program.
#[must_use]
pub fn brief(explanation: &Explanation, facts: &IncidentFacts) -> Brief {
    let likely = |ranked: &Ranked| format!("{} ({})", ranked.hypothesis.title(), percent(ranked.posterior));
    let cause = match explanation.named.and_then(|named| explanation.hypotheses.iter().find(|r| r.hypothesis == named))
    {
        Some(named) => likely(named),
        None => {
            format!("undetermined. Likeliest: {}", rivals(explanation, |ranked| likely(ranked)).join("; "))
        }
    };
    let mut evidence: Vec<String> = Vec::new();
    let about = if explanation.named.is_some() { "it" } else { "the likeliest" };
    for (side, weighed) in [("for", &explanation.evidence_for), ("against", &explanation.evidence_against)] {
        let said = weighed.iter().filter(|weighed| weighed.clue != Clue::NoticeJoin).take(MOST_BRIEF);
        evidence.extend(said.map(|said| format!("{} {side} {about}: {}", strength(said.weight), said.detail)));
    }
    if !explanation.blind.is_empty() {
        evidence.push(format!("{BLIND}: {}", said_of_blind(&explanation.blind)));
    }
    let checks: Vec<String> = explanation
        .next_check
        .iter()
        .chain(&explanation.what_would_tell)
        .take(3)
        .enumerate()
        .map(|(number, clue)| match clue.to_enable() {
            Some(enable) if facts.tells_nothing_of(*clue) => {
                format!("({}) {} [to have it told: {enable}]", number + 1, clue.how_to_check())
            }
            _ => format!("({}) {}", number + 1, clue.how_to_check()),
        })
        .collect();
    let advice = explanation.safe_action.advice;
    Brief {
        cause,
        revocations: revocations(explanation),
        campaign: campaigns(facts),
        one_text: jump(facts).map(|jump| jump.says()),
        replies: replies(facts, MOST_BRIEF, BRIEF_REPLY),
        evidence,
        holds: explanation.safe_action.holds(),
        plan: if checks.is_empty() {
            advice.to_owned()
        } else {
            format!("{advice} Then check: {}.", checks.join("; "))
        },
    }
}

/// How the refusals are spread over the campaigns: for a page and for the report.
pub(crate) fn campaigns(facts: &IncidentFacts) -> Option<String> {
    let campaigns = facts.campaigns.as_ref()?;
    let refused = campaigns.inside.refused;
    let all = refused.saturating_add(campaigns.outside.refused);
    let top = &campaigns.top;
    let of = match campaigns.elements {
        0 | 1 => "the only campaign".to_owned(),
        elements => format!("one of {elements} campaigns"),
    };
    match campaigns.elements {
        _ if refused == all && all > 0 => Some(format!("All refusals are of {of}, {top}: {all}")),
        _ if refused > all / 2 => Some(format!("Most refusals are of {of}, {top}: {refused} of {all}")),
        elements @ 2.. if refused > 0 => Some(format!(
            "None of {elements} campaigns holds most refusals; the largest part is of {top}: {refused} of {all}"
        )),
        _ => None,
    }
}

/// The most frequent replies, at most so many, each with at most so many characters of its text.
pub(crate) fn replies(facts: &IncidentFacts, most: usize, length: usize) -> Vec<String> {
    let mut of = counted(facts.texts_of, "refused address");
    if facts.texts_of < facts.refused_addresses {
        of.push_str(" that ");
        of.push_str(verb(facts.texts_of, "was looked at", "were looked at"));
    }
    let texts = facts.texts.iter().take(most);
    texts.map(|reply| format!("“{}” to {} of {of}", shortened(&reply.text, length), reply.addresses)).collect()
}

/// A text of others in one line, cut where it is long.
pub(crate) fn shortened(text: &str, length: usize) -> String {
    let line = text.replace(char::is_control, " ");
    match line.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
        None => line,
    }
}

/// What a page says of revocations.
fn revocations(explanation: &Explanation) -> String {
    let Some(share) = &explanation.share_explained else {
        return "not checked (no notices and no account map), so they are not excluded".to_owned();
    };
    if share.status == Revocation::Checked {
        return format!(
            "{:.0} % of the refusals beyond the ordinary, about {:.0} ({:.0} to {:.0} %)",
            100.0 * share.share.value,
            share.excess_explained,
            100.0 * share.share.low,
            100.0 * share.share.high,
        );
    }
    format!("not checked ({}), so they are not excluded", unchecked(share, explanation.onset))
}

/// Why revocations were not checked.
pub(crate) fn unchecked(share: &ShareExplained, onset: Option<Timestamp>) -> String {
    match share.status {
        Revocation::Checked => "they are".to_owned(),
        Revocation::NoNotices => "there are no notices to join".to_owned(),
        Revocation::LowCoverage => {
            // The share of whole addresses, taken back to them.
            let refused = (count(share.mapped) / share.map_coverage.max(f64::MIN_POSITIVE)).round();
            match share.mapped {
                0 => "none of the refused addresses is in the account map".to_owned(),
                mapped => format!(
                    "{mapped} of {refused:.0} refused addresses {} in the account map",
                    verb(mapped, "is", "are")
                ),
            }
        }
        Revocation::Blind => "the notice endpoint was blind in the time in question".to_owned(),
        Revocation::NoComparison => "how many accepted addresses have a notice is not known".to_owned(),
        Revocation::Unwatched => match onset {
            Some(onset) => format!("no notice was received before {onset}, so earlier ones are not known"),
            None => "no notice was received before it began, so earlier ones are not known".to_owned(),
        },
    }
}

fn strength(weight: f64) -> &'static str {
    // As the report shows it, in tenths.
    match (10.0 * weight.abs()).round() {
        tenths if tenths >= 20.0 => "Strong evidence",
        tenths if tenths >= 10.0 => "Some evidence",
        _ => "Weak evidence",
    }
}

/// Hypotheses that something contradicts: the replies alone, or more than them.
fn excluded(explanation: &Explanation, by_wording: bool) -> impl Iterator<Item = &Ranked> {
    explanation.hypotheses.iter().filter(move |ranked| ranked.ruled_out && ranked.by_wording == by_wording)
}

fn said_of_blind(blind: &[Watched]) -> String {
    let blind: Vec<String> = blind.iter().map(Watched::says).collect();
    format!("{}; absence there proves nothing", blind.join(", "))
}

/// The line of an explanation that says what was blind at times; nothing where nothing was.
#[must_use]
pub fn blind_line<'a>(windows: impl IntoIterator<Item = &'a BlindWindow>) -> Option<String> {
    let blind = blind(windows);
    (!blind.is_empty()).then(|| format!("{BLIND}: {}", said_of_blind(&blind)))
}

/// The likeliest hypotheses beside the one that is named, and "none of these", each in words.
fn rivals(explanation: &Explanation, words: impl Fn(&Ranked) -> String) -> Vec<String> {
    let mut rivals: Vec<(f64, String)> = explanation
        .hypotheses
        .iter()
        .filter(|ranked| Some(ranked.hypothesis) != explanation.named && !ranked.ruled_out)
        .filter(|ranked| ranked.posterior >= WORTH_LISTING)
        .take(3)
        .map(|ranked| (ranked.posterior, words(ranked)))
        .collect();
    if explanation.unknown >= WORTH_LISTING {
        rivals.push((explanation.unknown, format!("none of these ({})", percent(explanation.unknown))));
    }
    rivals.sort_by(|one, other| other.0.total_cmp(&one.0));
    rivals.into_iter().map(|(_, text)| text).collect()
}

fn cause(out: &mut String, explanation: &Explanation) {
    let rivals = rivals(explanation, describe);
    let named = explanation.named.and_then(|named| explanation.hypotheses.iter().find(|r| r.hypothesis == named));
    match named {
        Some(named) => {
            line(out, "Cause", &describe(named));
            if !rivals.is_empty() {
                line(out, "Less likely", &rivals.join("; "));
            }
        }
        None => line(out, "Cause", &format!("undetermined: {}", rivals.join("; "))),
    }
}

/// What was not checked, gathered by its reason.
fn not_checked(explanation: &Explanation) -> Vec<String> {
    NotCheckedReason::ALL
        .iter()
        .filter_map(|reason| {
            let of_reason = explanation.not_checked.iter().filter(|open| open.reason == *reason);
            let clues: Vec<&str> = of_reason.map(|open| open.clue.title()).collect();
            (!clues.is_empty()).then(|| format!("{} ({})", clues.join(", "), reason.says()))
        })
        .collect()
}

/// A probability for people; no certainty is claimed.
pub(crate) fn percent(probability: f64) -> String {
    let shown = (100.0 * probability).min(99.0);
    if shown > 0.0 && shown < 1.0 { "below 1 %".to_owned() } else { format!("{shown:.0} %") }
}

fn labelled(ranked: &Ranked) -> String {
    format!("{} {}", ranked.hypothesis.label(), ranked.hypothesis.title())
}

fn describe(ranked: &Ranked) -> String {
    format!("{} ({})", labelled(ranked), percent(ranked.posterior))
}

fn said_of_notices(explanation: &Explanation) -> String {
    let Some(share) = &explanation.share_explained else {
        return "not checked: no notices and no account map. Revocations are not excluded".to_owned();
    };
    let range = format!("{:.0} to {:.0} %", 100.0 * share.share.low, 100.0 * share.share.high);
    let coverage = format!("{:.1} % of the refused addresses are mapped", 100.0 * share.map_coverage);
    if share.status == Revocation::Checked {
        return format!(
            "explain {:.0} % ({range}) of the refusals beyond the ordinary, about {:.0}; {coverage}; {}",
            100.0 * share.share.value,
            share.excess_explained,
            odds(share),
        );
    }
    let why = unchecked(share, explanation.onset);
    format!("not checked: {why}; {coverage}; they could explain {range}. Revocations are not excluded")
}

fn odds(share: &ShareExplained) -> String {
    let ratio = share.lift.ratio;
    let digits = share.fisher.ln_p / std::f64::consts::LN_10;
    let chance = if digits < -99.0 {
        "below 1e-99".to_owned()
    } else if digits < -2.0 {
        format!("{}1e{:.0}", if share.fisher.exact { "about " } else { "at most " }, digits.ceil())
    } else {
        format!("{:.2}", share.fisher.ln_p.exp())
    };
    format!(
        "exposed addresses are refused {:.1} times as often ({:.1} to {:.1}; probability by chance {chance})",
        ratio.value, ratio.low, ratio.high
    )
}

fn evidence(out: &mut String, title: &str, evidence: &[Weighed]) {
    for (number, weighed) in evidence.iter().take(MOST_LINES).enumerate() {
        line(out, if number == 0 { title } else { "" }, &format!("{:+.1}  {}", weighed.weight, weighed.detail));
    }
    let more = evidence.len().saturating_sub(MOST_LINES);
    if more > 0 {
        line(out, "", &format!("and {:.0} more", count(more as u64)));
    }
}

fn or_nothing(parts: &[String], separator: &str) -> String {
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(separator) }
}

fn line(out: &mut String, title: &str, text: &str) {
    let title = if title.is_empty() { String::new() } else { format!("{title}:") };
    // Writing to a string cannot fail.
    _ = writeln!(out, "{title:<17}{text}");
}
