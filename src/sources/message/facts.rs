//! What Apple's rule asks about, picked from a header.

use std::net::IpAddr;

use serde::Serialize;

use super::{Header, MAX_SIGNATURES, header::within};
use crate::sources::{
    answer::Name,
    apple_rule::Registered,
    auth_results::{MethodResult, Seen, Trust, judge},
};

/// What was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A whole message, with its body.
    Message,
    /// A header, or a part of one.
    Header,
    /// Results of authentication alone.
    AuthenticationResults,
}

impl Form {
    /// In a word, as `kind` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Header => "header",
            Self::AuthenticationResults => "authentication-results",
        }
    }
}

/// Who told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToldBy {
    /// The trusted receiver's results.
    Results,
    /// The field itself.
    Field,
    /// Results that are not trusted: a claim.
    Claim,
}

/// The envelope sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Envelope {
    /// Its address, or its domain; `None` for the null one, `<>`, which bounces have.
    pub sender: Option<Registered>,
    /// Who told it.
    pub by: ToldBy,
}

/// One `DKIM-Signature` field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureField {
    /// `d=`; `None` where it cannot be read, as where it is blacked out.
    pub domain: Option<Name>,
    /// `s=`.
    pub selector: Option<String>,
    /// `a=`, in lower case.
    pub algorithm: Option<String>,
    /// The start of `b=`, by which results name a signature.
    pub start: String,
    /// Whether it signs From; `None` where `h=` is missing.
    pub signs_from: Option<bool>,
}

/// What a header tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What was given.
    pub form: Form,
    /// The sender of From: its address, or its domain.
    pub from: Option<Registered>,
    /// Whether From is there and cannot be read, as where it is blacked out.
    pub from_hidden: bool,
    /// The senders beyond the first that From names.
    pub more_from: usize,
    /// The envelope sender.
    pub envelope: Option<Envelope>,
    /// Whether it is there and cannot be read.
    pub envelope_hidden: bool,
    /// The domain in `Return-Path`, where that is another than the receiver's results name.
    pub other_return_path: Option<Name>,
    /// The signatures.
    pub signatures: Vec<SignatureField>,
    /// The results of authentication, from the top, with whether they count.
    pub seen: Vec<Seen>,
    /// The address that it was sent from, as the receiver or a field says.
    pub client: Option<IpAddr>,
    /// Whether something was left out, since there is too much.
    pub cut: bool,
}

impl Facts {
    /// Picks the facts.
    #[must_use]
    pub fn of(header: &Header, trust: &Trust) -> Self {
        let seen = judge(header.pairs(), trust);
        let only_results = header.fields.iter().all(|field| field.name.ends_with("authentication-results"));
        let form = if only_results {
            Form::AuthenticationResults
        } else if header.has_body {
            Form::Message
        } else {
            Form::Header
        };
        let froms: Vec<&str> = header.all("from").flat_map(addresses).collect();
        let mut from = froms.iter().find_map(|text| sender(text));
        let from_hidden = from.is_none() && !froms.is_empty();
        let trusted = |method: &'static str| {
            seen.iter().filter(|one| one.untrusted.is_none()).flat_map(move |one| one.says.of(method))
        };
        if from.is_none() {
            from = trusted("dmarc").find_map(|one| one.property("header", "from").and_then(sender));
        }
        let fields: Vec<&str> = ["return-path", "x-envelope-from"].iter().flat_map(|name| header.all(name)).collect();
        let field = fields.iter().find_map(|text| envelope(text));
        let results = trusted("spf").find_map(mail_from);
        let claims = || seen.iter().flat_map(|one| one.says.of("spf")).find_map(mail_from);
        let domain = |path: &ReversePath| path.0.as_ref().map(|sender| sender.domain().clone());
        let other_return_path = field
            .as_ref()
            .zip(results.as_ref())
            .and_then(|(field, results)| domain(field).filter(|own| Some(own) != domain(results).as_ref()));
        let told = [(results, ToldBy::Results), (field, ToldBy::Field)];
        let told = told.into_iter().find_map(|(path, by)| Some(Envelope { sender: path?.0, by }));
        let told = told.or_else(|| Some(Envelope { sender: claims()?.0, by: ToldBy::Claim }));
        let client = client(header, seen.iter());
        Self {
            form,
            from,
            from_hidden,
            more_from: froms.len().saturating_sub(1),
            envelope_hidden: told.is_none() && !fields.is_empty(),
            envelope: told,
            other_return_path,
            signatures: header.all("dkim-signature").take(MAX_SIGNATURES).map(signature).collect(),
            client,
            cut: header.cut || header.all("dkim-signature").nth(MAX_SIGNATURES).is_some(),
            seen,
        }
    }

    /// The results of a method that count.
    pub fn trusted<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a MethodResult> {
        self.seen.iter().filter(|one| one.untrusted.is_none()).flat_map(move |one| one.says.of(method))
    }
}

/// The mailboxes of a From field: at commas outside of quotations, comments and brackets.
fn addresses(value: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut depth) = (Vec::new(), 0, false, 0_usize);
    let mut escaped = false;
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '<' | '(' if !quoted => depth += 1,
            '>' | ')' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                parts.extend(value.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(value.get(start..));
    parts.retain(|part| !part.trim().is_empty());
    // A display name with a bare comma in it is no mailbox.
    let with_at: Vec<&str> = parts.iter().copied().filter(|part| part.contains('@')).collect();
    if with_at.is_empty() { parts } else { with_at }
}

/// The sender of one mailbox: what stands in the brackets, else the word with an at sign. A local part that is blacked out is left
/// away.
fn sender(text: &str) -> Option<Registered> {
    let text = text.trim();
    let inner = text.rsplit_once('<').map(|(_, tail)| tail.split_once('>').map_or(tail, |(inner, _)| inner));
    let word = inner.or_else(|| text.split_whitespace().find(|word| word.contains('@'))).unwrap_or(text);
    let word = word.trim().trim_matches(['\'', ',', ';']);
    let word = word.strip_prefix("mailto:").unwrap_or(word);
    let (local, domain) = word.rsplit_once('@').unwrap_or(("", word));
    if local.is_empty() || is_hidden(local) {
        return Registered::parse(domain);
    }
    Registered::parse(word).or_else(|| Registered::parse(domain))
}

/// Whether a part of an address was blacked out, as people do before they post a header.
fn is_hidden(local: &str) -> bool {
    let lower = local.to_ascii_lowercase();
    let filler = |c: char| matches!(c, 'x' | '*' | '.' | '_' | '-' | '#' | '?' | '…' | '█' | '•');
    ["redact", "removed", "hidden", "elided"].iter().any(|word| lower.contains(word))
        || lower.starts_with(['[', '{', '<', '%'])
        || lower.chars().all(filler)
}

/// An envelope sender; `None` is the null one.
struct ReversePath(Option<Registered>);

/// The envelope sender in a field.
fn envelope(text: &str) -> Option<ReversePath> {
    if text.trim() == "<>" { Some(ReversePath(None)) } else { sender(text).map(Some).map(ReversePath) }
}

/// The envelope sender that a result of SPF is about: HELO alone means the null one (RFC 7208 section 2.4).
fn mail_from(result: &MethodResult) -> Option<ReversePath> {
    let named = [("smtp", "mailfrom"), ("smtp", "mail"), ("smtp", "envelope-from"), ("", "envelope-from")];
    let value = named.iter().find_map(|(kind, name)| result.property(kind, name));
    match value {
        Some("" | "<>") => Some(ReversePath(None)),
        Some(value) => sender(value).map(Some).map(ReversePath),
        None => result.property("smtp", "helo").map(|_| ReversePath(None)),
    }
}

fn signature(value: &str) -> SignatureField {
    let tag = |wanted: &str| {
        let found = value.split(';').filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim() == wanted);
        found.map(|(_, value)| value.split_whitespace().collect::<String>()).filter(|value| !value.is_empty())
    };
    let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let domain = tag("d").filter(|text| is_name(text)).and_then(|text| Name::parse(&text).ok());
    SignatureField {
        domain: domain.filter(|name| name.as_str().contains('.')),
        selector: tag("s").filter(|text| is_name(text)).map(|text| within(&text, 253).to_owned()),
        algorithm: tag("a").map(|text| within(&text, 40).to_ascii_lowercase()),
        start: within(&tag("b").unwrap_or_default(), 16).to_owned(),
        signs_from: tag("h").map(|text| text.split(':').any(|name| name.trim().eq_ignore_ascii_case("from"))),
    }
}

/// The address that the message was sent from: by results of SPF, trusted ones first, else by `Received-SPF`.
fn client<'a>(header: &Header, seen: impl Iterator<Item = &'a Seen> + Clone) -> Option<IpAddr> {
    let of = |one: &MethodResult| {
        let property = ["client-ip", "remote-ip"].iter().find_map(|name| {
            let found = ["", "smtp", "policy"].iter().find_map(|kind| one.property(kind, name));
            found.and_then(|value| value.parse().ok())
        });
        property.or_else(|| one.comments.iter().find_map(|comment| behind(comment)))
    };
    let trusted = seen.clone().filter(|one| one.untrusted.is_none());
    let result = trusted.chain(seen).flat_map(|one| one.says.of("spf")).find_map(of);
    let field = || {
        header.all("received-spf").find_map(|value| {
            let word = value.split([';', ' ']).find_map(|word| word.trim().strip_prefix("client-ip="));
            word.and_then(|word| word.trim_matches('"').parse().ok())
        })
    };
    result.or_else(field)
}

/// The address in a comment of SPF's: `designates 192.0.2.1 as permitted sender`, `sender IP is 192.0.2.1`.
fn behind(comment: &str) -> Option<IpAddr> {
    let lower = comment.to_ascii_lowercase();
    let at =
        ["designate ", "designates ", "sender ip is "].iter().find_map(|word| Some(lower.find(word)? + word.len()));
    lower.get(at?..)?.split_whitespace().next()?.parse().ok()
}
