//! `relaywatch incident`: list, show and report incidents; say what they were; get the list to win back.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Exit, Format, open, operator::Who};
use crate::{
    clock::Clock,
    config::{AddressKeeping, Config},
    control::{AcceptNormal, Call, CloseIncident, JournalRecovery, LabelIncident, Writer},
    incident::{self, Basis, Beside, Body, IncidentError, Label, LeftOut, Recovery, RecoveryRequest, RecoveryRow},
    model::{counted, verb},
    monitor::facts::blind_now,
    store::{IncidentRecord, IncidentState},
};

/// Incidents that a list shows at most.
const MOST_LISTED: u32 = 1_000;

/// List, show and report incidents; label them; get the list to win back.
#[derive(Debug, Args)]
#[command(after_help = "Reading commands work beside a running daemon.

Examples:
  relaywatch incident list --state open
  relaywatch incident report 7 > incident-7.md
  relaywatch incident label 7 real")]
pub struct IncidentCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List incidents, the newest first.
    #[command(after_help = "Example: relaywatch incident list --state open --state masked")]
    List {
        /// Only those in this state; can be given several times.
        #[arg(long, value_enum)]
        state: Vec<StateName>,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one incident as it was announced.
    #[command(after_help = "Example: relaywatch incident show 7

Exit code 1 where there is no such incident.")]
    Show {
        /// Its number.
        id: i64,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Write the report of an incident. It holds no address and can be passed on.
    #[command(after_help = "Example: relaywatch incident report 7 > incident-7.md")]
    Report {
        /// Its number.
        id: i64,
        /// How it is written.
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
    /// Say what an incident was. The rate of false alarms is counted from these labels.
    ///
    /// An open one stays open, whatever its label, and its addresses are held until it ends: to end it there is `close`.
    #[command(after_help = "Example: relaywatch incident label 7 false")]
    Label {
        /// Its number.
        id: i64,
        /// real: mail was lost; benign: refused, and expected; false: there was nothing.
        #[arg(value_enum)]
        label: LabelName,
        #[command(flatten)]
        who: Who,
    },
    /// Take the refusals of an incident as the new ordinary: its frozen baseline learns on.
    ///
    /// Of one that is over, whose days the baseline has left out, they count as ordinary days from now on; it stays over.
    #[command(after_help = "Example: relaywatch incident accept-normal 7")]
    AcceptNormal {
        /// Its number.
        id: i64,
        #[command(flatten)]
        who: Who,
    },
    /// Close an incident that is open or masked, for good.
    ///
    /// For one that cannot become quiet by itself: a masked one, or one whose mail has ended. Refusals from then on are another
    /// incident. It lifts the hold on its addresses only where it is labelled false. Who closed it, and why, goes into the journal.
    #[command(after_help = "Example:
  relaywatch incident close 7 --operator \"Jo Example\" --reason \"the sender was retired\"")]
    Close {
        /// Its number.
        id: i64,
        #[command(flatten)]
        who: Who,
        /// Why it is over.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Write the refused addresses that nothing speaks against, as CSV.
    ///
    /// Addresses whose user revoked consent, disabled forwarding (and did not enable it again), deleted the account, complained or
    /// unsubscribed are never on it, nor erased ones. Who asked, and why, goes into the journal.
    #[command(after_help = "Example:
  relaywatch incident recovery 7 --operator \"Jo Example\" --reason \"win back after the purge\" \\
      --out win-back.csv --unknown-out ask-first.csv")]
    Recovery {
        /// The incident's number.
        id: i64,
        #[command(flatten)]
        who: Who,
        /// What it is wanted for.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The file to write (mode 0600); it must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Write the addresses whose consent is not known to this file as well; else they are only counted.
        #[arg(long, value_name = "FILE")]
        unknown_out: Option<PathBuf>,
    },
}

/// Declares a list of words for the command line after one of the model's.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident: $of:ident { $($variant:ident),+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        enum $name { $($variant),+ }

        impl From<$name> for $of {
            fn from(name: $name) -> Self {
                match name { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

names! {
    /// An incident's state, on the command line.
    StateName: IncidentState { Open, Closed, Withdrawn, Masked, Past }
}
names! {
    /// An incident's label, on the command line.
    LabelName: Label { Real, Benign, False }
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum ReportFormat {
    /// For people.
    #[default]
    Markdown,
    /// For machines.
    Json,
}

impl IncidentCommand {
    /// Runs the command. Results go to `out`, what became of files to `diagnostics`.
    ///
    /// # Errors
    /// Where the store can't be opened, there is no such incident, or a file can't be written.
    pub fn run(
        &self,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let config = Config::load(file, environment)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the asynchronous runtime can't be started")?;
        runtime.block_on(self.act(&config, out, diagnostics))
    }

    async fn act(&self, config: &Config, out: &mut impl Write, diagnostics: &mut impl Write) -> anyhow::Result<Exit> {
        match &self.action {
            Action::List { state, format } => {
                let states: Vec<IncidentState> = state.iter().copied().map(IncidentState::from).collect();
                let states = if states.is_empty() { IncidentState::ALL } else { &states };
                let (store, _) = open::reader(config).await?;
                let found = store.incidents(states, MOST_LISTED).await;
                store.close().await;
                list(&found?, *format, out)?;
            }
            Action::Show { id, format } => {
                let (record, body, beside) = read(config, *id).await?;
                match format {
                    Format::Text => out.write_all(incident::summary(&record, &body, &beside).as_bytes())?,
                    Format::Json => writeln!(out, "{:#}", incident::to_json(&record, &body, &beside))?,
                }
            }
            Action::Report { id, format } => {
                let (record, body, beside) = read(config, *id).await?;
                match format {
                    ReportFormat::Markdown => out.write_all(incident::markdown(&record, &body, &beside).as_bytes())?,
                    ReportFormat::Json => writeln!(out, "{:#}", incident::to_json(&record, &body, &beside))?,
                }
            }
            Action::Label { id, label, who } => {
                let label = Label::from(*label);
                let (record, ..) = read(config, *id).await?;
                write(config, LabelIncident { id: *id, label, operator: who.name() }).await?;
                writeln!(diagnostics, "{}", labelled(*id, label, record.state))?;
            }
            Action::AcceptNormal { id, who } => {
                let (record, ..) = read(config, *id).await?;
                write(config, AcceptNormal { id: *id, operator: who.name() }).await?;
                writeln!(diagnostics, "{}", accepted(*id, record.state))?;
            }
            Action::Close { id, who, reason } => {
                let call = CloseIncident { id: *id, operator: who.name(), reason: reason.clone() };
                let (record, ..) = read(config, *id).await?;
                write(config, call).await?;
                writeln!(diagnostics, "{}", closed(*id, record.operator.label))?;
            }
            Action::Recovery { id, who, reason, out: file, unknown_out } => {
                let request = RecoveryRequest {
                    operator: who.name(),
                    reason: reason.clone(),
                    unknown_too: unknown_out.is_some(),
                };
                let made = recover(config, *id, &request, file, unknown_out.as_deref()).await?;
                diagnostics.write_all(told(&made, file, unknown_out.as_deref()).as_bytes())?;
            }
        }
        Ok(Exit::Success)
    }
}

/// What labelling an incident leads to, by how it stands: what holds its addresses.
fn labelled(id: i64, label: Label, state: IncidentState) -> String {
    let close = format!("to end it: relaywatch incident close {id} --reason \"why\"");
    let more = match (label, state) {
        (Label::False, IncidentState::Open) => {
            format!("; it stays open, and its addresses are held until it ends; {close}")
        }
        (Label::False, IncidentState::Masked) => format!("; it stays masked, and holds its addresses no more; {close}"),
        (Label::False, IncidentState::Closed | IncidentState::Past) => {
            "; it holds its addresses no more: their refusals in it count like any others".to_owned()
        }
        (Label::False, IncidentState::Withdrawn) | (Label::Real | Label::Benign, _) => String::new(),
    };
    format!("incident {id} is labelled {label}{more}")
}

/// What closing an incident leads to, by its label.
fn closed(id: i64, label: Option<Label>) -> String {
    match label {
        Some(Label::False) => format!(
            "incident {id} is closed; as it is labelled false, it holds its addresses no more: their refusals in it count like \
             any others"
        ),
        Some(Label::Real | Label::Benign) | None => {
            format!(
                "incident {id} is closed; the hold on its addresses stays: their refusals in it do not count against them"
            )
        }
    }
}

/// What accepting an incident as normal leads to, by how it stands.
fn accepted(id: i64, state: IncidentState) -> String {
    match state {
        IncidentState::Open | IncidentState::Masked => {
            format!("incident {id} is accepted as normal: its baseline learns on")
        }
        IncidentState::Closed | IncidentState::Past => format!(
            "incident {id} is {state} and stays so: its days, which the baseline has left out, count as ordinary from now on"
        ),
        IncidentState::Withdrawn => {
            format!("incident {id} is withdrawn: its days have counted as ordinary all along, and nothing changes")
        }
    }
}

async fn read(config: &Config, id: i64) -> anyhow::Result<(IncidentRecord, Body, Beside)> {
    let (store, _) = open::reader(config).await?;
    let found = async {
        let (record, mut body) = incident::find(&store, id).await?;
        let closing = incident::closing(&store, &record).await?;
        let now = Clock::System.now();
        body.see_blind(blind_now(&store, record.onset, record.closed_at.unwrap_or(now), now).await?);
        let beside =
            Beside { closing, installation: config.notify.installation.clone(), link: config.notify.link_to(Some(id)) };
        Ok::<_, IncidentError>((record, body, beside))
    }
    .await;
    store.close().await;
    Ok(found?)
}

/// Has something changed: by the daemon that runs, else directly.
async fn write<C: Call<Answer = ()>>(config: &Config, call: C) -> anyhow::Result<()> {
    let writer = Writer::open(config, Clock::System).await?;
    let done = writer.call(call).await;
    writer.close().await;
    Ok(done?)
}

/// Whether the list is empty for want of an account map alone.
fn lacks_map(mapped: bool, made: &Recovery) -> bool {
    !mapped && made.rows.is_empty() && made.unknown.is_empty() && made.left_out.unknown > 0
}

async fn make_list(config: &Config, id: i64, request: &RecoveryRequest) -> anyhow::Result<Recovery> {
    let (store, _) = open::reader(config).await?;
    let made = incident::list(&store, id, request).await;
    let accounts = store.row_counts().await;
    store.close().await;
    let (made, accounts) = (made?, accounts?);
    let mapped = accounts.iter().any(|(table, rows)| *table == "account" && *rows > 0);
    if lacks_map(mapped, &made) {
        anyhow::bail!(
            "No address can be listed: no account map, so that nobody knows who agrees to be written to. Import it with \
             `relaywatch accounts import`, or ask for the addresses to ask first with --unknown-out FILE. Nothing was written"
        );
    }
    // Nobody gets the list before the journal says so.
    write(config, JournalRecovery { id, request: request.clone(), lengths: made.lengths() }).await?;
    Ok(made)
}

/// Makes the list and writes it. The files are there before the list is made, so that none is made for nothing; they go again
/// where something fails.
async fn recover(
    config: &Config,
    id: i64,
    request: &RecoveryRequest,
    file: &Path,
    unknown_file: Option<&Path>,
) -> anyhow::Result<Recovery> {
    if config.privacy.addresses == AddressKeeping::Hashed {
        return Err(IncidentError::Hashed.into());
    }
    let known = NewFile::create(file)?;
    let unknown = unknown_file.map(NewFile::create).transpose()?;
    let made = make_list(config, id, request).await?;
    known.write(&made.rows)?;
    if let Some(unknown) = unknown {
        unknown.write(&made.unknown)?;
    }
    Ok(made)
}

/// A file that nobody else can read and that was not there before; it goes again unless it's written whole.
struct NewFile<'a> {
    path: &'a Path,
    file: File,
    whole: bool,
}

impl<'a> NewFile<'a> {
    fn create(path: &'a Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.with_context(|| match path.symlink_metadata() {
            Ok(_) => format!("{} exists; name a new file, nothing is overwritten", path.display()),
            Err(_) => format!("cannot write {}", path.display()),
        })?;
        Ok(Self { path, file, whole: false })
    }

    fn write(mut self, rows: &[RecoveryRow]) -> anyhow::Result<()> {
        let written = incident::write_csv(rows, io::BufWriter::new(&self.file)).and_then(|()| self.file.sync_all());
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.whole {
            // The error that led here is the one to tell.
            drop(fs::remove_file(self.path));
        }
    }
}

/// What became of the list, for the one who asked.
fn told(made: &Recovery, file: &Path, unknown_file: Option<&Path>) -> String {
    let LeftOut { revoked, deleted, disabled, complained, unsubscribed, erased, hashed, unknown } = made.left_out;
    let mut text = format!(
        "{} of {} {} in {}: nothing speaks against {}\n",
        made.rows.len(),
        counted(made.refused, "refused address"),
        verb(made.rows.len() as u64, "is", "are"),
        file.display(),
        verb(made.rows.len() as u64, "it", "them"),
    );
    if let Some(file) = unknown_file {
        // Writing to a string cannot fail.
        _ = writeln!(
            text,
            "{} {} in {}: no account is known, so that nobody knows whether {}",
            made.unknown.len(),
            verb(made.unknown.len() as u64, "is", "are"),
            file.display(),
            verb(made.unknown.len() as u64, "its user agrees", "their users agree"),
        );
    }
    let left_out: Vec<String> = [
        (revoked, "consent revoked"),
        (deleted, "account deleted"),
        (disabled, "forwarding disabled"),
        (complained, "complained"),
        (unsubscribed, "unsubscribed"),
        (erased, "erased"),
        (hashed, "kept by hash only"),
        (unknown, "consent not known (--unknown-out lists them)"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, why)| format!("{number} {why}"))
    .collect();
    if !left_out.is_empty() {
        _ = writeln!(text, "left out: {}", left_out.join(", "));
    }
    if made.notices_blind {
        text.push_str(
            "Apple's notices were not watched all the time: a revocation may have been missed, so ask before you send\n",
        );
    }
    text
}

fn list(incidents: &[IncidentRecord], format: Format, out: &mut impl Write) -> anyhow::Result<()> {
    let read: Vec<(&IncidentRecord, Body)> = incidents
        .iter()
        .map(|record| Ok((record, Body::from_record(record)?)))
        .collect::<Result<_, incident::BodyError>>()?;
    if format == Format::Json {
        for (record, body) in &read {
            let line = json!({
                "id": record.id,
                "state": record.state,
                "severity": body.severity,
                "onset": record.onset.to_string(),
                "closed_at": record.closed_at.map(|at| at.to_string()),
                "scope": body.scope.to_string(),
                "sends": body.sends,
                "refused": body.refused,
                "addresses": body.addresses,
                "named": body.named,
                "basis": body.basis,
                "label": record.operator.label,
            });
            writeln!(out, "{line}")?;
        }
        return Ok(());
    }
    if read.is_empty() {
        writeln!(out, "no incidents")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:>5}  {:<9}  {:<6}  {:<20}  {:>16}  {:<22}  {:<6}  stream",
        "id", "state", "as", "since", "refused", "cause", "label"
    )?;
    for (record, body) in &read {
        let refused = match body.basis {
            Basis::Rate => format!("{} of {}", body.refused, body.sends),
            Basis::Count => body.refused.to_string(),
        };
        let cause = body.named.map_or("undetermined", crate::explain::Hypothesis::as_str);
        let label = record.operator.label.map_or("", Label::as_str);
        let stream = body.scope.to_string().replace(char::is_control, " ");
        let onset = record.onset.to_string();
        writeln!(
            out,
            "{:>5}  {:<9}  {:<6}  {onset:<20}  {refused:>16}  {cause:<22}  {label:<6}  {stream}",
            record.id, record.state, body.severity
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{incident::testing, store::OperatorWord};

    fn listed(incidents: &[IncidentRecord], format: Format) -> String {
        let mut out = Vec::new();
        list(incidents, format, &mut out).expect("writes");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn incidents_in_a_list() {
        let (open, body) = testing::purge();
        let labelled = Body { named: None, ..body };
        let closed = IncidentRecord {
            id: 6,
            state: IncidentState::Closed,
            closed_at: Some(open.updated_at),
            operator: OperatorWord { label: Some(Label::False), ..OperatorWord::default() },
            body: labelled.to_value(),
            ..open.clone()
        };
        insta::assert_snapshot!("list", listed(&[open.clone(), closed.clone()], Format::Text));
        insta::assert_snapshot!("list_json", listed(&[open, closed], Format::Json));
        assert_eq!(listed(&[], Format::Text), "no incidents\n");
        assert_eq!(listed(&[], Format::Json), "");
    }

    #[test]
    fn accepting_says_what_it_leads_to() {
        let all: Vec<String> = IncidentState::ALL.iter().map(|state| accepted(7, *state)).collect();
        insta::assert_snapshot!("accepted", all.join("\n"));
    }

    #[test]
    fn labelling_and_closing_say_what_becomes_of_the_holds() {
        let mut lines = Vec::new();
        for label in [Label::Real, Label::Benign, Label::False] {
            lines.extend(IncidentState::ALL.iter().map(|state| format!("{state}: {}", labelled(7, label, *state))));
            lines.push(format!("close: {}", closed(7, Some(label))));
        }
        lines.push(format!("close: {}", closed(7, None)));
        insta::assert_snapshot!("labelled", lines.join("\n"));
    }

    #[test]
    fn what_became_of_the_list() {
        let made = Recovery {
            rows: Vec::new(),
            unknown: Vec::new(),
            refused: 19_950,
            left_out: LeftOut { revoked: 39, disabled: 2, erased: 1, unknown: 100, ..LeftOut::default() },
            notices_blind: true,
        };
        insta::assert_snapshot!("recovery", told(&made, Path::new("win-back.csv"), None));
        assert!(lacks_map(false, &made) && !lacks_map(true, &made));
        assert!(!lacks_map(false, &Recovery { left_out: LeftOut::default(), ..made.clone() }), "nobody was refused");
        let calm = Recovery { left_out: LeftOut::default(), notices_blind: false, ..made };
        let both = told(&calm, Path::new("win-back.csv"), Some(Path::new("ask.csv")));
        insta::assert_snapshot!("recovery_with_unknown", both);
    }

    #[test]
    fn a_file_that_is_there_stays_and_one_that_fails_goes() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("list.csv");
        drop(NewFile::create(&path).expect("created"));
        assert!(!path.exists(), "nothing half is left");
        fs::write(&path, "mine").expect("written");
        let error = NewFile::create(&path).map(|_| ()).expect_err("exists").to_string();
        assert!(error.ends_with("exists; name a new file, nothing is overwritten"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("there"), "mine");
    }
}
