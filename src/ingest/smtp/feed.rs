//! A mail feed as the configuration makes it: from its table to a listener, and from a mail to a report.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_rustls::rustls;

use super::{
    Mail, Receiver, Refusal, Taking,
    connection::Common,
    listener::{self, Listening, Service},
    peers::{Allowance, Peers},
    session::Terms,
    tls::{self, TlsError},
};
use crate::{
    config::{Config, FilePath, MailAddress, MailFeed, MailProtocol, Network, RecipientPattern},
    ingest::{
        KEPT_MILLIS, Report, SetAside, SetAsideReason,
        http::{
            body::Budget,
            feeds::{FeedError, Place, SetUp},
        },
        intake::FeedName,
        mail::{self, Understood},
        reception::{Reception, Refused},
        workers::{Boxed, Opened, Work},
    },
    model::{Address, DAY_MILLIS, Provider, Timestamp},
};

/// Bytes that all mails in work of one feed may take together; one of the largest beside another is always let in.
const MAILS: usize = 64 * 1024 * 1024;
/// How much is kept of a mail that was not understood: anybody can send one.
const SET_ASIDE_BYTES: usize = 256 * 1024;
/// How much is kept of the body of a mail that is no report at all, beside its header.
const OTHER_BYTES: usize = 16 * 1024;
/// How much of one day's mails is kept of a feed, of what was set aside and of reports kept whole; those beyond it are only counted,
/// or journalled without their file.
const KEPT_A_DAY: Kept = Kept { aside: 64 * 1024 * 1024, whole: 256 * 1024 * 1024 };
/// Mails that are read at once, of one feed: one of the largest takes a while.
const READ_AT_ONCE: usize = 2;

/// What a mail says, with the name under which one's own mail server tells what it has checked, where one stands before.
pub type Read = fn(&Mail, Option<&str>, Timestamp) -> Report;

/// A mail feed.
#[derive(PartialEq)]
pub struct MailListener {
    address: MailAddress,
    table: MailFeed,
    /// Certificates and key (PEM), so that a reload sees where a file has changed.
    tls: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for MailListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailListener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl SetUp for MailListener {
    type Table = MailFeed;
    const PROVIDER: Provider = Provider::Mail;

    fn set_up(_: &Config, table: &MailFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let mut wrong = Vec::new();
        let mut held = |key: &str, file: &Option<FilePath>, check: fn(&[u8]) -> Result<(), TlsError>| {
            let read = file.as_ref().map(|file| place.read(key, file, check)).transpose();
            read.unwrap_or_else(|error| {
                wrong.push(error);
                None
            })
        };
        let certificate = held("tls_certificate", &table.tls_certificate, |pem| tls::certificates(pem).map(drop));
        let key = held("tls_key", &table.tls_key, |pem| tls::key(pem).map(drop));
        let tls = certificate.zip(key);
        if let (Err(error), Some(file)) = (handshake(tls.as_ref()), &table.tls_key) {
            wrong.push(place.unusable("tls_key", file, &error));
        }
        let address = table.listen.as_deref().and_then(MailAddress::parse);
        match place.or_wrong(address.ok_or("it listens nowhere")) {
            Ok(address) if wrong.is_empty() => Ok(Self { address, table: table.clone(), tls }),
            listens => Err(wrong.into_iter().chain(listens.err().into_iter().flatten()).collect()),
        }
    }
}

/// How hands are shaken by certificates and key, where there are any.
fn handshake(pem: Option<&(Vec<u8>, Vec<u8>)>) -> Result<Option<Arc<rustls::ServerConfig>>, TlsError> {
    pem.map(|(certificates, key)| tls::server(tls::certificates(certificates)?, tls::key(key)?)).transpose()
}

impl MailListener {
    fn terms(&self) -> Terms {
        let table = &self.table;
        let max_bytes = usize::try_from(table.max_bytes()).unwrap_or(usize::MAX);
        Terms {
            hostname: table.hostname.clone().unwrap_or_else(own_name),
            protocol: table.protocol,
            recipients: table.recipients.iter().filter_map(|text| RecipientPattern::parse(text)).collect(),
            max_bytes,
            tls: self.tls.is_some(),
            require_tls: table.require_tls,
            budget: Budget::new(MAILS.max(max_bytes.saturating_mul(2))),
        }
    }

    fn peers(&self) -> Peers {
        let table = &self.table;
        Peers::new(Allowance {
            at_once: table.max_connections().div_ceil(2),
            connections_per_minute: table.connections_per_minute(),
            mails_per_minute: table.mails_per_minute(),
            trusted: table.trusted_peers.iter().filter_map(|text| Network::parse(text)).collect(),
        })
    }
}

/// The machine's name, as far as one can greet by it.
fn own_name() -> String {
    whoami::hostname().ok().filter(|name| name.is_ascii() && !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

impl Work for MailListener {
    fn open(&self) -> Boxed<'_, Result<Opened, String>> {
        Box::pin(async {
            let listening = Listening::bind(&self.address)
                .await
                .map_err(|error| format!("can't listen on {}: {error}; is another program there?", self.place()))?;
            let tls = handshake(self.tls.as_ref()).map_err(|error| error.to_string())?;
            let (terms, peers) = (Arc::new(self.terms()), self.peers());
            let authserv_id = (terms.protocol == MailProtocol::Lmtp).then(|| terms.hostname.clone());
            let max_connections = usize::try_from(self.table.max_connections()).unwrap_or(usize::MAX);
            let idle = Duration::from_secs(self.table.idle_seconds().into());
            let opened: Opened = Box::new(move |name: FeedName, reception: Reception, stop| {
                Box::pin(async move {
                    let common = Common {
                        feed: name.name.clone(),
                        idle,
                        tls,
                        metrics: reception.metrics().clone(),
                        clock: reception.clock().clone(),
                    };
                    if let Some(address) = listening.address() {
                        tracing::info!(feed = name.name, %address, "mail is taken");
                    }
                    let (kept, reading) = (Mutex::new(DayOfMails::new(KEPT_A_DAY)), Semaphore::new(READ_AT_ONCE));
                    let receiver = Desk { name, reception, read, authserv_id, kept, reading };
                    let service = Service { terms, common, peers, max_connections, receiver };
                    match listener::serve(listening, Arc::new(service), stop).await {
                        Ok(()) => {}
                    }
                })
            });
            Ok(opened)
        })
    }

    fn place(&self) -> String {
        let protocol = match self.table.protocol {
            crate::config::MailProtocol::Smtp => "smtp",
            crate::config::MailProtocol::Lmtp => "lmtp",
        };
        match &self.address {
            MailAddress::Tcp(address) => format!("{protocol}://{address}"),
            MailAddress::Unix(path) => format!("{protocol}+unix://{}", path.display()),
        }
    }

    fn probe(&self) -> Boxed<'_, Option<Result<(), String>>> {
        Box::pin(async {
            // Which port it is, is not known where the machine chose it.
            let MailAddress::Tcp(address) = self.address else { return None };
            let connects = tokio::time::timeout(Duration::from_secs(3), tokio::net::TcpStream::connect(address));
            match connects.await {
                _ if address.port() == 0 => None,
                Ok(Ok(_)) => Some(Ok(())),
                Ok(Err(_)) => Some(Err("nobody listens there".to_owned())),
                Err(_) => Some(Err("nothing answers in time".to_owned())),
            }
        })
    }
}

/// Where the mails of a feed go.
#[derive(Debug)]
struct Desk {
    name: FeedName,
    reception: Reception,
    read: Read,
    /// The listener's own name where it speaks LMTP, so that the mail comes through a server of one's own: anybody can write
    /// `Authentication-Results` in it where it comes from anywhere.
    authserv_id: Option<String>,
    kept: Mutex<DayOfMails>,
    reading: Semaphore,
}

impl Desk {
    /// Limits what is kept of a mail to the day's cap, and takes the room for it.
    fn room(&self, report: &mut Report, received_at: Timestamp) -> Room<'_> {
        let (day, bytes) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).limit(report, received_at);
        Room { kept: &self.kept, day, bytes }
    }
}

/// Bytes that are kept of mails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kept {
    aside: usize,
    whole: usize,
}

/// What is kept of one day's mails.
#[derive(Debug)]
struct DayOfMails {
    day: i64,
    bytes: Kept,
    most: Kept,
}

/// What one mail takes up of a day. It is given back where the mail is not committed: its sender comes again with it.
#[derive(Debug)]
struct Room<'a> {
    kept: &'a Mutex<DayOfMails>,
    day: i64,
    bytes: Kept,
}

impl Room<'_> {
    /// The mail is committed, so that its room is taken up for good.
    fn keep(mut self) {
        self.bytes = Kept::default();
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.day == self.day {
            kept.bytes.aside = kept.bytes.aside.saturating_sub(self.bytes.aside);
            kept.bytes.whole = kept.bytes.whole.saturating_sub(self.bytes.whole);
        }
    }
}

impl DayOfMails {
    const fn new(most: Kept) -> Self {
        Self { day: 0, bytes: Kept { aside: 0, whole: 0 }, most }
    }

    /// Lets go of what is more than a day may leave behind, so that strangers fill no store; it's counted under a word of its own.
    /// Gives the day on which it counts, and the bytes that the rest takes up. A mail that came before midnight and is read after one
    /// that came later counts on the later day.
    fn limit(&mut self, report: &mut Report, now: Timestamp) -> (i64, Kept) {
        let day = now.as_millis().div_euclid(DAY_MILLIS);
        if self.day < day {
            *self = Self { day, bytes: Kept::default(), ..*self };
        }
        let (held, before) = (report.set_aside.len(), self.bytes);
        report.set_aside.retain(|part| {
            let fits = self.bytes.aside.saturating_add(part.body.len()) <= self.most.aside;
            self.bytes.aside += if fits { part.body.len() } else { 0 };
            fits
        });
        let mut unkept = held - report.set_aside.len();
        for one in &mut report.kept {
            let bytes = one.whole.as_ref().map_or(0, Vec::len);
            if self.bytes.whole.saturating_add(bytes) <= self.most.whole {
                self.bytes.whole += bytes;
            } else {
                one.whole = None;
                unkept += 1;
            }
        }
        report.ignored.extend(std::iter::repeat_n("not-kept", unkept));
        let taken = Kept { aside: self.bytes.aside - before.aside, whole: self.bytes.whole - before.whole };
        (self.day, taken)
    }
}

/// The header of a mail, and the beginning of its body.
fn beginning(content: &[u8]) -> &[u8] {
    let header = [&b"\r\n\r\n"[..], b"\n\n"].iter().filter_map(|end| memchr::memmem::find(content, end)).min();
    content.get(..header.unwrap_or_default() + OTHER_BYTES).unwrap_or(content)
}

impl Receiver for Desk {
    async fn take(&self, mail: Mail, received_at: Timestamp) -> Taking {
        let (read, feed) = (self.read, self.name.name.as_str());
        let began = tokio::time::Instant::now();
        // What reads it may take its time, or break down over it: then it's kept as it is, and acknowledged.
        let mail = Arc::new(mail);
        // Nobody closes it.
        let turn = self.reading.acquire().await;
        let reading = tokio::task::spawn_blocking({
            let mail = Arc::clone(&mail);
            let authserv_id = self.authserv_id.clone();
            move || read(&mail, authserv_id.as_deref(), received_at)
        });
        let mut report = reading.await.unwrap_or_else(|_| {
            tracing::error!(feed, "the reading of a mail broke down; the mail is kept sealed");
            set_aside(&mail, SetAsideReason::Malformed, "unreadable")
        });
        drop(turn);
        for part in &mut report.set_aside {
            part.body.truncate(SET_ASIDE_BYTES);
        }
        let room = self.room(&mut report, received_at);
        let knowledge = &self.reception.setup().knowledge;
        let taken = self.reception.take(&self.name, report, knowledge, received_at).await;
        let duration = &self.reception.metrics().feed_duration;
        duration.with_label_values(&[feed]).observe(began.elapsed().as_secs_f64());
        match taken {
            Ok(()) => {
                room.keep();
                self.reception.accepted(feed);
                Taking::Committed
            }
            Err(error) => {
                drop(room);
                let refused = Refused {
                    reason: error.reason(),
                    detail: "a mail is not taken just now; its sender comes again",
                    later: true,
                    conclusive: false,
                };
                self.reception.refused(feed, refused);
                Taking::Later
            }
        }
    }

    fn refused(&self, why: Refusal) {
        if let Some((reason, detail)) = why.rejection() {
            let refused = Refused { reason, detail, later: why.is_for_now(), conclusive: false };
            self.reception.refused(&self.name.name, refused);
        }
    }
}

/// A mail that is kept as it is.
fn set_aside(mail: &Mail, reason: SetAsideReason, label: &str) -> Report {
    let part = SetAside {
        provider: Provider::Mail,
        reason,
        label: label.to_owned(),
        at: None,
        body: mail.content.clone(),
        kept_millis: KEPT_MILLIS,
    };
    Report { set_aside: vec![part], ..Report::default() }
}

/// What a mail says. One that says nothing that relaywatch knows is kept as it is.
fn read(mail: &Mail, authserv_id: Option<&str>, received_at: Timestamp) -> Report {
    let reverse_path = Some(mail.sender.as_deref().unwrap_or_default());
    let understood = mail::understand_received(&mail.content, &mail::Receipt { reverse_path, authserv_id });
    if matches!(understood, Understood::Other) {
        let mut report = set_aside(mail, SetAsideReason::UnknownType, understood.kind());
        report.set_aside.iter_mut().for_each(|part| part.body.truncate(beginning(&mail.content).len()));
        return report;
    }
    // Of several recipients nobody knows which one the bounce is to.
    let only = match mail.recipients.as_slice() {
        [only] => Address::parse(only).ok(),
        _ => None,
    };
    mail::report(&understood, &mail.content, &mail::Envelope { rcpt_to: only.as_ref(), received_at })
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Notify, mpsc};

    use super::*;
    use crate::{
        classify::Rules,
        clock::Clock,
        ingest::{
            committer::{Writer, committer},
            http::feeds::Feeds,
            intake::{Intake, Knowledge},
            reception::Setup,
            workers::Workers,
        },
        metrics::Metrics,
        model::{Exposure, RelayDomains},
        privacy::Keyring,
        store::{Access, Store, StoreOptions},
    };

    const NOW: Timestamp = Timestamp::from_seconds(1_795_564_800);

    fn mail(sender: Option<&str>, content: String) -> Mail {
        Mail::new(sender.map(str::to_owned), vec!["bounces@example.com".to_owned()], content.into_bytes())
    }

    #[test]
    fn the_null_reverse_path_makes_a_bounce() {
        let content = "From: Jo <jo@example.net>\r\nDate: Mon, 23 Nov 2026 12:00:05 +0000\r\nSubject: x\r\n\r\n<kim@example.net>: 550 5.1.1 no such user\r\n";
        let made = |sender| read(&mail(sender, content.to_owned()), None, NOW);
        assert_eq!(made(None).events[0].recipient.expose(), "kim@example.net");
        let person = made(Some("jo@example.net"));
        assert_eq!((person.events.len(), person.set_aside[0].label.as_str()), (0, "other"));
    }

    #[test]
    fn of_a_mail_that_is_no_report_only_the_beginning_is_kept() {
        let header = "From: jo@example.net\r\nSubject: hello";
        let made = read(&mail(Some("jo@example.net"), format!("{header}\r\n\r\n{}", "x".repeat(100_000))), None, NOW);
        assert_eq!(made.set_aside[0].body.len(), header.len() + OTHER_BYTES);
        let short = read(&mail(Some("jo@example.net"), format!("{header}\r\n\r\nx")), None, NOW);
        assert_eq!(short.set_aside[0].body.len(), header.len() + 5);
    }

    #[test]
    fn what_a_day_leaves_behind_is_bounded() {
        let mut kept = DayOfMails::new(Kept { aside: 100, whole: 0 });
        let mut take = |now| {
            let mut report = set_aside(&mail(None, "x".repeat(40)), SetAsideReason::Malformed, "other");
            kept.limit(&mut report, now);
            (report.set_aside.len(), report.ignored)
        };
        assert_eq!([take(NOW), take(NOW)], [(1, vec![]), (1, vec![])]);
        assert_eq!(take(NOW), (0, vec!["not-kept"]));
        let tomorrow = Timestamp::from_millis(NOW.as_millis() + DAY_MILLIS);
        assert_eq!(take(tomorrow), (1, vec![]));
        // What came before midnight and is read after it begins no day anew.
        assert_eq!([take(NOW), take(tomorrow)], [(1, vec![]), (0, vec!["not-kept"])]);
    }

    #[test]
    fn reports_beyond_what_a_day_keeps_whole_are_journalled_without_their_file() {
        let file = crate::ingest::http::testing::fixture("mail", "aggregate");
        let bytes = {
            let report = read(&mail(None, file.clone()), None, NOW);
            report.kept[0].whole.as_ref().map_or(0, Vec::len)
        };
        let mut kept = DayOfMails::new(Kept { aside: 0, whole: 2 * bytes });
        let mut take = || {
            let mut report = read(&mail(None, file.clone()), None, NOW);
            let (_, taken) = kept.limit(&mut report, NOW);
            (report.kept[0].whole.is_some(), report.kept[0].says["bytes"] == bytes, taken.whole, report.ignored)
        };
        assert_eq!([take(), take()], [(true, true, bytes, vec![]), (true, true, bytes, vec![])]);
        assert_eq!(take(), (false, true, 0, vec!["not-kept"]));
    }

    #[tokio::test]
    async fn room_that_is_not_kept_is_given_back_whatever_happened_between() {
        let folder = tempfile::tempdir().expect("a folder");
        let (desk, _writers) = opened(folder.path(), &Metrics::new().expect("metrics")).await;
        let take = |now| {
            let mut report = set_aside(&mail(None, "x".repeat(40)), SetAsideReason::Malformed, "other");
            desk.room(&mut report, now)
        };
        let bytes = || desk.kept.lock().expect("whole").bytes.aside;
        let tomorrow = Timestamp::from_millis(NOW.as_millis() + DAY_MILLIS);
        take(NOW).keep();
        drop(take(NOW));
        assert_eq!(bytes(), 40, "one is kept, one is not");
        let yesterdays = take(NOW);
        take(tomorrow).keep();
        drop(yesterdays);
        assert_eq!(bytes(), 40, "what another day held is not taken from this one");
        drop(take(NOW));
        assert_eq!(bytes(), 40, "late for its own day, it counted on this one");
    }

    /// A desk for mails of strangers, and what takes them to the store; nothing does before the writers run.
    async fn opened(folder: &std::path::Path, metrics: &Metrics) -> (Desk, Vec<Writer>) {
        let keyring = Arc::new(Keyring::generate().expect("keys"));
        let options = StoreOptions::new(format!("sqlite://{}/test.db", folder.display()), Access::Write);
        let store = Store::open(&options, Arc::clone(&keyring)).await.expect("opens");
        let (committer, writers) = committer(&store, metrics, &Arc::new(Notify::new()), 1);
        let rules = Arc::new(Rules::built_in().expect("rules"));
        let setup = Setup {
            feeds: Feeds::default(),
            workers: Workers::default(),
            knowledge: Knowledge { rules, relay: RelayDomains::default(), retention: None },
            body_bytes: 1,
            request_timeout: Duration::from_secs(1),
        };
        let intake = Intake::new(keyring, committer, metrics.clone());
        let reception = Reception::new(setup, intake, Clock::System, metrics.clone(), mpsc::channel(1).0);
        let name = FeedName { name: "mail".to_owned(), exposure: Exposure::None };
        let (kept, reading) =
            (Mutex::new(DayOfMails::new(Kept { aside: 100, whole: 100 })), Semaphore::new(READ_AT_ONCE));
        (Desk { name, reception, read, authserv_id: None, kept, reading }, writers)
    }

    #[tokio::test]
    async fn a_mail_that_comes_again_since_the_store_was_away_takes_up_its_room_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = Metrics::new().expect("metrics");
        let (mut desk, writers) = opened(folder.path(), &metrics).await;
        let bring = |n: u8| mail(Some("jo@example.net"), format!("From: jo@example.net\r\nSubject: {n}\r\n\r\nabcdef"));
        drop(writers);
        for _ in 0..3 {
            assert!(matches!(desk.take(bring(0), NOW).await, Taking::Later));
        }
        let other = tempfile::tempdir().expect("a folder");
        let (again, writers) = opened(other.path(), &metrics).await;
        desk.reception = again.reception;
        for writer in writers {
            drop(tokio::spawn(writer.run()));
        }
        for n in 0..3 {
            assert!(matches!(desk.take(bring(n), NOW).await, Taking::Committed));
        }
        let kept = metrics.feed_set_aside.with_label_values(&["mail", "unknown-type"]).get();
        assert_eq!((kept, metrics.feed_ignored.with_label_values(&["mail"]).get()), (2, 1));
    }
}
