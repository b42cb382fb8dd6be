//! The DNS servers that a command asks.

use std::time::Duration;

use anyhow::Context;

use crate::{
    config::Config,
    sources::{
        dns::{Asker, Settings},
        servers,
    },
};

/// How long one server may take for one try.
const TRY: Duration = Duration::from_secs(3);

/// Asks the servers that are named on the command line, else in the configuration, else those of the machine.
pub(super) fn asker(named: &[String], config: &Config) -> anyhow::Result<Asker> {
    let named = if named.is_empty() { &config.dns.resolvers } else { named };
    let mut servers = Vec::with_capacity(named.len());
    for server in named {
        let read = servers::parse(server);
        servers.push(read.with_context(|| {
            format!("{server:?} is no address of a DNS server: write it as 9.9.9.9, 127.0.0.1:5353 or [::1]:5353")
        })?);
    }
    if servers.is_empty() {
        servers = servers::of_machine()?;
    }
    Ok(Asker::new(&Settings { timeout: TRY, ..Settings::new(servers) })?)
}
