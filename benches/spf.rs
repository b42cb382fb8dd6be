//! What an SPF check costs on one core when every answer is there: checks a second, the tree of what was looked up included,
//! beside mail-auth with the same answers in its caches and, where RELAYWATCH_TEST_PYSPF names a Python that has it, pyspf.

use std::{
    borrow::Borrow,
    collections::HashMap,
    future::Future,
    hash::Hash,
    hint::black_box,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    pin::pin,
    process::{Command, Stdio},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use mail_auth::{
    DnssecStatus, MX, MessageAuthenticator, Parameters, RecordSet, ResolverCache, Txt,
    common::parse::TxtRecordParser,
    hickory_resolver::config::{ResolverConfig, ResolverOpts},
    spf::{Spf, verify::SpfParameters},
};
use relaywatch::sources::{
    answer::{Answer, Exchange, Kind, Name, Outcome, Question, Text, Values},
    spf::{self, Known, Query, Step},
};
use serde_json::{Value, json};

/// Checks of one round.
const CHECKS: u32 = 50_000;
/// How often each is measured, all in turn, so that a busy moment of the machine meets all alike.
const ROUNDS: usize = 15;

/// What is checked: a name, the sender's domain, the client, the right result.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("a network of its own", "own.example", "192.0.2.77", "pass"),
    ("twenty networks, none of them", "many.example", "198.51.100.200", "fail"),
    ("an ESP's include with a redirect", "esp.example", "203.0.113.9", "pass"),
    ("four includes, the last matches", "four.example", "203.0.113.77", "pass"),
    ("exchanges and an address", "mx.example", "198.51.100.3", "pass"),
    ("macros", "macro.example", "192.0.2.1", "pass"),
];

/// The answers: owner, kind, value.
const RECORDS: &[(&str, Kind, &str)] = &[
    ("own.example", Kind::Txt, "v=spf1 ip4:192.0.2.0/24 -all"),
    (
        "many.example",
        Kind::Txt,
        "v=spf1 ip4:192.0.2.0/28 ip4:192.0.2.16/28 ip4:192.0.2.32/28 ip4:192.0.2.48/28 ip4:192.0.2.64/28 ip4:192.0.2.80/28 \
         ip4:192.0.2.96/28 ip4:192.0.2.112/28 ip4:192.0.2.128/28 ip4:192.0.2.144/28 ip4:203.0.113.0/28 ip4:203.0.113.16/28 \
         ip4:203.0.113.32/28 ip4:203.0.113.48/28 ip4:203.0.113.64/28 ip4:203.0.113.80/28 ip4:203.0.113.96/28 \
         ip4:203.0.113.112/28 ip4:203.0.113.128/28 ip4:203.0.113.144/28 -all",
    ),
    ("esp.example", Kind::Txt, "v=spf1 include:_spf.esp.example ~all"),
    ("_spf.esp.example", Kind::Txt, "v=spf1 redirect=_spf2.esp.example"),
    ("_spf2.esp.example", Kind::Txt, "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/28 -all"),
    (
        "four.example",
        Kind::Txt,
        "v=spf1 include:a.four.example include:b.four.example include:c.four.example include:d.four.example -all",
    ),
    ("a.four.example", Kind::Txt, "v=spf1 ip4:192.0.2.0/26 ip6:2001:db8::/32 ~all"),
    ("b.four.example", Kind::Txt, "v=spf1 ip4:192.0.2.64/26 ip4:192.0.2.128/26 ~all"),
    ("c.four.example", Kind::Txt, "v=spf1 ip4:198.51.100.0/24 ?all"),
    ("d.four.example", Kind::Txt, "v=spf1 ip4:203.0.113.64/26 -all"),
    ("mx.example", Kind::Txt, "v=spf1 mx a:out.mx.example -all"),
    ("mx.example", Kind::Mx, "in.mx.example"),
    ("in.mx.example", Kind::A, "198.51.100.2"),
    ("out.mx.example", Kind::A, "198.51.100.3"),
    ("macro.example", Kind::Txt, "v=spf1 exists:%{ir}._spf.%{d2} -all"),
    ("1.2.0.192._spf.macro.example", Kind::A, "127.0.0.2"),
];

fn main() {
    let known = known();
    let caches = Caches::new();
    let authenticator =
        MessageAuthenticator::new(ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default())
            .unwrap_or_else(|error| panic!("{error}"));
    let cases: Vec<Case> = CASES.iter().map(Case::new).collect();
    for case in &cases {
        let ours = spf::check(&case.query(), &known);
        assert!(
            matches!(&ours, Step::Done(verdict) if verdict.result.to_string() == case.result),
            "{}: {ours:?}",
            case.name
        );
        let theirs = case.mail_auth(&authenticator, &caches);
        assert_eq!(theirs, case.result, "{}", case.name);
    }
    let mut ours = vec![Vec::new(); cases.len()];
    let mut theirs = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((case, ours), theirs) in cases.iter().zip(&mut ours).zip(&mut theirs) {
            let query = case.query();
            ours.push(timed(|| (0..CHECKS).for_each(|_| drop(black_box(spf::check(black_box(&query), &known))))));
            theirs.push(timed(|| (0..CHECKS).for_each(|_| drop(black_box(case.mail_auth(&authenticator, &caches))))));
        }
    }
    let pyspf = pyspf(&cases);
    println!(
        "{:36} {:>12} {:>12} {:>7} {:>9}",
        "checks a second, on one core", "relaywatch", "mail-auth", "share", "pyspf"
    );
    for (index, ((case, ours), theirs)) in cases.iter().zip(ours).zip(theirs).enumerate() {
        let (ours, theirs) = (a_second(ours), a_second(theirs));
        let pyspf = pyspf
            .as_ref()
            .and_then(|rates| rates.get(index))
            .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
        println!("{:36} {ours:>12.0} {theirs:>12.0} {:>7.2} {pyspf:>9}", case.name, ours / theirs);
    }
}

struct Case {
    name: &'static str,
    mail_from: String,
    ip: IpAddr,
    result: &'static str,
}

impl Case {
    fn new((name, domain, ip, result): &(&'static str, &'static str, &'static str, &'static str)) -> Self {
        let ip = ip.parse().unwrap_or_else(|error| panic!("{ip}: {error}"));
        Self { name, mail_from: format!("news@{domain}"), ip, result }
    }

    fn query(&self) -> Query<'_> {
        Query {
            ip: self.ip,
            mail_from: &self.mail_from,
            helo: "mail.example.net",
            receiver: "mx.example.org",
            at: None,
        }
    }

    fn mail_auth(&self, authenticator: &MessageAuthenticator, caches: &Caches) -> String {
        let parameters =
            SpfParameters::verify_mail_from(self.ip, "mail.example.net", "mx.example.org", black_box(&self.mail_from));
        let parameters = Parameters::new(parameters)
            .with_txt_cache(&caches.txt)
            .with_mx_cache(&caches.mx)
            .with_ptr_cache(&caches.ptr)
            .with_ipv4_cache(&caches.ipv4)
            .with_ipv6_cache(&caches.ipv6);
        // All answers are there, so that it never waits.
        let mut check = pin!(authenticator.verify_spf(parameters));
        let output = match check.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("{}: mail-auth asks", self.name),
        };
        word(output.result())
    }
}

fn word(result: mail_auth::SpfResult) -> String {
    match result {
        mail_auth::SpfResult::Pass => "pass",
        mail_auth::SpfResult::Fail => "fail",
        mail_auth::SpfResult::SoftFail => "softfail",
        mail_auth::SpfResult::Neutral => "neutral",
        mail_auth::SpfResult::TempError => "temperror",
        mail_auth::SpfResult::PermError => "permerror",
        mail_auth::SpfResult::None => "none",
    }
    .to_owned()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The answers for our evaluator.
fn known() -> Known {
    let answer = |kind: Kind, value: &str| {
        Answer::of(Outcome::Found(match kind {
            Kind::Txt => Values::Txt(vec![Text::from(value)]),
            Kind::Mx => Values::Mx(vec![Exchange { preference: 10, host: name(value) }]),
            _ => Values::A(vec![address(value)]),
        }))
    };
    RECORDS.iter().map(|(owner, kind, value)| (Question::new(name(owner), *kind), answer(*kind, value))).collect()
}

/// A cache that has what it was made with.
struct Cache<K, V>(HashMap<K, V>);

impl<K: Hash + Eq, V: Clone> ResolverCache<K, V> for Cache<K, V> {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _: K, _: V, _: Instant) {}
}

/// The same answers for mail-auth.
struct Caches {
    txt: Cache<Box<str>, Txt>,
    mx: Cache<Box<str>, RecordSet<MX>>,
    ipv4: Cache<Box<str>, RecordSet<Ipv4Addr>>,
    ipv6: Cache<Box<str>, RecordSet<Ipv6Addr>>,
    ptr: Cache<IpAddr, RecordSet<Box<str>>>,
}

impl Caches {
    fn new() -> Self {
        let mut caches = Self {
            txt: Cache(HashMap::new()),
            mx: Cache(HashMap::new()),
            ipv4: Cache(HashMap::new()),
            ipv6: Cache(HashMap::new()),
            ptr: Cache(HashMap::new()),
        };
        for (owner, kind, value) in RECORDS {
            let owner: Box<str> = format!("{owner}.").into();
            match kind {
                Kind::Txt => {
                    let record = Spf::parse(value.as_bytes()).unwrap_or_else(|error| panic!("{value}: {error}"));
                    caches.txt.0.insert(owner, record.into());
                }
                Kind::Mx => {
                    let exchange = MX { exchanges: Box::new([format!("{value}.").into()]), preference: 10 };
                    caches.mx.0.insert(owner, set(exchange));
                }
                _ => {
                    caches.ipv4.0.insert(owner, set(address(value)));
                }
            }
        }
        caches
    }
}

fn set<T>(value: T) -> RecordSet<T> {
    RecordSet { rrset: Arc::new([value]), dnssec_status: DnssecStatus::Indeterminate }
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

/// The rate at the median time.
fn a_second(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| f64::from(CHECKS) / time.as_secs_f64())
}

/// pyspf's rates, where it's there.
fn pyspf(cases: &[Case]) -> Option<Vec<f64>> {
    let python = std::env::var_os("RELAYWATCH_TEST_PYSPF").filter(|python| !python.is_empty())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pyspf.py");
    let mut zone = serde_json::Map::new();
    for (owner, kind, value) in RECORDS {
        let data = match kind {
            Kind::Mx => json!([10, value]),
            _ => json!(value),
        };
        let entries = zone.entry(*owner).or_insert_with(|| json!([]));
        if let Some(entries) = entries.as_array_mut() {
            entries.push(json!([kind.to_string(), data]));
        }
    }
    let line =
        |case: &Case| json!({"zone": zone, "ip": case.ip, "mail_from": case.mail_from, "helo": "mail.example.net"});
    let lines = cases.iter().map(|case| line(case).to_string()).collect::<Vec<_>>().join("\n");
    let mut child = Command::new(python)
        .arg(script)
        .arg("--rate")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("pyspf: {error}"));
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes()).unwrap_or_else(|error| panic!("pyspf: {error}"));
    }
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("pyspf: {error}"));
    let rates = String::from_utf8_lossy(&output.stdout);
    Some(rates.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get("rate")?.as_f64()).collect())
}
