//! Any body and any JWT is refused unless it is signed; any signed claims are taken, set aside or refused.

use std::{
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use relaywatch::{
    ingest::{
        Report,
        http::{
            Delivery, Rejection,
            apple::{App, Apple, KeySource, Mode, Settings, signing},
        },
    },
    model::Timestamp,
};

static SIGNER: LazyLock<signing::Signer> = LazyLock::new(|| signing::Signer::generate("fuzz").expect("key"));
static FEED: LazyLock<Apple> = LazyLock::new(|| {
    let app = App { client_id: "com.example.app".to_owned(), team: "A1B2C3D4E5".to_owned() };
    let mode = Mode::Direct { forward_to: None };
    Apple::new(Settings { apps: vec![app], mode, keys: KeySource::Pinned(SIGNER.jwks()) }).expect("feed")
});

fn receive(body: Vec<u8>) -> Result<Report, Rejection> {
    let received_at = Timestamp::from_seconds(1_754_805_600);
    let delivery = Delivery {
        method: Default::default(),
        query: String::new(),
        headers: Default::default(),
        body: body.into(),
        received_at,
    };
    let mut received = pin!(FEED.receive(&delivery));
    match received.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("pinned keys are there at once"),
    }
}

/// Checks one input.
pub fn check(data: &[u8]) {
    assert!(receive(data.to_vec()).is_err(), "nothing comes in without a signature");
    let Ok(text) = std::str::from_utf8(data) else { return };
    if !text.contains(['"', '\\']) && !text.chars().any(char::is_control) {
        assert!(receive(signing::body(text).to_vec()).is_err(), "nor a JWT that nobody signed");
    }
    // Header and claims in base64url, without padding, so that any bytes can be signed.
    let encoded: String = [br#"{"alg":"RS256","kid":"fuzz"}"#.as_slice(), data].map(base64url).join(".");
    let jwt = SIGNER.sign(&encoded).expect("signed");
    drop(receive(signing::body(&jwt).to_vec()));
}

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]));
        }
    }
    out
}
