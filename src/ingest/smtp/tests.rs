//! Whole connections, in memory and over sockets.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Common, serve},
    listener::{self, Listening, Service},
    peers::{Allowance, Peers},
    session::{Open, Session, Terms},
    *,
};
use crate::{
    clock::Clock,
    config::{MailAddress, MailProtocol, RecipientPattern},
    ingest::http::body::Budget,
    metrics::Metrics,
};

/// Keeps what is brought, and answers as it's told.
#[derive(Debug, Default)]
struct Tray {
    mails: Mutex<Vec<Vec<u8>>>,
    refusals: Mutex<Vec<Refusal>>,
    away: AtomicUsize,
    holds: Option<Arc<Notify>>,
    arrived: Notify,
}

impl Receiver for Arc<Tray> {
    async fn take(&self, mail: Mail, _: Timestamp) -> Taking {
        self.arrived.notify_one();
        if let Some(holds) = &self.holds {
            holds.notified().await;
        }
        if self.away.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Taking::Later;
        }
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail.content);
        Taking::Committed
    }

    fn refused(&self, why: Refusal) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(why);
    }
}

impl Tray {
    fn mails(&self) -> Vec<String> {
        let mails = self.mails.lock().expect("the mails");
        mails.iter().map(|mail| String::from_utf8_lossy(mail).into_owned()).collect()
    }

    fn refusals(&self) -> Vec<Refusal> {
        self.refusals.lock().expect("the refusals").clone()
    }
}

fn terms() -> Terms {
    Terms {
        hostname: "mx.example.com".to_owned(),
        protocol: MailProtocol::Smtp,
        recipients: vec![RecipientPattern::parse("bounces@example.com").expect("a pattern")],
        max_bytes: 100_000,
        tls: false,
        require_tls: false,
        budget: Budget::new(1_000_000),
    }
}

fn common() -> Common {
    Common {
        feed: "mail".to_owned(),
        idle: Duration::from_mins(5),
        tls: None,
        metrics: Metrics::new().expect("metrics"),
        clock: Clock::System,
    }
}

/// One connection in memory.
struct Talk {
    stream: DuplexStream,
    task: JoinHandle<()>,
    tray: Arc<Tray>,
    common: Common,
    stop: CancellationToken,
}

fn connect_with(terms: Terms, common: Common, known: bool, tray: Arc<Tray>) -> Talk {
    let (stream, far) = tokio::io::duplex(4_096);
    let stop = CancellationToken::new();
    let session = Session::new(Arc::new(terms), Box::new(Open));
    let (receiver, shared, token) = (Arc::clone(&tray), common.clone(), stop.clone());
    let task = tokio::spawn(async move { serve(far, session, known, &receiver, &shared, &token).await });
    Talk { stream, task, tray, common, stop }
}

fn connect() -> Talk {
    connect_with(terms(), common(), true, Arc::default())
}

/// Reads up to the last line of an answer.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            match stream.read_u8().await {
                Ok(byte) => line.push(byte),
                Err(_) => return String::from_utf8(all).expect("text"),
            }
        }
        all.extend_from_slice(&line);
        if line.get(3) == Some(&b' ') {
            return String::from_utf8(all).expect("text");
        }
    }
}

async fn say(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("sent");
    answer(stream).await
}

const MAIL: &str = "MAIL FROM:<>\r\nRCPT TO:<bounces@example.com>\r\n";

async fn begin_data(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    assert!(answer(stream).await.starts_with("220 "));
    assert!(say(stream, "EHLO a\r\n").await.starts_with("250-mx.example.com"));
    assert!(say(stream, MAIL).await.starts_with("250 "));
    assert!(answer(stream).await.starts_with("250 "));
    assert!(say(stream, "DATA\r\n").await.starts_with("354 "));
}

#[tokio::test]
async fn a_mail_comes_in() {
    let mut talk = connect();
    begin_data(&mut talk.stream).await;
    assert_eq!(say(&mut talk.stream, "Subject: a\r\n\r\nb\r\n.\r\n").await, "250 2.6.0 taken\r\n");
    assert_eq!(say(&mut talk.stream, "QUIT\r\n").await, "221 2.0.0 good bye\r\n");
    drop(talk.stream);
    talk.task.await.expect("ended");
    assert_eq!(talk.tray.mails(), ["Subject: a\r\n\r\nb\r\n"]);
    assert!(talk.common.metrics.render().expect("text").contains("relaywatch_mail_bytes_total{feed=\"mail\"}"));
}

#[tokio::test]
async fn what_cannot_be_kept_comes_again() {
    let tray = Arc::new(Tray { away: AtomicUsize::new(1), ..Tray::default() });
    let mut talk = connect_with(terms(), common(), true, tray);
    begin_data(&mut talk.stream).await;
    assert!(say(&mut talk.stream, "a\r\n.\r\n").await.starts_with("451 4.3.0 "));
    talk.stream.write_all(format!("{MAIL}DATA\r\n").as_bytes()).await.expect("sent");
    for code in ["250", "250", "354"] {
        assert!(answer(&mut talk.stream).await.starts_with(code));
    }
    assert!(say(&mut talk.stream, "a\r\n.\r\n").await.starts_with("250 2.6.0 "));
    assert_eq!(talk.tray.mails(), ["a\r\n"]);
}

#[tokio::test(start_paused = true)]
async fn those_who_speak_before_they_are_greeted_are_sent_away() {
    let mut talk = connect_with(terms(), common(), false, Arc::default());
    assert_eq!(say(&mut talk.stream, "EHLO a\r\n").await, "554 5.5.1 you spoke before you were greeted\r\n");
    drop(talk.stream);
    talk.task.await.expect("ended");
    assert_eq!(talk.tray.refusals(), [Refusal::EarlyTalker]);
    let mut patient = connect_with(terms(), common(), false, Arc::default());
    begin_data(&mut patient.stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dawdles_is_sent_away() {
    for dawdler in ["", "EHLO a\r\n", "EHLO"] {
        let mut talk = connect();
        answer(&mut talk.stream).await;
        talk.stream.write_all(dawdler.as_bytes()).await.expect("sent");
        let mut rest = String::new();
        talk.stream.read_to_string(&mut rest).await.expect("the end");
        assert!(rest.ends_with("421 4.4.2 nothing came for too long; good bye\r\n"), "{rest}");
        drop(talk.stream);
        talk.task.await.expect("ended");
        assert_eq!(talk.tray.refusals(), [Refusal::Timeout]);
    }
}

/// Single bytes, each in time, do not keep a connection.
#[tokio::test(start_paused = true)]
async fn a_peer_that_drips_is_sent_away() {
    for within_content in [false, true] {
        let mut talk = connect();
        if within_content {
            begin_data(&mut talk.stream).await;
        }
        let began = tokio::time::Instant::now();
        while talk.stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        assert!(began.elapsed() < Duration::from_mins(12), "{:?}", began.elapsed());
        talk.task.await.expect("ended");
        assert!(talk.tray.mails().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_let_go() {
    let mut talk = connect();
    // 4,096 bytes fit between the two: answers to these do not.
    let mut sent = 0;
    while sent < 90 && talk.stream.write_all(b"HELP\r\n").await.is_ok() {
        sent += 1;
    }
    tokio::time::timeout(Duration::from_mins(10), talk.task).await.expect("it does not wait for ever").expect("ended");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_does_not_hold_up_the_stop() {
    let mut talk = connect();
    let flood = async { while talk.stream.write_all(b"HELP\r\n").await.is_ok() {} };
    // The two buffers are full, and the answer waits.
    assert!(tokio::time::timeout(Duration::from_secs(1), flood).await.is_err());
    let began = tokio::time::Instant::now();
    talk.stop.cancel();
    talk.task.await.expect("ended");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_mail_that_breaks_off_is_none() {
    let mut talk = connect();
    begin_data(&mut talk.stream).await;
    talk.stream.write_all(b"Subject: a\r\n\r\nb\r\n.\r").await.expect("sent");
    drop(talk.stream);
    talk.task.await.expect("ended");
    assert!(talk.tray.mails().is_empty());
    assert_eq!(talk.tray.refusals(), [Refusal::BrokenOff]);
}

#[tokio::test(start_paused = true)]
async fn at_the_stop_idle_peers_go_and_mails_that_are_begun_come_in() {
    let mut idle = connect();
    answer(&mut idle.stream).await;
    idle.stop.cancel();
    assert!(answer(&mut idle.stream).await.starts_with("421 4.3.2 "));

    let mut begun = connect();
    begin_data(&mut begun.stream).await;
    begun.stop.cancel();
    tokio::task::yield_now().await;
    assert!(say(&mut begun.stream, "a\r\n.\r\n").await.starts_with("250 2.6.0 "));
    assert!(answer(&mut begun.stream).await.starts_with("421 4.3.2 "));
    assert_eq!(begun.tray.mails().len(), 1);

    let mut stuck = connect();
    begin_data(&mut stuck.stream).await;
    stuck.stop.cancel();
    assert!(answer(&mut stuck.stream).await.starts_with("421 4.3.2 "), "and nobody is waited for for ever");
}

mod secured {
    use super::*;
    use crate::ingest::smtp::tls;

    const CERTIFICATE: &[u8] = include_bytes!("../../../tests/fixtures/tls/certificate.pem");
    const KEY: &[u8] = include_bytes!("../../../tests/fixtures/tls/key.pem");

    fn connect_secured() -> Talk {
        let server = tls::server(tls::certificates(CERTIFICATE).expect("one"), tls::key(KEY).expect("one"));
        let common = Common { tls: Some(server.expect("usable")), ..common() };
        connect_with(Terms { tls: true, require_tls: true, ..terms() }, common, true, Arc::default())
    }

    fn connector() -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(tls::certificates(CERTIFICATE).expect("one"));
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    #[tokio::test]
    async fn a_mail_comes_in_encrypted() {
        let mut talk = connect_secured();
        answer(&mut talk.stream).await;
        assert!(say(&mut talk.stream, "EHLO a\r\n").await.contains("250-STARTTLS\r\n"));
        assert!(say(&mut talk.stream, "MAIL FROM:<>\r\n").await.starts_with("530 5.7.0 "));
        assert!(say(&mut talk.stream, "STARTTLS\r\n").await.starts_with("220 "));
        let name = ServerName::try_from("mx.example.com").expect("a name");
        let mut stream = connector().connect(name, talk.stream).await.expect("hands are shaken");
        assert!(say(&mut stream, MAIL).await.starts_with("503 "), "it has to greet again");
        assert!(answer(&mut stream).await.starts_with("503 "));
        assert!(!say(&mut stream, "EHLO a\r\n").await.contains("STARTTLS"));
        assert!(say(&mut stream, "STARTTLS\r\n").await.starts_with("503 "));
        stream.write_all(format!("{MAIL}DATA\r\n").as_bytes()).await.expect("sent");
        for code in ["250", "250", "354"] {
            assert!(answer(&mut stream).await.starts_with(code));
        }
        assert!(say(&mut stream, "a\r\n.\r\n").await.starts_with("250 "));
        assert_eq!(talk.tray.mails(), ["a\r\n"]);
    }

    /// What is sent in the clear behind STARTTLS would else be obeyed as if it had been encrypted (CVE-2011-0411).
    #[tokio::test]
    async fn what_is_pipelined_behind_starttls_is_not_obeyed() {
        let mut talk = connect_secured();
        answer(&mut talk.stream).await;
        let injected = format!("STARTTLS\r\nEHLO a\r\n{MAIL}DATA\r\ninjected\r\n.\r\n");
        assert!(say(&mut talk.stream, &injected).await.starts_with("220 "));
        let name = ServerName::try_from("mx.example.com").expect("a name");
        let mut stream = connector().connect(name, talk.stream).await.expect("hands are shaken");
        assert!(say(&mut stream, "NOOP\r\n").await.starts_with("250 2.0.0 done"), "the first answer is to this");
        assert!(say(&mut stream, "MAIL FROM:<>\r\n").await.starts_with("503 "));
        assert!(talk.tray.mails().is_empty());
    }

    /// Half a minute, which a peer may take to shake hands, is not waited for at the stop.
    #[tokio::test(start_paused = true)]
    async fn a_handshake_does_not_hold_up_the_stop() {
        let mut talk = connect_secured();
        answer(&mut talk.stream).await;
        assert!(say(&mut talk.stream, "STARTTLS\r\n").await.starts_with("220 "));
        let began = tokio::time::Instant::now();
        talk.stop.cancel();
        talk.task.await.expect("ended");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(talk.tray.refusals(), [Refusal::Stopping]);
    }

    #[tokio::test]
    async fn garbage_is_no_handshake() {
        let mut talk = connect_secured();
        answer(&mut talk.stream).await;
        assert!(say(&mut talk.stream, "STARTTLS\r\n").await.starts_with("220 "));
        talk.stream.write_all(&[0xff; 600]).await.expect("sent");
        talk.task.await.expect("ended");
        assert_eq!(talk.tray.refusals(), [Refusal::TlsFailed]);
    }

    /// A client that begins with a handshake, on a port where that is not spoken.
    #[tokio::test]
    async fn a_handshake_without_being_asked_is_refused() {
        let talk = connect_secured();
        let name = ServerName::try_from("mx.example.com").expect("a name");
        assert!(connector().connect(name, talk.stream).await.is_err());
        talk.task.await.expect("ended");
    }

    #[test]
    fn files_that_hold_something_else_are_refused() {
        assert!(tls::certificates(b"").is_err() && tls::certificates(KEY).is_err());
        assert!(tls::key(b"").is_err() && tls::key(CERTIFICATE).is_err());
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let unusable = tls::certificates(broken).and_then(|chain| tls::server(chain, tls::key(KEY)?));
        assert_eq!(unusable.map(drop).expect_err("unusable").to_string(), "certificate and key can't be used together");
    }
}

mod listening {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Running {
        address: SocketAddr,
        tray: Arc<Tray>,
        metrics: Metrics,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn start(address: &MailAddress, max_connections: usize, tray: Arc<Tray>) -> Running {
        let listening = Listening::bind(address).await.expect("a port");
        let address = listening.address().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let allowance =
            Allowance { at_once: 100, connections_per_minute: 100, mails_per_minute: 100, trusted: Vec::new() };
        let common = common();
        let metrics = common.metrics.clone();
        let service = Service {
            terms: Arc::new(terms()),
            common,
            peers: Peers::new(allowance),
            max_connections,
            receiver: Arc::clone(&tray),
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task =
            tokio::spawn(
                async move { listener::serve(listening, Arc::new(service), token).await.expect("infallible") },
            );
        Running { address, tray, metrics, stop, task }
    }

    fn anywhere() -> MailAddress {
        MailAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    #[tokio::test]
    async fn connections_beyond_the_number_are_told_to_come_again() {
        let running = start(&anywhere(), 1, Arc::default()).await;
        let mut first = TcpStream::connect(running.address).await.expect("connected");
        assert!(answer(&mut first).await.starts_with("220 "));
        let mut second = TcpStream::connect(running.address).await.expect("connected");
        assert_eq!(answer(&mut second).await, "421 4.3.2 too many connections; come again\r\n");
        assert!(say(&mut first, "QUIT\r\n").await.starts_with("221 "));
        drop(first);
        loop {
            let mut third = TcpStream::connect(running.address).await.expect("connected");
            if answer(&mut third).await.starts_with("220 ") {
                break;
            }
        }
        let text = running.metrics.render().expect("text");
        assert!(text.contains("relaywatch_mail_connections_total{answer=\"refused\",feed=\"mail\"}"), "{text}");
    }

    #[tokio::test]
    async fn a_mail_in_work_is_finished_at_the_stop() {
        let tray = Arc::new(Tray { holds: Some(Arc::new(Notify::new())), ..Tray::default() });
        let running = start(&anywhere(), 10, tray).await;
        let mut stream = TcpStream::connect(running.address).await.expect("connected");
        begin_data(&mut stream).await;
        stream.write_all(b"a\r\n.\r\n").await.expect("sent");
        running.tray.arrived.notified().await;
        running.stop.cancel();
        running.tray.holds.as_ref().expect("held").notify_one();
        assert!(answer(&mut stream).await.starts_with("250 2.6.0 "));
        assert!(answer(&mut stream).await.starts_with("421 4.3.2 "));
        drop(stream);
        running.task.await.expect("ended");
        assert!(TcpStream::connect(running.address).await.is_err(), "the listener is closed");
        assert_eq!(running.tray.mails().len(), 1);
    }

    #[tokio::test]
    async fn a_socket_that_was_left_is_taken_over_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lmtp.sock");
        let address = MailAddress::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        let running = start(&address, 10, Arc::default()).await;
        let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o666, "the mail server is another user");
        let mut stream = tokio::net::UnixStream::connect(&path).await.expect("connected");
        begin_data(&mut stream).await;
        assert!(Listening::bind(&address).await.is_err(), "in use");
        running.stop.cancel();
        drop(stream);
        running.task.await.expect("ended");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "precious").expect("written");
        assert!(Listening::bind(&address).await.is_err(), "no socket");
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
    }
}
