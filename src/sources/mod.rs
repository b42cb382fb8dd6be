//! Whether a domain is fit for Apple's relay: what its DNS says, judged by rules that are functions of the answers.
//!
//! `answer` (what may be asked of DNS and what may come back) and `spf` are pure; `dns` asks.

pub mod answer;
pub mod dns;
pub mod spf;
