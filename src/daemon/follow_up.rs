//! What is done at a provider's end after a commit.

use std::convert::Infallible;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ingest::FollowUp;

/// Does follow-ups as they come, until it's told to stop.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<FollowUp>,
    client: reqwest::Client,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            next = waiting.recv() => match next {
                Some(next) => next,
                None => return Ok(()),
            },
        };
        let FollowUp::ConfirmSubscription { url, topic } = next;
        confirm(&client, url, &topic).await;
    }
}

/// Confirms an SNS subscription. The URL holds a token: it's never logged.
async fn confirm(client: &reqwest::Client, url: url::Url, topic: &str) {
    match client.get(url).send().await.and_then(reqwest::Response::error_for_status) {
        Ok(_) => tracing::info!(topic, "the SNS subscription is confirmed"),
        Err(error) => {
            let error = error.without_url();
            tracing::warn!(
                topic,
                error = &error as &dyn std::error::Error,
                "the SNS subscription could not be confirmed; use 'Request confirmation' in the SNS console"
            );
        }
    }
}
