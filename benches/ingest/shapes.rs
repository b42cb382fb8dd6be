//! The requests: SES posts that are signed beforehand, and SparkPost batches whose numbers are written in place.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use relaywatch::ingest::http::sns::{
    MessageType, SignatureVersion,
    signing::{Draft, Signer, message_id},
};

use crate::{
    Kind, payload,
    server::{Home, SPARKPOST_TOKEN, TOPIC},
};

/// Events of one SparkPost batch.
pub(crate) const BATCH: u64 = 200;
/// One of so many is refused.
const REFUSED: u64 = 50;
/// Digits of a number in a payload, and the numbers that stand for all messages and all addresses in the template.
const DIGITS: usize = 12;
const PLACE: u64 = 700_000_000_000;
const ADDRESS_PLACE: u64 = 800_000_000_000;
/// Mails that an address gets in a run where the sender mails the same people again and again.
const MAILS_EACH: u64 = 20;
/// Events of a long run of batches: what [`MAILS_EACH`] is reckoned by where the number of events is not known beforehand.
const LONG_RUN: u64 = 1_000_000;

/// A whole request, head and body.
pub(crate) type Request = Vec<u8>;

/// To whom the events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mix {
    /// A sender's own people, in random order: about twenty mails to each in the run.
    Known,
    /// Every event is to an address that was never met before.
    New,
}

/// Gives each message the number of its address.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    /// How many there are; every message has one of its own where there is no such number.
    population: Option<u64>,
}

impl Addresses {
    fn of(mix: Mix, events: u64) -> Self {
        Self { population: (mix == Mix::Known).then_some((events / MAILS_EACH).max(1)) }
    }

    fn number(self, message: u64) -> u64 {
        let Some(population) = self.population else { return message };
        // SplitMix64's mixing: the same order at each run, without any pattern.
        let mut mixed = message.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % population
    }
}

fn now() -> i64 {
    relaywatch::clock::Clock::System.now().as_millis()
}

/// Requests of one kind; every event is another one.
pub(crate) struct Shape {
    next: Arc<AtomicU64>,
    source: Source,
    around: bool,
}

#[derive(Clone)]
enum Source {
    Signed(Arc<[Request]>),
    Template(Arc<Template>),
}

impl Shape {
    /// Makes what can be made beforehand.
    pub(crate) fn new(kind: Kind, mix: Mix, posts: u64, home: &Home) -> Self {
        let source = match kind {
            Kind::Ses => Source::Signed(signed(posts, Addresses::of(mix, posts), &home.signer).into()),
            Kind::Sparkpost => Source::Template(Arc::new(Template::new(Addresses::of(mix, LONG_RUN)))),
        };
        Self { next: Arc::default(), source, around: false }
    }

    /// Starts again from the first request; goes `around` from the last to the first where the server keeps nothing.
    pub(crate) fn rewind(&mut self, around: bool) {
        self.next = Arc::default();
        self.around = around;
    }

    /// Bytes of one request.
    pub(crate) fn request_bytes(&self) -> usize {
        match &self.source {
            Source::Signed(posts) => posts.first().map_or(0, Vec::len),
            Source::Template(template) => template.request.len(),
        }
    }

    /// The requests of one connection.
    pub(crate) fn requests(&self) -> Requests {
        let buffer = match &self.source {
            Source::Signed(_) => Vec::new(),
            Source::Template(template) => template.request.clone(),
        };
        Requests { next: Arc::clone(&self.next), source: self.source.clone(), buffer, around: self.around }
    }
}

/// The requests of one connection.
pub(crate) struct Requests {
    next: Arc<AtomicU64>,
    source: Source,
    buffer: Vec<u8>,
    around: bool,
}

impl Requests {
    /// The next one that no other connection has; `None` where all were sent.
    pub(crate) fn next_request(&mut self) -> Option<&[u8]> {
        match &self.source {
            Source::Signed(posts) => {
                let mut number = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).ok()?;
                if self.around {
                    number %= posts.len().max(1);
                }
                posts.get(number).map(Vec::as_slice)
            }
            Source::Template(template) => {
                let first = self.next.fetch_add(BATCH, Ordering::Relaxed);
                template.fill(&mut self.buffer, first, now() / 1_000);
                Some(&self.buffer)
            }
        }
    }
}

fn request(path: &str, headers: &str, body: &str) -> Request {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into()
}

/// SNS notifications with one event each, signed by all cores.
fn signed(posts: u64, addresses: Addresses, signer: &Signer) -> Vec<Request> {
    let base = now() - 120_000;
    let post = |number: u64| {
        // Ten a millisecond, as they would come from a busy sender.
        let at = base + i64::try_from(number / 10).expect("small");
        let to = payload::relay_address(addresses.number(number));
        let draft = Draft {
            kind: MessageType::Notification,
            topic: TOPIC,
            message_id: &message_id(number),
            message: &payload::ses_to(number, &to, at, number.is_multiple_of(REFUSED)),
            subject: None,
            at: relaywatch::model::Timestamp::from_millis(now()),
            version: SignatureVersion::V2,
        };
        let envelope = signer.envelope(&draft).expect("signed");
        let headers = "content-type: text/plain; charset=UTF-8\r\nx-amz-sns-message-type: Notification\r\n";
        request("/in/ses", headers, &envelope)
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let share = posts.div_ceil(threads);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || (part * share..posts.min((part + 1) * share)).map(post).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("signed")).collect()
    })
}

fn batch(elements: impl Iterator<Item = String>) -> Request {
    let headers = format!("authorization: Bearer {SPARKPOST_TOKEN}\r\ncontent-type: application/json\r\n");
    request("/in/sparkpost", &headers, &payload::sparkpost_batch(elements))
}

/// One event to each of `count` addresses in batches, all delivered or all refused; a thousand in each second up to now.
/// Each wave brings other messages to the same addresses, in another order.
pub(crate) fn wave(wave: u64, count: u64, refused: bool) -> Vec<Request> {
    /// Far apart and without common divisors with `count`, so that each order is another permutation.
    const STRIDES: [u64; 5] = [1, 38_197, 61_803, 23_609, 76_393];
    let base = now() / 1_000 - i64::try_from(count / 1_000).expect("small");
    let stride = STRIDES.get(usize::try_from(wave).expect("small")).copied().expect("as many waves as strides");
    let element = |place: u64| {
        let at = (base + i64::try_from(place / 1_000).expect("small")) * 1_000;
        let to = payload::relay_address(place * stride % count);
        payload::sparkpost_to(wave * count + place, &to, at, refused)
    };
    (0..count / BATCH).map(|n| batch((n * BATCH..(n + 1) * BATCH).map(element))).collect()
}

/// What a place in the template stands for.
#[derive(Debug, Clone, Copy)]
enum Stands {
    /// The number of the message.
    Message,
    /// The number of its address.
    Address,
}

/// A batch with the places of its numbers and times.
struct Template {
    request: Request,
    addresses: Addresses,
    /// Where a number stands, which of the batch it is, and what it stands for.
    numbers: Vec<(usize, u64, Stands)>,
    /// Where the second of the event stands.
    seconds: Vec<usize>,
}

impl Template {
    fn new(addresses: Addresses) -> Self {
        let at = now() / 1_000 * 1_000;
        let element = |index: u64| {
            let to = payload::relay_address(ADDRESS_PLACE + index);
            payload::sparkpost_to(PLACE + index, &to, at, index.is_multiple_of(REFUSED))
        };
        let request = batch((0..BATCH).map(element));
        let text = String::from_utf8(request.clone()).expect("text");
        let places =
            |number: u64| -> Vec<usize> { text.match_indices(&number.to_string()).map(|(place, _)| place).collect() };
        let numbers = (0..BATCH)
            .flat_map(|index| {
                let messages = places(PLACE + index).into_iter().map(move |place| (place, index, Stands::Message));
                let people =
                    places(ADDRESS_PLACE + index).into_iter().map(move |place| (place, index, Stands::Address));
                messages.chain(people).collect::<Vec<_>>()
            })
            .collect();
        let second = format!("\"{}\"", at / 1_000);
        let seconds = text.match_indices(&second).map(|(place, _)| place + 1).collect();
        Self { request, addresses, numbers, seconds }
    }

    fn fill(&self, out: &mut [u8], first: u64, second: i64) {
        let write = |out: &mut [u8], place: usize, mut number: u64, digits: usize| {
            for at in (place..place + digits).rev() {
                if let Some(byte) = out.get_mut(at) {
                    *byte = b'0' + u8::try_from(number % 10).unwrap_or_default();
                }
                number /= 10;
            }
        };
        for (place, index, stands) in &self.numbers {
            let number = match stands {
                Stands::Message => first + index,
                Stands::Address => self.addresses.number(first + index),
            };
            write(out, *place, number, DIGITS);
        }
        for place in &self.seconds {
            write(out, *place, second.unsigned_abs(), 10);
        }
    }
}
