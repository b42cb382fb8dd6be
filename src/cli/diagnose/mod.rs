//! `relaywatch diagnose`: what relaywatch understands of one mail.

mod told;

use std::io::{self, Read, Write};

use self::told::Told;
use super::{Exit, Format};
use crate::{
    classify::Rules,
    ingest::mail::{MAX_MAIL_BYTES, Understood, Unreadable, mails_of, understand},
    model::{RelayDomains, Timestamp},
};

const EXAMPLES: &str = "\
Takes one mail as it came, from a file or from standard input: headers, a blank line, the body. It
tells what kind of mail it is

    delivery-report          a bounce, a delay or a receipt, formal (RFC 3464) or as text
    abuse-report             a complaint (RFC 5965)
    dmarc-aggregate-report   recognised; `relaywatch reports import` reads it
    relay-notification       Apple's word to the Account Holder about the private relay
    auto-reply, challenge, read-receipt, unsubscribe
                             answers by robots; never counted as bounces
    reply                    no mail but a bare SMTP reply
    other                    none of these: a bounce that it does not know, perhaps

and, for each recipient, what became of the message: the reply with its codes, whether the status
is reported or derived from the cause, the cause with its evidence, and what to do about the
address. `hold`, `keep` and `fix-sender` mean: do not suppress it for this. One refusal suppresses
nobody; `relaywatch address show` looks at more than one. The verdict's fields are those of
`relaywatch classify --format json`; nothing is stored or sent. Addresses are printed as they
stand.

With --format json it prints one object: `kind`, the fields of its kind, and `recipients`, whose
`outcome` is failed, delayed, delivered, relayed or expanded. `status_origin` is `reported` or
`derived`; without a status both are null. `recipient_by_sender` is whom the envelope sender
carries (VERP), where the report names another or nobody, `certain` or `likely`. `breaks_off` says
that the end of the mail is missing; what could be read is told.

For a bare reply give its text: it is judged as `relaywatch classify` does, which also reads many,
and takes the recipient and the sender beside it: whose address a reply names decides what 5.1.1
means at Apple. Of an mbox file the first mail is read; `relaywatch import` takes in all mails.

Examples:
    relaywatch diagnose bounce.eml
    relaywatch diagnose --format json bounce.eml | jq '.recipients[] | {recipient, cause, action}'
    pbpaste | relaywatch diagnose -

Exit code: 0 where the mail reports something, or is a robot's answer; 1 where it is none of the
kinds above, or can't be read; 2 where the input is empty, too large or no mail (stderr says so,
and nothing is printed).
";

/// Say what one mail reports: per recipient the reply, its cause, and what to do about the address.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// A folder of rule files (*.toml) that are asked before the built-in ones, instead of `[rules] folder`.
    #[arg(long, value_name = "FOLDER")]
    pub rules: Option<std::path::PathBuf>,
    /// The mail; standard input when absent or `-`.
    pub file: Option<std::path::PathBuf>,
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
}

/// Why there is nothing to tell. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DiagnoseError {
    /// The input can't be read or the output can't be written.
    #[error(transparent)]
    Io(#[from] io::Error),
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
        "this is no mail: the first line is no header field (\"From: …\"). Give the mail with its headers, or the text of one SMTP \
         reply (\"550 5.1.1 …\")"
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

/// Reads a mail, and says what it is.
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
    let mut mails = mails_of(&raw);
    let first = mails.next().unwrap_or_default();
    if mails.next().is_some() {
        writeln!(
            diagnostics,
            "relaywatch: this is a mailbox; the first mail is read. Give each of the others by itself"
        )?;
    }
    let understood = understand(first);
    let told = match &understood {
        Understood::Unreadable(Unreadable::Empty) => return Err(DiagnoseError::Empty),
        Understood::Unreadable(Unreadable::TooLarge) => return Err(DiagnoseError::TooLarge),
        Understood::Unreadable(Unreadable::NoHeader) => {
            let text = String::from_utf8_lossy(first);
            let reply = told::bare_reply(&text).ok_or(DiagnoseError::NoMail)?;
            writeln!(
                diagnostics,
                "relaywatch: this is a reply without its mail; `relaywatch classify` takes many, each with its recipient and sender"
            )?;
            Told::of_reply(reply, options)
        }
        understood => Told::of(understood, first, options),
    };
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &told.json()?)?;
            writeln!(out)?;
        }
        Format::Text => told.text(out)?,
    }
    Ok(if matches!(understood, Understood::Other) { Exit::Finding } else { Exit::Success })
}

#[cfg(test)]
mod tests;
