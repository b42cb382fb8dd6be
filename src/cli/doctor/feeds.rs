//! Each feed: whether it can be reached, what it brought last, and what to set at its provider.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::report::{Check, Mark};
use crate::{
    config::differences,
    control::FeedStanding,
    ingest::{
        RejectionReason,
        http::endpoint::{PROBE, probed},
    },
    model::{HOUR_MILLIS, Provider, Timestamp},
    monitor::{
        blind::{NOTICES, Window, known as windows},
        exposure::{Finding, check},
    },
    store::{Store, StoreError, WordKind},
};

/// The longest answer that is read, in bytes.
const MOST_ANSWER: usize = 16 * 1024;
/// How far back the store knows hours of feeds: as long as it keeps them.
const HISTORY_HOURS: i64 = 70 * 24;

/// What the store knows of all feeds.
#[derive(Debug, Default)]
pub(super) struct Known {
    read: bool,
    feeds: BTreeMap<String, KnownFeed>,
}

/// What it knows of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KnownFeed {
    /// The last hour in which something happened that it reported.
    pub(super) hour: Option<Timestamp>,
    /// Whether it has brought anything ever.
    pub(super) heard: bool,
    /// Its blind windows that last.
    pub(super) blind: Vec<Window>,
    /// How it reports otherwise than it declares.
    pub(super) findings: Vec<Finding>,
}

impl Known {
    /// What is known of one feed; nothing where the store was not read.
    pub(super) fn of(&self, feed: &str) -> Option<KnownFeed> {
        self.read.then(|| self.feeds.get(feed).cloned().unwrap_or_default())
    }
}

/// Reads what the store knows.
pub(super) async fn known(store: &Store, now: Timestamp) -> Result<Known, StoreError> {
    let mut feeds: BTreeMap<String, KnownFeed> = BTreeMap::new();
    let names: BTreeMap<i32, String> = store.words_of(WordKind::Feed).await?.into_iter().collect();
    for name in names.values() {
        feeds.entry(name.clone()).or_default().heard = true;
    }
    let since = now.as_millis().div_euclid(HOUR_MILLIS) - HISTORY_HOURS;
    let at = |hour: i64| Timestamp::from_millis(hour.saturating_mul(HOUR_MILLIS));
    for (of, counts) in store.feed_hours(since).await? {
        if let Some(name) = names.get(&of.feed).filter(|_| counts.events > 0) {
            let feed = feeds.entry(name.clone()).or_default();
            feed.hour = feed.hour.max(Some(at(of.hour)));
        }
    }
    let notices = store.notice_hours(at(since)).await?.into_iter().map(|(_, hour, _)| at(hour)).max();
    let is_apple = |feed: &str| Provider::of_feed(feed) == Some(Provider::Apple);
    for (_, feed) in feeds.iter_mut().filter(|(name, _)| is_apple(name)) {
        feed.hour = notices;
    }
    for window in windows(store, now).await?.into_iter().filter(|window| window.until.is_none()) {
        feeds.entry(window.watched.clone()).or_default().blind.push(window);
    }
    for finding in check(store, now).await? {
        feeds.entry(finding.feed.clone()).or_default().findings.push(finding);
    }
    // Whatever is silent of the notices is Apple's feed's.
    let silent: Vec<Window> = feeds
        .iter()
        .filter(|(name, _)| name.split('/').next() == Some(NOTICES))
        .flat_map(|(_, feed)| feed.blind.clone())
        .collect();
    for (_, feed) in feeds.iter_mut().filter(|(name, _)| is_apple(name)) {
        feed.blind.extend(silent.iter().cloned());
    }
    Ok(Known { read: true, feeds })
}

/// Whether a feed can be reached where its provider posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// relaywatch answers for it there.
    Here,
    /// Nothing answers, or something else does: why.
    No(String),
    /// It was not asked, or there is nothing to ask cheaply.
    NotAsked,
}

/// Asks the public listener, or what stands before it.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    client: Option<reqwest::Client>,
    base: Option<&'a Url>,
    public: SocketAddr,
    /// Why nothing answers there: it is not asked again.
    dead: Option<String>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(client: Option<reqwest::Client>, base: Option<&'a Url>, public: SocketAddr) -> Self {
        Self { client, base, public, dead: None }
    }

    /// A feed's URL: through the public address where it is known, else the listener's own.
    pub(super) fn url(&self, feed: &str) -> String {
        match self.base {
            Some(base) => url(base, feed),
            None => format!("http://{}/in/{feed}", reachable(self.public)),
        }
    }

    /// What is to be said of the addresses in general.
    pub(super) fn said(&self) -> Option<Check> {
        let Self { base, public, .. } = self;
        base.is_none().then(|| {
            Check::warning(
                "public URL",
                format!("not known: the feeds' URLs show where the listener is bound, {public}"),
            )
            .then("set `public_url` in [listen] to where providers reach it through the proxy, or give --url")
        })
    }

    /// Whether relaywatch answers for this feed.
    pub(super) async fn reach(&mut self, feed: &str) -> Reach {
        let Some(client) = &self.client else { return Reach::NotAsked };
        if let Some(dead) = &self.dead {
            return Reach::No(dead.clone());
        }
        let answer =
            client.post(self.url(feed)).header(PROBE, "doctor").header(CONTENT_TYPE, "application/json").send();
        match answer.await {
            Ok(answer) => understood(feed, answer).await,
            Err(error) => {
                let why = unanswered(&error, self.base.and_then(Url::host_str));
                self.dead = Some(why.clone());
                Reach::No(why)
            }
        }
    }
}

/// A feed's URL below the public one.
pub(super) fn url(base: &Url, feed: &str) -> String {
    format!("{}/in/{feed}", base.as_str().trim_end_matches('/'))
}

/// Why nothing answers.
fn unanswered(error: &reqwest::Error, host: Option<&str>) -> String {
    let causes = || std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let kind = || causes().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    // The resolver's own error is of a private type; its words are these.
    let is_of_dns = causes().any(|cause| cause.to_string().starts_with("dns error"));
    let host = host.unwrap_or("the address");
    if error.is_timeout() {
        "nothing answers in time: a firewall, or the wrong address?".to_owned()
    } else if is_of_dns {
        format!("no such host: {host} can't be resolved")
    } else if error.is_connect() && kind() == Some(std::io::ErrorKind::ConnectionRefused) {
        "unreachable: the connection is refused, so nothing listens there".to_owned()
    } else if causes().any(|cause| cause.to_string().contains("certificate")) {
        format!("the TLS certificate of {host} is not valid; providers refuse it as well")
    } else if error.is_connect() {
        "unreachable: no connection comes about".to_owned()
    } else {
        "no sound HTTP is spoken".to_owned()
    }
}

/// An address that can be connected to, for one on which it listens.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

async fn understood(feed: &str, mut answer: reqwest::Response) -> Reach {
    let status = answer.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_ANSWER {
            break;
        }
    }
    read(feed, status, &body)
}

/// What an answer to a probe says.
fn read(feed: &str, status: StatusCode, body: &[u8]) -> Reach {
    let problem: Option<Value> = serde_json::from_slice(body).ok();
    let text = |key: &str| problem.as_ref()?.get(key)?.as_str();
    // Only relaywatch's problems carry a reason of its list.
    let is_ours = text("reason").and_then(RejectionReason::from_name).is_some();
    match (status, is_ours) {
        (StatusCode::BAD_REQUEST, true) if text("detail") == Some(probed(feed).as_str()) => Reach::Here,
        (StatusCode::NOT_FOUND, true) => {
            Reach::No("a relaywatch answers there and does not have this feed: reload it (SIGHUP)".to_owned())
        }
        (_, true) => Reach::No(format!("a relaywatch of another version answers there (HTTP {})", status.as_u16())),
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, false) => Reach::No(format!(
            "something else answers there (HTTP {}): the wrong host or path, or a proxy that does not pass /in/ on",
            status.as_u16()
        )),
        (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, false) => {
            Reach::No(format!("a proxy answers there, and does not reach relaywatch (HTTP {})", status.as_u16()))
        }
        (_, false) => Reach::No(format!("something else answers there (HTTP {})", status.as_u16())),
    }
}

/// What the daemon knows of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InDaemon {
    /// No daemon that takes reports in was asked.
    NotAsked,
    /// It does not have the feed.
    Missing,
    /// It has.
    Stands(FeedStanding),
}

impl InDaemon {
    /// What a daemon's list says of a feed.
    pub(super) fn of(feeds: Option<&BTreeMap<String, FeedStanding>>, feed: &str) -> Self {
        match feeds.map(|feeds| feeds.get(feed)) {
            None => Self::NotAsked,
            Some(None) => Self::Missing,
            Some(Some(standing)) => Self::Stands(*standing),
        }
    }
}

/// All that was seen of a feed.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// What the store knows; nothing where it was not read.
    pub(super) known: Option<KnownFeed>,
    /// What the daemon knows.
    pub(super) daemon: InDaemon,
    /// Whether it can be reached.
    pub(super) reach: Reach,
}

/// Whether a feed can be reached, for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reachable {
    /// relaywatch answers for it there.
    Yes,
    /// It does not.
    No,
    /// Not asked.
    NotAsked,
}

/// The last rejection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Rejection {
    at: String,
    reason: RejectionReason,
}

/// A feed, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FeedRow {
    /// Its name.
    pub(super) feed: String,
    /// How it stands.
    pub(super) mark: Mark,
    /// In one line.
    pub(super) says: String,
    /// What to do about it.
    pub(super) advice: Vec<String>,
    /// Where its reports come from: its URL, or a queue, a port, a file.
    pub(super) place: String,
    /// Its URL, where its provider posts to one.
    pub(super) url: Option<String>,
    /// Whether it can be reached.
    pub(super) reachable: Reachable,
    /// When something was last understood, or the hour of the last event that the store knows.
    pub(super) last_event: Option<String>,
    /// When a delivery was last taken, since the daemon's start.
    pub(super) last_accepted: Option<String>,
    /// The last rejection since the daemon's start.
    pub(super) last_rejection: Option<Rejection>,
    /// What to set at the provider.
    pub(super) connect: Vec<String>,
}

/// Says how a feed stands.
pub(super) fn row(
    feed: &str,
    (at, is_posted): (&str, bool),
    connect: Vec<String>,
    seen: &Seen,
    now: Timestamp,
) -> FeedRow {
    let mut advice = Vec::new();
    let mut mark = Mark::Ok;
    let mut raise = |to: Mark, text: String| {
        mark = mark.max(to);
        advice.push(text);
    };
    let reachable = match &seen.reach {
        Reach::Here => Reachable::Yes,
        Reach::NotAsked => Reachable::NotAsked,
        Reach::No(_) => Reachable::No,
    };
    let standing = match seen.daemon {
        InDaemon::Stands(standing) => standing,
        InDaemon::NotAsked => FeedStanding::default(),
        InDaemon::Missing => {
            raise(Mark::Wrong, "the daemon does not have this feed: reload it (SIGHUP), and see its log".to_owned());
            FeedStanding::default()
        }
    };
    if let Some((refused_at, reason)) = standing.refused {
        let ago = ago(refused_at, now);
        let said = format!(
            "last rejection {refused_at} ({ago}), {reason}: {}",
            in_mail(feed, reason).unwrap_or_else(|| means(reason))
        );
        // What was taken since shows that the feed works.
        let is_last = standing.accepted.is_none_or(|accepted| accepted < refused_at);
        raise(if is_last { Mark::Warning } else { Mark::Ok }, said);
    }
    if standing.set_aside > 0 {
        raise(
            Mark::Warning,
            format!("{} parts of deliveries were set aside; `relaywatch events list` names them", standing.set_aside),
        );
    }
    let known = seen.known.as_ref();
    for window in known.iter().flat_map(|known| &known.blind) {
        let why = window.reason.map_or("", crate::explain::BlindReason::says);
        raise(Mark::Warning, format!("blind since {} ({}): {why}", window.from, window.watched));
    }
    for finding in known.iter().flat_map(|known| &known.findings) {
        raise(Mark::Warning, finding.advice());
    }
    let hour = known.and_then(|known| known.hour);
    let heard = known.is_some_and(|known| known.heard);
    let last = match (standing.understood, hour) {
        (Some(understood), _) => format!("last event {understood} ({})", ago(understood, now)),
        (None, Some(hour)) => format!("last event in the hour of {hour}"),
        (None, None) if heard => "no event for long".to_owned(),
        (None, None) if known.is_some() => {
            mark = mark.max(Mark::Warning);
            "nothing of it has ever come: set it up at the provider, as below".to_owned()
        }
        (None, None) => "last event not known: the store was not read".to_owned(),
    };
    let reached = match &seen.reach {
        Reach::Here => format!("; answers at {at}"),
        Reach::No(why) => {
            mark = Mark::Wrong;
            format!("; not to be had at {at}: {why}")
        }
        Reach::NotAsked => format!("; from {at}"),
    };
    FeedRow {
        feed: feed.to_owned(),
        mark,
        says: format!("{last}{reached}"),
        advice,
        place: at.to_owned(),
        url: is_posted.then(|| at.to_owned()),
        reachable,
        last_event: standing.understood.or(hour).map(|at| at.to_string()),
        last_accepted: standing.accepted.map(|at| at.to_string()),
        last_rejection: standing.refused.map(|(at, reason)| Rejection { at: at.to_string(), reason }),
        connect,
    }
}

impl FeedRow {
    /// Holds the URL that the provider signs along against the feed's own by `public_url`. What follows a `?` is the operator's, and
    /// may be a secret. It is a warning: a gateway may make the one of the other.
    pub(super) fn compare_signed(&mut self, signed: &str, own: &str) {
        let (Ok(mut signed), Ok(own)) = (Url::parse(signed), Url::parse(own)) else { return };
        let other = differences(&signed, &own);
        if other.is_empty() {
            return;
        }
        if signed.query().is_some() {
            signed.set_query(Some("***"));
        }
        self.mark = self.mark.max(Mark::Warning);
        self.advice.push(format!(
            "`url` in its table is {signed}, of another {} than {own}, which `public_url` tells: what is signed along does not verify \
             unless `url` is what stands at the provider, and a gateway leads from there to here",
            other.join(" and ")
        ));
    }
}

/// How long ago, in words.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.millis_since(at).max(0) / 1_000;
    match seconds {
        ..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// The same of a feed that mail comes to by itself, where that means something else.
fn in_mail(feed: &str, reason: RejectionReason) -> Option<&'static str> {
    let (provider, _) = feed.split_once('/').unwrap_or((feed, ""));
    if provider != Provider::Mail.as_str() {
        return None;
    }
    match reason {
        RejectionReason::TooLarge => {
            Some("a mail is larger than `max_bytes` in the feed's table; raise it if it matters")
        }
        RejectionReason::Unauthenticated => Some(
            "a mail without STARTTLS, and `require_tls` is set: let your mail server use it, or take the setting away",
        ),
        RejectionReason::Overloaded => Some(
            "a peer asks for more than the feed's table allows, and comes again; name your own mail server in `trusted_peers`",
        ),
        RejectionReason::StoreUnavailable => Some("the store was away; the mail's sender comes again"),
        _ => None,
    }
}

/// What a rejection means, and what to do.
const fn means(reason: RejectionReason) -> &'static str {
    match reason {
        RejectionReason::Malformed => "the body is not what the provider sends; is the URL another feed's?",
        RejectionReason::Unauthenticated => {
            "it came without credentials or signature: switch them on at the provider; a stranger's post looks the same"
        }
        RejectionReason::BadSignature => {
            "the signature does not verify: compare the key with the provider's; a proxy that changes bodies breaks it too"
        }
        RejectionReason::Foreign => {
            "a topic, app or issuer that is not configured: add it to the feed's table, or [[team.app]]"
        }
        RejectionReason::Stale => {
            "its signed time is off: compare the clocks; a late retry is taken by another attempt"
        }
        RejectionReason::TokenReused => "its one-time token came before with another body: a forgery",
        RejectionReason::TooLarge => "it is larger than `body_bytes` in [limits]",
        RejectionReason::KeysUnavailable => {
            "the provider's keys can't be fetched: see the log, and the way out by HTTPS"
        }
        RejectionReason::Unsupported => "a method, coding or media type that this feed does not take",
        RejectionReason::StoreUnavailable => "the store was away; the provider comes again",
        RejectionReason::Overloaded => "too many at once; the provider comes again",
        RejectionReason::BadCredentials => "the password or token is not the feed's: compare both ends",
        RejectionReason::Unreachable => {
            "its queue, log or port can't be reached: the daemon's log says why and what to do"
        }
    }
}
