//! An explanation as an on-call engineer reads it: at most about 25 lines of plain text.

use std::fmt::Write;

use super::{Explanation, Hypothesis, NotCheckedReason, Ranked, Revocation, ShareExplained, Weighed};
use crate::detect::stats::count;

/// Rivals are listed down to this posterior.
const WORTH_LISTING: f64 = 0.02;
/// No more lines than these on each side of the evidence.
const MOST_LINES: usize = 5;

/// The explanation as a block of text. It holds counts only: no address, no reply.
#[must_use]
pub fn render(explanation: &Explanation) -> String {
    let mut out = String::new();
    cause(&mut out, explanation);
    line(&mut out, "Notices", &notices(explanation.share_explained.as_ref()));
    if let Some(leading) = explanation.leading() {
        evidence(&mut out, &format!("For {}", leading.hypothesis.label()), &explanation.evidence_for);
        evidence(&mut out, &format!("Against {}", leading.hypothesis.label()), &explanation.evidence_against);
    }
    let mut ruled_out: Vec<Hypothesis> = explanation.ruled_out().collect();
    ruled_out.sort();
    let ruled_out: Vec<String> = ruled_out.iter().map(|h| format!("{} {h}", h.label())).collect();
    line(&mut out, "Ruled out", &or_nothing(&ruled_out, ", "));
    line(&mut out, "Not checked", &or_nothing(&not_checked(explanation), "; "));
    if !explanation.blind.is_empty() {
        let blind: Vec<String> = explanation.blind.iter().map(|watched| watched.says()).collect();
        line(&mut out, "Blind at times", &format!("{}; absence there proves nothing", blind.join(", ")));
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

fn cause(out: &mut String, explanation: &Explanation) {
    let mut rivals: Vec<(f64, String)> = explanation
        .hypotheses
        .iter()
        .filter(|ranked| Some(ranked.hypothesis) != explanation.named && !ranked.ruled_out)
        .filter(|ranked| ranked.posterior >= WORTH_LISTING)
        .take(3)
        .map(|ranked| (ranked.posterior, describe(ranked)))
        .collect();
    if explanation.unknown >= WORTH_LISTING {
        rivals.push((explanation.unknown, format!("none of these {:.2}", explanation.unknown)));
    }
    rivals.sort_by(|one, other| other.0.total_cmp(&one.0));
    let rivals: Vec<String> = rivals.into_iter().map(|(_, text)| text).collect();
    match explanation.named.and_then(|named| posterior(explanation, named)) {
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
            let clues: Vec<&str> = of_reason.map(|open| open.clue.as_str()).collect();
            (!clues.is_empty()).then(|| format!("{} ({})", clues.join(", "), reason.says()))
        })
        .collect()
}

fn posterior(explanation: &Explanation, hypothesis: Hypothesis) -> Option<&Ranked> {
    explanation.hypotheses.iter().find(|ranked| ranked.hypothesis == hypothesis)
}

fn describe(ranked: &Ranked) -> String {
    // Two digits must not claim certainty.
    let posterior = ranked.posterior.min(0.99);
    format!("{} {} {posterior:.2}", ranked.hypothesis.label(), ranked.hypothesis.title())
}

fn notices(share: Option<&ShareExplained>) -> String {
    let Some(share) = share else {
        return "not checked: no notices and no account map. Revocations are not excluded".to_owned();
    };
    let range = format!("{:.0} to {:.0} %", 100.0 * share.share.low, 100.0 * share.share.high);
    let coverage = format!("{:.1} % of the refused addresses are mapped", 100.0 * share.map_coverage);
    let why = match share.status {
        Revocation::Checked => {
            return format!(
                "explain {:.0} % ({range}) of the refusals beyond the ordinary, about {:.0}; {coverage}; {}",
                100.0 * share.share.value,
                share.excess_explained,
                odds(share),
            );
        }
        Revocation::NoNotices => "there are none to join",
        Revocation::LowCoverage => "too few addresses are in the account map",
        Revocation::Blind => "the notice endpoint was blind in the time in question",
        Revocation::NoComparison => "the exposure of accepted addresses is not known",
    };
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
