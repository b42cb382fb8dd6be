//! Which `Authentication-Results` count: those that the trusted receiver wrote when the mail came in, and no other
//! (RFC 8601 sections 4.1, 5 and 7.1).
//!
//! A receiver puts its fields above all that came with the mail. So a field counts where it bears a trusted name, and stands above
//! the first `Received` of somebody else and above all that the sender wrote, in one run with the others of that receiver. Receivers
//! differ in whether their own `Received` stands above their results (Gmail, iCloud, Yahoo, Amazon SES) or below them (Outlook); both
//! were observed in public headers, so that a receiver's own `Received` ends nothing.
//!
//! Where a forged field stood first in the mail as it came in, it follows directly on the receiver's; RFC 8601 section 5 has the receiver
//! take it away. What still says the same method again counts for nothing, save for further DKIM signatures.

use serde::Serialize;

use super::{AuthResults, parse, parse_arc};
use crate::sources::{answer::Name, dmarc::org_by_list};

/// The names under which iCloud writes what Apple's rule asks about, one field a method; observed in public headers, not
/// documented by Apple.
pub const ICLOUD_IDS: &[&str] = &["spf.icloud.com", "dkim-verifier.icloud.com", "dmarc.icloud.com"];

/// The name that fields without one count as: Outlook leaves it out (reported).
const OUTLOOK: &str = "outlook.com";

/// The longest name that is compared, in bytes; RFC 5321 section 4.5.3.1.2 has 255 for a domain.
const MAX_ID_BYTES: usize = 255;

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    ids: Vec<String>,
}

impl Default for Trust {
    /// iCloud, where no receiver is named.
    fn default() -> Self {
        Self::of(ICLOUD_IDS.iter().copied())
    }
}

impl Trust {
    /// These names and no others: `mx.google.com`, or `*.yahoo.com` where a receiver has one for each of its machines. `outlook.com`
    /// stands for the fields without a name that Outlook writes.
    pub fn of<S: AsRef<str>>(ids: impl IntoIterator<Item = S>) -> Self {
        Self { ids: ids.into_iter().map(|id| id.as_ref().trim().trim_end_matches('.').to_ascii_lowercase()).collect() }
    }

    /// The names.
    #[must_use]
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Whether a field of this server can count.
    fn knows(&self, server: Option<&str>) -> bool {
        let server = server.unwrap_or(OUTLOOK).trim_end_matches('.').to_ascii_lowercase();
        server.len() <= MAX_ID_BYTES
            && self.ids.iter().any(|id| match id.strip_prefix("*.") {
                Some(domain) => server.strip_suffix(domain).is_some_and(|head| head.ends_with('.')),
                None => *id == server,
            })
    }

    /// Whether a `Received` by this host is the receiver's own.
    fn owns(&self, host: Option<&str>) -> bool {
        // Without a name in DNS it is some machine within; iCloud and Gmail have such.
        let Some(host) = host.filter(|host| host.contains('.') && !is_address(host)) else {
            return self.owns_bare(host);
        };
        let Ok(host) = Name::parse(host) else { return false };
        let org = org_by_list(&host);
        self.ids.iter().any(|id| {
            let id = id.trim_start_matches("*.");
            // Amazon SES receives at amazonaws.com, and iCloud's machines are Apple's (observed).
            let also: &[&str] = match id {
                "amazonses.com" => &["amazonaws.com"],
                _ if id.ends_with(".icloud.com") => &["apple.com", "me.com"],
                _ => &[],
            };
            *id == *host.as_str()
                || Name::parse(id).is_ok_and(|id| id.as_str().contains('.') && org_by_list(&id) == org)
                || also.iter().any(|own| org.as_str() == *own)
        })
    }

    /// A host without a domain: a machine within, by whoever named the receiver; of iCloud only those that look like its own, since
    /// nobody said that the mail came by iCloud.
    fn owns_bare(&self, host: Option<&str>) -> bool {
        let host = host.unwrap_or_default().to_ascii_lowercase();
        let icloud = ["icloudmta", "mailgateway"].iter().any(|word| host.contains(word));
        self.ids.iter().any(|id| if ICLOUD_IDS.contains(&id.as_str()) { icloud } else { !icloud })
    }
}

fn is_address(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']').trim_start_matches("IPv6:");
    bare.parse::<std::net::IpAddr>().is_ok()
}

/// Why a field decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "by")]
pub enum Untrusted {
    /// It is by a server that nobody said to trust.
    OtherServer,
    /// It stands below the `Received` of another host: whoever had the mail before wrote it, or anybody.
    BelowOtherHost(String),
    /// It stands below fields that came with the mail: its sender can have written it.
    BelowMessage,
    /// It is an ARC field: what others said who forwarded the mail.
    Arc,
    /// The receiver has said this already, above.
    Again,
}

impl Untrusted {
    /// In words.
    #[must_use]
    pub fn says(&self) -> String {
        match self {
            Self::OtherServer => "its server is not one that is trusted here".to_owned(),
            Self::BelowOtherHost(host) => {
                format!("it stands below the Received of {host}, so that anybody before can have written it")
            }
            Self::BelowMessage => {
                "it stands below what came with the mail, so that its sender can have written it".to_owned()
            }
            Self::Arc => "ARC tells what a forwarder claims".to_owned(),
            Self::Again => "the receiver has said this already, above".to_owned(),
        }
    }
}

/// One field, with whether it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// What it says.
    pub says: AuthResults,
    /// Why it decides nothing; `None` where it counts.
    pub untrusted: Option<Untrusted>,
}

/// Says of each `Authentication-Results` and `ARC-Authentication-Results` field whether it counts. The fields of the header come as
/// name and value, from the top.
pub fn judge<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>, trust: &Trust) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut foreign: Option<String> = None;
    let (mut message, mut said) = (false, Vec::<String>::new());
    for (name, value) in fields {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("authentication-results") {
            let says = parse(value);
            let untrusted = if !trust.knows(says.server.as_deref()) {
                Some(Untrusted::OtherServer)
            } else if let Some(host) = &foreign {
                Some(Untrusted::BelowOtherHost(host.clone()))
            } else if message {
                Some(Untrusted::BelowMessage)
            } else if says.results.iter().any(|one| one.method != "dkim" && said.contains(&one.method)) {
                Some(Untrusted::Again)
            } else {
                None
            };
            if untrusted.is_none() {
                said.extend(says.results.iter().map(|one| one.method.clone()));
            }
            seen.push(Seen { says, untrusted });
        } else if is("arc-authentication-results") {
            seen.push(Seen { says: parse_arc(value), untrusted: Some(Untrusted::Arc) });
        } else if is("received") {
            let host = received_by(value);
            if foreign.is_none() && !trust.owns(host.as_deref()) {
                foreign = Some(host.unwrap_or_else(|| "a host that is not named".to_owned()));
            }
        } else if !is_trace(name) {
            message = true;
        }
    }
    seen
}

/// Fields that receivers write, among which their results stand.
fn is_trace(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["x-", "arc-", "received-"].iter().any(|start| name.starts_with(start))
        || matches!(name.as_str(), "return-path" | "delivered-to" | "envelope-to" | "original-recipient" | "status")
}

/// The host behind `by` of a `Received` field, in lower case.
#[must_use]
pub fn received_by(value: &str) -> Option<String> {
    let mut depth = 0_usize;
    let mut by = false;
    for word in value.split_whitespace() {
        let outside = depth == 0 && !word.starts_with('(');
        if outside && by {
            let host = word.trim_matches([';', ',']).to_ascii_lowercase();
            return (!host.is_empty() && host.len() <= MAX_ID_BYTES).then_some(host);
        }
        by = outside && word.eq_ignore_ascii_case("by");
        depth = (depth + word.matches('(').count()).saturating_sub(word.matches(')').count());
    }
    None
}
