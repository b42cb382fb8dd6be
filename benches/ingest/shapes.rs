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
/// Digits of a number in a payload, and a number that stands for all of them in the template.
const DIGITS: usize = 12;
const PLACE: u64 = 700_000_000_000;

/// A whole request, head and body.
pub(crate) type Request = Vec<u8>;

fn now() -> i64 {
    relaywatch::clock::Clock::System.now().as_millis()
}

/// Requests of one kind; every event is another one.
pub(crate) struct Shape {
    next: Arc<AtomicU64>,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Signed(Arc<[Request]>),
    Template(Arc<Template>),
}

impl Shape {
    /// Makes what can be made beforehand.
    pub(crate) fn new(kind: Kind, posts: u64, home: &Home) -> Self {
        let source = match kind {
            Kind::Ses => Source::Signed(signed(posts, &home.signer).into()),
            Kind::Sparkpost => Source::Template(Arc::new(Template::new())),
        };
        Self { next: Arc::default(), source }
    }

    /// Starts again from the first request.
    pub(crate) fn rewind(&mut self) {
        self.next = Arc::default();
    }

    /// The requests of one connection.
    pub(crate) fn requests(&self) -> Requests {
        let buffer = match &self.source {
            Source::Signed(_) => Vec::new(),
            Source::Template(template) => template.request.clone(),
        };
        Requests { next: Arc::clone(&self.next), source: self.source.clone(), buffer }
    }
}

/// The requests of one connection.
pub(crate) struct Requests {
    next: Arc<AtomicU64>,
    source: Source,
    buffer: Vec<u8>,
}

impl Requests {
    /// The next one that no other connection has; `None` where all were sent.
    pub(crate) fn next_request(&mut self) -> Option<&[u8]> {
        match &self.source {
            Source::Signed(posts) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                posts.get(usize::try_from(number).ok()?).map(Vec::as_slice)
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
fn signed(posts: u64, signer: &Signer) -> Vec<Request> {
    let base = now() - 120_000;
    let post = |number: u64| {
        // Ten a millisecond, as they would come from a busy sender.
        let at = base + i64::try_from(number / 10).expect("small");
        let draft = Draft {
            kind: MessageType::Notification,
            topic: TOPIC,
            message_id: &message_id(number),
            message: &payload::ses(number, at, number.is_multiple_of(REFUSED)),
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
/// Each wave brings other messages to the same addresses.
pub(crate) fn wave(wave: u64, count: u64, refused: bool) -> Vec<Request> {
    let base = now() / 1_000 - i64::try_from(count / 1_000).expect("small");
    let element = |place: u64| {
        let at = (base + i64::try_from(place / 1_000).expect("small")) * 1_000;
        payload::sparkpost_to(wave * count + place, &payload::relay_address(place), at, refused)
    };
    (0..count / BATCH).map(|n| batch((n * BATCH..(n + 1) * BATCH).map(element))).collect()
}

/// A batch with the places of its numbers and times.
struct Template {
    request: Request,
    /// Where a number stands, and which of the batch it is.
    numbers: Vec<(usize, u64)>,
    /// Where the second of the event stands.
    seconds: Vec<usize>,
}

impl Template {
    fn new() -> Self {
        let at = now() / 1_000 * 1_000;
        let element = |index: u64| payload::sparkpost(PLACE + index, at, index.is_multiple_of(REFUSED));
        let request = batch((0..BATCH).map(element));
        let text = String::from_utf8(request.clone()).expect("text");
        let numbers = (0..BATCH)
            .flat_map(|index| {
                let number = (PLACE + index).to_string();
                text.match_indices(&number).map(|(place, _)| (place, index)).collect::<Vec<_>>()
            })
            .collect();
        let second = format!("\"{}\"", at / 1_000);
        let seconds = text.match_indices(&second).map(|(place, _)| place + 1).collect();
        Self { request, numbers, seconds }
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
        for (place, index) in &self.numbers {
            write(out, *place, first + index, DIGITS);
        }
        for place in &self.seconds {
            write(out, *place, second.unsigned_abs(), 10);
        }
    }
}
