//! `relaywatch diagnose`: what relaywatch understands of one mail, and who would refuse it.

mod judged;
mod told;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use self::{judged::Judged, told::Told};
use super::{Exit, Format, resolvers, text::Safe};
use crate::{
    classify::Rules,
    clock::Clock,
    config::Config,
    ingest::mail::{MAX_MAIL_BYTES, Understood, Unreadable, mails_of, understand},
    model::{RelayDomains, Timestamp},
    sources::{apple_rule::Inventory, auth_results::Trust, declared, dns::Asker, message},
};

const EXAMPLES: &str = "\
Takes a mail as it came, or what somebody has of one: the headers alone, a line of
Authentication-Results, a bare SMTP reply; from files or from standard input. It tells what it is:

    delivery-report          a bounce, a delay or a receipt, formal (RFC 3464) or as text
    abuse-report             a complaint (RFC 5965)
    dmarc-aggregate-report   recognised; `relaywatch reports import` reads it
    relay-notification       Apple's word to the Account Holder about the private relay
    auto-reply, challenge, read-receipt, unsubscribe
                             answers by robots; never counted as bounces
    reply                    no mail but a bare SMTP reply
    message, header, authentication-results
                             none of these: a message that was sent, or a part of its header

Of a bounce it tells, for each recipient, what became of the message: the reply with its codes,
the cause with its evidence, and what to do about the address. `hold`, `keep` and `fix-sender`
mean: do not suppress it for this. One refusal suppresses nobody; `relaywatch address show` looks
at more than one. The verdict's fields are those of `relaywatch classify --format json`.

Of a message it tells who would refuse it and why, by Apple's rule: the envelope domain is
registered and SPF passes for it, or the From domain is registered and a valid signature has it as
its d=. What is registered is what [[team.source]] of the configuration declares; without that it
is \"not declared\". Results of authentication count only where the receiver wrote them: iCloud, or
whom --trust names, above all that came with the mail; a field further down decides nothing, and
ARC neither. What is missing to be sure is told, with how to get it. Headers that were pasted,
quoted, escaped as HTML or blacked out in parts still give what they can. Without --dns nothing is
asked of DNS, and signatures are not verified.

With --format json it prints one object for each input: `kind`, and the fields of its kind. Of a
bounce `recipients`, whose `outcome` is failed, delayed, delivered, relayed or expanded;
`status_origin` is `reported` or `derived`; `recipient_by_sender` is whom the envelope sender
carries (VERP). Of a message `apple` with both paths, `refusals`, `missing`, `results`.

Nothing is stored or sent. Addresses are printed as they stand. Of an mbox file the first mail is
read; `relaywatch import` takes in all mails.

Examples:
    relaywatch diagnose bounce.eml
    relaywatch diagnose --format json bounce.eml | jq '.recipients[] | {recipient, cause, action}'
    pbpaste | relaywatch diagnose -
    relaywatch diagnose --trust mx.google.com headers.txt    a copy that Gmail received
    relaywatch --config relaywatch.toml diagnose --dns message.eml    with what is registered

Exit code: 0 where the mail reports something, is a robot's answer or passes Apple's rule; 1 where
it does not pass, or that can't be told; 2 where the input is empty, too large or no mail (stderr
says so). Of several inputs the highest counts.
";

/// Say what one mail reports, or who would refuse it: per recipient the reply and its cause, or Apple's rule for a message.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// A folder of rule files (*.toml) that are asked before the built-in ones, instead of `[rules] folder`.
    #[arg(long, value_name = "FOLDER")]
    pub rules: Option<std::path::PathBuf>,
    /// The receiver whose Authentication-Results count, by the name that it writes first in them; *.yahoo.com for one with many,
    /// outlook.com for Outlook, which writes none. May be repeated; without any, iCloud's.
    #[arg(long, value_name = "AUTHSERV-ID")]
    pub trust: Vec<String>,
    /// Ask DNS: verify the signatures of a whole message, check SPF of the address that sent it, audit its set-up.
    #[arg(long)]
    pub dns: bool,
    /// A DNS server to ask, as 9.9.9.9 or 127.0.0.1:5353, before `resolvers` of the configuration and /etc/resolv.conf. May be repeated.
    #[arg(long = "resolver", value_name = "SERVER", requires = "dns")]
    pub resolvers: Vec<String>,
    /// The mails, or what there is of them; standard input when absent or `-`.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// What the command needs to know beside its input.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The rules to judge by.
    pub rules: &'a Rules,
    /// The domains that hold relay addresses.
    pub relay: &'a RelayDomains,
    /// What time it is: an event of a time that cannot be is none.
    pub now: Timestamp,
    /// What is declared as registered with Apple.
    pub inventory: &'a Inventory,
    /// Whose results of authentication count.
    pub trust: &'a Trust,
    /// Who asks DNS; nobody does without.
    pub asker: Option<&'a Asker>,
}

/// Why there is nothing to tell. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DiagnoseError {
    /// The input can't be read or the output can't be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// DNS can't be asked.
    #[error(transparent)]
    Dns(#[from] anyhow::Error),
    /// The output can't be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// There is nothing.
    #[error(
        "the input is empty: give one mail as it came, with its headers (in most mail programs \"save as source\", .eml)"
    )]
    Empty,
    /// There is too much.
    #[error("the input is larger than the {} MiB that one mail may have; a bounce is smaller. Is it a mailbox?", MAX_MAIL_BYTES >> 20)]
    TooLarge,
    /// There is no header, and it is no reply either.
    #[error(
        "this is no mail: the first line is no header field (\"From: …\"). Give the mail with its headers, the headers alone, the \
         line of Authentication-Results, or the text of one SMTP reply (\"550 5.1.1 …\")"
    )]
    NoMail,
}

impl DiagnoseError {
    /// Whether what was given is nothing that could be diagnosed.
    #[must_use]
    pub const fn is_misuse(&self) -> bool {
        matches!(self, Self::Empty | Self::TooLarge | Self::NoMail)
    }
}

/// Reads every file that is named, or standard input, and says what it is. The worst exit of them all.
///
/// # Errors
/// Where the configuration, a file or DNS servers can't be had, or the output can't be written.
pub fn run_all(
    args: &Args,
    config: &Config,
    rules: &Rules,
    relay: &RelayDomains,
    out: &mut impl Write,
    diagnostics: &mut impl Write,
) -> anyhow::Result<Exit> {
    let now = Clock::System.now();
    let setup = declared::setup(config);
    let asker = match args.dns.then(|| resolvers::asker(&args.resolvers, config)).transpose() {
        Ok(asker) => asker,
        Err(error) => {
            writeln!(diagnostics, "relaywatch: {error:#}")?;
            return Ok(Exit::Misuse);
        }
    };
    let trust = if args.trust.is_empty() { Trust::default() } else { Trust::of(&args.trust) };
    let inventory = Inventory::new(setup.teams, now);
    let options = Options { rules, relay, now, inventory: &inventory, trust: &trust, asker: asker.as_ref() };
    let input = Path::new("-");
    let named: Vec<&Path> =
        if args.files.is_empty() { vec![input] } else { args.files.iter().map(AsRef::as_ref).collect() };
    let mut worst = Exit::Success;
    for (number, name) in named.iter().enumerate() {
        if named.len() > 1 && args.format == Format::Text {
            let blank = if number > 0 { "\n" } else { "" };
            writeln!(out, "{blank}== {}", Safe(&name.display().to_string()))?;
        }
        let told = if *name == input {
            run(io::stdin().lock(), out, diagnostics, args.format, &options)
        } else {
            if name.is_dir() {
                bail!("{} is a folder: name one mail in it", name.display());
            }
            let input = File::open(name).with_context(|| format!("cannot read {}", name.display()))?;
            run(input, out, diagnostics, args.format, &options)
        };
        let exit = match told {
            Err(error) if error.is_misuse() => {
                let of =
                    if named.len() > 1 { format!("{}: ", Safe(&name.display().to_string())) } else { String::new() };
                writeln!(diagnostics, "relaywatch: {of}{error}")?;
                Exit::Misuse
            }
            told => told?,
        };
        worst = match (worst, exit) {
            (Exit::Misuse, _) | (_, Exit::Misuse) => Exit::Misuse,
            (Exit::Finding, _) | (_, Exit::Finding) => Exit::Finding,
            _ => Exit::Success,
        };
    }
    Ok(worst)
}

/// Reads a mail, or what somebody has of one, and says what it is.
///
/// # Errors
/// Where the input can't be read, is empty or no mail, or where the output can't be written.
pub fn run(
    input: impl Read,
    out: &mut impl Write,
    diagnostics: &mut impl Write,
    format: Format,
    options: &Options<'_>,
) -> Result<Exit, DiagnoseError> {
    let mut raw = Vec::new();
    input.take(MAX_MAIL_BYTES as u64 + 1).read_to_end(&mut raw)?;
    if raw.len() > MAX_MAIL_BYTES {
        return Err(DiagnoseError::TooLarge);
    }
    let mut mended = Vec::new();
    if let Some((better, how)) = message::mend(&raw) {
        (raw, mended) = (better, how);
    }
    let mut mails = mails_of(&raw);
    let first = mails.next().unwrap_or_default();
    if mails.next().is_some() {
        writeln!(
            diagnostics,
            "relaywatch: this is a mailbox; the first mail is read. Give each of the others by itself"
        )?;
    }
    let understood = understand(first);
    let (told, exit) = match &understood {
        Understood::Unreadable(Unreadable::Empty) => return Err(DiagnoseError::Empty),
        Understood::Unreadable(Unreadable::TooLarge) => return Err(DiagnoseError::TooLarge),
        Understood::Unreadable(Unreadable::NoHeader) => {
            let text = String::from_utf8_lossy(first);
            if message::is_results(&text) {
                let line = format!("Authentication-Results: {}", text.trim());
                return authentication(line.as_bytes(), mended, out, format, options);
            }
            let reply = told::bare_reply(&text).ok_or(DiagnoseError::NoMail)?;
            writeln!(
                diagnostics,
                "relaywatch: this is a reply without its mail; `relaywatch classify` takes many, each with its recipient and sender"
            )?;
            (Told::of_reply(reply, options), Exit::Success)
        }
        Understood::Other => return authentication(first, mended, out, format, options),
        understood => (Told::of(understood, first, options), Exit::Success),
    };
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &told.json()?)?;
            writeln!(out)?;
        }
        Format::Text => told.text(out)?,
    }
    Ok(exit)
}

/// What Apple's rule makes of a message.
fn authentication(
    raw: &[u8],
    mended: Vec<message::Mended>,
    out: &mut impl Write,
    format: Format,
    options: &Options<'_>,
) -> Result<Exit, DiagnoseError> {
    let judged = Judged::of(raw, mended, options)?;
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &judged.json()?)?;
            writeln!(out)?;
        }
        Format::Text => judged.text(out)?,
    }
    Ok(judged.exit())
}

#[cfg(test)]
mod tests;
