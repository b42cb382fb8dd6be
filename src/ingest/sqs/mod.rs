//! Amazon SES through a queue of Amazon SQS, which keeps what SES says for days while relaywatch is away; SNS gives up on an
//! HTTP endpoint within the hour.
//!
//! Messages are asked for (long polling), decoded, committed, and only then deleted. Where the store does not take them, they are
//! held and hidden from others again and again, and nothing more is asked for: to let them go and fetch them anew would count
//! as failed attempts, after which the queue's redrive policy moves them elsewhere. What is handed out twice changes nothing,
//! since the events in it have their identity from the payload.

mod decode;
mod poller;
mod queue;
mod trouble;

#[cfg(test)]
mod tests;

use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    http::feeds::{FeedError, Place, SetUp},
    intake::FeedName,
    reception::Reception,
    workers::{Boxed, Opened, Work},
};
use crate::{
    config::{self, Config, PublicUrl},
    model::Provider,
};

use poller::Poller;
use queue::Queue;

pub use decode::{POISON_KEPT_MILLIS, decode};
pub use trouble::{Reason, Trouble};

/// For how long SQS holds a request until a message comes, unless the settings say otherwise: as long as it does, in seconds.
const WAIT_SECONDS: u32 = 20;

/// One queue as its table in the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    queue_url: Url,
    region: String,
    endpoint: Option<Url>,
    wait_seconds: u32,
    campaign_tag: Option<String>,
}

/// A feed that asks a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsFeed(Settings);

impl SetUp for SqsFeed {
    type Table = config::SqsFeed;
    const PROVIDER: Provider = Provider::Ses;
    const TABLE: &'static str = "sqs";

    fn set_up(_: &Config, table: &config::SqsFeed, place: &Place) -> Result<Self, Vec<FeedError>> {
        let url = |url: &Option<PublicUrl>| url.as_ref().map(|PublicUrl(url)| url.clone());
        Ok(Self(Settings {
            queue_url: place.or_wrong(url(&table.queue_url).ok_or("it has no `queue_url`"))?,
            region: place.or_wrong(table.region().ok_or("nothing tells the queue's region"))?,
            endpoint: url(&table.endpoint),
            wait_seconds: table.wait_seconds.unwrap_or(WAIT_SECONDS),
            campaign_tag: table.campaign_tag.clone(),
        }))
    }
}

impl Work for SqsFeed {
    fn open(&self) -> Boxed<'_, Result<Opened, String>> {
        let settings = self.0.clone();
        let opened: Opened = Box::new(move |feed: FeedName, reception: Reception, stop: CancellationToken| {
            Box::pin(async move {
                let queue = Queue::of(&settings).await;
                Poller::new(&settings, queue, feed, reception, stop).run().await;
            })
        });
        Box::pin(async move { Ok(opened) })
    }

    fn place(&self) -> String {
        self.0.queue_url.to_string()
    }
}
