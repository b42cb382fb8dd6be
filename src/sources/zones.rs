//! Asks the servers of a zone themselves: without recursion, and only what they are in authority for counts.
//!
//! Which servers those are the resolvers tell: the NS records at the nearest name above that has some, and their addresses. A chain
//! of CNAMEs is followed from zone to zone. Servers with an address of a private network are not asked, unless that is allowed:
//! whoever writes a zone could otherwise let this machine send to its neighbours (`email-auth.md` section 5.3).

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_resolver::proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::RData,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};

use super::{
    answer::{Answer, Kind, Name, Outcome, Question},
    dns::{Asker, has_private, is_private, read_name, record_type, values, wire_name},
};

/// How many servers of one zone are asked.
const MAX_SERVERS: usize = 4;
/// How many CNAMEs are followed, as resolvers do.
const MAX_ALIASES: usize = 8;
/// How many labels are tried on the way to the zone's cut.
const MAX_LABELS: usize = 12;
/// For how long the servers of a zone are kept.
const KEPT: Duration = Duration::from_hours(1);
/// How many zones are kept.
const MAX_KEPT: usize = 4_096;
/// How long one server may take for one try, and how often it's tried by UDP.
const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// The longest answer by UDP (RFC 1035 section 4.2.1; no larger one is offered).
const MAX_DATAGRAM: usize = 4_096;
/// The port of DNS.
const PORT: u16 = 53;

/// Where a zone begins and who serves it.
#[derive(Debug, Clone)]
struct Cut {
    zone: Name,
    servers: Arc<[SocketAddr]>,
    found: Instant,
}

/// Asks the servers of zones. Clones share what is known of them.
#[derive(Debug, Clone)]
pub struct Zones {
    resolver: Asker,
    /// Asked for every zone, where they are named.
    fixed: Arc<[SocketAddr]>,
    allow_private: bool,
    cuts: Arc<Mutex<HashMap<Name, Cut>>>,
    sent: Arc<AtomicU32>,
}

/// What one server said.
enum Reply {
    /// This, in the end.
    Answer(Answer),
    /// That the name leads elsewhere.
    Leads(Vec<Name>),
}

impl Zones {
    /// Finds the servers of zones by this resolver; `fixed` ones are asked for every zone, where some are named.
    #[must_use]
    pub fn new(resolver: Asker, fixed: Vec<SocketAddr>, allow_private: bool) -> Self {
        Self { resolver, fixed: fixed.into(), allow_private, cuts: Arc::default(), sent: Arc::default() }
    }

    /// How many queries were sent since this was last asked.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    /// What each server of the zone says; nothing where no server is found.
    pub async fn ask(&self, question: &Question) -> Vec<Answer> {
        let mut at = question.name.clone();
        let mut aliases: Vec<Name> = Vec::new();
        loop {
            let cut = match self.cut(&at).await {
                Ok(Some(cut)) => cut,
                Ok(None) => return Vec::new(),
                Err(outcome) => return vec![Answer::of(outcome)],
            };
            let replies = self.ask_servers(&cut, &Question::new(at.clone(), question.kind)).await;
            let mut leads = replies.iter().filter_map(|reply| match reply {
                Reply::Leads(chain) => Some(Some(chain)),
                Reply::Answer(answer) if answer.outcome.is_trouble() => None,
                Reply::Answer(_) => Some(None),
            });
            let next = match leads.next() {
                Some(Some(first)) if leads.all(|other| other == Some(first)) => first.clone(),
                _ => return replies.into_iter().map(|reply| ended(reply, &aliases)).collect(),
            };
            let Some(last) = next.last().cloned() else { return Vec::new() };
            aliases.extend(next);
            let looped = aliases.iter().filter(|alias| **alias == last).count() > 1 || last == question.name;
            if looped || aliases.len() > MAX_ALIASES {
                return vec![Answer::of(Outcome::ServerFailure)];
            }
            at = last;
        }
    }

    async fn ask_servers(&self, cut: &Cut, question: &Question) -> Vec<Reply> {
        let mut tasks = JoinSet::new();
        for server in cut.servers.iter().copied() {
            let (this, zone, question) = (self.clone(), cut.zone.clone(), question.clone());
            tasks.spawn(async move { this.ask_server(server, &zone, &question).await });
        }
        let mut replies = Vec::new();
        while let Some(reply) = tasks.join_next().await {
            // A task that panicked has said nothing.
            replies.extend(reply.ok());
        }
        replies
    }

    async fn ask_server(&self, server: SocketAddr, zone: &Name, question: &Question) -> Reply {
        let Some(request) = request(question) else { return Reply::Answer(Answer::of(Outcome::ServerFailure)) };
        for _ in 0..TRIES {
            self.sent.fetch_add(1, Ordering::Relaxed);
            match timeout(TRY, by_datagram(server, &request)).await {
                Ok(Ok(message)) if message.metadata.truncation => break,
                Ok(Ok(message)) => return self.read(&message, zone, question),
                // Nobody listens, or nobody answers.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        match timeout(TRY, by_stream(server, &request)).await {
            Ok(Ok(message)) if !message.metadata.truncation => self.read(&message, zone, question),
            Ok(Ok(_)) => Reply::Answer(Answer::of(Outcome::ServerFailure)),
            Ok(Err(_)) | Err(_) => Reply::Answer(Answer::of(Outcome::TimedOut)),
        }
    }

    /// What a message says of the question.
    fn read(&self, message: &Message, zone: &Name, question: &Question) -> Reply {
        let failure = || Reply::Answer(Answer::of(Outcome::ServerFailure));
        let exists = match message.metadata.response_code {
            ResponseCode::NoError => true,
            ResponseCode::NXDomain => false,
            _ => return failure(),
        };
        // A server that is not in authority knows nothing, or leads elsewhere.
        if !message.metadata.authoritative {
            return failure();
        }
        let (mut at, mut chain) = (question.name.clone(), Vec::new());
        let owned = |at: &Name| {
            let wire = wire_name(at);
            message
                .answers
                .iter()
                .filter(move |record| wire.as_ref().is_some_and(|name| record.name.eq_ignore_root(name)))
        };
        loop {
            let found = values(question.kind, owned(&at).map(|record| &record.data));
            if !found.is_empty() {
                let outcome = Outcome::Found(found);
                if !self.allow_private && has_private(&outcome) {
                    return failure();
                }
                let ttl = owned(&at).map(|record| record.ttl).min();
                return Reply::Answer(Answer { outcome, ttl, aliases: chain });
            }
            let alias = owned(&at).find_map(|record| match &record.data {
                RData::CNAME(to) => read_name(&to.0),
                _ => None,
            });
            match alias {
                Some(to) if to == question.name || chain.contains(&to) || chain.len() >= MAX_ALIASES => {
                    return failure();
                }
                Some(to) => {
                    chain.push(to.clone());
                    at = to;
                }
                None => break,
            }
        }
        // What another zone holds, its own servers say.
        if !chain.is_empty() && (!at.is_within(zone) || exists) {
            return Reply::Leads(chain);
        }
        let outcome = if exists { Outcome::NoData } else { Outcome::NoSuchDomain };
        Reply::Answer(Answer { outcome, ttl: None, aliases: chain })
    }

    /// Where the zone of a name begins, with its servers; `None` where none of them can be asked.
    async fn cut(&self, name: &Name) -> Result<Option<Cut>, Outcome> {
        if !self.fixed.is_empty() {
            let (zone, servers) = (name.clone(), Arc::clone(&self.fixed));
            return Ok(Some(Cut { zone, servers, found: Instant::now() }));
        }
        let mut at = name.clone();
        for _ in 0..MAX_LABELS {
            if let Some(cut) = self.kept(&at) {
                return Ok(Some(cut));
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
            let servers = self.resolver.name_servers(&at).await?;
            if !servers.is_empty() {
                return self.found(at, servers).await;
            }
            match at.parent().filter(|parent| !parent.is_root()) {
                Some(parent) => at = parent,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn found(&self, zone: Name, mut names: Vec<Name>) -> Result<Option<Cut>, Outcome> {
        names.sort_unstable();
        names.dedup();
        let mut servers = Vec::new();
        for name in names.into_iter().take(MAX_SERVERS) {
            for kind in [Kind::A, Kind::Aaaa] {
                self.sent.fetch_add(1, Ordering::Relaxed);
                let answer = self.resolver.ask(&Question::new(name.clone(), kind)).await;
                let Outcome::Found(values) = &answer.outcome else { continue };
                let address = values.addresses().filter(|ip| self.allow_private || !is_private(*ip)).min();
                if let Some(ip) = address {
                    servers.push(SocketAddr::new(ip, PORT));
                    break;
                }
            }
        }
        if servers.is_empty() {
            return Ok(None);
        }
        let cut = Cut { zone: zone.clone(), servers: servers.into(), found: Instant::now() };
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        if cuts.len() >= MAX_KEPT {
            cuts.clear();
        }
        cuts.insert(zone, cut.clone());
        Ok(Some(cut))
    }

    fn kept(&self, zone: &Name) -> Option<Cut> {
        let cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.get(zone).filter(|cut| cut.found.elapsed() < KEPT).cloned()
    }
}

/// What a server said, as an answer to the question that began the chain.
fn ended(reply: Reply, before: &[Name]) -> Answer {
    let with = |aliases: Vec<Name>| [before, &aliases].concat();
    match reply {
        Reply::Answer(answer) => Answer { aliases: with(answer.aliases), ..answer },
        // Others say otherwise: that it leads on is what differs.
        Reply::Leads(chain) => Answer { aliases: with(chain), ..Answer::of(Outcome::NoData) },
    }
}

/// A query without recursion, its name in mixed case, which whoever forges an answer has to guess.
fn request(question: &Question) -> Option<Message> {
    let mut name = wire_name(&question.name)?;
    name.randomize_label_case();
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name, record_type(question.kind)));
    Some(message)
}

/// Whether a message answers the request.
fn answers(request: &Message, message: &Message) -> bool {
    let same = match (request.queries.first(), message.queries.first()) {
        (Some(asked), Some(told)) => asked.name().eq_case(told.name()) && asked.query_type() == told.query_type(),
        _ => false,
    };
    same && message.metadata.id == request.metadata.id && message.metadata.message_type == MessageType::Response
}

fn invalid<E>(_: E) -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Asks by UDP, from a port of its own; what is no answer to it is passed over.
async fn by_datagram(server: SocketAddr, request: &Message) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&request.to_vec().map_err(invalid)?).await?;
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let read = Message::from_vec(buffer.get(..length).unwrap_or_default());
        if let Some(message) = read.ok().filter(|message| answers(request, message)) {
            return Ok(message);
        }
    }
}

/// Asks by TCP.
async fn by_stream(server: SocketAddr, request: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = request.to_vec().map_err(invalid)?;
    let length = u16::try_from(bytes.len()).map_err(invalid)?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).ok().filter(|message| answers(request, message)).ok_or_else(|| invalid(()))
}
