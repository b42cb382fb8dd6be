//! Asks DNS: fixed servers only, six outcomes kept apart, every question bounded in time.
//!
//! Which names are asked is chosen by others (`include`, `redirect`, `rua`), so no hosts file is read and no name is completed by
//! a search list (`email-auth.md` section 5.3).
//!
//! hickory follows CNAMEs, and keeps them from us where the chain ends in an absence (hickory 0.26.3; one that never ends it calls no
//! data too). So the chain of an absence is asked for hop by hop: a CNAME that leads nowhere is told from a name that is not there,
//! and a loop or a chain without an end is a server failure. A record that cannot be read, such as a TXT record without any string, makes the whole answer a
//! server failure.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{self, RData, RecordType},
    },
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    answer::{Answer, Exchange, Kind, Name, Outcome, Question, Text, Values},
    audit::{self, Audit, Setup},
    spf::{self, Known, Query, Step, Verdict},
};
use crate::model::Timestamp;

/// How many questions are open at once.
const AT_ONCE: usize = 64;

/// How many CNAMEs are followed one after another, as resolvers do.
const MAX_ALIASES: usize = 8;

/// How DNS is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers, asked by UDP and, for answers that do not fit, by TCP.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take for one try.
    pub timeout: Duration,
    /// How often it is tried.
    pub attempts: usize,
    /// How many answers are kept for their TTL; none where it is 0.
    pub cached: u64,
    /// Whether signatures are validated here, which tells bogus answers from servers' failures.
    pub validate: bool,
    /// Whether addresses of private networks are refused as answers that lie: as a server failure, from which nothing follows. What
    /// is asked is chosen by others, and no name of mail that strangers take has such an address.
    pub refuse_private: bool,
}

impl Settings {
    /// The time-outs of hickory (5 s, 2 tries), no cache, no validation.
    #[must_use]
    pub const fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            timeout: Duration::from_secs(5),
            attempts: 2,
            cached: 0,
            validate: false,
            refuse_private: false,
        }
    }
}

/// Why nothing can be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskerError {
    /// No servers are named.
    #[error("no DNS server is named")]
    NoServers,
    /// hickory does not start.
    #[error("the DNS client does not start: {0}")]
    Start(String),
}

/// Asks the servers of one vantage point. Cheap to clone.
#[derive(Clone)]
pub struct Asker {
    resolver: TokioResolver,
    limit: Duration,
    refuse_private: bool,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Asker {
    /// An asker; asks nothing yet.
    ///
    /// # Errors
    /// Without servers, or where hickory refuses the settings.
    pub fn new(settings: &Settings) -> Result<Self, AskerError> {
        if settings.servers.is_empty() {
            return Err(AskerError::NoServers);
        }
        let server = |server: &SocketAddr| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        };
        let config = ResolverConfig::from_parts(None, Vec::new(), settings.servers.iter().map(server).collect());
        let mut options = ResolverOpts::default();
        options.timeout = settings.timeout;
        options.attempts = settings.attempts;
        options.cache_size = settings.cached;
        options.validate = settings.validate;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        options.case_randomization = true;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| AskerError::Start(error.to_string()))?;
        // Every server may be tried so often, by UDP and by TCP, and a chain of CNAMEs takes more than one question.
        let tries = settings.attempts.saturating_add(1).saturating_mul(settings.servers.len()).saturating_mul(2);
        let limit = settings.timeout.saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX));
        Ok(Self { resolver, limit, refuse_private: settings.refuse_private })
    }

    /// Asks one question. It always ends, with one of the six outcomes.
    pub async fn ask(&self, question: &Question) -> Answer {
        timeout(self.limit, self.answer(question)).await.unwrap_or_else(|_| Answer::of(Outcome::TimedOut))
    }

    async fn answer(&self, question: &Question) -> Answer {
        let Some(name) = wire_name(&question.name) else { return Answer::of(Outcome::ServerFailure) };
        let answer = match self.resolver.lookup(name, record_type(question.kind)).await {
            Ok(lookup) => read(&lookup, question.kind),
            Err(error) => failed(&error),
        };
        if self.refuse_private && has_private(&answer.outcome) {
            return Answer::of(Outcome::ServerFailure);
        }
        if !answer.outcome.is_absence() || !answer.aliases.is_empty() {
            return answer;
        }
        match self.chain(&question.name).await {
            Ok(aliases) => Answer { aliases, ..answer },
            Err(outcome) => Answer::of(outcome),
        }
    }

    /// The names that the CNAMEs of a name lead through, in order; else what came in place of an answer.
    async fn chain(&self, from: &Name) -> Result<Vec<Name>, Outcome> {
        let mut aliases: Vec<Name> = Vec::new();
        let mut at = from.clone();
        while let Some(to) = self.alias(&at).await? {
            if to == *from || aliases.contains(&to) || aliases.len() == MAX_ALIASES {
                return Err(Outcome::ServerFailure);
            }
            aliases.push(to.clone());
            at = to;
        }
        Ok(aliases)
    }

    /// The name servers of a name, where a zone begins there; none where it does not.
    ///
    /// # Errors
    /// What came in place of an answer.
    pub(super) async fn name_servers(&self, name: &Name) -> Result<Vec<Name>, Outcome> {
        let wire = wire_name(name).ok_or(Outcome::ServerFailure)?;
        let asked = timeout(self.limit, self.resolver.lookup(wire.clone(), RecordType::NS)).await;
        match asked.map_err(|_| Outcome::TimedOut)? {
            Ok(lookup) => {
                // What a CNAME leads to is the cut of another name.
                let own = |record: &&rr::Record| record.name.eq_ignore_root(&wire);
                let server =
                    |record: &rr::Record| if let RData::NS(ns) = &record.data { read_name(&ns.0) } else { None };
                Ok(lookup.answers().iter().filter(own).filter_map(server).collect())
            }
            Err(error) => match failed(&error).outcome {
                outcome if outcome.is_trouble() => Err(outcome),
                _ => Ok(Vec::new()),
            },
        }
    }

    /// Where the CNAME of a name leads, if it has one.
    async fn alias(&self, name: &Name) -> Result<Option<Name>, Outcome> {
        let name = wire_name(name).ok_or(Outcome::ServerFailure)?;
        match self.resolver.lookup(name.clone(), RecordType::CNAME).await {
            Ok(lookup) => {
                let own = |record: &&rr::Record| record.name.eq_ignore_root(&name);
                Ok(lookup.answers().iter().filter(own).find_map(|record| match &record.data {
                    RData::CNAME(to) => read_name(&to.0),
                    _ => None,
                }))
            }
            Err(error) => match failed(&error).outcome {
                outcome if outcome.is_trouble() => Err(outcome),
                _ => Ok(None),
            },
        }
    }

    /// Asks several at once, 64 at most. Dropping the future drops them all.
    pub async fn ask_all(&self, questions: Vec<Question>) -> Vec<(Question, Answer)> {
        let mut answers = Vec::with_capacity(questions.len());
        self.each(questions, |question, answer| answers.push((question, answer))).await;
        answers
    }

    /// Asks several at once, [`AT_ONCE`] at most, and gives each answer as it comes.
    async fn each(&self, questions: Vec<Question>, mut take: impl FnMut(Question, Answer)) {
        let mut questions = questions.into_iter();
        let mut tasks = JoinSet::new();
        loop {
            for question in questions.by_ref().take(AT_ONCE.saturating_sub(tasks.len())) {
                let asker = self.clone();
                tasks.spawn(async move {
                    let answer = asker.ask(&question).await;
                    (question, answer)
                });
            }
            match tasks.join_next().await {
                Some(Ok((question, answer))) => take(question, answer),
                // A task that panicked leaves its question open.
                Some(Err(_)) => {}
                None => return,
            }
        }
    }

    /// Answers `questions` into `known`. What has come when the time `left` is over counts; what is still open, as timed out.
    async fn answer_all(&self, questions: Vec<Question>, known: &mut Known, left: Duration) {
        let all = self.each(questions.clone(), |question, answer| known.insert(question, answer));
        if timeout(left, all).await.is_err() {
            tracing::debug!("DNS: the time is over; what is still open counts as timed out");
        }
        for question in questions {
            if spf::Answers::answer(known, &question).is_none() {
                known.insert(question, Answer::of(Outcome::TimedOut));
            }
        }
    }

    /// Audits what is declared, asking what is not known yet and keeping it in `known`. After `limit` everything that is still
    /// open counts as timed out. Dropping the future ends it.
    pub async fn audit(&self, setup: &Setup, now: Timestamp, known: &mut Known, limit: Duration) -> Audit {
        let began = Instant::now();
        loop {
            match audit::audit(setup, now, known) {
                audit::Step::Done(audit) => return audit,
                audit::Step::Need(questions) => {
                    self.answer_all(questions, known, limit.saturating_sub(began.elapsed())).await;
                }
            }
        }
    }

    /// Checks SPF, asking what is not known yet and keeping it in `known`. After `limit` everything that is still open counts as
    /// timed out; RFC 7208 section 4.6.4 wants at least 20 seconds. Dropping the future ends it.
    pub async fn check_spf(&self, query: &Query<'_>, known: &mut Known, limit: Duration) -> Verdict {
        let began = Instant::now();
        loop {
            let questions = match spf::check(query, known) {
                Step::Done(verdict) => return *verdict,
                Step::Need(questions) => questions,
            };
            self.answer_all(questions, known, limit.saturating_sub(began.elapsed())).await;
        }
    }
}

pub(super) fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Txt => RecordType::TXT,
        Kind::Ptr => RecordType::PTR,
    }
}

pub(super) fn wire_name(name: &Name) -> Option<rr::Name> {
    let labels: Vec<_> = name.labels().collect();
    let mut name = rr::Name::from_labels(labels.iter().map(|label| &**label)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// A name from a message. `None` where it breaks the limits of DNS, which hickory does not let through.
pub(super) fn read_name(name: &rr::Name) -> Option<Name> {
    Name::from_labels(name.iter())
}

/// The records of an answer that are of the kind asked.
fn read(lookup: &Lookup, kind: Kind) -> Answer {
    let data = || lookup.answers().iter().map(|record| &record.data);
    let values = values(kind, data());
    let aliases = data().filter_map(|data| if let RData::CNAME(to) = data { read_name(&to.0) } else { None }).collect();
    let left = lookup.valid_until().saturating_duration_since(Instant::now());
    let outcome = if values.is_empty() { Outcome::NoData } else { Outcome::Found(values) };
    Answer { outcome, ttl: Some(u32::try_from(left.as_secs()).unwrap_or(u32::MAX)), aliases }
}

/// The records of a kind among data.
pub(super) fn values<'a>(kind: Kind, data: impl Iterator<Item = &'a RData>) -> Values {
    match kind {
        Kind::A => Values::A(data.filter_map(|data| if let RData::A(a) = data { Some(a.0) } else { None }).collect()),
        Kind::Aaaa => {
            Values::Aaaa(data.filter_map(|data| if let RData::AAAA(a) = data { Some(a.0) } else { None }).collect())
        }
        Kind::Mx => Values::Mx(
            data.filter_map(|data| {
                let RData::MX(mx) = data else { return None };
                Some(Exchange { preference: mx.preference, host: read_name(&mx.exchange)? })
            })
            .collect(),
        ),
        Kind::Txt => Values::Txt(
            data.filter_map(|data| {
                let RData::TXT(txt) = data else { return None };
                Some(Text::new(txt.txt_data.iter().cloned()))
            })
            .collect(),
        ),
        Kind::Ptr => Values::Ptr(
            data.filter_map(|data| if let RData::PTR(ptr) = data { read_name(&ptr.0) } else { None }).collect(),
        ),
    }
}

/// Whether there is an address of a private network, of this machine or of one link among the records (RFC 1918, RFC 4193, RFC
/// 6598, RFC 3927).
pub(super) fn has_private(outcome: &Outcome) -> bool {
    if let Outcome::Found(values) = outcome { values.addresses().any(is_private) } else { false }
}

/// Whether an address is none that strangers can reach.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && (64..128).contains(&second);
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || first == 0 || shared || ip.is_broadcast()
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// What an error of hickory means for the question.
fn failed(error: &NetError) -> Answer {
    let outcome = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let outcome = match none.response_code {
                ResponseCode::NoError => Outcome::NoData,
                ResponseCode::NXDomain => Outcome::NoSuchDomain,
                _ => Outcome::ServerFailure,
            };
            return Answer { outcome, ttl: none.negative_ttl, aliases: Vec::new() };
        }
        NetError::Dns(DnsError::DnssecBogus) => Outcome::Bogus,
        // Nobody answered: the time is over, or the server cannot be reached.
        NetError::Timeout | NetError::Busy | NetError::NoConnections | NetError::Io(_) => Outcome::TimedOut,
        _ => Outcome::ServerFailure,
    };
    Answer::of(outcome)
}

#[cfg(test)]
mod tests {
    use hickory_resolver::{net::NoRecords, proto::op::Query as WireQuery};

    use super::*;

    fn none(code: ResponseCode) -> NetError {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords::new(WireQuery::default(), code)))
    }

    #[test]
    fn six_outcomes_are_kept_apart() {
        assert_eq!(failed(&none(ResponseCode::NoError)).outcome, Outcome::NoData);
        assert_eq!(failed(&none(ResponseCode::NXDomain)).outcome, Outcome::NoSuchDomain);
        assert_eq!(failed(&none(ResponseCode::ServFail)).outcome, Outcome::ServerFailure);
        assert_eq!(
            failed(&NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused))).outcome,
            Outcome::ServerFailure
        );
        assert_eq!(failed(&NetError::Message("nonsense")).outcome, Outcome::ServerFailure);
        assert_eq!(failed(&NetError::Timeout).outcome, Outcome::TimedOut);
        assert_eq!(failed(&NetError::NoConnections).outcome, Outcome::TimedOut);
        assert_eq!(failed(&NetError::Dns(DnsError::DnssecBogus)).outcome, Outcome::Bogus);
    }

    #[test]
    fn addresses_of_private_networks_are_known() {
        let private = ["10.0.0.1", "172.16.9.9", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "0.0.0.0"];
        let private = private.into_iter().chain(["::1", "::", "fc00::1", "fe80::1", "::ffff:10.0.0.1"]);
        for text in private {
            assert!(is_private(text.parse().expect(text)), "{text}");
        }
        for text in ["192.0.2.1", "172.32.0.1", "100.128.0.1", "2001:db8::1", "8.8.8.8"] {
            assert!(!is_private(text.parse().expect(text)), "{text}");
        }
    }

    #[test]
    fn without_servers_nothing_is_asked() {
        assert!(matches!(Asker::new(&Settings::new(Vec::new())), Err(AskerError::NoServers)));
    }
}
