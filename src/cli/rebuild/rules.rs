//! `relaywatch rebuild --rules`: what the rules in force say of stored replies, before and as it is applied.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
    sync::Arc,
};

use super::{
    RebuildCommand, done, follow,
    list::{LeftOut, List},
};
use crate::{
    classify::Rules,
    cli::{Exit, Format, open, progress::Progress, text},
    clock::Clock,
    config::Config,
    control::{AskRules, Classified, Classifier, EndRelabel, Relabel, Relabelling, RulesInForce, STRETCH, Writer},
    model::{DAY_MILLIS, Timestamp},
    monitor::settings,
    store::Store,
};

/// Lists, and with `--apply` applies.
pub(super) async fn run(
    command: &RebuildCommand,
    (file, config): (Option<&Path>, &Config),
    input: &mut impl BufRead,
    out: &mut impl Write,
    diagnostics: &mut impl Write,
) -> anyhow::Result<Exit> {
    if command.apply && !command.yes && !io::stdin().is_terminal() {
        anyhow::bail!(
            "nobody can be asked whether to change stored replies: standard input is no terminal; add --yes, or leave \
             --apply out to see the list"
        );
    }
    let rules = Arc::new(open::rules(config)?);
    let in_force = RulesInForce::of(&rules);
    ask_daemon(config, &in_force).await?;
    let now = Clock::System.now();
    let (store, _) = open::reader(config).await?;
    let mut list = survey(&store, &rules).await?;
    list.rules = Some(in_force.clone());
    list.left_out = left_out(&store, config, now).await?;
    list.resumes = Relabelling::is_left(&store).await?;
    let elsewhere = settings::latest(&store, now).await?.map(|journalled| journalled.settings.rules_fingerprint);
    store.close().await;

    let people = command.format == Format::Text;
    if people {
        list.text(out)?;
    }
    let changes = list.changed() > 0 || list.resumes;
    if !command.apply || !changes {
        if people && changes {
            let apply = text::command(file, "rebuild --rules --apply");
            writeln!(out, "\nnothing was changed; apply with: {apply}")?;
            if config.store.url.sqlite_file().is_none() {
                writeln!(
                    out,
                    "every process that takes reports in judges them by its own rules: give all of them these before, by the \
                     same version and [rules] folder and SIGHUP, else replies come in with verdicts of others"
                )?;
            }
            if elsewhere.is_some_and(|elsewhere| elsewhere != in_force.fingerprint) {
                writeln!(out, "the daemon ran by other rules until now: restart it, or send it SIGHUP, before")?;
            }
        }
        if !people {
            writeln!(out, "{}", list.json(None)?)?;
        }
        return Ok(Exit::Success);
    }
    if !command.yes {
        out.flush()?;
        write!(diagnostics, "\nGive {} new verdicts and rebuild? [y/N] ", replies(list.changed()))?;
        diagnostics.flush()?;
        let mut line = String::new();
        input.read_line(&mut line)?;
        if !matches!(line.trim(), "y" | "Y" | "yes") {
            writeln!(diagnostics, "nothing was changed")?;
            return Ok(Exit::Finding);
        }
    }
    let (replied, folded) = apply(command, config, rules, in_force, list.changed()).await?;
    match command.format {
        Format::Json => writeln!(out, "{}", list.json(Some((replied, folded)))?)?,
        Format::Text => {
            writeln!(out, "\n{} changed", replies(replied))?;
            if let Some(folded) = folded {
                writeln!(out, "{}", done(folded))?;
            }
        }
    }
    Ok(Exit::Success)
}

/// `1 stored reply`, `2 stored replies`.
pub(super) fn replies(number: u64) -> String {
    if number == 1 { "1 stored reply".to_owned() } else { format!("{number} stored replies") }
}

/// Refuses where the daemon goes by other rules than this configuration: it would classify what comes in otherwise.
async fn ask_daemon(config: &Config, in_force: &RulesInForce) -> anyhow::Result<()> {
    let Some(daemon) = Writer::daemon(config).await? else { return Ok(()) };
    let its = daemon.call(AskRules {}).await?;
    if its != *in_force {
        anyhow::bail!(
            "the running daemon goes by other reply rules (version {}, {}) than this configuration (version {}, {}): send it \
             SIGHUP so that it takes the [rules] folder up (its log says why where it can't), or run this with the daemon's \
             own configuration and version",
            its.version,
            its.fingerprint,
            in_force.version,
            in_force.fingerprint
        );
    }
    Ok(())
}

/// Classifies all stored replies, stretch by stretch.
async fn survey(store: &Store, rules: &Arc<Rules>) -> anyhow::Result<List> {
    let (mut list, mut classifier) = (List::default(), Classifier::new(store.clone(), Arc::clone(rules)));
    let mut progress = Progress::new();
    let mut after = None;
    while let Some(stretch) = store.reply_stretch(after, STRETCH).await? {
        after = Some(stretch.end());
        let groups = classifier.classify(&store.replies_in(stretch).await?).await?;
        list.replies += groups.iter().map(|of| of.group.replies).sum::<u64>();
        let changed: Vec<Classified> = groups.into_iter().filter(Classified::changes).collect();
        let keys: Vec<_> = changed.iter().map(|classified| classified.group.key).collect();
        let addresses = match list.room() {
            0 => Vec::new(),
            room => store.reply_addresses(stretch, &keys, room).await?,
        };
        list.add(&changed, &addresses);
        progress.show(|| format!("{} looked at", replies(list.replies)));
    }
    progress.end();
    Ok(list)
}

/// For how many days there are no replies to classify any more.
async fn left_out(store: &Store, config: &Config, now: Timestamp) -> anyhow::Result<LeftOut> {
    let Some(first) = store.first_known().await? else { return Ok(LeftOut::default()) };
    let day = |at: Timestamp| at.as_millis().div_euclid(DAY_MILLIS);
    let days_before = |end: Timestamp| u64::try_from(day(end) - day(first)).unwrap_or(0);
    let kept = i64::from(config.store.retention_refusals_days) * DAY_MILLIS;
    Ok(LeftOut {
        deferral_days: store.horizon().await?.dropped_before().map_or(0, days_before),
        refusal_days: days_before(now.plus_millis(-kept)),
    })
}

/// Applies it, then rebuilds; gives how many replies were changed and how many outcomes were folded.
async fn apply(
    command: &RebuildCommand,
    config: &Config,
    rules: Arc<Rules>,
    in_force: RulesInForce,
    listed: u64,
) -> anyhow::Result<(u64, Option<u64>)> {
    let writer = open::writer(config).await?.with_rules(rules);
    let operator = command.who.name();
    let mut next = Some(writer.call(Relabel { operator: operator.clone(), rules: in_force.clone() }).await?);
    let (mut progress, mut changed) = (Progress::new(), 0);
    while let Some(step) = next {
        let stepped = writer.call(step).await?;
        changed += stepped.changed;
        next = stepped.next;
        progress.show(|| format!("{changed} of {} changed", replies(listed)));
    }
    progress.end();
    let ended = writer.call(EndRelabel { operator, rules: in_force }).await?;
    let folded = match &ended.rebuild {
        Some(started) => Some(follow(&writer, started).await?),
        None => None,
    };
    writer.close().await;
    Ok((ended.replies, folded))
}
