//! `relaywatch import`: files of events into the journal.

pub(super) mod files;
mod mark;
mod pipe;
mod progress;
mod summary;

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, watch};

use self::{mark::Far, pipe::Followed, progress::Progress, summary::Summary};
use super::{
    Exit, Format as Output, open,
    text::{Safe, count},
};
use crate::{
    classify::Rules,
    clock::Clock,
    config::Config,
    control::{FileDone, FileId, ImportEvents, MAX_EVENTS, MAX_FILES, Writer, digest},
    ingest::{
        Kept,
        import::{
            Chunk, Fault, Faults, Form, Format, Position, ReadError, Reader, Settings, Shape, Unknown,
            guess::guess,
            live::Stop,
            source::{self, Identity, Source},
        },
    },
    model::{Event, Exposure, Provider, Timestamp, normalise_domain},
};

/// Bytes of texts that one batch holds at most: what carries it to the daemon is bounded.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Chunks that are read ahead of the commits.
const AHEAD: usize = 4;

/// Take in files of events: exports of providers, what webhooks were written to.
#[derive(Debug, Args)]
#[command(after_help = "Reads what SES publishes (as Firehose writes it to S3), SparkPost, SendGrid, Mailgun and
Braze Currents: JSON in any layout, CSV with the names of the webhook's fields, Currents' Avro;
mails (mbox, Maildir, single ones: `relaywatch diagnose` shows what one tells) and Postfix's log;
packed by gzip or not. What a file is, is told from what it holds. The same event by webhook and
by file is one event, so that importing twice changes nothing. Stopped half-way, the same command
goes on where it was. It works beside a running daemon.

Examples:
  relaywatch import s3-dump/ --dry-run                 what is in there; changes nothing
  relaywatch import s3-dump/                           a folder and all that is below it
  relaywatch import --from sendgrid events.csv.gz      say what it is
  relaywatch import --exposure sends 2026-11-*.jsonl   these files hold every send of their time
  relaywatch import /var/log/mail.log.*.gz --time-zone Europe/Berlin
  relaywatch import ~/Maildir/.bounces/ bounces.mbox
  aws s3 cp s3://bucket/events.gz - | relaywatch import -
  journalctl -f -n 5000 -o short-iso -u 'postfix@*' | relaywatch import --from postfix -
  relaywatch import --strict --format json export.json

With --from postfix, standard input is followed: what has come is committed each second, for as
long as the pipe is open. SIGTERM or Ctrl-C ends it when that is done. Begin some lines back (-n):
what is known changes nothing. Where the daemon may read the log itself, [feeds.postfix] is
better: it knows where it was.

Exposure tells what refusals are measured against. By default it is none: refusals count, and have
no rate. Say `sends` where the files hold every send of their time, and `outcomes` where they hold
every delivery and refusal.

A broken record is told with its line, the rest is taken, and the exit code is 1, also where the
file is imported again. Events of types that relaywatch has no use for are counted by type, and
are no mistake. A file keeps the format and the exposure that it was first imported with: with
another one it is refused, and the exit code is 1.

Outcomes that are older than their retention ([store] retention_deliveries_days and
retention_refusals_days) are left out and counted. Trouble that was over long ago is recorded, and
pages nobody. Of recipients outside the domains that can hold relay addresses only counts are
kept.")]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct ImportCommand {
    /// Files and folders; `-` reads standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Who wrote the files; by default told from what they hold.
    #[arg(long, value_name = "FORMAT", value_parser = words(Format::ALL, Format::as_str, Format::from_name))]
    from: Option<Format>,
    /// What they tell of mail that did not bounce: sends, outcomes or none; by default none.
    #[arg(
        long, value_name = "EXPOSURE",
        value_parser = words(Exposure::ALL, Exposure::as_str, Exposure::from_name)
    )]
    exposure: Option<Exposure>,
    /// The feed by whose settings (campaign tag, smarthosts) they are decoded, as ses/eu.
    #[arg(long, value_name = "FEED")]
    like: Option<String>,
    /// Postfix: the zone of times that name none; by default the feed's or this machine's.
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    time_zone: Option<TimeZone>,
    /// Read everything, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Stop at the first record of which something is wrong.
    #[arg(long)]
    strict: bool,
    /// Read files again that were imported before, from their beginning.
    #[arg(long)]
    restart: bool,
    /// How many broken records are told one by one.
    #[arg(long, value_name = "N", default_value_t = 20)]
    show_errors: u64,
    /// Make the store where there is none yet.
    #[arg(long)]
    create: bool,
    /// How the summary is written.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Output,
}

/// Reads one word of a closed list.
fn words<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    of: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|word| name(*word))).try_map(move |text| of(&text).ok_or("no such word"))
}

fn zone(text: &str) -> Result<TimeZone, &'static str> {
    TimeZone::get(text).map_err(|_| "this machine knows no such time zone; write it as Europe/Berlin or UTC")
}

impl ImportCommand {
    /// Runs the command; broken records are told on `diagnostics`.
    ///
    /// # Errors
    /// Where a path or the store can't be had, a writer fails, or with `--strict` something is wrong with a record.
    pub fn run(&self, file: Option<&Path>, out: &mut impl Write, diagnostics: &mut impl Write) -> anyhow::Result<Exit> {
        let config = open::config(file)?;
        let files = files::of(&self.paths)?;
        // Whether there is such a feed; what files hold that say nothing of it is not known yet.
        self.settings_of(self.from.unwrap_or(Format::Sparkpost), &config)?;
        let summary = open::block_on(async {
            let (writer, rules) = if self.dry_run {
                (None, None)
            } else {
                let rules = Arc::new(open::rules(&config)?);
                let writer = open::writer_or_new(&config, self.create, diagnostics).await?;
                (Some(writer.with_rules(Arc::clone(&rules))), Some(rules))
            };
            let (followed, follows) = watch::channel(None);
            let whole = files.iter().map(|file| std::fs::metadata(file).ok().map(|found| found.len())).sum();
            let mut import = Import {
                command: self,
                config: &config,
                writer,
                rules,
                anew: false,
                followed,
                now: Clock::System.now(),
                summary: Summary::new(self.exposure(), self.dry_run),
                batch: Batch::default(),
                progress: Progress::new(whole),
                told: 0,
                before: Vec::new(),
            };
            let done = tokio::select! {
                biased;
                ended = pipe::ended_by_a_signal(follows) => ended,
                done = import.all(&files, diagnostics) => done,
            };
            import.progress.finish();
            if let Some(writer) = import.writer {
                writer.close().await;
            }
            done.map(|()| import.summary)
        })?;
        match self.format {
            Output::Json => {
                serde_json::to_writer(&mut *out, &summary).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Output::Text => summary.text(out)?,
        }
        Ok(if summary.is_clean() { Exit::Success } else { Exit::Finding })
    }

    fn exposure(&self) -> Exposure {
        self.exposure.unwrap_or(Exposure::None)
    }

    /// What the feed that is named, or the only one of its kind, says of how to decode.
    fn settings_of(&self, format: Format, config: &Config) -> anyhow::Result<Settings> {
        let wanted = self.like.as_deref();
        let name_of = |provider: Provider, name: Option<&str>| {
            name.map_or_else(|| provider.to_string(), |name| format!("{provider}/{name}"))
        };
        let named =
            |provider: Provider, name: Option<&str>| wanted.is_none_or(|wanted| wanted == name_of(provider, name));
        let mut ses = ses_tags(config);
        ses.retain(|(name, _)| wanted.is_none_or(|wanted| wanted == name));
        if format == Format::Ses && ses.iter().any(|(_, tag)| Some(tag) != ses.first().map(|(_, first)| first)) {
            let all: Vec<&str> = ses.iter().map(|(name, _)| name.as_str()).collect();
            anyhow::bail!(
                "the feeds of SES name the message tag of the campaign differently; say --like with one of {}",
                all.join(", ")
            );
        }
        let sendgrid: Vec<_> =
            config.feeds.sendgrid.iter().filter(|feed| named(Provider::Sendgrid, feed.name.as_deref())).collect();
        let postfix: Vec<_> =
            config.feeds.postfix.iter().filter(|feed| named(Provider::Postfix, feed.name.as_deref())).collect();
        if let Some(wanted) = wanted
            && ses.is_empty()
            && sendgrid.is_empty()
            && postfix.is_empty()
        {
            anyhow::bail!("--like: there is no feed {} of SES, SendGrid or Postfix in the configuration", Safe(wanted));
        }
        let mut settings = Settings::default();
        match (format, ses.as_slice(), sendgrid.as_slice(), postfix.as_slice()) {
            (Format::Ses, [(_, tag), ..], ..) => settings.campaign_tag.clone_from(tag),
            (Format::Sendgrid, _, [feed], _) => {
                settings.from_argument.clone_from(&feed.from_argument);
                settings.envelope_argument.clone_from(&feed.envelope_argument);
            }
            (Format::Postfix, .., feeds) => {
                if let [feed] = feeds {
                    settings.smarthosts = feed.smarthosts.iter().map(|host| normalise_domain(host)).collect();
                    settings.zone = feed.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok());
                }
                settings.zone = self.time_zone.clone().or(settings.zone).or_else(|| Some(TimeZone::system()));
            }
            _ => {}
        }
        Ok(settings)
    }
}

/// Outcomes that wait for their commit.
#[derive(Default)]
struct Batch {
    format: Option<Format>,
    events: Vec<Event>,
    kept: Vec<Kept>,
    bytes: usize,
    files: Vec<FileDone>,
}

/// What is said of a file that is in the middle of a line.
const HALF: &str = "it ends in half a line, which is read when it is whole; import it again then";

/// How much an outcome takes on its way to the daemon, about.
fn weight(event: &Event) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    512 + 2 * event.dedupe.expose().len()
        + text(&event.message_id)
        + text(&event.campaign)
        + text(&event.from_domain)
        + 2 * text(&event.envelope_domain)
        + event.reply.as_ref().map_or(0, |reply| reply.text.len())
}

/// How much a report that is kept whole takes on its way: base64 needs four letters for three bytes.
fn kept_weight(kept: &Kept) -> usize {
    kept.bytes() / 3 * 4
}

/// A file that is there to be read.
struct Opened {
    source: Source,
    form: Form,
    from: Position,
    id: Option<FileId>,
    /// What was wrong with what stands before the place where reading begins.
    faults: Faults,
    bytes: u64,
    written_at: Option<Timestamp>,
    /// What ends the reading of lines that are still being written.
    stop: Option<Stop>,
}

struct Import<'a> {
    command: &'a ImportCommand,
    config: &'a Config,
    writer: Option<Writer>,
    /// What the writer judges replies by; nothing where nothing is changed.
    rules: Option<Arc<Rules>>,
    /// Whether each commit takes a writer anew, so that nobody is locked out between them.
    anew: bool,
    followed: Followed,
    now: Timestamp,
    summary: Summary,
    batch: Batch,
    progress: Progress,
    /// Broken records that were told.
    told: u64,
    /// What earlier imports found broken in files, to be told after what is new.
    before: Vec<(String, Faults)>,
}

impl Import<'_> {
    async fn all(&mut self, files: &[PathBuf], diagnostics: &mut impl Write) -> anyhow::Result<()> {
        for file in files {
            self.hold().await?;
            let opened = match self.open(file, diagnostics).await {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(error) => {
                    if self.command.strict || error.downcast_ref::<crate::control::CallError>().is_some() {
                        return Err(error);
                    }
                    self.summary.files_failed += 1;
                    self.progress.say(diagnostics, &format!("{error:#}"))?;
                    continue;
                }
            };
            let bytes = opened.bytes;
            self.read(file, opened, diagnostics).await?;
            self.progress.end(bytes);
        }
        for (shown, faults) in std::mem::take(&mut self.before) {
            self.tell_before(&shown, &faults, diagnostics)?;
        }
        self.flush(true, diagnostics).await
    }

    /// Opens a file and tells what it is; nothing where there is nothing to do.
    async fn open(&mut self, path: &Path, diagnostics: &mut impl Write) -> anyhow::Result<Option<Opened>> {
        let shown = Safe(&path.display().to_string()).to_string();
        let said = || format!("cannot read {shown}");
        let stdin = path.as_os_str() == "-";
        let is_file = !stdin && std::fs::metadata(path).with_context(said)?.is_file();
        // What it was before it is read: what comes while it is read is new to the next import.
        let identity = if is_file { Some(Identity::of(path).with_context(said)?) } else { None };
        let bytes = identity.as_ref().map_or(0, |identity| identity.size);
        let input: Box<dyn Read + Send> =
            if stdin { Box::new(io::stdin()) } else { Box::new(File::open(path).with_context(said)?) };
        let source = match self.command.from {
            Some(Format::Postfix) if stdin => {
                self.let_go().await;
                return self.follow(input, diagnostics);
            }
            _ => Source::of(input).with_context(said)?,
        };
        let form = match guess(source.head(), self.command.from) {
            Ok(form) => form,
            Err(Unknown::Empty) => {
                self.summary.files_empty += 1;
                self.progress.say(diagnostics, &format!("{shown}: it is empty"))?;
                return Ok(None);
            }
            Err(unknown) => anyhow::bail!("{shown}: {unknown}"),
        };
        let written_at = identity.as_ref().map(|identity| Timestamp::from_millis(identity.changed_at));
        let mut opened = Opened {
            source,
            form,
            from: Position::default(),
            id: None,
            faults: Faults::default(),
            bytes,
            written_at,
            stop: None,
        };
        let mut how = String::new();
        // A mail of a Maildir is read as fast as it is looked up.
        if let Some(identity) = identity.filter(|_| form.shape != Shape::Mail) {
            let whole = std::path::absolute(path).with_context(said)?;
            let id = FileId::new(&whole, &identity);
            let known = self.known(&id).await?;
            if let Some(known) = &known
                && let Some(differs) = self.differs(known, form)
            {
                if !self.command.restart {
                    self.refuse(&shown, &differs, bytes, diagnostics)?;
                    return Ok(None);
                }
                self.progress.say(diagnostics, &format!("{shown}: {}", differs.kept))?;
            }
            match self.far(path, &id, known, opened.source.is_packed()).await? {
                // One in which reading can't go on in the middle is read whole again, which changes nothing.
                Far::Nowhere => {}
                Far::Here(..) if !Reader::goes_on(form) => {}
                Far::Here(from, faults) => {
                    how = format!(", from record {} on", from.records + 1);
                    self.summary.resumed += 1;
                    opened.from = from;
                    self.before.push((shown.clone(), faults.clone()));
                    opened.faults = faults;
                }
                Far::End(read_as, faults) => {
                    self.summary.files_known += 1;
                    self.progress.end(bytes);
                    let text = format!("{shown}: imported before{read_as} (--restart reads it again)");
                    self.progress.say(diagnostics, &text)?;
                    self.before.push((shown, faults));
                    return Ok(None);
                }
            }
            opened.id = Some(id);
        }
        let packed = if opened.source.is_packed() { ", packed by gzip" } else { "" };
        let told = if self.command.from.is_some() { "" } else { ", by what it holds" };
        let text = format!("{shown}: {} of {}{packed}{told}{how}", form.shape.as_str(), form.format);
        self.progress.say(diagnostics, &text)?;
        Ok(Some(opened))
    }

    /// Reads a file to its end, beside the commits.
    async fn read(&mut self, path: &Path, opened: Opened, diagnostics: &mut impl Write) -> anyhow::Result<()> {
        let Opened { source, form, from, id, mut faults, written_at, stop, .. } = opened;
        if self.batch.format != Some(form.format) {
            self.flush(true, diagnostics).await?;
            self.batch.format = Some(form.format);
        }
        let packed = source.is_packed();
        self.progress.begin(source.meter());
        let mut settings = self.command.settings_of(form.format, self.config)?;
        settings.event_type = files::event_type(path);
        settings.written_at = written_at;
        let reader = Reader::new(source, form, settings, self.now, from).strict(self.command.strict);
        let (sender, mut chunks) = mpsc::channel(AHEAD);
        let thread = std::thread::Builder::new().name("import".to_owned());
        let thread = thread.spawn(move || read_ahead(reader, &sender)).context("no thread can be started")?;
        let shown = Safe(&path.display().to_string()).to_string();
        let done = |position: Position, ended: bool, faults: &Faults| {
            let witness = if packed { None } else { source::before(path, position.offset).ok() };
            id.as_ref().map(|id| FileDone {
                file: id.clone(),
                position,
                ended,
                witness: witness.map(|before| digest(&before)),
                faults: faults.clone(),
            })
        };
        let (mut position, mut failed) = (from, None);
        let is_live = stop.is_some();
        let mut ends_in_half = false;
        while let Some(chunk) = chunks.recv().await {
            let Chunk { events, kept, counts, faults: found, position: reached, paused, half, .. } = match chunk {
                Ok(chunk) => {
                    faults.add(&chunk);
                    chunk
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            ends_in_half |= half;
            self.summary.counts.add(&counts);
            self.batch.bytes += events.iter().map(weight).sum::<usize>();
            self.batch.events.extend(events);
            self.batch.bytes += kept.iter().map(kept_weight).sum::<usize>();
            self.batch.kept.extend(kept);
            if let (true, Some(fault)) = (self.command.strict, found.first()) {
                self.flush(true, diagnostics).await?;
                anyhow::bail!(
                    "{shown}: {fault}; stopped (--strict). What came before it is imported; import the mended file again, \
                     that changes nothing twice"
                );
            }
            self.tell(&shown, &found, counts.wrong(), diagnostics)?;
            position = reached;
            if self.batch.is_full() {
                self.batch.files.extend(done(position, false, &faults));
                self.flush(false, diagnostics).await?;
            }
            if paused {
                self.flush(true, diagnostics).await?;
            } else {
                // Of what is followed, while more is there than was read.
                self.progress.show(self.summary.counts.records, diagnostics)?;
            }
        }
        self.followed.send_replace(None);
        if ends_in_half {
            let text = if is_live { "what came last is half a line, and no event" } else { HALF };
            self.progress.say(diagnostics, &format!("{shown}: {text}"))?;
        }
        drop(chunks);
        if thread.join().is_err() {
            anyhow::bail!("{shown}: reading it broke off by a fault of this program; please report it");
        }
        self.batch.files.extend(done(position, failed.is_none() && !ends_in_half, &faults));
        self.batch.bytes += faults.places.len() * 256;
        if self.batch.is_full() {
            self.flush(false, diagnostics).await?;
        }
        match failed {
            None => self.summary.files += 1,
            Some(error) if self.command.strict => {
                self.flush(true, diagnostics).await?;
                anyhow::bail!("{shown}: {error}; stopped (--strict)");
            }
            Some(error) => {
                self.summary.files_failed += 1;
                let records = count(position.records, "record");
                self.progress.say(diagnostics, &format!("{shown}: {error}; {records} of it were read"))?;
            }
        }
        Ok(())
    }

    /// Tells broken records, the first ones by line.
    fn tell(&mut self, shown: &str, faults: &[Fault], wrong: u64, diagnostics: &mut impl Write) -> io::Result<()> {
        let most = self.command.show_errors;
        for fault in faults {
            if self.told >= most {
                break;
            }
            self.told += 1;
            self.progress.say(diagnostics, &format!("{shown}: {fault}"))?;
        }
        if wrong > 0 && self.told == most && self.summary.counts.wrong() > most {
            self.told += 1;
            self.progress.say(diagnostics, "more broken records are only counted (--show-errors)")?;
        }
        Ok(())
    }

    /// Commits what waits; all of it, or as many whole batches as there are.
    async fn flush(&mut self, all: bool, diagnostics: &mut impl Write) -> anyhow::Result<()> {
        let Some(format) = self.batch.format else { return Ok(()) };
        let mut events = VecDeque::from(std::mem::take(&mut self.batch.events));
        let mut kept = VecDeque::from(std::mem::take(&mut self.batch.kept));
        let mut files = std::mem::take(&mut self.batch.files);
        self.batch.bytes = 0;
        if self.writer.is_none() && !self.anew {
            return Ok(());
        }
        while !events.is_empty() || !kept.is_empty() || files.len() >= MAX_FILES || (all && !files.is_empty()) {
            let mut bytes = 0;
            let fits = events.iter().take(MAX_EVENTS).take_while(|event| {
                bytes += weight(event);
                bytes <= MAX_BATCH_BYTES
            });
            let fits = fits.count().max(1).min(events.len());
            let now: Vec<_> = events.drain(..fits).collect();
            let fits = kept.iter().take(MAX_EVENTS).take_while(|one| {
                bytes += kept_weight(one);
                bytes <= MAX_BATCH_BYTES
            });
            // One that is larger than a batch goes by itself.
            let fits = fits.count().max(usize::from(now.is_empty())).min(kept.len());
            let kept_now: Vec<_> = kept.drain(..fits).collect();
            // A file is done up to a place when everything before it is committed.
            let later =
                files.split_off(if events.is_empty() && kept.is_empty() { files.len().min(MAX_FILES) } else { 0 });
            let files_now = std::mem::replace(&mut files, later);
            let call = ImportEvents {
                format,
                exposure: self.command.exposure(),
                events: now,
                kept: kept_now,
                files: files_now,
            };
            let done = match &self.writer {
                Some(writer) => writer.call(call).await.context(
                    "not everything could be committed; run the same command again, it goes on from the last commit",
                )?,
                None => self.commit_anew(call, diagnostics).await?,
            };
            self.summary.add(&done);
        }
        self.batch.files = files;
        Ok(())
    }
}

/// The feeds by which events of SES come, whatever the way, each with the message tag that holds the campaign.
fn ses_tags(config: &Config) -> Vec<(String, Option<String>)> {
    let feeds = &config.feeds;
    let name = |kind: &str, name: &Option<String>| {
        name.as_ref().map_or_else(|| kind.to_owned(), |name| format!("{kind}/{name}"))
    };
    let ses = feeds.ses.iter().map(|feed| (name("ses", &feed.name), feed.campaign_tag.clone()));
    let sqs = feeds.sqs.iter().map(|feed| (name("sqs", &feed.name), feed.campaign_tag.clone()));
    let firehose = feeds.ses_firehose.iter().map(|feed| (name("ses-firehose", &feed.name), feed.campaign_tag.clone()));
    let bus = feeds.ses_eventbridge.iter().map(|feed| (name("ses-eventbridge", &feed.name), feed.campaign_tag.clone()));
    ses.chain(sqs).chain(firehose).chain(bus).collect()
}

impl Batch {
    fn is_full(&self) -> bool {
        self.events.len().max(self.kept.len()) >= MAX_EVENTS
            || self.bytes >= MAX_BATCH_BYTES
            || self.files.len() >= MAX_FILES
    }
}

/// Reads chunk after chunk until nobody wants more.
fn read_ahead(mut reader: Reader, sender: &mpsc::Sender<Result<Chunk, ReadError>>) {
    while let Some(chunk) = reader.next_chunk().transpose() {
        let failed = chunk.is_err();
        if sender.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        command: ImportCommand,
    }

    #[test]
    fn the_campaign_tag_is_that_of_the_feeds_of_ses_whatever_their_way() {
        let tag = |tables: &str, like: &[&str]| {
            let Line { command } = Line::parse_from(["import", "events.jsonl"].iter().chain(like));
            let config = Config::from_text(None, tables.to_owned(), HashMap::new()).expect("a configuration");
            let settings = command.settings_of(Format::Ses, &config);
            settings.map(|settings| settings.campaign_tag).map_err(|error| error.to_string())
        };
        let sqs = "[[feeds.sqs]]\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/123456789012/q\"\ncampaign_tag = \"one\"\n";
        let eu = format!("{sqs}name = \"eu\"\n");
        assert_eq!(tag("", &[]), Ok(None));
        assert_eq!(tag(sqs, &[]), Ok(Some("one".to_owned())));
        let same = sqs.replace("/q", "/r");
        assert_eq!(tag(&format!("{eu}{same}name = \"us\"\n"), &[]), Ok(Some("one".to_owned())));
        let two = format!("{eu}{}name = \"us\"\n", same.replace("one", "two"));
        let told = tag(&two, &[]).expect_err("they differ");
        assert!(told.ends_with("say --like with one of sqs/eu, sqs/us"), "{told}");
        assert_eq!(tag(&two, &["--like", "sqs/us"]), Ok(Some("two".to_owned())));
    }
}
