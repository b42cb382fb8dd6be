//! Whether a domain is fit for Apple's relay: what its DNS says, judged by rules that are functions of the answers.
//!
//! `answer` (what may be asked of DNS and what may come back), `spf`, `watch` and everything that judges are pure; `dns` asks.

pub mod answer;
pub mod apple_rule;
mod asking;
pub mod audit;
pub mod auth_results;
pub mod canary;
pub mod declared;
pub mod dkim;
pub mod dmarc;
pub mod dns;
pub mod finding;
pub mod mail_from;
pub mod mailbox;
pub mod message;
pub mod providers;
pub mod reports;
pub mod servers;
pub mod signatures;
pub mod spf;
pub mod submission;
mod tags;
#[cfg(test)]
mod testing;
pub mod watch;
pub mod zones;

pub use finding::{DnsRecord, Finding, FindingCode, Fix, Grade};
