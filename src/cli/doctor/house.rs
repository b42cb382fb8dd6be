//! What is not of one feed: configuration, state directory, keys, rules, notifiers, daemon, store.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use super::{feeds::ago, report::Check};
use crate::{
    config::{Config, ConfigErrors, Mistake, Place, Severity},
    control::{AskStanding, Standing, Writer, socket_path},
    daemon::{keys_are_lost, store_options},
    ingest::alive,
    model::{MINUTE_MILLIS, Timestamp},
    monitor::{
        blind::{ALL, known as windows},
        overview::Overview,
    },
    privacy::Keyring,
    rule_files,
    sources::watch::Fitness,
    store::{Access, Backlog, Store, StoreError},
};

/// The database's clock may be so far from this machine's before it is told …
const SKEW_MILLIS: i64 = 2_000;
/// … and so far before times are judged wrongly: signatures and leases go by it.
const WRONG_SKEW_MILLIS: i64 = MINUTE_MILLIS;
/// A process that takes reports in, or a monitor, that has not been heard for so long stands still.
const STALE_MILLIS: i64 = 2 * MINUTE_MILLIS;
/// What is held up still is after this pause.
const HELD_UP_PAUSE: Duration = Duration::from_secs(2);

pub(super) fn configuration(loaded: &Result<Config, ConfigErrors>) -> Check {
    // That nothing is connected or nobody told has a line of its own.
    let is_told_below = |mistake: &Mistake| {
        mistake.severity == Severity::Warning
            && mistake.place == Place::Nowhere
            && matches!(mistake.path.as_str(), "feeds" | "notify")
    };
    let (mistakes, mut check) = match loaded {
        Ok(config) => {
            let named = config.provenance.file.as_deref().map(|file| file.display().to_string());
            let named = named.unwrap_or_else(|| "no file: the defaults and the environment".to_owned());
            let warnings = &config.provenance.warnings;
            let check = if warnings.iter().all(is_told_below) {
                Check::ok("configuration", named)
            } else {
                Check::warning("configuration", named)
            };
            (warnings, check)
        }
        Err(errors) => (
            &errors.mistakes,
            Check::wrong("configuration", "not valid; nothing else is looked at until it is")
                .then("`relaywatch config check` shows the lines themselves"),
        ),
    };
    for mistake in mistakes.iter().filter(|mistake| !is_told_below(mistake)) {
        let Mistake { path, message, help, .. } = mistake;
        let (place, help) = (mistake.stands_at(), help.as_ref().map_or_else(String::new, |help| format!("; {help}")));
        let heads: Vec<&str> = [place.as_str(), path.as_str()].into_iter().filter(|head| !head.is_empty()).collect();
        check = check.then(format!("{}: {message}{help}", heads.join(", ")));
    }
    check
}

/// Whether anybody but the owner may do something there.
fn is_open(path: &Path, bits: u32) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    Ok((mode & bits != 0).then_some(mode))
}

pub(super) fn state_directory(config: &Config) -> Check {
    const NAME: &str = "state directory";
    let path = config.state_directory();
    let shown = path.display();
    match is_open(path, 0o007) {
        Ok(_) if !path.is_dir() => Check::wrong(NAME, format!("{shown} is no directory")),
        Ok(None) => Check::ok(NAME, shown.to_string()),
        Ok(Some(mode)) => Check::warning(NAME, format!("every user of this machine may look into {shown} (mode {mode:04o})"))
            .then(format!("chmod o-rwx {shown}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Check::warning(NAME, format!("there is no {shown} yet"))
            .then("`relaywatch serve` makes it; if one runs elsewhere, give this command its configuration and STATE_DIRECTORY"),
        Err(error) => Check::wrong(NAME, format!("{shown} can't be looked at: {error}"))
            .then("run this as the daemon's user or as root"),
    }
}

pub(super) async fn keys(config: &Config) -> Check {
    const NAME: &str = "keys";
    let path = config.key_file();
    let shown = path.display();
    match (is_open(&path, 0o077), Keyring::load(&path)) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound && keys_are_lost(config).await => {
            Check::wrong(NAME, format!("the key file {shown} is gone, and the store is there that was made with it"))
                .then(
                    "without it nobody can read the stored addresses and `sub`s, nor tell a known address or a repeated delivery from a \
                     new one; `serve` does not start",
                )
                .then(
                    "put it back from its backup or from another process of this store, or point [privacy] key_file at it; no other key \
                     does: without it only a new store can be begun",
                )
        }
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
            Check::warning(NAME, format!("there is no key file {shown} yet"))
                .then("`relaywatch serve` makes it together with a new store")
        }
        (_, Err(error)) => Check::wrong(NAME, format!("the key file {shown} can't be used: {}", chain(&error)))
            .then("run this as the daemon's user, or restore the key file from its backup"),
        (Ok(Some(mode)), Ok(_)) => {
            Check::wrong(NAME, format!("others than its owner may use the key file {shown} (mode {mode:04o})"))
                .then(format!("chmod 600 {shown}"))
        }
        (_, Ok(keyring)) => Check::ok(NAME, format!("{shown}, fingerprint {}", keyring.fingerprint())),
    }
}

pub(super) fn rules(config: &Config) -> Check {
    const NAME: &str = "reply rules";
    match rule_files::of(config) {
        Ok(rules) => {
            let own = config.rules.folder.as_ref().map(|folder| format!(", with your own of {}", folder.0.display()));
            Check::ok(NAME, format!("version {}{}", rules.version(), own.unwrap_or_default()))
        }
        // `config check` has told each mistake.
        Err(error) => Check::wrong(NAME, chain(&error)),
    }
}

pub(super) fn notifiers(config: &Config) -> Check {
    const NAME: &str = "notifiers";
    let notify = &config.notify;
    let set = [
        (notify.slack.is_some(), "Slack"),
        (notify.webhook.is_some(), "webhook"),
        (notify.heartbeat.is_some(), "sign of life"),
    ];
    let names: Vec<&str> = set.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect();
    if notify.slack.is_none() && notify.webhook.is_none() {
        Check::warning(NAME, "none that people hear: incidents are recorded and nobody is told")
            .then("set [notify.slack] or [notify.webhook]")
    } else {
        Check::ok(NAME, names.join(", "))
    }
}

/// What is seen of a daemon of this state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has answered.
    Answers,
    /// None is known to run, and one may: its socket is there and can't be used, or something answers at the private listener.
    Unknown,
    /// Its socket is gone, and nothing answers at the private listener.
    Gone,
}

/// Asks the daemon of this state directory how it stands; else looks whether one answers at the private listener.
pub(super) async fn daemon(
    config: &Config,
    client: Option<&reqwest::Client>,
    now: Timestamp,
) -> (Check, Option<Standing>, Presence) {
    const NAME: &str = "daemon";
    let socket = socket_path(config);
    let shown = socket.display();
    let asked = match Writer::daemon(config).await {
        Ok(Some(writer)) => writer.call(AskStanding {}).await.map(Some).map_err(|error| chain(&error)),
        Ok(None) => Ok(None),
        Err(error) => Err(chain(&error)),
    };
    match asked {
        Ok(Some(standing)) => (running(&standing, now), Some(standing), Presence::Answers),
        Ok(None) => {
            let private = config.listen.private.0;
            let answers = match client {
                Some(client) => healthy(client, &format!("http://{private}/healthz")).await,
                None => false,
            };
            let check = Check::warning(NAME, format!("none runs here: nothing answers at {shown}"));
            let check = if answers {
                check.then(format!(
                    "a process answers at the private listener, {private}: is its state directory another one? Give this command its \
                     STATE_DIRECTORY"
                ))
            } else {
                check.then("`relaywatch serve` runs it; what one elsewhere knows since its start is not shown here")
            };
            (check, None, if answers { Presence::Unknown } else { Presence::Gone })
        }
        Err(why) => (Check::wrong(NAME, why), None, Presence::Unknown),
    }
}

async fn healthy(client: &reqwest::Client, url: &str) -> bool {
    client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// How a daemon stands that answered.
pub(super) fn running(standing: &Standing, now: Timestamp) -> Check {
    const NAME: &str = "daemon";
    let Standing { version, role, leads, caught_up, held_up_seconds, reload_refused, .. } = standing;
    let leading = if *leads { ", leads the monitors" } else { "" };
    let says = format!("runs, version {version}, role {role}{leading}");
    let mut advice = Vec::new();
    if version != env!("CARGO_PKG_VERSION") {
        advice.push(format!(
            "this command is of version {}: restart the daemon after an update",
            env!("CARGO_PKG_VERSION")
        ));
    }
    if let Some(why) = reload_refused {
        advice.push(format!("the last reload was refused, and the settings of before are in force: {why}"));
    }
    if *held_up_seconds > 0 {
        advice.push(format!(
            "a transaction elsewhere in the database cluster has held the journal up for {held_up_seconds} s: nothing new is judged"
        ));
    }
    if *leads && caught_up.is_none_or(|at| now.millis_since(at) >= STALE_MILLIS) {
        let at = caught_up.map_or_else(|| "not since its start".to_owned(), |at| format!("last at {at}"));
        advice.push(format!("the monitor has not reached the end of the journal ({at}): see its log"));
    }
    let check = if advice.is_empty() { Check::ok(NAME, says) } else { Check::warning(NAME, says) };
    advice.into_iter().fold(check, Check::then)
}

/// Opens the store to read.
pub(super) async fn store(config: &Config) -> (Check, Option<Store>) {
    const NAME: &str = "store";
    let place = config.store.url.to_string();
    if let Some(file) = config.store.url.sqlite_file().filter(|file| !file.exists()) {
        let check = Check::warning(NAME, format!("there is no {} yet", file.display()));
        return (check.then("`relaywatch serve` makes it"), None);
    }
    let Ok(keyring) = Keyring::load(&config.key_file()) else {
        return (Check::warning(NAME, format!("{place} was not opened: that needs the key file")), None);
    };
    match Store::open(&store_options(config, Access::Read), Arc::new(keyring)).await {
        Ok(store) => (Check::ok(NAME, format!("{}, its schema is up to date: {place}", store.engine())), Some(store)),
        Err(error) if error.is_without_tables() => {
            let check = Check::warning(NAME, format!("{place} holds nothing of relaywatch yet"));
            (check.then("`relaywatch serve` makes its tables"), None)
        }
        Err(error) => (Check::wrong(NAME, chain(&error)), None),
    }
}

pub(super) fn unread(error: &StoreError) -> Check {
    Check::wrong("store", format!("it can't be read: {}", chain(error)))
}

/// What the store tells beside the feeds.
pub(super) async fn of_store(store: &Store, daemon: Presence, now: Timestamp) -> Vec<Check> {
    let mut checks = Vec::new();
    let looked = async {
        // The clock is read beside the database's, so that the time that everything else took is no skew.
        if let Some(theirs) = store.database_clock().await? {
            checks.push(clock(crate::clock::Clock::System.now().millis_since(theirs)));
        }
        if let Some(check) = backlog(store).await? {
            checks.push(check);
        }
        let alone = matches!(store, Store::Sqlite(_));
        checks.extend(signs(store.sign_of_life(alive::NAME).await?, daemon, alone, now));
        for window in windows(store, now).await?.iter().filter(|window| window.watched == ALL && window.until.is_none())
        {
            let why = window.reason.map_or("", crate::explain::BlindReason::says);
            checks
                .push(Check::warning("blind window", format!("since {}: {why}; absence proves nothing", window.from)));
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = looked.await {
        checks.push(unread(&error));
    }
    checks
}

/// The database's clock against this machine's, which is so far ahead.
pub(super) fn clock(ahead_millis: i64) -> Check {
    const NAME: &str = "clock";
    #[expect(clippy::cast_precision_loss, reason = "seconds for people, in tenths")]
    let seconds = ahead_millis.abs() as f64 / 1_000.0;
    let way = if ahead_millis < 0 { "behind" } else { "ahead of" };
    match ahead_millis.abs() {
        ..SKEW_MILLIS => Check::ok(NAME, "agrees with the database's"),
        SKEW_MILLIS..WRONG_SKEW_MILLIS => {
            Check::warning(NAME, format!("this machine's is {seconds:.1} s {way} the database's"))
                .then("let both go by NTP")
        }
        _ => Check::wrong(NAME, format!("this machine's is {seconds:.0} s {way} the database's"))
            .then("let both go by NTP: signed times are judged by this machine's clock, who leads by the database's"),
    }
}

/// Whether rows wait above the oldest transaction that still runs, in whatever database of the cluster.
async fn backlog(store: &Store) -> Result<Option<Check>, StoreError> {
    const NAME: &str = "journal";
    let Some(before) = store.backlog().await? else { return Ok(None) };
    let waits = |backlog: &Backlog| backlog.newest >= backlog.settled;
    if waits(&before) {
        tokio::time::sleep(HELD_UP_PAUSE).await;
        if let Some(after) = store.backlog().await?
            && waits(&after)
            && after.settled == before.settled
        {
            let who = store.oldest_writer().await?;
            let who = who.unwrap_or_else(|| "which one is not readable here: grant pg_read_all_stats".to_owned());
            let check =
                Check::warning(NAME, "rows wait for an older transaction in the database cluster (stalled xmin)");
            return Ok(Some(check.then(format!("the oldest: {who}")).then(
                "if it stays: end it (pg_terminate_backend, ROLLBACK PREPARED); set idle_in_transaction_session_timeout for its role",
            )));
        }
    }
    Ok(Some(Check::ok(NAME, "no older transaction holds it up")))
}

/// Whether any process takes reports in, by the last sign of life. Where the daemon is `alone`, no other can; one that can't be asked
/// still gives its signs.
pub(super) fn signs(last: Option<Timestamp>, daemon: Presence, alone: bool, now: Timestamp) -> Option<Check> {
    const NAME: &str = "ingest";
    const RESTART: &str = "providers try again for a while; what they give up is lost: start `relaywatch serve`";
    let last = last?;
    let heard = format!("{last} ({})", ago(last, now));
    let silent = now.millis_since(last);
    Some(if daemon == Presence::Gone && alone {
        Check::wrong(NAME, format!("no process takes reports in: the last was heard {heard}")).then(RESTART)
    } else if silent < alive::LATE_MILLIS {
        Check::ok(NAME, format!("a process takes reports in, last heard {heard}"))
    } else if silent < STALE_MILLIS {
        Check::warning(NAME, format!("nothing was heard since {heard} of a process that takes reports in"))
            .then("a sign of life comes every 10 s: it stops, or the store is slow")
    } else if daemon == Presence::Answers {
        Check::wrong(NAME, format!("no process has taken reports in since {heard}"))
            .then("the daemon that runs here does not: see its role and its log")
    } else {
        Check::wrong(NAME, format!("no process has taken reports in since {heard}")).then(RESTART)
    })
}

/// An error with its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some say what their cause says.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// How the sources stand, where any are watched.
pub(super) async fn sources(store: &Store, now: Timestamp) -> Option<Check> {
    const NAME: &str = "sources";
    let overview = match Overview::read(store, now).await {
        Ok(overview) => overview,
        Err(error) => return Some(unread(&error)),
    };
    if overview.sources.is_empty() {
        return None;
    }
    let [fit, unfit, unknown] = [Fitness::Fit, Fitness::Unfit, Fitness::Unknown].map(|one| overview.count(one));
    let says = format!("{fit} fit for the relay, {unfit} unfit, {unknown} that can't be told");
    let mut check = match (unfit, overview.blind.len()) {
        (0, 0) => Check::ok(NAME, says),
        (0, _) => Check::warning(NAME, says),
        _ => Check::wrong(NAME, says),
    };
    if unfit > 0 {
        check = check.then("`relaywatch sources` tells which and since when, `relaywatch check` what to change");
    }
    for blind in overview.blind {
        check = check
            .then(format!("{} gets no answer since {}: look at the resolvers of [dns]", blind.watched, blind.since));
    }
    Some(check)
}
