//! Replies classified per second on one core: template and verdict, every text different, no cache.

use divan::{Bencher, black_box, counter::ItemsCount};
use relaywatch::{
    classify::{Parties, Rules, context, template},
    model::{Address, RelayDomains, ReplyContext},
};

fn main() {
    divan::main();
}

/// How many texts one round classifies.
const TEXTS: usize = 20_000;
const ADVERSARIAL: usize = 10_000;

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

/// 4 KiB of what costs most: marks of addresses, quotes, colons, phrases that almost match.
fn adversarial(numbers: &mut Numbers, recipient: &Address, sender: &Address) -> String {
    let mut text = String::from("550 5.1.1 ");
    let kind = numbers.below(10);
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

fn judge(bencher: Bencher<'_, '_>, cases: usize, text: impl Fn(&mut Numbers, &Address, &Address) -> String) {
    let relay = RelayDomains::default();
    let rules = Rules::built_in().unwrap_or_else(|error| panic!("{error}"));
    let mut numbers = Numbers(7);
    let cases: Vec<Case> = (0..cases).map(|_| Case::new(&mut numbers, &relay, &text)).collect();
    bencher.counter(ItemsCount::new(cases.len())).bench_local(|| {
        for case in &cases {
            let parties = Parties {
                recipient: Some(&case.recipient),
                envelope_sender: Some(&case.sender),
                ..Parties::unknown(&relay)
            };
            let template = template(black_box(&case.text), &parties);
            black_box(rules.classify(&template, &case.context));
        }
    });
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

/// Replies as they come, addresses and ids different in each.
#[divan::bench]
fn replies(bencher: Bencher<'_, '_>) {
    judge(bencher, TEXTS, ordinary);
}

/// Replies of receivers in general.
#[divan::bench]
fn general_replies(bencher: Bencher<'_, '_>) {
    judge(bencher, TEXTS, general);
}

/// For comparison: the same texts through one `RegexSet` of the same phrases, case-insensitive, the first that matches. It
/// gets the templates ready-made, and looks at neither codes nor context.
#[divan::bench(sample_count = 10)]
fn regex_set_on_ready_templates(bencher: Bencher<'_, '_>) {
    compare(bencher, general);
}

/// The same work for the rules: templates ready-made.
#[divan::bench]
fn rules_on_ready_templates(bencher: Bencher<'_, '_>) {
    let (rules, templates) = ready(general);
    bencher.counter(ItemsCount::new(templates.len())).bench_local(|| {
        for (template, context) in &templates {
            black_box(rules.classify(black_box(template), context));
        }
    });
}

fn ready(text: impl Fn(&mut Numbers, &Address, &Address) -> String) -> (Rules, Vec<(String, ReplyContext)>) {
    let relay = RelayDomains::default();
    let rules = Rules::built_in().unwrap_or_else(|error| panic!("{error}"));
    let mut numbers = Numbers(7);
    let templates = (0..TEXTS)
        .map(|_| {
            let case = Case::new(&mut numbers, &relay, &text);
            let parties = Parties {
                recipient: Some(&case.recipient),
                envelope_sender: Some(&case.sender),
                ..Parties::unknown(&relay)
            };
            (template(&case.text, &parties).into_string(), case.context)
        })
        .collect();
    (rules, templates)
}

fn compare(bencher: Bencher<'_, '_>, text: impl Fn(&mut Numbers, &Address, &Address) -> String) {
    const LIMIT: usize = 256 << 20;
    let (rules, templates) = ready(text);
    let patterns = rules.phrases().map(regex::escape);
    let set = regex::RegexSetBuilder::new(patterns)
        .case_insensitive(true)
        .size_limit(LIMIT)
        .dfa_size_limit(LIMIT)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    bencher.counter(ItemsCount::new(templates.len())).bench_local(|| {
        for (template, _) in &templates {
            black_box(set.matches(black_box(template)).iter().next());
        }
    });
}

/// Texts of 4 KiB made to be slow.
#[divan::bench(sample_count = 10)]
fn adversarial_replies(bencher: Bencher<'_, '_>) {
    judge(bencher, ADVERSARIAL, adversarial);
}

/// Start-up: reading and compiling the built-in rules.
#[divan::bench]
fn start_up(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| black_box(Rules::built_in().map(|rules| rules.len())));
}
