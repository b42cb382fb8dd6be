//! A DNS server for tests, on UDP and TCP, with the faults that the suite wants: silence, failures, endless aliases, and answers
//! that do not fit.

use std::{
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{self, RData, Record, RecordType, rdata},
};
use relaywatch::sources::answer::{Kind, Name};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

use super::zone::{Entry, Found, Order, Zone};

/// How the answers over UDP are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Transport {
    /// Whole where they have 512 bytes at most.
    Fitting,
    /// Truncated all, so that every answer comes by TCP.
    Truncated,
}

/// A running server; it ends when it's dropped.
pub(crate) struct Server {
    address: SocketAddr,
    answered: Arc<[AtomicUsize; 2]>,
    serving: Arc<Serving>,
    _tasks: JoinSet<()>,
}

struct Serving {
    zone: RwLock<Zone>,
    transport: Transport,
    order: Order,
    answered: Arc<[AtomicUsize; 2]>,
}

impl Server {
    /// Serves a zone as though it were all of DNS.
    pub(crate) async fn start(zone: Zone, transport: Transport, order: Order) -> Self {
        let (listener, socket) = loop {
            // Both protocols on one port.
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            if let Ok(socket) = UdpSocket::bind(address).await {
                break (listener, socket);
            }
        };
        let address = listener.local_addr().expect("an address");
        let answered = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let zone = RwLock::new(zone);
        let serving = Arc::new(Serving { zone, transport, order, answered: Arc::clone(&answered) });
        let mut tasks = JoinSet::new();
        tasks.spawn(datagrams(socket, Arc::clone(&serving)));
        tasks.spawn(streams(listener, Arc::clone(&serving)));
        Self { address, answered, serving, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves another zone from here on.
    pub(crate) fn exchange(&self, zone: Zone) {
        *self.serving.zone.write().expect("no test panicked in it") = zone;
    }

    /// The whole answers by UDP and by TCP.
    pub(crate) fn answered(&self) -> (usize, usize) {
        let [datagrams, streams] = &*self.answered;
        (datagrams.load(Ordering::Relaxed), streams.load(Ordering::Relaxed))
    }
}

async fn datagrams(socket: UdpSocket, serving: Arc<Serving>) {
    let mut buffer = [0; 4_096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some(answer) = serving.answer(&buffer[..length]) else { continue };
        let mut bytes = answer.to_vec().expect("a message");
        if serving.transport == Transport::Truncated || bytes.len() > 512 {
            let mut empty = answer.truncate();
            empty.metadata.truncation = true;
            bytes = empty.to_vec().expect("a message");
        } else {
            serving.answered[0].fetch_add(1, Ordering::Relaxed);
        }
        socket.send_to(&bytes, from).await.expect("a datagram leaves");
    }
}

async fn streams(listener: TcpListener, serving: Arc<Serving>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(stream_of(stream, Arc::clone(&serving)));
    }
}

/// Answers on one connection until it ends.
async fn stream_of(mut stream: TcpStream, serving: Arc<Serving>) {
    while let Ok(length) = stream.read_u16().await {
        let mut request = vec![0; usize::from(length)];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let Some(answer) = serving.answer(&request) else { continue };
        let bytes = answer.to_vec().expect("a message");
        serving.answered[1].fetch_add(1, Ordering::Relaxed);
        let length = u16::try_from(bytes.len()).expect("a message of DNS");
        let sent = [&length.to_be_bytes()[..], &bytes].concat();
        if stream.write_all(&sent).await.is_err() {
            return;
        }
    }
}

impl Serving {
    /// The answer to a request; none where there is to be silence.
    fn answer(&self, request: &[u8]) -> Option<Message> {
        let request = Message::from_vec(request).ok()?;
        let query = request.queries.first()?.clone();
        let mut answer = Message::response(request.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.metadata.authoritative = true;
        answer.add_query(query.clone());
        let kind = match query.query_type() {
            RecordType::A => Some(Kind::A),
            RecordType::AAAA => Some(Kind::Aaaa),
            RecordType::MX => Some(Kind::Mx),
            RecordType::TXT => Some(Kind::Txt),
            RecordType::PTR => Some(Kind::Ptr),
            _ => None,
        };
        let mut owner = query.name().clone();
        let mut name = Name::from_labels(query.name().iter())?;
        let zone = self.zone.read().expect("no test panicked in it");
        for _ in 0..8 {
            match zone.find(&name, kind, self.order) {
                Found::Records(records) => {
                    answer.add_answers(
                        records.into_iter().map(|entry| Record::from_rdata(owner.clone(), 300, data(entry))),
                    );
                    return Some(answer);
                }
                Found::Alias(to) => {
                    let target = wire(to);
                    answer.add_answer(Record::from_rdata(owner, 300, RData::CNAME(rdata::CNAME(target.clone()))));
                    if query.query_type() == RecordType::CNAME {
                        return Some(answer);
                    }
                    (owner, name) = (target, to.clone());
                }
                Found::Silence => return None,
                Found::NoData => return Some(absent(answer, ResponseCode::NoError)),
                Found::NoSuchDomain => return Some(absent(answer, ResponseCode::NXDomain)),
                Found::Failure => {
                    answer.metadata.response_code = ResponseCode::ServFail;
                    return Some(answer);
                }
            }
        }
        // An endless chain.
        answer.answers.clear();
        answer.metadata.response_code = ResponseCode::ServFail;
        Some(answer)
    }
}

fn absent(mut answer: Message, code: ResponseCode) -> Message {
    let root = rr::Name::root();
    let soa = rdata::SOA::new(root.clone(), root.clone(), 1, 3_600, 600, 86_400, 60);
    answer.add_authority(Record::from_rdata(root, 60, RData::SOA(soa)));
    answer.metadata.response_code = code;
    answer
}

fn wire(name: &Name) -> rr::Name {
    let labels: Vec<_> = name.labels().collect();
    rr::Name::from_labels(labels.iter().map(|label| &**label)).expect("a name")
}

fn data(entry: &Entry) -> RData {
    match entry {
        Entry::A(a) => RData::A(rdata::A(*a)),
        Entry::Aaaa(a) => RData::AAAA(rdata::AAAA(*a)),
        Entry::Mx(preference, host) => RData::MX(rdata::MX::new(*preference, wire(host))),
        // A text without strings is no record on the wire (RFC 1035 section 3.3.14), and the client refuses the whole answer
        // with it; the nearest that a server can send is an empty string.
        Entry::Txt(text) if text.strings().is_empty() => RData::TXT(rdata::TXT::from_bytes(vec![b""])),
        Entry::Txt(text) => RData::TXT(rdata::TXT::from_bytes(text.strings().iter().map(|part| &**part).collect())),
        Entry::Ptr(name) => RData::PTR(rdata::PTR(wire(name))),
        Entry::Cname(name) => RData::CNAME(rdata::CNAME(wire(name))),
        Entry::Silence | Entry::Failure => panic!("no record"),
    }
}
