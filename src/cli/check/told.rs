//! What is said of an audit, for people and for machines.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::{
    cli::text::{Safe, count},
    model::Timestamp,
    sources::{
        Finding, Grade,
        apple_rule::PathVerdict,
        audit::{Audit, Path, Setup, SourceVerdict, StreamVerdict},
    },
};

/// How wide a line of text is.
const WIDTH: usize = 100;

/// The audit as JSON. The names of the fields are stable; fields may be added.
pub(super) fn json(audit: &Audit, now: Timestamp) -> Value {
    json!({
        "at": now,
        "worst": audit.worst(),
        "streams": audit.streams,
        "sources": audit.sources,
        "findings": audit.findings(),
    })
}

/// The audit for people: each stream, then what is wrong, the worst first, then the sources.
pub(super) fn text(setup: &Setup, audit: &Audit, out: &mut impl Write) -> io::Result<()> {
    for (asked, stream) in setup.streams.iter().zip(&audit.streams) {
        told_stream(&asked.from, stream, out)?;
    }
    let findings = audit.findings();
    if findings.is_empty() {
        writeln!(out, "Nothing is wrong.")?;
    } else {
        let of = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
        writeln!(
            out,
            "{}, the worst first: {} fatal, {} at risk, {} notable\n",
            count(findings.len() as u64, "finding"),
            of(Grade::Fatal),
            of(Grade::AtRisk),
            of(Grade::Notable)
        )?;
        for (number, finding) in findings.iter().enumerate() {
            told_finding(number + 1, finding, out)?;
        }
    }
    if !audit.sources.is_empty() {
        writeln!(out, "Declared as registered with Apple")?;
        for source in &audit.sources {
            told_source(source, out)?;
        }
    }
    Ok(())
}

fn told_stream(from: &str, stream: &StreamVerdict, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{} by {}", Safe(from), stream.provider)?;
    match &stream.envelope_domain {
        Some(domain) => writeln!(out, ", envelope {}", Safe(domain))?,
        None => writeln!(out, ", envelope domain not told")?,
    }
    writeln!(out, "  Apple's rule  {}", verdict(stream.apple.overall))?;
    writeln!(out, "    by SPF      {}", verdict(stream.apple.spf))?;
    writeln!(out, "    by DKIM     {}", verdict(stream.apple.dkim))?;
    let passes = match stream.dmarc.passes {
        Some(true) => "passes",
        Some(false) => "fails",
        None => "can't be told",
    };
    match (stream.dmarc.policy, &stream.dmarc.record_of) {
        (Some(policy), Some(domain)) => {
            writeln!(out, "  DMARC         {passes}; {} asks for p={policy}", Safe(domain))?;
        }
        _ if stream.dmarc.passes.is_none() => writeln!(out, "  DMARC         {passes}")?,
        _ => writeln!(out, "  DMARC         {passes}; no policy is published")?,
    }
    for carrier in &stream.carriers {
        writeln!(
            out,
            "  carried       by {} of team {}, {}",
            Safe(&carrier.source),
            Safe(&carrier.team),
            if carrier.path == Path::Spf { "by SPF" } else { "by DKIM" }
        )?;
    }
    if stream.path == Path::Both {
        writeln!(out, "                one of the two paths may break, and the other still carries it")?;
    }
    for selector in &stream.selectors {
        write!(out, "  key           {}", Safe(&selector.at))?;
        for alias in &selector.aliases {
            write!(out, " -> {}", Safe(alias))?;
        }
        match selector.rsa_bits {
            Some(bits) => writeln!(out, ", RSA of {bits} bits")?,
            None => writeln!(out)?,
        }
    }
    writeln!(out)
}

/// A verdict with its reason in words.
fn verdict(verdict: PathVerdict) -> String {
    verdict.says().map_or_else(|| verdict.as_str().to_owned(), |reason| format!("{}: {reason}", verdict.as_str()))
}

/// One finding for people, with its number.
pub(in crate::cli) fn told_finding(number: usize, finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{number:>3}. {}  {}  ({})", finding.grade, Safe(&finding.about), finding.code)?;
    wrapped(&finding.what, out)?;
    wrapped(finding.why, out)?;
    wrapped(&format!("> {}", finding.fix.step), out)?;
    if let Some(record) = &finding.fix.record {
        writeln!(out, "\n         {}\n", Safe(&record.to_string()))?;
    } else {
        writeln!(out)?;
    }
    Ok(())
}

fn told_source(source: &SourceVerdict, out: &mut impl Write) -> io::Result<()> {
    let spf = match source.has_spf {
        Some(true) => "publishes SPF",
        Some(false) => "publishes no SPF",
        None => "its SPF can't be told",
    };
    writeln!(
        out,
        "  {}  team {}, {}, {spf}, carries {}",
        Safe(&source.source.to_string()),
        Safe(&source.teams.join(", ")),
        if source.fresh { "confirmed" } else { "unconfirmed" },
        count(source.carries as u64, "stream")
    )
}

/// A sentence in lines of a terminal.
fn wrapped(text: &str, out: &mut impl Write) -> io::Result<()> {
    let mut line = String::from("    ");
    for word in text.split(' ') {
        let word = Safe(word).to_string();
        if line.trim_start().chars().count() > 0 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{line}")?;
            line = String::from("    ");
        }
        line.push(' ');
        line.push_str(&word);
    }
    writeln!(out, "{line}")
}
