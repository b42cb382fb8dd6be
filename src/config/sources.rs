//! Whether what is declared of sources and streams makes sense.

use std::{collections::HashMap, net::IpAddr};

use super::{forms::is_region, shape::nearest_word, validate::Checks};
use crate::{
    model::{Address, Provider, normalise_domain},
    sources::{apple_rule::Registered, declared, servers},
};

impl Checks<'_> {
    pub(super) fn sources(&mut self, index: usize) {
        let Some(team) = self.config.team.get(index) else { return };
        let mut seen = HashMap::new();
        for (number, source) in team.source.iter().enumerate() {
            let path = format!("team.{index}.source.{number}");
            match (&source.domain, &source.address) {
                (Some(domain), None) => self.domain(&format!("{path}.domain"), domain),
                (None, Some(address)) => {
                    if Address::parse(address).is_err() {
                        self.wrong(
                            &format!("{path}.address"),
                            "this is no mail address",
                            "write it as \"dev@example.com\"",
                        );
                    }
                }
                _ => self.error(
                    &path,
                    "a source is a domain or an address, one of the two",
                    "split it into two [[team.source]]",
                ),
            }
            if source.confirmed_at.is_some() && source.confirmed().is_none() {
                let help = "write the day as \"2026-11-01\"";
                self.wrong(&format!("{path}.confirmed_at"), "this is no date", help);
            }
            let key =
                (source.domain.as_deref().map(normalise_domain), source.address.as_deref().map(str::to_lowercase));
            if seen.insert(key, number).is_some() {
                self.warning(&path, "this source stands twice in the team", "remove one");
            }
        }
        let max = team.kind.max_sources();
        if team.source.len() > max {
            self.warning(
                &format!("team.{index}.source.{max}"),
                format!("{} sources, and Apple registers {max} at most for this kind of account", team.source.len()),
                "check the list against the developer account, and `kind`",
            );
        }
    }

    pub(super) fn streams(&mut self, index: usize) {
        let Some(team) = self.config.team.get(index) else { return };
        for (number, stream) in team.stream.iter().enumerate() {
            let path = |key: &str| format!("team.{index}.stream.{number}.{key}");
            if Provider::from_name(&stream.provider).is_none() {
                let names: Vec<&str> = Provider::ALL.iter().map(|provider| provider.as_str()).collect();
                let help = match nearest_word(&stream.provider, names.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("one of {}; \"generic\" for machines of your own", names.join(", ")),
                };
                self.wrong(&path("provider"), "no provider has this name", help);
            }
            if Registered::parse(&stream.from).is_none() {
                let help = "write the From address as \"dev@example.com\", or its domain";
                self.wrong(&path("from"), "this is neither an address nor a domain", help);
            }
            for (key, name) in [("mail_from", &stream.mail_from), ("spf_name", &stream.spf_name)] {
                if let Some(domain) = name {
                    self.domain(&path(key), domain);
                }
            }
            if stream.region.as_deref().is_some_and(|region| !is_region(region)) {
                self.wrong(&path("region"), "this is no AWS region", "write it as \"eu-west-1\"");
            }
            for (at, address) in stream.addresses.iter().enumerate() {
                if address.parse::<IpAddr>().is_err() {
                    let help = "write one IP address, as \"192.0.2.10\"; of a network one that sends";
                    self.wrong(&path(&format!("addresses.{at}")), "this is no IP address", help);
                }
            }
            for (at, selector) in stream.selectors.iter().enumerate() {
                if declared::selector(selector).is_none() {
                    let help = "write \"s1\" for s1._domainkey of the From domain, or \"s1@example.com\"";
                    self.wrong(&path(&format!("selectors.{at}")), "this is no DKIM selector", help);
                }
            }
        }
    }

    pub(super) fn resolvers(&mut self) {
        let dns = &self.config.dns;
        for (key, servers) in [("resolvers", &dns.resolvers), ("zone_servers", &dns.zone_servers)] {
            for (number, server) in servers.iter().enumerate() {
                if servers::parse(server).is_none() {
                    let help =
                        "write its IP address, as \"9.9.9.9\", or with a port \"127.0.0.1:5353\" or \"[::1]:5353\"";
                    self.wrong(&format!("dns.{key}.{number}"), "this is no address of a DNS server", help);
                }
            }
        }
    }
}
