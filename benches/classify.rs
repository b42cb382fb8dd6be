//! What classifying costs on one core, every text different and no cache: replies a second, the worst of many texts made to
//! be slow, the memory of the rules and how long they take to be ready.

use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use regex::{RegexSet, RegexSetBuilder};
use relaywatch::{
    classify::{Parties, Rules, context, template},
    model::{Address, RelayDomains, ReplyContext},
};

/// How many texts one round classifies.
const TEXTS: usize = 20_000;
const ADVERSARIAL: usize = 10_000;
/// How often each is measured, all in turn, so that a busy moment of the machine meets all alike.
const ROUNDS: usize = 15;
/// How often each adversarial text is measured by itself; the least counts.
const TRIES: usize = 7;

fn main() {
    let resident = resident_kib();
    let began = Instant::now();
    let rules = Rules::built_in().unwrap_or_else(|error| panic!("{error}"));
    let first = began.elapsed();
    let grown = resident_kib().zip(resident).map(|(now, before)| now.saturating_sub(before));
    let ready = median((0..ROUNDS).map(|_| timed(|| drop(black_box(Rules::built_in())))).collect());
    println!("rules: {}, phrases: {}", rules.len(), rules.phrases().count());
    println!("ready in {:.1} ms, the first time in {:.1} ms", millis(ready), millis(first));
    println!("tables of the phrases: {:.1} MiB", mib(rules.memory_usage()));
    match grown {
        Some(kib) => println!("resident memory grown by the rules: {:.1} MiB", mib(kib * 1_024)),
        None => println!("resident memory: not known on this system"),
    }
    println!();
    replies_a_second(&rules);
    println!();
    worst(&rules);
}

/// Replies a second of the classifier and, in the same run, of a `RegexSet` of the same phrases.
fn replies_a_second(rules: &Rules) {
    let relay = RelayDomains::default();
    let apple = cases(TEXTS, &relay, ordinary);
    let general = cases(TEXTS, &relay, general);
    let adversarial = cases(ADVERSARIAL / 10, &relay, |numbers, recipient, sender| {
        let kind = numbers.below(KINDS);
        adversarial(kind, numbers, recipient, sender)
    });
    let ready: Vec<(String, &ReplyContext)> =
        general.iter().map(|case| (case.template(&relay), &case.context)).collect();
    let set = regex_set(rules);
    let all = |cases: &[Case]| cases.iter().for_each(|case| case.judge(rules, &relay));
    let measured: [(&str, usize, &dyn Fn()); 5] = [
        ("replies of Apple, template and verdict", apple.len(), &|| all(&apple)),
        ("replies of receivers in general", general.len(), &|| all(&general)),
        ("  their templates ready-made, rules alone", ready.len(), &|| {
            for (template, context) in &ready {
                black_box(rules.classify(black_box(template), context));
            }
        }),
        ("  the same through one RegexSet, first match", ready.len(), &|| {
            for (template, _) in &ready {
                black_box(set.matches(black_box(template)).iter().next());
            }
        }),
        ("adversarial replies of 4 KiB", adversarial.len(), &|| all(&adversarial)),
    ];
    let mut rounds = vec![Vec::new(); measured.len()];
    for _ in 0..ROUNDS {
        for ((_, _, run), times) in measured.iter().zip(&mut rounds) {
            times.push(timed(run));
        }
    }
    println!("{:46} {:>9} {:>9}", "replies a second, on one core", "median", "best");
    for ((name, count, _), times) in measured.iter().zip(rounds) {
        let best = times.iter().min().copied().unwrap_or_default();
        println!("{name:46} {:>9.0} {:>9.0}", a_second(*count, median(times)), a_second(*count, best));
    }
}

/// The slowest of the adversarial texts, each measured by itself.
fn worst(rules: &Rules) {
    let relay = RelayDomains::default();
    let mut numbers = Numbers(11);
    let texts: Vec<(usize, Case)> = (0..ADVERSARIAL)
        .map(|at| (at % KINDS, Case::new(&mut numbers, &relay, |n, r, s| adversarial(at % KINDS, n, r, s))))
        .collect();
    let mut times = vec![Duration::MAX; texts.len()];
    for _ in 0..TRIES {
        for ((_, case), least) in texts.iter().zip(&mut times) {
            *least = timed(|| case.judge(rules, &relay)).min(*least);
        }
    }
    let slowest = times.iter().zip(&texts).max_by_key(|(time, _)| **time);
    if let Some((time, (kind, case))) = slowest {
        let name = NAMES.get(*kind).copied().unwrap_or_default();
        println!(
            "worst of {ADVERSARIAL} adversarial replies: {:.0} µs ({name}, {} bytes)",
            micros(*time),
            case.text.len()
        );
    }
    for (kind, name) in NAMES.iter().enumerate() {
        let of_kind = || times.iter().zip(&texts).filter(move |(_, (of, _))| *of == kind).map(|(time, _)| *time);
        let most = of_kind().max().unwrap_or_default();
        println!("  {name:30} median {:>4.0} µs, most {:>4.0} µs", micros(median(of_kind().collect())), micros(most));
    }
    println!("median of all: {:.0} µs", micros(median(times)));
}

/// For comparison: one `RegexSet` of the same phrases, case-insensitive. It looks at neither codes nor context, nor for what
/// must not be there.
fn regex_set(rules: &Rules) -> RegexSet {
    const LIMIT: usize = 256 << 20;
    RegexSetBuilder::new(rules.phrases().map(regex::escape))
        .case_insensitive(true)
        .size_limit(LIMIT)
        .dfa_size_limit(LIMIT)
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn cases(count: usize, relay: &RelayDomains, text: impl Fn(&mut Numbers, &Address, &Address) -> String) -> Vec<Case> {
    let mut numbers = Numbers(7);
    (0..count).map(|_| Case::new(&mut numbers, relay, &text)).collect()
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
fn a_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a size far below 2^52")]
fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The resident memory of this process in KiB, where Linux tells it.
fn resident_kib() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim_end().parse().ok()
}

/// A generator of numbers that gives the same ones in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 20
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).unwrap_or_default()
    }

    fn word(&mut self, alphabet: &[u8], len: usize) -> String {
        (0..len).map(|_| char::from(alphabet.get(self.below(alphabet.len())).copied().unwrap_or(b'x'))).collect()
    }
}

const ALNUM: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &[u8] = b"0123456789abcdef";

struct Case {
    text: String,
    recipient: Address,
    sender: Address,
    context: ReplyContext,
}

impl Case {
    fn new(
        numbers: &mut Numbers,
        relay: &RelayDomains,
        text: impl Fn(&mut Numbers, &Address, &Address) -> String,
    ) -> Self {
        let domain = ["privaterelay.appleid.com", "privaterelay.appleid.com", "private.icloud.com", "icloud.com"]
            .get(numbers.below(4))
            .copied()
            .unwrap_or("icloud.com");
        let local = numbers.word(ALNUM, 10);
        let address = |text: String| Address::parse(&text).unwrap_or_else(|error| panic!("generated address: {error}"));
        let recipient = address(format!("{local}@{domain}"));
        let host = numbers.word(ALNUM, 6);
        let sender = if numbers.below(2) == 0 {
            address(format!(
                "bounce+{}.{}-{local}={domain}@{host}.example.com",
                numbers.word(HEX, 6),
                numbers.below(99_999)
            ))
        } else {
            address(format!("bounces-{}@mail.{host}.example.org", numbers.word(ALNUM, 8)))
        };
        let mx = if domain == "icloud.com" { "mx01.mail.icloud.com" } else { "smtp3.privaterelay.appleid.com" };
        let text = text(numbers, &recipient, &sender);
        Self { text, context: context(None, Some(&recipient), Some(mx), relay), recipient, sender }
    }

    fn parties<'a>(&'a self, relay: &'a RelayDomains) -> Parties<'a> {
        Parties { recipient: Some(&self.recipient), envelope_sender: Some(&self.sender), ..Parties::unknown(relay) }
    }

    fn template(&self, relay: &RelayDomains) -> String {
        template(&self.text, &self.parties(relay)).into_string()
    }

    fn judge(&self, rules: &Rules, relay: &RelayDomains) {
        let template = template(black_box(&self.text), &self.parties(relay));
        black_box(rules.classify(&template, &self.context));
    }
}

fn ordinary(numbers: &mut Numbers, recipient: &Address, sender: &Address) -> String {
    let (recipient, sender) = (recipient.expose(), sender.expose());
    let id = format!("{}-{}-{}", numbers.word(HEX, 8), numbers.word(HEX, 4), numbers.word(HEX, 12));
    let ip = format!("{}.{}.{}.{}", numbers.below(223) + 1, numbers.below(256), numbers.below(256), numbers.below(256));
    match numbers.below(16) {
        0 | 1 => format!("550 5.1.1 <{sender}>: unauthorized sender"),
        2 | 3 => format!("550 5.1.1 <{recipient}>: user not found (in reply to RCPT TO command)"),
        4 => format!("550 5.1.1 <{recipient}>: inactive email address (in reply to RCPT TO command)"),
        5 => format!("smtp; 550-5.1.1 <{recipient}>: user\r\n550 5.1.1 does not exist"),
        6 => format!("550 5.1.1 unknown or illegal alias: {recipient}"),
        7 => format!(
            "554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137. Txn ID {id}"
        ),
        8 => format!("550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip={ip}"),
        9 => format!(
            "550 5.7.1 Mail from IP {ip} was rejected due to listing in Spamhaus SBL. For details please see http://www.spamhaus.org/query/bl?ip={ip}"
        ),
        10 => format!(
            "421 4.7.1 Messages to {recipient} deferred due to excessive volume. Try again later - https://support.apple.com/en-us/HT204137"
        ),
        11 => format!(
            "host smtp1.privaterelay.appleid.com[{ip}] said: 550 5.1.1 <{sender}>: unauthorized sender (in reply to RCPT TO command)"
        ),
        12 => format!(
            "554 5.7.1 Your message was rejected due to {}'s DMARC policy. See https://support.apple.com/en-us/HT204137 for info",
            sender.rsplit('@').next().unwrap_or_default()
        ),
        13 => format!("250 2.0.0 OK {} {id} - gsmtp", numbers.next()),
        14 => format!(
            "451 4.3.0 Temporary failure, queue id {}, try {recipient} again at 2026-11-24T10:{:02}:00Z",
            numbers.word(HEX, 12),
            numbers.below(60)
        ),
        _ => format!(
            "550 5.2.1 The account {} that you tried to reach is new words {id} to every rule",
            numbers.word(ALNUM, 9)
        ),
    }
}

/// What the kinds of adversarial texts are made of.
const NAMES: [&str; KINDS] = [
    "addresses in brackets",
    "quoted local parts",
    "assignments of domains",
    "phrases that almost match",
    "colons",
    "the recipient's local part",
    "chains of @",
    "phrases that match",
    "both local parts in turn",
    "escaped marks in URLs",
];
const KINDS: usize = 10;

/// 4 KiB of what costs most: marks of addresses, quotes, colons, phrases that almost match.
fn adversarial(kind: usize, numbers: &mut Numbers, recipient: &Address, sender: &Address) -> String {
    let mut text = String::from("550 5.1.1 ");
    while text.len() < 4_096 {
        let word = numbers.word(ALNUM, 5);
        let piece = match kind {
            0 => format!("<{word}@{word}.example.com> "),
            1 => "\"a\"@\" ".to_owned(),
            2 => format!("{word}={word}.com="),
            3 => "unauthorized sende user not foun message rejected due to ".to_owned(),
            4 => format!("{word}:{word}::1:"),
            5 => recipient.local().to_owned(),
            6 => "a@b@".to_owned(),
            7 => "unauthorized sender user not found try later [cs01] ".to_owned(),
            8 => format!("{} {} ", recipient.local(), sender.local()),
            _ => format!("https://support.apple.com/{word}/%40{word}(at){word}!{word}&#64; "),
        };
        text.push_str(&piece);
    }
    text
}

/// Replies of receivers in general, so that every file of rules has work to do.
fn general(numbers: &mut Numbers, recipient: &Address, _: &Address) -> String {
    let recipient = recipient.expose();
    let id = format!("{}.{}", numbers.word(ALNUM, 14), numbers.below(999));
    let ip = format!("{}.{}.{}.{}", numbers.below(223) + 1, numbers.below(256), numbers.below(256), numbers.below(256));
    let host = format!("mx{}.{}.example.net", numbers.below(99), numbers.word(ALNUM, 6));
    match numbers.below(12) {
        0 => format!(
            "550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n550-5.1.1 double-checking the recipient's email address for typos or\r\n550 5.1.1 unnecessary spaces. Learn more at https://support.google.com/mail/?p=NoSuchUser {id} - gsmtp"
        ),
        1 => format!("552 5.2.2 <{recipient}>: Recipient address rejected: Mailbox full"),
        2 => format!(
            "450 4.2.0 <{recipient}>: Recipient address rejected: Greylisted, see http://postgrey.example.org/help/{id}.html"
        ),
        3 => format!(
            "554 5.7.1 Service unavailable; Client host [{ip}] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/{ip}"
        ),
        4 => format!(
            "550 5.7.26 The MAIL FROM domain [{host}] has an SPF record with a hard fail policy (-all) but it fails to pass SPF checks with the ip: [{ip}]."
        ),
        5 => format!("connect to {host}[{ip}]:25: Connection timed out"),
        6 => format!(
            "550 5.4.1 <{recipient}>: Recipient address rejected: Access denied [{}.eop-nam02.prod.protection.outlook.com]",
            numbers.word(ALNUM, 12)
        ),
        7 => format!(
            "421 4.7.0 [TSS04] Messages from {ip} temporarily deferred due to unexpected volume or user complaints - {id}; see https://postmaster.yahooinc.com/error-codes"
        ),
        8 => format!(
            "host {host}[{ip}] said: 550 5.1.1 <{recipient}>: Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command)"
        ),
        9 => format!(
            "550-5.7.25 [{ip}] The IP address sending this message does not have a\r\n550 5.7.25 PTR record setup, or the corresponding forward DNS entry does not point to the sending IP."
        ),
        10 => format!("554 5.7.1 Message rejected as spam, score {}.{}, id={id}", numbers.below(40), numbers.below(10)),
        _ => format!("550 5.9.9 {} says new words {id} about {recipient}", numbers.word(ALNUM, 9)),
    }
}
