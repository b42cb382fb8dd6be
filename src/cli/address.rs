//! `relaywatch address`: the story of one address, and forgetting it.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Exit, Format, open,
    operator::Who,
    text::{Safe, address_id, count},
    told::{Teller, Told},
};
use crate::{
    classify::Rules,
    clock::Clock,
    control::ForgetAddress,
    daemon::FORGET_AFTER_MILLIS,
    incident::advice::Advice,
    model::{Address, Destination, Timestamp},
    monitor::advice::Adviser,
    privacy::{Keyring, Purpose},
    store::{AccountRecord, EntryRecord, LedgerRow, Mark, Store},
};

/// The longest line that is read from standard input.
const MAX_LINE: u64 = 4_096;

/// Show the story of one address, or forget it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relaywatch address show - < address.txt         it stays out of the shell's history
  relaywatch address show --sub A1B2C3D4E5:001234.abcd.0123
  relaywatch address show --id 3f9c01d2a4b5e677   the id that `events list` shows
  relaywatch address forget - --yes --reason \"erasure request 4711\" < address.txt")]
pub struct AddressCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What to do about an address and why, and its accounts, notices, ledger and latest events.
    ///
    /// What to do is more careful than the action of each event, which goes by its reply alone: `suppress` takes two
    /// refusals as dead at least 24 hours apart, a path that delivers, and no incident. The address is shown as it was
    /// given; with --sub or --id, as it is stored. Exit code 1 where it is not known.
    #[command(after_help = "Example: relaywatch address show - --format json < address.txt")]
    Show(Show),
    /// Forget an address: its hash, its sealed form, its accounts, and every copy that somebody else's text holds.
    ///
    /// Counts, dedupe keys and incidents stay, and nothing leads from them to the address any more. The journal keeps who
    /// did it, when and why. Mail that is sent to it later makes it known again, as somebody new.
    #[command(
        after_help = "Example: relaywatch address forget - --yes --reason \"erasure request 4711\" < address.txt"
    )]
    Forget(Forget),
}

#[derive(Debug, Args)]
struct Show {
    /// The address; `-` reads it from standard input.
    #[arg(value_name = "ADDRESS", required_unless_present_any = ["sub", "id"], conflicts_with_all = ["sub", "id"])]
    address: Option<String>,
    /// The account, as `TEAM:SUB`; `-` reads it from standard input.
    #[arg(long, value_name = "TEAM:SUB")]
    sub: Option<String>,
    /// The random id that `events list` and machine output show instead of the address.
    #[arg(long, value_name = "ID", conflicts_with = "sub")]
    id: Option<String>,
    /// How many of the latest events to show.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=10_000))]
    events: u32,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct Forget {
    /// The address; `-` reads it from standard input.
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Why, for the journal: a ticket's number, never the address itself.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    who: Who,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// All that is known.
struct Story {
    id: Option<i64>,
    /// The id is there, and its address is forgotten.
    gone: bool,
    shown: Option<String>,
    mark: Option<Mark>,
    accounts: Vec<AccountRecord>,
    ledger: Option<LedgerRow>,
    /// What to do about it; nothing where none of its mail counts as relay mail.
    advice: Option<Advice>,
    entries: Vec<EntryRecord>,
    events: Vec<Told>,
}

impl AddressCommand {
    /// Runs the command. `input` is standard input.
    ///
    /// # Errors
    /// Where the address is none, the store can't be had, or a writer fails.
    pub fn run(
        &self,
        file: Option<&Path>,
        input: &mut impl BufRead,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        match &self.action {
            Action::Show(show) => show.run(file, input, out, diagnostics),
            Action::Forget(forget) => forget.run(file, input, out, diagnostics),
        }
    }
}

impl Show {
    fn run(
        &self,
        file: Option<&Path>,
        input: &mut impl BufRead,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let address = self.address.as_ref().map(|text| given(text, input).and_then(|text| parse(&text))).transpose()?;
        let sub = self.sub.as_ref().map(|text| given(text, input)).transpose()?;
        let config = open::config(file)?;
        open::block_on(async {
            let (store, keyring) = open::reader(&config).await?;
            let rules = open::rules_to_read(&config, diagnostics)?;
            let found = match (&address, &sub, &self.id) {
                (Some(address), ..) => self.of_address((&store, &rules), &keyring, address).await?,
                (None, Some(sub), _) => self.of_account((&store, &rules), &keyring, sub).await?,
                (None, None, Some(id)) => self.of_id((&store, &rules), &keyring, read_id(id)?).await?,
                (None, None, None) => None,
            };
            store.close().await;
            match (&self.format, found) {
                (Format::Text, Some(known)) => known.text(out)?,
                (Format::Json, Some(known)) => writeln!(out, "{:#}", known.json()?)?,
                (format, None) => {
                    if *format == Format::Json {
                        writeln!(out, "{:#}", json!({ "known": false }))?;
                    }
                    let what = if sub.is_some() { "account" } else { "address" };
                    writeln!(
                        diagnostics,
                        "relaywatch: this {what} is not known: no report or notice named it, and no import brought it"
                    )?;
                    return Ok(Exit::Finding);
                }
            }
            Ok(Exit::Success)
        })
    }

    async fn of_address(
        &self,
        (store, rules): (&Store, &Rules),
        keyring: &Keyring,
        address: &Address,
    ) -> anyhow::Result<Option<Story>> {
        let hash = keyring.hash(Purpose::Address, &[address.key().as_bytes()]);
        let Some(known) = store.address_by_hash(&hash).await? else { return Ok(None) };
        let accounts = store.accounts_of_address(known.id).await?;
        let shown = Some(address.expose().to_owned());
        Ok(Some(self.story((store, rules), Some(known.id), shown, accounts).await?))
    }

    async fn of_account(
        &self,
        (store, rules): (&Store, &Rules),
        keyring: &Keyring,
        sub: &str,
    ) -> anyhow::Result<Option<Story>> {
        let Some((team, subject)) = sub.split_once(':').filter(|(team, sub)| !team.is_empty() && !sub.is_empty())
        else {
            anyhow::bail!("--sub takes the team and the sub with a colon between: A1B2C3D4E5:001234.abcd.0123");
        };
        let hash = keyring.hash(Purpose::Subject, &[team.as_bytes(), subject.as_bytes()]);
        let Some(account) = store.account_by_hash(&hash).await? else { return Ok(None) };
        let Some(id) = account.address else {
            return Ok(Some(self.story((store, rules), None, None, vec![account]).await?));
        };
        Ok(Some(self.by_id((store, rules), keyring, id).await?))
    }

    /// An id stays where its address was forgotten: then there are only counts to show.
    async fn of_id(
        &self,
        (store, rules): (&Store, &Rules),
        keyring: &Keyring,
        id: u64,
    ) -> anyhow::Result<Option<Story>> {
        let Some(id) = i64::try_from(id).ok().filter(|id| *id > 0) else { return Ok(None) };
        let found = self.by_id((store, rules), keyring, id).await?;
        let nothing = found.gone && found.events.is_empty() && found.ledger.is_none() && found.entries.is_empty();
        Ok((!nothing).then_some(found))
    }

    async fn by_id(&self, (store, rules): (&Store, &Rules), keyring: &Keyring, id: i64) -> anyhow::Result<Story> {
        let address = store.address_by_id(id).await?;
        let gone = address.is_none();
        let shown = match address.and_then(|known| Some((known.hash, known.sealed?))) {
            Some((hash, sealed)) => {
                Some(String::from_utf8_lossy(&keyring.open(Purpose::Address, &hash, &sealed)?).into_owned())
            }
            None => None,
        };
        let accounts = store.accounts_of_address(id).await?;
        Ok(Story { gone, ..self.story((store, rules), Some(id), shown, accounts).await? })
    }

    async fn story(
        &self,
        (store, rules): (&Store, &Rules),
        id: Option<i64>,
        shown: Option<String>,
        accounts: Vec<AccountRecord>,
    ) -> anyhow::Result<Story> {
        let ids: Vec<i64> = accounts.iter().map(|account| account.id).collect();
        // Ids are never zero: without an address only the accounts' entries are found.
        let entries = store.entries_of(id.unwrap_or(0), &ids).await?;
        let (ledger, mark, advice, events) = match id {
            Some(id) => {
                let events = store.events_of_address(id, self.events).await?;
                let told = Teller::new(store.clone(), rules.clone()).tell(&events).await?;
                let advice = Adviser::new(store.clone(), rules.clone(), Clock::System.now()).await?.advise(id).await?;
                (store.ledger(id).await?, store.mark_of(id).await?, advice, told)
            }
            None => (None, None, None, Vec::new()),
        };
        Ok(Story { id, gone: false, shown, mark, accounts, ledger, advice, entries, events })
    }
}

/// The ledger's facts with their names.
fn facts(ledger: &LedgerRow) -> [(&'static str, Option<Timestamp>); 7] {
    [
        ("first event", Some(ledger.first_event_at)),
        ("last sent", ledger.last_sent_at),
        ("last delivered", ledger.last_delivered_at),
        ("last refused", ledger.last_refused_at),
        ("complained", ledger.complained_at),
        ("unsubscribed", ledger.unsubscribed_at),
        ("suppressed by provider", ledger.suppressed_at),
    ]
}

impl Story {
    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        match (&self.shown, self.id) {
            (Some(shown), Some(id)) => writeln!(out, "{} (id {})", Safe(shown), address_id(id))?,
            (None, Some(id)) if self.gone => {
                writeln!(out, "the id {} belongs to nobody: its address is forgotten", address_id(id))?;
            }
            (None, Some(id)) => writeln!(out, "address with the id {} (only its hash is kept)", address_id(id))?,
            (_, None) => writeln!(out, "an account whose address is not known")?,
        }
        if let Some(mark) = self.mark {
            let what = if mark.private { "a private address" } else { "no private address" };
            writeln!(out, "{what}, by the account map or a notice as of {}", mark.at)?;
        }
        if let Some(ledger) = &self.ledger {
            let group = match ledger.destination {
                Destination::Relay => "relay mail",
                Destination::Shared => {
                    "the control group: its domain has ordinary mailboxes, and nothing calls it private"
                }
                Destination::Other | Destination::Unknown => "the control group",
            };
            writeln!(out, "its mail counts as {group}")?;
        }
        if let Some(advice) = &self.advice {
            writeln!(out, "\nwhat to do: {} ({})", advice.action, advice.in_words())?;
            for reason in &advice.reasons {
                writeln!(out, "  - {}", Safe(&reason.to_string()))?;
            }
        } else {
            writeln!(out, "\nwhat to do: nothing can be said: {}", self.missing().1)?;
        }
        writeln!(out, "\naccounts:{}", none_or(self.accounts.is_empty()))?;
        for account in &self.accounts {
            let app = account.app.as_deref().unwrap_or("unknown");
            write!(out, "  team {}, app {}", Safe(&account.team), Safe(app))?;
            match account.signed_up_at {
                Some(at) => write!(out, ", signed up {at}")?,
                None => write!(out, ", sign-up time unknown")?,
            }
            match account.deleted_at {
                Some(at) => writeln!(out, "; Apple Account deleted {at}, to be forgotten from {} on", forget_at(at))?,
                None => writeln!(out)?,
            }
        }
        writeln!(out, "\nledger:{}", none_or(self.ledger.is_none()))?;
        if let Some(ledger) = &self.ledger {
            for (name, at) in facts(ledger) {
                let cause = ledger.last_cause.filter(|_| name == "last refused");
                match (at, cause) {
                    (Some(at), Some(cause)) => writeln!(out, "  {name:<22}  {at}, {cause}")?,
                    (Some(at), None) => writeln!(out, "  {name:<22}  {at}")?,
                    (None, _) => writeln!(out, "  {name:<22}  never")?,
                }
            }
        }
        writeln!(out, "\nnotices:{}", none_or(self.entries.is_empty()))?;
        for entry in &self.entries {
            let word = |key: &str| entry.body.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
            let (what, team, app) = (word("kind"), word("team"), word("app"));
            writeln!(out, "  {}  {}, team {}, app {}", entry.key.at, Safe(&what), Safe(&team), Safe(&app))?;
        }
        writeln!(
            out,
            "\nevents, latest first, each with the action by its reply alone:{}",
            none_or(self.events.is_empty())
        )?;
        for told in &self.events {
            told.text("  ", false, out)?;
        }
        Ok(())
    }

    /// Why there is no advice: a word for machines, and a sentence.
    fn missing(&self) -> (&'static str, &'static str) {
        match self.ledger.as_ref().map(|ledger| ledger.destination) {
            Some(Destination::Shared) => (
                "control-group",
                "its mail counts as the control group; where it is a private address, say so by the account map: relaywatch \
                 accounts import",
            ),
            Some(_) => ("control-group", "its mail counts as the control group, which advice is not for"),
            None => ("no-mail", "no mail to it is known"),
        }
    }

    fn json(&self) -> serde_json::Result<Value> {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let accounts: Vec<Value> = self
            .accounts
            .iter()
            .map(|account| {
                json!({
                    "team": account.team, "app": account.app, "signed_up_at": time(account.signed_up_at),
                    "deleted_at": time(account.deleted_at), "forget_at": time(account.deleted_at.map(forget_at)),
                })
            })
            .collect();
        let ledger = self.ledger.as_ref().map(|ledger| {
            let mut facts: serde_json::Map<String, Value> =
                facts(ledger).into_iter().map(|(name, at)| (name.replace(' ', "_"), json!(time(at)))).collect();
            facts.insert("last_cause".to_owned(), json!(ledger.last_cause));
            facts.insert("destination".to_owned(), json!(ledger.destination));
            facts
        });
        let notices: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| json!({ "at": entry.key.at.to_string(), "entry": entry.kind, "body": entry.body }))
            .collect();
        let events = self.events.iter().map(Told::json).collect::<serde_json::Result<Vec<_>>>()?;
        let advice = self.advice.as_ref().map(|advice| json!({ "action": advice.action, "reasons": advice.reasons }));
        let missing = self.advice.is_none().then(|| self.missing());
        let missing = missing.map(|(reason, text)| json!({ "reason": reason, "text": text }));
        Ok(json!({
            "known": true, "advice_missing": missing, "id": self.id.map(address_id), "address": self.shown, "forgotten": self.gone,
            "private": self.mark.map(|mark| mark.private), "advice": advice, "accounts": accounts, "ledger": ledger,
            "notices": notices, "events": events,
        }))
    }
}

/// When an account whose Apple Account was deleted at this time is forgotten.
fn forget_at(deleted_at: Timestamp) -> Timestamp {
    deleted_at.plus_millis(FORGET_AFTER_MILLIS)
}

const fn none_or(empty: bool) -> &'static str {
    if empty { " none" } else { "" }
}

impl Forget {
    fn run(
        &self,
        file: Option<&Path>,
        input: &mut impl BufRead,
        out: &mut impl Write,
        diagnostics: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        if !self.yes && (self.address == "-" || !io::stdin().is_terminal()) {
            anyhow::bail!(
                "nobody can be asked whether to forget the address: standard input is no terminal; add --yes"
            );
        }
        let address = parse(&given(&self.address, input)?)?;
        let by = self.who.name();
        let config = open::config(file)?;
        if !self.yes {
            write!(diagnostics, "Forget this address and its accounts? This can't be undone. [y/N] ")?;
            diagnostics.flush()?;
            if !matches!(line(input)?.trim(), "y" | "Y" | "yes") {
                writeln!(diagnostics, "nothing was changed")?;
                return Ok(Exit::Finding);
            }
        }
        let call = ForgetAddress { address: address.expose().to_owned(), by, reason: self.reason.clone() };
        let forgotten = open::block_on(async {
            let writer = open::writer(&config).await?;
            let forgotten = writer.call(call).await?;
            writer.close().await;
            Ok(forgotten)
        })?;
        match self.format {
            Format::Json => {
                serde_json::to_writer(&mut *out, &forgotten).map_err(io::Error::from).and_then(|()| writeln!(out))?;
            }
            Format::Text if forgotten.known || forgotten.copies > 0 => {
                let (accounts, copies) = (count(forgotten.accounts, "account"), forgotten.copies);
                writeln!(out, "forgotten, with {accounts} and {}", count_as(copies, "copy", "copies"))?;
            }
            Format::Text => writeln!(out, "this address is not known: there is nothing to forget")?,
        }
        Ok(if forgotten.known || forgotten.copies > 0 { Exit::Success } else { Exit::Finding })
    }
}

/// An argument, or a line of standard input where it is `-`.
fn given(argument: &str, input: &mut impl BufRead) -> anyhow::Result<String> {
    if argument == "-" { line(input) } else { Ok(argument.to_owned()) }
}

fn line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut text = String::new();
    io::Read::take(input, MAX_LINE).read_line(&mut text)?;
    Ok(text.trim().to_owned())
}

/// An id as `events list` writes it; some that can be written so belong to nobody.
fn read_id(text: &str) -> anyhow::Result<u64> {
    let text = text.trim();
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u64::from_str_radix(text, 16).ok().filter(|_| digits);
    id.ok_or_else(|| anyhow::anyhow!("--id takes the 16 hexadecimal digits that `events list` shows"))
}

/// `1 copy`, `2 copies`.
fn count_as(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn parse(text: &str) -> anyhow::Result<Address> {
    Address::parse(text).map_err(|error| anyhow::anyhow!("{error}; write it as name@privaterelay.appleid.com"))
}
