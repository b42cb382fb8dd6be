//! `relaywatch doctor`: what works, what doesn't, and what to do about it; and what to set at each provider.
//!
//! It changes nothing. A running daemon is asked through its socket; without one, the store tells what it can.

mod feeds;
mod house;
mod report;

use std::{io::Write, path::Path, time::Duration};

use clap::Args;
use url::Url;

use self::{
    feeds::{InDaemon, Known, Seen},
    report::{Check, Report},
};
use super::{Exit, Format, config::verified, open};
use crate::{
    clock::Clock,
    config::{Config, ConfigErrors, PublicUrl},
    http_client,
    ingest::{http::feeds::Feeds, workers::Workers},
    model::Timestamp,
};

/// How long an address may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Tell what works, what does not, and what to set at each provider.
///
/// Looks at the configuration, the state directory, the keys, the store, the daemon and each feed, and changes nothing.
/// Works beside a running daemon and without one. Exit code 1 where something is wrong; warnings leave it 0.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch doctor                                       everything, with what to do about it
  relaywatch doctor --url https://hooks.example.com       also ask the feeds through the proxy
  relaywatch doctor --format json | jq '.feeds[].url'     for machines

Run it as the daemon's user, with the daemon's configuration and STATE_DIRECTORY. --url goes
before `public_url` in [listen].")]
pub struct DoctorCommand {
    /// Where providers reach the public listener: the feeds' URLs are shown with it, and asked.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl DoctorCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Where a writer fails, or the runtime can't be started. What is wrong with relaywatch is what it reports.
    pub fn run(
        &self,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        out: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let loaded = verified(Config::load(file, environment));
        let report = open::block_on(async { Ok(examine(loaded, self.url.as_ref(), Clock::System.now()).await) })?;
        match self.format {
            Format::Text => out.write_all(report.text().as_bytes())?,
            Format::Json => writeln!(out, "{:#}", report.json())?,
        }
        Ok(if report.is_wrong() { Exit::Finding } else { Exit::Success })
    }
}

/// Looks at everything.
async fn examine(loaded: Result<Config, ConfigErrors>, url: Option<&Url>, now: Timestamp) -> Report {
    let mut report = Report { checks: vec![house::configuration(&loaded)], feeds: Vec::new() };
    let Ok(config) = loaded else { return report };
    report.checks.extend([house::state_directory(&config), house::keys(&config).await, house::rules(&config)]);
    report.checks.push(house::notifiers(&config));
    let client = http_client::build(ASK_TIMEOUT);
    let (daemon, standing, presence) = house::daemon(&config, client.as_ref().ok(), now).await;
    report.checks.push(daemon);

    let (store, opened) = house::store(&config).await;
    report.checks.push(store);
    let mut known = Known::default();
    if let Some(store) = &opened {
        report.checks.extend(house::of_store(store, presence, now).await);
        report.checks.extend(house::sources(store, now).await);
        match feeds::known(store, now).await {
            Ok(found) => known = found,
            Err(error) => report.checks.push(house::unread(&error)),
        }
    }
    if let Some(store) = opened {
        store.close().await;
    }
    let base = url.or(config.listen.public_url.as_ref().map(|url| &url.0));
    let (posted, workers) = (Feeds::build(&config).0, Workers::build(&config).0);
    let public = standing.as_ref().and_then(|standing| standing.public).unwrap_or(config.listen.public.0);
    let mut asked = feeds::Asked::new(client.ok(), base, public);
    if posted.paths().is_empty() && workers.iter().next().is_none() {
        report.checks.push(
            Check::warning("feeds", "no feed is configured, so nothing is watched")
                .then("`relaywatch config default` shows each provider's table"),
        );
    }
    let ingests = standing.as_ref().and_then(|standing| standing.feeds.as_ref());
    for feed in posted.paths() {
        let reach = asked.reach(feed).await;
        let seen = Seen { known: known.of(feed), daemon: InDaemon::of(ingests, feed), reach };
        let at = asked.url(feed);
        let mut row = feeds::row(feed, (&at, true), config.feeds.connect(feed, &at), &seen, now);
        // By --url it may be asked past what providers go through.
        if let (Some(signed), Some(PublicUrl(public))) = (config.feeds.signed_url(feed), &config.listen.public_url) {
            row.compare_signed(signed, &feeds::url(public, feed));
        }
        report.feeds.push(row);
    }
    for worker in &workers {
        let (feed, at) = (worker.name.name.as_str(), worker.place());
        let reach = match worker.probe().await {
            None => feeds::Reach::NotAsked,
            Some(Ok(())) => feeds::Reach::Here,
            Some(Err(why)) => feeds::Reach::No(why),
        };
        let seen = Seen { known: known.of(feed), daemon: InDaemon::of(ingests, feed), reach };
        report.feeds.push(feeds::row(feed, (&at, false), config.feeds.connect(feed, &at), &seen, now));
    }
    report.checks.extend(asked.said());
    report
}

#[cfg(test)]
mod tests;
