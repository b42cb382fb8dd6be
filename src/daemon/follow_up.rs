//! What is done at a provider's end after a commit.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    ingest::FollowUp,
    model::{DAY_MILLIS, Timestamp},
};

/// The token of a confirmation is valid for so long (Amazon SNS API reference, `ConfirmSubscription`).
const TOKEN_MILLIS: i64 = 3 * DAY_MILLIS;
/// The first wait between two attempts; each is twice as long as the one before …
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Confirmations that are tried at a time; there is one for each topic.
const AT_ONCE: usize = 64;

/// Does follow-ups as they come, until it's told to stop.
///
/// What is not confirmed by then is said: SNS has had its answer and sends the confirmation again only when it's asked to.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<FollowUp>,
    client: reqwest::Client,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut under_way: HashSet<url::Url> = HashSet::new();
    let mut confirming: JoinSet<url::Url> = JoinSet::new();
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => break,
            Some(done) = confirming.join_next() => {
                if let Ok(url) = done {
                    under_way.remove(&url);
                }
                continue;
            }
            next = waiting.recv(), if confirming.len() < AT_ONCE => match next {
                Some(next) => next,
                None => break,
            },
        };
        let FollowUp::ConfirmSubscription { url, topic } = next;
        // SNS's own retries bring the same address again.
        if under_way.insert(url.clone()) {
            let (client, clock, stop) = (client.clone(), clock.clone(), stop.clone());
            confirming.spawn(async move {
                confirm(&client, &clock, &url, &topic, &stop).await;
                url
            });
        }
    }
    while confirming.join_next().await.is_some() {}
    Ok(())
}

/// Confirms an SNS subscription, again and again for as long as its token is valid; gives whether it is confirmed. The URL holds
/// the token: it's never logged.
async fn confirm(
    client: &reqwest::Client,
    clock: &Clock,
    url: &url::Url,
    topic: &str,
    stop: &CancellationToken,
) -> bool {
    let until = clock.now().plus_millis(TOKEN_MILLIS);
    let mut wait = FIRST_WAIT;
    loop {
        let asked = async { client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status) };
        let answer = tokio::select! {
            () = stop.cancelled() => return unconfirmed(topic),
            answer = asked => answer,
        };
        let Err(error) = answer else {
            tracing::info!(topic, "the SNS subscription is confirmed");
            return true;
        };
        let error = error.without_url();
        if !tried_again(clock.now(), wait, until) {
            tracing::error!(
                topic,
                error = &error as &dyn std::error::Error,
                "the SNS subscription could not be confirmed in 3 days and its token is void: nothing comes from this topic; \
                 allow outgoing HTTPS to SNS, then use 'Request confirmation' in the SNS console"
            );
            return false;
        }
        tracing::warn!(
            topic,
            error = &error as &dyn std::error::Error,
            next_seconds = wait.as_secs(),
            "the SNS subscription could not be confirmed; trying again for as long as its token is valid"
        );
        tokio::select! {
            () = stop.cancelled() => return unconfirmed(topic),
            () = clock.sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Whether another attempt after this wait still finds the token valid.
fn tried_again(now: Timestamp, wait: Duration, until: Timestamp) -> bool {
    now.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)) < until
}

fn unconfirmed(topic: &str) -> bool {
    tracing::error!(
        topic,
        "relaywatch stops before the SNS subscription could be confirmed; use 'Request confirmation' in the SNS console after \
         the start"
    );
    false
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Router, http::StatusCode, routing::get};

    use super::*;
    use crate::{clock::ManualClock, http_client};

    /// A server that refuses so many requests; gives its address and how many came.
    #[expect(clippy::disallowed_methods, reason = "a test's own server, which no stranger reaches")]
    async fn server(refused: usize) -> (url::Url, Arc<AtomicUsize>) {
        let came = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&came);
        let answer = move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move { if number < refused { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK } }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/?Action=ConfirmSubscription&Token=t", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(answer))).await });
        (url.parse().expect("a URL"), came)
    }

    /// Confirms on a clock that goes on by a minute whenever nothing else happens; gives what came of it, and after how long.
    async fn confirmed(url: &url::Url) -> (bool, i64) {
        let manual = ManualClock::new(Timestamp::EPOCH);
        let clock = Clock::Manual(manual.clone());
        let client = http_client::build(Duration::from_secs(10)).expect("a client");
        let (minute, stop) = (Duration::from_mins(1), CancellationToken::new());
        let confirming = confirm(&client, &clock, url, "arn:aws:sns:eu-west-1:1:t", &stop);
        tokio::pin!(confirming);
        let done = loop {
            tokio::select! {
                done = &mut confirming => break done,
                () = tokio::time::sleep(Duration::from_millis(1)) => manual.advance(minute),
            }
        };
        (done, clock.now().as_millis())
    }

    #[tokio::test]
    async fn a_confirmation_is_tried_until_it_goes_through() {
        let (url, came) = server(4).await;
        assert!(confirmed(&url).await.0);
        assert_eq!(came.load(Ordering::SeqCst), 5);
    }

    #[tokio::test]
    async fn a_token_that_has_run_out_is_tried_no_more() {
        let (url, came) = server(usize::MAX).await;
        let (done, after) = confirmed(&url).await;
        assert!(!done && after > TOKEN_MILLIS / 2, "{after} ms");
        let came = came.load(Ordering::SeqCst);
        assert!((20..100).contains(&came), "{came} attempts");
    }

    #[tokio::test]
    async fn one_topic_that_fails_keeps_no_other_back_and_the_same_comes_once() {
        let (away, tried) = server(usize::MAX).await;
        let (there, came) = server(0).await;
        let (sender, receiver) = mpsc::channel(8);
        let (clock, stop) = (Clock::Manual(ManualClock::new(Timestamp::EPOCH)), CancellationToken::new());
        let client = http_client::build(Duration::from_secs(10)).expect("a client");
        let running = tokio::spawn(run(receiver, client, clock, stop.clone()));
        for url in [&away, &away, &there] {
            let topic = "arn:aws:sns:eu-west-1:1:t".to_owned();
            sender.send(FollowUp::ConfirmSubscription { url: url.clone(), topic }).await.expect("it listens");
        }
        let both = async {
            while came.load(Ordering::SeqCst) == 0 || tried.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), both).await.expect("both are asked");
        stop.cancel();
        running.await.expect("no panic").expect("it ends");
        assert_eq!(tried.load(Ordering::SeqCst), 1);
    }
}
