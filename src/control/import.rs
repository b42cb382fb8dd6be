//! The calls of `import`: how far a file was imported, and a batch of outcomes.

use serde::{Deserialize, Serialize};

use super::{Call, ControlError, Folding, Operator};
use crate::{
    classify::destination,
    ingest::{
        Kept as Whole, Report,
        import::{Faults, Format, Position, source::Identity},
        intake::{FeedName, Knowledge, prepare},
        kept::RetentionAt,
        plausible,
    },
    model::{Event, Exposure},
    privacy::Purpose,
    store::ImportFile,
};

/// Outcomes that one batch holds at most.
pub(crate) const MAX_EVENTS: usize = 2_000;
/// Files whose place one batch can tell.
pub(crate) const MAX_FILES: usize = 2_000;

/// A file as the store knows it again: by keyed hashes of what is told here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Its path from the root.
    pub path: Vec<u8>,
    /// SHA-256 of what it begins with.
    pub head: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
    /// When it was last changed, in milliseconds since the epoch.
    pub changed_at: i64,
    /// Its number on its device.
    pub inode: u64,
}

impl FileId {
    /// Of a file at this path, which starts at the root.
    #[must_use]
    pub fn new(path: &std::path::Path, identity: &Identity) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        Self {
            path: path.as_os_str().as_bytes().to_vec(),
            head: digest(&identity.head),
            size: identity.size,
            changed_at: identity.changed_at,
            inode: identity.inode,
        }
    }
}

/// SHA-256, under which a part of a file travels to whoever has the keys.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}

/// Asks how far a file was imported.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AskImport {
    /// The file.
    pub file: FileId,
    /// SHA-256 of what stands before the place that an earlier answer told, to learn whether it still does.
    pub witness: Option<[u8; 32]>,
}

/// How far it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedSoFar {
    /// The place up to which its outcomes are in the journal.
    pub position: Position,
    /// How long it was, in bytes.
    pub size: u64,
    /// Whether it was read to its end.
    pub ended: bool,
    /// Whether it is of that length still, and was not changed since.
    pub unchanged: bool,
    /// Whether the witness is what stood before the place; nothing where none was told, or none is known.
    pub witnessed: Option<bool>,
    /// As what it was read; nothing where an earlier version imported it.
    pub format: Option<Format>,
    /// By which exposure its outcomes count.
    pub exposure: Option<Exposure>,
    /// What was wrong with its records up to the place.
    pub faults: Faults,
}

impl Call for AskImport {
    const PATH: &'static str = "/import/ask";
    type Answer = Option<ImportedSoFar>;

    async fn run(self, operator: &Operator) -> Result<Self::Answer, ControlError> {
        let known = operator.store.import_file(&operator.file(&self.file)).await?;
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(known.map(|known| ImportedSoFar {
            format: known.format.and_then(Format::from_code),
            exposure: known.exposure.and_then(Exposure::from_code),
            faults: known.faults.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            position: Position {
                offset: number(known.offset),
                lines: number(known.lines),
                records: number(known.records),
                within: number(known.within),
            },
            size: number(known.size),
            ended: known.ended,
            unchanged: (known.size, known.changed_at, known.inode)
                == (signed(self.file.size), self.file.changed_at, signed(self.file.inode)),
            witnessed: known
                .witness
                .zip(self.witness)
                .map(|(known, told)| known == operator.keyring.hash(Purpose::Body, &[b"import-witness", &told])),
        }))
    }
}

/// Up to where a file is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileDone {
    /// The file.
    pub file: FileId,
    /// The place.
    pub position: Position,
    /// Whether it is the end.
    pub ended: bool,
    /// SHA-256 of what stands before it; nothing where the file is packed.
    pub witness: Option<[u8; 32]>,
    /// What was wrong with its records up to the place.
    pub faults: Faults,
}

/// Take outcomes of files in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportEvents {
    /// Who wrote the files.
    pub format: Format,
    /// What they tell of mail that did not bounce.
    pub exposure: Exposure,
    /// The events: at most 2,000.
    #[serde(with = "travel")]
    pub events: Vec<Event>,
    /// Reports that are kept whole: at most 2,000.
    #[serde(with = "travel::reports")]
    pub kept: Vec<Whole>,
    /// Up to where files are done with these.
    pub files: Vec<FileDone>,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventsImported {
    /// Outcomes that are new.
    pub new: u64,
    /// Outcomes that were there before.
    pub known: u64,
    /// Outcomes that were refused, since they have outlived their retention.
    pub too_old: u64,
    /// Outcomes whose time cannot be by the clock of whoever commits.
    pub implausible: u64,
    /// Reports kept whole that are new.
    pub kept_new: u64,
    /// Reports kept whole that were there before.
    pub kept_known: u64,
}

impl Call for ImportEvents {
    const PATH: &'static str = "/import/events";
    type Answer = EventsImported;

    async fn run(self, operator: &Operator) -> Result<EventsImported, ControlError> {
        if self.events.len().max(self.kept.len()) > MAX_EVENTS || self.files.len() > MAX_FILES {
            return Err(ControlError::Invalid("too many outcomes or files in one step"));
        }
        let rules = operator.rules.borrow().clone();
        let Some(rules) = rules else {
            return Err(ControlError::Invalid("there are no reply rules to judge replies by"));
        };
        let knowledge = Knowledge { rules, relay: operator.relay.borrow().clone(), retention: None };
        let now = operator.clock.now();
        let horizon = operator.store.horizon().await?.dropped_before();
        let kept = RetentionAt { retention: operator.retention, dropped_before: horizon, now };
        let mut done = EventsImported::default();
        let mut report = Report::default();
        for event in self.events {
            let destination = destination(Some(&event.recipient), &knowledge.relay);
            if !plausible(event.at, now) {
                done.implausible += 1;
            } else if kept.is_too_old(&event, destination) {
                done.too_old += 1;
            } else {
                report.events.push(event);
            }
        }
        let feed = FeedName { name: self.format.feed(), exposure: self.exposure };
        if !report.events.is_empty() {
            let submission = prepare(&operator.keyring, &feed, &report, &knowledge, now);
            let commit = operator.store.commit(&[submission]).await?;
            (done.new, done.known) = (commit.added, commit.repeated);
        }
        let mut reports = Vec::new();
        for one in self.kept {
            match one.at.filter(|at| plausible(*at, now)) {
                None => done.implausible += 1,
                Some(at) if kept.is_kept(at) => reports.push(one),
                Some(_) => done.too_old += 1,
            }
        }
        if !reports.is_empty() {
            let report = Report { kept: reports, ..Report::default() };
            let submission = prepare(&operator.keyring, &feed, &report, &knowledge, now);
            let commit = operator.store.commit(&[submission]).await?;
            (done.kept_new, done.kept_known) = (commit.added, commit.repeated);
        }
        // After the commit: a crash in between costs reading what is known already.
        let files: Vec<ImportFile> =
            self.files.iter().map(|file| operator.import_file(file, self.format, self.exposure)).collect();
        operator.store.keep_import_files(&files, now).await?;
        if let (Folding::Daemon { wake, .. }, true) = (&operator.folding, done.new > 0) {
            wake.notify_one();
        }
        Ok(done)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Operator {
    /// The keyed hash under which the store knows a file.
    fn file(&self, file: &FileId) -> [u8; 16] {
        self.keyring.hash(Purpose::Body, &[b"import-file", &file.path, &file.head])
    }

    fn import_file(&self, done: &FileDone, format: Format, exposure: Exposure) -> ImportFile {
        let Position { offset, lines, records, within } = done.position;
        ImportFile {
            id: self.file(&done.file),
            inode: signed(done.file.inode),
            size: signed(done.file.size),
            changed_at: done.file.changed_at,
            offset: signed(offset),
            lines: signed(lines),
            records: signed(records),
            within: signed(within),
            ended: done.ended,
            witness: done.witness.map(|told| self.keyring.hash(Purpose::Body, &[b"import-witness", &told])),
            format: Some(format.code()),
            exposure: Some(exposure.code()),
            faults: (done.faults != Faults::default()).then(|| serde_json::to_string(&done.faults).ok()).flatten(),
        }
    }
}

/// Outcomes on their way to the daemon. They hold addresses: bodies of calls are never logged.
mod travel {
    use std::borrow::Cow;

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    use crate::model::{
        Address, DedupeMaterial, EnhancedCode, Event, EventKind, FailureClass, Provider, Reply, Timestamp,
    };

    #[derive(Serialize, Deserialize)]
    struct Outcome<'a> {
        provider: Provider,
        kind: EventKind,
        at: Timestamp,
        sent_at: Option<Timestamp>,
        dedupe: String,
        message_id: Option<Cow<'a, str>>,
        recipient: Cow<'a, str>,
        from_domain: Option<Cow<'a, str>>,
        envelope_sender: Option<Cow<'a, str>>,
        envelope_domain: Option<Cow<'a, str>>,
        campaign: Option<Cow<'a, str>>,
        reply: Option<Said<'a>>,
        remote_mta: Option<Cow<'a, str>>,
        provider_verdict: Option<Cow<'a, str>>,
        provider_class: FailureClass,
    }

    #[derive(Serialize, Deserialize)]
    struct Said<'a> {
        code: Option<u16>,
        enhanced: Option<EnhancedCode>,
        text: Cow<'a, str>,
    }

    fn text(text: Option<&String>) -> Option<Cow<'_, str>> {
        text.map(|text| Cow::Borrowed(text.as_str()))
    }

    fn owned(text: Option<Cow<'_, str>>) -> Option<String> {
        text.map(Cow::into_owned)
    }

    pub(super) fn serialize<S: Serializer>(events: &[Event], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(events.iter().map(|event| Outcome {
            provider: event.provider,
            kind: event.kind,
            at: event.at,
            sent_at: event.sent_at,
            dedupe: BASE64_STANDARD.encode(event.dedupe.expose()),
            message_id: text(event.message_id.as_ref()),
            recipient: event.recipient.expose().into(),
            from_domain: text(event.from_domain.as_ref()),
            envelope_sender: event.envelope_sender.as_ref().map(|address| address.expose().into()),
            envelope_domain: text(event.envelope_domain.as_ref()),
            campaign: text(event.campaign.as_ref()),
            reply: event.reply.as_ref().map(|reply| Said {
                code: reply.code,
                enhanced: reply.enhanced,
                text: reply.text.as_str().into(),
            }),
            remote_mta: text(event.remote_mta.as_ref()),
            provider_verdict: text(event.provider_verdict.as_ref()),
            provider_class: event.provider_class,
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Event>, D::Error> {
        let address = |text: &str| Address::parse(text).map_err(|_| D::Error::custom("no address"));
        let outcomes = Vec::<Outcome<'_>>::deserialize(deserializer)?;
        outcomes
            .into_iter()
            .map(|outcome| {
                let dedupe = BASE64_STANDARD.decode(&outcome.dedupe).map_err(|_| D::Error::custom("no base64"))?;
                Ok(Event {
                    provider: outcome.provider,
                    kind: outcome.kind,
                    at: outcome.at,
                    sent_at: outcome.sent_at,
                    dedupe: DedupeMaterial::from_bytes(dedupe),
                    message_id: owned(outcome.message_id),
                    recipient: address(&outcome.recipient)?,
                    from_domain: owned(outcome.from_domain),
                    envelope_sender: outcome.envelope_sender.map(|text| address(&text)).transpose()?,
                    envelope_domain: owned(outcome.envelope_domain),
                    campaign: owned(outcome.campaign),
                    reply: outcome.reply.map(|reply| Reply {
                        code: reply.code,
                        enhanced: reply.enhanced,
                        text: reply.text.into_owned(),
                    }),
                    remote_mta: owned(outcome.remote_mta),
                    provider_verdict: owned(outcome.provider_verdict),
                    provider_class: outcome.provider_class,
                })
            })
            .collect()
    }

    /// Reports kept whole.
    pub(super) mod reports {
        use super::{
            Address, BASE64_STANDARD, Cow, DedupeMaterial, Deserialize, Deserializer, Serialize, Serializer, Timestamp,
        };
        use base64::Engine as _;
        use serde::de::Error as _;

        use crate::ingest::{Kept, KeptKind, MAX_KEPT_BYTES};

        #[derive(Serialize, Deserialize)]
        struct Report<'a> {
            kind: KeptKind,
            at: Option<Timestamp>,
            dedupe: String,
            address: Option<Cow<'a, str>>,
            says: serde_json::Value,
            label: Cow<'a, str>,
            whole: Option<String>,
        }

        pub(in super::super) fn serialize<S: Serializer>(kept: &[Kept], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(kept.iter().map(|one| Report {
                kind: one.kind,
                at: one.at,
                dedupe: BASE64_STANDARD.encode(one.dedupe.expose()),
                address: one.address.as_ref().map(|address| address.expose().into()),
                says: one.says.clone(),
                label: one.label.as_str().into(),
                whole: one.whole.as_ref().map(|whole| BASE64_STANDARD.encode(whole)),
            }))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Kept>, D::Error> {
            let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| D::Error::custom("no base64"));
            let reports = Vec::<Report<'_>>::deserialize(deserializer)?;
            reports
                .into_iter()
                .map(|one| {
                    let whole = one.whole.map(|text| bytes(&text)).transpose()?;
                    if whole.as_ref().is_some_and(|whole| whole.len() > MAX_KEPT_BYTES) {
                        return Err(D::Error::custom("it is larger than reports that are kept"));
                    }
                    let address = one.address.map(|text| Address::parse(&text)).transpose();
                    Ok(Kept {
                        kind: one.kind,
                        at: one.at,
                        dedupe: DedupeMaterial::from_bytes(bytes(&one.dedupe)?),
                        address: address.map_err(|_| D::Error::custom("no address"))?,
                        says: one.says,
                        label: one.label.into_owned(),
                        whole,
                    })
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::import::{self, Reader, Settings, source::Source};
    use crate::model::Timestamp;

    #[test]
    fn outcomes_arrive_as_they_left() {
        let now = Timestamp::from_seconds(1_796_100_000);
        let (mut events, mut kept) = (Vec::new(), Vec::new());
        for fixture in [
            "ses/bounce-unauthorized-sender.json",
            "sparkpost/every_type.json",
            "sendgrid/every_event.json",
            "mailgun/unauthorized_sender.json",
            "braze/flat_batch.json",
            "mail/aggregate.eml",
        ] {
            let path = format!("{}/tests/fixtures/{fixture}", env!("CARGO_MANIFEST_DIR"));
            let source = Source::of(Box::new(std::fs::File::open(path).expect("a fixture"))).expect("a source");
            let form = import::guess::guess(source.head(), None).expect("is known");
            let mut reader = Reader::new(source, form, Settings::default(), now, Position::default());
            while let Some(chunk) = reader.next_chunk().expect("reads") {
                events.extend(chunk.events);
                kept.extend(chunk.kept);
            }
        }
        assert!(events.len() > 10 && kept.len() == 1, "{} {}", events.len(), kept.len());
        let call = ImportEvents { format: Format::Ses, exposure: Exposure::None, events, kept, files: Vec::new() };
        let text = serde_json::to_string(&call).expect("serialises");
        let there: ImportEvents = serde_json::from_str(&text).expect("is understood");
        assert_eq!((there.events, there.kept), (call.events, call.kept));
    }
}
