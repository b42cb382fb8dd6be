//! What is declared and observed, as it comes from configuration, events and canaries: texts that may hold anything.

use std::net::IpAddr;

use crate::model::Provider;

use super::super::{apple_rule::Team, mail_from::OnMxFailure};

/// All that is to be audited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Setup {
    /// The teams with the sources that they have declared as registered; empty where nothing was declared.
    pub teams: Vec<Team>,
    /// What sends to relay addresses.
    pub streams: Vec<Stream>,
}

/// A selector that a stream signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// `s=`.
    pub selector: String,
    /// `d=`; the From domain where it is not said.
    pub domain: Option<String>,
}

/// One stream: what sends what, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Who sends.
    pub provider: Provider,
    /// The team whose users it is for; any where it is not said.
    pub team: Option<String>,
    /// The From address, or its domain.
    pub from: String,
    /// The envelope address or domain, as set up. Where it is not said: SES's own domain at SES, unknown elsewhere.
    pub envelope: Option<String>,
    /// The selectors that are known to be in use.
    pub selectors: Vec<Selector>,
    /// Whether every message bears all of these signatures; otherwise each bears one or another.
    pub signs_with_all: bool,
    /// The addresses that it is sent from, where they are known.
    pub addresses: Vec<IpAddr>,
    /// The name whose SPF record lists the addresses that it is sent from, in place of what `providers` knows.
    pub spf_name: Option<String>,
    /// The AWS region, at SES.
    pub region: Option<String>,
    /// What SES does without the MX of a custom MAIL FROM.
    pub on_mx_failure: Option<OnMxFailure>,
}

impl Stream {
    /// A stream of which no more is known than who sends and the From domain or address.
    pub fn new(provider: Provider, from: impl Into<String>) -> Self {
        Self {
            provider,
            team: None,
            from: from.into(),
            envelope: None,
            selectors: Vec::new(),
            signs_with_all: false,
            addresses: Vec::new(),
            spf_name: None,
            region: None,
            on_mx_failure: None,
        }
    }
}
